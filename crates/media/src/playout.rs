//! Queued speech, sentence by sentence, cut into one frame every 20 ms, to the sample.
//! Does not know what is said, nor who says when to stop.

mod mix;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::{ComfortNoise, Frame, SampleRate};
use mix::Mixer;

/// Names one sentence's audio. The owner chooses; unique per sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// What [`Playout::next_frame`] gives.
#[derive(Clone, Debug)]
pub struct Played {
    /// Always 20 ms.
    pub frame: Frame,
    /// Whose audio it is; `None` for silence filler. A frame never mixes two segments; a background, and what is left
    /// of a segment that was cut off, do not count.
    pub segment: Option<SegmentId>,
    /// Whether the segment is loud enough to be heard: above about -50 dBFS.
    pub voiced: bool,
}

/// How far a segment has got, in samples of the playout's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentProgress {
    /// Which.
    pub segment: SegmentId,
    /// Samples that left.
    pub played: usize,
    /// Samples pushed so far.
    pub known: usize,
    /// Whether that is all there will be.
    pub finished: bool,
}

/// Below this a frame counts as a pause within speech.
const VOICED_DBFS: f32 = -50.0;

/// Audio accepted ahead of time. Owners hold back long before (30 s); this only bounds memory.
const MAX_QUEUED: Duration = Duration::from_secs(120);

/// Segments queued or remembered at most.
const MAX_SEGMENTS: usize = 256;

/// The outgoing audio of one leg.
pub struct Playout {
    rate: SampleRate,
    queue: VecDeque<Segment>,
    /// Played or flushed segments, newest last: late audio for them is dropped, their progress can be asked.
    past: VecDeque<SegmentProgress>,
    completed: Vec<SegmentId>,
    queued_samples: usize,
    dropped_samples: u64,
    paused: bool,
    mixer: Mixer,
}

struct Segment {
    progress: SegmentProgress,
    samples: VecDeque<i16>,
}

