//! Whole calls with encrypted media: what is heard and said is what a plain call hears and says, whatever strangers send.
//! Knows the call's inputs and outputs only.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may unwrap and need an instant to begin with"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at a few of many outputs")]

use call::{
    Call, CallConfig, CallId, CallSetup, Clip, Clips, Event, Input, Output, Protection, SipInput, SipOutput,
    port_slots::{Grant, PortSlot},
};
use media::{Codec, Frame, RtcpSession, RtpPacket, SampleRate, Sender, SenderConfig, tone};
use sip::{LocalMedia, MediaSession, Negotiated, SrtpMode, SrtpSeed, SrtpSuite};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

const FRAME: Duration = Duration::from_millis(20);
const AGENT: &str = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\n\
                     persona = \"You answer.\"";

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], port))
}

fn local(last: u8, srtp: SrtpMode, suite: SrtpSuite) -> LocalMedia {
    let at = address(last, 4_000);
    LocalMedia {
        srtp,
        srtp_suites: vec![suite],
        srtp_seed: SrtpSeed::new([last; 32]),
        ..LocalMedia::new(at.ip(), at.port())
    }
}

/// A call and the phone at its other end.
struct Line {
    call: Call,
    now: Instant,
    session: MediaSession,
    media: Negotiated,
    protection: Protection,
    sender: Sender,
    rtcp: RtcpSession,
    /// Where the phone sends from.
    from: SocketAddr,
    /// Frames that speech-to-text got.
    heard: Vec<Frame>,
    /// Payloads that the phone could read, and where they were sent.
    said: Vec<(SocketAddr, Vec<u8>)>,
    reports: usize,
    events: Vec<Event>,
    answers: Vec<String>,
}

impl Line {
    fn new(srtp: SrtpMode, suite: SrtpSuite, change: impl Fn(&str) -> String) -> Self {
        let now = Instant::now();
        let mut session = MediaSession::new(local(2, srtp, suite));
        let samples = tone::speech(8_000, 3, -20.0, 8_000);
        let clip = || Clip { text: "Hello.".into(), samples: samples.clone(), wide: Vec::new() };
        let clips = Clips {
            greeting: clip(),
            trouble: clip(),
            not_heard: clip(),
            still_there: clip(),
            goodbye: clip(),
            one_moment: clip(),
        };
        let setup = CallSetup {
            id: CallId(1),
            agent: Arc::new(conversation::Agent::parse(AGENT, &BTreeMap::new()).unwrap()),
            clips: Arc::new(clips),
            grant: Grant { slot: PortSlot(0), concurrency: 1 },
            offer: Some(change(&session.offer())),
            local: local(1, srtp, suite),
            seed: 1,
            started_at_us: 0,
            context: call::CallContext::default(),
            today: jiff::civil::date(2026, 11, 20),
        };
        let mut config = CallConfig::default();
        config.patience.no_inputs = u32::MAX; // Nobody understands what is said here.
        let mut call = Call::new(now, config, setup);
        let mut out = Vec::new();
        call.step(now, Input::Timeout, &mut out);
        let answer = answer(&out).unwrap();
        let mut media = session.accept(&answer).unwrap();
        media.rtcp_mux = answer.contains("a=rtcp-mux");
        call.step(now, Input::Sip(SipInput::Acked { sdp: None }), &mut Vec::new());
        let sender = SenderConfig {
            codec: Codec::Pcmu,
            payload_type: 0,
            telephone_event: None,
            ssrc: 77,
            sequence: 30_000,
            timestamp: 9,
        };
        Self {
            protection: Protection::new(media.srtp.as_ref()).unwrap(),
            sender: Sender::new(sender),
            rtcp: RtcpSession::new(77, "phone"),
            from: address(2, 4_000),
            heard: Vec::new(),
            said: Vec::new(),
            reports: 0,
            events: Vec::new(),
            answers: vec![answer],
            call,
            now,
            session,
            media,
        }
    }

