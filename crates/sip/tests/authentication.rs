//! What the endpoint does when a request of ours is challenged, in and outside dialogs.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, in_dialog, kind, response, tag_of, tcp, udp, value};
use sip::digest::{Credentials, DigestResponse, Password, digest_response};
use sip::message::{HeaderName, Message, StartLine};
use sip::{
    Command, DialogKey, EndpointConfig, Event, Flow, Input, OutgoingInvite, OutgoingRequest, RequestKey,
    Transport,
};
use std::time::Duration;

const KEY: DialogKey = DialogKey(1 << 63 | 5);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.7:5062>\r\n";

fn credentials(realm: Option<&str>) -> Credentials {
    Credentials {
        realm: realm.map(str::to_owned),
        username: "tandem".into(),
        password: Password::new("not so secret"),
    }
}

fn challenge(header: &str, realm: &str, nonce: &str) -> String {
    format!("{header}: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm=SHA-256\r\n")
}

fn www(nonce: &str) -> String {
    challenge("WWW-Authenticate", "trunk", nonce)
}

fn proxy(nonce: &str) -> String {
    challenge("Proxy-Authenticate", "trunk", nonce)
}

fn outgoing(flow: Flow) -> OutgoingInvite {
    OutgoingInvite {
        credentials: Some(credentials(Some("trunk"))),
        ..OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:us@example.org", flow, OFFER)
    }
}

fn place(bench: &mut Bench) -> Message {
    bench.command(Command::Invite(outgoing(udp())));
    bench.take_sent().pop().expect("the INVITE")
}

fn cseq(message: &Message) -> u32 {
    value(message, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

/// Checks that the proof in `header` is right, and returns its nonce and nonce count.
fn proven(message: &Message, header: &str) -> (String, u32) {
    let StartLine::Request { method, uri, .. } = &message.start else { panic!("a request") };
    let proof = DigestResponse::parse(value(message, header)).expect("a proof");
    assert_eq!((&*proof.username, &*proof.realm, &*proof.uri), ("tandem", "trunk", uri.as_str()));
    assert_eq!(proof.response, digest_response(&proof, &Password::new("not so secret"), method.name()));
    (proof.nonce.to_string(), proof.nonce_count().unwrap())
}

fn options(bench: &mut Bench, credentials: Option<Credentials>) -> Message {
    let request =
        OutgoingRequest::new(RequestKey(3), "OPTIONS", "sip:192.0.2.7", "sip:us@example.org", udp());
    bench.command(Command::Request(OutgoingRequest { credentials, ..request }));
    bench.take_sent().pop().expect("the request")
}

#[test]
fn a_challenged_invite_is_acknowledged_and_comes_again_with_credentials() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    assert_eq!(value(&first, "Authorization"), "");
    bench.receive(&response(&first, 401, "them", &www("n1"), ""));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    let (ack, second) = (&sent[0], &sent[1]);
    assert_eq!(value(ack, "Via"), value(&first, "Via"));
    assert_ne!(value(second, "Via"), value(&first, "Via"), "a new branch");
    assert_eq!(cseq(second), cseq(&first) + 1);
    for same in ["From", "To", "Call-ID", "Contact", "Max-Forwards"] {
        assert_eq!(value(second, same), value(&first, same), "{same}");
    }
    assert_eq!(second.body, first.body);
    assert_eq!(proven(second, "Authorization"), ("n1".into(), 1));
    assert_eq!(bench.take_event_names(), "");
    // The 401 comes again because the ACK was lost: it gets its ACK and nothing else.
    bench.receive(&response(&first, 401, "them", &www("n1"), ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    bench.receive(&response(second, 200, "them", CONTACT, ANSWER));
    let ack = bench.take_sent().pop().unwrap();
    assert_eq!(cseq(&ack), cseq(second));
    assert_eq!(value(&ack, "Authorization"), value(second, "Authorization"), "RFC 3261 section 13.2.2.4");
    assert_eq!(bench.take_event_names(), "Answered");
}

#[test]
fn the_nonce_of_the_call_serves_its_later_requests() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.receive(&response(&first, 407, "them", &proxy("n1"), ""));
    let second = bench.take_sent().pop().unwrap();
    bench.receive(&response(&second, 200, "them", CONTACT, ANSWER));
    bench.command(Command::Reinvite { dialog: KEY, sdp: OFFER.into() });
    let reinvite = bench.take_sent().pop().unwrap();
    assert_eq!(proven(&reinvite, "Proxy-Authorization"), ("n1".into(), 2));
    bench.receive(&response(&reinvite, 407, "them", &proxy("n2"), ""));
    let again = bench.take_sent().pop().unwrap();
    assert_eq!(proven(&again, "Proxy-Authorization"), ("n2".into(), 1));
    assert_eq!(cseq(&again), cseq(&reinvite) + 1);
    bench.receive(&response(&again, 200, "them", CONTACT, ANSWER));
    bench.command(Command::Info { dialog: KEY, content_type: "text/plain".into(), body: "x".into() });
    let info = bench.take_sent().pop().unwrap();
    assert_eq!(proven(&info, "Proxy-Authorization"), ("n2".into(), 2));
    bench.command(Command::Bye { dialog: KEY, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(proven(&bye, "Proxy-Authorization"), ("n2".into(), 3));
    bench.receive(&response(&bye, 407, "them", &proxy("n3"), ""));
    let again = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&again).as_str(), cseq(&again)), ("BYE", cseq(&bye) + 1));
    bench.receive(&response(&again, 200, "them", "", ""));
    assert_eq!(bench.take_event_names(), "Answered Answered Ended");
    bench.pass(Duration::from_secs(64));
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0), "reaped");
}

