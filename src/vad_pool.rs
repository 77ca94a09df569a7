//! Voice activity of many calls in one go, on threads of their own: frames in, answers that the next frame finds.
//! Knows streams and models. Knows nothing of calls; whoever finds no answer in time decides by itself.

use crate::queue::{Receiver, Sender, bounded};
use media::{
    Frame,
    vad::{VadModel, VadStream, judge},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::RecvTimeoutError,
    },
    thread,
    time::{Duration, Instant},
};

/// Frames waiting for one thread: a frame each of more calls than it could ever judge in 20 ms.
pub const VAD_FRAMES: usize = 2_048;

/// Frames that come within this time are judged together. Heartbeats are spread over 20 ms; an answer must be there
/// before the next one.
const GATHER: Duration = Duration::from_millis(4);

/// Streams judged together.
const BATCH: usize = 256;

/// What a pool counts.
#[derive(Debug, Default)]
pub struct VadCounters {
    /// Frames judged.
    pub frames: AtomicU64,
    /// In so many batches.
    pub batches: AtomicU64,
    /// Frames for which there was no room.
    pub refused: AtomicU64,
    /// Answers that were not there when their call's next frame came.
    pub late: AtomicU64,
}

/// The threads.
pub struct VadPool {
    queues: Vec<Sender<Job>>,
    streams: AtomicUsize,
    counters: Arc<VadCounters>,
}

/// One stream's way to its thread, which keeps what the model remembers of it until this is dropped.
pub struct VadSession {
    name: u64,
    queue: Sender<Job>,
    answer: Arc<Answer>,
    counters: Arc<VadCounters>,
    /// The last frame sent, and the last answer taken.
    sent: Option<u64>,
    taken: u64,
}

struct Job {
    stream: u64,
    number: u64,
    frame: Frame,
    answer: Weak<Answer>,
}

/// The newest answer: the frame's number plus one above, the probability below.
#[derive(Default)]
struct Answer(AtomicU64);

impl Answer {
    fn put(&self, number: u64, probability: f32) {
        self.0
            .store((number.wrapping_add(1) & 0xffff_ffff) << 32 | u64::from(probability.to_bits()), Relaxed);
    }
}

impl VadPool {
    /// Starts so many threads, each with a model of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<M>(threads: usize, model: impl Fn() -> M) -> io::Result<Self>
    where
        M: VadModel + Send + 'static,
        M::State: Send,
    {
        let counters = Arc::new(VadCounters::default());
        let start = |number: usize| {
            let (queue, jobs) = bounded(VAD_FRAMES);
            let (model, counters) = (model(), Arc::clone(&counters));
            thread::Builder::new()
                .name(format!("vad-{number}"))
                .spawn(move || work(model, &jobs, &counters))
                .map(|_| queue)
        };
        let queues = (0..threads.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { queues, streams: AtomicUsize::new(0), counters })
    }

    /// A new stream.
    pub fn open(&self) -> VadSession {
        let name = self.streams.fetch_add(1, Relaxed);
        VadSession {
            name: name as u64,
            queue: self.queues[name % self.queues.len()].clone(),
            answer: Arc::default(),
            counters: Arc::clone(&self.counters),
            sent: None,
            taken: 0,
        }
    }

    /// What it has done.
    pub fn counters(&self) -> &Arc<VadCounters> {
        &self.counters
    }
}

impl VadSession {
    /// A frame to be judged. Never waits: without room the frame is counted and left out.
    pub fn push(&mut self, number: u64, frame: Frame) {
        if self.sent.is_some_and(|sent| self.judged() <= sent) {
            self.counters.late.fetch_add(1, Relaxed);
        }
        self.sent = Some(number);
        let job = Job { stream: self.name, number, frame, answer: Arc::downgrade(&self.answer) };
        if self.queue.try_send(job).is_err() {
            self.counters.refused.fetch_add(1, Relaxed);
        }
    }

    /// The newest answer, each once: the frame's number and the probability that it holds speech.
    pub fn answer(&mut self) -> Option<(u64, f32)> {
        let answer = self.answer.0.load(Relaxed);
        let judged = answer >> 32;
        if judged == self.taken {
            return None;
        }
        self.taken = judged;
        Some((judged - 1, f32::from_bits(answer as u32)))
    }

    /// Frames judged, by the newest number.
    fn judged(&self) -> u64 {
        self.answer.0.load(Relaxed) >> 32
    }
}

struct Stream<S> {
    vad: VadStream<S>,
    answer: Weak<Answer>,
}

/// Ends when nobody can send any more.
fn work<M: VadModel>(mut model: M, jobs: &Receiver<Job>, counters: &VadCounters) {
    let mut streams: HashMap<u64, Stream<M::State>> = HashMap::new();
    let mut waiting = Vec::new();
    while let Ok(first) = jobs.recv() {
        waiting.push(first);
        gather(jobs, &mut waiting);
        while !waiting.is_empty() {
            // A stream is never in a batch twice: its second frame is for the next.
            let mut batch: HashMap<u64, Job> = HashMap::with_capacity(waiting.len());
            for job in std::mem::take(&mut waiting) {
                match batch.entry(job.stream) {
                    Entry::Occupied(_) => waiting.push(job),
                    Entry::Vacant(place) => drop(place.insert(job)),
                }
            }
            counters.frames.fetch_add(batch.len() as u64, Relaxed);
            counters.batches.fetch_add(1, Relaxed);
            judge_batch(&mut model, &mut streams, &batch);
        }
        streams.retain(|_, stream| stream.answer.strong_count() > 0);
    }
}

