//! RTCP of one stream: sender and receiver reports, source description, goodbye (RFC 3550 section 6).
//! Does not know sockets or when to send; it says what to send and what the other side reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{ReceiverStatistics, SenderCounts};

/// How often a report should be sent (RFC 3550 section 6.2: the minimum for small sessions).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What the other side says about the stream we send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RemoteReport {
    /// Part of our packets lost since its previous report, 0 to 1.
    pub fraction_lost: f32,
    /// Packets lost since the beginning; negative if some came twice.
    pub cumulative_lost: i32,
    /// Highest sequence number it has received, with cycles.
    pub highest_sequence: u32,
    /// Its interarrival jitter.
    pub jitter: Duration,
    /// When the report came.
    pub received: Instant,
}

/// Something in an incoming datagram that somebody may want to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RtcpEvent {
    /// The other side reported on our stream.
    Report(RemoteReport),
    /// The other side leaves.
    Bye,
}

/// What came in and went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpStatistics {
    /// Compound packets accepted.
    pub received: u64,
    /// Datagrams that are not RTCP or do not add up.
    pub malformed: u64,
    /// Reports sent.
    pub sent: u64,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// SDES item type of the canonical name, and its longest length.
const CNAME: (u8, usize) = (1, 255);

/// Our own sender reports remembered for the round trip: a reply refers to one of the last.
const REMEMBERED: usize = 8;

/// The RTCP of one leg.
pub struct RtcpSession {
    ssrc: u32,
    /// Ticks a second of the stream we send: the other side reports its jitter in them.
    clock_hz: u32,
    cname: String,
    sent: VecDeque<(u32, Instant)>,
    packets_at_last_report: u32,
    last_report: Option<Instant>,
    /// Middle bits and arrival of the last sender report from the other side.
    heard: Option<(u32, Instant)>,
    /// Expected and received packets at our last report.
    before: (u64, u64),
    rtt: Option<Duration>,
    remote: Option<RemoteReport>,
    without_us: u32,
    last_arrival: Option<Instant>,
    said_goodbye: Option<Instant>,
    statistics: RtcpStatistics,
}

impl RtcpSession {
    /// For the stream we send as `ssrc`. `cname` should be random and the same for all streams of a call
    /// (RFC 7022); it is cut to 255 bytes.
    pub fn new(ssrc: u32, cname: &str) -> Self {
        let mut cname = cname.to_owned();
        let end = (0..=cname.len().min(CNAME.1)).rev().find(|end| cname.is_char_boundary(*end));
        cname.truncate(end.unwrap_or(0));
        Self {
            ssrc,
            clock_hz: 8_000,
            cname,
            sent: VecDeque::new(),
            packets_at_last_report: 0,
            last_report: None,
            heard: None,
            before: (0, 0),
            rtt: None,
            remote: None,
            without_us: 0,
            last_arrival: None,
            said_goodbye: None,
            statistics: RtcpStatistics::default(),
        }
    }

    /// One datagram from the RTCP port, or from the RTP port if [`crate::is_rtcp`] says so.
    pub fn incoming(&mut self, now: Instant, datagram: &[u8]) -> Vec<RtcpEvent> {
        let Some(packets) = split(datagram) else {
            self.statistics.malformed += 1;
            return Vec::new();
        };
        self.statistics.received += 1;
        self.last_arrival = Some(now);
        let mut events = Vec::new();
        let mut reports = false;
        for packet in packets {
            match packet.kind {
                SENDER_REPORT => self.sender_report(now, &packet, &mut events),
                RECEIVER_REPORT => self.report_blocks(now, packet.blocks(4, packet.count), &mut events),
                GOODBYE => {
                    self.said_goodbye = Some(now);
                    events.push(RtcpEvent::Bye);
                }
                _ => {}
            }
            reports |= matches!(packet.kind, SENDER_REPORT | RECEIVER_REPORT);
        }
        if events.iter().any(|event| matches!(event, RtcpEvent::Report(_))) {
            self.without_us = 0;
        } else if reports {
            self.without_us = self.without_us.saturating_add(1);
        }
        events
    }

