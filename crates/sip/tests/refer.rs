//! REFER, NOTIFY and Replaces (RFC 3515, RFC 3891), seen from the peer.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{Bench, in_dialog, invite, kind, ok, request, response, udp, value, with_headers};
use sip::{Command, EndpointConfig, Event};

const REFER_TO: &str = "Refer-To: <sip:carol@192.0.2.9?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n\
                        Referred-By: <sip:ann@example.org>\r\n";

fn refer(tag: &str, cseq: u32) -> String {
    with_headers(&in_dialog("REFER", cseq, &format!("z9hG4bKrefer{cseq}"), tag), REFER_TO)
}

fn notify(tag: &str, cseq: u32, state: &str) -> String {
    let text = in_dialog("NOTIFY", cseq, &format!("z9hG4bKnotify{cseq}"), tag);
    with_headers(&text, &format!("Event: refer\r\nSubscription-State: {state}\r\n"))
}

#[test]
fn a_refer_is_for_the_user_and_202_opens_its_subscription() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.receive(&refer(&tag, 2));
    assert_eq!(bench.take_sent_kinds(), "");
    let events = bench.take_events();
    let [Event::Refer { refer_to, referred_by, replaces, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(refer_to.starts_with("sip:carol@192.0.2.9"));
    assert_eq!(referred_by.as_deref(), Some("<sip:ann@example.org>"));
    assert_eq!(replaces.as_ref().unwrap().call_id, "x@y");
    bench.command(Command::RespondRefer { dialog, status: 202 });
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["202", "NOTIFY"]);
    assert_eq!(
        (value(&sent[1], "Event"), sent[1].body.as_slice()),
        ("refer", &b"SIP/2.0 100 Trying\r\n"[..])
    );
    assert!(value(&sent[1], "Subscription-State").starts_with("active"));
    bench.receive(&ok(&sent[1]));
    let done = |state: &str| Command::Notify {
        dialog,
        event: "refer".into(),
        state: state.into(),
        content_type: "message/sipfrag;version=2.0".into(),
        body: "SIP/2.0 200 OK\r\n".into(),
    };
    bench.command(done("terminated;reason=noresource"));
    assert_eq!(bench.take_sent_kinds(), "NOTIFY");
    bench.command(done("active"));
    assert_eq!(bench.take_sent_kinds(), "", "the subscription is over");
    bench.receive(&refer(&tag, 3));
    bench.command(Command::RespondRefer { dialog, status: 202 });
    assert_eq!(value(&bench.take_sent()[1], "Event"), "refer;id=3", "RFC 3515 section 2.4.6");
}

#[test]
fn a_refer_that_nobody_answers_is_declined_after_five_seconds() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&refer(&tag, 2));
    bench.pass_ms(4_999);
    assert_eq!(bench.take_sent_kinds(), "");
    bench.pass_ms(1);
    assert_eq!(bench.take_sent_kinds(), "603");
    assert_eq!(bench.endpoint.statistics().dialogs, 1);
}

#[test]
fn refers_that_cannot_be_meant_are_refused() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    for (cseq, extra) in [
        (2, ""),
        (3, "Refer-To: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>\r\n"),
        (4, "Refer-To: <http://x>\r\n"),
        (5, "Refer-To: <sip:a@192.0.2.9\r\n"),
    ] {
        bench.receive(&with_headers(&in_dialog("REFER", cseq, &format!("z9hG4bKr{cseq}"), &tag), extra));
        assert_eq!(bench.take_sent_kinds(), "400", "{extra}");
    }
    bench.receive(&refer(&tag, 6));
    bench.receive(&refer(&tag, 7));
    assert_eq!(bench.take_sent_kinds(), "491", "one at a time");
    bench.receive(&with_headers(&request("REFER", "other", "z9hG4bKo", ""), REFER_TO));
    assert_eq!(bench.take_sent_kinds(), "403", "only who is in a call with us");
}

