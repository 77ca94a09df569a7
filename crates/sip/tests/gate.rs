//! The gate: whom it admits, what strangers get, and what they cost.
//! Whole requests go into an endpoint; what the rules alone say is in `gate_rules`.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may unwrap and skip")]

mod kit;
#[path = "kit/digest.rs"]
mod kit_digest;

use kit::{Bench, in_dialog, invite, kind, request, tcp, udp, value};
use kit_digest::{Answer, challenges, user};
use sip::digest::{Credentials, DigestAlgorithm, DigestChallenge};
use sip::message::Message;
use sip::{BanPolicy, Command, EndpointConfig, Event, Flow, GateConfig, GateReason, TrunkRules, Unmatched};

const URI: &str = "sip:+15550100@192.0.2.1";

/// `carrier` by its address, `phones` by digest.
fn trunks() -> Vec<TrunkRules> {
    vec![
        TrunkRules {
            sources: vec!["203.0.113.0/28".parse().unwrap()],
            called: vec!["+1555".into()],
            ..TrunkRules::open("carrier")
        },
        TrunkRules {
            users: vec![user("ann", "secret"), user("bob", "other")],
            called: vec!["+1555".into(), "100".into()],
            ..TrunkRules::open("phones")
        },
    ]
}

fn config(trunks: Vec<TrunkRules>, unmatched: Unmatched) -> GateConfig {
    GateConfig { trunks, unmatched, ..GateConfig::default() }
}

fn bench(gate: GateConfig) -> Bench {
    Bench::with(EndpointConfig { gate: Some(gate), ..EndpointConfig::default() }, udp())
}

fn only_carrier(unmatched: Unmatched) -> Bench {
    bench(config(trunks().into_iter().take(1).collect(), unmatched))
}

fn from(address: &str) -> Flow {
    Flow { remote: address.parse().unwrap(), ..udp() }
}

/// How often the gate decided for that reason.
fn counted(bench: &Bench, reason: GateReason) -> u64 {
    bench.endpoint.statistics().gate.reasons[reason.name()]
}

fn with_line(request: &str, line: &str) -> String {
    request.replacen("Max-Forwards", &format!("{line}Max-Forwards"), 1)
}

/// Sends an INVITE and takes the 401.
fn challenged(bench: &mut Bench, call: &str) -> Message {
    bench.receive(&invite(call, &format!("z9hG4bK{call}-1")));
    let answer = bench.take_sent().pop().expect("an answer");
    assert_eq!(kind(&answer), "401");
    answer
}

/// The INVITE again, with credentials for the hash wanted.
fn answered(
    answer: &Message,
    call: &str,
    who: &Credentials,
    (algorithm, count): (DigestAlgorithm, u32),
) -> String {
    let challenges = challenges(answer);
    let challenge = challenges.iter().find(|challenge| challenge.algorithm == algorithm).unwrap();
    let line = Answer { challenge, user: who, method: "INVITE", uri: URI, count }.line();
    with_line(&invite(call, &format!("z9hG4bK{call}-{count}-2")), &line)
}

const MD5: (DigestAlgorithm, u32) = (DigestAlgorithm::Md5, 1);
const SHA: (DigestAlgorithm, u32) = (DigestAlgorithm::Sha256, 1);

#[test]
fn a_carrier_is_known_by_its_address_and_nobody_by_their_from() {
    let mut bench = only_carrier(Unmatched::Forbidden);
    bench.flow = from("203.0.113.9:5060");
    bench.receive(&invite("a", "z9hG4bKa"));
    assert_eq!(bench.take_sent_kinds(), "100");
    match &bench.take_events()[..] {
        [Event::Invite(invite)] => assert_eq!(invite.trunk.as_deref(), Some("carrier")),
        other => panic!("{other:?}"),
    }
    bench.flow = from("203.0.113.16:5060");
    let forged = invite("b", "z9hG4bKb").replace("ann@example.org", "carrier@203.0.113.9");
    bench.receive(&forged);
    assert_eq!(bench.take_sent_kinds(), "403");
    let events = bench.take_events();
    assert!(
        matches!(&events[..], [Event::Refused { status: 403, reason: "unknown_source", .. }]),
        "{events:?}"
    );
}

