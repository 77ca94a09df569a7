//! Connections that close under a call, seen from the peer.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, in_dialog, invite, kind, ok, response, tag_of, tcp};
use sip::message::HeaderName;
use sip::{Command, DialogKey, Event, Flow, Input, OutgoingInvite};

const KEY: DialogKey = DialogKey(1 << 63 | 5);

/// A second connection of the same peer.
fn other() -> Flow {
    Flow { connection: 8, remote: "192.0.2.7:40000".parse().unwrap(), ..tcp() }
}

fn close(bench: &mut Bench, flow: Flow) {
    bench.step(Input::FlowClosed { flow });
}

fn receive_on(bench: &mut Bench, flow: Flow, text: &str) {
    bench.step(Input::Message { flow, bytes: text.as_bytes() });
}

#[test]
fn a_ringing_call_whose_connection_closes_ends_soon() {
    let mut bench = Bench::new(tcp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    close(&mut bench, tcp());
    bench.pass_ms(3_999);
    assert_eq!(bench.take_event_names(), "Invite");
    bench.pass_ms(1);
    assert_eq!(bench.take_event_names(), "Cancelled Ended");
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn an_answered_call_without_ack_whose_connection_closes_ends_soon_as_well() {
    let mut bench = Bench::new(tcp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    close(&mut bench, tcp());
    bench.take_sent();
    bench.pass_ms(4_000);
    assert_eq!(bench.take_event_names(), "Invite AckTimeout");
    assert!(bench.take_sent_kinds().ends_with("BYE"));
}

#[test]
fn a_caller_that_comes_back_on_another_connection_keeps_its_call() {
    let mut bench = Bench::new(tcp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    close(&mut bench, tcp());
    receive_on(&mut bench, other(), &invite("call", "z9hG4bK1"));
    bench.pass_ms(10_000);
    bench.take_sent();
    bench.respond(dialog, 200);
    assert_eq!(bench.sent_flows, [other()]);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    receive_on(&mut bench, other(), &in_dialog("ACK", 1, "z9hG4bKack", &tag));
    assert_eq!(bench.take_event_names(), "Invite Acked");
    close(&mut bench, other());
    bench.pass_ms(100_000);
    assert_eq!(bench.take_event_names(), "", "a standing call needs no connection");
}

#[test]
fn a_bye_over_a_closed_connection_goes_to_the_peers_contact_on_a_new_one() {
    let mut bench = Bench::new(tcp());
    let (dialog, _) = bench.established();
    close(&mut bench, tcp());
    bench.command(Command::Bye { dialog, reason: None });
    let new = Flow { connection: 0, ..tcp() };
    assert_eq!(bench.sent_flows, [new], "192.0.2.7:5060 is its Contact");
    let bye = bench.take_sent().pop().unwrap();
    receive_on(&mut bench, other(), &ok(&bye));
    assert_eq!(bench.take_event_names(), "Ended");
}

#[test]
fn a_bye_whose_connection_closes_is_sent_once_more_and_then_given_up() {
    let mut bench = Bench::new(tcp());
    let (dialog, _) = bench.established();
    bench.command(Command::Bye { dialog, reason: None });
    close(&mut bench, tcp());
    let new = Flow { connection: 0, ..tcp() };
    assert_eq!(bench.sent_flows, [tcp(), new]);
    close(&mut bench, new);
    assert_eq!(bench.take_event_names(), "Ended");
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn a_call_of_ours_survives_the_close_of_its_connection_right_after_the_answer() {
    let mut bench = Bench::new(tcp());
    let place = OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:agent@example.org", tcp(), OFFER);
    bench.command(Command::Invite(place));
    let invite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&invite, 200, "them", "Contact: <sip:bob@192.0.2.7:5062>\r\n", ANSWER));
    assert_eq!(bench.take_event_names(), "Answered");
    close(&mut bench, tcp());
    assert_eq!(bench.take_event_names(), "", "its INVITE has been answered");
    bench.take_sent();
    bench.command(Command::Info { dialog: KEY, content_type: "text/plain".into(), body: "x".into() });
    let new = Flow { connection: 0, remote: "192.0.2.7:5062".parse().unwrap(), ..tcp() };
    assert_eq!(bench.sent_flows, [new]);
    let info = bench.take_sent().pop().unwrap();
    receive_on(&mut bench, other(), &ok(&info));
    bench.command(Command::Bye { dialog: KEY, reason: None });
    assert_eq!(bench.sent_flows, [other()], "what it answered on is its connection now");
}

#[test]
fn a_request_on_another_connection_is_answered_there() {
    let mut bench = Bench::new(tcp());
    let (_, tag) = bench.established();
    close(&mut bench, tcp());
    bench.sent_flows.clear();
    receive_on(&mut bench, other(), &in_dialog("INFO", 2, "z9hG4bKi", &tag));
    assert_eq!(bench.sent_flows, [other()]);
    assert!(matches!(bench.take_events()[..], [Event::Info { .. }]));
    assert_eq!(kind(&bench.take_sent()[0]), "200");
}
