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
fn what_the_peer_takes_at_most_bounds_what_it_asks_for() {
    let ptime = |lines: &[&str]| agreed(&[&["m=audio 4000 RTP/AVP 0"], lines].concat()).1.ptime_ms;
    assert_eq!(ptime(&["a=maxptime:60"]), 20);
    assert_eq!(ptime(&["a=ptime:60", "a=maxptime:40"]), 40);
    assert_eq!((ptime(&["a=ptime:10"]), ptime(&["a=ptime:60", "a=maxptime:0"])), (10, 60));
}

#[test]
fn rtcp_shares_the_port_when_the_offer_asks_for_it() {
    let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0", "a=rtcp:4001", "a=rtcp-mux"]);
    assert!(answer.contains("a=rtcp-mux\r\n"), "{answer}");
    assert!(negotiated.rtcp_mux);
    assert_eq!(negotiated.remote_rtcp, negotiated.remote);
    let (answer, negotiated) = agreed(&["m=audio 4000 RTP/AVP 0"]);
    assert!(!answer.contains("rtcp-mux") && !negotiated.rtcp_mux);
    let claimed = accept_answer(&local(), &offer(&["m=audio 4000 RTP/AVP 0", "a=rtcp-mux"])).unwrap();
    assert!(!claimed.rtcp_mux, "we did not offer it");
}

#[test]
fn bundles_and_candidates_are_passed_over() {
    let (answer, negotiated) = agreed(&[
        "a=group:BUNDLE a v",
        "a=ice-ufrag:abcd",
        "m=audio 4000 RTP/AVP 0",
        "a=mid:a",
        "a=candidate:1 1 UDP 2130706431 10.0.0.9 5000 typ host",
        "m=video 4000 RTP/AVP 96",
        "a=mid:v",
    ]);
    assert_eq!(negotiated.remote, "198.51.100.9:4000".parse().unwrap());
    assert!(!answer.contains("BUNDLE") && !answer.contains("ice") && answer.contains("m=video 0 RTP/AVP 96"));
}

#[test]
fn our_own_wish_for_a_direction_is_kept() {
    let holding = LocalMedia { direction: Direction::SendOnly, ..local() };
    assert!(make_offer(&holding).contains("a=sendonly"));
    for (offered, ours) in [
        ("a=sendrecv", Direction::SendOnly),
        ("a=recvonly", Direction::SendOnly),
        ("a=sendonly", Direction::Inactive),
    ] {
        let text = offer(&["m=audio 4000 RTP/AVP 0", offered]);
        assert_eq!(make_answer(&text, &holding).unwrap().1.direction, ours);
    }
}

#[test]
fn wide_band_codecs_are_taken_as_soon_as_they_are_listed() {
    let wide = LocalMedia { codecs: CodecSpec::ALL.to_vec(), ..local() };
    let offered = make_offer(&wide);
    for line in [
        "m=audio 20000 RTP/AVP 107 9 0 8 101 102",
        "a=rtpmap:107 opus/48000/2",
        "a=fmtp:107 useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:102 telephone-event/48000",
    ] {
        assert!(offered.contains(line), "{line}: {offered}");
    }
    let opus = offer(&[
        "m=audio 4000 RTP/AVP 111 0 8 126 96",
        "a=rtpmap:111 OPUS/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:126 telephone-event/8000",
        "a=rtpmap:96 telephone-event/48000",
    ]);
    let (answer, negotiated) = make_answer(&opus, &wide).unwrap();
    assert_eq!((negotiated.codec.as_str(), negotiated.payload_type, negotiated.clock), ("opus", 111, 48_000));
    assert_eq!(
        (negotiated.fmtp.as_deref(), negotiated.telephone_event),
        (Some("minptime=10;useinbandfec=1"), Some(96))
    );
    assert!(answer.contains("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1"), "{answer}");
    let (answer, negotiated) = make_answer(&offer(&["m=audio 4000 RTP/AVP 9 0"]), &wide).unwrap();
    assert_eq!((negotiated.codec.as_str(), negotiated.clock), ("G722", 8_000));
    assert!(answer.contains("a=rtpmap:9 G722/8000"), "{answer}");
    assert_eq!(make_answer(&opus, &local()).unwrap().1.codec, "PCMU", "not listed, not taken");
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