#[test]
fn every_reason_is_a_counter_from_the_start() {
    let bench = only_carrier(Unmatched::Silent);
    let reasons = &bench.endpoint.statistics().gate.reasons;
    assert_eq!(reasons.len(), GateReason::ALL.len());
    assert!(reasons.values().all(|count| *count == 0));
}

#[test]
fn strangers_get_what_the_operator_chose() {
    for (unmatched, expected) in
        [(Unmatched::Silent, ""), (Unmatched::Forbidden, "403"), (Unmatched::NotFound, "404")]
    {
        let mut bench = only_carrier(unmatched);
        bench.receive(&invite("a", "z9hG4bKa"));
        bench.receive(&request("OPTIONS", "b", "z9hG4bKb", ""));
        bench.receive(&request("REGISTER", "c", "z9hG4bKc", ""));
        bench.receive(&request("MESSAGE", "d", "z9hG4bKd", ""));
        let expected = [expected; 4].join(" ");
        assert_eq!(bench.take_sent_kinds(), expected.trim());
        assert_eq!(bench.take_event_names(), "Refused", "one call, one report");
        assert_eq!(bench.endpoint.statistics().transactions, 0);
    }
}

#[test]
fn a_carrier_is_told_the_truth_where_a_stranger_gets_silence() {
    let mut bench = only_carrier(Unmatched::Silent);
    bench.flow = from("203.0.113.9:5060");
    bench.receive(&invite("a", "z9hG4bKa").replace("sip:+15550100@192.0.2.1 SIP", "sip:+4930@192.0.2.1 SIP"));
    assert_eq!(bench.take_sent_kinds(), "404");
    assert!(matches!(
        &bench.take_events()[..],
        [Event::Refused { reason: "unknown_number", status: 404, .. }]
    ));
    bench.receive(&request("OPTIONS", "ping", "z9hG4bKping", "").replace("+15550100@", ""));
    assert_eq!(bench.take_sent_kinds(), "200", "a ping calls no number");
    bench.receive(&request("REGISTER", "r", "z9hG4bKr", ""));
    let sent = bench.take_sent();
    assert_eq!(kind(&sent[0]), "405", "known, but not allowed here");
    assert!(!value(&sent[0], "Allow").contains("REGISTER"));
}

#[test]
fn every_copy_of_a_strangers_request_gets_the_same_answer_and_leaves_nothing() {
    let mut bench = only_carrier(Unmatched::Forbidden);
    for _ in 0..3 {
        bench.receive(&invite("a", "z9hG4bKa"));
        bench.pass_ms(500);
    }
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|answer| *answer == sent[0]));
    assert_eq!(bench.take_event_names(), "Refused");
    let tag = kit::tag_of(&sent[0], &sip::message::HeaderName::To);
    let ack = in_dialog("ACK", 1, "z9hG4bKa", &tag).replace("Call-ID: call", "Call-ID: a");
    bench.receive(&ack);
    assert_eq!(bench.endpoint.statistics().gate.acks_absorbed, 1);
    assert_eq!(bench.endpoint.statistics().dropped["ack_without_transaction"], 0);
    assert_eq!((bench.take_sent_kinds().as_str(), bench.wake), ("", None), "nothing is pending");
    assert_eq!(bench.endpoint.statistics().transactions, 0);
}

#[test]
fn digest_admits_with_either_hash_and_names_the_trunk() {
    for hash in [MD5, SHA] {
        let mut bench = bench(config(trunks(), Unmatched::Silent));
        let answer = challenged(&mut bench, "a");
        let offered: Vec<_> = challenges(&answer).iter().map(|challenge| challenge.algorithm).collect();
        assert_eq!(offered, [DigestAlgorithm::Sha256, DigestAlgorithm::Md5], "the stronger first");
        assert_eq!((bench.take_event_names().as_str(), bench.wake), ("", None), "a challenge leaves nothing");
        bench.receive(&answered(&answer, "a", &user("ann", "secret"), hash));
        assert_eq!(bench.take_sent_kinds(), "100");
        assert!(
            matches!(&bench.take_events()[..], [Event::Invite(i)] if i.trunk.as_deref() == Some("phones"))
        );
        let statistics = &bench.endpoint.statistics().gate;
        assert_eq!((statistics.admitted, statistics.authenticated, statistics.challenged), (1, 1, 1));
    }
}

