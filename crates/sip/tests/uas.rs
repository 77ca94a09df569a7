//! Incoming calls: what the peer sees and what the user is told.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{Bench, in_dialog, invite, request, tag_of, tcp, udp};
use sip::message::HeaderName;
use sip::{Command, DialogKey, EndpointConfig, Event, Flow, Input, OutgoingInvite, Output};

#[test]
fn a_call_rings_is_answered_acknowledged_and_hung_up() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    assert_eq!(bench.take_sent_kinds(), "100", "100 Trying at once");
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    bench.respond(dialog, 200);
    let sent = bench.take_sent();
    let tag = tag_of(&sent[1], &HeaderName::To);
    assert_eq!(tag, tag_of(&sent[0], &HeaderName::To), "180 and 200 carry the same tag");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.receive(&in_dialog("BYE", 2, "z9hG4bK3", &tag));
    assert_eq!(bench.take_sent_kinds(), "200");
    assert_eq!(bench.take_event_names(), "Invite Acked Bye Ended");
    bench.pass_ms(60_000);
    let statistics = bench.endpoint.statistics();
    assert_eq!((statistics.transactions, statistics.dialogs), (0, 0), "nothing stays behind");
    assert_eq!(bench.wake, None);
}

#[test]
fn a_retransmitted_invite_repeats_the_last_response_and_makes_no_second_call() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.receive(&invite("call", "z9hG4bK1"));
    assert_eq!(bench.take_sent_kinds(), "100 100");
    bench.respond(dialog, 180);
    bench.receive(&invite("call", "z9hG4bK1"));
    assert_eq!(bench.take_sent_kinds(), "180 180");
    bench.respond(dialog, 200);
    bench.receive(&invite("call", "z9hG4bK1"));
    assert_eq!(bench.take_sent_kinds(), "200", "after a 2xx copies are absorbed (RFC 6026)");
    assert_eq!(bench.take_event_names(), "Invite");
}

#[test]
fn a_rejection_is_repeated_by_its_transaction_until_the_ack() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 486);
    assert_eq!(bench.take_event_names(), "Invite Ended");
    bench.take_sent();
    bench.receive(&invite("call", "z9hG4bK1"));
    bench.pass_ms(4000);
    let times: Vec<u64> = bench.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1500, 3500], "one for the copy, then by timer G");
    let tag = tag_of(&bench.sent[0].1, &HeaderName::To);
    bench.take_sent();
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK1", &tag));
    bench.pass_ms(60_000);
    assert_eq!(bench.take_sent_kinds(), "");
    assert_eq!(bench.take_event_names(), "", "the ACK of a non-2xx belongs to the transaction");
    assert_eq!(bench.endpoint.statistics().transactions, 0);
}

#[test]
fn a_lost_ack_repeats_the_200_for_32_seconds_and_then_ends_the_call_with_bye() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    bench.sent.clear();
    bench.pass_ms(31_900);
    let times: Vec<u64> = bench.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    bench.take_sent();
    bench.pass_ms(200);
    let sent = bench.take_sent();
    assert_eq!(kit::kind(&sent[0]), "BYE");
    assert_eq!(bench.take_event_names(), "Invite AckTimeout");
    bench.receive(&kit::response(&sent[0], 200, "", "", ""));
    assert_eq!(bench.take_event_names(), "Ended");
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn a_hang_up_before_the_ack_waits_for_it() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.sent.last().unwrap().1, &HeaderName::To);
    bench.take_sent();
    bench.command(Command::Bye { dialog, reason: Some("Q.850;cause=16".into()) });
    assert_eq!(bench.take_sent_kinds(), "", "RFC 3261 section 15");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    let sent = bench.take_sent();
    assert_eq!((kit::kind(&sent[0]).as_str(), kit::value(&sent[0], "Reason")), ("BYE", "Q.850;cause=16"));
}

#[test]
fn a_cancel_gets_200_and_the_invite_487() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    bench.take_sent();
    let cancel = request("CANCEL", "call", "z9hG4bK1", "");
    bench.receive(&cancel);
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kit::kind).collect::<Vec<_>>(), ["200", "487"]);
    assert_eq!(tag_of(&sent[0], &HeaderName::To), tag_of(&sent[1], &HeaderName::To));
    assert_eq!(kit::value(&sent[0], "CSeq"), "1 CANCEL");
    assert_eq!(bench.take_event_names(), "Invite Cancelled Ended");
    bench.receive(&cancel);
    assert_eq!(bench.take_sent_kinds(), "200", "the CANCEL is a transaction of its own");
    bench.respond(dialog, 200);
    assert_eq!(bench.take_sent_kinds(), "", "too late to answer");
}

