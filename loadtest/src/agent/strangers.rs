//! Datagrams that do not belong into a call: garbage from the caller's own port, and RTP of somebody else.
//! Knows how they look and when they are due. Who takes them for what is the server's business.

use media::{RtpPacket, tone::Chance};
use std::time::{Duration, Instant};

/// A stranger's datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Not RTP, or broken RTP: comes from the caller's own port.
    Garbage(Vec<u8>),
    /// Sound RTP of another stream: comes from another port.
    Foreign(Vec<u8>),
}

/// Makes them for one call.
pub(crate) struct Strangers {
    chance: Chance,
    garbage: Option<Pace>,
    foreign: Option<Pace>,
    ssrc: u32,
    sequence: u16,
    pub(crate) sent: u64,
}

struct Pace {
    every: Duration,
    next: Option<Instant>,
}

impl Pace {
    fn new(rate: f32) -> Option<Self> {
        (rate > 0.0).then(|| Self { every: Duration::from_secs_f32(1.0 / rate), next: None })
    }

    /// Whether one is due; those of a long sleep are not made up for.
    fn is_due(&mut self, now: Instant) -> bool {
        let next = *self.next.get_or_insert(now + self.every);
        if next > now {
            return false;
        }
        let late = now.saturating_duration_since(next) > Duration::from_secs(1);
        self.next = Some(if late { now } else { next } + self.every);
        true
    }
}

impl Strangers {
    /// So many a second of each kind.
    pub(crate) fn new(garbage: f32, foreign: f32, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (ssrc, sequence) = (chance.bits() as u32, chance.bits() as u16);
        Self { chance, garbage: Pace::new(garbage), foreign: Pace::new(foreign), ssrc, sequence, sent: 0 }
    }

    /// The next datagram that is due. `payload_type` is that of the call's audio.
    pub(crate) fn due(&mut self, now: Instant, payload_type: u8) -> Option<Stranger> {
        if self.garbage.as_mut().is_some_and(|pace| pace.is_due(now)) {
            self.sent += 1;
            return Some(Stranger::Garbage(self.garbage(payload_type)));
        }
        if self.foreign.as_mut().is_some_and(|pace| pace.is_due(now)) {
            self.sent += 1;
            return Some(Stranger::Foreign(self.foreign(payload_type)));
        }
        None
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let next = |pace: &Option<Pace>| pace.as_ref().and_then(|pace| pace.next);
        super::link::earliest([next(&self.garbage), next(&self.foreign)])
    }

    fn garbage(&mut self, payload_type: u8) -> Vec<u8> {
        let length = self.chance.below(300) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| self.chance.bits() as u8).collect();
        let first = |bytes: &mut Vec<u8>, value: u8| {
            if let Some(byte) = bytes.first_mut() {
                *byte = value;
            }
        };
        match self.chance.below(6) {
            // Anything, and what is too short to be anything.
            0 => first(&mut bytes, 0x40),
            1 => bytes.truncate(self.chance.below(12) as usize),
            // More contributing sources, or more padding, than there are bytes.
            2 => {
                bytes.truncate(30);
                first(&mut bytes, 0x8f);
            }
            3 => {
                first(&mut bytes, 0xa0);
                bytes.truncate(20);
                bytes.push(0xff);
            }
            // A payload type that nobody agreed on.
            4 => {
                first(&mut bytes, 0x80);
                if let Some(byte) = bytes.get_mut(1) {
                    *byte = (payload_type ^ 0x3f) & 0x3f;
                }
            }
            // A report that does not add up.
            _ => {
                first(&mut bytes, 0x81);
                if let Some(byte) = bytes.get_mut(1) {
                    *byte = 200;
                }
            }
        }
        bytes
    }

    fn foreign(&mut self, payload_type: u8) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        // Loud: who hears it, hears it.
        let payload: Vec<u8> = (0..160).map(|_| self.chance.bits() as u8).collect();
        let mut bytes = Vec::new();
        let timestamp = u32::from(self.sequence) * 160;
        let (sequence, ssrc) = (self.sequence, self.ssrc);
        RtpPacket { marker: false, payload_type, sequence, timestamp, ssrc, payload: &payload }
            .write(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes in a minute.
    fn minute(garbage: f32, foreign: f32) -> Vec<Stranger> {
        let mut strangers = Strangers::new(garbage, foreign, 1);
        let start = Instant::now();
        let mut all = Vec::new();
        for ms in 0..60_000 {
            while let Some(one) = strangers.due(start + Duration::from_millis(ms), 0) {
                all.push(one);
            }
        }
        all
    }

    #[test]
    fn as_many_come_as_were_asked_for() {
        let all = minute(200.0, 50.0);
        let garbage = all.iter().filter(|one| matches!(one, Stranger::Garbage(_))).count();
        let foreign = all.len() - garbage;
        assert!(
            (11_950..=12_000).contains(&garbage) && (2_950..=3_000).contains(&foreign),
            "{garbage} {foreign}"
        );
        assert_eq!(minute(0.0, 0.0), []);
        assert_eq!(minute(3.0, 1.0), minute(3.0, 1.0), "from one seed");
    }

    #[test]
    fn foreign_packets_are_sound_and_in_order() {
        let mut before = None;
        for one in minute(0.0, 50.0) {
            let Stranger::Foreign(bytes) = one else { panic!("only foreign ones were asked for") };
            let packet = RtpPacket::parse(&bytes).expect("sound");
            assert!(before.is_none_or(|before: u16| packet.sequence == before.wrapping_add(1)));
            before = Some(packet.sequence);
        }
    }
}
