//! SRTP as a leg uses it: what others have computed, what attackers try, and what a long call brings.
//! Knows packets and keys. Addresses and negotiation are tested elsewhere.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use media::{RtpPacket, Srtp, SrtpCounts, SrtpProfile, SrtpRefusal};

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AesCm128HmacSha1_80, SrtpProfile::AesCm128HmacSha1_32, SrtpProfile::AeadAes128Gcm];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Key and salt; another for every number.
fn key(profile: SrtpProfile, number: u8) -> Vec<u8> {
    let length = if profile == SrtpProfile::AeadAes128Gcm { 28 } else { 30 };
    (0..length).map(|n| n ^ number).collect()
}

/// Two ends that have agreed on keys.
fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    let (ours, theirs) = (key(profile, 1), key(profile, 2));
    (Srtp::new(profile, &ours, &theirs).unwrap(), Srtp::new(profile, &theirs, &ours).unwrap())
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = [sequence as u8; 160];
    RtpPacket { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc, payload: &payload }
        .write(&mut out);
    out
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x5a; 20]);
    packet
}

/// A packet nobody with the key has made.
fn forged(ssrc: u32, sequence: u16) -> Vec<u8> {
    [rtp(ssrc, sequence), vec![0xf0; 16]].concat()
}

/// The keys of RFC 3711 appendix B.3 and of libsrtp's self-test, whose packets these are.
#[test]
fn packets_are_those_of_rfc_3711_and_of_libsrtp() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let plain_rtcp = hex("81c8000bcafebabeabababababababababababababababab");
    let sealed = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb";
    let sealed_rtcp = "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798";
    for (profile, length) in [(PROFILES[0], 38), (PROFILES[1], 32)] {
        let mut end = Srtp::new(profile, &master, &master).unwrap();
        assert_eq!(end.seal_rtp(&plain).unwrap(), hex(sealed)[..length], "{profile:?}");
        assert_eq!(end.seal_rtcp(&plain_rtcp).unwrap(), hex(sealed_rtcp), "80 bits for RTCP always");
        assert_eq!(end.open_rtp(&hex(sealed)[..length]).unwrap(), plain);
        assert_eq!(end.open_rtcp(&hex(sealed_rtcp)).unwrap(), plain_rtcp);
    }
}

/// The construction of RFC 7714 with keys derived as RFC 3711 says: libsrtp's vectors.
#[test]
fn packets_are_those_of_rfc_7714_and_of_libsrtp() {
    let master = hex("000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab");
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let plain_rtcp = hex("81c8000bcafebabeabababababababababababababababab");
    let sealed =
        hex("800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392");
    let sealed_rtcp =
        hex("81c8000bcafebabec98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001");
    let mut end = Srtp::new(SrtpProfile::AeadAes128Gcm, &master, &master).unwrap();
    assert_eq!(end.seal_rtp(&plain).unwrap(), sealed);
    assert_eq!(end.seal_rtcp(&plain_rtcp).unwrap(), sealed_rtcp);
    assert_eq!(end.open_rtp(&sealed).unwrap(), plain);
    assert_eq!(end.open_rtcp(&sealed_rtcp).unwrap(), plain_rtcp);
}

#[test]
fn what_one_side_seals_the_other_opens_once() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        for sequence in 0..300 {
            let sealed = us.seal_rtp(&rtp(7, sequence)).unwrap();
            assert_ne!(sealed[12..172], rtp(7, sequence)[12..], "the payload is hidden");
            assert_eq!(them.open_rtp(&sealed).unwrap(), rtp(7, sequence));
            assert_eq!(them.open_rtp(&sealed), Err(SrtpRefusal::Replayed));
        }
        let report = us.seal_rtcp(&rtcp(7)).unwrap();
        assert_eq!(them.open_rtcp(&report).unwrap(), rtcp(7));
        assert_eq!(them.open_rtcp(&report), Err(SrtpRefusal::Replayed));
        assert_eq!(them.counts(), SrtpCounts { malformed: 0, auth_failed: 0, replayed: 301 });
    }
}