#[test]
fn known_and_unknown_users_get_the_same_answer() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let mut shapes = Vec::new();
    for (call, who) in [("a", user("ann", "wrong")), ("b", user("nobody", "wrong"))] {
        let answer = challenged(&mut bench, call);
        bench.receive(&answered(&answer, call, &who, MD5));
        let sent = bench.take_sent();
        assert_eq!(kind(&sent[0]), "403");
        shapes.push(sent[0].headers.iter().map(|field| field.name.text().to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(
        (counted(&bench, GateReason::WrongCredentials), counted(&bench, GateReason::UnknownUser)),
        (1, 1)
    );
    assert!(!shapes[0].contains(&"Server".to_owned()), "and learns no product name");
}

#[test]
fn the_user_of_one_trunk_does_not_open_another() {
    let other = TrunkRules {
        users: vec![user("carl", "carls")],
        called: vec!["+4930".into()],
        ..TrunkRules::open("berlin")
    };
    let mut rules = trunks();
    rules.push(other);
    let mut bench = bench(config(rules, Unmatched::Forbidden));
    let answer = challenged(&mut bench, "a");
    bench.receive(&answered(&answer, "a", &user("carl", "carls"), MD5));
    assert_eq!(bench.take_sent_kinds(), "403");
    assert_eq!(counted(&bench, GateReason::UnknownUser), 1);
    let answer = challenged(&mut bench, "b");
    bench.receive(&answered(&answer, "b", &user("ann", "other"), MD5));
    assert_eq!(bench.take_sent_kinds(), "403", "nor does the password of a colleague");
}

#[test]
fn a_nonce_count_cannot_be_used_twice_but_the_nonce_can() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let (ann, answer) = (user("ann", "secret"), challenged(&mut bench, "a"));
    bench.receive(&answered(&answer, "a", &ann, MD5));
    assert_eq!(bench.take_sent_kinds(), "100");
    let replay =
        answered(&answer, "a", &ann, MD5).replace("z9hG4bKa-1-2", "z9hG4bKreplay").replace(": a\r", ": b\r");
    bench.receive(&replay);
    let sent = bench.take_sent();
    assert_eq!(kind(&sent[0]), "401");
    assert!(challenges(&sent[0]).iter().all(|challenge| challenge.stale));
    assert_eq!(counted(&bench, GateReason::ReplayedNonce), 1);
    bench.receive(&answered(&answer, "c", &ann, (DigestAlgorithm::Md5, 2)));
    assert_eq!(bench.take_sent_kinds(), "100");
}

#[test]
fn an_old_nonce_is_stale_and_a_new_one_is_offered() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let (ann, answer) = (user("ann", "secret"), challenged(&mut bench, "a"));
    bench.pass_ms(301_000);
    bench.receive(&answered(&answer, "a", &ann, MD5));
    let sent = bench.take_sent();
    assert!(challenges(&sent[0]).iter().all(|challenge| challenge.stale));
    bench.receive(&answered(&sent[0], "b", &ann, MD5));
    assert_eq!(bench.take_sent_kinds(), "100");
    assert_eq!(counted(&bench, GateReason::StaleNonce), 1);
}

#[test]
fn a_nonce_of_one_address_is_worth_nothing_at_another() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let answer = challenged(&mut bench, "a");
    bench.flow = from("198.51.100.66:5060");
    bench.receive(&answered(&answer, "a", &user("ann", "secret"), MD5));
    assert_eq!(bench.take_sent_kinds(), "401");
    assert_eq!(counted(&bench, GateReason::StaleNonce), 1);
}

#[test]
fn credentials_for_another_number_or_method_do_not_open_this_one() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let (ann, answer) = (user("ann", "secret"), challenged(&mut bench, "a"));
    let challenges = challenges(&answer);
    let of = |method, uri| Answer { challenge: &challenges[1], user: &ann, method, uri, count: 1 }.line();
    bench.receive(&with_line(&invite("b", "z9hG4bKb"), &of("INVITE", "sip:+15559999@192.0.2.1")));
    assert_eq!(bench.take_sent_kinds(), "401");
    bench.receive(&with_line(&invite("c", "z9hG4bKc"), &of("REGISTER", URI)));
    assert_eq!(bench.take_sent_kinds(), "403");
    bench.receive(&with_line(&invite("d", "z9hG4bKd"), &of("INVITE", "sip:+15550100@192.0.2.1;user=phone")));
    assert_eq!(bench.take_sent_kinds(), "100", "a parameter more is the same number");
}

