//! The registrar: who may register, what a 200 lists, and when a contact is gone (RFC 3261 section 10.3).
//! Whole requests go into an endpoint.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may unwrap and skip")]

mod kit;
#[path = "kit/digest.rs"]
mod kit_digest;

use kit::{Bench, invite, kind, request, tcp, udp, value};
use kit_digest::{Answer, challenges, user};
use sip::message::{HeaderName, Message};
use sip::{Command, EndpointConfig, Event, Flow, GateConfig, GateReason, Input, RegistrarLimits, TrunkRules};

const DOMAIN: &str = "sip:pbx.example.org";

fn gate() -> GateConfig {
    GateConfig {
        trunks: vec![
            TrunkRules {
                users: vec![user("ann", "secret"), user("bob", "other")],
                registrar: true,
                ..TrunkRules::open("phones")
            },
            TrunkRules {
                sources: vec!["203.0.113.5".parse().unwrap()],
                registrar: true,
                ..TrunkRules::open("pbx")
            },
        ],
        ..GateConfig::default()
    }
}

fn bench_with(gate: GateConfig) -> Bench {
    Bench::with(EndpointConfig { gate: Some(gate), ..EndpointConfig::default() }, udp())
}

/// A PBX that is known by its address: no digest to see past.
fn pbx() -> Bench {
    pbx_with(RegistrarLimits::default())
}

fn pbx_with(registrar: RegistrarLimits) -> Bench {
    let mut bench = bench_with(GateConfig { registrar, ..gate() });
    bench.flow = Flow { remote: "203.0.113.5:5060".parse().unwrap(), ..udp() };
    bench
}

/// A REGISTER of `who` with header lines.
fn register(who: &str, cseq: u32, lines: &str) -> String {
    request("REGISTER", &format!("reg-{who}"), &format!("z9hG4bK{who}{cseq}"), lines)
        .replace("sip:+15550100@192.0.2.1 SIP/2.0", &format!("{DOMAIN} SIP/2.0"))
        .replace("To: <sip:+15550100@192.0.2.1>", &format!("To: <sip:{who}@pbx.example.org>"))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
        .replace("Contact: <sip:ann@192.0.2.7:5060>\r\n", "")
}

/// Sends it and takes the answer.
fn send(bench: &mut Bench, text: &str) -> Message {
    bench.receive(text);
    let mut sent = bench.take_sent();
    assert_eq!(sent.len(), 1, "{text}");
    sent.remove(0)
}

fn contacts(answer: &Message) -> Vec<String> {
    answer.all(&HeaderName::Contact).map(|field| field.value.clone()).collect()
}

/// 401, then with credentials.
fn with_digest(bench: &mut Bench, text: &str, who: &sip::digest::Credentials) -> Message {
    let challenge = send(bench, text);
    assert_eq!(kind(&challenge), "401");
    let challenges = challenges(&challenge);
    let line =
        Answer { challenge: &challenges[0], user: who, method: "REGISTER", uri: DOMAIN, count: 1 }.line();
    let again =
        text.replace("z9hG4bK", "z9hG4bKauth").replacen("Max-Forwards", &format!("{line}Max-Forwards"), 1);
    send(bench, &again)
}