    /// The compound packet that is due: a sender report if we have sent since the last one, else a receiver
    /// report, then the source description. `wallclock_ntp` is a 64-bit NTP timestamp.
    pub fn report(
        &mut self,
        now: Instant,
        wallclock_ntp: u64,
        statistics: &ReceiverStatistics,
        sender: SenderCounts,
    ) -> Vec<u8> {
        let sends = sender.packets != self.packets_at_last_report;
        let mut out = Vec::with_capacity(96 + self.cname.len());
        let blocks = u8::from(statistics.ssrc.is_some());
        if sends {
            header(&mut out, blocks, SENDER_REPORT, 6 + 6 * u16::from(blocks));
            out.extend(self.ssrc.to_be_bytes());
            out.extend(wallclock_ntp.to_be_bytes());
            out.extend(sender.timestamp.to_be_bytes());
            out.extend(sender.packets.to_be_bytes());
            out.extend(sender.octets.to_be_bytes());
            self.remember(now, (wallclock_ntp >> 16) as u32);
        } else {
            header(&mut out, blocks, RECEIVER_REPORT, 1 + 6 * u16::from(blocks));
            out.extend(self.ssrc.to_be_bytes());
        }
        self.report_block(now, statistics, &mut out);
        self.source_description(&mut out);
        self.packets_at_last_report = sender.packets;
        self.last_report = Some(now);
        self.statistics.sent += 1;
        out
    }