    fn usual(suite: SrtpSuite) -> Self {
        Self::new(SrtpMode::Required, suite, str::to_owned)
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.call.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Hear(frame) => self.heard.push(frame),
                Output::SendRtp { to, datagram } if self.media.rtcp_mux && media::is_rtcp(&datagram) => {
                    assert_eq!(to, self.from, "beside the media");
                    self.reports += usize::from(self.protection.open_rtcp(&datagram).is_some());
                }
                Output::SendRtp { to, datagram } => {
                    let packet =
                        self.protection.open_rtp(&datagram).expect("the phone can read it").into_owned();
                    self.said.push((to, RtpPacket::parse(&packet).unwrap().payload.to_vec()));
                }
                Output::SendRtcp { datagram, .. } => {
                    assert!(!self.media.rtcp_mux);
                    self.reports += usize::from(self.protection.open_rtcp(&datagram).is_some());
                }
                Output::Event(event) => self.events.push(event),
                output @ Output::Sip(SipOutput::Answer { .. }) => self.answers.extend(answer(&[output])),
                _ => {}
            }
        }
    }

    /// The phone's next 20 ms, with what a stranger does meanwhile.
    fn frame(&mut self, frame: &Frame, meanwhile: impl FnOnce(&mut Self)) {
        self.now += FRAME;
        let packet = self.sender.packet(frame, false);
        let datagram = self.protection.seal_rtp(packet).unwrap();
        meanwhile(self);
        let from = self.from;
        self.step(Input::Rtp { from, datagram: &datagram });
        self.step(Input::Timeout);
    }

    /// A re-INVITE with the phone's own description, changed so.
    fn reinvite(&mut self, change: impl Fn(&str) -> String) {
        let offer = change(&self.session.offer());
        self.step(Input::Sip(SipInput::Reoffer { sdp: Some(offer) }));
        let answer = self.answers.last().unwrap().clone();
        self.media = self.session.accept(&answer).unwrap();
        self.protection.renegotiate(self.media.srtp.as_ref());
        self.step(Input::Sip(SipInput::Acked { sdp: None }));
    }

    /// The counters of the record, after the phone has hung up: refused as not authentic, replayed, from strangers.
    fn hang_up(mut self) -> (u64, u64, u64, Self) {
        self.step(Input::Sip(SipInput::Bye { reason: None }));
        let found = self.events.iter().find_map(|event| match event {
            Event::Quality { srtp_auth_failed, srtp_replayed, foreign, .. } => {
                Some((*srtp_auth_failed, *srtp_replayed, *foreign))
            }
            _ => None,
        });
        let (failed, replayed, foreign) = found.unwrap();
        (failed, replayed, foreign, self)
    }
}

fn answer(out: &[Output]) -> Option<String> {
    out.iter().find_map(|output| match output {
        Output::Sip(SipOutput::Answer { sdp }) => Some(sdp.clone()),
        _ => None,
    })
}

fn speech() -> Vec<Frame> {
    let samples = tone::speech(8_000, 5, -20.0, 8_000 * 4);
    samples.chunks(160).map(|chunk| Frame::from_samples(SampleRate::Hz8000, chunk)).collect()
}

fn talk(line: &mut Line) {
    speech().iter().for_each(|frame| line.frame(frame, |_| {}));
}

/// A packet that looks like SRTP and is not.
fn forged(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let payload = [0x2a; 170];
    RtpPacket { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc, payload: &payload }
        .write(&mut packet);
    packet
}

#[test]
fn an_encrypted_call_hears_and_says_what_a_plain_one_does() {
    let mut plain = Line::new(SrtpMode::Off, SrtpSuite::AeadAes128Gcm, str::to_owned);
    talk(&mut plain);
    assert!(plain.heard.iter().any(|frame| frame.level_dbfs() > -30.0) && plain.said.len() == 200);
    for suite in SrtpSuite::ALL {
        let mut line = Line::usual(suite);
        assert!(line.media.srtp.is_some());
        talk(&mut line);
        assert_eq!(line.said, plain.said, "{suite:?}");
        assert!(same(&line.heard, &plain.heard), "{suite:?}");
    }
}

fn same(a: &[Frame], b: &[Frame]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.samples() == b.samples())
}

#[test]
fn forged_packets_at_two_hundred_a_second_change_nothing() {
    for suite in SrtpSuite::ALL {
        let (mut quiet, mut noisy) = (Line::usual(suite), Line::usual(suite));
        talk(&mut quiet);
        for (n, frame) in speech().iter().enumerate() {
            let n = n as u32;
            noisy.frame(frame, |line| {
                let phone = line.from;
                let sequence = 30_000_u16.wrapping_add(n as u16);
                // As if from the phone, with its SSRC and with another; and from elsewhere.
                line.step(Input::Rtp { from: phone, datagram: &forged(77, sequence) });
                line.step(Input::Rtp { from: phone, datagram: &forged(n + 100, sequence) });
                line.step(Input::Rtp { from: address(9, 9), datagram: &forged(77, sequence) });
                line.step(Input::Rtp { from: address(9, 9), datagram: &forged(9, sequence) });
            });
        }
        assert!(same(&quiet.heard, &noisy.heard), "{suite:?}");
        assert_eq!(quiet.said, noisy.said, "{suite:?}");
        let (failed, replayed, foreign, _) = noisy.hang_up();
        assert_eq!(
            (failed, replayed, foreign),
            (402, 0, 398),
            "{suite:?}: the first strangers are judged by their packets"
        );
    }
}

