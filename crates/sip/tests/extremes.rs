//! What the PROTOS suite and its like send: fields without end, thousands of elements, numbers beyond every type.
//! An endpoint answers or counts them, lives, and works no more on a byte of a long message than on one of a short one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap, and look at the clock")]

mod kit;

use kit::{OFFER, udp};
use sip::{
    Endpoint, EndpointConfig, Event, Input, LocalMedia, OfferError, Output, StreamFramer, accept_answer,
    make_answer,
};
use std::time::{Duration, Instant};

/// The largest datagram that fits; a message is made of at most so many bytes of nonsense.
const DATAGRAM: usize = 60_000;

fn local() -> LocalMedia {
    LocalMedia::new("192.0.2.1".parse().unwrap(), 20_000)
}

/// One piece again and again, up to so many bytes.
fn repeated(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len())
}

fn with(what: &str, instead: &str) -> String {
    let plain = kit::invite("call", "z9hG4bKinv");
    assert!(plain.contains(what), "{what}");
    plain.replacen(what, instead, 1)
}

/// An INVITE with one field added.
fn field(name: &str, value: &str) -> String {
    with("Max-Forwards:", &format!("{name}: {value}\r\nMax-Forwards:"))
}

fn invite_with_body(kind: &str, body: &str) -> String {
    kit::request(
        "INVITE",
        "call",
        "z9hG4bKinv",
        &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()),
    ) + body
}

/// Attack class A5: long values, and lists and nestings without end, `size` bytes of each.
fn long_messages(size: usize) -> Vec<(&'static str, String)> {
    // One field is cut at 16 KiB; many fields get past that.
    let long = "x".repeat(size);
    let fields = |name: &str, piece: &str| {
        let one = format!("{name}: {}\r\n", repeated(piece, 7_000.min(size)));
        with("Max-Forwards:", &format!("{}Max-Forwards:", repeated(&one, size.max(one.len()))))
    };
    vec![
        ("method", kit::invite("call", "z9hG4bKinv").replace("INVITE", &long)),
        ("cseq method", with("CSeq: 1 INVITE", &format!("CSeq: 1 {long}"))),
        ("cseq number", with("CSeq: 1", &format!("CSeq: {}", repeated("9", size)))),
        ("tag", with("tag=peer", &format!("tag={long}"))),
        ("branch", with("z9hG4bKinv", &format!("z9hG4bK{long}"))),
        ("call-id", with("Call-ID: call", &format!("Call-ID: {long}"))),
        ("request-uri user", with("+15550100@192.0.2.1 SIP", &format!("{long}@192.0.2.1 SIP"))),
        ("request-uri host", with("@192.0.2.1 SIP", &format!("@{} SIP", repeated("a.", size)))),
        (
            "request-uri of at signs",
            with("@192.0.2.1 SIP", &format!("{}@192.0.2.1 SIP", repeated("@", size))),
        ),
        (
            "request-uri parameters",
            with("192.0.2.1 SIP", &format!("192.0.2.1{} SIP", repeated(";a=b", size))),
        ),
        ("ipv6 of colons", with("@192.0.2.1 SIP", &format!("@[{}] SIP", repeated(":", size)))),
        ("display name of escapes", with("\"Ann\"", &format!("\"{}\"", repeated("\\\"", size)))),
        ("open quote", with("\"Ann\"", &format!("\"{}", repeated("a ", size)))),
        ("brackets", with("\"Ann\"", &repeated("<", size))),
        ("from parameters", with(";tag=peer", &format!(";tag=peer{}", repeated(";p=\"q\"", size)))),
        ("empty parameters", with(";tag=peer", &format!("{};tag=peer", repeated(";", size)))),
        ("via elements", fields("Via", "SIP/2.0/UDP h;branch=z9hG4bKa, ")),
        ("via commas", fields("Via", ", ")),
        ("routes", fields("Record-Route", "<sip:a;lr>,")),
        ("contacts", fields("Contact", "<sip:a@b>,")),
        ("requires", fields("Require", "a,")),
        ("supported", fields("Supported", "timer,")),
        ("authorizations", fields("Authorization", "Digest realm=\"x\", nonce=\"")),
        ("digest parameters", fields("Proxy-Authorization", "Digest a=\"b\", c=d, ")),
        ("short fields", with("Max-Forwards:", &format!("{}Max-Forwards:", repeated("a:b\r\n", size)))),
        ("lines without colon", with("Max-Forwards:", &format!("{}Max-Forwards:", repeated("a\r\n", size)))),
        (
            "folded lines",
            with("Max-Forwards:", &format!("Subject: a\r\n{}Max-Forwards:", repeated(" b\r\n", size))),
        ),
        ("multipart boundary", invite_with_body(&format!("multipart/mixed;boundary={long}"), OFFER)),
        ("multipart without its boundary", invite_with_body("multipart/mixed", &repeated("--\r\n", size))),
        (
            "multipart of boundaries",
            invite_with_body("multipart/mixed;boundary=a", &repeated("--a\r\n", size)),
        ),
        ("replaces", field("Replaces", &repeated("a;to-tag=b;", size))),
        ("session-expires", field("Session-Expires", &repeated("9", size))),
        (
            "content-length digits",
            with("Content-Length: ", &format!("Content-Length: {}", repeated("0", size))),
        ),
        ("carriage returns", field("X-Odd", &repeated("\r", size))),
        ("bytes that are not UTF-8", field("X-Odd", &long)),
    ]
}