#[test]
fn every_request_of_our_call_may_be_challenged() {
    let update = Command::Update { dialog: KEY, sdp: Some(OFFER.into()) };
    let info = Command::Info { dialog: KEY, content_type: "text/plain".into(), body: "x".into() };
    let refer = Command::Refer {
        dialog: KEY,
        refer_to: "sip:carol@example.org".into(),
        referred_by: None,
        headers: Vec::new(),
    };
    let reinvite = Command::Reinvite { dialog: KEY, sdp: OFFER.into() };
    let bye = Command::Bye { dialog: KEY, reason: None };
    let commands = [("UPDATE", update), ("INFO", info), ("REFER", refer), ("INVITE", reinvite), ("BYE", bye)];
    for (method, command) in commands {
        let mut bench = Bench::new(udp());
        let invite = place(&mut bench);
        let contact = format!("{CONTACT}Allow: INVITE, ACK, BYE, UPDATE, REFER, INFO\r\n");
        bench.receive(&response(&invite, 200, "them", &contact, ANSWER));
        bench.take_sent();
        bench.take_events();
        bench.command(command);
        let first = bench.take_sent().pop().unwrap();
        assert_eq!(kind(&first), method);
        bench.receive(&response(&first, 401, "them", &www("n1"), ""));
        assert_eq!(bench.take_event_names(), "", "{method}: nobody else hears of it");
        let second = bench.take_sent().pop().unwrap();
        assert_eq!((kind(&second).as_str(), cseq(&second)), (method, cseq(&first) + 1));
        assert_eq!((second.body == first.body, proven(&second, "Authorization").1), (true, 1));
        bench.receive(&response(&second, 401, "them", &www("n2"), ""));
        let third = bench.take_sent().pop().unwrap();
        assert_eq!((kind(&third).as_str(), cseq(&third)), (method, cseq(&second) + 1));
        bench.receive(&response(&third, 200, "them", &contact, if method == "INVITE" { ANSWER } else { "" }));
        let ends = bench.take_event_names() == "Ended";
        assert_eq!(ends, method == "BYE", "{method}");
    }
}

#[test]
fn a_proxy_and_a_server_may_each_ask_once() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.receive(&response(&first, 407, "p", &proxy("p1"), ""));
    let second = bench.take_sent().pop().unwrap();
    bench.receive(&response(&second, 401, "them", &www("s1"), ""));
    let third = bench.take_sent().pop().unwrap();
    assert_eq!(proven(&third, "Proxy-Authorization"), ("p1".into(), 2), "the proxy's nonce is counted on");
    assert_eq!(proven(&third, "Authorization"), ("s1".into(), 1));
    bench.receive(&response(&third, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.take_event_names(), "Answered");
}

