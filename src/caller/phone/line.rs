//! The media of a caller's call: RTP and RTCP both ways, as agreed on.
//! Knows packets and codecs. Who speaks when is the phone's business.

use super::{MediaMeasures, VOICED_DBFS};
use call::Protection;
use media::{
    Codec, Decoder, Digit, Frame, QualityMeter, Receiver, ReceiverConfig, Resampler, RtcpSession, RtpPacket,
    SampleRate, Sender, SenderConfig,
};
use sip::{Direction, Negotiated};
use std::time::{Duration, Instant};

/// The first report: both directions have something to report by then.
const FIRST_REPORT: Duration = Duration::from_millis(500);
/// What the first report's clock shows: zero would mean that there was no report (RFC 3550 section 6.4.1).
const UPTIME: Duration = Duration::from_secs(3_600);

/// What a packet of the agent was.
pub(super) struct Arrived {
    pub(super) sequence: u16,
    /// Whether a voice is in it.
    pub(super) voiced: bool,
}

/// The media of one call.
pub(super) struct Line {
    agreed: Negotiated,
    codec: Codec,
    receiver: Receiver,
    sender: Sender,
    protection: Protection,
    rtcp: RtcpSession,
    quality: QualityMeter,
    /// Decodes what comes in the order in which it comes: the stopwatch does not wait for a jitter buffer.
    ear: Decoder,
    /// From the receiver's rate to the phone's, for what is recorded.
    resampler: Option<Resampler>,
    opened: Instant,
}

impl Line {
    /// Media as agreed on; `None` if its codec or its keys are none of ours.
    pub(super) fn new(now: Instant, agreed: Negotiated, seed: u32, rate: SampleRate) -> Option<Self> {
        let codec = Codec::from_name(&agreed.codec)?;
        let protection = Protection::new(agreed.srtp.as_ref())?;
        let receiver = Receiver::new(receiver_config(&agreed, codec));
        let sender = Sender::new(SenderConfig {
            codec,
            payload_type: agreed.payload_type,
            telephone_event: agreed.telephone_event,
            ssrc: seed,
            // The lower half: with SRTP a wrap at once could not be told from none (RFC 3711 section 3.3.1).
            sequence: (seed >> 7) as u16 & 0x7fff,
            timestamp: seed.rotate_left(9),
        });
        let mut rtcp = RtcpSession::new(seed, &format!("{seed:08x}@caller"));
        rtcp.set_clock(codec.clock_hz());
        let converts = receiver.rate() != rate;
        let resampler = converts.then(|| Resampler::new(receiver.rate().hz(), rate.hz()));
        let (quality, ear) = (QualityMeter::new(codec), Decoder::new(codec));
        Some(Self { agreed, codec, receiver, sender, protection, rtcp, quality, ear, resampler, opened: now })
    }

    pub(super) const fn agreed(&self) -> &Negotiated {
        &self.agreed
    }

    /// As agreed on anew. What is none of ours changes nothing.
    pub(super) fn renegotiate(&mut self, agreed: Negotiated) {
        let Some(codec) = Codec::from_name(&agreed.codec) else { return };
        if codec != self.codec {
            self.ear = Decoder::new(codec);
            self.quality.set_codec(codec);
            self.rtcp.set_clock(codec.clock_hz());
        }
        self.codec = codec;
        self.receiver.renegotiate(receiver_config(&agreed, codec));
        self.sender.renegotiate(codec, agreed.payload_type, agreed.telephone_event);
        self.protection.renegotiate(agreed.srtp.as_ref());
        self.agreed = agreed;
    }

    /// Whether our audio is wanted.
    const fn sends(&self) -> bool {
        matches!(self.agreed.direction, Direction::SendRecv | Direction::SendOnly)
    }

    /// A datagram on the RTP port; `None` unless it is audio.
    pub(super) fn hear(&mut self, at: Instant, datagram: &[u8]) -> Option<Arrived> {
        if media::is_rtcp(datagram) {
            self.control(at, datagram);
            return None;
        }
        let datagram = self.protection.open_rtp(datagram)?;
        let _the_agents_keys_are_not_for_us = self.receiver.receive(at, &datagram);
        let packet = RtpPacket::parse(&datagram).ok()?;
        if packet.payload_type != self.agreed.payload_type {
            return None;
        }
        let mut samples = Vec::with_capacity(self.ear.codec().rate().frame_samples());
        self.ear.decode(packet.payload, &mut samples);
        let frame = Frame::from_samples(self.ear.codec().rate(), &samples);
        Some(Arrived { sequence: packet.sequence, voiced: frame.level_dbfs() > VOICED_DBFS })
    }

