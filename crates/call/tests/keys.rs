//! Keys that a call presses for the other side, in each of the three ways, as the other side gets them.
//! Knows the call's inputs and outputs only.
#![allow(clippy::disallowed_methods, reason = "a test needs an instant to begin with")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at a few of many outputs")]

use call::{
    Call, CallConfig, CallId, CallSetup, Clip, Clips, Event, Input, KeysBy, Output, SipInput, SipOutput,
    port_slots::{Grant, PortSlot},
};
use media::{Codec, FRAME, InBandDigits, JitterConfig, Receiver, ReceiverConfig, RtpPacket, tone};
use sip::{CodecSpec, LocalMedia};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

const AGENT: &str = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\n\
                     persona = \"You answer.\"";

/// What the other side found out.
#[derive(Default)]
struct Found {
    events: String,
    tones: String,
    infos: Vec<String>,
    told: Vec<Event>,
    /// Samples of the greeting that came, by their level.
    loud_frames: usize,
}

/// A call in this codec that presses keys in the middle of its greeting of one second.
fn press(codec: CodecSpec, keys: &str, by: KeysBy) -> Found {
    let (codecs, rate) = (vec![codec], Codec::from_name(codec.name).expect("ours").rate());
    let local =
        |last: u8| LocalMedia { codecs: codecs.clone(), ..LocalMedia::new([10, 0, 0, last].into(), 4_000) };
    let greeting = Clip::new("Hello.".into(), rate, tone::sine(rate.hz(), 300.0, -20.0, rate.hz() as usize));
    let now = Instant::now();
    let setup = CallSetup {
        id: CallId(1),
        agent: Arc::new(conversation::Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent")),
        clips: Arc::new(Clips { greeting, ..Clips::default() }),
        grant: Grant { slot: PortSlot(0), concurrency: 1 },
        offer: Some(sip::make_offer(&local(2))),
        local: local(1),
        seed: 1,
        started_at_us: 0,
        context: call::CallContext::default(),
        today: jiff::civil::date(2026, 11, 20),
    };
    let mut call = Call::new(now, CallConfig::default(), setup);
    let mut out = Vec::new();
    call.step(now, Input::Timeout, &mut out);
    let answer = out.iter().find_map(|output| match output {
        Output::Sip(SipOutput::Answer { sdp }) => Some(sdp.clone()),
        _ => None,
    });
    let agreed = sip::accept_answer(&local(2), &answer.expect("an answer")).expect("ours");
    let codec = call::codec_of(&agreed).expect("ours");
    let mut ear = Receiver::new(ReceiverConfig {
        codec,
        payload_type: agreed.payload_type,
        telephone_event: agreed.telephone_event,
        comfort_noise: None,
        jitter: JitterConfig::default(),
    });
    let mut tones = InBandDigits::new(codec.rate());
    let mut found = Found::default();
    call.step(now, Input::Sip(SipInput::Acked { sdp: None }), &mut out);
    out.clear();
    for n in 1..250 {
        let now = now + FRAME * n;
        if n == 20 {
            call.step(now, Input::Press { keys: keys.to_owned(), by }, &mut out);
        }
        call.step(now, Input::Timeout, &mut out);
        for output in out.drain(..) {
            match output {
                Output::SendRtp { datagram, .. } => {
                    found.events.extend(ear.receive(now, &datagram).map(|digit| digit.0));
                    assert!(RtpPacket::parse(&datagram).is_ok());
                }
                Output::Sip(SipOutput::Info { content_type, body }) => {
                    assert_eq!(content_type, "application/dtmf-relay");
                    found.infos.push(body);
                }
                Output::Event(event @ Event::KeysSent { .. }) => found.told.push(event),
                _ => {}
            }
        }
        let heard = ear.pop(now).frame;
        found.tones.extend(tones.push(&heard).map(|digit| digit.0));
        found.loud_frames += usize::from((-23.0..-17.0).contains(&heard.level_dbfs()));
    }
    found
}

#[test]
fn keys_are_events_at_the_clock_of_every_codec_and_the_greeting_waits_for_them() {
    for codec in CodecSpec::ALL {
        let found = press(codec, "12*#A 3", KeysBy::Events);
        assert_eq!((&*found.events, &*found.tones), ("12*#A3", ""), "{}", codec.name);
        assert_eq!(found.told, [Event::KeysSent { count: 6 }]);
        // A second of greeting: none of it is lost under the keys, but for its edges.
        assert!((44..=56).contains(&found.loud_frames), "{}: {}", codec.name, found.loud_frames);
    }
}

#[test]
fn keys_are_tones_where_that_is_asked_for() {
    for codec in [CodecSpec::PCMU, CodecSpec::G722] {
        let found = press(codec, "159D", KeysBy::Tones);
        assert_eq!((&*found.events, &*found.tones), ("", "159D"), "{}", codec.name);
    }
}

#[test]
fn keys_go_by_info_one_after_the_other() {
    let found = press(CodecSpec::PCMA, "7,8", KeysBy::Info);
    assert_eq!(found.infos, ["Signal=7\r\nDuration=100\r\n", "Signal=8\r\nDuration=100\r\n"]);
    assert_eq!((&*found.events, &*found.tones), ("", ""));
}

#[test]
fn which_keys_were_pressed_is_told_nobody() {
    let found = press(CodecSpec::PCMU, "4711", KeysBy::Events);
    assert!(!format!("{:?}", found.told).contains("4711"));
}