/// Attack class A6: session descriptions that make other servers fall.
fn extreme_descriptions(size: usize) -> Vec<(&'static str, String)> {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n";
    let audio = "m=audio 4000 RTP/AVP 0\r\n";
    let half = size / 2;
    vec![
        ("m-lines", format!("{head}{}", repeated(audio, size))),
        ("payload types", format!("{head}m=audio 4000 RTP/AVP {}\r\n", repeated("0 ", size))),
        (
            "payload types times rtpmaps",
            format!(
                "{head}m=audio 4000 RTP/AVP {}\r\n{}",
                repeated("96 ", half),
                repeated("a=rtpmap:97 x/1\r\n", half)
            ),
        ),
        ("attributes", format!("{head}{audio}{}", repeated("a=ptime:20\r\n", size))),
        (
            "cryptos",
            format!(
                "{head}{}{}",
                audio.replace("/AVP", "/SAVP"),
                repeated("a=crypto:1 X inline:AAAA\r\n", size)
            ),
        ),
        ("connections", format!("{head}{audio}{}", repeated("c=IN IP4 192.0.2.7\r\n", size))),
        ("times", format!("{head}{}{audio}", repeated("t=0 0\r\n", size))),
        ("blanks in a line", format!("{head}m=audio{}4000 RTP/AVP 0\r\n", repeated(" ", size))),
        ("empty lines", format!("{head}{audio}{}", repeated("\r\n", size))),
        ("a line without end", format!("{head}{audio}a=fmtp:101 {}", repeated("0-15,", size))),
    ]
}

/// Numbers that overflow in other servers (CVE-2018-1000098, CVE-2026-41416), with what must come of each.
const NUMBERS: &[(&str, &str, Option<OfferError>)] = &[
    ("AVP 0 8 101", "AVP 4294967296", Some(OfferError::NoCodec)),
    ("AVP 0 8 101", "AVP 4294967296 0", None),
    ("AVP 0 8 101", "AVP 128 255 256 -1", Some(OfferError::NoCodec)),
    ("AVP 0 8 101", "AVP", Some(OfferError::Unreadable)),
    ("audio 4000", "audio 65536", Some(OfferError::Unreadable)),
    ("audio 4000", "audio -1", Some(OfferError::Unreadable)),
    ("audio 4000", "audio 0", Some(OfferError::NoAudio)),
    ("101\r\na=", "101\r\na=ptime:4294967296\r\na=", None),
    ("101\r\na=", "101\r\na=ptime:0\r\na=maxptime:0\r\na=", None),
    ("101\r\na=", "101\r\na=ptime:-20\r\na=", None),
    ("101\r\na=", "101\r\na=rtcp:99999999999 IN IP4 300.1.1.1\r\na=", None),
    ("telephone-event/8000", "telephone-event/99999999999999999999", None),
    ("telephone-event/8000", "telephone-event/8000/4294967296", None),
    ("o=- 1 1 ", "o=- 99999999999999999999999 1 ", None),
    ("IP4 192.0.2.7\r\nt", "IP4 999.0.2.7\r\nt", Some(OfferError::Address)),
    ("IP4 192.0.2.7\r\nt", "IP4 255.255.255.255/127/65536\r\nt", None),
    ("IP4 192.0.2.7\r\nt", "IP4 224.0.0.1/127\r\nt", Some(OfferError::Address)),
    ("t=0 0", "t=18446744073709551616 18446744073709551616", Some(OfferError::Unreadable)),
];

/// One INVITE to a new endpoint, over UDP; how many messages came back, and that it lives.
fn deliver(bytes: &[u8]) -> usize {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [3; 32]);
    let mut now = kit::zero();
    let mut out = Vec::new();
    endpoint.step(now, Input::Message { flow: udp(), bytes }, &mut out);
    let sent = out.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    let invited = out.iter().any(|output| matches!(output, Output::Event(Event::Invite(_))));
    let counted: u64 = endpoint.statistics().dropped.values().sum();
    assert!(sent > 0 || invited || counted > 0, "neither answered nor counted");
    now += Duration::from_secs(1);
    out.clear();
    let alive = kit::request("OPTIONS", "alive", "z9hG4bKalive", "");
    endpoint.step(now, Input::Message { flow: udp(), bytes: alive.as_bytes() }, &mut out);
    assert!(out.iter().any(|output| matches!(output, Output::Send { .. })), "silent afterwards");
    sent
}

