//! Decoded audio that waits to be played: where it came from, and lengthening or shortening it unheard.
//! Does not know packets or delay: the buffer around it decides.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Heard, HeardSource};
use crate::conceal::pitch_period;
use crate::{Frame, SampleRate};

/// Frames quieter than this can be left out or doubled without anybody noticing.
const SILENT_DBFS: f32 = -45.0;

/// What a stretch of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Received, or recovered from a received copy.
    Received,
    /// Made up for what is missing.
    MadeUp,
    /// Put in between to gain time.
    Inserted,
    /// Silent on purpose, or nothing left to make up.
    Silent,
}

struct Run {
    length: usize,
    origin: Origin,
    arrived: Option<Instant>,
}

/// Samples in the order they will be heard.
pub(super) struct Ready {
    rate: SampleRate,
    samples: Vec<i16>,
    runs: VecDeque<Run>,
}

impl Ready {
    pub(super) const fn new(rate: SampleRate) -> Self {
        Self { rate, samples: Vec::new(), runs: VecDeque::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.samples.len()
    }

    /// Appends what `write` appends, without its first `skip` samples. The closure's answer is the audio's origin.
    pub(super) fn append(
        &mut self,
        skip: usize,
        arrived: Option<Instant>,
        write: impl FnOnce(&mut Vec<i16>) -> Origin,
    ) {
        let start = self.samples.len();
        let origin = write(&mut self.samples);
        let skipped = skip.min(self.samples.len() - start);
        self.samples.drain(start..start + skipped);
        let length = self.samples.len() - start;
        if length > 0 {
            self.runs.push_back(Run { length, origin, arrived });
        }
    }

    /// Takes the newest samples away again.
    pub(super) fn take_back(&mut self, count: usize) {
        let mut count = count.min(self.samples.len());
        self.samples.truncate(self.samples.len() - count);
        while let Some(last) = self.runs.back_mut().filter(|_| count > 0) {
            let taken = last.length.min(count);
            last.length -= taken;
            count -= taken;
            if last.length == 0 {
                self.runs.pop_back();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.runs.clear();
    }

    /// The next 20 ms, filled up with silence if there is less. The flag says whether some of it was made up.
    pub(super) fn pop(&mut self) -> (Heard, bool) {
        let wanted = self.rate.frame_samples().min(self.samples.len());
        let frame = Frame::from_samples(self.rate, &self.samples[..wanted]);
        self.samples.drain(..wanted);
        let (mut received, mut inserted, mut made_up, mut arrived) = (0, 0, 0, None);
        self.consume(wanted, |origin, length, when| {
            match origin {
                Origin::Received => received += length,
                Origin::Inserted => inserted += length,
                Origin::MadeUp => made_up += length,
                Origin::Silent => {}
            }
            arrived = when.or(arrived);
        });
        let source = match (received, inserted + made_up) {
            (0, 0) => HeardSource::Silence,
            (received, 1..) if received * 2 < self.rate.frame_samples() => HeardSource::Concealed,
            (_, _) => HeardSource::Played,
        };
        (Heard { frame, source, arrived }, source == HeardSource::Concealed && made_up > 0)
    }

    fn consume(&mut self, mut count: usize, mut see: impl FnMut(Origin, usize, Option<Instant>)) {
        while let Some(first) = self.runs.front_mut().filter(|_| count > 0) {
            let taken = first.length.min(count);
            see(first.origin, taken, first.arrived);
            first.length -= taken;
            count -= taken;
            if first.length == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// How many samples in front were received without anything made up between them.
    pub(super) fn received(&self) -> usize {
        self.runs.iter().take_while(|run| run.origin == Origin::Received).map(|run| run.length).sum()
    }

    /// Whether the next frame is too quiet for a change to be heard.
    pub(super) fn is_silent(&self) -> bool {
        let count = self.rate.frame_samples().min(self.samples.len());
        Frame::from_samples(self.rate, &self.samples[..count]).level_dbfs() < SILENT_DBFS
    }

    /// Shortens the first two frames by one pitch period, faded into the next; by a whole frame if they are silent.
    /// Says by how many samples; both frames must be there.
    pub(super) fn squeeze(&mut self) -> usize {
        let frame = self.rate.frame_samples();
        let Some(audio) = self.samples.get(..2 * frame) else { return 0 };
        let period = if self.is_silent() { frame } else { pitch_period(audio, frame) };
        for n in 0..period {
            self.samples[n] = faded(self.samples[n], self.samples[n + period], n, period);
        }
        self.samples.drain(period..2 * period);
        self.consume(period, |_, _, _| {});
        period
    }

    /// Lengthens what is ready by repeating its last pitch period; by a whole frame if it is silent. `memory` is the
    /// last audio up to the end of what is ready. Says by how many samples.
    pub(super) fn stretch(&mut self, memory: &[i16]) -> usize {
        let frame = self.rate.frame_samples();
        if memory.len() < 2 * frame || self.samples.len() < frame {
            return 0;
        }
        let period = if self.is_silent() { frame } else { pitch_period(memory, frame) };
        let (before, last) = memory[memory.len() - 2 * period..].split_at(period);
        // Begins like the last period, which follows the one before it, and ends like that one, which it follows.
        let between: Vec<i16> = (0..period).map(|n| faded(last[n], before[n], n, period)).collect();
        let place = self.samples.len() - period;
        self.samples.splice(place..place, between);
        let arrived = self.runs.back().and_then(|run| run.arrived);
        self.insert_run(place, Run { length: period, origin: Origin::Inserted, arrived });
        period
    }

    /// Puts a run before the sample at `place`, which may split another.
    fn insert_run(&mut self, place: usize, run: Run) {
        let mut before = 0;
        for index in 0..self.runs.len() {
            let length = self.runs[index].length;
            if before + length > place {
                let tail = Run { length: before + length - place, ..self.runs[index] };
                self.runs[index].length = place - before;
                self.runs.insert(index + 1, run);
                self.runs.insert(index + 2, tail);
                self.runs.retain(|run| run.length > 0);
                return;
            }
            before += length;
        }
        self.runs.push_back(run);
    }
}

/// The sample at `n` of `length` on the way from one stretch into another.
fn faded(from: i16, to: i16, n: usize, length: usize) -> i16 {
    let (n, length) = (n as i32, length as i32);
    ((i32::from(from) * (length - n) + i32::from(to) * n) / length) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    fn ready(samples: &[i16], rate: SampleRate) -> Ready {
        let mut ready = Ready::new(rate);
        ready.append(0, None, |out| {
            out.extend_from_slice(samples);
            Origin::Received
        });
        ready
    }

    /// The largest step between neighbours, beyond which a seam would be heard as a click.
    fn roughest(samples: &[i16]) -> i32 {
        samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or(0)
    }

    #[test]
    fn a_voiced_sound_is_shortened_and_lengthened_by_whole_periods_without_a_click() {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
            let frame = rate.frame_samples();
            // Growing louder, and cut at its peaks: that is where a seam would jump.
            let even = tone::sine(rate.hz(), 125.0, -12.0, 3 * frame + frame / 10);
            let growing = even[frame / 10..].iter().enumerate();
            let wave: Vec<i16> = growing
                .map(|(n, sample)| (i32::from(*sample) * n as i32 / (3 * frame) as i32) as i16)
                .collect();
            let mut shorter = ready(&wave, rate);
            let gained = shorter.squeeze();
            assert_eq!(gained % (rate.hz() as usize / 125), 0, "{gained}");
            assert_eq!((shorter.len(), shorter.received()), (3 * frame - gained, 3 * frame - gained));
            assert!(roughest(&shorter.samples) < 2 * roughest(&wave));
            let mut longer = ready(&wave, rate);
            let gained = longer.stretch(&wave[frame..]);
            assert_eq!(gained % (rate.hz() as usize / 125), 0, "{gained}");
            assert_eq!(longer.len(), 3 * frame + gained);
            assert!(roughest(&longer.samples) < 2 * roughest(&wave));
        }
    }

    #[test]
    fn a_frame_says_what_most_of_it_is() {
        let mut ready = ready(&[5; 100], SampleRate::Hz8000);
        let made_up = |out: &mut Vec<i16>, count: usize| {
            out.resize(out.len() + count, 1);
            Origin::MadeUp
        };
        ready.append(0, None, |out| made_up(out, 60 + 90));
        ready.append(10, None, |out| {
            out.extend([7; 80]);
            Origin::Received
        });
        assert_eq!(ready.len(), 320);
        let (first, counts) = ready.pop();
        assert_eq!((first.source, counts), (HeardSource::Played, false));
        let (second, counts) = ready.pop();
        assert_eq!((second.source, counts), (HeardSource::Concealed, true));
        assert_eq!(ready.pop().0.source, HeardSource::Silence);
        ready.append(0, None, |out| made_up(out, 30));
        ready.take_back(50);
        assert_eq!((ready.len(), ready.runs.len()), (0, 0));
    }
}