#[test]
fn a_cancel_that_crosses_the_200_changes_nothing() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    bench.take_sent();
    bench.receive(&request("CANCEL", "call", "z9hG4bK1", ""));
    assert_eq!(bench.take_sent_kinds(), "200");
    assert_eq!(bench.take_event_names(), "Invite");
    assert_eq!(bench.endpoint.statistics().dialogs, 1);
}

#[test]
fn a_cancel_or_bye_for_nothing_gets_481() {
    let mut bench = Bench::new(udp());
    bench.receive(&request("CANCEL", "call", "z9hG4bK1", ""));
    bench.receive(&in_dialog("BYE", 2, "z9hG4bK2", "unknown"));
    bench.receive(&request("INFO", "call", "z9hG4bK3", ""));
    bench.receive(&in_dialog("INVITE", 4, "z9hG4bK4", "unknown"));
    assert_eq!(bench.take_sent_kinds(), "481 481 481 481");
    bench.receive(&in_dialog("ACK", 9, "z9hG4bK5", "unknown"));
    assert_eq!(bench.take_sent_kinds(), "", "an ACK is never answered");
    assert_eq!(bench.endpoint.statistics().dropped["ack_without_transaction"], 1);
}

#[test]
fn a_merged_request_gets_482_and_no_call() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    bench.receive(&invite("call", "z9hG4bKother"));
    assert_eq!(bench.take_sent_kinds(), "100 482");
    assert_eq!(bench.take_event_names(), "Invite");
}

#[test]
fn refusals_say_what_would_have_been_right() {
    let mut bench = Bench::new(udp());
    let body = "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
    let cases = [
        (
            request("REGISTER", "a", "z9hG4bKa", ""),
            "405",
            "Allow",
            "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY",
        ),
        (request("OPTIONS", "b", "z9hG4bKb", "Require: 100rel, path\r\n"), "420", "Unsupported", "path"),
        (request("INVITE", "c", "z9hG4bKc", body), "415", "Accept", "application/sdp"),
        (request("INVITE", "d", "z9hG4bKd", "Accept: text/plain\r\n"), "406", "Content-Length", "0"),
        (
            request("OPTIONS", "e", "z9hG4bKe", "").replace("sip:+15550100@192.0.2.1 ", "http://x "),
            "416",
            "Allow",
            "",
        ),
        (request("OPTIONS", "f", "z9hG4bKf", "").replacen("SIP/2.0", "SIP/3.0", 1), "505", "Allow", ""),
    ];
    for (text, status, name, value) in cases {
        bench.receive(&text);
        let sent = bench.take_sent();
        assert_eq!((kit::kind(&sent[0]).as_str(), kit::value(&sent[0], name)), (status, value));
    }
    assert_eq!(bench.take_event_names(), "");
}

#[test]
fn options_says_what_we_can_and_503_while_draining() {
    let mut bench = Bench::new(udp());
    bench.receive(
        &request("OPTIONS", "a", "z9hG4bKa", "")
            .replace("sip:+15550100@", "tel:+15550100;x=")
            .replace("tel:+15550100;x=192.0.2.1 ", "tel:+15550100 "),
    );
    let sent = bench.take_sent();
    assert_eq!(kit::kind(&sent[0]), "200");
    assert_eq!(kit::value(&sent[0], "Accept"), "application/sdp");
    bench.command(Command::Drain(true));
    bench.receive(&request("OPTIONS", "b", "z9hG4bKb", "Max-Forwards: 0\r\n").replacen(
        "Max-Forwards: 70\r\n",
        "",
        1,
    ));
    let sent = bench.take_sent();
    assert_eq!(kit::kind(&sent[0]), "503");
    assert!(
        (5..=30).contains(&kit::value(&sent[0], "Retry-After").parse().unwrap()),
        "by chance, in the range"
    );
    bench.command(Command::Drain(false));
    bench.receive(&request("OPTIONS", "c", "z9hG4bKc", "Max-Forwards: 0\r\n").replacen(
        "Max-Forwards: 70\r\n",
        "",
        1,
    ));
    assert_eq!(bench.take_sent_kinds(), "200", "Max-Forwards 0 is no matter for an endpoint");
}

