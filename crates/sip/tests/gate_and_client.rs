//! Our client at our gate: both halves of digest, a registration, and a call to the phone that registered.
//! Two endpoints, bytes from hand to hand.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may unwrap and skip")]

mod kit;
#[path = "kit/digest.rs"]
mod kit_digest;

use kit::{ANSWER, OFFER, udp, zero};
use kit_digest::user;
use sip::digest::{Credentials, DigestAlgorithm};
use sip::{
    Command, DialogKey, Endpoint, EndpointConfig, Event, Flow, GateConfig, Input, OutgoingInvite,
    OutgoingRequest, Output, RequestKey, TrunkRules,
};
use std::time::Instant;

const DOMAIN: &str = "sip:192.0.2.1";

/// A server with a gate and a phone: `[server, phone]`.
struct Pair {
    sides: [Endpoint; 2],
    now: Instant,
    events: [Vec<Event>; 2],
}

impl Pair {
    fn new(algorithms: &[DigestAlgorithm]) -> Self {
        let trunk =
            TrunkRules { users: vec![user("ann", "secret")], registrar: true, ..TrunkRules::open("phones") };
        let gate =
            GateConfig { trunks: vec![trunk], algorithms: algorithms.to_vec(), ..GateConfig::default() };
        let server = EndpointConfig { gate: Some(gate), ..EndpointConfig::default() };
        let sides = [Endpoint::new(server, [1; 32]), Endpoint::new(EndpointConfig::default(), [2; 32])];
        Self { sides, now: zero(), events: [Vec::new(), Vec::new()] }
    }

    /// Steps one side and carries every message over until nothing is left to say.
    fn step(&mut self, side: usize, input: Input<'_>) {
        let mut out = Vec::new();
        self.sides[side].step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Event(event) => self.events[side].push(event),
                Output::Send { flow, bytes } => {
                    let flow = Flow { local: flow.remote, remote: flow.local, ..flow };
                    self.step(1 - side, Input::Message { flow, bytes: &bytes });
                }
                Output::CloseFlow { .. } => {}
            }
        }
    }

    fn names(&mut self, side: usize) -> String {
        let events = std::mem::take(&mut self.events[side]);
        events.iter().map(Event::name).collect::<Vec<_>>().join(" ")
    }
}

/// From the phone to the server.
fn out() -> Flow {
    Flow { local: udp().remote, remote: udp().local, ..udp() }
}

fn register(credentials: Credentials, expires: &str) -> Command {
    Command::Request(OutgoingRequest {
        request: RequestKey(1),
        method: "REGISTER",
        uri: DOMAIN.into(),
        from: "<sip:ann@192.0.2.1>".into(),
        to: "<sip:ann@192.0.2.1>".into(),
        flow: out(),
        headers: vec![
            ("Contact".into(), "<sip:ann@192.0.2.7:5060>".into()),
            ("Expires".into(), expires.into()),
        ],
        body: None,
        credentials: Some(credentials),
        call_id: None,
        cseq: None,
        local_tag: None,
    })
}

fn call(credentials: Credentials) -> Command {
    let mut invite =
        OutgoingInvite::new(DialogKey::outgoing(1), "sip:100@192.0.2.1", "<sip:ann@192.0.2.1>", out(), OFFER);
    invite.credentials = Some(credentials);
    Command::Invite(invite)
}

#[test]
fn our_client_registers_and_is_called_back_with_either_hash() {
    for algorithms in [&[DigestAlgorithm::Sha256, DigestAlgorithm::Md5][..], &[DigestAlgorithm::Md5]] {
        let mut pair = Pair::new(algorithms);
        pair.step(1, Input::Command(register(user("ann", "secret"), "600")));
        assert!(matches!(&pair.events[1][..], [Event::Response { status: 200, .. }]), "{:?}", pair.events[1]);
        assert_eq!(pair.names(0), "Registered");
        let (flow, contact) = pair.sides[0].binding("phones", "ann").expect("registered");
        let from = "<sip:100@192.0.2.1>";
        let invite = OutgoingInvite::new(DialogKey::outgoing(9), contact, from, flow, OFFER);
        pair.names(1);
        pair.step(0, Input::Command(Command::Invite(invite)));
        assert_eq!(pair.names(1), "Invite", "the phone rings");
        pair.step(1, Input::Command(register(user("ann", "secret"), "0")));
        assert!(pair.names(0).ends_with("Unregistered"));
    }
}

#[test]
fn our_client_calls_through_the_gate_and_the_call_goes_on_without_digest() {
    let mut pair = Pair::new(&[DigestAlgorithm::Sha256]);
    pair.step(1, Input::Command(call(user("ann", "secret"))));
    let dialog = match &pair.events[0][..] {
        [Event::Invite(invite)] => {
            assert_eq!(invite.trunk.as_deref(), Some("phones"));
            invite.dialog
        }
        other => panic!("{other:?}"),
    };
    let answer =
        Command::Respond { dialog, status: 200, reason: None, sdp: Some(ANSWER.into()), headers: vec![] };
    pair.step(0, Input::Command(answer));
    pair.step(1, Input::Command(Command::Bye { dialog: DialogKey::outgoing(1), reason: None }));
    assert_eq!(pair.names(0), "Invite Acked Bye Ended");
    let gate = &pair.sides[0].statistics().gate;
    assert_eq!((gate.challenged, gate.authenticated, gate.reasons["unknown_dialog"]), (1, 1, 0));
    assert_eq!(gate.acks_absorbed, 1, "the ACK to the 401");
}

#[test]
fn our_client_with_a_wrong_password_is_told_403_once() {
    let mut pair = Pair::new(&[DigestAlgorithm::Md5]);
    pair.step(1, Input::Command(call(user("ann", "wrong"))));
    assert!(
        matches!(&pair.events[1][..], [Event::Failed { status: 403, .. }, Event::Ended { .. }]),
        "{:?}",
        pair.events[1]
    );
    pair.step(1, Input::Command(register(user("bob", "secret"), "600")));
    assert!(matches!(pair.events[1].last(), Some(Event::Response { status: 403, .. })));
    let gate = &pair.sides[0].statistics().gate;
    assert_eq!((gate.reasons["wrong_credentials"], gate.reasons["unknown_user"]), (1, 1));
}
