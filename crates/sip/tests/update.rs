//! UPDATE in both directions (RFC 3311) and requests that meet each other, seen from the peer.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{
    ANSWER, Bench, OFFER, in_dialog, invite, kind, request, response, tag_of, udp, value, with_headers,
    with_sdp,
};
use sip::message::{HeaderName, Message, StartLine};
use sip::{Command, DialogKey, Event, OutgoingInvite};

const KEY: DialogKey = DialogKey(1 << 63 | 5);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.7:5062>\r\nAllow: INVITE, ACK, BYE, UPDATE\r\n";
const ALLOW: &str = "Allow: INVITE, ACK, BYE, UPDATE\r\n";

fn placed() -> (Bench, Message) {
    let mut bench = Bench::new(udp());
    let invite = OutgoingInvite::new(KEY, "sip:bob@192.0.2.7", "sip:agent@example.org", udp(), OFFER);
    bench.command(Command::Invite(invite));
    let invite = bench.take_sent().pop().unwrap();
    (bench, invite)
}

fn update(bench: &mut Bench, sdp: Option<&str>) {
    let dialog = bench.last_dialog();
    bench.command(Command::Update { dialog, sdp: sdp.map(str::to_owned) });
}

#[test]
fn an_update_with_an_offer_is_answered_by_the_user_and_one_without_by_us() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    let text = in_dialog("UPDATE", 2, "z9hG4bKu2", &tag);
    bench.receive(&with_sdp(&text, OFFER));
    bench.receive(&with_sdp(&text, OFFER));
    assert_eq!(bench.take_sent_kinds(), "", "the user is asked");
    let events = bench.take_events();
    assert!(matches!(&events[..], [Event::Reinvite { offer: Some(offer), .. }] if offer == OFFER), "once");
    bench.respond(dialog, 200);
    let ok = bench.take_sent().pop().unwrap();
    assert_eq!((value(&ok, "CSeq"), ok.body.as_slice()), ("2 UPDATE", ANSWER.as_bytes()));
    assert!(value(&ok, "Contact").starts_with("<sip:192.0.2.1"));
    bench.receive(&in_dialog("UPDATE", 3, "z9hG4bKu3", &tag));
    assert_eq!((bench.take_sent_kinds().as_str(), bench.take_event_names().as_str()), ("200", ""));
    bench.receive(&with_sdp(&in_dialog("UPDATE", 4, "z9hG4bKu4", &tag), OFFER));
    bench.respond(dialog, 488);
    assert_eq!(bench.take_sent_kinds(), "488");
    bench.receive(&with_sdp(&in_dialog("UPDATE", 5, "z9hG4bKu5", &tag), OFFER));
    bench.pass_ms(10_000);
    assert_eq!(bench.take_sent_kinds(), "504", "nobody answered");
    assert_eq!(bench.endpoint.statistics().dialogs, 1);
}

#[test]
fn an_update_moves_the_remote_target() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.receive(
        &in_dialog("UPDATE", 2, "z9hG4bKu", &tag).replace("ann@192.0.2.7:5060", "ann@192.0.2.8:5070"),
    );
    bench.command(Command::Bye { dialog, reason: None });
    assert_eq!(bench.sent_flows.last().unwrap().remote, "192.0.2.8:5070".parse().unwrap());
}

#[test]
fn an_offer_that_meets_ours_gets_491_and_one_on_top_of_another_500() {
    let mut bench = Bench::new(udp());
    let (dialog, tag) = bench.established();
    bench.command(Command::Reinvite { dialog, sdp: OFFER.into() });
    bench.receive(&with_sdp(&in_dialog("UPDATE", 2, "z9hG4bKu2", &tag), OFFER));
    assert_eq!(bench.take_sent_kinds(), "INVITE 491");
    bench.receive(&in_dialog("UPDATE", 3, "z9hG4bKu3", &tag));
    assert_eq!(bench.take_sent_kinds(), "200", "without an offer nothing collides");
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&with_sdp(&in_dialog("INVITE", 2, "z9hG4bKi", &tag), OFFER));
    bench.receive(&with_sdp(&in_dialog("UPDATE", 3, "z9hG4bKu", &tag), OFFER));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["100", "500"]);
    assert!(value(&sent[1], "Retry-After").parse::<u32>().unwrap() < 10);
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&with_sdp(&in_dialog("UPDATE", 2, "z9hG4bKu", &tag), OFFER));
    bench.receive(&with_sdp(&in_dialog("INVITE", 3, "z9hG4bKi", &tag), OFFER));
    assert_eq!(bench.take_sent_kinds(), "500");
}

