//! Reliable provisional responses and PRACK (RFC 3262), seen from the peer.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{
    ANSWER, Bench, OFFER, in_dialog, invite, kind, request, response, tag_of, udp, value, with_headers,
    with_sdp,
};
use sip::message::{HeaderName, Message};
use sip::{Command, DialogKey, DialogPolicy, EndpointConfig, Event, OutgoingInvite, Reliable};
use std::time::Duration;

const KEY: DialogKey = DialogKey(1 << 63 | 5);
const SUPPORTED: &str = "Supported: 100rel\r\n";

fn ring(bench: &mut Bench, dialog: DialogKey, (status, sdp): (u16, Option<&str>)) {
    let sdp = sdp.map(str::to_owned);
    bench.command(Command::Respond { dialog, status, reason: None, sdp, headers: vec![] });
}

/// An INVITE with early media on its way; returns the dialog, the 183 and our tag.
fn early_media(bench: &mut Bench) -> (DialogKey, Message, String) {
    bench.receive(&with_headers(&invite("call", "z9hG4bKinv"), SUPPORTED));
    let dialog = bench.last_dialog();
    ring(bench, dialog, (183, Some(ANSWER)));
    let progress = bench.take_sent().pop().unwrap();
    let tag = tag_of(&progress, &HeaderName::To);
    (dialog, progress, tag)
}

fn prack(tag: &str, cseq: u32, rack: &str) -> String {
    with_headers(&in_dialog("PRACK", cseq, &format!("z9hG4bKprack{cseq}"), tag), &format!("RAck: {rack}\r\n"))
}

#[test]
fn a_description_in_a_183_is_repeated_until_its_prack_and_the_200_waits_for_it() {
    let mut bench = Bench::new(udp());
    let (dialog, progress, tag) = early_media(&mut bench);
    assert_eq!((value(&progress, "Require"), progress.body.as_slice()), ("100rel", ANSWER.as_bytes()));
    let rseq: u32 = value(&progress, "RSeq").parse().unwrap();
    bench.pass_ms(4000);
    let times: Vec<u64> = bench.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1500, 3500], "T1 and doubling");
    bench.take_sent();
    bench.respond(dialog, 200);
    assert_eq!(bench.take_sent_kinds(), "", "the 200 waits (section 3)");
    bench.receive(&prack(&tag, 2, &format!("{rseq} 1 INVITE")));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["200", "200"]);
    assert_eq!((value(&sent[0], "CSeq"), value(&sent[1], "CSeq")), ("2 PRACK", "1 INVITE"));
    assert!(sent[1].body.is_empty(), "the answer has been given; again it would be an offer");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
    bench.pass_ms(10_000);
    assert_eq!(bench.take_sent_kinds(), "");
    assert_eq!(bench.take_event_names(), "Invite Acked");
}

#[test]
fn a_reliable_response_that_nobody_acknowledges_fails_the_invite_with_504() {
    let mut bench = Bench::new(udp());
    early_media(&mut bench);
    bench.pass_ms(31_999);
    assert_eq!(bench.take_event_names(), "Invite");
    bench.take_sent();
    bench.pass_ms(1);
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("504", "Ended"));
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn one_reliable_response_is_open_at_a_time_and_their_numbers_follow_each_other() {
    let mut bench = Bench::new(udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bKinv"), SUPPORTED));
    let dialog = bench.last_dialog();
    ring(&mut bench, dialog, (180, None));
    ring(&mut bench, dialog, (183, Some(ANSWER)));
    let first = bench.take_sent().pop().unwrap();
    assert_eq!(kind(&first), "180", "the 183 waits");
    let rseq: u32 = value(&first, "RSeq").parse().unwrap();
    let tag = tag_of(&first, &HeaderName::To);
    bench.receive(&prack(&tag, 2, &format!("{rseq} 1 INVITE")));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["200", "183"]);
    assert_eq!(value(&sent[1], "RSeq"), (rseq + 1).to_string());
}

