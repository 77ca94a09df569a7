//! What we say that we can do is what we can do: Allow, Supported, 405, 420, bodies in several parts.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, in_dialog, invite, kind, request, response, udp, value, with_headers};
use sip::message::{HeaderName, Message};
use sip::{
    Command, DialogKey, DialogPolicy, EndpointConfig, Event, OutgoingInvite, Reliable, SessionTimer,
    SessionTimerMode,
};

const KEY: DialogKey = DialogKey(1 << 63 | 5);

fn options(bench: &mut Bench) -> Message {
    bench.receive(&request("OPTIONS", "o", "z9hG4bKo", ""));
    bench.take_sent().pop().unwrap()
}

#[test]
fn every_method_in_allow_is_served_and_every_other_gets_405_with_the_same_list() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    let allow = value(&options(&mut bench), "Allow").to_owned();
    for (number, method) in allow.split(", ").enumerate() {
        let cseq = 10 + number as u32;
        if !matches!(method, "ACK" | "CANCEL" | "BYE" | "INVITE") {
            let extra = match method {
                "REFER" => "Refer-To: <sip:c@192.0.2.9>\r\n",
                "NOTIFY" => "Event: refer\r\n",
                _ => "",
            };
            bench.receive(&with_headers(&in_dialog(method, cseq, &format!("z9hG4bKm{number}"), &tag), extra));
            let answer = bench.take_sent().pop();
            assert!(answer.is_none_or(|answer| !matches!(kind(&answer).as_str(), "405" | "501")), "{method}");
        }
    }
    for method in ["REGISTER", "SUBSCRIBE", "MESSAGE", "PUBLISH", "invite", "FOO"] {
        bench.receive(&request(method, "x", &format!("z9hG4bKx{method}"), ""));
        let refused = bench.take_sent().pop().unwrap();
        assert_eq!((kind(&refused).as_str(), value(&refused, "Allow")), ("405", allow.as_str()), "{method}");
    }
}

#[test]
fn supported_names_what_the_policy_allows_in_options_invite_and_200() {
    let policy = |mode, reliable| DialogPolicy {
        session_timer: SessionTimer { mode, ..SessionTimer::default() },
        reliable,
        ..DialogPolicy::default()
    };
    for (policy, replaces, expected) in [
        (policy(SessionTimerMode::Accept, Reliable::Supported), true, "timer, 100rel, replaces"),
        (policy(SessionTimerMode::Off, Reliable::Supported), false, "100rel"),
        (policy(SessionTimerMode::Accept, Reliable::Off), false, "timer"),
        (policy(SessionTimerMode::Off, Reliable::Off), false, ""),
    ] {
        let config = EndpointConfig { default_policy: policy.clone(), replaces, ..EndpointConfig::default() };
        let mut bench = Bench::with(config, udp());
        assert_eq!(value(&options(&mut bench), "Supported"), expected);
        let (_, _, ok) = bench.established_with("");
        assert_eq!(value(&ok, "Supported"), expected);
        let invite = OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:us@192.0.2.1", udp(), OFFER);
        bench.command(Command::Invite(OutgoingInvite { policy, ..invite }));
        assert_eq!(value(&bench.take_sent().pop().unwrap(), "Supported"), expected);
    }
}

#[test]
fn a_420_lists_only_what_we_do_not_support() {
    let mut bench = Bench::new(udp());
    let require = "Require: timer, foo\r\nRequire: 100rel, bar;x=1\r\n";
    bench.receive(&with_headers(&invite("call", "z9hG4bK1"), require));
    let refused = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&refused).as_str(), value(&refused, "Unsupported")), ("420", "foo, bar;x=1"));
    bench.receive(&with_headers(&invite("other", "z9hG4bK2"), "Require: timer, 100rel\r\n"));
    assert_eq!(bench.take_sent_kinds(), "100");
}

const PARTS: &str = "--b1\r\nContent-Type: application/isup;version=itu\r\n\r\nabc\r\n--b1\r\n\
                     Content-Type: application/sdp\r\n\r\nSDP\r\n--b1--\r\n";

fn multipart(sdp: &str, kind: &str) -> String {
    let body = PARTS.replace("SDP\r\n", sdp);
    let length = body.len();
    request("INVITE", "call", "z9hG4bK1", &format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n"))
        + &body
}

#[test]
fn a_description_beside_isup_is_the_offer_and_in_a_200_the_answer() {
    let mut bench = Bench::new(udp());
    bench.receive(&multipart(OFFER, "multipart/mixed; boundary=b1"));
    let events = bench.take_events();
    let Event::Invite(invite) = &events[0] else { panic!("{events:?}") };
    assert_eq!(invite.offer.as_deref().map(str::trim_end), Some(OFFER.trim_end()));
    let place = OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:us@192.0.2.1", udp(), OFFER);
    bench.command(Command::Invite(place));
    let ours = bench.take_sent().pop().unwrap();
    let body = PARTS.replace("SDP\r\n", ANSWER);
    let answer = response(&ours, 200, "them", "Contact: <sip:bob@192.0.2.7>\r\n", &body)
        .replace("application/sdp\r\nContent-Length", "multipart/mixed;boundary=\"b1\"\r\nContent-Length");
    bench.receive(&answer);
    let events = bench.take_events();
    let [Event::Answered { sdp: Some(sdp), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(sdp.trim_end(), ANSWER.trim_end());
}

#[test]
fn a_multipart_body_without_its_boundary_gets_400_and_no_call() {
    for kind in ["multipart/mixed", "multipart/mixed;boundary=other"] {
        let mut bench = Bench::new(udp());
        bench.receive(&multipart(OFFER, kind));
        assert_eq!(
            (bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()),
            ("400", ""),
            "{kind}"
        );
    }
}

#[test]
fn the_from_of_requests_in_a_dialog_is_the_invites_and_every_call_has_its_own_tag() {
    let mut bench = Bench::new(udp());
    let mut tags = std::collections::BTreeSet::new();
    for number in 0..10 {
        let from = "\"Agent\" <sip:agent@example.org>";
        let key = DialogKey::outgoing(number);
        bench.command(Command::Invite(OutgoingInvite::new(key, "sip:bob@192.0.2.7", from, udp(), OFFER)));
        let invite = bench.take_sent().pop().unwrap();
        tags.insert(kit::tag_of(&invite, &HeaderName::From));
        bench.receive(&response(
            &invite,
            200,
            "them",
            "Contact: <sip:bob@192.0.2.7>\r\nAllow: UPDATE\r\n",
            ANSWER,
        ));
        bench.command(Command::Update { dialog: key, sdp: None });
        bench.command(Command::Refer {
            dialog: key,
            refer_to: "sip:c@192.0.2.9".into(),
            referred_by: None,
            headers: Vec::new(),
        });
        bench.command(Command::Bye { dialog: key, reason: None });
        for message in bench.take_sent() {
            assert_eq!(value(&message, "From"), value(&invite, "From"), "{}", kind(&message));
            assert_eq!(value(&message, "Call-ID"), value(&invite, "Call-ID"));
        }
    }
    assert_eq!(tags.len(), 10);
}