#[test]
fn notifies_after_our_refer_get_200_also_when_the_call_is_over() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.receive(&notify(&tag, 2, "active"));
    assert_eq!(bench.take_sent_kinds(), "481", "nobody subscribed");
    bench.command(Command::Refer {
        dialog,
        refer_to: "sip:carol@192.0.2.9".into(),
        referred_by: Some("<sip:us@192.0.2.1>".into()),
        headers: vec![("X-Customer".into(), "7".into()), ("Via".into(), "forged".into())],
    });
    let sent = bench.take_sent().pop().unwrap();
    assert_eq!(
        (value(&sent, "Refer-To"), value(&sent, "Referred-By")),
        ("<sip:carol@192.0.2.9>", "<sip:us@192.0.2.1>")
    );
    bench.receive(&notify(&tag, 3, "active;expires=60"));
    bench.receive(&response(&sent, 202, "", "", ""));
    assert_eq!(bench.take_sent_kinds(), "200");
    let events = bench.take_events();
    assert!(
        matches!(&events[0], Event::Notify { event, state, .. } if event == "refer" && state == "active;expires=60")
    );
    assert!(matches!(&events[1], Event::Referred { status: 202, .. }));
    bench.receive(&with_headers(&in_dialog("NOTIFY", 4, "z9hG4bKp", &tag), "Event: presence\r\n"));
    assert_eq!(bench.take_sent_kinds(), "489");
    bench.command(Command::Bye { dialog, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    bench.receive(&ok(&bye));
    bench.receive(&notify(&tag, 5, "terminated"));
    assert_eq!(bench.take_sent_kinds(), "200", "the subscription outlives the call");
    bench.pass_ms(181_000);
    bench.receive(&notify(&tag, 6, "terminated"));
    assert_eq!(bench.take_sent_kinds(), "481");
}

#[test]
fn a_refused_refer_is_told_and_expects_no_notify() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.command(Command::Refer {
        dialog,
        refer_to: "sip:carol@192.0.2.9".into(),
        referred_by: None,
        headers: Vec::new(),
    });
    let sent = bench.take_sent().pop().unwrap();
    bench.receive(&response(&sent, 603, "", "", ""));
    assert!(matches!(bench.take_events()[..], [Event::Referred { status: 603, .. }]));
    bench.receive(&notify(&tag, 2, "active"));
    assert_eq!(bench.take_sent_kinds(), "481");
    bench.command(Command::Refer {
        dialog,
        refer_to: "sip:carol@192.0.2.9".into(),
        referred_by: None,
        headers: Vec::new(),
    });
    bench.pass_ms(32_000);
    assert!(matches!(bench.take_events()[..], [Event::Referred { status: 408, .. }]));
}

#[test]
fn a_refer_that_waits_when_the_call_ends_still_gets_an_answer() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&refer(&tag, 2));
    bench.receive(&in_dialog("BYE", 3, "z9hG4bKb", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 487");
}

#[test]
fn an_invite_may_name_the_dialog_that_it_replaces() {
    let mut bench = Bench::new(udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bK1"), "Replaces: a@b;to-tag=1;from-tag=2\r\n"));
    let events = bench.take_events();
    let Event::Invite(invite_event) = &events[0] else { panic!("{events:?}") };
    assert_eq!(invite_event.replaces.as_ref().unwrap().from_tag, "2");
    bench.take_sent();
    let required = "Require: replaces\r\nReplaces: a@b;to-tag=1;from-tag=2\r\n";
    bench.receive(&with_headers(&invite("call2", "z9hG4bK2"), required));
    assert_eq!(bench.take_sent_kinds(), "420", "nobody takes such calls here");
    let mut bench = Bench::with(EndpointConfig { replaces: true, ..EndpointConfig::default() }, udp());
    bench.receive(&with_headers(&invite("call2", "z9hG4bK2"), required));
    assert_eq!(bench.take_sent_kinds(), "100");
    let twice = "Replaces: a@b;to-tag=1;from-tag=2\r\nReplaces: a@b;to-tag=1;from-tag=3\r\n";
    bench.receive(&with_headers(&invite("call3", "z9hG4bK3"), twice));
    bench.receive(&with_headers(&invite("call4", "z9hG4bK4"), "Replaces: nonsense\r\n"));
    assert_eq!(bench.take_sent_kinds(), "400 400", "RFC 3891 section 3");
}