#[test]
fn a_prack_for_something_else_gets_481() {
    let mut bench = Bench::new(udp());
    let (_, progress, tag) = early_media(&mut bench);
    let rseq: u32 = value(&progress, "RSeq").parse().unwrap();
    for (cseq, rack) in [
        (2, format!("{} 1 INVITE", rseq + 1)),
        (3, format!("{rseq} 2 INVITE")),
        (4, "x".into()),
        (5, format!("{rseq} 1 UPDATE")),
    ] {
        bench.receive(&prack(&tag, cseq, &rack));
        assert_eq!(bench.take_sent_kinds(), "481", "{rack}");
    }
    bench.receive(&request("PRACK", "nothing", "z9hG4bKp", "RAck: 1 1 INVITE\r\n"));
    assert_eq!(bench.take_sent_kinds(), "481");
}

#[test]
fn a_180_without_description_does_not_hold_the_200_back_and_its_prack_still_gets_200() {
    let mut bench = Bench::new(udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bKinv"), SUPPORTED));
    let dialog = bench.last_dialog();
    ring(&mut bench, dialog, (180, None));
    bench.respond(dialog, 200);
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["100", "180", "200"]);
    assert!(!sent[2].body.is_empty());
    let tag = tag_of(&sent[2], &HeaderName::To);
    bench.receive(&prack(&tag, 2, &format!("{} 1 INVITE", value(&sent[1], "RSeq"))));
    assert_eq!(bench.take_sent_kinds(), "200", "it crossed the final response");
}

#[test]
fn a_peer_that_says_nothing_of_100rel_gets_plain_responses() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bKinv"));
    let dialog = bench.last_dialog();
    ring(&mut bench, dialog, (183, Some(ANSWER)));
    let progress = bench.take_sent().pop().unwrap();
    assert_eq!((value(&progress, "Require"), value(&progress, "RSeq")), ("", ""));
    bench.pass_ms(5000);
    assert_eq!(bench.take_sent_kinds(), "");
}

#[test]
fn where_100rel_is_required_a_peer_without_it_gets_421_and_where_it_is_off_420() {
    let policy = DialogPolicy { reliable: Reliable::Required, ..DialogPolicy::default() };
    let mut bench =
        Bench::with(EndpointConfig { default_policy: policy, ..EndpointConfig::default() }, udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Require")), ("421", "100rel"));
    bench.receive(&with_headers(&invite("other", "z9hG4bK2"), SUPPORTED));
    assert_eq!(bench.take_sent_kinds(), "100");
    let policy = DialogPolicy { reliable: Reliable::Off, ..DialogPolicy::default() };
    let mut bench =
        Bench::with(EndpointConfig { default_policy: policy, ..EndpointConfig::default() }, udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bK1"), "Require: 100rel\r\n"));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Unsupported")), ("420", "100rel"));
}

#[test]
fn a_late_offer_goes_out_reliably_and_its_answer_comes_with_the_prack() {
    let mut bench = Bench::new(udp());
    bench.receive(&request("INVITE", "call", "z9hG4bK1", "Supported: 100rel\r\nContent-Length: 0\r\n"));
    let dialog = bench.last_dialog();
    ring(&mut bench, dialog, (180, None));
    ring(&mut bench, dialog, (183, Some(OFFER)));
    let sent = bench.take_sent();
    assert_eq!(value(&sent[1], "RSeq"), "", "the first reliable response must carry the offer");
    let tag = tag_of(&sent[2], &HeaderName::To);
    let text = prack(&tag, 2, &format!("{} 1 INVITE", value(&sent[2], "RSeq")));
    bench.receive(&with_sdp(&text, ANSWER));
    bench.respond(dialog, 200);
    let ok = bench.take_sent().pop().unwrap();
    assert!(ok.body.is_empty(), "offer and answer are complete");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
    let events = bench.take_events();
    assert!(matches!(&events[1], Event::Acked { sdp: Some(sdp), .. } if sdp == ANSWER));
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut bench = Bench::new(udp());
    let (dialog, progress, tag) = early_media(&mut bench);
    bench.take_events();
    bench.receive(&with_sdp(&prack(&tag, 2, &format!("{} 1 INVITE", value(&progress, "RSeq"))), OFFER));
    let events = bench.take_events();
    assert!(matches!(&events[0], Event::Reinvite { offer: Some(offer), .. } if offer == OFFER));
    assert_eq!(bench.take_sent_kinds(), "");
    bench.respond(dialog, 200);
    let ok = bench.take_sent().pop().unwrap();
    assert_eq!((value(&ok, "CSeq"), ok.body.as_slice()), ("2 PRACK", ANSWER.as_bytes()));
    bench.respond(dialog, 200);
    assert_eq!(value(&bench.take_sent().pop().unwrap(), "CSeq"), "1 INVITE");
}

