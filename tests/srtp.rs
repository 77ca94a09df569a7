//! Encrypted calls over real sockets with the built-in caller, and what a call of many re-INVITEs holds in memory.
//! Knows the server by its command line and its records. Another SRTP than ours is on the line in `baresip.rs`.

mod served;

use call::{
    Call, CallConfig, CallId, CallSetup, Clips, Input, Output, SipInput, SipOutput,
    port_slots::{Grant, PortSlot},
};
use served::{Served, heard, said};
use sip::{LocalMedia, SrtpMode, SrtpSeed};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// A trunk that anybody may use, with this in its media.
fn trunk(media: &str) -> String {
    format!("[[trunk]]\nname = \"secure\"\nsources = [\"127.0.0.0/8\"]\n[trunk.media]\n{media}\n")
}

/// A question and its answer between the built-in caller and a trunk; the caller's exit code and the codec.
fn ask(trunk_srtp: &str, caller_srtp: &str) -> (Option<i32>, Option<String>) {
    let server = Served::start(2, &trunk(&format!("srtp = \"{trunk_srtp}\"")));
    let mut call =
        server.call(&["--srtp", caller_srtp, "--say", "What are your opening hours?", "--say", "Goodbye."]);
    let output = call.output().expect("tandem starts");
    let record = server.closed_records(1).remove(0);
    let codec = record["codec"].as_str().map(str::to_owned);
    if output.status.success() {
        let trace = server.trace(&["last"]);
        assert!(heard(&trace).iter().any(|text| text.ends_with("opening hours")), "{:?}", heard(&trace));
        assert!(said(&trace).contains("from nine"), "{}", said(&trace));
    }
    (output.status.code(), codec)
}

#[test]
fn a_call_over_a_trunk_that_requires_srtp_is_understood_and_answered() {
    assert_eq!(ask("required", "required"), (Some(0), Some("PCMU srtp".into())));
}

#[test]
fn where_both_can_but_need_not_the_call_is_encrypted() {
    assert_eq!(ask("optional", "optional"), (Some(0), Some("PCMU srtp".into())));
}

#[test]
fn a_caller_that_need_not_encrypt_is_served_in_clear_where_that_is_off() {
    assert_eq!(ask("off", "optional"), (Some(0), Some("PCMU".into())));
}

#[test]
fn plain_media_is_refused_where_srtp_is_required_and_the_other_way_round() {
    for (trunk_srtp, caller_srtp) in [("required", "off"), ("off", "required")] {
        let server = Served::start(2, &trunk(&format!("srtp = \"{trunk_srtp}\"")));
        let output =
            server.call(&["--srtp", caller_srtp, "--say", "Hello."]).output().expect("tandem starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let record = server.closed_records(1).remove(0);
        assert_eq!(record["sip_status"], 488, "{record}");
    }
}

fn local(last: u8, secret: [u8; 32]) -> LocalMedia {
    LocalMedia {
        srtp: SrtpMode::Required,
        srtp_seed: SrtpSeed::new(secret),
        ..LocalMedia::new([10, 0, 0, last].into(), 4_000)
    }
}

/// Memory that this process holds, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4_096
}

/// pjsip's pool grew with each of them.
#[test]
fn ten_thousand_re_invites_with_new_keys_hold_no_more_memory_than_a_few() {
    let agent = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\npersona = \"You answer.\"";
    let now = Instant::now();
    let setup = CallSetup {
        id: CallId(1),
        agent: Arc::new(conversation::Agent::parse(agent, &BTreeMap::new()).expect("a valid agent")),
        clips: Arc::new(Clips::default()),
        grant: Grant { slot: PortSlot(0), concurrency: 1 },
        offer: Some(sip::make_offer(&local(2, [1; 32]))),
        local: local(1, [9; 32]),
        seed: 1,
        started_at_us: 0,
        context: call::CallContext::default(),
        today: jiff::civil::date(2026, 11, 20),
    };
    let mut call = Call::new(now, CallConfig::default(), setup);
    call.step(now, Input::Timeout, &mut Vec::new());
    call.step(now, Input::Sip(SipInput::Acked { sdp: None }), &mut Vec::new());
    let mut reinvite = |n: u32| {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&n.to_le_bytes());
        let (mut out, sdp) = (Vec::new(), Some(sip::make_offer(&local(2, secret))));
        call.step(now, Input::Sip(SipInput::Reoffer { sdp }), &mut out);
        assert!(matches!(out[..], [Output::Sip(SipOutput::Answer { .. })]), "{n}: {out:?}");
        call.step(now, Input::Sip(SipInput::Acked { sdp: None }), &mut out);
    };
    (0..500).for_each(&mut reinvite);
    let before = resident();
    (500..10_500).for_each(&mut reinvite);
    // One remembered pair of keys would be 1 KiB and more; other tests of this file only wait for processes.
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
}

/// The library that we use keeps state for each SSRC before it has looked at the tag.
#[test]
fn half_a_million_forged_streams_hold_no_more_memory_than_a_few() {
    let mut srtp =
        media::Srtp::new(media::SrtpProfile::AeadAes128Gcm, &[1; 28], &[2; 28]).expect("keys that fit");
    let mut packet = [7; 188];
    packet[0] = 0x80;
    let mut forge = |ssrc: u32| {
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        assert!(srtp.open_rtp(&packet).is_err());
    };
    (0..1_000).for_each(&mut forge);
    let before = resident();
    (1_000..500_000).for_each(&mut forge);
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
}