#[test]
fn a_phone_without_qop_may_use_each_nonce_once() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let (ann, answer) = (user("ann", "secret"), challenged(&mut bench, "a"));
    let challenges = challenges(&answer);
    let old = Answer { challenge: &challenges[1], user: &ann, method: "INVITE", uri: URI, count: 1 };
    let line = format!("Authorization: {}\r\n", old.value_without_qop());
    bench.receive(&with_line(&invite("b", "z9hG4bKb"), &line));
    assert_eq!(bench.take_sent_kinds(), "100");
    bench.receive(&with_line(&invite("c", "z9hG4bKc"), &line));
    assert_eq!(bench.take_sent_kinds(), "401");
}

#[test]
fn crafted_credentials_are_challenged_and_nothing_worse() {
    let mut rules = config(trunks(), Unmatched::Silent);
    rules.ban.failures = 1000;
    let mut bench = bench(rules);
    let answer = challenged(&mut bench, "a");
    let challenges = challenges(&answer);
    let good = Answer {
        challenge: &challenges[1],
        user: &user("ann", "secret"),
        method: "INVITE",
        uri: URI,
        count: 1,
    }
    .value();
    let long = "x".repeat(9000);
    let crafted = [
        String::new(),
        "Digest".into(),
        "Digest ".into(),
        "Basic YW5uOnNlY3JldA==".into(),
        "Digest username=\"ann".into(),
        "Digest ,,,,,=,=,\"\"=\"\"".into(),
        format!("Digest username=\"{long}\""),
        "Digest username=\"\\".into(),
        good.replace("username=\"ann\"", "username=\"ann\", username=\"bob\""),
        good.replace("nc=00000001", "nc=00000000"),
        good.replace("nc=00000001", "nc=1"),
        good.replace("nc=00000001", "nc=-0000001"),
        good.replace("qop=auth", "qop=auth-int"),
        good.replace("algorithm=MD5", "algorithm=MD5-sess"),
        good.replace("algorithm=MD5", "algorithm=SHA-256"),
        good.replace("response=\"", "response=\"0"),
        good.replace("realm=\"sip\"", "realm=\"\""),
        good.replace("nonce=\"", "nonce=\"\u{1F600}"),
        good.replace(", ", ";"),
    ];
    for (number, value) in crafted.iter().enumerate() {
        let line = format!("Authorization: {value}\r\n");
        bench.receive(&with_line(&invite("x", &format!("z9hG4bKx{number}")), &line));
        assert_eq!(bench.take_sent_kinds(), "401", "{value}");
    }
    assert_eq!(bench.take_event_names(), "");
    assert_eq!(bench.endpoint.statistics().transactions, 0);
    bench.receive(&with_line(&invite("x", "z9hG4bKgood"), &format!("Authorization: {good}\r\n")));
    assert_eq!(bench.take_sent_kinds(), "100", "what was crafted from it has not used it up");
}

#[test]
fn a_field_that_only_looks_like_authorization_is_none() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let answer = challenged(&mut bench, "a");
    let challenges = challenges(&answer);
    let good = Answer {
        challenge: &challenges[1],
        user: &user("ann", "secret"),
        method: "INVITE",
        uri: URI,
        count: 1,
    }
    .value();
    for (number, name) in [
        "Authorization\u{b}",
        "Authorization\u{0}",
        "Author ization",
        "X-Authorization",
        "\u{1}Authorization",
    ]
    .iter()
    .enumerate()
    {
        let line = format!("{name}: {good}\r\n");
        bench.receive(&with_line(&invite("x", &format!("z9hG4bKx{number}")), &line));
        assert_eq!(bench.take_sent_kinds(), "401", "{name:?}");
    }
    assert_eq!(counted(&bench, GateReason::NoCredentials), 6);
    let folded = format!("aUTHORIZATION \t:\r\n {good}\r\n");
    bench.receive(&with_line(&invite("x", "z9hG4bKfolded"), &folded));
    assert_eq!(bench.take_sent_kinds(), "100", "which the grammar allows");
}

