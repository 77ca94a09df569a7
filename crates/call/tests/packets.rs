//! What the other side gets when it takes less than 20 ms in a packet: half a frame every 10 ms.
//! Knows the call's inputs and outputs only.
#![allow(clippy::disallowed_methods, reason = "a test needs an instant to begin with")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at a few of many outputs")]

use call::{
    Call, CallConfig, CallId, CallSetup, Clip, Clips, Input, Output, SipInput,
    port_slots::{Grant, PortSlot},
};
use media::{Codec, RtpPacket, SampleRate, tone};
use sip::{CodecSpec, LocalMedia};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const AGENT: &str = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\n\
                     persona = \"You answer.\"";

/// When it left, sequence number, timestamp, payload.
type Packet = (Duration, u16, u32, Vec<u8>);

/// The packets of a call's first second to a peer with these attributes; each wake-up comes so much later than asked for.
fn sent(attributes: &str, late: impl Fn(usize) -> Duration) -> Vec<Packet> {
    let local = |last: u8| LocalMedia {
        codecs: vec![CodecSpec::PCMU],
        ..LocalMedia::new([10, 0, 0, last].into(), 4_000)
    };
    let greeting = Clip::new("Hello.".into(), SampleRate::Hz8000, tone::sine(8_000, 300.0, -20.0, 16_000));
    let start = Instant::now();
    let setup = CallSetup {
        id: CallId(1),
        agent: Arc::new(conversation::Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent")),
        clips: Arc::new(Clips { greeting, ..Clips::default() }),
        grant: Grant { slot: PortSlot(0), concurrency: 1, busy: false },
        offer: Some(sip::make_offer(&local(2)).replace("a=ptime:20", attributes)),
        local: local(1),
        seed: 1,
        started_at_us: 0,
        context: call::CallContext::default(),
        today: jiff::civil::date(2026, 11, 20),
    };
    let mut call = Call::new(start, CallConfig::default(), setup);
    let (mut out, mut packets) = (Vec::new(), Vec::new());
    call.step(start, Input::Timeout, &mut out);
    let mut wake = call.step(start, Input::Sip(SipInput::Acked { sdp: None }), &mut out);
    for n in 0..400 {
        let Some(now) = wake.map(|wake| wake + late(n)).filter(|now| *now - start < Duration::from_secs(1))
        else {
            break;
        };
        out.clear();
        wake = call.step(now, Input::Timeout, &mut out);
        packets.extend(out.iter().filter_map(|output| match output {
            Output::SendRtp { datagram, .. } => {
                let packet = RtpPacket::parse(datagram).expect("we wrote it");
                Some((now - start, packet.sequence, packet.timestamp, packet.payload.to_vec()))
            }
            _ => None,
        }));
    }
    packets
}

#[test]
fn a_peer_that_takes_10_ms_gets_a_packet_of_that_length_every_10_ms() {
    for attributes in ["a=ptime:10\r\na=maxptime:10", "a=maxptime:10", "a=ptime:10"] {
        let packets = sent(attributes, |_| Duration::ZERO);
        assert!((97..=99).contains(&packets.len()), "{attributes}: {}", packets.len());
        for pair in packets.windows(2) {
            assert_eq!(pair[1].0 - pair[0].0, Duration::from_millis(10), "{attributes}");
            assert_eq!(pair[1].1, pair[0].1.wrapping_add(1));
            assert_eq!(pair[1].2, pair[0].2.wrapping_add(80));
            assert_eq!(pair[1].3.len(), 80);
        }
    }
}

#[test]
fn halves_hold_the_very_sound_that_whole_packets_would() {
    let sound = |attributes| -> Vec<u8> {
        sent(attributes, |_| Duration::ZERO).into_iter().flat_map(|(.., payload)| payload).collect()
    };
    let (whole, halves) = (sound("a=ptime:20"), sound("a=maxptime:10"));
    let common = whole.len().min(halves.len());
    assert!(common > 7_600 && whole[..common] == halves[..common]);
    let mut samples = Vec::new();
    Codec::Pcmu.decode(&halves, &mut samples);
    assert!(samples.iter().any(|sample| *sample > 2_000), "the greeting is in it");
}

#[test]
fn longer_packets_are_only_a_wish() {
    for attributes in ["a=ptime:30", "a=ptime:40\r\na=maxptime:60"] {
        let packets = sent(attributes, |_| Duration::ZERO);
        assert!(packets.iter().all(|(.., payload)| payload.len() == 160), "{attributes}");
    }
}

#[test]
fn a_late_wake_leaves_no_gap_in_the_numbers_and_keeps_the_time() {
    // Up to 45 ms late: halves leave together with the next frame, or their time is over.
    let packets = sent("a=maxptime:10", |n| Duration::from_millis([0, 3, 12, 0, 45, 7, 0, 21][n % 8]));
    assert!(packets.len() > 40);
    for pair in packets.windows(2) {
        assert_eq!(pair[1].1, pair[0].1.wrapping_add(1));
        let ticks = pair[1].2.wrapping_sub(pair[0].2);
        assert!(ticks >= 80 && ticks.is_multiple_of(80), "{ticks}");
    }
    let (first, last) = (&packets[0], &packets[packets.len() - 1]);
    let played = Duration::from_micros(u64::from(last.2.wrapping_sub(first.2)) * 125);
    assert!((last.0 - first.0).abs_diff(played) < Duration::from_millis(50));
}
