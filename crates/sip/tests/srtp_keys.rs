//! Keys in offers and answers: who gets encrypted media, who is refused, and what a re-INVITE does to keys and versions.
//! Knows SDP text only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::{
    LocalMedia, MediaSession, Negotiated, OfferError, SrtpMode, SrtpSeed, SrtpSuite, accept_answer,
    make_answer, make_offer,
};

/// Key and salt of the examples in RFC 4568.
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
/// 28 bytes for GCM.
const GCM_KEY: &str = "AAECAwQFBgcICQoLDA0OD6ChoqOkpaanqKmqqw==";

fn local(srtp: SrtpMode) -> LocalMedia {
    LocalMedia {
        srtp,
        srtp_seed: SrtpSeed::new([7; 32]),
        ..LocalMedia::new("192.0.2.1".parse().unwrap(), 20_000)
    }
}

fn offer(proto: &str, lines: &[&str]) -> String {
    let mut text =
        "v=0\r\no=- 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n".to_owned();
    text += &format!("m=audio 4000 {proto} 0\r\n");
    lines.iter().for_each(|line| text += &format!("{line}\r\n"));
    text
}

fn usual() -> String {
    format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
}

fn answer(mode: SrtpMode, proto: &str, lines: &[&str]) -> Result<(String, Negotiated), OfferError> {
    make_answer(&offer(proto, lines), &local(mode))
}

/// Whether the agreement is encrypted; `None` if there is none.
fn encrypted(mode: SrtpMode, proto: &str, lines: &[&str]) -> Option<bool> {
    answer(mode, proto, lines).ok().map(|(_, media)| media.srtp.is_some())
}

#[test]
fn each_mode_takes_what_it_says() {
    use SrtpMode::{Off, Optional, Required};
    let key = usual();
    let with = &[key.as_str()][..];
    let table = [
        (Off, "RTP/AVP", &[][..], Some(false)),
        (Off, "RTP/AVP", with, Some(false)),
        (Off, "RTP/SAVP", with, None),
        (Optional, "RTP/AVP", &[][..], Some(false)),
        (Optional, "RTP/AVP", with, Some(true)),
        (Optional, "RTP/SAVP", with, Some(true)),
        (Optional, "RTP/SAVPF", with, Some(true)),
        (Optional, "RTP/SAVP", &[][..], None),
        (Required, "RTP/AVP", &[][..], None),
        (Required, "RTP/AVP", with, Some(true)),
        (Required, "RTP/SAVP", with, Some(true)),
        (Required, "RTP/SAVP", &[][..], None),
    ];
    for (mode, proto, lines, expected) in table {
        assert_eq!(encrypted(mode, proto, lines), expected, "{mode:?} {proto} {lines:?}");
    }
    let refusal = answer(Required, "RTP/AVP", &[]).unwrap_err();
    assert_eq!((refusal, refusal.status()), (OfferError::Encryption, 488));
}

#[test]
fn the_answer_repeats_the_tag_and_brings_a_key_of_ours() {
    let (text, media) = answer(SrtpMode::Optional, "RTP/SAVP", &[&usual()]).unwrap();
    let keys = media.srtp.unwrap();
    assert_eq!(keys.suite, SrtpSuite::AesCm128HmacSha1_80);
    assert_eq!((keys.local.bytes().len(), keys.remote.bytes().len()), (30, 30));
    assert_eq!(&keys.remote.bytes()[..4], b"YS__");
    assert!(text.contains("m=audio 20000 RTP/SAVP 0\r\n"), "{text}");
    let line = text.lines().find(|line| line.starts_with("a=crypto:")).unwrap();
    assert!(line.starts_with("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:"), "{line}");
    assert!(!line.contains(KEY) && !line.contains('|'), "{line}");
    let (text, media) = answer(SrtpMode::Optional, "RTP/AVP", &[]).unwrap();
    assert!(!text.contains("crypto") && media.srtp.is_none());
}