#[test]
fn draining_refuses_each_new_call_once_and_lets_the_old_ones_live() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.command(Command::Drain(true));
    bench.receive(&invite("new", "z9hG4bKnew"));
    bench.receive(&invite("new", "z9hG4bKnew"));
    let sent = bench.take_sent();
    assert_eq!(kit::kind(&sent[0]), "503");
    assert!(
        (5..=30).contains(&kit::value(&sent[0], "Retry-After").parse().unwrap()),
        "by chance, in the range"
    );
    assert_eq!(kit::value(&sent[0], "To"), kit::value(&sent[1], "To"), "copies get the same tag");
    let events = bench.take_events();
    assert_eq!(events.len(), 1, "reported once, for one CDR");
    assert!(
        matches!(&events[0], Event::Refused { status: 503, reason: "draining", user, .. } if user == "+15550100")
    );
    bench.receive(&in_dialog("BYE", 2, "z9hG4bKbye", &tag));
    assert_eq!(bench.take_sent_kinds(), "200");
    bench.command(Command::Invite(OutgoingInvite::new(
        DialogKey::outgoing(1),
        "sip:bob@192.0.2.7",
        "sip:us@192.0.2.1",
        udp(),
        kit::OFFER,
    )));
    assert_eq!(bench.take_sent_kinds(), "", "draining refuses outbound too");
    assert_eq!(bench.take_event_names(), "Bye Ended Failed Ended");
}

#[test]
fn full_stores_answer_503_and_recover() {
    let config = EndpointConfig { max_dialogs: 2, max_transactions: 6, ..EndpointConfig::default() };
    let mut bench = Bench::with(config, udp());
    for number in 0..4 {
        bench.receive(&invite(&format!("c{number}"), &format!("z9hG4bK{number}")));
    }
    assert_eq!(bench.take_sent_kinds(), "100 100 503 503");
    assert_eq!(bench.take_event_names(), "Invite Invite Refused Refused");
    for number in 0..6 {
        bench.receive(&request("OPTIONS", &format!("o{number}"), &format!("z9hG4bKo{number}"), ""));
    }
    assert_eq!(bench.take_sent_kinds(), "200 200 200 200 503 503");
    assert_eq!(bench.endpoint.statistics().transactions, 6);
    bench.pass_ms(33_000);
    bench.receive(&request("OPTIONS", "later", "z9hG4bKlater", ""));
    assert_eq!(bench.take_sent_kinds(), "200");
}

#[test]
fn a_reinvite_is_for_the_user_and_keeps_the_dialog_whatever_the_answer() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    let reinvite = in_dialog("INVITE", 2, "z9hG4bKre", &tag).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
            kit::OFFER.len(),
            kit::OFFER
        ),
    );
    bench.receive(&reinvite);
    let events = bench.take_events();
    assert!(matches!(&events[0], Event::Reinvite { offer: Some(offer), .. } if offer == kit::OFFER));
    bench.receive(&in_dialog("INVITE", 3, "z9hG4bKre2", &tag));
    let sent = bench.take_sent();
    assert_eq!(kit::kind(&sent[1]), "500", "one at a time (RFC 3261 section 14.2)");
    assert!(kit::value(&sent[1], "Retry-After").parse::<u32>().unwrap() < 10);
    bench.respond(dialog, 488);
    assert_eq!(bench.take_sent_kinds(), "488");
    bench.receive(&in_dialog("ACK", 2, "z9hG4bKre", &tag));
    bench.receive(&in_dialog("INVITE", 4, "z9hG4bKre3", &tag));
    bench.respond(dialog, 200);
    bench.receive(&in_dialog("ACK", 4, "z9hG4bKack4", &tag));
    assert_eq!(bench.take_sent_kinds(), "100 200");
    assert_eq!(bench.take_event_names(), "Reinvite Acked");
}

#[test]
fn a_reinvite_while_ours_is_pending_gets_491() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.command(Command::Reinvite { dialog, sdp: kit::OFFER.into() });
    bench.receive(&in_dialog("INVITE", 2, "z9hG4bKre", &tag));
    assert_eq!(bench.take_sent_kinds(), "INVITE 491");
}