#[test]
fn a_phone_registers_by_digest_and_can_be_called_on_the_way_it_came() {
    let mut bench = bench_with(gate());
    let lines = "Contact: <sip:ann@10.0.0.5:5062>;expires=600\r\n";
    let answer = with_digest(&mut bench, &register("ann", 1, lines), &user("ann", "secret"));
    assert_eq!(
        (kind(&answer).as_str(), contacts(&answer)),
        ("200", vec!["<sip:ann@10.0.0.5:5062>;expires=600".into()])
    );
    match &bench.take_events()[..] {
        [Event::Registered { trunk, aor, contact, flow, expires_s }] => {
            assert_eq!(
                (&**trunk, aor.as_str(), contact.as_str()),
                ("phones", "ann", "sip:ann@10.0.0.5:5062")
            );
            assert_eq!((*flow, *expires_s), (udp(), 600));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.endpoint.binding("phones", "ann"), Some((udp(), "sip:ann@10.0.0.5:5062".into())));
    assert_eq!(bench.endpoint.binding("pbx", "ann"), None, "users belong to their trunk");
    assert_eq!(bench.endpoint.statistics().gate.bindings, 1);
}

#[test]
fn nobody_registers_the_address_of_another() {
    let mut bench = bench_with(gate());
    let text = register("ann", 1, "Contact: <sip:evil@198.51.100.66>\r\n");
    let answer = with_digest(&mut bench, &text, &user("bob", "other"));
    assert_eq!(kind(&answer), "403");
    assert_eq!(bench.endpoint.statistics().gate.reasons[GateReason::ForeignAddress.name()], 1);
    assert_eq!((bench.endpoint.binding("phones", "ann"), bench.take_event_names().as_str()), (None, ""));
    let text = register("%61nn", 1, "Contact: <sip:ann@10.0.0.5>\r\n");
    assert_eq!(
        kind(&with_digest(&mut bench, &text, &user("ann", "secret"))),
        "200",
        "an escape is the same name"
    );
    assert!(bench.endpoint.binding("phones", "ann").is_some());
}

#[test]
fn the_200_lists_every_contact_with_the_seconds_it_has_left() {
    let mut bench = pbx();
    send(&mut bench, &register("100", 1, "Contact: <sip:a@10.0.0.1>;q=0.5\r\nExpires: 300\r\n"));
    bench.pass_ms(100_500);
    let both =
        register("100", 2, "Contact: <sip:b@10.0.0.2>;expires=60, <sip:c@10.0.0.3>;q=0.7\r\nExpires: 90\r\n");
    let answer = send(&mut bench, &both);
    assert_eq!(
        contacts(&answer),
        [
            "<sip:a@10.0.0.1>;expires=200;q=0.500",
            "<sip:b@10.0.0.2>;expires=60",
            "<sip:c@10.0.0.3>;expires=90;q=0.700"
        ]
    );
    let asked = send(&mut bench, &register("100", 3, ""));
    assert_eq!((kind(&asked).as_str(), contacts(&asked).len()), ("200", 3), "asking changes nothing");
    let (_, best) = bench.endpoint.binding("pbx", "100").unwrap();
    assert_eq!(best, "sip:b@10.0.0.2", "the preferred one");
}

#[test]
fn a_refresh_prolongs_and_says_so_and_nothing_doubles() {
    let mut bench = pbx();
    for cseq in 1..=5 {
        let answer = send(
            &mut bench,
            &register("100", cseq, "Contact: <sip:100@10.0.0.1;transport=udp>\r\nExpires: 60\r\n"),
        );
        assert_eq!(contacts(&answer).len(), 1);
        bench.pass_ms(40_000);
    }
    assert_eq!(bench.take_event_names(), "Registered Registered Registered Registered Registered");
    bench.pass_ms(20_000);
    assert_eq!(bench.take_event_names(), "Unregistered");
    assert_eq!(bench.endpoint.binding("pbx", "100"), None);
    assert_eq!(bench.endpoint.statistics().gate.bindings, 0);
    bench.pass_ms(60_000);
    assert_eq!(bench.wake, None);
}

#[test]
fn a_too_brief_registration_gets_423_and_a_long_one_is_shortened() {
    let mut bench = pbx();
    let answer = send(&mut bench, &register("100", 1, "Contact: <sip:100@10.0.0.1>\r\nExpires: 59\r\n"));
    assert_eq!((kind(&answer).as_str(), value(&answer, "Min-Expires")), ("423", "60"));
    let answer = send(&mut bench, &register("100", 2, "Contact: <sip:100@10.0.0.1>;expires=4294967296\r\n"));
    assert_eq!(contacts(&answer), ["<sip:100@10.0.0.1>;expires=7200"]);
    let answer = send(&mut bench, &register("100", 3, "Contact: <sip:100@10.0.0.1>;expires=soon\r\n"));
    assert_eq!(contacts(&answer), ["<sip:100@10.0.0.1>;expires=3600"], "what cannot be read is an hour");
    let answer = send(&mut bench, &register("101", 1, "Contact: <sip:101@10.0.0.1>\r\n"));
    assert_eq!(contacts(&answer), ["<sip:101@10.0.0.1>;expires=3600"]);
}

#[test]
fn expires_zero_removes_one_contact_and_the_star_all_of_them() {
    let mut bench = pbx();
    send(&mut bench, &register("100", 1, "Contact: <sip:a@10.0.0.1>, <sip:b@10.0.0.2>\r\n"));
    bench.take_events();
    let answer = send(&mut bench, &register("100", 2, "Contact: <sip:a@10.0.0.1>;expires=0\r\n"));
    assert_eq!((contacts(&answer).len(), bench.take_event_names().as_str()), (1, ""));
    for (cseq, wrong) in [
        (3, "Contact: *\r\n"),
        (4, "Contact: *\r\nExpires: 60\r\n"),
        (5, "Contact: *, <sip:a@b>\r\nExpires: 0\r\n"),
    ] {
        assert_eq!(kind(&send(&mut bench, &register("100", cseq, wrong))), "400", "{wrong}");
    }
    let answer = send(&mut bench, &register("100", 6, "Contact: *\r\nExpires: 0\r\n"));
    assert_eq!((kind(&answer).as_str(), contacts(&answer).len()), ("200", 0));
    assert_eq!(bench.take_event_names(), "Unregistered");
    let answer = send(&mut bench, &register("100", 7, "Contact: *\r\nExpires: 0\r\n"));
    assert_eq!(
        (kind(&answer).as_str(), bench.take_event_names().as_str()),
        ("200", ""),
        "nothing is left to remove"
    );
}

#[test]
fn an_older_register_that_comes_late_changes_nothing() {
    let mut bench = pbx();
    send(&mut bench, &register("100", 5, "Contact: <sip:a@10.0.0.1>\r\n"));
    for (cseq, late) in [(4, "Contact: <sip:a@10.0.0.1>;expires=0\r\n"), (2, "Contact: *\r\nExpires: 0\r\n")]
    {
        assert_eq!(kind(&send(&mut bench, &register("100", cseq, late))), "500");
    }
    let mixed = "Contact: <sip:new@10.0.0.9>, <sip:a@10.0.0.1>;expires=0\r\n";
    assert_eq!(kind(&send(&mut bench, &register("100", 3, mixed))), "500");
    assert_eq!(contacts(&send(&mut bench, &register("100", 6, ""))).len(), 1, "wholly or not at all");
    let restarted =
        register("100", 1, "Contact: <sip:a@10.0.0.1>;expires=70\r\n").replace("reg-100", "after-restart");
    assert_eq!(contacts(&send(&mut bench, &restarted)), ["<sip:a@10.0.0.1>;expires=70"]);
}

#[test]
fn contacts_are_bounded_per_user_and_in_all() {
    let limits = RegistrarLimits { contacts_per_user: 3, contacts: 5, ..RegistrarLimits::default() };
    let mut bench = pbx_with(limits);
    for number in 1..=6_u32 {
        let line = format!("Contact: <sip:100@10.0.0.{number}>;expires={}\r\n", 1000 + number);
        let answer = send(&mut bench, &register("100", number, &line));
        assert_eq!(contacts(&answer).len(), 3.min(number as usize));
    }
    let answer = send(&mut bench, &register("100", 7, ""));
    assert!(contacts(&answer)[0].starts_with("<sip:100@10.0.0.4>"), "the first to end made room");
    let many: String = (0..4).map(|number| format!("Contact: <sip:100@10.1.0.{number}>\r\n")).collect();
    assert_eq!(kind(&send(&mut bench, &register("100", 8, &many))), "403");
    for (who, expected) in [("101", "200"), ("102", "200"), ("103", "503")] {
        let line = format!("Contact: <sip:{who}@10.0.0.9>\r\n");
        assert_eq!(kind(&send(&mut bench, &register(who, 1, &line))), expected);
    }
    assert_eq!(bench.endpoint.statistics().gate.bindings, 5);
    let answer = send(&mut bench, &register("101", 2, "Contact: <sip:101@10.0.0.9>\r\n"));
    assert_eq!(kind(&answer), "200", "a refresh needs no room");
}

#[test]
fn contacts_that_cannot_be_called_are_refused() {
    let mut bench = pbx();
    let long = format!("Contact: <sip:{}@10.0.0.1>\r\n", "x".repeat(600));
    for (cseq, line) in [
        (1, "Contact: <mailto:ann@example.org>\r\n"),
        (2, "Contact: <sip:>\r\n"),
        (3, &*long),
        (4, "Contact: sip\r\n"),
    ] {
        assert_eq!(kind(&send(&mut bench, &register("100", cseq, line))), "400", "{line}");
    }
    let nobody = register("100", 5, "Contact: <sip:a@b>\r\n")
        .replace("<sip:100@pbx.example.org>", "<sip:pbx.example.org>");
    assert_eq!(kind(&send(&mut bench, &nobody)), "400");
    assert_eq!(bench.endpoint.statistics().gate.bindings, 0);
}

#[test]
fn a_closed_stream_ends_what_was_reached_by_it() {
    let mut bench = pbx();
    let stream = Flow { remote: "203.0.113.5:40000".parse().unwrap(), ..tcp() };
    bench.flow = stream;
    send(&mut bench, &register("100", 1, "Contact: <sip:100@10.0.0.1;transport=tcp>\r\n"));
    send(&mut bench, &register("101", 1, "Contact: <sip:101@10.0.0.2;transport=tcp>\r\n"));
    bench.flow = Flow { remote: "203.0.113.5:5060".parse().unwrap(), ..udp() };
    send(&mut bench, &register("101", 2, "Contact: <sip:101@10.0.0.3>\r\n"));
    bench.take_events();
    bench.step(Input::FlowClosed { flow: stream });
    assert_eq!(bench.take_event_names(), "Unregistered");
    assert_eq!(bench.endpoint.binding("pbx", "100"), None);
    assert_eq!(bench.endpoint.binding("pbx", "101").unwrap().1, "sip:101@10.0.0.3");
}

#[test]
fn allow_names_register_only_where_it_is_served() {
    let mut bench = pbx();
    let answer = send(&mut bench, &request("OPTIONS", "o", "z9hG4bKo", ""));
    assert!(value(&answer, "Allow").contains("REGISTER"));
    let mut without = gate();
    without.trunks[1].registrar = false;
    let mut bench = bench_with(without);
    bench.flow = Flow { remote: "203.0.113.6:5060".parse().unwrap(), ..udp() };
    assert_eq!(kind(&send(&mut bench, &register("100", 1, "Contact: <sip:100@10.0.0.1>\r\n"))), "401");
}

#[test]
fn a_repeated_register_is_answered_by_its_transaction() {
    let mut bench = pbx();
    let text = register("100", 1, "Contact: <sip:100@10.0.0.1>\r\n");
    let (first, second) = (send(&mut bench, &text), send(&mut bench, &text));
    assert!(first == second, "the same 200");
    assert_eq!(bench.take_event_names(), "Registered");
}

#[test]
fn registrations_go_on_while_draining() {
    let mut bench = pbx();
    bench.command(Command::Drain(true));
    assert_eq!(kind(&send(&mut bench, &register("100", 1, "Contact: <sip:100@10.0.0.1>\r\n"))), "200");
    bench.receive(&invite("a", "z9hG4bKa"));
    assert_eq!(bench.take_sent_kinds(), "503");
}

#[test]
fn no_registrations_whatever_outgrow_the_bounds_or_forget_the_index() {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    for seed in 0..10 {
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        let limits = RegistrarLimits { contacts_per_user: 3, contacts: 20, ..RegistrarLimits::default() };
        let mut bench = pbx_with(limits);
        for cseq in 1..400 {
            let pick = |count: u32, chance: &mut ChaCha12Rng| chance.next_u32() % count;
            let stream = pick(4, &mut chance);
            bench.flow = match stream {
                0 => Flow { remote: "203.0.113.5:5060".parse().unwrap(), ..udp() },
                number => {
                    Flow { remote: "203.0.113.5:4000".parse().unwrap(), connection: number.into(), ..tcp() }
                }
            };
            let who = format!("{}", 100 + pick(12, &mut chance));
            let (last, expires) = (pick(9, &mut chance), [0, 60, 61, 3600][pick(4, &mut chance) as usize]);
            let line = match pick(10, &mut chance) {
                0 => "Contact: *\r\nExpires: 0\r\n".to_owned(),
                _ => format!("Contact: <sip:{who}@10.0.0.{last}>;expires={expires}\r\n"),
            };
            let kind = kind(&send(&mut bench, &register(&who, cseq, &line)));
            assert!(kind == "200" || kind == "503", "seed {seed}: {kind}");
            if pick(20, &mut chance) == 0 {
                let flow = bench.flow;
                bench.step(Input::FlowClosed { flow });
            }
            bench.pass_ms(u64::from(pick(20_000, &mut chance)));
            let bindings = bench.endpoint.statistics().gate.bindings;
            assert!(bindings <= 20, "seed {seed}: {bindings}");
        }
        bench.pass_ms(3_700_000);
        assert_eq!((bench.endpoint.statistics().gate.bindings, bench.wake), (0, None), "seed {seed}");
        let names = bench.take_event_names();
        assert!(names.ends_with("Unregistered"), "seed {seed}");
    }
}
