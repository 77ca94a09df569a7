//! Which trunk gets a request, which rule decides, and what `explain` says about it.
//! Knows the gate alone: no endpoint, no bytes.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may unwrap and skip")]

mod kit;
#[path = "kit/digest.rs"]
mod kit_digest;

use kit::zero;
use kit_digest::{Answer, user};
use sip::digest::DigestChallenge;
use sip::{Facts, Gate, GateConfig, GateReason, Transport, TrunkRules, Unmatched, Verdict};
use std::time::Duration;

fn trunk(name: &str, change: impl FnOnce(&mut TrunkRules)) -> TrunkRules {
    let mut rules = TrunkRules::open(name);
    change(&mut rules);
    rules
}

/// One of each kind, in this order.
fn all_kinds() -> Vec<TrunkRules> {
    vec![
        trunk("us", |rules| {
            rules.sources = vec!["203.0.113.0/28".parse().unwrap()];
            rules.called = vec!["+1".into(), "001".into()];
        }),
        trunk("de", |rules| {
            rules.sources = vec!["203.0.113.0/28".parse().unwrap(), "2001:db8:5::/48".parse().unwrap()];
            rules.called = vec!["+49".into()];
            rules.transports = vec![Transport::Tls];
        }),
        trunk("pbx", |rules| {
            rules.hosts = vec!["pbx.example.org".into()];
            rules.users = vec![user("ann", "secret")];
            rules.registrar = true;
        }),
        trunk("strict", |rules| {
            rules.sources = vec!["198.51.100.0/24".parse().unwrap()];
            rules.users = vec![user("eve", "strict")];
            rules.hosts = vec!["strict.example.org".into()];
        }),
        trunk("either", |rules| {
            rules.sources = vec!["192.0.2.64/26".parse().unwrap()];
            rules.users = vec![user("roaming", "either")];
            rules.hosts = vec!["either.example.org".into()];
            rules.trust_sources = true;
        }),
        trunk("lab", |rules| rules.called = vec!["999".into()]),
    ]
}

fn gate(trunks: Vec<TrunkRules>) -> Gate {
    Gate::new(GateConfig { trunks, unmatched: Unmatched::Forbidden, ..GateConfig::default() }, [1; 32])
}

fn facts<'a>(source: &str, transport: Transport, uri: &'a str) -> Facts<'a> {
    Facts::new(source.parse().unwrap(), transport, "INVITE", uri)
}

/// `us`, `401`, `403 unknown_source`.
fn outcome(gate: &mut Gate, facts: &Facts<'_>) -> String {
    match gate.judge(zero(), facts) {
        Verdict::Admit { trunk, .. } => gate.config().trunks[trunk].name.to_string(),
        Verdict::Challenge { .. } => "401".into(),
        Verdict::Refuse { status, reason } => format!("{status} {}", reason.name()),
        Verdict::Ignore { reason } => format!("ignored {}", reason.name()),
    }
}

#[test]
fn the_match_matrix() {
    use Transport::{Tls, Udp};
    let cases = [
        ("203.0.113.5:5060", Udp, "sip:+15550100@us.example.org", "us"),
        ("203.0.113.5:5060", Udp, "sip:0015550100@us.example.org", "us"),
        ("[::ffff:203.0.113.5]:5060", Udp, "sip:%2B15550100@us.example.org", "us"),
        ("203.0.113.5:5060", Udp, "tel:+15550100", "us"),
        ("203.0.113.5:5061", Tls, "sip:+4930@de.example.org", "de"),
        ("[2001:db8:5:9::1]:5061", Tls, "sip:+4930@de.example.org", "de"),
        ("203.0.113.5:5060", Udp, "sip:+4930@de.example.org", "403 transport_not_allowed"),
        ("203.0.113.5:5061", Tls, "sip:+33@de.example.org", "404 unknown_number"),
        ("203.0.113.16:5060", Udp, "sip:+15550100@us.example.org", "403 unknown_source"),
        ("198.51.100.9:5060", Udp, "sip:100@PBX.example.org", "401"),
        ("198.51.100.9:5060", Udp, "sip:100@strict.example.org", "401"),
        ("198.18.0.9:5060", Udp, "sip:100@strict.example.org", "403 unknown_source"),
        ("192.0.2.70:5060", Udp, "sip:100@either.example.org", "either"),
        ("198.18.0.9:5060", Udp, "sip:100@either.example.org", "401"),
        ("198.18.0.9:5060", Udp, "sip:999@anything", "lab"),
        ("198.18.0.9:5060", Udp, "not a uri", "403 unknown_host"),
    ];
    for (source, transport, uri, expected) in cases {
        let mut gate = gate(all_kinds());
        assert_eq!(outcome(&mut gate, &facts(source, transport, uri)), expected, "{source} {uri}");
    }
}