#[test]
fn a_packet_sent_again_is_heard_once() {
    let (mut once, mut twice) = (Line::usual(SrtpSuite::ALL[0]), Line::usual(SrtpSuite::ALL[0]));
    for frame in &speech() {
        once.frame(frame, |_| {});
        twice.now += FRAME;
        let packet = twice.sender.packet(frame, false);
        let datagram = twice.protection.seal_rtp(packet).unwrap();
        let from = twice.from;
        for _ in 0..3 {
            twice.step(Input::Rtp { from, datagram: &datagram });
        }
        twice.step(Input::Timeout);
    }
    assert!(same(&once.heard, &twice.heard));
    let (failed, replayed, _, _) = twice.hang_up();
    assert_eq!((failed, replayed), (0, 400));
}

#[test]
fn only_an_authentic_source_is_learnt() {
    let mut line = Line::usual(SrtpSuite::ALL[0]);
    let (nat, thief) = (address(8, 8_000), address(9, 9_000));
    for sequence in 0..100 {
        line.step(Input::Rtp { from: thief, datagram: &forged(5, sequence) });
    }
    line.from = nat;
    talk(&mut line);
    assert_eq!(line.said.last().unwrap().0, nat, "the phone behind its NAT");
    assert!(line.said.iter().all(|(to, _)| *to != thief));
}

#[test]
fn hold_and_resume_keep_the_keys_and_the_audio() {
    let mut line = Line::usual(SrtpSuite::AeadAes128Gcm);
    talk(&mut line);
    let keys = line.media.srtp.clone();
    let said = line.said.len();
    line.session.local_mut().direction = sip::Direction::SendOnly;
    line.reinvite(str::to_owned);
    talk(&mut line);
    assert_eq!(line.said.len(), said, "on hold nothing is sent");
    line.session.local_mut().direction = sip::Direction::SendRecv;
    line.reinvite(str::to_owned);
    let heard = line.heard.len();
    talk(&mut line);
    assert_eq!((line.said.len(), line.heard.len()), (said + 200, heard + 200));
    assert_eq!(line.media.srtp, keys);
    let (failed, replayed, _, _) = line.hang_up();
    assert_eq!((failed, replayed), (0, 0));
}

#[test]
fn a_peer_that_changes_its_key_is_heard_and_hears() {
    let mut line = Line::usual(SrtpSuite::ALL[0]);
    talk(&mut line);
    let before = line.media.srtp.clone().unwrap();
    line.session.local_mut().srtp_seed = SrtpSeed::new([55; 32]);
    line.reinvite(str::to_owned);
    let after = line.media.srtp.clone().unwrap();
    assert!(before.local != after.local && before.remote != after.remote);
    talk(&mut line);
    assert_eq!(line.said.len(), 400);
    assert_eq!(line.hang_up().0, 0);
}

#[test]
fn a_refused_re_invite_leaves_the_call_encrypted_as_it_was() {
    let mut line = Line::usual(SrtpSuite::ALL[0]);
    talk(&mut line);
    let plain = sip::make_offer(&local(2, SrtpMode::Off, SrtpSuite::ALL[0]));
    line.step(Input::Sip(SipInput::Reoffer { sdp: Some(plain) }));
    assert_eq!(line.answers.len(), 1, "plain media is not taken up");
    talk(&mut line);
    assert_eq!((line.said.len(), line.hang_up().0), (400, 0));
}

#[test]
fn reports_are_encrypted_both_ways_and_forged_ones_are_no_sign_of_life() {
    for mux in [false, true] {
        let with = move |offer: &str| format!("{offer}{}", if mux { "a=rtcp-mux\r\n" } else { "" });
        let mut line = Line::new(SrtpMode::Required, SrtpSuite::ALL[0], with);
        for _ in 0..3 {
            talk(&mut line);
        }
        assert_eq!(line.reports, 2, "one every five seconds; mux: {mux}");
        let from = line.from;
        // Silence of packets for a minute: only reports say that the phone is still there.
        for second in 0..70 {
            let report = line.rtcp.bye();
            let datagram = line.protection.seal_rtcp(report).unwrap();
            match mux {
                true => line.step(Input::Rtp { from, datagram: &datagram }),
                false => line.step(Input::Rtcp { from, datagram: &datagram }),
            }
            for _ in 0..50 {
                line.now += FRAME;
                line.step(Input::Timeout);
            }
            assert!(!ended(&line), "mux: {mux}, second {second}: {:?}", line.events.last());
        }
        let forged = [vec![0x80, 203, 0, 1, 0, 0, 0, 77], vec![0x80, 0, 0, 99], vec![1; 16]].concat();
        for _ in 0..70 * 50 {
            line.step(Input::Rtcp { from, datagram: &forged });
            line.now += FRAME;
            line.step(Input::Timeout);
        }
        assert!(ended(&line), "mux: {mux}: nobody has been there for a minute");
    }
}

fn ended(line: &Line) -> bool {
    line.events.iter().any(|event| matches!(event, Event::Ended { .. }))
}
