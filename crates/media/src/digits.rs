//! DTMF keys as telephone events (RFC 4733): recognises each press once.
//! Does not know what the keys mean, nor SIP INFO.

use std::time::{Duration, Instant};

/// A key of the telephone: `0`-`9`, `*`, `#`, `A`-`D`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(pub char);

/// The keys in the order of their event codes (RFC 4733 section 3.2).
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

impl Digit {
    /// The key of a telephone event code, 0 to 15. Others (flash, fax tones) are not keys.
    pub fn from_event(event: u8) -> Option<Self> {
        KEYS.get(usize::from(event)).copied().map(Self)
    }

    /// The event code, 0 to 15; `None` if the character is not on the keypad.
    pub fn event(self) -> Option<u8> {
        KEYS.iter().position(|key| *key == self.0.to_ascii_uppercase()).map(|code| code as u8)
    }

    /// Row and column tone in Hz (ITU-T Q.23). What is not a key sounds like `#`.
    pub(crate) fn frequencies(self) -> (f32, f32) {
        const ROWS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
        let key = self.0.to_ascii_uppercase();
        let place = ROWS.iter().zip([697.0, 770.0, 852.0, 941.0]).find_map(|(row, low)| {
            row.find(key).map(|column| (low, [1209.0, 1336.0, 1477.0, 1633.0][column]))
        });
        place.unwrap_or((941.0, 1477.0))
    }
}

impl std::fmt::Debug for Digit {
    /// Never the key itself: callers type PINs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit(*)")
    }
}

/// The four bytes of a telephone event (RFC 4733 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventPayload {
    pub(crate) event: u8,
    pub(crate) end: bool,
    pub(crate) duration: u16,
}

/// Power level of the events we send, in -dBm0 (RFC 4733 section 2.3.4).
const VOLUME: u8 = 10;

impl EventPayload {
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, d0, d1, ..] = *payload else { return None };
        Some(Self { event, end: flags & 0x80 != 0, duration: u16::from_be_bytes([d0, d1]) })
    }

    pub(crate) fn bytes(self) -> [u8; 4] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | VOLUME, d0, d1]
    }
}

/// Remembers which events have been reported. An event is known by its timestamp alone, so a lost start,
/// a lost end, a missing marker and repeats all give one key.
pub(crate) struct DigitDetector {
    clock_hz: u32,
    recent: [Option<SeenEvent>; RECENT],
    next: usize,
}

#[derive(Clone, Copy)]
struct SeenEvent {
    ssrc: u32,
    timestamp: u32,
    event: u8,
    ended: bool,
    duration: u16,
    last_seen: Instant,
}

/// More events than could be on their way at once.
const RECENT: usize = 8;

/// A timestamp seen again after this long is a new press: some gateways never advance it.
const FORGET: Duration = Duration::from_secs(2);

/// The shortest time between two presses' starts in milliseconds: 40 ms on, 40 ms off (ITU-T Q.24), less some
/// margin. A step smaller than this within one unfinished event is a sender that wrongly advances the timestamp
/// with every packet.
const SHORTEST_REPEAT_MS: u32 = 50;

impl DigitDetector {
    /// For events whose timestamps tick at this rate.
    pub(crate) fn new(clock_hz: u32) -> Self {
        Self { clock_hz, recent: [None; RECENT], next: 0 }
    }

    pub(crate) const fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz;
    }

    /// One event packet. A key is reported with the first packet that shows it.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        ssrc: u32,
        timestamp: u32,
        marker: bool,
        payload: EventPayload,
    ) -> Option<Digit> {
        let digit = Digit::from_event(payload.event)?;
        let shortest = self.clock_hz / 1_000 * SHORTEST_REPEAT_MS;
        let known = self.recent.iter_mut().flatten().find(|seen| {
            seen.is(now, ssrc, timestamp, payload)
                || (!marker && seen.continues(now, ssrc, timestamp, payload, shortest))
        });
        if let Some(seen) = known {
            // Never back: a reordered packet of the same event is older than what we have.
            if timestamp.wrapping_sub(seen.timestamp) as i32 >= 0 {
                seen.timestamp = timestamp;
            }
            seen.ended |= payload.end;
            seen.duration = seen.duration.max(payload.duration);
            seen.last_seen = now;
            return None;
        }
        self.recent[self.next] = Some(SeenEvent {
            ssrc,
            timestamp,
            event: payload.event,
            ended: payload.end,
            duration: payload.duration,
            last_seen: now,
        });
        self.next = (self.next + 1) % RECENT;
        Some(digit)
    }
}

impl SeenEvent {
    /// Whether a packet is of this very event.
    fn is(&self, now: Instant, ssrc: u32, timestamp: u32, payload: EventPayload) -> bool {
        let recent = now.saturating_duration_since(self.last_seen) <= FORGET;
        self.ssrc == ssrc && recent && self.timestamp == timestamp && self.event == payload.event
    }

    /// Whether a packet goes on with this press although its timestamp is another: closer than two presses can be, or
    /// the next segment of a key held longer than the duration field can say (RFC 4733 section 2.5.1.3).
    fn continues(
        &self,
        now: Instant,
        ssrc: u32,
        timestamp: u32,
        payload: EventPayload,
        shortest: u32,
    ) -> bool {
        let recent = now.saturating_duration_since(self.last_seen) <= FORGET;
        let step = timestamp.wrapping_sub(self.timestamp);
        // The last packets of the full segment may be lost.
        let next_segment = self.duration >= u16::MAX / 2 && step == u32::from(u16::MAX);
        let same = self.ssrc == ssrc && self.event == payload.event && recent && !self.ended;
        same && (next_segment || step < shortest)
    }
}