    /// The last words: an empty receiver report, the source description and the goodbye (RFC 3550 section 6.6).
    pub fn bye(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.cname.len());
        header(&mut out, 0, RECEIVER_REPORT, 1);
        out.extend(self.ssrc.to_be_bytes());
        self.source_description(&mut out);
        header(&mut out, 1, GOODBYE, 1);
        out.extend(self.ssrc.to_be_bytes());
        self.statistics.sent += 1;
        out
    }

    /// Whether [`REPORT_INTERVAL`] has passed since the last report.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last_report.is_none_or(|last| now.saturating_duration_since(last) >= REPORT_INTERVAL)
    }

    /// Time to the other side and back, as its last report allows to reckon.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// What the other side last said about our stream.
    pub const fn remote(&self) -> Option<RemoteReport> {
        self.remote
    }

    /// The clock of the stream we send: [`crate::Codec::clock_hz`]. It is 8 kHz unless said otherwise.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz.max(1);
    }

    /// How many reports of the other side in a row did not mention our stream.
    pub const fn reports_without_us(&self) -> u32 {
        self.without_us
    }

    /// When RTCP came last.
    pub const fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    /// When the other side said goodbye. That ends nothing: some say it on hold or when their SSRC changes, and a call
    /// is over when its dialog is.
    pub const fn said_goodbye(&self) -> Option<Instant> {
        self.said_goodbye
    }

    /// The counters so far.
    pub const fn statistics(&self) -> RtcpStatistics {
        self.statistics
    }

    fn sender_report(&mut self, now: Instant, packet: &Packet<'_>, events: &mut Vec<RtcpEvent>) {
        // After the SSRC the NTP timestamp; its middle 32 bits come back in our report as LSR.
        if let Some(middle) = packet.body.get(6..10).and_then(word) {
            self.heard = Some((middle, now));
        }
        self.report_blocks(now, packet.blocks(24, packet.count), events);
    }

    fn report_blocks(&mut self, now: Instant, blocks: &[u8], events: &mut Vec<RtcpEvent>) {
        for block in blocks.as_chunks::<24>().0 {
            let at = |index: usize| block.get(index..index + 4).and_then(word).unwrap_or(0);
            if at(0) != self.ssrc {
                continue;
            }
            let lost = at(4);
            let report = RemoteReport {
                fraction_lost: (lost >> 24) as f32 / 256.0,
                cumulative_lost: ((lost << 8) as i32) >> 8,
                highest_sequence: at(8),
                jitter: Duration::from_micros(u64::from(at(12)) * 1_000_000 / u64::from(self.clock_hz)),
                received: now,
            };
            self.remote = Some(report);
            events.push(RtcpEvent::Report(report));
            self.round_trip(now, at(16), at(20));
        }
    }

    /// Arrival minus our report's departure minus what the other side held it (RFC 3550 section 6.4.1).
    fn round_trip(&mut self, now: Instant, last_report: u32, delay: u32) {
        let departure = self.sent.iter().find(|(middle, _)| *middle == last_report && last_report != 0);
        if let Some((_, departure)) = departure {
            let held = Duration::from_micros((u64::from(delay) * 1_000_000) >> 16);
            self.rtt = now.saturating_duration_since(*departure).checked_sub(held).or(self.rtt);
        }
    }

    fn remember(&mut self, now: Instant, middle: u32) {
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((middle, now));
    }

    /// What we say about the stream we receive (RFC 3550 section 6.4.1 and appendix A.3).
    fn report_block(&mut self, now: Instant, statistics: &ReceiverStatistics, out: &mut Vec<u8>) {
        let Some(ssrc) = statistics.ssrc else { return };
        let expected = statistics.expected.saturating_sub(self.before.0) as i64;
        let received = statistics.received.saturating_sub(self.before.1) as i64;
        self.before = (statistics.expected, statistics.received);
        let lost = (expected - received).max(0);
        let fraction = if expected > 0 { (lost * 256 / expected).min(255) as u8 } else { 0 };
        let cumulative = statistics.expected as i64 - statistics.received as i64;
        let cumulative = cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32;
        let (last_report, delay) = self.heard.map_or((0, 0), |(middle, arrived)| {
            let held = now.saturating_duration_since(arrived).as_micros();
            (middle, u32::try_from((held << 16) / 1_000_000).unwrap_or(u32::MAX))
        });
        out.extend(ssrc.to_be_bytes());
        out.extend((u32::from(fraction) << 24 | cumulative as u32 & 0xff_ffff).to_be_bytes());
        out.extend(statistics.highest_sequence.to_be_bytes());
        out.extend(statistics.jitter_units.to_be_bytes());
        out.extend(last_report.to_be_bytes());
        out.extend(delay.to_be_bytes());
    }

    fn source_description(&self, out: &mut Vec<u8>) {
        // SSRC, item header, name and at least one zero, filled up to whole words.
        let words = (4 + 2 + self.cname.len() + 1).div_ceil(4);
        header(out, 1, SOURCE_DESCRIPTION, words as u16);
        let end = out.len() + words * 4;
        out.extend(self.ssrc.to_be_bytes());
        out.extend([CNAME.0, self.cname.len() as u8]);
        out.extend(self.cname.as_bytes());
        out.resize(end, 0);
    }
}

struct Packet<'a> {
    kind: u8,
    count: usize,
    /// After the four bytes of header, without padding.
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Report blocks from this place on, at most as many as the header announces.
    fn blocks(&self, from: usize, count: usize) -> &'a [u8] {
        let blocks = self.body.get(from..).unwrap_or(&[]);
        &blocks[..blocks.len().min(count * 24)]
    }
}

