//! Offer and answer as a table: what trunks and phones offer, what they get, and what it means for the media.
//! Knows SDP text only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::{CodecSpec, Direction, LocalMedia, Negotiated, OfferError, accept_answer, make_answer, make_offer};

fn local() -> LocalMedia {
    LocalMedia { session_id: 77, version: 3, ..LocalMedia::new("192.0.2.1".parse().unwrap(), 20_000) }
}

/// An offer from 198.51.100.9 with these lines after the time line.
fn offer(lines: &[&str]) -> String {
    let mut text =
        "v=0\r\no=- 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n".to_owned();
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text
}

fn agreed(lines: &[&str]) -> (String, Negotiated) {
    make_answer(&offer(lines), &local()).expect("an agreement")
}

fn refused(lines: &[&str]) -> OfferError {
    make_answer(&offer(lines), &local()).expect_err("a refusal")
}

#[test]
fn a_usual_trunk_offer_is_answered_with_one_codec_and_its_event_number() {
    let (answer, negotiated) = agreed(&[
        "m=audio 4000 RTP/AVP 18 8 0 96",
        "a=rtpmap:18 G729/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:96 telephone-event/8000",
        "a=fmtp:96 0-16",
        "a=ptime:20",
        "a=sendrecv",
    ]);
    assert_eq!(
        answer,
        "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n\
         a=fmtp:96 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    assert_eq!(
        negotiated,
        Negotiated {
            remote: "198.51.100.9:4000".parse().unwrap(),
            remote_rtcp: "198.51.100.9:4001".parse().unwrap(),
            rtcp_mux: false,
            codec: "PCMA".into(),
            payload_type: 8,
            clock: 8_000,
            fmtp: None,
            telephone_event: Some(96),
            comfort_noise: None,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            srtp: None,
        }
    );
}

#[test]
fn static_payload_types_need_no_rtpmap_and_the_offers_order_decides() {
    let (_, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0 8 13"]);
    assert_eq!((negotiated.codec.as_str(), negotiated.payload_type), ("PCMU", 0));
    assert_eq!((negotiated.telephone_event, negotiated.comfort_noise), (None, Some(13)));
    let (_, negotiated) = agreed(&["m=audio 4000 RTP/AVP 8 0"]);
    assert_eq!(negotiated.codec, "PCMA");
}

#[test]
fn a_dynamic_number_for_g711_is_used_as_offered() {
    let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 100 0", "a=rtpmap:100 pcmu/8000/1"]);
    assert_eq!((negotiated.codec.as_str(), negotiated.payload_type), ("PCMU", 100));
    assert!(answer.contains("m=audio 20000 RTP/AVP 100\r\na=rtpmap:100 PCMU/8000\r\n"), "{answer}");
}

#[test]
fn wideband_events_and_stereo_are_not_taken_for_ours() {
    let (_, negotiated) = agreed(&[
        "m=audio 4000 RTP/AVP 96 0 97 98",
        "a=rtpmap:96 PCMU/8000/2",
        "a=rtpmap:97 telephone-event/16000",
        "a=rtpmap:98 telephone-event/8000",
    ]);
    assert_eq!((negotiated.payload_type, negotiated.telephone_event), (0, Some(98)));
}

#[test]
fn directions_are_mirrored() {
    for (offered, ours, word) in [
        ("a=sendrecv", Direction::SendRecv, "a=sendrecv"),
        ("a=sendonly", Direction::RecvOnly, "a=recvonly"),
        ("a=recvonly", Direction::SendOnly, "a=sendonly"),
        ("a=inactive", Direction::Inactive, "a=inactive"),
        ("a=X-none", Direction::SendRecv, "a=sendrecv"),
    ] {
        let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", offered]);
        assert_eq!(negotiated.direction, ours);
        assert!(answer.contains(word), "{answer}");
        let (_, negotiated) = agreed(&[offered, "m=audio 4000 RTP/AVP 0"]);
        assert_eq!(negotiated.direction, ours, "also at session level");
    }
    let (_, negotiated) = agreed(&["a=inactive", "m=audio 4000 RTP/AVP 0", "a=sendonly"]);
    assert_eq!(negotiated.direction, Direction::RecvOnly, "the line's own attribute wins");
}

#[test]
fn an_address_of_zeros_is_hold() {
    let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"]);
    assert_eq!(negotiated.direction, Direction::Inactive);
    assert!(answer.contains("a=inactive"));
}

#[test]
fn other_lines_keep_their_place_with_port_zero() {
    let (answer, negotiated) = agreed(&[
        "m=video 5000 RTP/AVP 31",
        "m=audio 0 RTP/AVP 0",
        "m=audio 4002 RTP/SAVP 0",
        "m=audio 4004 RTP/AVP 0",
        "c=IN IP4 198.51.100.10",
        "m=image 5002 udptl t38",
    ]);
    let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 20000 RTP/AVP 0",
            "m=image 0 udptl t38"
        ]
    );
    assert_eq!(negotiated.remote, "198.51.100.10:4004".parse().unwrap(), "the line's own address");
}