    /// A datagram on the RTCP port.
    pub(super) fn control(&mut self, at: Instant, datagram: &[u8]) {
        if let Some(datagram) = self.protection.open_rtcp(datagram) {
            self.rtcp.incoming(at, &datagram);
        }
    }

    /// The next 20 ms of what a listener hears, appended at the phone's rate.
    pub(super) fn listen(&mut self, now: Instant, recording: Option<&mut Vec<i16>>) {
        let heard = self.receiver.pop(now);
        match (recording, &mut self.resampler) {
            (Some(out), Some(resampler)) => resampler.push(heard.frame.samples(), out),
            (Some(out), None) => out.extend_from_slice(heard.frame.samples()),
            (None, _) => {}
        }
    }

    /// The packet of these 20 ms; `None` on hold, or while our audio is not wanted.
    pub(super) fn speak(&mut self, frame: &Frame, starts: bool, held: bool) -> Option<Vec<u8>> {
        if held || !self.sends() {
            self.sender.skip(1);
            return None;
        }
        let packet = self.sender.packet(frame, starts);
        self.protection.seal_rtp(packet)
    }

    pub(super) fn press(&mut self, key: char, duration: Duration, as_tone: bool) {
        if as_tone {
            self.sender.press_in_band(Digit(key), duration);
        } else {
            self.sender.press(Digit(key), duration);
        }
    }

    /// The report that is due.
    pub(super) fn report(&mut self, now: Instant) -> Option<Vec<u8>> {
        let up = now.saturating_duration_since(self.opened);
        if up < FIRST_REPORT || !self.rtcp.is_due(now) {
            return None;
        }
        let statistics = self.receiver.statistics();
        self.quality.measure(&statistics, &self.rtcp);
        let report = self.rtcp.report(now, uptime(up), &statistics, self.sender.counts());
        self.protection.seal_rtcp(report)
    }

    /// The last words.
    pub(super) fn goodbye(&mut self) -> Option<Vec<u8>> {
        let goodbye = self.rtcp.bye();
        self.protection.seal_rtcp(goodbye)
    }

    pub(super) fn measures(&mut self) -> MediaMeasures {
        let statistics = self.receiver.statistics();
        self.quality.measure(&statistics, &self.rtcp);
        let remote = self.rtcp.remote();
        MediaMeasures {
            codec: self.agreed.codec.clone(),
            encrypted: self.agreed.srtp.is_some(),
            sent: self.sender.counts().packets,
            expected: statistics.expected,
            lost: statistics.lost,
            late: statistics.late,
            duplicates: statistics.duplicates,
            reordered: statistics.reordered,
            concealed: statistics.concealed,
            malformed: statistics.malformed,
            jitter: statistics.jitter,
            rtcp_received: self.rtcp.statistics().received,
            rtt: self.rtcp.rtt(),
            they_lost: remote.map(|report| report.cumulative_lost),
            they_hear: (self.rtcp.statistics().received > 0).then(|| {
                // A report of theirs that does not mention us says that nothing of ours arrives there.
                remote.is_some() && self.rtcp.reports_without_us() < 2
            }),
            mos: self.quality.incoming().average(),
            they_mos: self.quality.outgoing().average(),
        }
    }
}

fn receiver_config(agreed: &Negotiated, codec: Codec) -> ReceiverConfig {
    ReceiverConfig {
        codec,
        payload_type: agreed.payload_type,
        telephone_event: agreed.telephone_event,
        comfort_noise: agreed.comfort_noise,
        jitter: Default::default(),
    }
}

/// How long we have been up as an NTP timestamp, which RFC 3550 section 4 allows in place of the time of day.
fn uptime(up: Duration) -> u64 {
    let up = up + UPTIME;
    (up.as_secs() << 32) | (u64::from(up.subsec_nanos()) << 32) / 1_000_000_000
}
