//! RFC 4475 and RFC 5118: every message through the endpoint, over UDP and as a stream, and mutants of them.
//! The user behind it answers every call with 200, so that nothing hides behind a 404.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap, and read their data")]

mod kit;
mod mutants;

use kit::{OFFER, kind, tcp, udp, zero};
use mutants::{Chance, mutate};
use sip::gate::{GateConfig, TrunkRules};
use sip::{
    Command, Endpoint, EndpointConfig, Event, Flow, FrameError, Input, LocalMedia, Output, StreamFramer,
    make_answer,
};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A user that takes every call it can agree on media with.
struct CatchAll {
    endpoint: Endpoint,
    now: Instant,
    calls: usize,
}

impl CatchAll {
    fn new() -> Self {
        Self::with(EndpointConfig::default())
    }

    fn with(config: EndpointConfig) -> Self {
        Self { endpoint: Endpoint::new(config, [3; 32]), now: zero(), calls: 0 }
    }

    /// The same behind a gate that everybody may pass.
    fn behind_a_gate() -> Self {
        let gate = GateConfig { trunks: vec![TrunkRules::open("all")], ..GateConfig::default() };
        Self::with(EndpointConfig { gate: Some(gate), ..EndpointConfig::default() })
    }

    /// Delivers one message; returns the final statuses that went out.
    fn deliver(&mut self, flow: Flow, bytes: &[u8]) -> Vec<u16> {
        let mut out = Vec::new();
        self.endpoint.step(self.now, Input::Message { flow, bytes }, &mut out);
        let mut statuses = Vec::new();
        let mut at = 0;
        while at < out.len() {
            match &out[at] {
                Output::Send { bytes, .. } => {
                    let message = sip::parser::parse(bytes).expect("we write what we can read");
                    let status = kind(&message).parse().unwrap_or(0);
                    if status != 100 {
                        statuses.push(status);
                    }
                }
                Output::Event(Event::Invite(invite)) => {
                    self.calls += 1;
                    let (dialog, offer) = (invite.dialog, invite.offer.clone());
                    self.answer(dialog, offer.as_deref(), &mut out);
                }
                Output::Event(_) | Output::CloseFlow { .. } => {}
            }
            at += 1;
        }
        statuses
    }

    fn answer(&mut self, dialog: sip::DialogKey, offer: Option<&str>, out: &mut Vec<Output>) {
        let local = LocalMedia::new("192.0.2.1".parse().unwrap(), 20_000);
        let (status, sdp) = match make_answer(offer.unwrap_or(OFFER), &local) {
            Ok((answer, _)) => (200, Some(answer)),
            Err(error) => (error.status(), None),
        };
        let command = Command::Respond { dialog, status, reason: None, sdp, headers: Vec::new() };
        self.endpoint.step(self.now, Input::Command(command), out);
    }

    fn answers_options(&mut self, number: u64) -> bool {
        let text = kit::request("OPTIONS", &format!("alive{number}"), &format!("z9hG4bKalive{number}"), "");
        self.deliver(udp(), text.as_bytes()) == [200]
    }
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    allowed: String,
}

fn cases(set: &str) -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(set);
    let table = std::fs::read_to_string(folder.join("expected.csv")).unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split(',').collect();
            let bytes = std::fs::read(folder.join(format!("{}.dat", columns[0]))).unwrap();
            Case { name: columns[0].to_owned(), bytes, allowed: columns[4].to_owned() }
        })
        .collect()
}

fn is_allowed(statuses: &[u16], allowed: &str) -> bool {
    allowed.split('|').any(|one| match one {
        "none" => statuses.is_empty(),
        "2xx" => statuses.len() == 1 && (200..300).contains(&statuses[0]),
        code => statuses.len() == 1 && code.parse() == Ok(statuses[0]),
    })
}

fn differences(set: &str) -> (usize, Vec<String>) {
    let cases = cases(set);
    let mut differences = Vec::new();
    for case in &cases {
        for mut user in [CatchAll::new(), CatchAll::behind_a_gate()] {
            let statuses = user.deliver(udp(), &case.bytes);
            if !is_allowed(&statuses, &case.allowed) {
                differences.push(format!("{}: {statuses:?}, allowed {}", case.name, case.allowed));
            }
            assert!(user.answers_options(0), "alive after {}", case.name);
        }
    }
    (cases.len(), differences)
}

#[test]
fn every_rfc4475_message_gets_the_answer_the_rfc_asks_for() {
    let (count, differences) = differences("rfc4475");
    assert_eq!(count, 49);
    assert_eq!(differences, [] as [String; 0]);
}

#[test]
fn every_rfc5118_message_gets_the_answer_the_rfc_asks_for() {
    let (count, differences) = differences("rfc5118");
    assert_eq!(count, 12);
    assert_eq!(differences, [] as [String; 0]);
}

