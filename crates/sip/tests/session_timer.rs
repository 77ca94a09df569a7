//! Session timers (RFC 4028) in both roles, seen from the peer.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, in_dialog, invite, kind, ok, response, udp, value, with_headers, with_sdp};
use sip::message::Message;
use sip::{
    Command, DialogKey, DialogPolicy, EndpointConfig, Event, OutgoingInvite, Refresher, SessionTimer,
    SessionTimerMode,
};

const KEY: DialogKey = DialogKey(1 << 63 | 5);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.7:5062>\r\n";

fn timer(mode: SessionTimerMode, expires_s: u32) -> DialogPolicy {
    let session_timer = SessionTimer { mode, expires_s, min_se_s: 90, refresher: Refresher::Us };
    DialogPolicy { session_timer, ..DialogPolicy::default() }
}

fn with_policy(policy: DialogPolicy) -> Bench {
    Bench::with(EndpointConfig { default_policy: policy, ..EndpointConfig::default() }, udp())
}

fn place(bench: &mut Bench, policy: DialogPolicy) -> Message {
    bench.command(Command::Invite(OutgoingInvite {
        policy,
        ..OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:agent@example.org", udp(), OFFER)
    }));
    bench.take_sent().pop().unwrap()
}

/// Answers every request of ours with 200 for `seconds`; returns the kinds that were answered, with their second.
fn live(bench: &mut Bench, seconds: u64, extra: &str) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    for _ in 0..seconds {
        bench.pass_ms(1000);
        let sent: Vec<(u64, Message)> = std::mem::take(&mut bench.sent);
        for (at, message) in sent {
            let kind = kind(&message);
            if matches!(kind.as_str(), "UPDATE" | "INVITE" | "BYE") {
                seen.push((at / 1000, kind.clone()));
                let body = if kind == "INVITE" { ANSWER } else { "" };
                bench.receive(&response(&message, 200, "", &format!("{CONTACT}{extra}"), body));
            }
        }
        bench.sent.retain(|(_, message)| kind(message) != "ACK");
    }
    seen
}

#[test]
fn a_caller_that_asks_for_a_timer_gets_it_and_is_to_refresh() {
    let mut bench = Bench::new(udp());
    let extra = "Supported: timer\r\nSession-Expires: 600\r\n";
    let (_, _, ok) = bench.established_with(extra);
    assert_eq!((value(&ok, "Session-Expires"), value(&ok, "Require")), ("600;refresher=uac", "timer"));
    assert!(value(&ok, "Supported").contains("timer"));
    let mut bench = Bench::new(udp());
    bench.established();
    bench.pass_ms(4_000_000);
    assert_eq!(bench.take_sent_kinds(), "", "nobody asked: no timer");
}

#[test]
fn an_interval_that_is_too_small_gets_422_with_the_least_we_take() {
    let mut bench = Bench::new(udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bK1"), "k: timer\r\nx: 30\r\n"));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Min-SE")), ("422", "90"));
    bench.receive(&with_headers(&invite("call2", "z9hG4bK2"), "x: 30\r\n"));
    assert_eq!(bench.take_sent_kinds(), "100", "a caller without the extension could not heed it");
}