#[test]
fn a_fresh_nonce_every_time_ends_after_two_rounds() {
    let mut bench = Bench::new(udp());
    let mut request = place(&mut bench);
    for nonce in ["n1", "n2"] {
        bench.receive(&response(&request, 401, "them", &www(nonce), ""));
        request = bench.take_sent().pop().unwrap();
        assert_eq!(kind(&request), "INVITE");
    }
    bench.receive(&response(&request, 401, "them", &www("n3"), ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert!(matches!(bench.take_events()[..], [Event::Failed { status: 401, .. }, Event::Ended { .. }]));
    assert_eq!(bench.endpoint.statistics().challenges_refused["rounds"], 1);
    bench.pass(Duration::from_secs(64));
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0), "reaped");
}

#[test]
fn the_same_nonce_again_means_that_the_credentials_are_wrong() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.receive(&response(&first, 401, "them", &www("n1"), ""));
    let second = bench.take_sent().pop().unwrap();
    bench.receive(&response(&second, 401, "them", &www("n1"), ""));
    assert_eq!(bench.take_event_names(), "Failed Ended");
    assert_eq!(bench.endpoint.statistics().challenges_refused["rejected"], 1);
}

#[test]
fn a_challenge_for_another_realm_or_without_credentials_is_a_failure() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.receive(&response(&first, 401, "them", &challenge("WWW-Authenticate", "else", "n"), ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert!(matches!(bench.take_events()[0], Event::Failed { status: 401, .. }));
    bench.command(Command::Invite(OutgoingInvite { credentials: None, ..outgoing(udp()) }));
    let bare = bench.take_sent().pop().unwrap();
    bench.receive(&response(&bare, 407, "them", &proxy("n"), ""));
    assert!(matches!(bench.take_events()[0], Event::Failed { status: 407, .. }));
    let refused = &bench.endpoint.statistics().challenges_refused;
    assert_eq!((refused["other_realm"], refused["no_credentials"]), (1, 1));
}

#[test]
fn a_challenge_inside_an_incoming_call_is_never_answered() {
    let mut bench = Bench::new(udp());
    // The same process has credentials for that very realm in a call of its own.
    let ours = place(&mut bench);
    bench.receive(&response(&ours, 401, "them", &www("n1"), ""));
    bench.take_sent();
    let (dialog, tag) = bench.established();
    bench.command(Command::Reinvite { dialog, sdp: OFFER.into() });
    let reinvite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&reinvite, 401, "peer", &www("n1"), ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    bench.command(Command::Bye { dialog, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(tag_of(&bye, &HeaderName::From), tag);
    bench.receive(&response(&bye, 407, "peer", &proxy("n1"), ""));
    assert_eq!(bench.take_sent_kinds(), "");
    assert_eq!(bench.endpoint.statistics().challenges_refused["no_credentials"], 2);
    bench.receive(&in_dialog("BYE", 9, "z9hG4bKx", &tag));
    assert_eq!(bench.take_sent_kinds(), "481", "the call is over all the same");
}

#[test]
fn a_call_given_up_is_not_tried_again_with_credentials() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.command(Command::Cancel { dialog: KEY });
    bench.receive(&response(&first, 401, "them", &www("n1"), ""));
    assert_eq!(bench.take_sent_kinds(), "ACK");
    assert_eq!(bench.take_event_names(), "Failed Ended");
}

#[test]
fn a_cancel_after_a_challenge_is_for_the_second_invite() {
    let mut bench = Bench::new(udp());
    let first = place(&mut bench);
    bench.receive(&response(&first, 401, "them", &www("n1"), ""));
    let second = bench.take_sent().pop().unwrap();
    bench.receive(&response(&second, 180, "them", CONTACT, ""));
    bench.command(Command::Cancel { dialog: KEY });
    let cancel = bench.take_sent().pop().unwrap();
    assert_eq!(value(&cancel, "Via"), value(&second, "Via"));
    assert_eq!(cseq(&cancel), cseq(&second));
    bench.receive(&response(&cancel, 200, "", "", ""));
    bench.receive(&response(&second, 487, "them", "", ""));
    assert_eq!(bench.take_event_names(), "Progress Failed Ended");
}

#[test]
fn an_outbound_proxy_gets_the_call_and_a_to_of_its_own_is_kept() {
    let mut bench = Bench::new(udp());
    let invite = OutgoingInvite {
        route: vec!["<sip:192.0.2.9;lr>".into()],
        to: Some("\"Bob\" <sip:+15550123@example.org>".into()),
        ..outgoing(udp())
    };
    bench.command(Command::Invite(invite.clone()));
    let sent = bench.take_sent().pop().unwrap();
    assert_eq!(value(&sent, "Route"), "<sip:192.0.2.9;lr>");
    assert_eq!(value(&sent, "To"), "\"Bob\" <sip:+15550123@example.org>");
    bench.receive(&response(&sent, 407, "them", &proxy("n1"), ""));
    let again = bench.take_sent().pop().unwrap();
    assert_eq!(value(&again, "Route"), "<sip:192.0.2.9;lr>");
    bench.receive(&response(&again, 200, "them", CONTACT, ANSWER));
    let ack = bench.take_sent().pop().unwrap();
    assert_eq!(value(&ack, "Route"), "", "the proxy has not asked to stay on the way");
    let bad = OutgoingInvite { dialog: DialogKey::outgoing(6), route: vec!["nonsense".into()], ..invite };
    bench.command(Command::Invite(bad));
    assert!(matches!(bench.take_events()[1], Event::Failed { status: 400, .. }));
}

#[test]
fn options_are_answered_once_and_reaped() {
    let mut bench = Bench::new(udp());
    let sent = options(&mut bench, Some(credentials(None)));
    assert_eq!(kind(&sent), "OPTIONS");
    assert_eq!(value(&sent, "Contact"), "<sip:192.0.2.1:5060>");
    assert_eq!(value(&sent, "Accept"), "application/sdp");
    bench.receive(&response(&sent, 100, "", "", ""));
    bench.receive(&response(&sent, 401, "them", &www("n1"), ""));
    let again = bench.take_sent().pop().unwrap();
    assert_eq!((value(&again, "Call-ID"), cseq(&again)), (value(&sent, "Call-ID"), cseq(&sent) + 1));
    proven(&again, "Authorization");
    for _ in 0..3 {
        bench.receive(&response(&again, 200, "them", "Allow: INVITE\r\n", ""));
    }
    let events = bench.take_events();
    assert_eq!(events.len(), 1, "exactly one response");
    let Event::Response { request, status, headers, flow, .. } = &events[0] else { panic!("a response") };
    assert_eq!((*request, *status, *flow), (RequestKey(3), 200, udp()));
    assert!(headers.contains(&("Allow".into(), "INVITE".into())));
    bench.pass(Duration::from_secs(6));
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0), "reaped");
}

