//! RFC 3263: which questions a URI leads to, and which targets the answers make.
//! Knows no resolver: answers are given by hand.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::Transport::{self, Tcp, Tls, Udp, Wss};
use sip::locate::{DnsAnswer, DnsQuery, Locator, NaptrRecord, SrvRecord, Target};
use sip::uri::Uri;
use std::collections::BTreeMap;

type Zone = BTreeMap<DnsQuery, DnsAnswer>;

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> NaptrRecord {
    NaptrRecord {
        order,
        preference,
        flags: "s".into(),
        service: service.into(),
        replacement: replacement.into(),
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> SrvRecord {
    SrvRecord { priority, weight, port, target: target.into() }
}

fn address(host: &str, ips: &[&str]) -> (DnsQuery, DnsAnswer) {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    (DnsQuery::Address(host.into()), DnsAnswer::Addresses(ips))
}

/// Asks until nothing is left to ask; returns the questions and the targets as text.
fn locate_with(uri: &str, preferred: &[Transport], zone: &Zone, seed: u8) -> (Vec<DnsQuery>, Vec<String>) {
    let mut locator = Locator::new(&Uri::parse(uri).unwrap(), preferred);
    let mut asked = Vec::new();
    while let Some(query) = locator.next_query() {
        let answer = zone.get(&query).cloned().unwrap_or(DnsAnswer::Nothing);
        locator.answer(&query, answer);
        assert!(!asked.contains(&query), "asked twice: {query:?}");
        asked.push(query);
        assert!(asked.len() < 32, "never done");
    }
    (asked, locator.targets([seed; 32]).iter().map(show).collect())
}

fn locate(uri: &str, preferred: &[Transport], zone: &Zone) -> (Vec<DnsQuery>, Vec<String>) {
    locate_with(uri, preferred, zone, 1)
}

fn show(target: &Target) -> String {
    let name = target.server_name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{} {}{name}", target.transport.name(), target.address)
}

/// A carrier with everything.
fn carrier() -> Zone {
    Zone::from([
        (
            DnsQuery::Naptr("example.com".into()),
            DnsAnswer::Naptr(vec![
                naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
                naptr(100, 50, "SIP+D2U", "_sip._udp.example.com."),
                naptr(90, 60, "sip+d2t", "_sip._tcp.example.com"),
                naptr(90, 10, "SIP+D2S", "_sip._sctp.example.com"),
                NaptrRecord { flags: "u".into(), ..naptr(1, 1, "SIP+D2U", "nothing.example.com") },
            ]),
        ),
        (
            DnsQuery::Srv("_sips._tcp.example.com".into()),
            DnsAnswer::Srv(vec![srv(10, 0, 5061, "B.elsewhere.example.")]),
        ),
        (
            DnsQuery::Srv("_sip._tcp.example.com".into()),
            DnsAnswer::Srv(vec![srv(20, 0, 5062, "b.elsewhere.example"), srv(10, 0, 5060, "a.example.com")]),
        ),
        (
            DnsQuery::Srv("_sip._udp.example.com".into()),
            DnsAnswer::Srv(vec![srv(10, 0, 5060, "a.example.com")]),
        ),
        address("a.example.com", &["192.0.2.1", "2001:db8::1"]),
        address("b.elsewhere.example", &["192.0.2.2"]),
        address("example.com", &["192.0.2.9"]),
    ])
}

#[test]
fn naptr_decides_order_and_services() {
    let (asked, targets) = locate("sip:1@Example.com", &[], &carrier());
    assert_eq!(asked.len(), 6, "NAPTR, three SRV, two hosts");
    assert_eq!(
        targets,
        [
            "TLS 192.0.2.2:5061 example.com",
            "TCP 192.0.2.1:5060",
            "TCP [2001:db8::1]:5060",
            "TCP 192.0.2.2:5062",
            "UDP 192.0.2.1:5060",
            "UDP [2001:db8::1]:5060",
        ]
    );
    let (_, targets) = locate("sip:1@example.com", &[Udp], &carrier());
    assert_eq!(targets, ["UDP 192.0.2.1:5060", "UDP [2001:db8::1]:5060"], "what we do not speak is left out");
}

#[test]
fn sips_is_tls_and_the_certificate_is_that_of_the_domain() {
    let (_, targets) = locate("sips:1@example.com", &[Udp, Tcp, Tls], &carrier());
    assert_eq!(targets, ["TLS 192.0.2.2:5061 example.com"]);
    let (_, targets) =
        locate("sips:1@example.com", &[Udp], &Zone::from([address("example.com", &["192.0.2.9"])]));
    assert_eq!(targets, ["TLS 192.0.2.9:5061 example.com"], "never in the clear");
    let (asked, targets) = locate("sips:1@192.0.2.4;transport=udp", &[], &Zone::new());
    assert!(asked.is_empty() && targets.is_empty(), "there is no such thing");
    let (_, targets) = locate("sips:1@192.0.2.4;transport=tcp", &[], &Zone::new());
    assert_eq!(targets, ["TLS 192.0.2.4:5061"]);
}

#[test]
fn an_address_or_a_port_needs_no_srv() {
    let none = Zone::new();
    assert_eq!(locate("sip:192.0.2.4", &[], &none), (vec![], vec!["UDP 192.0.2.4:5060".to_owned()]));
    assert_eq!(locate("sip:1@[2001:db8::4]:5070", &[Tcp], &none).1, ["TCP [2001:db8::4]:5070"]);
    assert_eq!(locate("sip:1@192.0.2.4;transport=tls", &[], &none).1, ["TLS 192.0.2.4:5061"]);
    assert_eq!(
        locate("sip:1@example.com;maddr=192.0.2.5", &[Tls], &none).1,
        ["TLS 192.0.2.5:5061 example.com"]
    );
    let (asked, targets) = locate("sip:1@example.com:5080", &[], &carrier());
    assert_eq!(asked, [DnsQuery::Address("example.com".into())]);
    assert_eq!(targets, ["UDP 192.0.2.9:5080"]);
    assert!(locate("tel:+15550100", &[], &none).1.is_empty(), "a number is nowhere");
    assert!(locate("sip:192.0.2.4:0", &[], &none).1.is_empty());
}

#[test]
fn a_transport_parameter_skips_naptr() {
    let (asked, targets) = locate("sip:1@example.com;transport=TCP", &[], &carrier());
    assert_eq!(asked[0], DnsQuery::Srv("_sip._tcp.example.com".into()));
    assert_eq!(targets, ["TCP 192.0.2.1:5060", "TCP [2001:db8::1]:5060", "TCP 192.0.2.2:5062"]);
    assert!(locate("sip:1@example.com;transport=sctp", &[], &carrier()).1.is_empty());
    let (_, targets) = locate("sip:1@example.com;transport=wss", &[], &carrier());
    assert_eq!(targets, ["WSS 192.0.2.9:443 example.com"], "no SRV: the domain itself");
}

#[test]
fn without_naptr_each_transport_is_asked_for_and_without_srv_the_domain() {
    let mut zone = carrier();
    zone.remove(&DnsQuery::Naptr("example.com".into()));
    let (asked, targets) = locate("sip:1@example.com", &[Tcp, Udp], &zone);
    assert_eq!(asked[1], DnsQuery::Srv("_sip._tcp.example.com".into()));
    assert_eq!(targets[0], "TCP 192.0.2.1:5060");
    assert_eq!(targets.last().unwrap(), "UDP [2001:db8::1]:5060");
    let bare = Zone::from([address("example.com", &["192.0.2.9", "2001:db8::9"])]);
    let (asked, targets) = locate("sip:1@example.com.", &[Wss, Udp], &bare);
    assert_eq!(asked.len(), 4);
    assert_eq!(targets, ["WSS 192.0.2.9:443 example.com", "WSS [2001:db8::9]:443 example.com"]);
    assert!(locate("sip:1@example.com", &[], &Zone::new()).1.is_empty());
}

#[test]
fn a_dot_means_that_the_service_does_not_exist() {
    let zone = Zone::from([
        (DnsQuery::Srv("_sip._udp.example.com".into()), DnsAnswer::Srv(vec![srv(0, 0, 0, ".")])),
        address("example.com", &["192.0.2.9"]),
    ]);
    assert_eq!(locate("sip:example.com", &[Udp], &zone).1, Vec::<String>::new(), "RFC 2782");
}

#[test]
fn weights_are_shares_and_priorities_are_kept() {
    let records = vec![srv(2, 9, 1, "c"), srv(1, 30, 1, "a"), srv(1, 10, 1, "b"), srv(1, 0, 1, "z")];
    let zone = Zone::from([
        (DnsQuery::Srv("_sip._udp.x".into()), DnsAnswer::Srv(records)),
        address("a", &["192.0.2.1"]),
        address("b", &["192.0.2.2"]),
        address("c", &["192.0.2.3"]),
        address("z", &["192.0.2.4"]),
    ]);
    let mut first = BTreeMap::<String, u32>::new();
    for seed in 0..=255 {
        let (_, targets) = locate_with("sip:x", &[Udp], &zone, seed);
        assert_eq!((targets.len(), targets[3].as_str()), (4, "UDP 192.0.2.3:1"));
        assert_eq!(locate_with("sip:x", &[Udp], &zone, seed).1, targets, "the same seed, the same order");
        *first.entry(targets[0].clone()).or_default() += 1;
    }
    let of = |text: &str| first.get(text).copied().unwrap_or(0);
    assert!((160..=215).contains(&of("UDP 192.0.2.1:1")), "about three in four: {first:?}");
    assert!(of("UDP 192.0.2.2:1") > 30 && (1..30).contains(&of("UDP 192.0.2.4:1")), "{first:?}");
}

#[test]
fn a_hostile_zone_costs_little() {
    let many = |count: u16| (0..count).map(|n| srv(n, 1, 5060, &format!("h{n}.example"))).collect();
    let naptrs = (0..500).map(|n| naptr(n, 0, "SIP+D2U", &format!("_sip._udp.n{n}"))).collect();
    let mut locator = Locator::new(&Uri::parse("sip:example.com").unwrap(), &[]);
    let mut asked = 0;
    while let Some(query) = locator.next_query() {
        asked += 1;
        assert!(asked <= 22, "NAPTR, 5 SRV, 16 hosts");
        let answer = match &query {
            DnsQuery::Naptr(_) => DnsAnswer::Naptr(std::mem::take(&mut Vec::clone(&naptrs))),
            DnsQuery::Srv(_) => DnsAnswer::Srv(many(500)),
            DnsQuery::Address(_) => DnsAnswer::Addresses((0..200).map(|n| [192, 0, 2, n].into()).collect()),
        };
        locator.answer(&query, answer);
    }
    assert_eq!(locator.targets([0; 32]).len(), 8, "the same addresses over and over");
    locator.answer(&DnsQuery::Srv("never.asked".into()), DnsAnswer::Srv(many(3)));
    locator.answer(&DnsQuery::Naptr("never.asked".into()), DnsAnswer::Nothing);
    assert_eq!(locator.next_query(), None);
}
