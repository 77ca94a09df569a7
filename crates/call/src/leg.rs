//! One side of a call's media: packets in to frames, speech out to packets, and the reports about both.
//! Knows the negotiated stream. Knows nothing of turns or of what is said.

use crate::{Event, Output, keys::Keys, peer::Peer, protection::Protection};
use media::{
    Codec, Digit, Frame, Heard, JitterConfig, Played, Playout, Receiver, ReceiverConfig, RtcpSession,
    SampleRate, Sender, SenderConfig, SpeechGate, Vad,
};
use sip::{Direction, Negotiated};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Between two RTCP reports (RFC 3550 section 6.2 recommends five seconds at least).
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// A leg's media stream.
pub(crate) struct Leg {
    peer: Peer,
    protection: Protection,
    remote_rtcp: SocketAddr,
    rtcp_mux: bool,
    receiver: Receiver,
    sender: Sender,
    pub(crate) playout: Playout,
    rtcp: RtcpSession,
    keys: Keys,
    vad: Vad,
    gate: SpeechGate,
    direction: Direction,
    next_report: Instant,
    /// When anything came from the far end for the last time.
    pub(crate) last_media: Instant,
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
        jitter: &JitterConfig,
        seed: StreamSeed,
    ) -> Option<Self> {
        let codec = codec(media)?;
        let now = wall.at;
        Some(Self {
            peer: Peer::new(now, media.remote),
            protection: Protection::new(media.srtp.as_ref())?,
            remote_rtcp: media.remote_rtcp,
            rtcp_mux: media.rtcp_mux,
            receiver: Receiver::new(receiver_config(media, codec, jitter)),
            rtcp: RtcpSession::new(seed.ssrc, &format!("{:08x}@tandem", seed.ssrc)),
            sender: Sender::new(SenderConfig {
                codec,
                payload_type: media.payload_type,
                telephone_event: media.telephone_event,
                ssrc: seed.ssrc,
                sequence: first_sequence(media, seed.sequence),
                timestamp: seed.timestamp,
            }),
            keys: Keys::new(media.telephone_event),
            playout: Playout::new(SampleRate::Hz8000),
            vad: Vad::new(),
            gate: SpeechGate::default(),
            direction: media.direction,
            next_report: now + REPORT_EVERY,
            last_media: now,
            talking: false,
            wall,
        })
    }

    /// Takes a re-negotiated description; numbering and what was heard so far stay.
    pub(crate) fn redescribe(&mut self, now: Instant, media: &Negotiated, jitter: &JitterConfig) {
        if let Some(codec) = codec(media) {
            self.receiver.renegotiate(receiver_config(media, codec, jitter));
            self.sender.renegotiate(codec, media.payload_type, media.telephone_event);
            self.keys.renegotiate(media.telephone_event);
        }
        self.peer.redescribe(now, media.remote);
        self.protection.renegotiate(media.srtp.as_ref());
        if !media.remote_rtcp.ip().is_unspecified() {
            // Hold as RFC 2543 had it: nothing can be sent there, and reports go on to where they went.
            self.remote_rtcp = media.remote_rtcp;
        }
        self.rtcp_mux = media.rtcp_mux;
        self.direction = media.direction;
        self.last_media = now;
    }

    /// A datagram on the RTP port: a key the caller pressed, if it was one. With SRTP nothing is learnt from a packet,
    /// not even where it came from, before it has proved to be authentic.
    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Digit> {
        if self.rtcp_mux && media::is_rtcp(datagram) {
            self.receive_report(now, from, datagram);
            return None;
        }
        if self.peer.refuses(from) {
            return None;
        }
        let packet = self.protection.open_rtp(datagram)?;
        if !self.peer.accepts(now, from, self.receiver.stream_of(&packet)) {
            return None;
        }
        self.last_media = now;
        let digit = self.receiver.receive(now, &packet)?;
        self.keys.event(now, digit)
    }

    /// A datagram on the RTCP port. Reports count as a sign of life from the address the media comes from.
    pub(crate) fn receive_report(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if from.ip() != self.peer.address().ip() {
            return;
        }
        if let Some(report) = self.protection.open_rtcp(datagram) {
            self.last_media = now;
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
            let silence = Frame::silence(SampleRate::Hz8000);
            return (Played { frame: silence, segment: None, voiced: false }, None);
        }
        let played = self.playout.next_frame();
        let talking = played.segment.is_some();
        let starts = talking && !self.talking;
        self.talking = talking;
        let packet = self.sender.packet(&played.frame, starts);
        (played, self.protection.seal_rtp(packet))
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
        let report = self.rtcp.report(now, self.wall.ntp(now), &statistics, self.sender.counts());
        self.rtcp_output(report)
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

    /// Whether reports share the RTP port.
    pub(crate) const fn rtcp_mux(&self) -> bool {
        self.rtcp_mux
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
    pub(crate) fn quality(&self) -> Event {
        let (statistics, srtp) = (self.receiver.statistics(), self.protection.counts());
        Event::Quality {
            received: statistics.received,
            lost: statistics.lost,
            late: statistics.late,
            concealed: statistics.concealed,
            jitter_us: u64::try_from(statistics.jitter.as_micros()).unwrap_or(u64::MAX),
            sent: u64::from(self.sender.counts().packets),
            foreign: self.peer.foreign(),
            malformed: statistics.malformed + statistics.unknown_payload_type + srtp.malformed,
            srtp_auth_failed: srtp.auth_failed,
            srtp_replayed: srtp.replayed,
        }
    }
}

fn codec(media: &Negotiated) -> Option<Codec> {
    [Codec::Pcmu, Codec::Pcma].into_iter().find(|codec| codec.name() == media.codec)
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