#[test]
fn silence_a_lost_stream_and_nonsense_each_give_one_response() {
    let mut bench = Bench::new(udp());
    let status_of = |bench: &mut Bench| {
        let events = bench.take_events();
        let [Event::Response { status, .. }] = events[..] else { panic!("one response, not {events:?}") };
        status
    };
    options(&mut bench, None);
    bench.pass(Duration::from_secs(33));
    assert_eq!(status_of(&mut bench), 408);
    let request = OutgoingRequest::new(RequestKey(1), "OPTIONS", "sip:192.0.2.7", "sip:us@x", tcp());
    bench.command(Command::Request(request.clone()));
    bench.step(Input::FlowClosed { flow: tcp() });
    assert_eq!(status_of(&mut bench), 503);
    bench.command(Command::Request(OutgoingRequest { uri: "no uri".into(), ..request.clone() }));
    assert_eq!(status_of(&mut bench), 400);
    let nowhere = Flow { remote: "0.0.0.0:5060".parse().unwrap(), ..udp() };
    bench.command(Command::Request(OutgoingRequest { flow: nowhere, ..request.clone() }));
    assert_eq!(status_of(&mut bench), 503);
    let mut full = Bench::with(EndpointConfig { max_transactions: 0, ..EndpointConfig::default() }, udp());
    full.command(Command::Request(request));
    assert_eq!(status_of(&mut full), 503);
    assert_eq!(full.endpoint.statistics().refused_full, 1);
}