#[test]
fn of_several_authorizations_ours_is_taken() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    let answer = challenged(&mut bench, "a");
    let challenges = challenges(&answer);
    let ann = user("ann", "secret");
    let line = |challenge: &DigestChallenge| {
        Answer { challenge, user: &ann, method: "INVITE", uri: URI, count: 1 }.line()
    };
    let ours = line(&challenges[1]);
    let foreign = line(&DigestChallenge { realm: "proxy.example".into(), ..challenges[1].clone() });
    bench.receive(&with_line(&invite("b", "z9hG4bKb"), &foreign));
    assert_eq!(bench.take_sent_kinds(), "401");
    bench.receive(&with_line(&invite("c", "z9hG4bKc"), &(foreign + &ours)));
    assert_eq!(bench.take_sent_kinds(), "100");
}

#[test]
fn the_tenth_wrong_password_is_the_last_for_ten_minutes() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    for number in 0..10 {
        let call = format!("c{number}");
        let answer = challenged(&mut bench, &call);
        bench.receive(&answered(&answer, &call, &user("ann", &format!("guess{number}")), MD5));
        assert_eq!(bench.take_sent_kinds(), "403");
    }
    let wrong = |event: &Event| matches!(event, Event::Refused { reason: "wrong_credentials", .. });
    assert!(bench.events.len() == 10 && bench.take_events().iter().all(wrong));
    bench.receive(&invite("banned", "z9hG4bKbanned"));
    bench.receive(&request("OPTIONS", "banned", "z9hG4bKo", ""));
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("", ""));
    let statistics = &bench.endpoint.statistics().gate;
    assert_eq!((statistics.bans, statistics.reasons["banned"]), (1, 2));
    bench.flow = from("198.51.100.66:5060");
    challenged(&mut bench, "other");
    bench.flow = udp();
    bench.pass_ms(600_000);
    let answer = challenged(&mut bench, "again");
    bench.receive(&answered(&answer, "again", &user("ann", "secret"), MD5));
    assert_eq!(bench.take_sent_kinds(), "100");
}

#[test]
fn a_source_that_a_trunk_names_is_never_ignored() {
    let mut bench = only_carrier(Unmatched::Silent);
    bench.flow = from("203.0.113.9:5060");
    for number in 0..50 {
        let text = invite("a", &format!("z9hG4bK{number}"));
        bench.receive(&text.replace("sip:+15550100@192.0.2.1 SIP", "sip:666@192.0.2.1 SIP"));
    }
    assert_eq!(bench.take_sent_kinds(), ["404"; 50].join(" "));
    bench.receive(&invite("b", "z9hG4bKb"));
    assert_eq!(bench.take_sent_kinds(), "100");
    assert_eq!(bench.endpoint.statistics().gate.suspects, 0);
}

#[test]
fn a_named_source_is_not_banned_for_its_neighbours() {
    let mut rules = config(trunks().into_iter().take(1).collect(), Unmatched::Silent);
    rules.trunks[0].sources = vec!["2001:db8::5".parse().unwrap()];
    let mut bench = bench(rules);
    bench.flow = from("[2001:db8::66]:5060");
    for number in 0..20 {
        bench.receive(&invite("a", &format!("z9hG4bK{number}")));
    }
    assert_eq!(bench.endpoint.statistics().gate.bans, 1, "the whole /64");
    bench.flow = from("[2001:db8::5]:5060");
    bench.receive(&invite("b", "z9hG4bKb"));
    assert_eq!(bench.take_sent_kinds(), "100");
}