#[test]
fn an_out_of_order_request_gets_500_but_a_bye_always_ends_the_call() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&in_dialog("INFO", 5, "z9hG4bKi5", &tag));
    bench.receive(&in_dialog("INFO", 4, "z9hG4bKi4", &tag));
    bench.receive(&in_dialog("BYE", 2, "z9hG4bKb", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 500 200");
    assert_eq!(bench.take_event_names(), "Info Bye Ended");
}

#[test]
fn a_retransmitted_bye_gets_the_same_200() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    for _ in 0..2 {
        bench.receive(&in_dialog("BYE", 2, "z9hG4bKb", &tag));
    }
    assert_eq!(bench.take_sent_kinds(), "200 200");
    assert_eq!(bench.take_event_names(), "Bye Ended");
}

#[test]
fn a_bye_before_the_answer_ends_the_invite_with_487() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    let tag = tag_of(&bench.sent.last().unwrap().1, &HeaderName::To);
    bench.take_sent();
    bench.receive(&in_dialog("BYE", 2, "z9hG4bKb", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 487");
    assert_eq!(bench.take_event_names(), "Invite Bye Ended");
}

#[test]
fn requests_in_a_dialog_carry_route_set_target_cseq_and_the_invites_names() {
    let mut bench = Bench::new(udp());
    let text = invite("call", "z9hG4bK1").replace(
        "Max-Forwards: 70\r\n",
        "Max-Forwards: 70\r\nRecord-Route: <sip:192.0.2.50;lr>, <sip:192.0.2.51:5070;lr>\r\n",
    );
    bench.receive(&text);
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let ok = bench.take_sent().pop().unwrap();
    assert_eq!(kit::value(&ok, "Record-Route"), "<sip:192.0.2.50;lr>, <sip:192.0.2.51:5070;lr>");
    let tag = tag_of(&ok, &HeaderName::To);
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.command(Command::Info { dialog, content_type: "text/plain".into(), body: "x".into() });
    bench.command(Command::Reinvite { dialog, sdp: kit::OFFER.into() });
    bench.command(Command::Bye { dialog, reason: None });
    let flows = bench.sent_flows.clone();
    let sent = bench.take_sent();
    let mut last = 0;
    for message in &sent {
        let sip::message::StartLine::Request { uri, .. } = &message.start else { panic!("a request") };
        assert_eq!(uri, "sip:ann@192.0.2.7:5060", "the remote target");
        let routes: Vec<_> = message.all(&HeaderName::Route).map(|header| header.value.as_str()).collect();
        assert_eq!(routes, ["<sip:192.0.2.50;lr>", "<sip:192.0.2.51:5070;lr>"]);
        assert_eq!(kit::value(message, "From"), format!("<sip:+15550100@192.0.2.1>;tag={tag}"));
        assert_eq!(kit::value(message, "To"), "\"Ann\" <sip:ann@example.org>;tag=peer");
        let cseq: u32 = kit::value(message, "CSeq").split(' ').next().unwrap().parse().unwrap();
        assert!(cseq > last, "CSeq never goes back and is shared by all");
        last = cseq;
    }
    assert_eq!(sent.iter().map(kit::kind).collect::<Vec<_>>(), ["INFO", "INVITE", "BYE"]);
    assert!(
        flows.iter().all(|flow| flow.remote == "192.0.2.50:5060".parse().unwrap()),
        "the first route is the next hop"
    );
}

#[test]
fn a_strict_router_gets_its_own_uri_in_the_request_line() {
    let mut bench = Bench::new(udp());
    bench.receive(
        &invite("call", "z9hG4bK1").replace("Max-Forwards: 70\r\n", "Record-Route: <sip:192.0.2.50>\r\n"),
    );
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.command(Command::Bye { dialog, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    let sip::message::StartLine::Request { uri, .. } = &bye.start else { panic!("a request") };
    assert_eq!((uri.as_str(), kit::value(&bye, "Route")), ("sip:192.0.2.50", "<sip:ann@192.0.2.7:5060>"));
}

#[test]
fn a_peer_behind_nat_is_answered_and_called_on_its_flow() {
    let mut flow = udp();
    flow.remote = "198.51.100.4:41000".parse().unwrap();
    let mut bench = Bench::new(flow);
    let private = invite("call", "z9hG4bK1")
        .replace("192.0.2.7:5060;branch", "10.0.0.5:5060;rport;branch")
        .replace("ann@192.0.2.7", "ann@10.0.0.5");
    bench.receive(&private);
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let ok = bench.sent.last().unwrap().1.clone();
    assert_eq!(
        kit::value(&ok, "Via"),
        "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bK1;received=198.51.100.4;rport=41000"
    );
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag_of(&ok, &HeaderName::To)));
    bench.command(Command::Bye { dialog, reason: None });
    assert!(bench.sent_flows.iter().all(|sent| *sent == flow));
}

#[test]
fn escaped_headers_of_a_contact_never_become_headers_of_ours() {
    let mut bench = Bench::new(udp());
    bench.receive(
        &invite("call", "z9hG4bK1")
            .replace("<sip:ann@192.0.2.7:5060>", "<sip:ann@192.0.2.7:5060?Route=%3Csip:evil%3E>"),
    );
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.command(Command::Bye { dialog, reason: None });
    let bye = bench.take_sent().pop().unwrap();
    let sip::message::StartLine::Request { uri, .. } = &bye.start else { panic!("a request") };
    assert_eq!((uri.as_str(), kit::value(&bye, "Route")), ("sip:ann@192.0.2.7:5060", ""));
}

#[test]
fn every_call_has_its_own_tag_and_the_same_seed_gives_the_same_bytes() {
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut bench = Bench::new(udp());
        for number in 0..20 {
            bench.receive(&invite(&format!("c{number}"), &format!("z9hG4bK{number}")));
            let dialog = bench.last_dialog();
            bench.respond(dialog, 180);
        }
        let tags: std::collections::BTreeSet<String> = bench
            .take_sent()
            .iter()
            .filter(|message| kit::kind(message) == "180")
            .map(|message| tag_of(message, &HeaderName::To))
            .collect();
        assert_eq!(tags.len(), 20);
        texts.push(tags);
    }
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn an_invite_nobody_answers_is_kept_alive_every_minute_and_ended_after_five() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    bench.sent.clear();
    bench.pass_ms(400_000);
    let sent: Vec<(u64, String)> =
        bench.sent.iter().map(|(at, message)| (*at / 1000, kit::kind(message))).collect();
    assert_eq!(
        &sent[..5],
        [60, 120, 180, 240]
            .map(|at| (at, "180".into()))
            .iter()
            .cloned()
            .chain([(300, "480".into())])
            .collect::<Vec<_>>()
    );
    assert_eq!(bench.take_event_names(), "Invite Ended");
    assert_eq!((bench.wake, bench.endpoint.statistics().dialogs), (None, 0));
}

