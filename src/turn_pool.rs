//! Whether callers sound finished, on threads of its own: a pause of a call in, an answer to its inbox.
//! Knows a model and sound. What becomes of an answer is the call's business, and so is one that is late.

use crate::{
    providers::{Events, ProviderEvent},
    queue::{Receiver, Sender, bounded},
};
use media::{Frame, Resampler, SampleRate};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};
use turn_model::{Error, TurnModel};

/// Pauses that wait. An answer takes some 50 ms of a core; what would have to wait for more of them comes too late.
pub const TURN_PAUSES: usize = 16;

/// What the model looks at: 8 s of frames.
const FRAMES: usize = turn_model::SAMPLES / SampleRate::Hz16000.frame_samples();

/// What the threads count.
#[derive(Debug, Default)]
pub struct TurnCounters {
    /// Pauses judged.
    pub judged: AtomicU64,
    /// What that took, in microseconds of time.
    pub busy_us: AtomicU64,
    /// Pauses for which there was no room: the words decide alone.
    pub refused: AtomicU64,
    /// Pauses on which the model failed.
    pub failed: AtomicU64,
}

/// The threads, which share a model's weights. They end with the last that can ask.
pub struct TurnPool {
    pauses: Sender<Pause>,
    counters: Arc<TurnCounters>,
}

struct Pause {
    number: u32,
    frames: VecDeque<Frame>,
    events: Events,
}

/// One call's part: what the caller said in the last 8 s. 128 KiB at 8 kHz, twice that at 16 kHz.
pub struct TurnSession {
    frames: VecDeque<Frame>,
    pauses: Sender<Pause>,
    counters: Arc<TurnCounters>,
}

impl TurnPool {
    /// Reads the model and starts the threads.
    ///
    /// # Errors
    /// Why the model cannot be used; or what the system says when it has no thread left.
    pub fn start(path: &Path, threads: usize) -> Result<Self, Error> {
        let model = TurnModel::load(path)?;
        let (pauses, waiting) = bounded(TURN_PAUSES);
        let (waiting, counters) = (Arc::new(waiting), Arc::<TurnCounters>::default());
        for number in 0..threads.max(1) {
            let (model, waiting, counters) = (model.share(), Arc::clone(&waiting), Arc::clone(&counters));
            thread::Builder::new()
                .name(format!("turns-{number}"))
                .spawn(move || work(model, &waiting, &counters))
                .map_err(Error::Read)?;
        }
        Ok(Self { pauses, counters })
    }

    /// For a new call.
    pub fn open(&self) -> TurnSession {
        TurnSession {
            frames: VecDeque::with_capacity(FRAMES),
            pauses: self.pauses.clone(),
            counters: Arc::clone(&self.counters),
        }
    }

    /// What they count.
    pub const fn counters(&self) -> &Arc<TurnCounters> {
        &self.counters
    }
}

impl TurnSession {
    /// The caller's next 20 ms.
    pub fn hear(&mut self, frame: &Frame) {
        if self.frames.len() == FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(frame.clone());
    }

    /// Asks what the model says of the pause with this number; the answer comes as [`ProviderEvent::TurnJudged`]. Never
    /// waits: without room the pause is counted and left out.
    pub fn judge(&self, number: u32, events: &Events) {
        let pause = Pause { number, frames: self.frames.clone(), events: events.clone() };
        if self.pauses.try_send(pause).is_err() {
            self.counters.refused.fetch_add(1, Relaxed);
        }
    }
}

/// Ends when nobody can ask any more.
fn work(mut model: TurnModel, pauses: &Receiver<Pause>, counters: &TurnCounters) {
    for Pause { number, frames, events } in pauses.iter() {
        if events.is_gone() {
            continue;
        }
        let start = Instant::now();
        match model.probability(&wide(&frames)) {
            Ok(probability) => _ = events.try_send(ProviderEvent::TurnJudged(number, probability)),
            Err(error) => {
                tracing::debug!(%error, "the end-of-turn model failed");
                counters.failed.fetch_add(1, Relaxed);
            }
        }
        counters.judged.fetch_add(1, Relaxed);
        counters.busy_us.fetch_add(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// At 16 kHz, as the model wants it.
fn wide(frames: &VecDeque<Frame>) -> Vec<i16> {
    let (narrow, wide) = (SampleRate::Hz8000.hz(), SampleRate::Hz16000.hz());
    let mut resampler = Resampler::new(narrow, wide);
    let mut samples = Vec::with_capacity(turn_model::SAMPLES);
    for frame in frames {
        match frame.rate() {
            SampleRate::Hz8000 => resampler.push(frame.samples(), &mut samples),
            SampleRate::Hz16000 => samples.extend_from_slice(frame.samples()),
        }
    }
    samples
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test that cannot set itself up fails")]
mod tests {
    use super::*;
    use media::tone;

    fn pool() -> TurnPool {
        // The more of the 8 s is sound, the more finished it is to this one.
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/turn-model/tests/models");
        TurnPool::start(&models.join("amount-of-sound.onnx"), 1).expect("a model")
    }

    fn hear(session: &mut TurnSession, rate: SampleRate, seconds: usize) {
        let samples = tone::speech(rate.hz(), 1, -20.0, rate.hz() as usize * seconds);
        for part in samples.chunks(rate.frame_samples()) {
            session.hear(&Frame::from_samples(rate, part));
        }
    }

    #[test]
    fn a_pause_is_judged_by_what_was_heard_before_it() {
        let pool = pool();
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
            let mut session = pool.open();
            let (events, mut inbox) = Events::channel(Arc::new(|| ()));
            let mut ask = |session: &TurnSession, number| {
                session.judge(number, &events);
                match inbox.blocking_recv() {
                    Some(ProviderEvent::TurnJudged(judged, probability)) if judged == number => probability,
                    other => panic!("{other:?}"),
                }
            };
            hear(&mut session, rate, 1);
            let little = ask(&session, 1);
            hear(&mut session, rate, 20);
            assert_eq!(session.frames.len(), 400, "and no more is kept");
            let much = ask(&session, 2);
            assert!(little < much, "{little} and {much}");
        }
        assert_eq!(pool.counters().judged.load(Relaxed), 4);
    }

    #[test]
    fn a_model_that_is_behind_costs_a_count_and_no_time() {
        let (pauses, _waiting) = bounded(TURN_PAUSES);
        let pool = TurnPool { pauses, counters: Arc::default() };
        let session = pool.open();
        let (events, _inbox) = Events::channel(Arc::new(|| ()));
        (0..20).for_each(|number| session.judge(number, &events));
        assert_eq!(pool.counters().refused.load(Relaxed), 20 - TURN_PAUSES as u64);
    }
}