#[test]
fn a_gate_without_trunks_admits_nobody() {
    let mut gate = gate(Vec::new());
    let uri = "sip:100@example.org";
    assert_eq!(outcome(&mut gate, &facts("192.0.2.1:5060", Transport::Udp, uri)), "403 unknown_source");
}

#[test]
fn an_address_goes_before_digest_and_digest_before_an_open_trunk() {
    let phones = trunk("phones", |rules| rules.users = vec![user("ann", "secret")]);
    let carrier = trunk("carrier", |rules| rules.sources = vec!["203.0.113.5".parse().unwrap()]);
    let mut gate = gate(vec![TrunkRules::open("open"), phones, carrier]);
    let uri = "sip:100@example.org";
    assert_eq!(outcome(&mut gate, &facts("203.0.113.5:5060", Transport::Udp, uri)), "carrier");
    let mut stranger = facts("198.51.100.9:5060", Transport::Udp, uri);
    assert_eq!(outcome(&mut gate, &stranger), "open");
    stranger.authorization = Some("Digest username=\"ann\"");
    assert_eq!(outcome(&mut gate, &stranger), "401", "who shows credentials is asked for right ones");
}

#[test]
fn each_realm_gets_a_challenge_and_its_own_users() {
    let with_realm = |name: &str, realm: &str| {
        trunk(name, |rules| {
            let mut who = user("ann", name);
            who.realm = Some(realm.into());
            rules.users = vec![who];
        })
    };
    let mut gate = gate(vec![with_realm("one", "one.example"), with_realm("two", "two.example")]);
    let uri = "sip:100@example.org";
    let asked = facts("198.51.100.9:5060", Transport::Udp, uri);
    let now = zero();
    let Verdict::Challenge { challenges, .. } = gate.judge(now, &asked) else { panic!("no challenge") };
    assert_eq!(challenges.len(), 4, "two realms, two hashes");
    let two: Vec<_> = challenges.iter().filter_map(|value| DigestChallenge::parse(value)).collect();
    let two = two.iter().find(|challenge| challenge.realm == "two.example").unwrap();
    for (password, expected) in [("one", None), ("two", Some(1))] {
        let who = user("ann", password);
        let value = Answer { challenge: two, user: &who, method: "INVITE", uri, count: 1 }.value();
        match (gate.judge(now, &Facts { authorization: Some(&value), ..asked }), expected) {
            (Verdict::Admit { trunk, user: Some(0) }, Some(expected)) => assert_eq!(trunk, expected),
            (Verdict::Refuse { status: 403, reason: GateReason::WrongCredentials }, None) => {}
            (other, _) => panic!("{password}: {other:?}"),
        }
    }
}

#[test]
fn one_user_of_two_trunks_is_told_apart_by_the_password() {
    let named = |name: &str| trunk(name, |rules| rules.users = vec![user("ann", name)]);
    let mut gate = gate(vec![named("one"), named("two")]);
    let (uri, now) = ("sip:100@example.org", zero());
    let mut asked = facts("198.51.100.9:5060", Transport::Udp, uri);
    let Verdict::Challenge { challenges, .. } = gate.judge(now, &asked) else { panic!("no challenge") };
    let challenge = DigestChallenge::parse(&challenges[0]).unwrap();
    let who = user("ann", "two");
    let value = Answer { challenge: &challenge, user: &who, method: "INVITE", uri, count: 1 }.value();
    asked.authorization = Some(&value);
    assert_eq!(outcome(&mut gate, &asked), "two");
}

#[test]
fn a_strict_trunk_wants_the_address_and_the_password() {
    let mut gate = gate(all_kinds());
    let (uri, now) = ("sip:100@strict.example.org", zero());
    let mut inside = facts("198.51.100.9:5060", Transport::Udp, uri);
    let Verdict::Challenge { challenges, .. } = gate.judge(now, &inside) else { panic!("no challenge") };
    let challenge = DigestChallenge::parse(&challenges[0]).unwrap();
    let who = user("eve", "strict");
    let value = Answer { challenge: &challenge, user: &who, method: "INVITE", uri, count: 1 }.value();
    let mut outside = facts("198.18.0.9:5060", Transport::Udp, uri);
    outside.authorization = Some(&value);
    assert_eq!(outcome(&mut gate, &outside), "403 unknown_source");
    inside.authorization = Some(&value);
    assert_eq!(outcome(&mut gate, &inside), "strict");
}