#[test]
fn the_first_line_that_can_be_used_is_and_strange_ones_are_skipped() {
    let gcm = format!("a=crypto:2 AEAD_AES_128_GCM inline:{GCM_KEY}");
    let skipped = [
        "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAA".to_owned(),
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80".to_owned(),
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".to_owned(),
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:*not base64*".to_owned(),
        format!("a=crypto:x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
        format!("a=crypto:1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^99"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|0"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=24"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} {}", "x".repeat(600)),
        format!("a=crypto:1 AEAD_AES_128_GCM inline:{KEY}"),
        "a=crypto:".to_owned(),
    ];
    for line in &skipped {
        let (text, media) = answer(SrtpMode::Optional, "RTP/SAVP", &[line, &gcm]).unwrap();
        assert_eq!(media.srtp.unwrap().suite, SrtpSuite::AeadAes128Gcm, "{line}");
        assert!(text.contains("a=crypto:2 AEAD_AES_128_GCM inline:"), "{text}");
        assert_eq!(encrypted(SrtpMode::Required, "RTP/SAVP", &[line]), None, "{line}");
    }
    let many = vec![skipped[0].as_str(); 100];
    assert_eq!(encrypted(SrtpMode::Required, "RTP/SAVP", &[&many[..], &[&gcm]].concat()), None, "bounded");
}

#[test]
fn lifetimes_hints_case_and_missing_padding_are_taken() {
    for line in [
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31"),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1048576 WSH=128"),
        format!("a=crypto:1 aes_cm_128_hmac_sha1_32 INLINE:{KEY} KDR=0"),
        format!("a=crypto:999999999 AEAD_AES_128_GCM inline:{}", GCM_KEY.trim_end_matches('=')),
    ] {
        assert_eq!(encrypted(SrtpMode::Required, "RTP/SAVP", &[&line]), Some(true), "{line}");
    }
}

#[test]
fn an_encrypted_line_is_chosen_before_a_plain_one() {
    let text = offer("RTP/AVP", &["m=audio 4002 RTP/SAVP 0", &usual()]);
    let chosen = |mode| make_answer(&text, &local(mode)).unwrap().1.remote.port();
    assert_eq!(chosen(SrtpMode::Off), 4_000);
    assert_eq!((chosen(SrtpMode::Optional), chosen(SrtpMode::Required)), (4_002, 4_002));
}

#[test]
fn our_offer_is_savp_only_where_encryption_is_required() {
    for (mode, proto, lines) in [
        (SrtpMode::Off, "RTP/AVP", 0),
        (SrtpMode::Optional, "RTP/AVP", 3),
        (SrtpMode::Required, "RTP/SAVP", 3),
    ] {
        let text = make_offer(&local(mode));
        assert!(text.contains(&format!("m=audio 20000 {proto} 0 8 101\r\n")), "{text}");
        assert_eq!(text.matches("a=crypto:").count(), lines, "{text}");
    }
}

#[test]
fn what_is_offered_and_answered_fits_together() {
    for (ours, theirs, secure) in [
        (SrtpMode::Required, SrtpMode::Optional, true),
        (SrtpMode::Optional, SrtpMode::Required, true),
        (SrtpMode::Optional, SrtpMode::Off, false),
        (SrtpMode::Off, SrtpMode::Optional, false),
    ] {
        let us = local(ours);
        let them = LocalMedia {
            srtp: theirs,
            srtp_suites: vec![SrtpSuite::AeadAes128Gcm],
            srtp_seed: SrtpSeed::new([9; 32]),
            ..LocalMedia::new("192.0.2.2".parse().unwrap(), 30_000)
        };
        let (text, far) = make_answer(&make_offer(&us), &them).unwrap();
        let near = accept_answer(&us, &text).unwrap();
        assert_eq!((near.srtp.is_some(), far.srtp.is_some()), (secure, secure), "{ours:?} {theirs:?}");
        if let (Some(near), Some(far)) = (near.srtp, far.srtp) {
            assert_eq!((near.suite, &near.local), (SrtpSuite::AeadAes128Gcm, &far.remote));
            assert_eq!(near.remote, far.local);
        }
    }
}

