//! One side of a call's media: packets in to frames, speech out to packets, and the reports about both.
//! Knows the negotiated stream. Knows nothing of turns or of what is said.

use crate::{
    CallConfig, Event, KeysBy, Output, codec_of,
    event::MosRange,
    keys::Keys,
    peer::Peer,
    pressing::{HELD, Pressing},
    protection::Protection,
};
use media::{
    Codec, ComfortNoise, Digit, Frame, Heard, JitterConfig, MediaEvent, MediaFault, MediaWatch,
    MediaWatchConfig, Played, Playout, QualityMeter, Receiver, ReceiverConfig, RtcpSession, SampleRate,
    Score, Sender, SenderConfig, Signs, SpeechGate, Vad,
};
use sip::{Direction, Negotiated};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Between two RTCP reports (RFC 3550 section 6.2 recommends five seconds at least).
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How often faults are looked for: what begins is told within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A leg's media stream.
pub(crate) struct Leg {
    peer: Peer,
    protection: Protection,
    remote_rtcp: SocketAddr,
    rtcp_mux: bool,
    receiver: Receiver,
    sender: Sender,
    /// What the agent says, and how it sounds: it can be ducked, paused, resumed to the sample, cut, faded over, and
    /// laid on a background. Its samples have the rate of the conversation.
    pub(crate) playout: Playout,
    rtcp: RtcpSession,
    meter: QualityMeter,
    watch: MediaWatch,
    next_look: Instant,
    keys: Keys,
    pressing: Pressing,
    vad: Vad,
    gate: SpeechGate,
    direction: Direction,
    next_report: Instant,
    /// When the far end's stream came for the last time.
    last_rtp: Option<Instant>,
    /// Whether the call has been answered: before that nobody has to send.
    answered: bool,
    talking: bool,
    wall: Wall,
}

/// Wall clock and machine time at one instant: every other wall-clock time is this plus a difference.
#[derive(Clone, Copy)]
pub(crate) struct Wall {
    pub(crate) at: Instant,
    pub(crate) us: u64,
}

impl Wall {
    /// The 64-bit NTP timestamp (RFC 3550 section 4) of `now`.
    fn ntp(self, now: Instant) -> u64 {
        const UNIX_TO_NTP_SECONDS: u64 = 2_208_988_800;
        let us = self.us + u64::try_from((now - self.at).as_micros()).unwrap_or(0);
        let seconds = us / 1_000_000 + UNIX_TO_NTP_SECONDS;
        (seconds << 32) | (((us % 1_000_000) << 32) / 1_000_000)
    }
}

/// The numbers an RTP stream starts with.
pub(crate) struct StreamSeed {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
}

/// One 20 ms step of a leg's ears.
pub(crate) struct Listened {
    pub(crate) heard: Heard,
    pub(crate) speech: bool,
    /// A key whose tones were in it.
    pub(crate) digit: Option<Digit>,
}

impl Leg {
    pub(crate) fn new(
        wall: Wall,
        media: &Negotiated,
        rate: SampleRate,
        config: &CallConfig,
        seed: StreamSeed,
    ) -> Option<Self> {
        let codec = codec_at(media, rate)?;
        let now = wall.at;
        let mut playout = Playout::new(rate);
        playout.set_comfort_noise(
            config.comfort_noise_dbfs.map(|dbfs| ComfortNoise::white(dbfs, u64::from(seed.ssrc))),
        );
        let mut rtcp = RtcpSession::new(seed.ssrc, &format!("{:08x}@tandem", seed.ssrc));
        rtcp.set_clock(codec.clock_hz());
        let watch = MediaWatchConfig { dead: config.patience.media, ..MediaWatchConfig::default() };
        Some(Self {
            peer: Peer::new(now, media.remote),
            protection: Protection::new(media.srtp.as_ref())?,
            remote_rtcp: media.remote_rtcp,
            rtcp_mux: media.rtcp_mux,
            receiver: Receiver::with_rate(receiver_config(media, codec, &config.jitter), rate),
            rtcp,
            meter: QualityMeter::new(codec),
            watch: MediaWatch::new(watch),
            next_look: now,
            sender: Sender::new(SenderConfig {
                codec,
                payload_type: media.payload_type,
                telephone_event: media.telephone_event,
                ssrc: seed.ssrc,
                sequence: first_sequence(media, seed.sequence),
                timestamp: seed.timestamp,
            }),
            keys: Keys::new(media.telephone_event, rate),
            pressing: Pressing::default(),
            playout,
            vad: Vad::new(),
            gate: SpeechGate::default(),
            direction: media.direction,
            next_report: now + REPORT_EVERY,
            last_rtp: None,
            answered: false,
            talking: false,
            wall,
        })
    }

