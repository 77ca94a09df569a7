//! What a stranger costs: time and memory to refuse an INVITE, silently, with 403, with a challenge, and when banned.
//! Run it with `cargo run --release -p sip --example refusal_cost`. The figures are printed, not judged.
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use sip::digest::{Credentials, Password};
use sip::{
    BanPolicy, Endpoint, EndpointConfig, Flow, GateConfig, Input, Output, Transport, TrunkRules, Unmatched,
};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const STRANGERS: u32 = 100_000;

fn main() {
    println!("{STRANGERS} INVITEs, each from its own address");
    println!(
        "{:<28} {:>9} {:>9} {:>8} {:>9} {:>7} {:>6}",
        "case", "us each", "per s", "answers", "addresses", "nonces", "trans."
    );
    let users = vec![Credentials { realm: None, username: "ann".into(), password: Password::new("secret") }];
    let carrier = TrunkRules {
        sources: vec!["203.0.113.0/24".parse().expect("a range")],
        ..TrunkRules::open("carrier")
    };
    let phones = TrunkRules { users, ..TrunkRules::open("phones") };
    let many = BanPolicy { failures: u32::MAX, ..BanPolicy::default() };
    let gate = |trunk: &TrunkRules, unmatched, ban: &BanPolicy| {
        Some(GateConfig { trunks: vec![trunk.clone()], unmatched, ban: ban.clone(), ..GateConfig::default() })
    };
    measure("silent", gate(&carrier, Unmatched::Silent, &BanPolicy::default()), STRANGERS);
    measure("403", gate(&carrier, Unmatched::Forbidden, &BanPolicy::default()), STRANGERS);
    measure("401", gate(&phones, Unmatched::Forbidden, &many), STRANGERS);
    measure("one address, then banned", gate(&carrier, Unmatched::Forbidden, &BanPolicy::default()), 1);
}

fn measure(case: &str, gate: Option<GateConfig>, sources: u32) {
    let mut endpoint = Endpoint::new(EndpointConfig { gate, ..EndpointConfig::default() }, [7; 32]);
    let messages: Vec<Vec<u8>> = (0..STRANGERS).map(invite).collect();
    let begin = Instant::now();
    let (mut out, mut answers, mut busy) = (Vec::new(), 0, Duration::ZERO);
    for (number, bytes) in (0..STRANGERS).zip(&messages) {
        let remote = (Ipv4Addr::from_bits(0x0a00_0000 + number % sources), 5060).into();
        let local = (Ipv4Addr::new(192, 0, 2, 1), 5060).into();
        let flow = Flow { transport: Transport::Udp, local, remote, connection: 0 };
        // Ten thousand a second, as the endpoint sees it.
        let now = begin + Duration::from_micros(100) * number;
        let before = Instant::now();
        endpoint.step(now, Input::Message { flow, bytes }, &mut out);
        busy += before.elapsed();
        answers += out.drain(..).filter(|output| matches!(output, Output::Send { .. })).count();
    }
    let (each, statistics) = (busy / STRANGERS, endpoint.statistics());
    println!(
        "{case:<28} {:>9.2} {:>9.0} {answers:>8} {:>9} {:>7} {:>6}",
        each.as_secs_f64() * 1e6,
        1.0 / each.as_secs_f64(),
        statistics.gate.suspects,
        statistics.gate.nonces,
        statistics.transactions
    );
}

fn invite(number: u32) -> Vec<u8> {
    let body =
        "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n";
    format!(
        "INVITE sip:00441904911{number}@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@192.0.2.1>;tag={number}\r\nTo: <sip:00441904911@192.0.2.1>\r\n\
         Call-ID: {number}\r\nCSeq: 1 INVITE\r\nContact: <sip:100@10.0.0.1:5060>\r\nUser-Agent: x\r\n\
         Allow: INVITE, ACK, BYE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