#[test]
fn a_changed_bit_anywhere_is_noticed_and_the_true_packet_still_taken() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        let sealed = us.seal_rtp(&rtp(7, 1)).unwrap();
        let report = us.seal_rtcp(&rtcp(7)).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut packet = sealed.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(them.open_rtp(&packet).is_err(), "{profile:?} bit {bit}");
        }
        for bit in 0..report.len() * 8 {
            let mut packet = report.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(them.open_rtcp(&packet).is_err(), "{profile:?} bit {bit}");
        }
        assert_eq!(them.open_rtp(&sealed).unwrap(), rtp(7, 1));
        assert_eq!(them.open_rtcp(&report).unwrap(), rtcp(7));
    }
}

#[test]
fn a_report_that_claims_not_to_be_encrypted_is_not_believed() {
    for profile in PROFILES {
        let (_, mut them) = pair(profile);
        let mut packet = rtcp(7);
        packet.extend([0, 0, 0, 1]);
        packet.extend([0; 16]);
        assert_eq!(them.open_rtcp(&packet), Err(SrtpRefusal::AuthFailed), "{profile:?}");
    }
}

#[test]
fn a_stream_goes_on_after_its_sequence_has_wrapped_many_times() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        for n in 0..300_000_u32 {
            let packet = rtp(7, (n + 65_000) as u16);
            let sealed = us.seal_rtp(&packet).unwrap();
            if n % 7 == 0 {
                assert_eq!(them.open_rtp(&sealed).unwrap(), packet, "{profile:?} {n}");
            }
        }
    }
}

#[test]
fn packets_out_of_order_around_the_wrap_are_all_taken() {
    let (mut us, mut them) = pair(PROFILES[0]);
    let sealed: Vec<_> = (0..200_u16).map(|n| us.seal_rtp(&rtp(7, n.wrapping_sub(100))).unwrap()).collect();
    let mut order: Vec<usize> = (0..200).collect();
    order.chunks_mut(9).for_each(<[usize]>::reverse);
    assert!(order.iter().all(|n| them.open_rtp(&sealed[*n]).is_ok()));
    assert!(order.iter().all(|n| them.open_rtp(&sealed[*n]) == Err(SrtpRefusal::Replayed)));
}

#[test]
fn a_stream_that_lost_its_first_packets_just_before_a_wrap_is_heard() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        for sequence in 65_000..=65_535 {
            us.seal_rtp(&rtp(7, sequence)).unwrap();
        }
        for sequence in 0..500 {
            let sealed = us.seal_rtp(&rtp(7, sequence)).unwrap();
            assert_eq!(them.open_rtp(&sealed).unwrap(), rtp(7, sequence), "{profile:?}");
        }
    }
}

#[test]
fn another_ssrc_of_the_peer_is_heard_beside_the_first() {
    let (mut us, mut them) = pair(PROFILES[2]);
    for ssrc in 0..100 {
        for sequence in 0..20 {
            let (sealed, steady) = (
                us.seal_rtp(&rtp(ssrc + 9, sequence)).unwrap(),
                us.seal_rtp(&rtp(7, sequence + 20 * ssrc as u16)),
            );
            assert!(them.open_rtp(&sealed).is_ok(), "{ssrc}");
            assert!(them.open_rtp(&steady.unwrap()).is_ok(), "the first goes on");
            assert!(them.open_rtp(&sealed).is_err());
        }
        assert!(them.open_rtcp(&us.seal_rtcp(&rtcp(ssrc)).unwrap()).is_ok());
    }
    assert_eq!(them.counts().auth_failed, 0);
}

#[test]
fn a_long_stream_survives_that_many_others_come_and_go() {
    let (mut us, mut them) = pair(PROFILES[0]);
    for n in 0..140_000_u32 {
        assert!(them.open_rtp(&us.seal_rtp(&rtp(7, n as u16)).unwrap()).is_ok());
    }
    for ssrc in 100..150 {
        assert!(them.open_rtp(&us.seal_rtp(&rtp(ssrc, 1)).unwrap()).is_ok());
        let next = rtp(7, (140_000 + ssrc) as u16);
        assert!(them.open_rtp(&us.seal_rtp(&next).unwrap()).is_ok(), "{ssrc}: in its third cycle");
    }
}