#[test]
fn what_belongs_to_a_dialog_passes_even_from_a_banned_address() {
    let mut bench = only_carrier(Unmatched::Forbidden);
    bench.flow = from("203.0.113.9:5060");
    let (_, tag) = bench.established();
    bench.receive(&invite("ringing", "z9hG4bKringing"));
    bench.take_sent();
    bench.take_events();
    bench.flow = from("198.51.100.66:5060");
    for number in 0..20 {
        bench.receive(&invite("x", &format!("z9hG4bKx{number}")));
    }
    assert_eq!(bench.take_sent_kinds(), ["403"; 10].join(" "), "then it is ignored");
    bench.take_events();
    bench.receive(&request("CANCEL", "ringing", "z9hG4bKringing", ""));
    assert_eq!(
        (bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()),
        ("200 487", "Cancelled Ended")
    );
    bench.receive(&in_dialog("INFO", 2, "z9hG4bKinfo", &tag));
    bench.receive(&in_dialog("BYE", 3, "z9hG4bKbye", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 200");
    assert_eq!(bench.take_event_names(), "Info Bye Ended");
    bench.receive(&in_dialog("BYE", 4, "z9hG4bKbye2", &tag));
    bench.receive(&request("CANCEL", "no", "z9hG4bKno", ""));
    assert_eq!(bench.take_sent_kinds(), "", "of a dialog that does not exist: it is still banned");
    assert_eq!(counted(&bench, GateReason::UnknownDialog), 2);
}

#[test]
fn a_strangers_stray_request_costs_no_transaction() {
    for (unmatched, expected) in [(Unmatched::Silent, ""), (Unmatched::Forbidden, "481 481 481")] {
        let mut bench = only_carrier(unmatched);
        bench.receive(&in_dialog("BYE", 2, "z9hG4bKb", "guess"));
        bench.receive(&in_dialog("INVITE", 2, "z9hG4bKi", "guess"));
        bench.receive(&request("CANCEL", "c", "z9hG4bKc", ""));
        bench.receive(&in_dialog("ACK", 2, "z9hG4bKa", "guess"));
        assert_eq!(bench.take_sent_kinds(), expected);
        assert_eq!(bench.endpoint.statistics().transactions, 0);
    }
}

#[test]
fn a_malformed_request_of_a_stranger_is_a_strangers_request() {
    let mut bench = only_carrier(Unmatched::Forbidden);
    bench.receive(&invite("a", "z9hG4bKa").replace("CSeq: 1 INVITE", "CSeq: x"));
    bench.receive(&invite("b", "z9hG4bKb").replace("sip:+15550100@192.0.2.1 SIP", "sip:@@ SIP"));
    assert_eq!(bench.take_sent_kinds(), "403 403");
    assert_eq!(bench.endpoint.statistics().transactions, 0);
}

#[test]
fn an_answer_to_a_datagram_is_at_most_half_as_large_again() {
    let mut bench = bench(config(trunks(), Unmatched::Forbidden));
    let tiny = "INVITE sip:100@a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\n\
                t:<sip:b>\r\ni:1\r\nCSeq:1 INVITE\r\n\r\n";
    bench.receive(tiny);
    assert_eq!(bench.take_sent_kinds(), "", "both challenges would be three times as large");
    assert_eq!(counted(&bench, GateReason::Amplification), 1);
    let small = tiny.replace("CSeq", &format!("Subject:{}\r\nCSeq", "x".repeat(160)));
    bench.receive(&small);
    let sent = bench.take_sent();
    let offered: Vec<_> = challenges(&sent[0]).iter().map(|challenge| challenge.algorithm).collect();
    assert_eq!(offered, [DigestAlgorithm::Md5], "one of them has room");
    bench.flow = Flow { remote: "198.51.100.7:5060".parse().unwrap(), ..tcp() };
    bench.receive(tiny);
    assert_eq!(challenges(&bench.take_sent()[0]).len(), 2, "a stream cannot be forged");
}

#[test]
fn strangers_calls_are_reported_so_often_and_the_others_are_counted() {
    let mut gate = config(trunks().into_iter().take(1).collect(), Unmatched::Silent);
    gate.reports_per_second = 3;
    gate.ban = BanPolicy { failures: 1000, ..BanPolicy::default() };
    let mut bench = bench(gate);
    for number in 0..20 {
        bench.receive(&invite("a", &format!("z9hG4bK{number}")));
    }
    assert_eq!(bench.take_events().len(), 3);
    assert_eq!(bench.endpoint.statistics().gate.unreported, 17);
    bench.pass_ms(1000);
    bench.receive(&invite("a", "z9hG4bKlater"));
    assert_eq!(bench.take_events().len(), 1);
}

#[test]
fn room_is_kept_for_running_calls_and_strangers_stay_strangers() {
    let gate = config(trunks(), Unmatched::Silent);
    let config =
        EndpointConfig { gate: Some(gate), max_transactions: 4, max_dialogs: 2, ..EndpointConfig::default() };
    let mut bench = Bench::with(config, from("203.0.113.9:5060"));
    let (_, tag) = bench.established();
    bench.receive(&invite("second", "z9hG4bKsecond"));
    bench.take_sent();
    bench.take_events();
    bench.receive(&request("OPTIONS", "ping", "z9hG4bKping", ""));
    bench.receive(&request("OPTIONS", "ping2", "z9hG4bKping2", ""));
    bench.receive(&invite("third", "z9hG4bKthird"));
    assert_eq!(bench.take_sent_kinds(), "200 200 503");
    assert!(matches!(&bench.take_events()[..], [Event::Refused { status: 503, reason: "full", .. }]));
    for _ in 0..2 {
        bench.receive(&in_dialog("INFO", 2, "z9hG4bKi2", &tag));
    }
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("200 200", "Info"));
    for cseq in 3..30 {
        bench.receive(&in_dialog("INFO", cseq, &format!("z9hG4bKi{cseq}"), &tag));
    }
    assert_eq!(bench.take_sent_kinds(), ["200"; 27].join(" "));
    assert!(bench.endpoint.statistics().transactions <= 5, "a quarter more, not without end");
    bench.receive(&in_dialog("BYE", 30, "z9hG4bKbye", &tag));
    assert_eq!(bench.take_sent_kinds(), "200");
    bench.flow = from("198.51.100.7:5060");
    bench.receive(
        &invite("stranger", "z9hG4bKs").replace("sip:+15550100@192.0.2.1 SIP", "sip:9@192.0.2.1 SIP"),
    );
    assert_eq!(bench.take_sent_kinds(), "");
    bench.receive(&request("OPTIONS", "phone", "z9hG4bKp", ""));
    assert_eq!(bench.take_sent_kinds(), "503", "not even a challenge: there is no room");
}

#[test]
fn a_draining_server_sends_everybody_elsewhere_at_different_times() {
    let mut bench = bench(config(trunks(), Unmatched::Silent));
    bench.flow = from("203.0.113.9:5060");
    let (_, tag) = bench.established();
    bench.command(Command::Drain(true));
    let mut waits = std::collections::BTreeSet::new();
    for number in 0..60 {
        bench.receive(&request("OPTIONS", "o", &format!("z9hG4bK{number}"), ""));
        let sent = bench.take_sent();
        assert_eq!(kind(&sent[0]), "503");
        waits.insert(value(&sent[0], "Retry-After").parse::<u32>().unwrap());
    }
    assert!(waits.iter().all(|wait| (5..=30).contains(wait)) && waits.len() > 10, "{waits:?}");
    bench.receive(&in_dialog("OPTIONS", 2, "z9hG4bKo2", &tag));
    bench.receive(&in_dialog("BYE", 3, "z9hG4bKbye", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 200", "but the running call is served");
    assert_eq!(bench.endpoint.statistics().gate.challenged, 0);
}

#[test]
fn a_stream_of_an_ignored_stranger_is_closed() {
    let mut bench = only_carrier(Unmatched::Silent);
    let mut out = Vec::new();
    let text = invite("a", "z9hG4bKa");
    bench.endpoint.step(bench.now, sip::Input::Message { flow: tcp(), bytes: text.as_bytes() }, &mut out);
    assert!(matches!(out[..], [sip::Output::Event(_), sip::Output::CloseFlow { .. }]), "{out:?}");
}

#[test]
fn a_hundred_thousand_strangers_leave_no_transaction_and_a_bounded_table() {
    for unmatched in [Unmatched::Silent, Unmatched::Forbidden] {
        let mut bench = bench(config(trunks(), unmatched));
        let text = invite("a", "z9hG4bKx").replace("sip:+15550100@192.0.2.1 SIP", "sip:00@192.0.2.1 SIP");
        let (before, after) = text.split_once("z9hG4bKx").unwrap();
        let (mut out, mut reports) = (Vec::new(), 0);
        for number in 0..100_000_u32 {
            let remote = (std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 5060).into();
            let bytes = format!("{before}z9hG4bK{number}{after}");
            let input = sip::Input::Message { flow: Flow { remote, ..udp() }, bytes: bytes.as_bytes() };
            bench.now += std::time::Duration::from_micros(100);
            let wake = bench.endpoint.step(bench.now, input, &mut out);
            assert_eq!(wake, None, "nothing waits for anything");
            reports += out.drain(..).filter(|output| matches!(output, sip::Output::Event(_))).count();
            let statistics = bench.endpoint.statistics();
            assert_eq!(statistics.transactions, 0);
            assert!(statistics.gate.suspects <= 10_000);
        }
        let statistics = &bench.endpoint.statistics().gate;
        assert_eq!((statistics.reasons["unknown_number"], statistics.suspects_evicted), (100_000, 90_000));
        assert_eq!((reports, statistics.unreported), (100, 99_900), "ten in each of the ten seconds");
    }
}
