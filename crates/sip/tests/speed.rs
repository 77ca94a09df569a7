//! Figures, not promises: `cargo test --release -p sip --test speed -- --ignored --nocapture`.
//! No assertion here depends on the clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this measures with the real clock")]

mod kit;
mod rivals;

use kit::{Bench, in_dialog, invite, tag_of, udp};
use sip::finding::check_request;
use sip::message::HeaderName;
use sip::parser::parse;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// An INVITE of 1,251 bytes, as a trunk sends it.
fn trunk_invite() -> String {
    let routes = "Record-Route: <sip:198.51.100.1;lr;ftag=peer>\r\nRecord-Route: <sip:198.51.100.2;lr>\r\n\
                  Via: SIP/2.0/UDP 198.51.100.2:5060;branch=z9hG4bKsecond;received=198.51.100.2\r\n\
                  P-Asserted-Identity: <sip:+15550111@198.51.100.2>\r\nUser-Agent: Trunk 1.0\r\n\
                  Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY\r\n\
                  Supported: timer, replaces\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n";
    let text = invite("speed", "z9hG4bKspeed").replace("Max-Forwards", &format!("{routes}Max-Forwards"));
    let padding = 1251_usize.saturating_sub(text.len() + "X-Padding: \r\n".len());
    text.replace("Max-Forwards", &format!("X-Padding: {}\r\nMax-Forwards", "x".repeat(padding)))
}

/// How long one round of some work takes; the least of some tries, because what else the machine does only adds to it.
fn least(mut work: impl FnMut()) -> Duration {
    const ROUNDS: u32 = 20_000;
    let once = |work: &mut dyn FnMut()| {
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        begin.elapsed() / ROUNDS
    };
    (0..9).map(|_| once(&mut work)).min().unwrap()
}

fn print(what: &str, each: Duration) {
    println!("  {what:52} {each:>10.2?}  {:>9.0}/s", 1.0 / each.as_secs_f64());
}

/// The same INVITE on one thread: ours, and two other published parsers in the same run. A parser that leaves a field
/// unread until it is asked for has not done the work yet, so what every server needs is asked for as well.
#[test]
#[ignore = "measures"]
fn parse_speed() {
    let text = trunk_invite();
    let bytes = text.as_bytes();
    println!("one INVITE of {} bytes, on one thread", text.len());
    print("ours, parsed", least(|| drop(black_box(parse(black_box(bytes)).unwrap()))));
    let checked = || assert_eq!(black_box(check_request(&parse(black_box(bytes)).unwrap())), None);
    print("ours, parsed and checked (RFC 3261 section 8.2)", least(checked));
    print(
        "ours, with the nine fields read",
        least(|| drop(black_box(rivals::ours(black_box(bytes)).unwrap()))),
    );
    let shared = bytes::Bytes::copy_from_slice(bytes);
    let limits = sipx_sip::Limits::datagram();
    let sipx = || drop(black_box(sipx_sip::parse_datagram(shared.clone(), &limits).unwrap()));
    print("sipx-sip, parsed (without copying the datagram)", least(sipx));
    let validated = || {
        let message = sipx_sip::parse_datagram(shared.clone(), &limits).unwrap();
        assert!(black_box(sipx_sip::validate(&message)).is_empty());
    };
    print("sipx-sip, parsed and validated", least(validated));
    print(
        "sipx-sip, with the nine fields read",
        least(|| drop(black_box(rivals::sipx(black_box(bytes)).unwrap()))),
    );
    let rsipstack = || drop(black_box(rsipstack::sip::SipMessage::try_from(black_box(bytes)).unwrap()));
    print("rsipstack, parsed", least(rsipstack));
    let fields = || drop(black_box(rivals::rsipstack(black_box(bytes)).unwrap()));
    print("rsipstack, with the nine fields read", least(fields));
}

#[test]
#[ignore = "measures"]
fn call_speed() {
    let mut bench = Bench::new(udp());
    let calls = 20_000;
    let begin = Instant::now();
    for number in 0..calls {
        bench.receive(
            &invite("call", &format!("z9hG4bK{number}")).replace("tag=peer", &format!("tag=p{number}")),
        );
        let dialog = bench.last_dialog();
        bench.respond(dialog, 180);
        bench.respond(dialog, 200);
        let tag = tag_of(&bench.sent.last().unwrap().1, &HeaderName::To);
        let from = format!("tag=p{number}");
        bench.receive(&in_dialog("ACK", 1, &format!("z9hG4bKa{number}"), &tag).replace("tag=peer", &from));
        bench.receive(&in_dialog("BYE", 2, &format!("z9hG4bKb{number}"), &tag).replace("tag=peer", &from));
        bench.take_sent();
        bench.take_events();
        bench.pass_ms(3);
    }
    let each = begin.elapsed() / calls;
    let statistics = bench.endpoint.statistics();
    println!(
        "INVITE 100 180 200 ACK BYE 200: {each:?} a call, test peer included; {} transactions alive at 333 calls/s",
        statistics.transactions
    );
}