#[test]
fn a_dead_caller_is_given_up_before_its_interval_is_over() {
    let mut bench = Bench::new(udp());
    bench.established_with("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    bench.pass_ms(59_999);
    assert_eq!(bench.take_event_names(), "");
    bench.pass_ms(1);
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(value(&bye, "Reason"), "SIP;cause=408;text=\"Session expired\"");
    assert_eq!(bench.take_event_names(), "SessionExpired");
    bench.pass_ms(30_000);
    assert_eq!(bench.take_event_names(), "Ended", "reclaimed within its interval");
    assert_eq!(bench.endpoint.statistics().dialogs, 0);
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn every_refresh_of_the_caller_starts_its_interval_again() {
    let mut bench = Bench::new(udp());
    let (dialog, tag, _) =
        bench.established_with("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    for number in 0..40 {
        bench.pass_ms(45_000);
        let method = if number % 2 == 0 { "UPDATE" } else { "INVITE" };
        let text = in_dialog(method, 2 + number, &format!("z9hG4bKr{number}"), &tag);
        let text = with_headers(&text, "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
        bench.receive(&if method == "INVITE" { with_sdp(&text, OFFER) } else { text });
        if method == "INVITE" {
            bench.respond(dialog, 200);
            bench.receive(&in_dialog("ACK", 2 + number, &format!("z9hG4bKa{number}"), &tag));
        }
        let ok = bench.take_sent().pop().unwrap();
        assert_eq!((kind(&ok).as_str(), value(&ok, "Session-Expires")), ("200", "90;refresher=uac"));
    }
    assert!(!bench.take_event_names().contains("Expired"));
}

#[test]
fn a_call_of_two_hours_with_90_s_lives_on_our_refreshes() {
    for allow in ["Allow: INVITE, ACK, BYE, UPDATE\r\n", "Allow: INVITE, ACK, BYE\r\n"] {
        let mut bench = Bench::new(udp());
        let extra = format!("Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n{allow}");
        let (_, _, ok) = bench.established_with(&extra);
        assert_eq!(value(&ok, "Session-Expires"), "90;refresher=uas");
        let echo = format!("Session-Expires: 90;refresher=uac\r\nRequire: timer\r\n{allow}");
        let seen = live(&mut bench, 7200, &echo);
        let wanted = if allow.contains("UPDATE") { "UPDATE" } else { "INVITE" };
        assert!(
            seen.len() >= 170 && seen.iter().all(|(_, kind)| kind == wanted),
            "{} {:?}",
            seen.len(),
            seen.first()
        );
        assert_eq!(seen[0].0, 40, "at half the interval less 5 s");
        assert!(!bench.take_event_names().contains("Expired"));
        assert_eq!(bench.endpoint.statistics().dialogs, 1);
    }
}

#[test]
fn a_refresh_by_reinvite_repeats_our_description_word_for_word() {
    let mut bench = Bench::new(udp());
    bench.established_with("Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n");
    bench.pass_ms(40_000);
    let reinvite = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&reinvite).as_str(), reinvite.body.as_slice()), ("INVITE", ANSWER.as_bytes()));
    assert_eq!(value(&reinvite, "Session-Expires"), "90;refresher=uac");
    bench.receive(&response(
        &reinvite,
        200,
        "",
        &format!("{CONTACT}Session-Expires: 90;refresher=uac\r\n"),
        OFFER,
    ));
    assert_eq!(
        (bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()),
        ("ACK", ""),
        "nothing new"
    );
    bench.pass_ms(40_000);
    let again = bench.take_sent().pop().unwrap();
    let moved = OFFER.replace("4000", "4002");
    bench.receive(&response(
        &again,
        200,
        "",
        &format!("{CONTACT}Session-Expires: 90;refresher=uac\r\n"),
        &moved,
    ));
    assert_eq!(bench.take_event_names(), "Answered", "the peer used the occasion to move");
}

#[test]
fn a_peer_that_answers_no_refresh_is_given_up_in_time() {
    let mut bench = Bench::new(udp());
    bench.established_with("Supported: timer\r\nAllow: UPDATE\r\nSession-Expires: 90;refresher=uas\r\n");
    bench.pass_ms(60_000);
    assert!(bench.take_sent_kinds().starts_with("UPDATE UPDATE"));
    assert_eq!(bench.take_event_names(), "SessionExpired");
    bench.pass_ms(30_000);
    assert_eq!(bench.take_event_names(), "Ended");
}

#[test]
fn a_refresh_that_finds_no_dialog_ends_the_call_at_once() {
    let mut bench = Bench::new(udp());
    bench.established_with("Supported: timer\r\nAllow: UPDATE\r\nSession-Expires: 90;refresher=uas\r\n");
    bench.pass_ms(40_000);
    let update = bench.take_sent().pop().unwrap();
    bench.receive(&response(&update, 481, "", "", ""));
    assert_eq!(
        (bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()),
        ("BYE", "SessionExpired")
    );
}

#[test]
fn a_refused_or_crossed_refresh_is_tried_again_before_the_end() {
    let mut bench = Bench::new(udp());
    bench.established_with("Supported: timer\r\nAllow: UPDATE\r\nSession-Expires: 90;refresher=uas\r\n");
    bench.pass_ms(40_000);
    let update = bench.take_sent().pop().unwrap();
    bench.receive(&response(&update, 491, "", "", ""));
    bench.pass_ms(2_100);
    let update = bench.take_sent().pop().unwrap();
    bench.receive(&response(&update, 405, "", "", ""));
    bench.pass_ms(10);
    let reinvite = bench.take_sent().pop().unwrap();
    assert_eq!(kind(&reinvite), "INVITE", "no UPDATE there after all");
    bench.receive(&response(&reinvite, 500, "", "", ""));
    bench.take_sent();
    bench.pass_ms(5_000);
    assert_eq!(kind(&bench.take_sent().remove(0)), "INVITE");
}

