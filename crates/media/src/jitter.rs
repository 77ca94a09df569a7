//! The jitter buffer: packets in as they come, one frame out every 20 ms, in the order of their timestamps.
//! Does not know sequence rules, SSRCs or codecs: the receiver sorts those out first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::conceal::Concealment;
use crate::{FRAME, Frame, SampleRate};

/// How much delay the buffer may add.
#[derive(Clone, Copy, Debug)]
pub struct JitterConfig {
    /// The delay without any jitter.
    pub minimum: Duration,
    /// The delay that no jitter may exceed: beyond, packets are late.
    pub maximum: Duration,
}

impl Default for JitterConfig {
    /// 20 ms keeps one packet in hand, 120 ms is what a conversation just bears.
    fn default() -> Self {
        Self { minimum: Duration::from_millis(20), maximum: Duration::from_millis(120) }
    }
}

/// One frame for the conversation and where it came from.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Always 20 ms.
    pub frame: Frame,
    /// Whether somebody said it.
    pub source: HeardSource,
    /// Arrival of the packet that carried the frame's (last) audio; `None` if it carries none.
    pub arrived: Option<Instant>,
}

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardSource {
    /// Received.
    Played,
    /// Made up in place of something lost or late.
    Concealed,
    /// Nothing was sent or nothing has arrived yet.
    Silence,
}

/// What a packet means to the timeline.
pub(crate) enum Content {
    /// Samples from the packet's timestamp on.
    Audio(Vec<i16>),
    /// From here on the sender is silent on purpose: comfort noise or a telephone event.
    Quiet,
}

/// What the buffer did, for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JitterCounts {
    pub(crate) late: u64,
    pub(crate) concealed: u64,
    pub(crate) inserted: u64,
    pub(crate) dropped: u64,
    pub(crate) overflowed: u64,
    pub(crate) resynchronised: u64,
}

/// Samples in a frame; also the unit in which the delay changes.
const STEP: i64 = SampleRate::Hz8000.frame_samples() as i64;

/// A sample in microseconds.
const SAMPLE_US: i64 = 125;

/// Beyond this distance a timestamp is not early or late, it has jumped.
const JUMP: i64 = 8_000;

/// Audio further ahead than the longest delay and the longest packet (200 ms) is a flood or a stall's backlog:
/// all but the newest is dropped.
const LONGEST_PACKET: i64 = 1_600;

/// Packets held at most: at the shortest sensible packetization (5 ms) more than can be ahead.
const MAX_PACKETS: usize = 128;

/// A stream that stays late for this long, in at least so many packets, has a new time base.
const LATE_RUN: (Duration, u32) = (Duration::from_millis(200), 5);

/// How far the delay may be off its target before a frame is dropped or inserted. Over half a frame, or
/// every step would call for the step back.
const TOLERANCE_US: (i64, i64) = (11_000, 12_000);

/// The delay must be off for this long before silence is cut or stretched, and that long before speech is.
const PATIENCE: (u32, u32) = (25, 100);

/// So far off target the patience shrinks to a tenth of a second or less.
const URGENT_US: i64 = 60_000;

/// Frames quieter than this can be dropped or doubled without anybody noticing.
const SILENT_DBFS: f32 = -45.0;

struct Stored {
    position: i64,
    sequence: i64,
    content: Content,
    arrived: Instant,
}

impl Stored {
    fn end(&self) -> i64 {
        match &self.content {
            Content::Audio(samples) => self.position + samples.len() as i64,
            Content::Quiet => self.position,
        }
    }
}

/// The buffer of one stream. All positions are samples on a timeline of 64 bits that never wraps.
pub(crate) struct JitterBuffer {
    config: JitterConfig,
    queue: VecDeque<Stored>,
    /// A timestamp and the position it stands for.
    anchor: Option<(u32, i64)>,
    /// Position of the next sample to play; frames before are gone.
    playhead: i64,
    /// When playing begins; `None` before the first packet.
    begins: Option<Instant>,
    playing: bool,
    last_pop: Option<Instant>,
    /// Samples made up since the last received one: so far can a late packet turn the playhead back.
    made_up: i64,
    last_sequence: i64,
    quiet: bool,
    concealment: Concealment,
    late_run: Option<(Instant, u32)>,
    jitter: Jitter,
    /// Mean time in microseconds that packets wait for their frame.
    delay_us: Option<i64>,
    off_target: u32,
    late_while_off: u32,
    counts: JitterCounts,
}