/// Takes what comes soon after the first.
fn gather(jobs: &Receiver<Job>, waiting: &mut Vec<Job>) {
    let until = Instant::now() + GATHER;
    while waiting.len() < BATCH {
        match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(job) => waiting.push(job),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn judge_batch<M: VadModel>(
    model: &mut M,
    streams: &mut HashMap<u64, Stream<M::State>>,
    batch: &HashMap<u64, Job>,
) {
    for job in batch.values() {
        let stream = streams
            .entry(job.stream)
            .or_insert_with(|| Stream { vad: VadStream::new(model.begin()), answer: job.answer.clone() });
        stream.vad.push(&job.frame);
    }
    let mut judged: Vec<_> = streams
        .iter_mut()
        .filter_map(|(name, Stream { vad, answer })| Some((batch.get(name)?.number, vad, &*answer)))
        .collect();
    judge(model, &mut judged.iter_mut().map(|(_, vad, _)| &mut **vad).collect::<Vec<_>>());
    for (number, vad, answer) in judged {
        if let Some(answer) = answer.upgrade() {
            answer.put(number, vad.probability());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{
        SampleRate, Vad, tone,
        vad::{Earshot, VadWindow},
    };
    use std::sync::Mutex;

    fn frames(seed: u64) -> Vec<Frame> {
        let samples = [tone::noise(seed, -60.0, 4_000), tone::speech(8_000, seed, -22.0, 12_000)].concat();
        samples.chunks(160).map(|part| Frame::from_samples(SampleRate::Hz8000, part)).collect()
    }

    /// Waits for the answer to this frame.
    fn answer_to(session: &mut VadSession, number: u64) -> f32 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some((judged, probability)) = session.answer() {
                assert_eq!(judged, number);
                return probability;
            }
            thread::sleep(Duration::from_micros(200));
        }
        panic!("frame {number} was never judged");
    }

    #[test]
    fn calls_judged_on_other_threads_get_the_answers_they_would_get_alone() {
        let pool = VadPool::start(2, || Earshot).expect("threads");
        let audio: Vec<Vec<Frame>> = (0..6).map(frames).collect();
        let mut sessions: Vec<_> = audio.iter().map(|_| pool.open()).collect();
        let mut alone: Vec<Vad> = audio.iter().map(|_| Vad::new()).collect();
        for n in 0..100 {
            for (session, frames) in sessions.iter_mut().zip(&audio) {
                session.push(n, frames[n as usize].clone());
            }
            for ((session, frames), alone) in sessions.iter_mut().zip(&audio).zip(&mut alone) {
                assert_eq!(answer_to(session, n), alone.push(&frames[n as usize]), "frame {n}");
            }
        }
        let counters = pool.counters();
        assert_eq!((counters.frames.load(Relaxed), counters.refused.load(Relaxed)), (600, 0));
        assert!(counters.batches.load(Relaxed) < 600, "calls share batches");
    }

    /// A model that stands still until it is let go.
    struct Stuck(Arc<Mutex<()>>);

    impl VadModel for Stuck {
        type State = ();

        fn begin(&self) {}

        fn probabilities(&mut self, batch: &mut [VadWindow<'_, ()>]) {
            let _held = self.0.lock();
            batch.iter_mut().for_each(|window| *window.probability = 1.0);
        }
    }

    #[test]
    fn a_model_that_hangs_costs_a_bounded_queue_and_nobody_waits() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().expect("nobody else has it");
        let pool = VadPool::start(1, || Stuck(Arc::clone(&gate))).expect("a thread");
        let mut session = pool.open();
        let loud = Frame::from_samples(SampleRate::Hz8000, &tone::sine(8_000, 300.0, -10.0, 160));
        for n in 0..3 * VAD_FRAMES as u64 {
            session.push(n, loud.clone());
        }
        let counters = Arc::clone(pool.counters());
        assert!(counters.refused.load(Relaxed) >= VAD_FRAMES as u64);
        assert!(counters.late.load(Relaxed) >= 2 * VAD_FRAMES as u64);
        drop(held);
    }

    #[test]
    fn what_is_kept_of_a_stream_goes_with_it() {
        /// Counts the memories that are alive.
        struct Counting(Arc<()>);
        impl VadModel for Counting {
            type State = Arc<()>;
            fn begin(&self) -> Arc<()> {
                Arc::clone(&self.0)
            }
            fn probabilities(&mut self, _: &mut [VadWindow<'_, Arc<()>>]) {}
        }
        let alive = Arc::new(());
        let model = Arc::clone(&alive);
        let pool = VadPool::start(1, move || Counting(Arc::clone(&model))).expect("a thread");
        let own = Arc::strong_count(&alive);
        let silent = Frame::silence(SampleRate::Hz8000);
        for _ in 0..50 {
            let mut session = pool.open();
            session.push(0, silent.clone());
            answer_to(&mut session, 0);
        }
        // The next batch finds that they are gone.
        let mut last = pool.open();
        for n in 0..2 {
            last.push(n, silent.clone());
            answer_to(&mut last, n);
        }
        assert!(Arc::strong_count(&alive) <= own + 2, "{}", Arc::strong_count(&alive));
    }
}