fn register(flow: Flow) -> OutgoingRequest {
    OutgoingRequest {
        to: "sip:tandem@pbx.example".into(),
        headers: vec![("Expires".into(), "3600".into())],
        credentials: Some(credentials(None)),
        call_id: Some("reg".into()),
        cseq: Some(7),
        ..OutgoingRequest::new(RequestKey(1), "REGISTER", "sip:pbx.example", "sip:tandem@pbx.example", flow)
    }
}

#[test]
fn a_register_has_our_contact_and_hears_of_our_binding_only() {
    let mut bench = Bench::new(udp());
    bench.command(Command::Request(register(udp())));
    let sent = bench.take_sent().pop().unwrap();
    assert_eq!(value(&sent, "Contact"), "<sip:tandem@192.0.2.1:5060>");
    assert_eq!((value(&sent, "Call-ID"), value(&sent, "CSeq")), ("reg", "7 REGISTER"));
    bench.receive(&response(&sent, 401, "them", &www("n1"), ""));
    let again = bench.take_sent().pop().unwrap();
    assert_eq!(value(&again, "CSeq"), "8 REGISTER");
    let bindings = "Contact: <sip:tandem@192.0.2.99:5060>;expires=9, <sip:x@192.0.2.1:5060>;expires=8\r\n\
                    m: <sip:tandem@192.0.2.1:5060>;expires=120\r\n";
    bench.receive(&response(&again, 200, "them", bindings, ""));
    let events = bench.take_events();
    let Event::Response { status: 200, headers, .. } = &events[0] else { panic!("a response") };
    let contacts: Vec<_> = headers.iter().filter(|(name, _)| name == "Contact").collect();
    assert_eq!(contacts, [&("Contact".to_owned(), "<sip:tandem@192.0.2.1:5060>;expires=120".to_owned())]);
}

#[test]
fn a_single_rewritten_binding_is_ours_all_the_same() {
    let mut bench = Bench::new(udp());
    bench.command(Command::Request(register(udp())));
    let sent = bench.take_sent().pop().unwrap();
    bench.receive(&response(&sent, 200, "them", "Contact: <sip:k5@198.51.100.1>;expires=60\r\n", ""));
    let events = bench.take_events();
    let Event::Response { headers, .. } = &events[0] else { panic!("a response") };
    assert!(headers.iter().any(|(name, value)| name == "Contact" && value.ends_with("expires=60")));
}

fn opened() -> Flow {
    Flow { connection: 0, ..tcp() }
}

fn large() -> OutgoingInvite {
    OutgoingInvite { headers: vec![("X-Long".into(), "x".repeat(1_300))], ..outgoing(udp()) }
}

