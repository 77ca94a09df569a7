//! Digest in both directions: one endpoint asks, the other proves who it is, with nothing in between but bytes.
//! Knows both from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, udp};
use sip::digest::{Credentials, Password};
use sip::{
    Command, DialogKey, EndpointConfig, Event, Flow, GateConfig, Input, OutgoingInvite, OutgoingRequest,
    Output, RequestKey, TrunkRules,
};

const KEY: DialogKey = DialogKey(1 << 63 | 5);

fn credentials(password: &str) -> Credentials {
    Credentials { realm: None, username: "ann".into(), password: Password::new(password) }
}

/// The one that calls, and the one whose gate asks for a digest.
fn pair() -> (Bench, Bench) {
    let phones =
        TrunkRules { users: vec![credentials("secret")], registrar: true, ..TrunkRules::open("phones") };
    let gate = GateConfig { trunks: vec![phones], ..GateConfig::default() };
    let theirs = Flow { local: udp().remote, remote: udp().local, ..udp() };
    let config = EndpointConfig { gate: Some(gate), ..EndpointConfig::default() };
    (Bench::new(udp()), Bench::with(config, theirs))
}

/// Gives `command` to the first and carries bytes to and fro until nobody says anything more.
fn talk(us: &mut Bench, them: &mut Bench, command: Command) {
    let mut to_them = step(us, Input::Command(command));
    while !to_them.is_empty() {
        let mut to_us = Vec::new();
        for bytes in to_them.drain(..) {
            to_us.extend(step(them, Input::Message { flow: them.flow, bytes: &bytes }));
        }
        for bytes in to_us {
            to_them.extend(step(us, Input::Message { flow: us.flow, bytes: &bytes }));
        }
    }
}

fn step(bench: &mut Bench, input: Input<'_>) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    bench.endpoint.step(bench.now, input, &mut out);
    let mut sent = Vec::new();
    for output in out {
        match output {
            Output::Send { bytes, .. } => sent.push(bytes),
            Output::Event(event) => bench.events.push(event),
            Output::CloseFlow { .. } => {}
        }
    }
    sent
}

fn register(password: &str) -> Command {
    let request =
        OutgoingRequest::new(RequestKey(1), "REGISTER", "sip:192.0.2.7", "sip:ann@192.0.2.7", udp());
    Command::Request(OutgoingRequest {
        to: "sip:ann@192.0.2.7".into(),
        headers: vec![("Expires".into(), "600".into())],
        credentials: Some(credentials(password)),
        ..request
    })
}

fn invite(password: &str) -> Command {
    let uri = "sip:+15550100@192.0.2.7";
    Command::Invite(OutgoingInvite {
        credentials: Some(credentials(password)),
        ..OutgoingInvite::new(KEY, uri, "sip:ann@192.0.2.7", udp(), OFFER)
    })
}

#[test]
fn our_registration_is_taken_by_our_registrar() {
    let (mut us, mut them) = pair();
    talk(&mut us, &mut them, register("secret"));
    let events = us.take_events();
    let [Event::Response { status: 200, headers, .. }] = &events[..] else { panic!("{events:?}") };
    let contact = headers.iter().find(|(name, _)| name == "Contact").expect("our binding");
    assert_eq!(contact.1, "<sip:ann@192.0.2.1:5060>;expires=600");
    assert_eq!(them.endpoint.binding("phones", "ann").unwrap().1, "sip:ann@192.0.2.1:5060");
    assert_eq!(us.endpoint.statistics().challenges_answered, 1);
}

#[test]
fn our_call_passes_our_gate_and_its_later_requests_need_no_new_challenge() {
    let (mut us, mut them) = pair();
    talk(&mut us, &mut them, invite("secret"));
    let events = them.take_events();
    let [Event::Invite(incoming)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(incoming.trunk.as_deref(), Some("phones"));
    let answer = Command::Respond {
        dialog: incoming.dialog,
        status: 200,
        reason: None,
        sdp: Some(ANSWER.into()),
        headers: Vec::new(),
    };
    talk(&mut them, &mut us, answer);
    assert!(matches!(us.take_events()[..], [.., Event::Answered { .. }]));
    talk(&mut us, &mut them, Command::Bye { dialog: KEY, reason: None });
    assert!(matches!(us.take_events()[..], [Event::Ended { .. }]));
    assert_eq!(us.endpoint.statistics().challenges_answered, 1);
}

#[test]
fn a_wrong_password_ends_in_a_failure_and_not_in_a_loop() {
    let (mut us, mut them) = pair();
    talk(&mut us, &mut them, invite("guess"));
    let events = us.take_events();
    let failed = matches!(events[..], [Event::Failed { status: 401 | 403, .. }, Event::Ended { .. }]);
    assert!(failed, "{events:?}");
    talk(&mut us, &mut them, register("guess"));
    let events = us.take_events();
    assert!(matches!(events[..], [Event::Response { status: 401 | 403, .. }]), "{events:?}");
    assert!(us.endpoint.statistics().requests_out["REGISTER"] <= 3);
    assert_eq!(them.endpoint.binding("phones", "ann"), None);
}
