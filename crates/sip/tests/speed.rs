//! Figures, not promises: `cargo test --release -p sip --test speed -- --ignored --nocapture`.
//! No assertion here depends on the clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this measures with the real clock")]

mod kit;

use kit::{Bench, in_dialog, invite, tag_of, udp};
use sip::finding::check_request;
use sip::message::HeaderName;
use sip::parser::parse;
use std::hint::black_box;
use std::time::Instant;

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

#[test]
#[ignore = "measures"]
fn parse_speed() {
    let text = trunk_invite();
    let rounds = 300_000;
    let begin = Instant::now();
    for _ in 0..rounds {
        black_box(parse(black_box(text.as_bytes())).unwrap());
    }
    let parsing = begin.elapsed() / rounds;
    let begin = Instant::now();
    for _ in 0..rounds {
        let message = parse(black_box(text.as_bytes())).unwrap();
        assert_eq!(black_box(check_request(&message)), None);
    }
    let checking = begin.elapsed() / rounds;
    println!("{} bytes: parse {parsing:?}, parse + check of all core headers {checking:?}", text.len());
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