#[test]
fn our_invite_asks_for_a_timer_and_obeys_a_422() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, timer(SessionTimerMode::Offer, 300));
    assert_eq!((value(&invite, "Session-Expires"), value(&invite, "Min-SE")), ("300;refresher=uac", "90"));
    bench.receive(&response(&invite, 422, "them", "Min-SE: 1200\r\n", ""));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    let second = &sent[1];
    assert_eq!((value(second, "Session-Expires"), value(second, "Min-SE")), ("1200;refresher=uac", "1200"));
    assert_eq!(value(second, "Call-ID"), value(&invite, "Call-ID"));
    assert_eq!(value(second, "From"), value(&invite, "From"));
    assert_eq!(second.body, invite.body);
    assert_ne!(
        (value(second, "CSeq"), value(second, "Via")),
        (value(&invite, "CSeq"), value(&invite, "Via"))
    );
    bench.receive(&response(second, 422, "them", "Min-SE: 1200\r\n", ""));
    assert!(
        matches!(bench.take_events()[..], [Event::Failed { status: 422, .. }, Event::Ended { .. }]),
        "no loop"
    );
}

#[test]
fn without_the_extension_at_the_peer_we_keep_our_timer_up_alone() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, timer(SessionTimerMode::Offer, 180));
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    bench.take_sent();
    let seen = live(&mut bench, 600, "");
    assert!(seen.len() >= 6 && seen.iter().all(|(_, kind)| kind == "INVITE"), "{seen:?}");
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, DialogPolicy::default());
    assert_eq!(value(&invite, "Session-Expires"), "", "accepting is not asking");
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    bench.pass_ms(10_000_000);
    assert_eq!(bench.take_sent_kinds(), "ACK");
}

#[test]
fn the_answer_of_the_peer_says_who_refreshes() {
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, timer(SessionTimerMode::Offer, 1800));
    let extra = format!("{CONTACT}Session-Expires: 120;refresher=uas\r\n");
    bench.receive(&response(&invite, 200, "them", &extra, ANSWER));
    bench.take_sent();
    bench.pass_ms(87_999);
    assert_eq!(bench.take_sent_kinds(), "", "it does");
    bench.pass_ms(1);
    assert_eq!(bench.take_sent_kinds(), "BYE");
}

#[test]
fn where_the_timer_is_required_a_peer_without_it_is_refused_and_where_it_is_off_nobody_has_it() {
    let mut bench = with_policy(timer(SessionTimerMode::Require, 1800));
    bench.receive(&invite("call", "z9hG4bK1"));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Require")), ("421", "timer"));
    let invite_out = place(&mut bench, timer(SessionTimerMode::Require, 1800));
    assert_eq!(value(&invite_out, "Require"), "timer");
    let mut bench = with_policy(timer(SessionTimerMode::Off, 1800));
    bench.receive(&with_headers(&invite("other", "z9hG4bK1"), "Require: timer\r\nSession-Expires: 90\r\n"));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Unsupported")), ("420", "timer"));
    let (_, _, ok) = bench.established_with("Supported: timer\r\nSession-Expires: 90\r\n");
    assert_eq!(value(&ok, "Session-Expires"), "");
    assert!(!value(&ok, "Supported").contains("timer"));
}

#[test]
fn an_absurd_interval_neither_overflows_nor_makes_us_busy() {
    let mut bench = Bench::new(udp());
    let (_, _, ok) = bench.established_with(
        "Supported: timer\r\nSession-Expires: 99999999999999;refresher=uas\r\nMin-SE: 4294967295\r\n",
    );
    assert_eq!(value(&ok, "Session-Expires"), "86400;refresher=uas");
    let mut bench = Bench::new(udp());
    let invite = place(&mut bench, timer(SessionTimerMode::Offer, 300));
    bench.receive(&response(&invite, 200, "them", &format!("{CONTACT}Session-Expires: 0\r\n"), ANSWER));
    bench.take_sent();
    bench.pass_ms(39_000);
    assert_eq!(bench.take_sent_kinds(), "", "90 s at least");
}

#[test]
fn a_reinvite_for_hold_without_the_header_does_not_stop_the_timer() {
    let mut bench = Bench::new(udp());
    let (dialog, tag, _) =
        bench.established_with("Supported: timer\r\nAllow: UPDATE\r\nSession-Expires: 90;refresher=uas\r\n");
    let hold =
        with_headers(&in_dialog("INVITE", 2, "z9hG4bKh", &tag), "Supported: timer\r\nAllow: UPDATE\r\n");
    bench.receive(&with_sdp(&hold, OFFER));
    bench.respond(dialog, 200);
    let answer = bench.take_sent().pop().unwrap();
    assert_eq!(value(&answer, "Session-Expires"), "90;refresher=uas");
    bench.receive(&in_dialog("ACK", 2, "z9hG4bKack2", &tag));
    bench.pass_ms(40_000);
    let update = bench.take_sent().pop().unwrap();
    assert_eq!(kind(&update), "UPDATE");
    bench.receive(&ok(&update));
}