#[test]
fn a_register_goes_to_the_trunk_that_keeps_registrations() {
    let address = "203.0.113.5".parse().unwrap();
    let mut gate = gate(vec![
        trunk("carrier", |rules| rules.sources = vec![address]),
        trunk("phones", |rules| {
            rules.users = vec![user("ann", "secret")];
            rules.registrar = true;
        }),
    ]);
    let register =
        |source: &str| Facts::new(source.parse().unwrap(), Transport::Udp, "REGISTER", "sip:example.org");
    assert_eq!(outcome(&mut gate, &register("203.0.113.5:5060")), "401");
    assert_eq!(
        outcome(&mut gate, &facts("203.0.113.5:5060", Transport::Udp, "sip:1@example.org")),
        "carrier"
    );
}

#[test]
fn a_register_where_there_is_no_registrar_is_not_even_challenged() {
    let phones = trunk("phones", |rules| rules.users = vec![user("ann", "secret")]);
    let mut gate = gate(vec![phones]);
    let register =
        Facts::new("198.18.0.9:5060".parse().unwrap(), Transport::Udp, "REGISTER", "sip:example.org");
    assert_eq!(outcome(&mut gate, &register), "403 unknown_source");
}

#[test]
fn explain_says_for_each_trunk_which_rule_decided() {
    let gate = gate(all_kinds());
    let lines =
        |facts: &Facts<'_>| -> Vec<String> { gate.explain(facts).iter().map(ToString::to_string).collect() };
    let asked = facts("203.0.113.5:5060", Transport::Udp, "sip:+4930@pbx.example.org");
    assert_eq!(
        lines(&asked),
        [
            "us: source in 203.0.113.0/28, any transport, any host, number begins with none of +1, 001 -> no: \
             unknown_number",
            "de: source in 203.0.113.0/28, UDP not allowed -> no: transport_not_allowed",
            "pbx: any source, any transport, host pbx.example.org, any number, digest needed -> takes it",
            "strict: source in none of 1 ranges -> no: unknown_source",
            "either: any other source, any transport, host pbx.example.org is none of either.example.org -> no: \
             unknown_host",
            "lab: any source, any transport, any host, number begins with none of 999 -> no: unknown_number",
        ]
    );
    let asked = facts("203.0.113.5:5060", Transport::Udp, "sip:+1@pbx.example.org");
    let chosen: Vec<_> =
        gate.explain(&asked).iter().map(|line| (line.chosen, line.refused.is_none())).collect();
    assert_eq!(chosen[0], (true, true));
    assert_eq!(chosen[2], (false, true), "it could, but an address goes first");
    assert!(lines(&asked)[2].ends_with("could take it, but another trunk comes first"));
}

#[test]
fn nothing_that_is_judged_shows_the_caller() {
    let asked = facts("203.0.113.5:5060", Transport::Udp, "sip:+15550100@us.example.org");
    assert!(!format!("{asked:?}").contains("5550100"));
}

#[test]
fn no_requests_whatever_make_the_tables_outgrow_their_bounds() {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    for seed in 0..20 {
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        let mut config = GateConfig { trunks: all_kinds(), ..GateConfig::default() };
        config.unmatched = [Unmatched::Silent, Unmatched::Forbidden, Unmatched::NotFound][seed as usize % 3];
        config.ban.max_addresses = 50;
        let mut gate = Gate::new(config, [seed as u8; 32]);
        let (mut now, mut last): (_, Option<DigestChallenge>) = (zero(), None);
        for _ in 0..3000 {
            now += Duration::from_millis(u64::from(chance.next_u32() % 3000));
            let address = std::net::Ipv4Addr::from_bits(0xc633_6400 + chance.next_u32() % 500);
            let uri =
                ["sip:1@pbx.example.org", "sip:+49@x", "sip:999@x", "junk"][chance.next_u32() as usize % 4];
            let method = ["INVITE", "REGISTER", "OPTIONS"][chance.next_u32() as usize % 3];
            let mut asked = Facts::new((address, 5060).into(), Transport::Udp, method, uri);
            asked.salt = chance.next_u64();
            let who = user(
                ["ann", "nobody"][chance.next_u32() as usize % 2],
                ["secret", "x"][chance.next_u32() as usize % 2],
            );
            let value = last.as_ref().filter(|_| !chance.next_u32().is_multiple_of(3)).map(|challenge| {
                Answer { challenge, user: &who, method, uri, count: chance.next_u32() % 4 }.value()
            });
            asked.authorization = value.as_deref();
            if let Verdict::Challenge { challenges, .. } = gate.judge(now, &asked) {
                last = DigestChallenge::parse(&challenges[0]);
            }
            let sizes = gate.sizes();
            assert!(sizes.0 <= 50 && sizes.1 <= 16_384, "seed {seed}: {sizes:?}");
        }
    }
}