impl Playout {
    /// An empty queue at this rate.
    pub const fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            queue: VecDeque::new(),
            past: VecDeque::new(),
            completed: Vec::new(),
            queued_samples: 0,
            dropped_samples: 0,
            paused: false,
            mixer: Mixer::new(rate),
        }
    }

    /// Appends audio to a segment, which is queued behind the others if it is new. Audio for a segment that
    /// was finished, flushed or completed is dropped and counted.
    pub fn push(&mut self, segment: SegmentId, samples: &[i16]) {
        let room = self.max_samples().saturating_sub(self.queued_samples).min(samples.len());
        let accepted = match self.find(segment) {
            Some(entry) if !entry.progress.finished => {
                entry.samples.extend(&samples[..room]);
                entry.progress.known += room;
                room
            }
            Some(_) | None => 0,
        };
        self.queued_samples += accepted;
        self.dropped_samples += (samples.len() - accepted) as u64;
    }

    /// No more audio will come for this segment. A segment without any audio is complete when its turn comes.
    pub fn finish(&mut self, segment: SegmentId) {
        if let Some(entry) = self.find(segment) {
            entry.progress.finished = true;
        }
        self.settle();
    }

    /// The next 20 ms to send; silence if nothing is queued, the sentence in front has no whole frame yet, or
    /// speech is paused.
    pub fn next_frame(&mut self) -> Played {
        let Some((frame, segment)) = self.take() else {
            let frame = self.mixer.finish(Frame::silence(self.rate), false);
            return Played { frame, segment: None, voiced: false };
        };
        let frame = self.mixer.shape(frame);
        let voiced = frame.level_dbfs() > VOICED_DBFS;
        Played { frame: self.mixer.finish(frame, true), segment: Some(segment), voiced }
    }

    /// The next frame of speech, if there is a whole one.
    fn take(&mut self) -> Option<(Frame, SegmentId)> {
        let wanted = self.rate.frame_samples();
        let front = self.queue.front_mut().filter(|_| !self.paused)?;
        if front.samples.len() < wanted && !front.progress.finished {
            return None;
        }
        let count = front.samples.len().min(wanted);
        let (first, second) = front.samples.as_slices();
        let frame = match first.get(..count) {
            Some(whole) => Frame::from_samples(self.rate, whole),
            None => {
                let mut samples = [0; SampleRate::Hz16000.frame_samples()];
                samples[..first.len()].copy_from_slice(first);
                samples[first.len()..count].copy_from_slice(&second[..count - first.len()]);
                Frame::from_samples(self.rate, &samples[..count])
            }
        };
        front.samples.drain(..count);
        front.progress.played += count;
        let segment = front.progress.segment;
        self.queued_samples -= count;
        self.settle();
        Some((frame, segment))
    }

    /// Speech stops before the next frame and goes on with the very next sample when it is resumed. Against clicks the
    /// following 5 ms are heard fading; they are not counted as played and are heard again.
    pub fn pause(&mut self) {
        if !std::mem::replace(&mut self.paused, true) {
            self.fade(self.mixer.tail_lengths().0);
        }
    }

    /// Goes on after [`Playout::pause`].
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.mixer.fade_in();
        }
    }

    /// Whether speech is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Lowers the speech by 12 dB, or brings it back, within 40 ms: for a caller who says something beside it.
    pub fn duck(&mut self, ducked: bool) {
        self.mixer.duck(ducked);
    }

    /// Like [`Playout::flush`], but what would have been heard next fades out within 40 ms while what is pushed next
    /// fades in. The fading samples are not counted as played.
    pub fn cross_fade(&mut self) -> Vec<SegmentProgress> {
        if !self.paused && self.fade(self.mixer.tail_lengths().1) {
            self.mixer.fade_in();
        }
        self.flush()
    }

    /// Plays this over and over under everything, as loud as it is, from the next frame on; `None` fades it out. The
    /// samples have this playout's rate.
    pub fn set_background(&mut self, samples: Option<Arc<[i16]>>) {
        self.mixer.set_background(samples);
    }

    /// Fills frames without speech with this noise instead of silence, so that the line does not sound dead.
    pub fn set_comfort_noise(&mut self, noise: Option<ComfortNoise>) {
        self.mixer.set_comfort_noise(noise);
    }

    /// Lets the next samples in front fade out beside the queue. False if there are none.
    fn fade(&mut self, count: usize) -> bool {
        let ahead: Vec<i16> =
            self.queue.iter().flat_map(|segment| segment.samples.iter().copied()).take(count).collect();
        self.mixer.cut(&ahead);
        !ahead.is_empty()
    }

    /// Drops all queued audio and says how far each segment that was not complete had got, in order.
    pub fn flush(&mut self) -> Vec<SegmentProgress> {
        let left: Vec<SegmentProgress> = self.queue.drain(..).map(|segment| segment.progress).collect();
        for progress in &left {
            self.remember(*progress);
        }
        self.queued_samples = 0;
        left
    }

    /// Drops the segments queued behind this one, as a flush would.
    pub fn cut_after(&mut self, segment: SegmentId) {
        let Some(place) = self.queue.iter().position(|entry| entry.progress.segment == segment) else {
            return;
        };
        for dropped in self.queue.split_off(place + 1) {
            self.queued_samples -= dropped.samples.len();
            self.remember(dropped.progress);
        }
    }

    /// How far a segment has got; also for the last segments that were completed or flushed.
    pub fn progress(&self, segment: SegmentId) -> Option<SegmentProgress> {
        let queued = self.queue.iter().map(|entry| entry.progress);
        queued.chain(self.past.iter().copied()).find(|progress| progress.segment == segment)
    }

    /// How much audio waits.
    pub fn queued(&self) -> Duration {
        Duration::from_micros(self.queued_samples as u64 * 1_000_000 / u64::from(self.rate.hz()))
    }

    /// Whether every segment is done: nothing is queued and no unfinished segment is open.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Segments whose last sample has left since the previous call of this function.
    pub fn take_completed(&mut self) -> Vec<SegmentId> {
        std::mem::take(&mut self.completed)
    }

    /// Samples refused because the queue was full or their segment was over.
    pub const fn dropped_samples(&self) -> u64 {
        self.dropped_samples
    }

    const fn max_samples(&self) -> usize {
        MAX_QUEUED.as_secs() as usize * self.rate.hz() as usize
    }

    /// The segment, queued now if it is new; `None` if it is over or there are too many.
    fn find(&mut self, segment: SegmentId) -> Option<&mut Segment> {
        let place = self.queue.iter().position(|entry| entry.progress.segment == segment);
        if let Some(place) = place {
            return self.queue.get_mut(place);
        }
        let over = self.past.iter().any(|progress| progress.segment == segment);
        if over || self.queue.len() >= MAX_SEGMENTS {
            return None;
        }
        let progress = SegmentProgress { segment, played: 0, known: 0, finished: false };
        self.queue.push_back(Segment { progress, samples: VecDeque::new() });
        self.queue.back_mut()
    }

    /// Moves segments that are done out of the way of the next.
    fn settle(&mut self) {
        while let Some(front) = self.queue.front() {
            if !front.progress.finished || !front.samples.is_empty() {
                return;
            }
            let progress = front.progress;
            self.queue.pop_front();
            if self.completed.len() < MAX_SEGMENTS {
                self.completed.push(progress.segment);
            }
            self.remember(progress);
        }
    }

    fn remember(&mut self, progress: SegmentProgress) {
        if self.past.len() >= MAX_SEGMENTS {
            self.past.pop_front();
        }
        self.past.push_back(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Chance;

    const FIRST: SegmentId = SegmentId(1);
    const SECOND: SegmentId = SegmentId(2);

    fn playout() -> Playout {
        Playout::new(SampleRate::Hz8000)
    }

    #[test]
    fn pushed_audio_is_in_the_very_next_frame() {
        let mut playout = playout();
        assert_eq!(playout.next_frame().segment, None);
        playout.push(FIRST, &[1_000; 160]);
        let played = playout.next_frame();
        assert_eq!((played.segment, played.voiced), (Some(FIRST), true));
        assert_eq!(played.frame.samples(), [1_000; 160]);
    }

    #[test]
    fn an_unfinished_sentence_never_plays_a_torn_frame() {
        let mut playout = playout();
        playout.push(FIRST, &[7; 100]);
        assert_eq!(playout.next_frame().segment, None);
        playout.push(FIRST, &[7; 60]);
        assert_eq!(playout.next_frame().frame.samples(), [7; 160]);
    }

    #[test]
    fn the_last_frame_of_a_sentence_is_padded_and_completes_it() {
        let mut playout = playout();
        playout.push(FIRST, &[7; 200]);
        playout.push(SECOND, &[9; 160]);
        playout.finish(FIRST);
        playout.finish(SECOND);
        playout.next_frame();
        assert_eq!(playout.take_completed(), []);
        let tail = playout.next_frame();
        assert_eq!((tail.segment, tail.frame.samples()[39], tail.frame.samples()[40]), (Some(FIRST), 7, 0));
        assert_eq!(playout.take_completed(), [FIRST]);
        assert_eq!(playout.next_frame().segment, Some(SECOND));
        assert_eq!(playout.take_completed(), [SECOND]);
        assert!(playout.is_empty());
        let expected = SegmentProgress { segment: FIRST, played: 200, known: 200, finished: true };
        assert_eq!(playout.progress(FIRST), Some(expected));
    }

    #[test]
    fn a_sentence_without_audio_completes_when_its_turn_comes() {
        let mut playout = playout();
        playout.push(FIRST, &[7; 160]);
        playout.finish(SECOND);
        assert_eq!(playout.take_completed(), []);
        playout.finish(FIRST);
        playout.next_frame();
        assert_eq!(playout.take_completed(), [FIRST, SECOND]);
    }

    #[test]
    fn a_flush_says_what_left_and_nothing_comes_after_it() {
        let mut playout = playout();
        playout.push(FIRST, &[7; 480]);
        playout.finish(FIRST);
        playout.push(SECOND, &[9; 50]);
        playout.next_frame();
        let left = playout.flush();
        assert_eq!(left.len(), 2);
        assert_eq!(left[0], SegmentProgress { segment: FIRST, played: 160, known: 480, finished: true });
        assert_eq!(left[1], SegmentProgress { segment: SECOND, played: 0, known: 50, finished: false });
        assert_eq!(playout.next_frame().segment, None);
        playout.push(SECOND, &[9; 500]);
        assert_eq!(playout.next_frame().segment, None, "late audio of a flushed sentence");
        assert_eq!(playout.dropped_samples(), 500);
        assert_eq!(playout.take_completed(), []);
    }

    #[test]
    fn what_is_cut_off_is_never_heard_and_leaves_room() {
        let mut playout = playout();
        playout.push(FIRST, &[7; 160]);
        playout.push(SECOND, &[9; 160]);
        playout.cut_after(FIRST);
        playout.finish(FIRST);
        playout.push(SECOND, &[9; 160]);
        assert_eq!(playout.queued(), Duration::from_millis(20));
        assert_eq!(playout.next_frame().segment, Some(FIRST));
        assert_eq!(playout.next_frame().segment, None);
        assert_eq!(playout.progress(SECOND).map(|progress| progress.played), Some(0));
    }

    /// A level of 1,000 for so many milliseconds, named and complete.
    fn steady(playout: &mut Playout, ms: usize) {
        playout.push(FIRST, &vec![1_000; ms * 8]);
        playout.finish(FIRST);
    }

    #[test]
    fn a_pause_is_exact_to_the_sample_and_does_not_click() {
        let mut playout = playout();
        let ramp: Vec<i16> = (0..1_600).map(|n| 8_000 + n).collect();
        playout.push(FIRST, &ramp);
        playout.next_frame();
        playout.pause();
        let tail = playout.next_frame();
        assert_eq!((tail.segment, tail.voiced), (None, false));
        assert!(tail.frame.samples()[..40].is_sorted_by(|a, b| a > b) && tail.frame.samples()[40] == 0);
        for _ in 0..100 {
            assert_eq!(playout.next_frame().frame, Frame::silence(SampleRate::Hz8000));
        }
        assert_eq!(playout.progress(FIRST).map(|progress| progress.played), Some(160));
        playout.resume();
        let first = playout.next_frame();
        assert!(first.frame.samples()[0] < 400, "fades in");
        assert_eq!(first.frame.samples()[40..], ramp[200..320]);
        assert_eq!(playout.next_frame().frame.samples(), &ramp[320..480]);
    }

    #[test]
    fn ducked_speech_is_12_db_lower_after_40_ms_and_comes_back() {
        let mut playout = playout();
        steady(&mut playout, 400);
        let mut levels = Vec::new();
        for n in 0..12 {
            match n {
                2 => playout.duck(true),
                7 => playout.duck(false),
                _ => {}
            }
            let played = playout.next_frame();
            assert!(played.frame.samples().windows(2).all(|pair| (pair[0] - pair[1]).abs() < 5), "no click");
            levels.push(played.frame.samples()[159]);
        }
        assert_eq!(levels, [1_000, 1_000, 626, 251, 251, 251, 251, 625, 1_000, 1_000, 1_000, 1_000]);
        assert_eq!(playout.progress(FIRST).map(|progress| progress.played), Some(1_920));
    }

    #[test]
    fn a_cross_fade_is_a_flush_that_dies_away_under_what_comes_next() {
        let mut playout = playout();
        steady(&mut playout, 400);
        playout.next_frame();
        let left = playout.cross_fade();
        assert_eq!(
            left.iter().map(|progress| (progress.played, progress.known)).collect::<Vec<_>>(),
            [(160, 3_200)]
        );
        playout.push(SECOND, &[1_000; 800]);
        for _ in 0..4 {
            let played = playout.next_frame();
            assert_eq!(played.segment, Some(SECOND));
            assert!(
                played.frame.samples().iter().all(|sample| (990..=1_010).contains(sample)),
                "they add up"
            );
        }
        let mut alone = super::tests::playout();
        steady(&mut alone, 400);
        alone.cross_fade();
        let levels: Vec<i16> = (0..3).map(|_| alone.next_frame().frame.samples()[80]).collect();
        assert_eq!(levels, [750, 250, 0], "with nothing behind it just fades");
    }

    #[test]
    fn a_background_sounds_under_speech_and_silence_and_counts_as_neither() {
        let mut playout = playout();
        playout.set_background(Some(vec![630; 333].into()));
        playout.next_frame();
        playout.next_frame();
        let silence = playout.next_frame();
        assert_eq!((silence.segment, silence.voiced, silence.frame.samples()[7]), (None, false, 630));
        steady(&mut playout, 20);
        let speech = playout.next_frame();
        assert_eq!((speech.segment, speech.frame.samples()[7]), (Some(FIRST), 1_630));
        playout.set_background(None);
        let last: Vec<i16> = (0..3).map(|_| playout.next_frame().frame.samples()[159]).collect();
        assert_eq!(last, [315, 0, 0]);
        playout.set_background(Some(Vec::new().into()));
        assert_eq!(playout.next_frame().frame, Frame::silence(SampleRate::Hz8000));
    }

    #[test]
    fn comfort_noise_fills_what_is_not_speech() {
        let mut playout = playout();
        playout.set_comfort_noise(Some(ComfortNoise::white(-60.0, 1)));
        let quiet = playout.next_frame();
        assert!((quiet.frame.level_dbfs() + 60.0).abs() < 2.0 && quiet.segment.is_none());
        steady(&mut playout, 20);
        assert_eq!(playout.next_frame().frame.samples(), [1_000; 160]);
    }

    #[test]
    fn a_runaway_voice_cannot_fill_the_memory() {
        let mut playout = playout();
        for id in 0..1_000 {
            playout.push(SegmentId(id), &[1; 8_000]);
        }
        assert_eq!(playout.queued(), MAX_QUEUED);
        assert_eq!(playout.dropped_samples(), (1_000 - 120) * 8_000);
    }

    #[test]
    fn every_sample_leaves_once_and_in_order_however_it_was_pushed() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let mut playout = playout();
            let mut pushed: Vec<Vec<i16>> = Vec::new();
            let mut heard: Vec<Vec<i16>> = Vec::new();
            let mut completed = Vec::new();
            for id in 0..6u64 {
                let mut all = Vec::new();
                for _ in 0..chance.below(8) {
                    let chunk: Vec<i16> =
                        (0..chance.below(700)).map(|_| 1 + chance.below(30_000) as i16).collect();
                    playout.push(SegmentId(id), &chunk);
                    all.extend(chunk);
                    if chance.happens(0.5) {
                        collect(&playout.next_frame(), &mut heard);
                    }
                }
                playout.finish(SegmentId(id));
                pushed.push(all);
                completed.extend(playout.take_completed());
            }
            while !playout.is_empty() {
                collect(&playout.next_frame(), &mut heard);
            }
            completed.extend(playout.take_completed());
            heard.resize(6, Vec::new());
            assert_eq!(heard, pushed, "seed {seed}");
            assert_eq!(completed, (0..6).map(SegmentId).collect::<Vec<_>>(), "seed {seed}");
        }
    }

    /// Files a frame's samples under its segment; the padding is zero and no pushed sample is.
    fn collect(played: &Played, heard: &mut Vec<Vec<i16>>) {
        if let Some(SegmentId(id)) = played.segment {
            heard.resize(heard.len().max(id as usize + 1), Vec::new());
            heard[id as usize].extend(played.frame.samples().iter().filter(|sample| **sample != 0));
        }
    }
}