#[test]
fn an_early_update_with_an_offer_must_wait_for_our_first_answer() {
    let mut bench = Bench::new(udp());
    bench.receive(&with_headers(&invite("call", "z9hG4bK1"), ALLOW));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    bench.receive(&with_sdp(&in_dialog("UPDATE", 2, "z9hG4bKu", &tag), OFFER));
    assert_eq!(bench.take_sent_kinds(), "500");
    bench.receive(&in_dialog("UPDATE", 3, "z9hG4bKu3", &tag));
    assert_eq!(bench.take_sent_kinds(), "200");
    bench.respond(dialog, 200);
    assert_eq!(bench.take_sent_kinds(), "200");
}

#[test]
fn our_update_is_answered_or_fails_and_is_not_sent_to_a_peer_without_it() {
    let mut bench = Bench::new(udp());
    let (dialog, _, _) = bench.established_with(ALLOW);
    bench.command(Command::Update { dialog, sdp: Some(OFFER.into()) });
    let sent = bench.take_sent().pop().unwrap();
    assert_eq!((kind(&sent).as_str(), sent.body.as_slice()), ("UPDATE", OFFER.as_bytes()));
    bench.receive(&response(&sent, 200, "", CONTACT, ANSWER));
    assert!(matches!(&bench.take_events()[..], [Event::Answered { sdp: Some(sdp), .. }] if sdp == ANSWER));
    bench.command(Command::Update { dialog, sdp: None });
    let sent = bench.take_sent().pop().unwrap();
    bench.receive(&response(&sent, 488, "", "", ""));
    assert!(matches!(&bench.take_events()[..], [Event::Failed { status: 488, .. }]));
    let mut bench = Bench::new(udp());
    let (dialog, _) = bench.established();
    bench.command(Command::Update { dialog, sdp: None });
    assert_eq!(bench.take_sent_kinds(), "");
    assert!(matches!(&bench.take_events()[..], [Event::Failed { status: 405, .. }]));
}

#[test]
fn the_side_that_does_not_own_the_call_id_tries_again_within_two_seconds() {
    for request in ["INVITE", "UPDATE"] {
        for seed in 0..20 {
            let mut bench = Bench::new(udp());
            for number in 0..seed {
                // Draws some chance.
                bench.receive(&kit::request(
                    "OPTIONS",
                    &format!("o{number}"),
                    &format!("z9hG4bKo{number}"),
                    "",
                ));
            }
            bench.take_sent();
            let (dialog, _, _) = bench.established_with(ALLOW);
            match request {
                "INVITE" => bench.command(Command::Reinvite { dialog, sdp: OFFER.into() }),
                _ => bench.command(Command::Update { dialog, sdp: Some(OFFER.into()) }),
            }
            let first = bench.take_sent().pop().unwrap();
            bench.receive(&response(&first, 491, "", "", ""));
            bench.take_sent();
            assert_eq!(bench.take_event_names(), "");
            bench.pass_ms(2_001);
            assert_eq!(kind(&bench.take_sent().remove(0)), request, "RFC 3261 section 14.1: 0 to 2 s");
        }
    }
}

#[test]
fn the_owner_of_the_call_id_waits_longer_with_an_update_as_well() {
    let (mut bench, invite) = placed();
    bench.receive(&response(&invite, 200, "them", CONTACT, ANSWER));
    bench.take_sent();
    update(&mut bench, Some(OFFER));
    let first = bench.take_sent().pop().unwrap();
    bench.receive(&response(&first, 491, "", "", ""));
    bench.pass_ms(2_099);
    assert_eq!(bench.take_sent_kinds(), "");
    bench.pass_ms(1_902);
    assert!(bench.take_sent_kinds().starts_with("UPDATE"));
}

#[test]
fn a_500_with_retry_after_is_tried_again_then_and_not_for_ever() {
    let mut bench = Bench::new(udp());
    let (dialog, _, _) = bench.established_with(ALLOW);
    bench.command(Command::Update { dialog, sdp: Some(OFFER.into()) });
    let mut tries = 0;
    while let Some(sent) = bench.take_sent().pop() {
        tries += 1;
        bench.receive(&response(&sent, 500, "", "Retry-After: 3\r\n", ""));
        bench.pass_ms(2_990);
        assert_eq!(bench.take_sent_kinds(), "");
        bench.pass_ms(20);
    }
    assert_eq!(tries, 9);
    assert!(matches!(&bench.take_events()[..], [Event::Failed { status: 500, .. }]));
}