#[test]
fn a_closed_stream_fails_its_requests_and_ends_the_call_at_hang_up() {
    let mut bench = Bench::new(tcp());
    let (dialog, _) = bench.established();
    bench.command(Command::Reinvite { dialog, sdp: kit::OFFER.into() });
    bench.step(Input::FlowClosed { flow: tcp() });
    let events = bench.take_events();
    assert!(matches!(&events[0], Event::Failed { status: 503, .. }), "{events:?}");
    bench.take_sent();
    bench.command(Command::Bye { dialog, reason: None });
    assert_eq!(bench.sent_flows, [Flow { connection: 0, ..tcp() }], "the BYE goes out on a new connection");
    bench.step(Input::FlowClosed { flow: Flow { connection: 0, ..tcp() } });
    assert_eq!(bench.take_event_names(), "Ended");
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn the_answer_to_a_broadcast_source_is_not_sent() {
    let mut flow = udp();
    flow.remote = "255.255.255.255:5060".parse().unwrap();
    let mut bench = Bench::new(flow);
    bench.receive(&request("OPTIONS", "a", "z9hG4bKa", ""));
    assert_eq!(bench.take_sent_kinds(), "");
    assert_eq!(bench.endpoint.statistics().dropped["unsendable_address"], 1);
}

#[test]
fn a_late_offer_gets_its_answer_in_the_ack() {
    let mut bench = Bench::new(udp());
    bench.receive(&request("INVITE", "call", "z9hG4bK1", "Content-Length: 0\r\n"));
    let dialog = bench.last_dialog();
    assert!(matches!(&bench.events[0], Event::Invite(invite) if invite.offer.is_none()));
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    let ack = in_dialog("ACK", 1, "z9hG4bK2", &tag).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
            kit::OFFER.len(),
            kit::OFFER
        ),
    );
    bench.receive(&ack);
    assert!(matches!(&bench.events[1], Event::Acked { sdp: Some(sdp), .. } if sdp == kit::OFFER));
}