#[test]
fn rtcp_goes_where_the_attribute_says() {
    let (_, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "a=rtcp:5005"]);
    assert_eq!(negotiated.remote_rtcp, "198.51.100.9:5005".parse().unwrap());
    let (_, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "a=rtcp:5005 IN IP4 198.51.100.77"]);
    assert_eq!(negotiated.remote_rtcp, "198.51.100.77:5005".parse().unwrap());
    let (_, negotiated) = agreed(&["m=audio 65535 RTP/AVP 0", "a=rtcp:x"]);
    assert_eq!(negotiated.remote_rtcp.port(), 65535, "no wrap-around");
}

#[test]
fn ipv6_meets_ipv6_only() {
    let six = LocalMedia { address: "2001:db8::1".parse().unwrap(), ..local() };
    let text = "v=0\r\no=- 1 1 IN IP6 2001:db8::9\r\ns=-\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let (answer, negotiated) = make_answer(text, &six).unwrap();
    assert_eq!(negotiated.remote, "[2001:db8::9]:4000".parse().unwrap());
    assert!(answer.contains("c=IN IP6 2001:db8::1\r\n"));
    assert_eq!(make_answer(text, &local()), Err(OfferError::Address));
    assert_eq!(OfferError::Address.status(), 488);
}

#[test]
fn what_cannot_be_agreed_on_has_its_status() {
    assert_eq!(refused(&["m=audio 4000 RTP/AVP 18 9"]), OfferError::NoCodec);
    assert_eq!(refused(&["m=video 4000 RTP/AVP 31"]), OfferError::NoAudio);
    assert_eq!(refused(&["m=audio 0 RTP/AVP 0"]), OfferError::NoAudio);
    assert_eq!(refused(&["m=audio 4000 RTP/SAVP 0"]), OfferError::Encryption);
    assert_eq!(refused(&["m=audio 4000 RTP/AVP 0", "c=IN IP4 media.example.org"]), OfferError::Address);
    assert_eq!(refused(&["m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"]), OfferError::Address);
    assert_eq!(make_answer("hello", &local()), Err(OfferError::Unreadable));
    assert_eq!(make_answer("", &local()), Err(OfferError::Unreadable));
    assert_eq!(refused(&["m=audio 4000 RTP/AVP 0"; 33]), OfferError::Unreadable);
    assert_eq!(OfferError::Unreadable.status(), 400);
    assert_eq!((OfferError::NoCodec.status(), OfferError::NoAudio.status()), (488, 488));
}

#[test]
fn the_ptime_of_the_peer_is_known_and_ours_is_20() {
    let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "a=ptime:30"]);
    assert_eq!(negotiated.ptime_ms, 30);
    assert!(answer.contains("a=ptime:20"));
    let (_, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "a=ptime:0"]);
    assert_eq!(negotiated.ptime_ms, 20);
}

#[test]
fn sloppy_descriptions_are_read() {
    let lf_only = offer(&["m=audio 4000 RTP/AVP 0"]).replace("\r\n", "\n");
    assert!(make_answer(&lf_only, &local()).is_ok());
    let blanks = offer(&["m=audio  4000 RTP/AVP  0 ", "", "a=sendonly  "]);
    assert_eq!(make_answer(&blanks, &local()).unwrap().1.direction, Direction::RecvOnly);
    let origin =
        offer(&["m=audio 4000 RTP/AVP 0"]).replace("o=- 1 1 IN", "o=some one 99999999999999999999 1 IN");
    assert!(make_answer(&origin, &local()).is_ok());
    let times = offer(&["m=audio 4000 RTP/AVP 0"]).replace("t=0 0", "t=3149328700 0");
    assert!(make_answer(&times, &local()).unwrap().0.contains("t=3149328700 0\r\n"), "RFC 3264 section 6");
}

#[test]
fn our_offer_is_answered_by_our_own_answer() {
    let peer = LocalMedia {
        address: "192.0.2.2".parse().unwrap(),
        port: 30_000,
        codecs: vec![CodecSpec::PCMA],
        ..local()
    };
    let offer = make_offer(&local());
    assert_eq!(
        offer,
        "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    let (answer, theirs) = make_answer(&offer, &peer).unwrap();
    let ours = accept_answer(&local(), &answer).unwrap();
    assert_eq!((ours.codec.as_str(), theirs.codec.as_str()), ("PCMA", "PCMA"));
    assert_eq!(ours.remote, "192.0.2.2:30000".parse().unwrap());
    assert_eq!((ours.telephone_event, theirs.telephone_event), (Some(101), Some(101)));
}

#[test]
fn an_answer_that_refuses_the_audio_is_no_agreement() {
    assert_eq!(accept_answer(&local(), &offer(&["m=audio 0 RTP/AVP 0"])), Err(OfferError::NoAudio));
    assert_eq!(accept_answer(&local(), &offer(&["m=audio 4000 RTP/AVP 18"])), Err(OfferError::NoCodec));
    assert_eq!(accept_answer(&local(), "no"), Err(OfferError::Unreadable));
}