fn place(bench: &mut Bench, reliable: Reliable) -> Message {
    let policy = DialogPolicy { reliable, ..DialogPolicy::default() };
    bench.command(Command::Invite(OutgoingInvite {
        policy,
        ..OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:agent@example.org", udp(), OFFER)
    }));
    bench.take_sent().pop().unwrap()
}

fn reliably(rseq: u32, contact: &str) -> String {
    format!("Require: 100rel\r\nRSeq: {rseq}\r\nContact: <sip:{contact}>\r\n")
}

#[test]
fn every_reliable_response_to_our_invite_gets_its_prack_in_order_and_once() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, Reliable::Required);
    assert_eq!(value(&invite, "Require"), "100rel");
    let cseq: u32 = value(&invite, "CSeq").split(' ').next().unwrap().parse().unwrap();
    bench.receive(&response(&invite, 183, "them", &reliably(7, "bob@192.0.2.7:5062"), ANSWER));
    let first = bench.take_sent().pop().unwrap();
    assert_eq!(
        (kind(&first).as_str(), value(&first, "RAck")),
        ("PRACK", format!("7 {cseq} INVITE").as_str())
    );
    assert!(value(&first, "To").ends_with("tag=them"));
    bench.receive(&response(&invite, 183, "them", &reliably(7, "bob@192.0.2.7:5062"), ANSWER));
    bench.receive(&response(&invite, 180, "them", &reliably(9, "bob@192.0.2.7:5062"), ""));
    assert_eq!(bench.take_sent_kinds(), "", "a copy and one out of order");
    assert_eq!(bench.take_event_names(), "Progress");
    bench.receive(&response(&invite, 180, "them", &reliably(8, "bob@192.0.2.7:5062"), ""));
    assert!(value(&bench.take_sent().pop().unwrap(), "RAck").starts_with("8 "));
    bench.receive(&kit::ok(&first));
    bench.receive(&response(&invite, 200, "them", "Contact: <sip:bob@192.0.2.7:5062>\r\n", ""));
    let events = bench.take_events();
    let answered =
        events.iter().any(|event| matches!(event, Event::Answered { sdp: Some(sdp), .. } if sdp == ANSWER));
    assert!(answered, "the answer that came reliably is the call's answer");
}

#[test]
fn forks_are_acknowledged_each_in_its_own_early_dialog() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, Reliable::Supported);
    for (tag, rseq) in [("one", 100), ("two", 5), ("one", 101), ("two", 6)] {
        let extra = reliably(rseq, &format!("{tag}@192.0.2.7:5070"));
        bench.receive(&response(&invite, 180, tag, &extra, ""));
        let prack = bench.take_sent().pop().unwrap();
        let sip::message::StartLine::Request { uri, .. } = &prack.start else { panic!("a request") };
        assert_eq!(uri, &format!("sip:{tag}@192.0.2.7:5070"));
        assert_eq!(tag_of(&prack, &HeaderName::To), tag);
        assert!(value(&prack, "RAck").starts_with(&format!("{rseq} ")));
    }
}

#[test]
fn a_prack_that_is_lost_is_sent_again() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, Reliable::Supported);
    bench.receive(&response(&invite, 180, "them", &reliably(1, "bob@192.0.2.7"), ""));
    bench.pass(Duration::from_millis(1600));
    assert_eq!(bench.take_sent_kinds(), "PRACK PRACK PRACK");
}

#[test]
fn early_media_that_is_not_wanted_is_neither_sent_nor_told() {
    let policy = DialogPolicy { early_media: false, ..DialogPolicy::default() };
    let config = EndpointConfig { default_policy: policy.clone(), ..EndpointConfig::default() };
    let mut bench = Bench::with(config, udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    ring(&mut bench, dialog, (183, Some(ANSWER)));
    assert!(bench.take_sent().pop().unwrap().body.is_empty());
    bench.take_events();
    bench.command(Command::Invite(OutgoingInvite {
        policy,
        ..OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:agent@example.org", udp(), OFFER)
    }));
    let invite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&invite, 183, "them", "", ANSWER));
    assert!(matches!(&bench.take_events()[0], Event::Progress { status: 183, sdp: None, .. }));
}