#[test]
fn a_large_invite_goes_over_tcp_and_the_rest_of_the_call_over_udp() {
    let stream = Flow { local: "192.0.2.1:45678".parse().unwrap(), ..tcp() };
    let mut bench = Bench::new(stream);
    bench.command(Command::Invite(large()));
    assert_eq!(bench.sent_flows, [opened()]);
    let invite = bench.take_sent().pop().unwrap();
    assert!(value(&invite, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060"), "section 18.1.1");
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.take_sent_kinds(), "", "a stream repeats nothing");
    bench.receive(&response(&invite, 401, "them", &www("n1"), ""));
    assert_eq!(bench.sent_flows, [stream, stream], "on the connection it has by now");
    let again = bench.take_sent().pop().unwrap();
    assert!(value(&again, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;"), "not the port of the stream");
    bench.receive(&response(&again, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.sent_flows[0].transport, Transport::Udp);
    let ack = bench.take_sent().pop().unwrap();
    assert!(value(&ack, "Via").starts_with("SIP/2.0/UDP "));
}

#[test]
fn a_large_invite_goes_over_udp_once_if_nobody_listens_on_tcp() {
    let mut bench = Bench::new(udp());
    bench.command(Command::Invite(large()));
    let over_tcp = bench.take_sent().pop().unwrap();
    bench.step(Input::FlowClosed { flow: opened() });
    assert_eq!(bench.sent_flows, [udp()]);
    let over_udp = bench.take_sent().pop().unwrap();
    assert_eq!(value(&over_udp, "Via").replace("UDP", "TCP"), value(&over_tcp, "Via"));
    assert_eq!(cseq(&over_udp), cseq(&over_tcp));
    bench.pass_ms(500);
    assert_eq!(bench.take_sent_kinds(), "INVITE", "repeated like every datagram");
    bench.receive(&response(&over_udp, 407, "them", &proxy("n1"), ""));
    assert_eq!(bench.sent_flows, [udp(), udp()], "TCP is not tried again");
    let again = bench.take_sent().pop().unwrap();
    bench.receive(&response(&again, 200, "them", CONTACT, ANSWER));
    assert_eq!(bench.take_event_names(), "Answered");
    assert_eq!(bench.endpoint.statistics().udp_after_tcp, 1);
}

#[test]
fn the_second_round_falls_back_to_the_way_that_was_wanted_first() {
    let stream = Flow { local: "192.0.2.1:45678".parse().unwrap(), ..tcp() };
    let mut bench = Bench::new(stream);
    bench.command(Command::Invite(large()));
    let invite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&invite, 407, "them", &proxy("n1"), ""));
    bench.take_sent();
    bench.step(Input::FlowClosed { flow: stream });
    assert_eq!(bench.sent_flows, [udp()]);
    let again = bench.take_sent().pop().unwrap();
    assert!(value(&again, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"));
    assert_eq!(proven(&again, "Proxy-Authorization").1, 1);
}

#[test]
fn a_stream_that_closes_after_a_response_is_a_failure() {
    let mut bench = Bench::new(tcp());
    bench.command(Command::Invite(large()));
    let invite = bench.take_sent().pop().unwrap();
    bench.receive(&response(&invite, 100, "", "", ""));
    bench.step(Input::FlowClosed { flow: tcp() });
    assert_eq!(bench.take_sent_kinds(), "");
    assert_eq!(bench.take_event_names(), "Trying Failed Ended");
}

#[test]
fn credentials_can_make_a_request_too_large() {
    let mut bench = Bench::new(udp());
    bench.command(Command::Request(OutgoingRequest {
        headers: vec![("X-Long".into(), "x".repeat(900))],
        ..register(udp())
    }));
    assert_eq!(bench.sent_flows, [udp()]);
    let sent = bench.take_sent().pop().unwrap();
    bench.receive(&response(&sent, 401, "them", &www("n1"), ""));
    assert_eq!(bench.sent_flows, [opened()]);
}

#[test]
fn the_switch_to_tcp_can_be_turned_off() {
    let mut bench = Bench::with(EndpointConfig { large_to_tcp: false, ..EndpointConfig::default() }, udp());
    bench.command(Command::Invite(large()));
    assert_eq!(bench.sent_flows, [udp()]);
}

#[test]
fn a_lost_stream_fails_only_what_was_sent_to_the_same_name() {
    let named = |name: u64| Flow { transport: Transport::Tls, connection: name << 48, ..tcp() };
    let mut bench = Bench::new(named(1));
    let request = OutgoingRequest::new(RequestKey(1), "OPTIONS", "sip:192.0.2.7", "sip:us@x", named(1));
    bench.command(Command::Request(request));
    let stream = |name| Flow { connection: named(name).connection | 9, ..named(name) };
    bench.step(Input::FlowClosed { flow: stream(2) });
    assert_eq!(bench.take_event_names(), "");
    bench.step(Input::FlowClosed { flow: stream(1) });
    assert_eq!(bench.take_event_names(), "Response");
}
