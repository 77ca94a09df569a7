//! Outgoing calls: what the peer sees and what the user is told.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, in_dialog, kind, response, tag_of, tcp, udp, value};
use sip::message::{HeaderName, Message, StartLine};
use sip::{Command, DialogKey, EndpointConfig, Event, Flow, Input, OutgoingInvite};
use std::time::Duration;

const KEY: DialogKey = DialogKey(1 << 63 | 5);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.7:5062>\r\n";

fn place(bench: &mut Bench, flow: Flow) -> Message {
    bench.command(Command::Invite(OutgoingInvite {
        headers: vec![("P-Asserted-Identity".into(), "<sip:agent@example.org>".into())],
        ..OutgoingInvite::new(
            DialogKey::outgoing(5),
            "sip:bob@192.0.2.7",
            "\"Agent\" <sip:agent@example.org>",
            flow,
            OFFER,
        )
    }));
    bench.take_sent().pop().expect("the INVITE")
}

fn answered(bench: &mut Bench) -> Message {
    let invite = place(bench, udp());
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert_eq!(bench.take_event_names(), "Answered");
    invite
}

#[test]
fn a_call_is_placed_rings_is_answered_and_hung_up() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    assert_eq!(value(&invite, "Contact"), "<sip:192.0.2.1:5060>");
    assert_eq!(value(&invite, "Max-Forwards"), "70");
    assert_eq!(value(&invite, "P-Asserted-Identity"), "<sip:agent@example.org>");
    assert!(value(&invite, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK"));
    bench.receive(&response(&invite, 100, "", "", ""));
    bench.receive(&response(&invite, 183, "them", CONTACT, ANSWER));
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    let ack = bench.take_sent().pop().unwrap();
    let StartLine::Request { uri, .. } = &ack.start else { panic!("a request") };
    assert_eq!((kind(&ack).as_str(), uri.as_str()), ("ACK", "sip:bob@192.0.2.7:5062"));
    assert_ne!(value(&ack, "Via"), value(&invite, "Via"), "the ACK of a 2xx is a transaction of its own");
    assert_eq!(value(&ack, "CSeq").split(' ').next(), value(&invite, "CSeq").split(' ').next());
    let events = bench.take_events();
    assert!(matches!(&events[1], Event::Progress { status: 183, sdp: Some(_), .. }));
    assert!(matches!(&events[2], Event::Answered { dialog: KEY, sdp: Some(sdp) } if sdp == ANSWER));
    bench.command(Command::Bye { dialog: KEY, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(value(&bye, "To"), "<sip:bob@192.0.2.7>;tag=them");
    assert_eq!(value(&bye, "From"), value(&invite, "From"));
    bench.receive(&response(&bye, 200, "", "", ""));
    assert_eq!(bench.take_event_names(), "Ended");
    bench.pass(Duration::from_secs(60));
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0), "reaped");
}

#[test]
fn a_rejection_is_acknowledged_by_its_transaction_and_told_once() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    for _ in 0..3 {
        bench.receive(&response(&invite, 486, "them", "", ""));
    }
    let acks = bench.take_sent();
    assert_eq!(acks.iter().map(kind).collect::<Vec<_>>(), ["ACK", "ACK", "ACK"]);
    assert_eq!(value(&acks[0], "Via"), value(&invite, "Via"), "same branch as the INVITE");
    assert_eq!(value(&acks[0], "To"), "<sip:bob@192.0.2.7>;tag=them");
    let events = bench.take_events();
    assert!(matches!(&events[0], Event::Failed { status: 486, reason, .. } if reason == "Because"));
    assert_eq!(events.len(), 2, "and Ended");
}

#[test]
fn a_challenge_without_credentials_is_a_failure() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    bench.receive(&response(&invite, 407, "them", "", ""));
    assert!(matches!(bench.take_events()[0], Event::Failed { status: 407, .. }));
}

#[test]
fn silence_is_408_after_32_seconds() {
    let mut bench = Bench::new(udp());
    place(&mut bench, udp());
    bench.pass(Duration::from_millis(31_999));
    assert_eq!(bench.take_sent_kinds(), "INVITE INVITE INVITE INVITE INVITE INVITE");
    assert_eq!(bench.take_event_names(), "");
    bench.pass(Duration::from_millis(1));
    assert!(matches!(bench.take_events()[0], Event::Failed { status: 408, .. }));
    assert_eq!(bench.wake, None);
}