impl JitterBuffer {
    pub(crate) fn new(config: JitterConfig) -> Self {
        Self {
            config,
            queue: VecDeque::new(),
            anchor: None,
            playhead: 0,
            begins: None,
            playing: false,
            last_pop: None,
            made_up: 0,
            last_sequence: i64::MIN,
            quiet: false,
            concealment: Concealment::default(),
            late_run: None,
            jitter: Jitter::default(),
            delay_us: None,
            off_target: 0,
            late_while_off: 0,
            counts: JitterCounts::default(),
        }
    }

    pub(crate) const fn counts(&self) -> JitterCounts {
        self.counts
    }

    /// Interarrival jitter (RFC 3550 section 6.4.1) in timestamp units.
    pub(crate) const fn jitter_units(&self) -> u32 {
        self.jitter.scaled / 16
    }

    /// How long packets wait on average until their frame is played.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.unwrap_or(0).max(0) as u64)
    }

    /// A new stream follows: its timestamps have nothing to do with the old ones. What is queued still plays.
    pub(crate) fn new_stream(&mut self) {
        self.anchor = None;
        self.late_run = None;
        self.last_sequence = i64::MIN;
        self.jitter.forget_transit();
    }

    /// One packet. `sequence` is extended to 64 bits and says only whether a gap in time is a loss.
    pub(crate) fn insert(&mut self, now: Instant, sequence: i64, timestamp: u32, content: Content) {
        let audio = matches!(content, Content::Audio(_));
        let Some(position) = self.place(now, timestamp, audio) else { return };
        let mut stored = Stored { position, sequence, content, arrived: now };
        if audio {
            self.jitter.arrived(now, timestamp);
            self.anchor = Some((timestamp, position));
            self.measure_delay(now, position);
            if self.playing && position < self.playhead && !self.turn_back(position) {
                match self.late(now, timestamp, stored.end()) {
                    Some(position) => stored.position = position,
                    None => return,
                }
            } else {
                self.late_run = None;
            }
        }
        if self.begins.is_none() {
            self.begins = Some(now + self.config.minimum.saturating_sub(FRAME / 2));
        }
        self.store(stored);
        self.trim();
    }

    /// The next 20 ms.
    pub(crate) fn pop(&mut self, now: Instant) -> Heard {
        self.last_pop = Some(now);
        if !self.playing && !self.begin(now) {
            return silence();
        }
        match self.correction() {
            Correction::None => {}
            Correction::Skip => self.skip_frame(),
            Correction::Blend => return self.blend(),
            Correction::Repeat => return self.repeat(),
        }
        self.take()
    }

    /// Starts to play when the first packet has waited long enough.
    fn begin(&mut self, now: Instant) -> bool {
        let Some(begins) = self.begins.filter(|begins| *begins <= now) else { return false };
        self.playing = true;
        self.playhead = self.queue.front().map_or(self.playhead, |first| first.position);
        if now.saturating_duration_since(begins) > FRAME {
            // Nobody has listened until now: what has piled up must not become delay.
            self.keep_newest();
        }
        true
    }

    /// Where a timestamp belongs; `None` if the packet is of no use.
    fn place(&mut self, now: Instant, timestamp: u32, audio: bool) -> Option<i64> {
        let Some((known, at)) = self.anchor else {
            return audio.then(|| self.fresh_position(now));
        };
        let position = at + i64::from(timestamp.wrapping_sub(known) as i32);
        if (position - self.playhead).abs() <= JUMP {
            return Some(position);
        }
        // Silence on purpose need not be placed exactly: it only must not move the timeline.
        audio.then(|| {
            self.counts.resynchronised += 1;
            self.jitter.forget_transit();
            self.fresh_position(now)
        })
    }

    /// The position for audio that follows nothing known: behind what is queued, with the wanted delay.
    fn fresh_position(&mut self, now: Instant) -> i64 {
        self.delay_us = None;
        let queued = self.queue.back().map_or(self.playhead, Stored::end);
        if !self.playing {
            return queued;
        }
        let wanted = self.target_us() - FRAME.as_micros() as i64 / 2;
        let frames = (wanted - self.until_next_pop(now)).max(0).div_ceil_by(FRAME.as_micros() as i64);
        queued.max(self.playhead + frames * STEP)
    }

    fn until_next_pop(&self, now: Instant) -> i64 {
        let next = self.last_pop.map_or(now, |last| last + FRAME);
        micros_from(now, next)
    }

    /// Follows the time that packets wait: from arrival to the pop of the frame they begin in.
    fn measure_delay(&mut self, now: Instant, position: i64) {
        if !self.playing {
            return;
        }
        let frames = (position - self.playhead).div_euclid(STEP);
        // A late packet waits no time at all; how late it is does not matter for the others.
        let waits = (self.until_next_pop(now) + frames * STEP * SAMPLE_US).max(0);
        self.delay_us = Some(self.delay_us.map_or(waits, |mean| mean + (waits - mean) / 16));
    }

    /// Turns back to a packet that came after its time if only made-up audio has been played since. This is
    /// how the delay grows: nothing that was said is lost.
    fn turn_back(&mut self, position: i64) -> bool {
        let back = self.playhead - position;
        let delay = self.delay_us.unwrap_or(0) + back * SAMPLE_US;
        if back > self.made_up || delay > self.config.maximum.as_micros() as i64 {
            return false;
        }
        self.playhead = position;
        self.made_up -= back;
        self.counts.inserted += 1;
        self.delay_us = Some(delay);
        true
    }

    /// A packet after its time: `Some` new position if the whole stream must be moved or some of it is still due.
    fn late(&mut self, now: Instant, timestamp: u32, end: i64) -> Option<i64> {
        if end > self.playhead {
            return self.anchor.map(|(_, position)| position);
        }
        self.late_while_off += 1;
        let (since, count) = self.late_run.map_or((now, 1), |(since, count)| (since, count + 1));
        self.late_run = Some((since, count));
        if count < LATE_RUN.1 || now.saturating_duration_since(since) < LATE_RUN.0 {
            self.counts.late += 1;
            return None;
        }
        self.late_run = None;
        self.counts.resynchronised += 1;
        let position = self.fresh_position(now);
        self.anchor = Some((timestamp, position));
        Some(position)
    }

    fn store(&mut self, stored: Stored) {
        let after = self.queue.iter().rposition(|other| other.position <= stored.position);
        let index = after.map_or(0, |index| index + 1);
        let same = after.and_then(|index| self.queue.get(index)).is_some_and(|other| {
            other.position == stored.position
                && matches!((&other.content, &stored.content), (Content::Audio(_), Content::Audio(_)))
        });
        if same || self.queue.len() >= MAX_PACKETS {
            self.counts.overflowed += 1;
            return;
        }
        self.queue.insert(index, stored);
    }

    /// Keeps the backlog bounded.
    fn trim(&mut self) {
        let Some(newest) = self.queue.back() else { return };
        let from = if self.playing { self.playhead } else { self.queue.front().map_or(0, |s| s.position) };
        let longest = self.config.maximum.as_micros() as i64 / SAMPLE_US + LONGEST_PACKET;
        if newest.end() - from > longest {
            self.keep_newest();
        }
    }

    /// Drops the backlog except for what the wanted delay needs: the newest audio is worth most.
    fn keep_newest(&mut self) {
        let Some(newest) = self.queue.back() else { return };
        let end = newest.end();
        let keep = end - (end - newest.position).max(self.target_us() / SAMPLE_US);
        while self.queue.front().is_some_and(|first| first.end() <= keep) {
            self.queue.pop_front();
            self.counts.overflowed += 1;
        }
        self.playhead = self.queue.front().map_or(keep, |first| first.position);
        self.made_up = 0;
        self.delay_us = None;
    }

    /// Twenty milliseconds plus three times the jitter: the width of an even spread, three deviations of a normal one.
    fn target_us(&self) -> i64 {
        let spread = 3 * i64::from(self.jitter.scaled) * SAMPLE_US / 16;
        let (low, high) = (self.config.minimum.as_micros() as i64, self.config.maximum.as_micros() as i64);
        (low + spread).clamp(low, high.max(low))
    }

    /// Whether the delay has been off its target long enough to lose or gain a frame here.
    fn correction(&mut self) -> Correction {
        let Some(delay) = self.delay_us else { return Correction::None };
        let off = delay - self.target_us();
        if off < TOLERANCE_US.0 && off > -TOLERANCE_US.1 {
            self.off_target = 0;
            self.late_while_off = 0;
            return Correction::None;
        }
        self.off_target += 1;
        let haste = if off > URGENT_US { 10 } else { 1 };
        if self.off_target < PATIENCE.0 / haste {
            return Correction::None;
        }
        let silent = self.silent_at_playhead();
        if off > 0 {
            match (silent, self.off_target >= PATIENCE.1 / haste) {
                (Some(true), _) => Correction::Skip,
                (Some(false), true) if self.covered(self.playhead + 2 * STEP) => Correction::Blend,
                (Some(_) | None, _) => Correction::None,
            }
        } else {
            match silent {
                Some(true) => Correction::Repeat,
                Some(false) if self.late_while_off >= 2 && self.off_target >= PATIENCE.1 => {
                    Correction::Repeat
                }
                Some(false) | None => Correction::None,
            }
        }
    }

    /// Whether the next frame is silence; `None` if it is missing, and not on purpose.
    fn silent_at_playhead(&self) -> Option<bool> {
        match self.queue.front() {
            None => self.quiet.then_some(true),
            Some(first) if first.position >= self.playhead + STEP => self.quiet.then_some(true),
            Some(_) if self.covered(self.playhead + STEP) => {
                let frame = Frame::from_samples(SampleRate::Hz8000, &self.peek(self.playhead));
                Some(frame.level_dbfs() < SILENT_DBFS)
            }
            Some(_) => None,
        }
    }

    /// Whether received audio reaches from the playhead to `end` without a hole.
    fn covered(&self, end: i64) -> bool {
        let mut at = self.playhead;
        for stored in &self.queue {
            if stored.position <= at {
                at = at.max(stored.end());
            }
        }
        at >= end
    }

    /// The received samples of a frame from `position` on, without taking them.
    fn peek(&self, position: i64) -> [i16; STEP as usize] {
        let mut out = [0; STEP as usize];
        for stored in &self.queue {
            if let Content::Audio(samples) = &stored.content {
                copy(samples, stored.position, position, &mut out);
            }
        }
        out
    }

    fn skip_frame(&mut self) {
        self.playhead += STEP;
        self.made_up = 0;
        self.corrected(-1);
        self.counts.dropped += 1;
    }

    /// Plays two frames in the time of one, faded into each other.
    fn blend(&mut self) -> Heard {
        let first = self.peek(self.playhead);
        self.skip_frame();
        let mut heard = self.take();
        let mut mixed = [0; STEP as usize];
        for (n, (to, (a, b))) in mixed.iter_mut().zip(first.iter().zip(heard.frame.samples())).enumerate() {
            let weight = n as i32;
            let sum = i32::from(*a) * (STEP as i32 - weight) + i32::from(*b) * weight;
            *to = (sum / STEP as i32) as i16;
        }
        heard.frame = Frame::from_samples(SampleRate::Hz8000, &mixed);
        heard
    }

    /// Plays the next frame without going on, so that it plays twice.
    fn repeat(&mut self) -> Heard {
        self.corrected(1);
        self.counts.inserted += 1;
        let arrived = self.queue.front().map(|stored| stored.arrived);
        let frame = Frame::from_samples(SampleRate::Hz8000, &self.peek(self.playhead));
        let source = if arrived.is_some() { HeardSource::Concealed } else { HeardSource::Silence };
        Heard { frame, source, arrived }
    }

    fn corrected(&mut self, frames: i64) {
        self.delay_us = self.delay_us.map(|delay| delay + frames * STEP * SAMPLE_US);
        self.off_target = 0;
        self.late_while_off = 0;
    }

    /// Takes the frame at the playhead and moves on.
    fn take(&mut self) -> Heard {
        let (start, end) = (self.playhead, self.playhead + STEP);
        let mut out = [0i16; STEP as usize];
        let mut filling = Filling { at: start, received: 0, arrived: None, faded: false };
        while let Some(first) = self.queue.front() {
            if first.position >= end {
                break;
            }
            let (position, stop, sequence) = (first.position, first.end(), first.sequence);
            if position > filling.at {
                let meant = self.quiet || sequence == self.last_sequence.wrapping_add(1);
                self.fill(&mut out, start, &mut filling, position, meant);
            }
            self.consume(&mut out, start, &mut filling);
            self.last_sequence = sequence;
            if stop > end {
                break;
            }
            self.queue.pop_front();
        }
        if filling.at < end {
            let follows = self.queue.front().map(|next| next.sequence);
            let meant = self.quiet || follows == Some(self.last_sequence.wrapping_add(1));
            self.fill(&mut out, start, &mut filling, end, meant);
        }
        self.playhead = end;
        if filling.received > 0 {
            self.concealment.remember(&out);
        }
        self.judge(&out, &filling)
    }

    /// Copies what the first packet has for this frame.
    fn consume(&mut self, out: &mut [i16], start: i64, filling: &mut Filling) {
        let Some(first) = self.queue.front() else { return };
        match &first.content {
            Content::Quiet => self.quiet = true,
            Content::Audio(samples) => {
                let stop = first.end().min(start + STEP);
                if stop > filling.at {
                    let from = (filling.at - first.position) as usize;
                    let count = (stop - filling.at) as usize;
                    let to = (filling.at - start) as usize;
                    out[to..to + count].copy_from_slice(&samples[from..from + count]);
                    filling.received += count;
                    filling.at = stop;
                    filling.arrived = Some(first.arrived);
                    self.made_up = 0;
                    self.concealment.arm();
                    self.quiet = false;
                }
            }
        }
    }

    /// Fills a hole up to `until`: with silence if it is meant, else with the fading memory of the last audio.
    fn fill(&mut self, out: &mut [i16], start: i64, filling: &mut Filling, until: i64, meant: bool) {
        let (from, to) = ((filling.at - start) as usize, (until - start) as usize);
        if meant {
            self.concealment.end();
        }
        filling.faded |= self.concealment.fill(&mut out[from..to]);
        self.made_up += until - filling.at;
        filling.at = until;
    }

    fn judge(&mut self, out: &[i16], filling: &Filling) -> Heard {
        let source = if filling.received * 2 >= out.len() {
            HeardSource::Played
        } else if filling.faded {
            self.counts.concealed += 1;
            HeardSource::Concealed
        } else if filling.received > 0 {
            HeardSource::Played
        } else {
            HeardSource::Silence
        };
        Heard { frame: Frame::from_samples(SampleRate::Hz8000, out), source, arrived: filling.arrived }
    }
}

