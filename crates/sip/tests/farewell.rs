//! A call whose process died: another endpoint ends it, with what was kept.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{Bench, in_dialog, invite, tag_of, tcp, udp};
use sip::message::HeaderName;
use sip::{Command, Event, Flow, SavedDialog};

/// A call that is answered and acknowledged, what was kept of it at the INVITE, and our tag.
fn call(flow: Flow, invite: &str) -> (SavedDialog, String) {
    let mut bench = Bench::new(flow);
    bench.receive(invite);
    let saved = bench.events.iter().find_map(|event| match event {
        Event::Invite(invite) => Some(invite.saved.clone()),
        _ => None,
    });
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.sent.last().unwrap().1, &HeaderName::To);
    bench.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
    (saved.unwrap(), tag)
}

fn farewell(bench: &mut Bench, saved: SavedDialog, flow: Flow) {
    let reason = Some("SIP;cause=500;text=\"server_crash\"".to_owned());
    bench.command(Command::Farewell { saved: Box::new(saved), flow, reason });
}

#[test]
fn another_endpoint_ends_the_call_with_a_bye_that_its_peer_believes() {
    let routed =
        invite("call", "z9hG4bK1").replace("Contact:", "Record-Route: <sip:192.0.2.9;lr>\r\nContact:");
    let (saved, tag) = call(udp(), &routed);
    let mut bench = Bench::new(udp());
    farewell(&mut bench, saved, udp());
    let (_, bye) = bench.sent.last().unwrap().clone();
    assert_eq!(kit::kind(&bye), "BYE");
    assert_eq!(tag_of(&bye, &HeaderName::From), tag, "our tag");
    assert_eq!(tag_of(&bye, &HeaderName::To), "peer");
    assert!(bye.value(&HeaderName::Route).unwrap().contains("192.0.2.9"));
    assert_eq!(bench.sent_flows.last().unwrap().remote.to_string(), "192.0.2.9:5060");
    let cseq: u32 = bye.value(&HeaderName::CSeq).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(cseq > 10_000, "beyond anything that was sent in between: {cseq}");
    assert!(bye.value(&HeaderName::Reason).unwrap().contains("server_crash"));
    let copies = bench.sent.len();
    bench.pass_ms(600);
    assert_eq!(bench.sent.len(), copies + 1, "a BYE that is lost is sent again");
    bench.pass_ms(60_000);
    assert_eq!(bench.take_event_names(), "Ended");
    assert_eq!(bench.endpoint.statistics().dialogs, 0);
}

#[test]
fn over_a_stream_the_old_connection_is_not_waited_for() {
    let (saved, _) = call(tcp(), &invite("call", "z9hG4bK1"));
    let mut bench = Bench::new(tcp());
    farewell(&mut bench, saved, Flow { connection: 0, ..tcp() });
    assert!(bench.sent_flows.last().unwrap().is_any_stream(), "a new one, or whichever there is");
}

#[test]
fn what_was_kept_is_not_trusted_with_lines_of_its_own_and_goes_once() {
    let (saved, _) = call(udp(), &invite("call", "z9hG4bK1"));
    let mut bench = Bench::new(udp());
    let bad = SavedDialog { remote_party: format!("{}\r\nX: y", saved.remote_party), ..saved.clone() };
    farewell(&mut bench, bad, udp());
    assert!(bench.sent.is_empty());
    farewell(&mut bench, saved.clone(), udp());
    farewell(&mut bench, saved, udp());
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.endpoint.statistics().commands_ignored, 2);
}