/// The packets of a compound; `None` if the lengths do not add up (RFC 3550 appendix A.2). A report need not
/// come first: reduced-size RTCP (RFC 5506) is told apart by nothing else.
fn split(datagram: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut packets = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let [first, kind, high, low, ..] = *rest else { return None };
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if first >> 6 != 2 || !(192..=223).contains(&kind) || length > rest.len() {
            return None;
        }
        let (packet, after) = rest.split_at(length);
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            // Only the last packet may be padded, by whole words.
            if !after.is_empty() || padding == 0 || padding % 4 != 0 || padding > body.len() {
                return None;
            }
            body = &body[..body.len() - padding];
        }
        packets.push(Packet { kind, count: usize::from(first & 0x1f), body });
        rest = after;
    }
    (!packets.is_empty()).then_some(packets)
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend([0x80 | count & 0x1f, kind]);
    out.extend(words.to_be_bytes());
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::tone::Chance;

    const HEARD: ReceiverStatistics = ReceiverStatistics {
        received: 90,
        expected: 100,
        ssrc: Some(0xb0b),
        highest_sequence: 0x1_0005,
        jitter_units: 24,
        lost: 10,
        late: 0,
        duplicates: 0,
        reordered: 0,
        concealed: 0,
        recovered: 0,
        inserted: 0,
        dropped: 0,
        overflowed: 0,
        resynchronised: 0,
        malformed: 0,
        unknown_payload_type: 0,
        jitter: Duration::from_millis(3),
        buffered: Duration::ZERO,
        ssrc_changes: 0,
        last_arrival: None,
    };
    const SENT: SenderCounts = SenderCounts { packets: 250, octets: 40_000, timestamp: 0x1234_5678 };
    const NTP: u64 = 0xaaaa_bbbb_cccc_dddd;

    /// RFC 3550 section 6.4.1, written out byte by byte.
    #[test]
    fn a_sender_report_is_the_bytes_of_the_standard() {
        let mut session = RtcpSession::new(0xa11ce, "call-7");
        let report = session.report(Instant::now(), NTP, &HEARD, SENT);
        let expected = [
            &[0x81, 200, 0, 12, 0, 0x0a, 0x11, 0xce][..],
            &[0xaa, 0xaa, 0xbb, 0xbb, 0xcc, 0xcc, 0xdd, 0xdd, 0x12, 0x34, 0x56, 0x78],
            &[0, 0, 0, 250, 0, 0, 0x9c, 0x40],
            &[0, 0, 0x0b, 0x0b, 25, 0, 0, 10, 0, 1, 0, 5, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x81, 202, 0, 4, 0, 0x0a, 0x11, 0xce, 1, 6],
            b"call-7",
            &[0, 0, 0, 0],
        ];
        assert_eq!(report, expected.concat());
    }

    #[test]
    fn who_sends_nothing_sends_receiver_reports() {
        let mut session = RtcpSession::new(1, "x");
        let now = Instant::now();
        assert!(session.is_due(now));
        assert_eq!(session.report(now, NTP, &HEARD, SENT)[1], SENDER_REPORT);
        assert!(!session.is_due(now + REPORT_INTERVAL / 2));
        assert_eq!(session.report(now, NTP, &HEARD, SENT)[1], RECEIVER_REPORT);
        let nothing = ReceiverStatistics::default();
        let report = session.report(now, NTP, &nothing, SENT);
        assert_eq!(report[..8], [0x80, 201, 0, 1, 0, 0, 0, 1], "no stream, no block");
    }

    #[test]
    fn the_fraction_lost_is_of_the_time_since_the_last_report() {
        let mut session = RtcpSession::new(1, "x");
        let now = Instant::now();
        let fraction = |report: Vec<u8>| report[12];
        let nothing_sent = SenderCounts::default();
        assert_eq!(fraction(session.report(now, NTP, &HEARD, nothing_sent)), 25);
        let better = ReceiverStatistics { received: 190, expected: 200, ..HEARD };
        assert_eq!(fraction(session.report(now, NTP, &better, nothing_sent)), 0);
        let doubled = ReceiverStatistics { received: 500, expected: 300, ..HEARD };
        let report = session.report(now, NTP, &doubled, nothing_sent);
        assert_eq!(report[12..16], [0, 0xff, 0xff, 0x38], "more than expected is a negative loss");
    }

    #[test]
    fn two_sides_find_the_round_trip_and_each_others_loss() {
        let (mut alice, mut bob) = (RtcpSession::new(0xa11ce, "a"), RtcpSession::new(0xb0b, "b"));
        let start = Instant::now();
        let ms = Duration::from_millis;
        let from_alice = alice.report(start, NTP, &HEARD, SENT);
        bob.incoming(start + ms(30), &from_alice);
        let heard_alice = ReceiverStatistics { ssrc: Some(0xa11ce), ..HEARD };
        let from_bob = bob.report(start + ms(1_030), NTP, &heard_alice, SENT);
        let events = alice.incoming(start + ms(1_080), &from_bob);
        let rtt = alice.rtt().expect("measured");
        assert!(rtt.abs_diff(ms(80)) < ms(1), "{rtt:?}");
        let remote = alice.remote().expect("reported");
        assert_eq!((remote.cumulative_lost, remote.jitter), (10, ms(3)));
        assert!((remote.fraction_lost - 0.1).abs() < 0.01);
        assert_eq!(events, [RtcpEvent::Report(remote)]);
        assert_eq!(alice.incoming(start + ms(2_000), &bob.bye()), [RtcpEvent::Bye]);
    }

    #[test]
    fn compounds_that_do_not_add_up_are_refused_whole() {
        let mut session = RtcpSession::new(1, "x");
        let now = Instant::now();
        let good = RtcpSession::new(2, "y").bye();
        let cut = &good[..good.len() - 1];
        let mut wrong_version = good.clone();
        wrong_version[0] = 0x40;
        let mut padded_first = good.clone();
        padded_first[0] |= 0x20;
        for bad in [&[][..], &good[..3], cut, &wrong_version, &padded_first, b"not rtcp at all.."] {
            assert_eq!(session.incoming(now, bad), []);
        }
        assert_eq!(session.statistics().malformed, 6);
        let mut padded_last = good.clone();
        let last = padded_last.len() - 8;
        padded_last[last] |= 0x20;
        padded_last[last + 3] = 2;
        padded_last.extend([0, 0, 0, 4]);
        assert_eq!(session.incoming(now, &padded_last), [RtcpEvent::Bye]);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let bye = RtcpSession::new(1, &"é".repeat(200)).bye();
        assert!(split(&bye).is_some());
        assert_eq!(bye[8 + 9], 254);
    }

    #[test]
    fn no_datagram_makes_the_session_panic() {
        let mut session = RtcpSession::new(1, "x");
        let now = Instant::now();
        let mut chance = Chance::new(3);
        for _ in 0..50_000 {
            let length = chance.below(120) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| chance.below(8) as u8).collect();
            if length >= 4 {
                bytes[0] = 0x80 | chance.below(64) as u8;
                bytes[1] = 200 + chance.below(5) as u8;
                bytes[2..4].copy_from_slice(&((length / 4 - 1) as u16).to_be_bytes());
                bytes.truncate(length / 4 * 4);
            }
            session.incoming(now, &bytes);
        }
        assert!(session.statistics().received > 10_000);
    }

    #[test]
    fn a_goodbye_is_noted_and_reports_about_others_are_counted() {
        let (mut ours, mut theirs) = (RtcpSession::new(1, "we"), RtcpSession::new(2, "they"));
        let now = Instant::now();
        let about_another = ReceiverStatistics { ssrc: Some(77), ..HEARD };
        for expected in 1..4 {
            ours.incoming(now, &theirs.report(now, NTP, &about_another, SENT));
            assert_eq!((ours.reports_without_us(), ours.remote()), (expected, None));
        }
        ours.set_clock(48_000);
        ours.incoming(now, &theirs.report(now, NTP, &ReceiverStatistics { ssrc: Some(1), ..HEARD }, SENT));
        assert_eq!(ours.reports_without_us(), 0);
        assert_eq!(ours.remote().map(|report| report.jitter), Some(Duration::from_micros(500)));
        assert_eq!(ours.said_goodbye(), None);
        assert_eq!(ours.incoming(now, &theirs.bye()), [RtcpEvent::Bye]);
        assert_eq!((ours.said_goodbye(), ours.last_arrival()), (Some(now), Some(now)));
    }
}