#[test]
fn what_gets_no_answer_is_counted_with_its_reason() {
    for (name, reason) in [
        ("unreason", "response_without_transaction"),
        ("noreason", "response_without_transaction"),
        ("scalarlg", "response_malformed"),
        ("bigcode", "bad_status"),
        ("bcast", "response_via"),
    ] {
        let case = cases("rfc4475").into_iter().find(|case| case.name == name).unwrap();
        let mut user = CatchAll::new();
        assert!(user.deliver(udp(), &case.bytes).is_empty());
        assert_eq!(user.endpoint.statistics().dropped[reason], 1, "{name}");
    }
}

/// The statuses of one stream, and how its framing ended.
fn over_tcp(bytes: &[u8]) -> (Vec<u16>, Result<bool, FrameError>) {
    let mut user = CatchAll::new();
    let mut framer = StreamFramer::new();
    let mut statuses = Vec::new();
    for segment in bytes.chunks(100) {
        framer.push(segment);
        loop {
            match framer.next() {
                Ok(Some(message)) => statuses.extend(user.deliver(tcp(), &message)),
                Ok(None) => break,
                Err(error) => return (statuses, Err(error)),
            }
        }
    }
    assert!(user.answers_options(0));
    (statuses, Ok(framer.is_mid_message()))
}

#[test]
fn on_a_stream_broken_framing_ends_it_and_the_rest_is_answered_as_on_udp() {
    for case in cases("rfc4475") {
        let (statuses, framing) = over_tcp(&case.bytes);
        match case.name.as_str() {
            // 3.1.2.3 and 3.3.9: no border of messages can be trusted any more.
            "ncl" | "mcl01" => assert_eq!((statuses, framing), (vec![], Err(FrameError::BadContentLength))),
            // 3.1.2.2: waits for the rest; the owner closes after a time.
            "clerr" => assert_eq!((statuses, framing), (vec![], Ok(true))),
            // 3.1.1.8: two good messages (the second has a blank in its m-line key, so its SDP is unreadable).
            "dblreq" => assert_eq!((statuses, framing), (vec![405, 400], Ok(false))),
            // 3.1.2.15: the archive's file has no empty line at its end: the stream waits for it.
            "baddn" => assert_eq!((statuses, framing), (vec![], Ok(true))),
            // 3.4.1 has no Content-Length, which a stream needs: its body is taken for the next message,
            // and the INVITE itself is one without offer.
            "inv2543" => assert_eq!(statuses, [200]),
            _ => {
                assert!(is_allowed(&statuses, &case.allowed), "{}: {statuses:?} {}", case.name, case.allowed)
            }
        }
    }
}

#[test]
fn forty_thousand_mutants_never_silence_the_endpoint() {
    let mut seeds: Vec<Vec<u8>> = cases("rfc4475").into_iter().map(|case| case.bytes).collect();
    seeds.extend(cases("rfc5118").into_iter().map(|case| case.bytes));
    seeds.push(kit::invite("call", "z9hG4bKinv").into_bytes());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut user = CatchAll::new();
    for number in 0..40_000_u64 {
        let mutant = mutate(&mut chance, &seeds);
        let flow = if number % 3 == 0 { tcp() } else { udp() };
        user.deliver(flow, &mutant);
        let mut framer = StreamFramer::new();
        framer.push(&mutant);
        while let Ok(Some(_)) = framer.next() {}
        if number % 50 == 0 {
            user.now += Duration::from_secs(20);
            user.endpoint.step(user.now, Input::Timeout, &mut Vec::new());
            assert!(user.answers_options(number), "silent after mutant {number}");
        }
    }
    // All that mutants left behind has an end.
    for _ in 0..200 {
        user.now += Duration::from_secs(20);
        user.endpoint.step(user.now, Input::Timeout, &mut Vec::new());
    }
    let statistics = user.endpoint.statistics();
    assert_eq!((statistics.transactions, statistics.dialogs), (0, 0));
    assert!(user.calls > 1000, "the mutants are not all refused: {} calls", user.calls);
}

#[test]
fn mutated_session_descriptions_never_panic() {
    let seeds = vec![OFFER.as_bytes().to_vec(), kit::ANSWER.as_bytes().to_vec()];
    let local = LocalMedia::new("192.0.2.1".parse().unwrap(), 20_000);
    let mut chance = Chance(42);
    for _ in 0..20_000 {
        let text = String::from_utf8_lossy(&mutate(&mut chance, &seeds)).into_owned();
        if let Ok((answer, _)) = make_answer(&text, &local) {
            assert!(sip::accept_answer(&local, &answer).is_ok(), "our own answer is readable: {answer}");
        }
    }
}
