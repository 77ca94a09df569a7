//! The jitter buffer: packets in as they come, one frame out every 20 ms, in the order of their timestamps.
//! Does not know sequence rules, SSRCs or payload types: the receiver sorts those out first.

mod delay;
mod ready;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::LONGEST_PACKET_MS;
use crate::decoder::{self, Decoder};
use crate::{Codec, ComfortNoise, FRAME, Frame, SampleRate};
use delay::{Delay, Jitter, Wanted, micros_from};
use ready::{Origin, Ready};

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
    /// Nothing was sent or nothing has arrived yet. It may hold the comfort noise the other side described.
    Silence,
}

/// What a packet means to the timeline.
pub(crate) enum Content<'a> {
    /// Code from the packet's timestamp on.
    Audio(&'a [u8]),
    /// From here on the sender is silent on purpose: comfort noise, as this payload describes it, or a telephone
    /// event, whose payload is nothing to describe.
    Quiet(Option<&'a [u8]>),
}

/// What the buffer did, for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JitterCounts {
    pub(crate) late: u64,
    pub(crate) concealed: u64,
    pub(crate) recovered: u64,
    pub(crate) inserted: u64,
    pub(crate) dropped: u64,
    pub(crate) overflowed: u64,
    pub(crate) resynchronised: u64,
    pub(crate) undecodable: u64,
}

/// Beyond this distance a timestamp is not early or late, it has jumped.
const JUMP_MS: i64 = 1_000;

/// Packets held at most: at the shortest sensible packetization (5 ms) more than can be ahead.
const MAX_PACKETS: usize = 128;

/// A stream that stays late for this long, in at least so many packets, has a new time base.
const LATE_RUN: (Duration, u32) = (Duration::from_millis(200), 5);

/// How long after a loss a codec with error correction gets one packet more of delay: without it the next packet,
/// which has the copy, would mostly not be there in time.
const LOSS_REMEMBERED: u32 = 500;

/// An Opus packet of at most this many bytes is the last before a pause (RFC 6716 section 3.1).
const PAUSE_BYTES: usize = 2;

struct Stored {
    position: i64,
    samples: i64,
    sequence: i64,
    stream: u32,
    arrived: Instant,
    content: StoredContent,
}

enum StoredContent {
    Audio(Codec, Vec<u8>),
    Quiet(Option<Box<ComfortNoise>>),
}

impl Stored {
    const fn end(&self) -> i64 {
        self.position + self.samples
    }

    const fn is_audio(&self) -> bool {
        matches!(self.content, StoredContent::Audio(..))
    }
}

/// Which position a timestamp stands for.
struct Anchor {
    /// The last timestamp seen, and how many ticks it is after the base.
    timestamp: u32,
    ticks: i64,
    base: i64,
}

/// Why nothing is expected to be heard.
enum Quiet {
    /// It is: somebody speaks.
    No,
    /// Comfort noise, if it was described.
    Described(Option<Box<ComfortNoise>>),
    /// The codec itself fell silent, and its decoder knows what that sounds like.
    Codec,
}

/// The buffer of one stream. All positions are samples on a timeline of 64 bits that never wraps. Packets stay
/// coded until their time: a codec with memory must be fed in order, and a lost packet may be in the next one.
pub(crate) struct JitterBuffer {
    config: JitterConfig,
    rate: SampleRate,
    /// What arrives now, and how often that began anew.
    codec: Codec,
    stream: u32,
    decoder: Decoder,
    decoded_stream: u32,
    queue: VecDeque<Stored>,
    anchor: Option<Anchor>,
    /// Position of the next sample to decode or make up; packets before are gone.
    at: i64,
    ready: Ready,
    /// When playing begins; `None` before the first packet.
    begins: Option<Instant>,
    playing: bool,
    last_pop: Option<Instant>,
    /// Samples made up since the last received one: so far can a late packet turn the time back.
    made_up: i64,
    last_sequence: i64,
    quiet: Quiet,
    /// Frames for which a loss is remembered.
    loss_remembered: u32,
    late_run: Option<(Instant, u32)>,
    jitter: Jitter,
    delay: Delay,
    counts: JitterCounts,
}