#[test]
fn tcp_repeats_nothing_and_a_lost_connection_is_503() {
    let mut bench = Bench::new(tcp());
    let invite = place(&mut bench, tcp());
    assert_eq!(value(&invite, "Contact"), "<sip:192.0.2.1:5060;transport=tcp>");
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.take_sent_kinds(), "");
    bench.step(Input::FlowClosed { flow: tcp() });
    assert!(matches!(bench.take_events()[..], [Event::Failed { status: 503, .. }, Event::Ended { .. }]));
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    bench.command(Command::Cancel { dialog: KEY });
    assert_eq!(bench.take_sent_kinds(), "", "RFC 3261 section 9.1");
    bench.receive(&response(&invite, 180, "them", CONTACT, ""));
    let cancel = bench.take_sent().pop().unwrap();
    assert_eq!(kind(&cancel), "CANCEL");
    assert_eq!(value(&cancel, "Via"), value(&invite, "Via"));
    assert_eq!(value(&cancel, "To"), value(&invite, "To"), "without tag, like the INVITE");
    bench.receive(&response(&cancel, 200, "them", "", ""));
    bench.receive(&response(&invite, 487, "them", "", ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert!(matches!(bench.take_events()[..], [Event::Failed { status: 487, .. }, Event::Ended { .. }]));
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    bench.receive(&response(&invite, 180, "them", CONTACT, ""));
    bench.command(Command::Cancel { dialog: KEY });
    bench.take_sent();
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["ACK", "BYE"]);
    bench.receive(&response(&sent[1], 200, "", "", ""));
    assert_eq!(bench.take_event_names(), "Progress Failed Ended");
}

#[test]
fn a_cancel_without_any_final_response_ends_after_32_seconds() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    bench.receive(&response(&invite, 180, "them", CONTACT, ""));
    bench.command(Command::Cancel { dialog: KEY });
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.take_event_names(), "Progress Failed Ended");
}

#[test]
fn ringing_without_end_is_cancelled() {
    let config = EndpointConfig { ring_limit: Duration::from_secs(30), ..EndpointConfig::default() };
    let mut bench = Bench::with(config, udp());
    let invite = place(&mut bench, udp());
    bench.receive(&response(&invite, 180, "them", CONTACT, ""));
    bench.pass(Duration::from_secs(31));
    assert!(bench.take_sent_kinds().starts_with("CANCEL"));
}

#[test]
fn a_repeated_200_gets_its_ack_again_and_is_told_once() {
    let mut bench = Bench::new(udp());
    let invite = answered(&mut bench);
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert_eq!(bench.take_event_names(), "");
}

#[test]
fn the_200_of_another_fork_is_acknowledged_and_ended() {
    let mut bench = Bench::new(udp());
    let invite = answered(&mut bench);
    let other = "Contact: <sip:other@192.0.2.8>\r\n";
    for _ in 0..2 {
        bench.receive(&response(&invite, 200, "fork", other, ANSWER));
    }
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["ACK", "BYE", "ACK"]);
    assert!(sent.iter().all(|message| tag_of(message, &HeaderName::To) == "fork"));
    assert_eq!(bench.take_event_names(), "");
    assert_eq!(bench.endpoint.statistics().dialogs, 1);
}

#[test]
fn the_answers_record_route_is_reversed_and_kept() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    let routes = format!("Record-Route: <sip:b.example;lr>, <sip:a.example;lr>\r\n{CONTACT}");
    bench.receive(&response(&invite, 200, "them", &routes, ANSWER));
    bench.command(Command::Bye { dialog: KEY, reason: None });
    for message in bench.take_sent() {
        let routes: Vec<_> = message.all(&HeaderName::Route).map(|header| header.value.as_str()).collect();
        assert_eq!(routes, ["<sip:a.example;lr>", "<sip:b.example;lr>"], "{}", kind(&message));
    }
}