#[test]
fn an_early_dialog_of_ours_takes_an_update_once_the_answer_came_reliably() {
    let (mut bench, invite) = placed();
    update_before_any_answer(&mut bench);
    let early = "Require: 100rel\r\nRSeq: 1\r\nContact: <sip:bob@192.0.2.7:5062>\r\nAllow: UPDATE, PRACK\r\n";
    bench.receive(&response(&invite, 183, "them", early, ANSWER));
    bench.take_sent();
    bench.command(Command::Update { dialog: KEY, sdp: Some(OFFER.into()) });
    let sent = bench.take_sent().pop().unwrap();
    let StartLine::Request { uri, .. } = &sent.start else { panic!("a request") };
    assert_eq!((kind(&sent).as_str(), uri.as_str()), ("UPDATE", "sip:bob@192.0.2.7:5062"));
    assert_eq!(tag_of(&sent, &HeaderName::To), "them");
    bench.receive(&response(&sent, 200, "", CONTACT, ANSWER));
    assert_eq!(bench.take_event_names(), "Progress Answered");
}

fn update_before_any_answer(bench: &mut Bench) {
    bench.command(Command::Update { dialog: KEY, sdp: Some(OFFER.into()) });
    assert_eq!(bench.take_sent_kinds(), "", "there is no dialog yet");
    assert_eq!(bench.endpoint.statistics().commands_ignored, 1);
}

#[test]
fn the_forks_of_our_invite_count_their_requests_each_for_itself() {
    let (mut bench, invite) = placed();
    let our_tag = tag_of(&invite, &HeaderName::From);
    for (tag, cseq) in [("one", 900), ("two", 3), ("one", 901), ("two", 4)] {
        bench.receive(&response(&invite, 180, tag, CONTACT, ""));
        let text = in_dialog("UPDATE", cseq, &format!("z9hG4bK{tag}{cseq}"), &our_tag)
            .replace("tag=peer", &format!("tag={tag}"))
            .replace("Call-ID: call", &format!("Call-ID: {}", value(&invite, "Call-ID")));
        bench.receive(&text);
        assert_eq!(bench.take_sent_kinds(), "200", "{tag} {cseq}");
    }
}

#[test]
fn an_update_for_nothing_gets_481() {
    let mut bench = Bench::new(udp());
    bench.receive(&request("UPDATE", "call", "z9hG4bKu", ""));
    bench.receive(&in_dialog("UPDATE", 2, "z9hG4bKv", "unknown"));
    assert_eq!(bench.take_sent_kinds(), "481 481");
}

#[test]
fn an_offer_that_waits_when_the_call_ends_still_gets_an_answer() {
    let mut bench = Bench::new(udp());
    let (_, tag) = bench.established();
    bench.receive(&with_sdp(&in_dialog("UPDATE", 2, "z9hG4bKu", &tag), OFFER));
    bench.receive(&in_dialog("BYE", 3, "z9hG4bKb", &tag));
    assert_eq!(bench.take_sent_kinds(), "200 487");
    bench.pass_ms(60_000);
    assert_eq!((bench.wake, bench.endpoint.statistics().transactions), (None, 0));
}

#[test]
fn hold_refresh_refer_info_and_bye_share_one_cseq() {
    let mut bench = Bench::new(udp());
    let (dialog, _, _) = bench.established_with(ALLOW);
    bench.command(Command::Info { dialog, content_type: "text/plain".into(), body: "x".into() });
    bench.command(Command::Update { dialog, sdp: None });
    bench.command(Command::Refer {
        dialog,
        refer_to: "sip:c@192.0.2.9".into(),
        referred_by: None,
        headers: Vec::new(),
    });
    bench.command(Command::Reinvite { dialog, sdp: OFFER.into() });
    bench.command(Command::Bye { dialog, reason: None });
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(kind).collect::<Vec<_>>(), ["INFO", "UPDATE", "REFER", "INVITE", "BYE"]);
    let cseqs: Vec<u32> = sent
        .iter()
        .map(|message| value(message, "CSeq").split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(cseqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{cseqs:?}");
}