impl JitterBuffer {
    /// A buffer whose frames have this rate for ever, whatever the codec's is.
    pub(crate) fn new(config: JitterConfig, codec: Codec, rate: SampleRate) -> Self {
        Self {
            config,
            rate,
            codec,
            stream: 0,
            decoder: Decoder::with_rate(codec, rate),
            decoded_stream: 0,
            queue: VecDeque::new(),
            anchor: None,
            at: 0,
            ready: Ready::new(rate),
            begins: None,
            playing: false,
            last_pop: None,
            made_up: 0,
            last_sequence: i64::MIN,
            quiet: Quiet::No,
            loss_remembered: 0,
            late_run: None,
            jitter: Jitter::new(codec.clock_hz()),
            delay: Delay::default(),
            counts: JitterCounts::default(),
        }
    }

    pub(crate) const fn rate(&self) -> SampleRate {
        self.rate
    }

    pub(crate) const fn counts(&self) -> JitterCounts {
        self.counts
    }

    /// Interarrival jitter (RFC 3550 section 6.4.1) in timestamp units.
    pub(crate) const fn jitter_units(&self) -> u32 {
        self.jitter.ticks()
    }

    /// The same as time.
    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter.as_micros().max(0) as u64)
    }

    /// How long packets wait on average until their frame is played.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.delay.mean_us().max(0) as u64)
    }

    /// A new stream follows: its timestamps have nothing to do with the old ones. What is queued still plays.
    pub(crate) fn new_stream(&mut self) {
        self.anchor = None;
        self.late_run = None;
        self.last_sequence = i64::MIN;
        self.stream = self.stream.wrapping_add(1);
        self.jitter.forget_transit();
    }

    /// Another codec follows. Frames keep their rate: whoever listens need not change.
    pub(crate) fn set_codec(&mut self, codec: Codec) {
        if codec == self.codec {
            return;
        }
        if codec.clock_hz() != self.codec.clock_hz() {
            self.anchor = None;
            self.late_run = None;
            self.jitter.set_clock(codec.clock_hz());
        }
        self.codec = codec;
        self.stream = self.stream.wrapping_add(1);
    }

    /// One packet. `sequence` is extended to 64 bits and says only whether a gap in time is a loss. False if the
    /// content cannot be decoded.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        sequence: i64,
        timestamp: u32,
        content: &Content<'_>,
    ) -> bool {
        let (content, samples) = match content {
            Content::Audio(payload) => match decoder::samples_in(self.codec, self.rate, payload) {
                Some(samples) => (StoredContent::Audio(self.codec, payload.to_vec()), samples as i64),
                None => return false,
            },
            Content::Quiet(noise) => {
                let noise = noise.and_then(|payload| ComfortNoise::parse(payload, u64::from(timestamp)));
                (StoredContent::Quiet(noise.map(Box::new)), 0)
            }
        };
        let audio = samples > 0;
        let Some(position) = self.place(now, timestamp, audio) else { return true };
        let mut stored = Stored { position, samples, sequence, stream: self.stream, arrived: now, content };
        if audio {
            self.jitter.arrived(now, timestamp);
            self.measure_delay(now, position);
            if self.playing && position < self.at && !self.turn_back(position) {
                match self.late(now, timestamp, &stored) {
                    Some(position) => stored.position = position,
                    None => return true,
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
        true
    }

    /// The next 20 ms.
    pub(crate) fn pop(&mut self, now: Instant) -> Heard {
        self.last_pop = Some(now);
        if !self.playing && !self.begin(now) {
            return Heard { frame: Frame::silence(self.rate), source: HeardSource::Silence, arrived: None };
        }
        self.loss_remembered = self.loss_remembered.saturating_sub(1);
        self.correct();
        self.fill();
        let (heard, concealed) = self.ready.pop();
        self.counts.concealed += u64::from(concealed);
        heard
    }

    /// Starts to play when the first packet has waited long enough.
    fn begin(&mut self, now: Instant) -> bool {
        let Some(begins) = self.begins.filter(|begins| *begins <= now) else { return false };
        self.playing = true;
        self.at = self.queue.front().map_or(self.at, |first| first.position);
        if now.saturating_duration_since(begins) > FRAME {
            // Nobody has listened until now: what has piled up must not become delay.
            self.keep_newest();
        }
        true
    }

    /// Where a timestamp belongs; `None` if the packet is of no use.
    fn place(&mut self, now: Instant, timestamp: u32, audio: bool) -> Option<i64> {
        let (rate, clock) = (i64::from(self.rate.hz()), i64::from(self.codec.clock_hz()));
        if let Some(anchor) = &self.anchor {
            let ticks = anchor.ticks + i64::from(timestamp.wrapping_sub(anchor.timestamp) as i32);
            let position = anchor.base + (ticks * rate).div_euclid(clock);
            if (position - self.at).abs() <= self.milliseconds(JUMP_MS) {
                if audio {
                    let base = anchor.base;
                    self.anchor = Some(Anchor { timestamp, ticks, base });
                }
                return Some(position);
            }
            // Silence on purpose need not be placed exactly: it only must not move the timeline.
            if !audio {
                return None;
            }
            self.counts.resynchronised += 1;
            self.jitter.forget_transit();
        }
        audio.then(|| self.place_afresh(now, timestamp))
    }

    /// The position for audio that follows nothing known: behind what is queued, with the wanted delay.
    fn place_afresh(&mut self, now: Instant, timestamp: u32) -> i64 {
        self.delay.forget();
        let queued = self.queue.back().map_or(self.at, Stored::end).max(self.at);
        let base = if self.playing {
            let wanted = self.target_us() - FRAME.as_micros() as i64 / 2;
            let short = (wanted - self.until_next_pop(now)).max(0) as u64;
            let frames = short.div_ceil(FRAME.as_micros() as u64) as i64;
            queued.max(self.playhead() + frames * self.step())
        } else {
            queued
        };
        self.anchor = Some(Anchor { timestamp, ticks: 0, base });
        base
    }

    /// The position of the next sample to be heard, as if nothing had been inserted or left out.
    const fn playhead(&self) -> i64 {
        self.at - self.ready.len() as i64
    }

    const fn step(&self) -> i64 {
        self.rate.frame_samples() as i64
    }

    fn milliseconds(&self, count: i64) -> i64 {
        i64::from(self.rate.hz()) / 1_000 * count
    }

    fn as_micros(&self, samples: i64) -> i64 {
        samples * 1_000_000 / i64::from(self.rate.hz())
    }

    fn target_us(&self) -> i64 {
        let corrects = self.loss_remembered > 0 && self.codec.has_error_correction();
        self.jitter.target_us(&self.config, if corrects { FRAME } else { Duration::ZERO })
    }

    fn until_next_pop(&self, now: Instant) -> i64 {
        let next = self.last_pop.map_or(now, |last| last + FRAME);
        micros_from(now, next)
    }

    /// Follows the time that packets wait: from arrival to the pop of the frame they begin in.
    fn measure_delay(&mut self, now: Instant, position: i64) {
        if self.playing {
            let frames = (position - self.playhead()).div_euclid(self.step());
            self.delay.measured(self.until_next_pop(now) + self.as_micros(frames * self.step()));
        }
    }

    /// Turns back to a packet that came after its time if only made-up audio has been played since. This is
    /// how the delay grows: nothing that was said is lost.
    fn turn_back(&mut self, position: i64) -> bool {
        let back = self.at - position;
        let delay = self.delay.mean_us() + self.as_micros(back);
        if back > self.made_up || delay > self.config.maximum.as_micros() as i64 {
            return false;
        }
        self.ready.take_back(back as usize);
        self.at = position;
        self.made_up -= back;
        self.counts.inserted += 1;
        self.delay.set(delay);
        true
    }

    /// A packet after its time: `Some` new position if the whole stream must be moved or some of it is still due.
    fn late(&mut self, now: Instant, timestamp: u32, packet: &Stored) -> Option<i64> {
        if packet.end() > self.at {
            return Some(packet.position);
        }
        self.delay.was_late();
        let (since, count) = self.late_run.map_or((now, 1), |(since, count)| (since, count + 1));
        self.late_run = Some((since, count));
        if count < LATE_RUN.1 || now.saturating_duration_since(since) < LATE_RUN.0 {
            self.counts.late += 1;
            return None;
        }
        self.late_run = None;
        self.counts.resynchronised += 1;
        Some(self.place_afresh(now, timestamp))
    }

    fn store(&mut self, stored: Stored) {
        let after = self.queue.iter().rposition(|other| other.position <= stored.position);
        let index = after.map_or(0, |index| index + 1);
        let same = after
            .and_then(|index| self.queue.get(index))
            .is_some_and(|other| other.position == stored.position && other.is_audio() && stored.is_audio());
        if same || self.queue.len() >= MAX_PACKETS {
            self.counts.overflowed += 1;
            return;
        }
        self.queue.insert(index, stored);
    }

    /// Keeps the backlog bounded: audio further ahead than the longest delay and the longest packet is a flood or
    /// a stall's backlog.
    fn trim(&mut self) {
        let Some(newest) = self.queue.back() else { return };
        let from = if self.playing { self.playhead() } else { self.queue.front().map_or(0, |s| s.position) };
        let longest = self.config.maximum.as_millis() as i64 + LONGEST_PACKET_MS as i64;
        if newest.end() - from > self.milliseconds(longest) {
            self.keep_newest();
        }
    }

    /// Drops the backlog except for what the wanted delay needs: the newest audio is worth most.
    fn keep_newest(&mut self) {
        let Some(newest) = self.queue.back() else { return };
        let end = newest.end();
        let keep =
            end - (end - newest.position).max(self.target_us() * i64::from(self.rate.hz()) / 1_000_000);
        while self.queue.front().is_some_and(|first| first.end() <= keep) {
            self.queue.pop_front();
            self.counts.overflowed += 1;
        }
        self.ready.clear();
        self.at = self.queue.front().map_or(keep, |first| first.position);
        self.made_up = 0;
        self.delay.forget();
    }

    /// Loses or gains a pitch period, or a frame of silence, if the delay has been off its target long enough.
    fn correct(&mut self) {
        match self.delay.wanted(self.target_us()) {
            Wanted::AsItIs => {}
            Wanted::Less(in_speech) => self.shrink(in_speech),
            Wanted::More(in_speech) => self.grow(in_speech),
        }
    }

    fn shrink(&mut self, in_speech: bool) {
        let step = self.step();
        let left_out = if self.is_pause() {
            self.at += step;
            self.made_up = 0;
            step
        } else {
            self.decode_ahead(2 * step);
            let both = self.ready.received() as i64 >= 2 * step;
            if !both || !(in_speech || self.ready.is_silent()) {
                return;
            }
            self.ready.squeeze() as i64
        };
        self.counts.dropped += 1;
        self.delay.moved(-self.as_micros(left_out));
    }

    fn grow(&mut self, in_speech: bool) {
        let inserted = if self.is_pause() {
            let step = self.step();
            self.silence(step);
            step
        } else {
            self.decode_ahead(self.step());
            let whole = self.ready.received() as i64 >= self.step() && self.made_up == 0;
            if !whole || !(in_speech || self.ready.is_silent()) {
                return;
            }
            self.ready.stretch(self.decoder.memory()) as i64
        };
        self.counts.inserted += 1;
        self.delay.moved(self.as_micros(inserted));
    }

    /// Whether the next frame is a pause that was meant.
    fn is_pause(&self) -> bool {
        let far = self.queue.front().is_none_or(|first| first.position >= self.at + self.step());
        far && self.ready.len() == 0 && !matches!(self.quiet, Quiet::No)
    }

    /// Makes sure that 20 ms are ready, whatever is missing.
    fn fill(&mut self) {
        loop {
            self.forget_past();
            let missing = self.step() - self.ready.len() as i64;
            if missing <= 0 {
                return;
            }
            let end = self.at + missing;
            match self.queue.front().map(|first| (first.position, first.position - first.samples)) {
                Some((position, _)) if position <= self.at => self.decode_first(),
                // What the packet behind the hole may have a copy of is covered by itself.
                Some((_, copy)) if copy > self.at => self.cover(copy.min(end)),
                Some((position, _)) => self.cover(position.min(end)),
                None => self.cover(end),
            }
        }
    }

    /// Decodes what follows without a hole, until so many samples are ready.
    fn decode_ahead(&mut self, samples: i64) {
        self.forget_past();
        while (self.ready.len() as i64) < samples
            && self.queue.front().is_some_and(|first| first.position <= self.at)
        {
            self.decode_first();
            self.forget_past();
        }
    }

    /// Drops packets of which nothing is due any more, and learns from them that silence is meant.
    fn forget_past(&mut self) {
        while self.queue.front().is_some_and(|first| first.end() <= self.at) {
            let Some(first) = self.queue.pop_front() else { return };
            self.last_sequence = first.sequence;
            if let StoredContent::Quiet(noise) = first.content {
                // An event within a pause does not end the noise.
                let same = noise.is_none() && matches!(self.quiet, Quiet::Described(Some(_)));
                if !same {
                    self.quiet = Quiet::Described(noise);
                }
            }
        }
    }

    /// Decodes the packet in front, of which some is due at this position.
    fn decode_first(&mut self) {
        let Some(first) = self.queue.pop_front() else { return };
        let StoredContent::Audio(codec, payload) = &first.content else { return };
        if first.stream != self.decoded_stream {
            self.decoder = Decoder::with_rate(*codec, self.rate);
            self.decoded_stream = first.stream;
        }
        let skip = (self.at - first.position) as usize;
        let (decoder, counts) = (&mut self.decoder, &mut self.counts);
        self.ready.append(skip, Some(first.arrived), |out| {
            if decoder.decode(payload, out) {
                return Origin::Received;
            }
            counts.undecodable += 1;
            decoder.conceal(first.samples as usize, out);
            Origin::MadeUp
        });
        let pauses = codec.has_error_correction() && payload.len() <= PAUSE_BYTES;
        self.quiet = if pauses { Quiet::Codec } else { Quiet::No };
        self.at = first.end();
        self.made_up = 0;
        self.last_sequence = first.sequence;
    }

    /// Fills a hole up to `until`: with silence if it is meant, else with the copy in the packet behind it, else
    /// with the fading memory of the last audio.
    fn cover(&mut self, until: i64) {
        let count = until - self.at;
        let next = self.queue.front().map(|next| next.sequence.wrapping_sub(self.last_sequence));
        if !matches!(self.quiet, Quiet::No) || next == Some(1) {
            self.silence(count);
        } else if self.recover() {
            return;
        } else {
            self.lost();
            let decoder = &mut self.decoder;
            self.ready.append(0, None, |out| match decoder.conceal(count as usize, out) {
                true => Origin::MadeUp,
                false => Origin::Silent,
            });
        }
        self.made_up += count;
        self.at = until;
    }

    /// The copy of what is lost was not there in time: for a codec that sends copies more delay is worth its price.
    const fn lost(&mut self) {
        self.loss_remembered = LOSS_REMEMBERED;
        if self.codec.has_error_correction() {
            self.delay.was_late();
        }
    }

    /// Decodes a lost packet from its copy in the next. False if there is none.
    fn recover(&mut self) -> bool {
        let Some(next) = self.queue.front() else { return false };
        let StoredContent::Audio(codec, payload) = &next.content else { return false };
        let (hole, decoder) = (next.position - self.at, &mut self.decoder);
        // Of several lost packets the copy is that of the last one, and only as a whole.
        let fits = hole == next.samples && next.stream == self.decoded_stream;
        if !codec.has_error_correction() || !fits {
            return false;
        }
        let mut recovered = false;
        self.ready.append(0, Some(next.arrived), |out| {
            recovered = decoder.recover(payload, hole as usize, out);
            Origin::Received
        });
        if recovered {
            self.loss_remembered = LOSS_REMEMBERED;
            self.counts.recovered += 1;
            self.last_sequence = next.sequence.wrapping_sub(1);
            self.made_up = 0;
            self.at += hole;
        }
        recovered
    }

    /// Adds a pause as it is meant to sound.
    fn silence(&mut self, count: i64) {
        let (decoder, quiet) = (&mut self.decoder, &mut self.quiet);
        decoder.rest();
        self.ready.append(0, None, |out| {
            let start = out.len();
            match quiet {
                Quiet::Codec => decoder.idle(count as usize, out),
                Quiet::No | Quiet::Described(None) => out.resize(start + count as usize, 0),
                Quiet::Described(Some(noise)) => {
                    out.resize(start + count as usize, 0);
                    noise.add_to(&mut out[start..]);
                }
            }
            Origin::Silent
        });
    }
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
        let mut buffer = JitterBuffer::new(JitterConfig::default(), Codec::Pcmu, SampleRate::Hz8000);
        let mut heard = Vec::new();
        for n in 0..5u32 {
            let now = start + FRAME * n;
            if n != 3 {
                let samples = &wave[n as usize * 160..][..160];
                let mut payload = Vec::new();
                Codec::Pcmu.encode(&Frame::from_samples(SampleRate::Hz8000, samples), &mut payload);
                buffer.insert(now, i64::from(n), n * 160, &Content::Audio(&payload));
            }
            heard.extend_from_slice(buffer.pop(now + FRAME - Duration::from_millis(1)).frame.samples());
        }
        let lost = &heard[480..640];
        for (n, (made_up, original)) in lost.iter().zip(&wave[480..]).enumerate() {
            let faded = i32::from(*original) * (480 - n) as i32 / 480;
            assert!((i32::from(*made_up) - faded).abs() < 600, "{n}: {made_up} for {faded}");
        }
    }
}