#[test]
fn forged_packets_change_nothing_whatever_ssrc_they_claim() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        for n in 0..5_000_u32 {
            let sequence = (n * 7) as u16;
            assert!(them.open_rtp(&forged(7, sequence)).is_err(), "our peer's, before and after its first");
            assert!(them.open_rtp(&forged(n + 1_000, sequence)).is_err());
            let mut report = rtcp(n);
            report.extend([0x80, 0, 0, 9]);
            report.extend([3; 16]);
            assert!(them.open_rtcp(&report).is_err());
            let sealed = us.seal_rtp(&rtp(7, n as u16)).unwrap();
            assert_eq!(them.open_rtp(&sealed).unwrap(), rtp(7, n as u16));
        }
        let counts = them.counts();
        assert_eq!(counts.auth_failed + counts.replayed, 15_000);
    }
}

#[test]
fn keys_that_stay_go_on_and_keys_that_change_begin_anew() {
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        let first = us.seal_rtp(&rtp(7, 1)).unwrap();
        let waiting = us.seal_rtp(&rtp(7, 2)).unwrap();
        assert!(them.open_rtp(&first).is_ok());
        them.rekey(profile, &key(profile, 2), &key(profile, 1)).unwrap();
        assert_eq!(them.open_rtp(&first), Err(SrtpRefusal::Replayed), "the same keys: nothing is forgotten");

        us.rekey(profile, &key(profile, 3), &key(profile, 2)).unwrap();
        them.rekey(profile, &key(profile, 2), &key(profile, 3)).unwrap();
        assert_eq!(them.open_rtp(&waiting).unwrap(), rtp(7, 2), "it was on its way");
        assert!(them.open_rtp(&us.seal_rtp(&rtp(7, 3)).unwrap()).is_ok());
        assert!(them.open_rtp(&waiting).is_err(), "the old key has gone");
        assert!(us.open_rtp(&them.seal_rtp(&rtp(8, 1)).unwrap()).is_ok(), "the other way was not touched");
    }
}

#[test]
fn a_peer_may_keep_or_reset_its_roll_over_counter_when_it_changes_its_key() {
    let profile = PROFILES[0];
    for keeps in [false, true] {
        let (mut us, mut them) = pair(profile);
        for n in 0..200_000_u32 {
            let sealed = us.seal_rtp(&rtp(7, n as u16)).unwrap();
            if n % 50 == 0 {
                assert!(them.open_rtp(&sealed).is_ok());
            }
        }
        them.rekey(profile, &key(profile, 2), &key(profile, 9)).unwrap();
        let mut next = Srtp::new(profile, &key(profile, 9), &key(profile, 2)).unwrap();
        if keeps {
            for n in 0..200_000_u32 {
                next.seal_rtp(&rtp(7, n as u16)).unwrap();
            }
        }
        for n in 200_000..200_100_u32 {
            let packet = rtp(7, n as u16);
            assert_eq!(them.open_rtp(&next.seal_rtp(&packet).unwrap()).unwrap(), packet, "keeps: {keeps}");
        }
    }
}

#[test]
fn any_bytes_are_refused_without_a_panic() {
    let mut state = 1_u64;
    let mut chance = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    for profile in PROFILES {
        let (mut us, mut them) = pair(profile);
        let sealed = us.seal_rtp(&rtp(7, 1)).unwrap();
        for length in 0..sealed.len() {
            assert!(them.open_rtp(&sealed[..length]).is_err());
            assert!(them.open_rtcp(&sealed[..length]).is_err());
        }
        for _ in 0..50_000 {
            let length = chance() % 90;
            let mut bytes: Vec<u8> = (0..length).map(|_| chance() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            assert!(them.open_rtp(&bytes).is_err());
            assert!(them.open_rtcp(&bytes).is_err());
        }
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused_and_no_key_is_shown() {
    assert!(Srtp::new(PROFILES[0], &[1; 28], &[2; 30]).is_err());
    assert!(Srtp::new(PROFILES[2], &[1; 28], &[2; 3]).is_err());
    let shown = format!("{:?}", Srtp::new(PROFILES[0], &[0xab; 30], &[0xcd; 30]).unwrap());
    assert!(
        !shown.contains("171") && !shown.to_lowercase().contains("ab,") && !shown.contains("205"),
        "{shown}"
    );
}