#[test]
fn long_fields_and_endless_lists_are_answered_or_counted() {
    for size in [5_000, 15_000, DATAGRAM] {
        for (name, text) in long_messages(size) {
            let mut bytes = text.into_bytes();
            if name == "bytes that are not UTF-8" {
                bytes.iter_mut().filter(|byte| **byte == b'x').for_each(|byte| *byte = 0xff);
            }
            assert!(deliver(&bytes) <= 2, "{name} of {size} bytes");
        }
        for (name, text) in extreme_descriptions(size) {
            assert!(
                deliver(invite_with_body("application/sdp", &text).as_bytes()) <= 2,
                "{name} of {size} bytes"
            );
        }
    }
}

#[test]
fn what_is_answered_to_a_long_request_is_not_much_longer_than_it() {
    for (name, text) in long_messages(15_000) {
        let mut endpoint = Endpoint::new(EndpointConfig::default(), [3; 32]);
        let mut out = Vec::new();
        endpoint.step(kit::zero(), Input::Message { flow: udp(), bytes: text.as_bytes() }, &mut out);
        for output in out {
            if let Output::Send { bytes, .. } = output {
                assert!(
                    bytes.len() <= text.len() * 3 / 2,
                    "{name}: {} bytes for {}",
                    bytes.len(),
                    text.len()
                );
            }
        }
    }
}

#[test]
fn numbers_beyond_their_types_are_refused_or_ignored_and_never_wrap() {
    for (what, with, expected) in NUMBERS {
        assert!(OFFER.contains(what), "{what}");
        let answered = make_answer(&OFFER.replacen(what, with, 1), &local());
        assert_eq!(answered.as_ref().err(), expected.as_ref(), "{with}");
        if let Ok((answer, negotiated)) = answered {
            assert!((10..=200).contains(&negotiated.ptime_ms), "{with}: {} ms", negotiated.ptime_ms);
            assert!(accept_answer(&local(), &answer).is_ok(), "{with}");
        }
    }
}

#[test]
fn five_hundred_m_lines_are_an_offer_that_nobody_means() {
    let (_, offer) = extreme_descriptions(500 * 24).remove(0);
    assert_eq!(offer.matches("m=audio").count(), 500);
    assert_eq!(make_answer(&offer, &local()).err(), Some(OfferError::Unreadable));
}

/// The least time that work takes, of some tries: what else the machine does only ever adds to it.
fn least(mut work: impl FnMut()) -> Duration {
    let mut times = (0..7).map(|_| {
        let begin = Instant::now();
        work();
        begin.elapsed()
    });
    let first = times.next().unwrap();
    times.fold(first, Duration::min)
}

/// Work for a byte may grow by so much when a message grows sixteenfold; with quadratic work it grows sixteenfold.
const GROWTH: f64 = 8.0;

fn assert_linear(name: &str, mut work: impl FnMut(usize)) {
    const SMALL: usize = 3_700;
    let small = least(|| work(SMALL)).as_secs_f64().max(5e-6);
    let large = least(|| work(SMALL * 16)).as_secs_f64() / 16.0;
    assert!(large < small * GROWTH, "{name}: {:.1} times the work for a byte", large / small);
}

#[test]
fn a_long_message_takes_no_more_work_for_a_byte_than_a_short_one() {
    let names: Vec<&str> = long_messages(100).iter().map(|(name, _)| *name).collect();
    for (index, name) in names.into_iter().enumerate() {
        let texts = [3_700, 3_700 * 16].map(|size| (size, long_messages(size).swap_remove(index).1));
        assert_linear(name, |size| {
            let text = texts.iter().find(|(known, _)| *known == size).map(|(_, text)| text).unwrap();
            deliver(text.as_bytes());
        });
    }
}

#[test]
fn a_long_description_takes_no_more_work_for_a_byte_than_a_short_one() {
    let names: Vec<&str> = extreme_descriptions(100).iter().map(|(name, _)| *name).collect();
    for (index, name) in names.into_iter().enumerate() {
        let texts = [3_700, 3_700 * 16].map(|size| (size, extreme_descriptions(size).swap_remove(index).1));
        assert_linear(name, |size| {
            let text = texts.iter().find(|(known, _)| *known == size).map(|(_, text)| text).unwrap();
            let _ = (make_answer(text, &local()), accept_answer(&local(), text));
        });
    }
}

#[test]
fn a_stream_that_comes_byte_by_byte_takes_no_more_work_for_a_byte_when_it_is_long() {
    let whole = |size: usize| {
        format!("OPTIONS sip:a SIP/2.0\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(size))
    };
    assert_linear("drip", |size| {
        let mut framer = StreamFramer::new();
        let mut messages = 0;
        for byte in whole(size.min(60_000)).as_bytes() {
            framer.push(&[*byte]);
            messages += usize::from(!matches!(framer.next(), Ok(None)));
        }
        assert_eq!(messages, 1);
    });
}