    /// Our answer is out: from now on the far end is to send, and may be learnt.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered = true;
        self.peer.expect(now);
    }

    /// The rate of the conversation's samples.
    pub(crate) const fn rate(&self) -> SampleRate {
        self.receiver.rate()
    }

    /// Takes a re-negotiated description; numbering and what was heard so far stay.
    pub(crate) fn redescribe(&mut self, now: Instant, media: &Negotiated, jitter: &JitterConfig) {
        if let Some(codec) = codec_at(media, self.rate()) {
            self.rtcp.set_clock(codec.clock_hz());
            self.meter.set_codec(codec);
            self.receiver.renegotiate(receiver_config(media, codec, jitter));
            self.sender.renegotiate(codec, media.payload_type, media.telephone_event);
            self.keys.renegotiate(media.telephone_event, self.rate());
        }
        self.peer.redescribe(now, media.remote);
        self.protection.renegotiate(media.srtp.as_ref());
        if !media.remote_rtcp.ip().is_unspecified() {
            // Hold as RFC 2543 had it: nothing can be sent there, and reports go on to where they went.
            self.remote_rtcp = media.remote_rtcp;
        }
        self.rtcp_mux = media.rtcp_mux;
        self.direction = media.direction;
    }

    /// A datagram on the RTP port: a key the caller pressed, if it was one. With SRTP nothing is learnt from a packet,
    /// not even where it came from, before it has proved to be authentic.
    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Digit> {
        if self.rtcp_mux && media::is_rtcp(datagram) {
            self.receive_report(now, from, datagram);
            return None;
        }
        if self.peer.refuses(now, from) {
            return None;
        }
        let packet = self.protection.open_rtp(datagram)?;
        if !self.peer.accepts(now, from, self.receiver.stream_of(&packet)) {
            return None;
        }
        self.last_rtp = Some(now);
        let digit = self.receiver.receive(now, &packet)?;
        self.keys.event(now, digit)
    }

    /// A datagram on the RTCP port. Reports count as a sign of life from the address the media comes from.
    pub(crate) fn receive_report(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if from.ip() != self.peer.address().ip() {
            return;
        }
        if let Some(report) = self.protection.open_rtcp(datagram) {
            self.rtcp.incoming(now, &report);
        }
    }

    /// The caller's next 20 ms.
    pub(crate) fn listen(&mut self, now: Instant) -> Listened {
        let heard = self.receiver.pop(now);
        let speech = self.gate.update(self.vad.push(&heard.frame));
        let digit = self.keys.hear(now, &heard.frame);
        Listened { heard, speech, digit }
    }

    /// An INFO in the dialog: a key the caller pressed, if it was one.
    pub(crate) fn receive_info(&mut self, now: Instant, content_type: &str, body: &str) -> Option<Digit> {
        self.keys.info(now, content_type, body)
    }

    /// Our next 20 ms, and what it was. Nothing is sent while the far end does not want to hear us.
    pub(crate) fn speak(&mut self) -> (Played, Option<Vec<u8>>) {
        if !self.may_send() {
            self.sender.skip(1);
            self.talking = false;
            return (self.silence(), None);
        }
        // A key takes the place of the audio: what the agent says waits for its end.
        let played = if self.sender.is_pressing() { self.silence() } else { self.playout.next_frame() };
        let talking = played.segment.is_some();
        let starts = talking && !self.talking;
        self.talking = talking;
        let packet = self.sender.packet(&played.frame, starts);
        (played, self.protection.seal_rtp(packet))
    }

    const fn silence(&self) -> Played {
        Played { frame: Frame::silence(self.rate()), segment: None, voiced: false }
    }

    /// Whether what the agent has to say waits for something else than its audio.
    pub(crate) fn is_held_up(&self) -> bool {
        self.playout.is_paused() || self.sender.is_pressing()
    }

    /// Presses keys, one after the other, and says how many of them were taken: see [`Pressing::queue`].
    pub(crate) fn press(&mut self, keys: &str, by: KeysBy) -> u32 {
        self.pressing.queue(keys, by)
    }

    /// Presses the key that is due. One that is to be told by INFO is for the dialog.
    pub(crate) fn press_next(&mut self, now: Instant) -> Option<Digit> {
        if !self.may_send() {
            return None;
        }
        let (digit, by) = self.pressing.due(now)?;
        match by {
            KeysBy::Events => self.sender.press(digit, HELD),
            KeysBy::Tones => self.sender.press_in_band(digit, HELD),
            KeysBy::Info => return Some(digit),
        }
        None
    }

    /// Frames whose time passed while nobody woke us: their timestamps are skipped, not sent in a burst.
    pub(crate) fn skip(&mut self, frames: u32) {
        self.sender.skip(frames);
    }

    /// An RTCP report, when one is due.
    pub(crate) fn report(&mut self, now: Instant) -> Option<Output> {
        if now < self.next_report {
            return None;
        }
        self.next_report = now + REPORT_EVERY;
        let statistics = self.receiver.statistics();
        self.meter.measure(&statistics, &self.rtcp);
        let report = self.rtcp.report(now, self.wall.ntp(now), &statistics, self.sender.counts());
        self.rtcp_output(report)
    }

    /// Looks for faults of the media, a few times a second: what began or is over is told. True when there is no sign
    /// of life any more, of the dialog neither. A far end that holds us owes us nothing.
    pub(crate) fn look(&mut self, now: Instant, last_dialog: Instant, out: &mut Vec<Output>) -> bool {
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            let signs = Signs {
                expects_audio: self.answered && !self.on_hold(),
                sends_audio: self.answered && self.may_send(),
                last_rtp: self.last_rtp,
                last_rtcp: self.rtcp.last_arrival(),
                last_dialog,
                remote: self.rtcp.remote(),
                reports_without_us: self.rtcp.reports_without_us(),
                packets_sent: u64::from(self.sender.counts().packets),
            };
            let mut found = Vec::new();
            self.watch.step(now, &signs, &mut found);
            out.extend(found.into_iter().map(|event| {
                let (fault, active) = match event {
                    MediaEvent::Began(fault) => (fault, true),
                    MediaEvent::Over(fault) => (fault, false),
                };
                Output::Event(Event::MediaFault { fault: fault.name().to_owned(), active })
            }));
        }
        self.watch.faults().contains(&MediaFault::Dead)
    }

    /// Whether a packet of the far end's stream came just now.
    pub(crate) fn heard_at(&self, now: Instant) -> bool {
        self.last_rtp == Some(now)
    }

    /// The farewell of our stream (RFC 3550 section 6.6).
    pub(crate) fn goodbye(&mut self) -> Option<Output> {
        let bye = self.rtcp.bye();
        self.rtcp_output(bye)
    }

    /// RTCP on its way: over the RTP port, to where the RTP goes, if that was agreed (RFC 5761).
    fn rtcp_output(&mut self, packet: Vec<u8>) -> Option<Output> {
        let to = if self.rtcp_mux { self.peer.address() } else { self.remote_rtcp };
        let datagram = self.protection.seal_rtcp(packet).filter(|_| !to.ip().is_unspecified())?;
        Some(if self.rtcp_mux { Output::SendRtp { to, datagram } } else { Output::SendRtcp { to, datagram } })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.peer.address()
    }

    /// Whether the far end wants to hear us.
    pub(crate) const fn may_send(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the far end has put us on hold.
    pub(crate) const fn on_hold(&self) -> bool {
        !matches!(self.direction, Direction::SendRecv)
    }

    /// The figures for the call record.
    pub(crate) fn quality(&mut self) -> Event {
        let (statistics, srtp) = (self.receiver.statistics(), self.protection.counts());
        // A call that was shorter than an interval has a score as well.
        self.meter.measure(&statistics, &self.rtcp);
        let remote = self.rtcp.remote();
        Event::Quality {
            received: statistics.received,
            lost: statistics.lost,
            late: statistics.late,
            concealed: statistics.concealed,
            jitter_us: micros(statistics.jitter),
            sent: u64::from(self.sender.counts().packets),
            foreign: self.peer.foreign(),
            malformed: statistics.malformed + statistics.unknown_payload_type + srtp.malformed,
            srtp_auth_failed: srtp.auth_failed,
            srtp_replayed: srtp.replayed,
            recovered: statistics.recovered,
            duplicates: statistics.duplicates,
            reordered: statistics.reordered,
            rtt_us: self.rtcp.rtt().map(micros),
            remote_lost: remote.map(|report| u64::try_from(report.cumulative_lost).unwrap_or(0)),
            remote_jitter_us: remote.map(|report| micros(report.jitter)),
            mos_in: score(self.meter.incoming()),
            mos_out: score(self.meter.outgoing()),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Mean and worst score, to two places: more would only seem exact.
fn score(score: Score) -> Option<MosRange> {
    let rounded = |mos: f32| (f64::from(mos) * 100.0).round() / 100.0;
    Some(MosRange { average: rounded(score.average()?), minimum: rounded(score.minimum?) })
}

/// The codec that was agreed on. Opus can be coded at any rate: above that of the conversation it would only cost.
fn codec_at(media: &Negotiated, rate: SampleRate) -> Option<Codec> {
    codec_of(media).map(|codec| match codec {
        Codec::Opus(SampleRate::Hz16000) => Codec::Opus(rate),
        Codec::Opus(SampleRate::Hz8000) | Codec::Pcmu | Codec::Pcma | Codec::G722 => codec,
    })
}

/// With SRTP the first half of the sequence numbers: a peer that misses the first packets could not know of a wrap
/// (RFC 3711 section 3.3.1).
const fn first_sequence(media: &Negotiated, random: u16) -> u16 {
    if media.srtp.is_some() { random & 0x7fff } else { random }
}

fn receiver_config(media: &Negotiated, codec: Codec, jitter: &JitterConfig) -> ReceiverConfig {
    ReceiverConfig {
        codec,
        payload_type: media.payload_type,
        telephone_event: media.telephone_event,
        comfort_noise: media.comfort_noise,
        jitter: *jitter,
    }
}