/// How far a frame has been put together.
struct Filling {
    at: i64,
    received: usize,
    arrived: Option<Instant>,
    faded: bool,
}

enum Correction {
    None,
    /// Leave a silent frame out.
    Skip,
    /// Leave a frame out in the middle of speech.
    Blend,
    /// Play a frame twice.
    Repeat,
}

/// The interarrival jitter estimate of RFC 3550 appendix A.8, sixteen times scaled.
#[derive(Default)]
struct Jitter {
    scaled: u32,
    previous: Option<(Instant, u32)>,
}

impl Jitter {
    fn arrived(&mut self, now: Instant, timestamp: u32) {
        if let Some((then, before)) = self.previous {
            let passed = micros_from(then, now) / SAMPLE_US;
            let difference = passed - i64::from(timestamp.wrapping_sub(before) as i32);
            // One packet a second late must not ruin the estimate for longer than it lasts.
            let difference = difference.unsigned_abs().min(JUMP as u64) as u32;
            self.scaled = self.scaled + difference - ((self.scaled + 8) >> 4);
        }
        self.previous = Some((now, timestamp));
    }

    const fn forget_transit(&mut self) {
        self.previous = None;
    }
}

trait DivCeil {
    fn div_ceil_by(self, divisor: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_by(self, divisor: i64) -> i64 {
        (self + divisor - 1).div_euclid(divisor)
    }
}

fn silence() -> Heard {
    Heard { frame: Frame::silence(SampleRate::Hz8000), source: HeardSource::Silence, arrived: None }
}

/// Copies the part of `samples` (at `position`) that lies in the frame at `start`.
fn copy(samples: &[i16], position: i64, start: i64, out: &mut [i16]) {
    let from = start.max(position);
    let to = (start + out.len() as i64).min(position + samples.len() as i64);
    if from < to {
        let source = &samples[(from - position) as usize..(to - position) as usize];
        out[(from - start) as usize..(to - start) as usize].copy_from_slice(source);
    }
}

/// Microseconds from one instant to another, negative if it is earlier.
fn micros_from(from: Instant, to: Instant) -> i64 {
    let forward = to.saturating_duration_since(from).as_micros() as i64;
    let backward = from.saturating_duration_since(to).as_micros() as i64;
    forward - backward
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_lost_frame_of_a_voice_goes_on_without_a_seam() {
        let start = Instant::now();
        let wave = tone::sine(8_000, 160.0, -12.0, 800);
        let mut buffer = JitterBuffer::new(JitterConfig::default());
        let mut heard = Vec::new();
        for n in 0..5u32 {
            let now = start + FRAME * n;
            if n != 3 {
                let samples = wave[n as usize * 160..][..160].to_vec();
                buffer.insert(now, i64::from(n), n * 160, Content::Audio(samples));
            }
            heard.extend_from_slice(buffer.pop(now + FRAME - Duration::from_millis(1)).frame.samples());
        }
        let lost = &heard[480..640];
        for (n, (made_up, original)) in lost.iter().zip(&wave[480..]).enumerate() {
            let faded = i32::from(*original) * (480 - n) as i32 / 480;
            assert!((i32::from(*made_up) - faded).abs() < 400, "{n}: {made_up} for {faded}");
        }
    }
}