#[test]
fn the_users_headers_go_out_but_not_those_the_endpoint_owns() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    let headers = [("Retry-After", "5"), ("Via", "evil"), ("Bad Name", "x"), ("X-Why", "a\r\nEvil: b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    bench.command(Command::Respond {
        dialog,
        status: 503,
        reason: Some("No Slot".into()),
        sdp: None,
        headers: headers.into(),
    });
    let sent = bench.take_sent().pop().unwrap();
    assert_eq!(kit::value(&sent, "Retry-After"), "5");
    assert_eq!(kit::value(&sent, "X-Why"), "a  Evil: b");
    assert_eq!(sent.all(&HeaderName::Via).count(), 1);
    assert_eq!(sent.skipped_lines, 0);
}

#[test]
fn debug_output_holds_no_caller_data() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let message = &bench.sent[0].1;
    let text = format!("{:?} {:?} {:?}", bench.events, message, message.headers);
    assert!(!text.contains("ann") && !text.contains("5550100"), "{text}");
}

#[test]
fn a_reinvite_that_overtakes_the_ack_must_come_again() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    bench.receive(&in_dialog("INVITE", 2, "z9hG4bKre", &tag));
    assert_eq!(bench.take_sent_kinds(), "500");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
    assert_eq!(bench.take_event_names(), "Invite Acked", "the first answer is still acknowledged");
}

#[test]
fn a_stranger_who_knows_only_our_tag_is_not_in_the_dialog() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&in_dialog("BYE", 2, "z9hG4bKb", &tag).replace("tag=peer", "tag=stranger"));
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("481", ""));
}

#[test]
fn a_reinvite_moves_the_remote_target() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.receive(
        &in_dialog("INVITE", 2, "z9hG4bKre", &tag).replace("ann@192.0.2.7:5060", "ann@192.0.2.8:5070"),
    );
    bench.respond(dialog, 200);
    bench.receive(&in_dialog("ACK", 2, "z9hG4bKack2", &tag));
    bench.command(Command::Bye { dialog, reason: None });
    assert_eq!(bench.sent_flows.last().unwrap().remote, "192.0.2.8:5070".parse().unwrap());
    let bye = bench.take_sent().pop().unwrap();
    let sip::message::StartLine::Request { uri, .. } = &bye.start else { panic!("a request") };
    assert_eq!(uri, "sip:ann@192.0.2.8:5070");
}

#[test]
fn a_private_contact_of_a_public_peer_is_reached_on_its_flow() {
    let mut bench = Bench::new(udp());
    bench.receive(
        &invite("call", "z9hG4bK1")
            .replace("192.0.2.7:5060;branch", "pbx.example;branch")
            .replace("ann@192.0.2.7", "ann@10.0.0.5"),
    );
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.command(Command::Bye { dialog, reason: None });
    assert_eq!(bench.sent_flows, [udp()]);
}

#[test]
fn on_tcp_everything_goes_back_on_its_connection_and_only_the_200_is_repeated() {
    let mut bench = Bench::new(tcp());
    bench.receive(&invite("call", "z9hG4bK1"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    bench.pass_ms(1600);
    assert!(bench.sent_flows.iter().all(|flow| *flow == tcp()));
    assert_eq!(
        bench.take_sent_kinds(),
        "100 200 200 200",
        "RFC 3261 section 13.3.1.4: whatever the transport"
    );
    bench.receive(&invite("other", "z9hG4bK2"));
    let other = bench.last_dialog();
    bench.take_sent();
    bench.respond(other, 404);
    bench.pass_ms(4000);
    let kinds = bench.take_sent_kinds();
    assert_eq!(kinds.matches("404").count(), 1, "{kinds}");
}

#[test]
fn a_stream_that_does_not_speak_sip_is_closed_and_counted() {
    let mut out = Vec::new();
    let mut bench = Bench::new(tcp());
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    bench.endpoint.step(bench.now, Input::Message { flow: tcp(), bytes: http }, &mut out);
    assert_eq!(out, [Output::CloseFlow { flow: tcp() }]);
    assert_eq!(bench.endpoint.statistics().dropped["bad_start_line"], 1);
}