#[test]
fn an_answer_must_take_one_of_the_lines_that_we_offered() {
    let us = local(SrtpMode::Required);
    let taken =
        |line: &str| accept_answer(&us, &offer("RTP/SAVP", &[line])).map(|media| media.srtp.is_some());
    assert_eq!(taken(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")), Ok(true));
    assert_eq!(
        taken(&format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")),
        Err(OfferError::Encryption),
        "that tag was another suite"
    );
    assert_eq!(taken("a=sendrecv"), Err(OfferError::Encryption));
    let plain = accept_answer(&local(SrtpMode::Optional), &offer("RTP/AVP", &[]));
    assert!(plain.unwrap().srtp.is_none());
}

#[test]
fn without_a_secret_nothing_is_encrypted_and_nothing_pretends_to_be() {
    let bare = |srtp| LocalMedia { srtp_seed: SrtpSeed::default(), ..local(srtp) };
    assert!(!make_offer(&bare(SrtpMode::Optional)).contains("crypto"));
    let offer = offer("RTP/SAVP", &[&usual()]);
    assert_eq!(make_answer(&offer, &bare(SrtpMode::Required)), Err(OfferError::Encryption));
}

#[test]
fn no_key_is_ever_shown() {
    let (_, media) = answer(SrtpMode::Optional, "RTP/SAVP", &[&usual()]).unwrap();
    let shown = format!("{media:?} {:?}", local(SrtpMode::Required));
    assert!(shown.contains("MasterKey(..)"), "{shown}");
    assert!(!shown.contains("89, 83") && !shown.contains("7, 7") && !shown.contains(KEY), "{shown}");
}

fn version(text: &str) -> u64 {
    text.lines().nth(1).unwrap().split(' ').nth(2).unwrap().parse().unwrap()
}

fn our_key(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("a=crypto")).unwrap()
}

#[test]
fn a_re_invite_that_changes_nothing_changes_neither_keys_nor_version() {
    let mut session = MediaSession::new(local(SrtpMode::Optional));
    let text = offer("RTP/SAVP", &[&usual()]);
    let (first, media) = session.answer(&text).unwrap();
    for _ in 0..3 {
        assert_eq!(session.answer(&text).unwrap(), (first.clone(), media.clone()));
    }
    let held = offer("RTP/SAVP", &[&usual(), "a=sendonly"]);
    let (hold, _) = session.answer(&held).unwrap();
    assert_eq!(
        (version(&hold), our_key(&hold)),
        (2, our_key(&first)),
        "held: another description, the same key"
    );
    let (resumed, _) = session.answer(&text).unwrap();
    assert_eq!((version(&resumed), our_key(&resumed)), (3, our_key(&first)));
    assert!(session.answer("nonsense").is_err());
    assert_eq!(version(&session.answer(&text).unwrap().0), 3, "what was refused counts for nothing");
}

#[test]
fn a_peer_that_changes_its_key_gets_a_new_one_of_ours() {
    let mut session = MediaSession::new(local(SrtpMode::Optional));
    let (first, _) = session.answer(&offer("RTP/SAVP", &[&usual()])).unwrap();
    let other = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{}", KEY.replace('W', "X"));
    let (second, media) = session.answer(&offer("RTP/SAVP", &[&other])).unwrap();
    assert_ne!(our_key(&first), our_key(&second));
    assert_eq!(version(&second), 2);
    let (third, again) = session.answer(&offer("RTP/SAVP", &[&other])).unwrap();
    assert_eq!((third, again), (second, media));
}

#[test]
fn a_late_offer_of_ours_keeps_its_version_until_something_changes() {
    let mut session = MediaSession::new(local(SrtpMode::Required));
    let first = session.offer();
    assert_eq!(session.offer(), first);
    session.local_mut().port = 20_002;
    let moved = session.offer();
    assert_eq!((version(&first), version(&moved), our_key(&first)), (1, 2, our_key(&moved)));
}