#[test]
fn the_peer_can_hang_up_a_call_of_ours() {
    let mut bench = Bench::new(udp());
    let invite = answered(&mut bench);
    let our_tag = tag_of(&invite, &HeaderName::From);
    let bye = in_dialog("BYE", 7, "z9hG4bKb", &our_tag)
        .replace("tag=peer", "tag=them")
        .replace("Call-ID: call", &format!("Call-ID: {}", value(&invite, "Call-ID")))
        .replace("Contact", "Reason: Q.850;cause=16\r\nContact");
    bench.receive(&bye);
    assert_eq!(bench.take_sent_kinds(), "200");
    let events = bench.take_events();
    assert!(matches!(&events[0], Event::Bye { reason: Some(reason), .. } if reason == "Q.850;cause=16"));
    assert!(matches!(events[1], Event::Ended { .. }));
}

#[test]
fn a_reinvite_that_meets_491_is_sent_again_later_by_the_owner_of_the_call_id() {
    let mut bench = Bench::new(udp());
    answered(&mut bench);
    bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    let first = bench.take_sent().pop().unwrap();
    bench.receive(&response(&first, 491, "them", "", ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert_eq!(bench.take_event_names(), "", "not failed yet");
    bench.pass(Duration::from_millis(2_099));
    assert_eq!(bench.take_sent_kinds(), "");
    bench.pass(Duration::from_millis(1_902));
    let second = bench.take_sent().remove(0);
    assert_eq!(kind(&second), "INVITE");
    assert_eq!(second.body, OFFER.as_bytes());
    assert_ne!(value(&second, "CSeq"), value(&first, "CSeq"));
    bench.receive(&response(&second, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.take_event_names(), "Answered");
}

#[test]
fn a_refused_reinvite_leaves_the_call_alone_but_481_ends_it() {
    let mut bench = Bench::new(udp());
    answered(&mut bench);
    bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    let first = bench.take_sent().pop().unwrap();
    bench.receive(&response(&first, 488, "them", "", ""));
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("ACK", "Failed"));
    bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    let second = bench.take_sent().pop().unwrap();
    bench.receive(&response(&second, 481, "them", "", ""));
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("ACK BYE", "Failed"));
}

#[test]
fn only_one_reinvite_at_a_time() {
    let mut bench = Bench::new(udp());
    answered(&mut bench);
    for _ in 0..2 {
        bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    }
    assert_eq!(bench.take_sent_kinds(), "INVITE");
    assert!(matches!(bench.take_events()[..], [Event::Failed { status: 491, .. }]));
}

#[test]
fn a_bye_that_nobody_answers_ends_the_dialog_after_32_seconds() {
    let mut bench = Bench::new(udp());
    answered(&mut bench);
    bench.command(Command::Bye { dialog: KEY, reason: None });
    bench.pass(Duration::from_secs(31));
    assert_eq!(bench.take_event_names(), "");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.take_event_names(), "Ended");
}

#[test]
fn an_open_reinvite_does_not_outlive_the_call() {
    let mut bench = Bench::new(udp());
    answered(&mut bench);
    bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    let reinvite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&reinvite, 100, "them", "", ""));
    bench.command(Command::Bye { dialog: KEY, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    bench.receive(&response(&bye, 200, "", "", ""));
    bench.pass(Duration::from_secs(100));
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn a_call_to_nowhere_fails_at_once() {
    let mut bench = Bench::new(udp());
    for uri in ["not a uri", "http://example.org", "sip:"] {
        bench.command(Command::Invite(OutgoingInvite::new(KEY, uri, "sip:agent@example.org", udp(), OFFER)));
        assert!(
            matches!(bench.take_events()[..], [Event::Failed { status: 400, .. }, Event::Ended { .. }]),
            "{uri}"
        );
    }
    assert_eq!(bench.take_sent_kinds(), "");
}

#[test]
fn responses_to_nothing_are_dropped_and_counted() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, udp());
    let stray = response(&invite, 200, "them", CONTACT, ANSWER).replace("branch=z9hG4bK", "branch=z9hG4bKx");
    bench.receive(&stray);
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("", ""));
    assert_eq!(bench.endpoint.statistics().dropped["response_without_transaction"], 1);
}

#[test]
fn an_hour_of_options_leaves_nothing_behind() {
    let mut bench = Bench::new(udp());
    for number in 0..400 {
        bench.receive(&kit::request("OPTIONS", &format!("o{number}"), &format!("z9hG4bKo{number}"), ""));
        bench.pass(Duration::from_secs(9));
        assert!(bench.endpoint.statistics().transactions <= 4, "completed transactions are reaped");
    }
}
