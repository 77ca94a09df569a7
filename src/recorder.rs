//! Writes what is said in calls: a stereo WAV file each, the caller left, the agent right, on the clock of their packets.
//! Knows files and the queue to the thread that writes them. Knows nothing of consent, and no call ever waits for it.

use crate::queue::{Receiver, Sender, bounded};
use call::{CallId, Side, cdr::Recorded};
use jiff::Timestamp;
use media::{Frame, Resampler, SampleRate};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::RecvTimeoutError,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Chunks on their way to the disk, of all calls together: 16 KB each. What finds no room becomes a gap of its call.
pub const CHUNKS: usize = 1_024;

/// Frames that a call collects before it passes them on: half a second. One message and one write for 25 frames, and
/// half a second at most is lost with the machine's power.
const CHUNK_FRAMES: u64 = 25;

/// Between two looks for calls that are over.
const SWEEP: Duration = Duration::from_secs(1);

/// The header of a WAV file with linear samples.
const HEADER: u64 = 44;

/// Left and right.
const SIDES: usize = 2;

/// Counts over all calls since the start of the process.
#[derive(Debug, Default)]
pub struct RecorderCounters {
    /// Frames, of both sides together, that are silence in a file because the disk was behind or failed.
    pub gap_frames: AtomicU64,
    /// Files that are complete.
    pub files: AtomicU64,
    /// Files that could not be created, written or completed.
    pub failed: AtomicU64,
}

/// The thread that writes, and the way to it.
pub struct Recorder {
    chunks: Option<Sender<Chunk>>,
    folder: PathBuf,
    consent: Option<String>,
    counters: Arc<RecorderCounters>,
    thread: Option<JoinHandle<()>>,
}

/// One call's file.
struct Recording {
    call: CallId,
    /// Without its extension.
    path: PathBuf,
    rate: SampleRate,
    /// Some of it is silence that was none.
    has_gaps: AtomicBool,
    /// The file cannot be written.
    has_failed: AtomicBool,
}

impl Recording {
    const fn new(call: CallId, path: PathBuf, rate: SampleRate) -> Self {
        Self { call, path, rate, has_gaps: AtomicBool::new(false), has_failed: AtomicBool::new(false) }
    }
}

/// Some frames of a call.
struct Chunk {
    recording: Arc<Recording>,
    /// The number of its first frame.
    first: u64,
    /// Interleaved little-endian samples.
    bytes: Vec<u8>,
}

impl Recorder {
    /// Starts the thread that writes into this folder, which is made if it is not there. `consent` is why calls may be
    /// recorded, for their records.
    ///
    /// # Errors
    /// What the system says when the folder cannot be made or the thread cannot be had.
    pub fn start(folder: &Path, consent: Option<String>) -> io::Result<Self> {
        Self::start_with_room(folder, consent, CHUNKS)
    }

    fn start_with_room(folder: &Path, consent: Option<String>, room: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (chunks, queue) = bounded(room);
        let counters = Arc::new(RecorderCounters::default());
        let writer = Writer { files: HashMap::new(), counters: Arc::clone(&counters) };
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { chunks: Some(chunks), folder: folder.to_owned(), consent, counters, thread: Some(thread) })
    }

    /// What is to be told everything that is said in a call. The file stands in a folder for the day, under the call's
    /// name, and is complete soon after the tap has been dropped; until then it is called `.part`.
    pub fn tap(&self, call: CallId, started_at_us: u64, rate: SampleRate) -> Option<Tap> {
        let started =
            Timestamp::from_microsecond(i64::try_from(started_at_us).unwrap_or(0)).unwrap_or_default();
        let day = started.strftime("%Y-%m-%d").to_string();
        let recording = Recording::new(call, self.folder.join(day).join(call.to_string()), rate);
        Some(Tap {
            recording: Arc::new(recording),
            consent: self.consent.clone(),
            chunks: self.chunks.clone()?,
            counters: Arc::clone(&self.counters),
            first: 0,
            bytes: Vec::new(),
            resamplers: [None, None],
        })
    }

    /// What it counts.
    pub fn counters(&self) -> &RecorderCounters {
        &self.counters
    }

    /// Writes what is left and completes every file. Waits for the disk.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.chunks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic of the thread has been printed by its hook.
        }
    }
}

/// One call's way to its file. Belongs to the call; dropping it ends the file.
pub struct Tap {
    recording: Arc<Recording>,
    consent: Option<String>,
    chunks: Sender<Chunk>,
    counters: Arc<RecorderCounters>,
    /// The number of the first frame of the chunk that is being filled.
    first: u64,
    bytes: Vec<u8>,
    /// For a side that speaks at another rate than the file.
    resamplers: [Option<(SampleRate, Resampler)>; SIDES],
}

impl Tap {
    /// Takes a frame of one side. Frames are numbered from the call's first one, both sides alike, and never go back by
    /// more than one step of the call. Returns how many frames have just been lost because the disk is behind.
    pub fn push(&mut self, side: Side, number: u64, frame: &Frame) -> u64 {
        let lost = if number >= self.first + CHUNK_FRAMES { self.pass_on(number) } else { 0 };
        let Some(place) = number.checked_sub(self.first) else { return lost + 1 };
        let frame_bytes = self.frame_bytes();
        self.bytes.resize(frame_bytes * CHUNK_FRAMES as usize, 0); // The first time, and after each chunk.
        let channel = match side {
            Side::Caller => 0,
            Side::Agent => 1,
        };
        let start = place as usize * frame_bytes;
        let target = &mut self.bytes[start..start + frame_bytes];
        let pairs = target.chunks_exact_mut(SIDES * size_of::<i16>());
        let put = |samples: &[i16]| {
            for (pair, sample) in pairs.zip(samples) {
                pair[channel * 2..channel * 2 + 2].copy_from_slice(&sample.to_le_bytes());
            }
        };
        if frame.rate() == self.recording.rate {
            put(frame.samples());
        } else {
            put(&resample(&mut self.resamplers[channel], frame, self.recording.rate));
        }
        lost
    }

    /// What the call's record says of its recording. What fails after the call's end is not in it; it is counted.
    pub fn recorded(&self) -> Recorded {
        let Recording { path, has_gaps, has_failed, .. } = &*self.recording;
        let state = match (has_failed.load(Ordering::Relaxed), has_gaps.load(Ordering::Relaxed)) {
            (true, _) => "failed",
            (false, true) => "gaps",
            (false, false) => "whole",
        };
        let path = path.with_extension("wav").display().to_string();
        Recorded { path, state, consent: self.consent.clone() }
    }

    fn frame_bytes(&self) -> usize {
        self.recording.rate.frame_samples() * SIDES * size_of::<i16>()
    }

    /// Sends the chunk off; the next one begins with this frame. Returns the frames that found no room.
    fn pass_on(&mut self, next: u64) -> u64 {
        let first = std::mem::replace(&mut self.first, next);
        if self.bytes.is_empty() {
            return 0;
        }
        let chunk =
            Chunk { recording: Arc::clone(&self.recording), first, bytes: std::mem::take(&mut self.bytes) };
        if self.chunks.try_send(chunk).is_ok() {
            return 0;
        }
        let lost = SIDES as u64 * CHUNK_FRAMES;
        self.counters.gap_frames.fetch_add(lost, Ordering::Relaxed);
        self.recording.has_gaps.store(true, Ordering::Relaxed);
        lost
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.pass_on(u64::MAX - CHUNK_FRAMES);
    }
}

fn resample(resampler: &mut Option<(SampleRate, Resampler)>, frame: &Frame, to: SampleRate) -> Vec<i16> {
    let from = frame.rate();
    if resampler.as_ref().is_none_or(|(rate, _)| *rate != from) {
        *resampler = Some((from, Resampler::new(from.hz(), to.hz())));
    }
    let mut samples = Vec::with_capacity(to.frame_samples());
    if let Some((_, resampler)) = resampler {
        resampler.push(frame.samples(), &mut samples);
    }
    samples
}

/// Has the files.
struct Writer {
    files: HashMap<CallId, Open>,
    counters: Arc<RecorderCounters>,
}

/// A file that is being written.
struct Open {
    recording: Arc<Recording>,
    /// `None` once it has failed: what still comes is a gap.
    file: Option<File>,
    /// Bytes of samples up to the end of the last frame.
    length: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Chunk>) {
        let mut swept = Instant::now();
        loop {
            match queue.recv_timeout(SWEEP) {
                Ok(chunk) => self.write(chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                // Nobody else has it any more: neither the call nor a chunk that waits.
                self.complete(|open| Arc::strong_count(&open.recording) == 1);
            }
        }
        self.complete(|_| true);
    }

    fn write(&mut self, chunk: Chunk) {
        let Chunk { recording, first, bytes } = chunk;
        let counters = &self.counters;
        let open = self.files.entry(recording.call).or_insert_with(|| {
            let file = create(&recording.path).map_err(|error| report(counters, &recording, &error)).ok();
            Open { recording: Arc::clone(&recording), file, length: 0 }
        });
        let frame_bytes = (recording.rate.frame_samples() * SIDES * size_of::<i16>()) as u64;
        let start = first * frame_bytes;
        let written = open.file.as_ref().map(|file| file.write_all_at(&bytes, HEADER + start));
        match written {
            Some(Ok(())) => open.length = open.length.max(start + bytes.len() as u64),
            failed => {
                counters
                    .gap_frames
                    .fetch_add(bytes.len() as u64 * SIDES as u64 / frame_bytes, Ordering::Relaxed);
                if let Some(Err(error)) = failed {
                    report(counters, &recording, &error);
                    open.file = None;
                }
            }
        }
    }

    fn complete(&mut self, mut is_over: impl FnMut(&Open) -> bool) {
        let counters = &self.counters;
        self.files.retain(|_, open| {
            let over = is_over(open);
            if let (true, Some(file)) = (over, &open.file) {
                match complete(file, open) {
                    Ok(()) => _ = counters.files.fetch_add(1, Ordering::Relaxed),
                    Err(error) => report(counters, &open.recording, &error),
                }
            }
            !over
        });
    }
}

/// Readable by us alone: it is somebody's voice.
fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path.with_extension("part"))
}

fn complete(file: &File, open: &Open) -> io::Result<()> {
    file.write_all_at(&header(open.recording.rate, open.length), 0)?;
    fs::rename(open.recording.path.with_extension("part"), open.recording.path.with_extension("wav"))
}

fn report(counters: &RecorderCounters, recording: &Recording, error: &io::Error) {
    counters.failed.fetch_add(1, Ordering::Relaxed);
    recording.has_failed.store(true, Ordering::Relaxed);
    tracing::error!(call = %recording.call, path = %recording.path.display(), %error, "a recording fails");
}

/// RIFF, WAVE, one format chunk, one data chunk.
fn header(rate: SampleRate, length: u64) -> [u8; HEADER as usize] {
    let length = u32::try_from(length).unwrap_or(u32::MAX - HEADER as u32);
    let bytes_a_sample = (SIDES * size_of::<i16>()) as u16;
    let mut header = [0; HEADER as usize];
    header[..4].copy_from_slice(b"RIFF");
    header[4..8].copy_from_slice(&(length + HEADER as u32 - 8).to_le_bytes());
    header[8..16].copy_from_slice(b"WAVEfmt ");
    header[16..20].copy_from_slice(&16u32.to_le_bytes());
    header[20..22].copy_from_slice(&1u16.to_le_bytes());
    header[22..24].copy_from_slice(&(SIDES as u16).to_le_bytes());
    header[24..28].copy_from_slice(&rate.hz().to_le_bytes());
    header[28..32].copy_from_slice(&(rate.hz() * u32::from(bytes_a_sample)).to_le_bytes());
    header[32..34].copy_from_slice(&bytes_a_sample.to_le_bytes());
    header[34..36].copy_from_slice(&16u16.to_le_bytes());
    header[36..40].copy_from_slice(b"data");
    header[40..].copy_from_slice(&length.to_le_bytes());
    header
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test that cannot set itself up fails")]
mod tests {
    use super::*;

    /// 2026-11-28.
    const STARTED: u64 = 1_795_824_000_000_000;

    fn frame(level: i16) -> Frame {
        Frame::from_samples(SampleRate::Hz8000, &[level; 160])
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tandem-recorder-{name}-{}", std::process::id()));
        let _there_may_be_none = fs::remove_dir_all(&folder);
        folder
    }

    /// The first sample of each frame of both sides.
    fn read(folder: &Path, call: CallId) -> Vec<(i16, i16)> {
        let path = folder.join("2026-11-28").join(call.to_string()).with_extension("wav");
        let mut reader = hound::WavReader::open(path).expect("a WAV file");
        assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 8_000));
        let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>().expect("samples");
        samples.chunks(320).map(|frame| (frame[0], frame[1])).collect()
    }

    #[test]
    fn both_sides_stand_beside_each_other_at_their_time() {
        let folder = folder("sides");
        let recorder = Recorder::start(&folder, Some("announced".to_owned())).expect("a folder");
        let call = CallId(7);
        let mut tap = recorder.tap(call, STARTED, SampleRate::Hz8000).expect("it runs");
        for number in 0..60 {
            assert_eq!(tap.push(Side::Caller, number, &frame(number as i16 + 1)), 0);
            // We woke late once: of two frames only the later one was sent.
            if number != 30 {
                assert_eq!(tap.push(Side::Agent, number, &frame(-(number as i16) - 1)), 0);
            }
        }
        let Recorded { path, state, consent } = tap.recorded();
        assert_eq!((state, consent.as_deref()), ("whole", Some("announced")));
        drop(tap);
        recorder.stop();
        assert!(Path::new(&path).is_file(), "{path}");
        let frames = read(&folder, call);
        assert_eq!(frames.len(), 75, "whole chunks");
        for (number, (caller, agent)) in frames.iter().take(60).enumerate() {
            let expected = number as i16 + 1;
            assert_eq!((*caller, *agent), (expected, if number == 30 { 0 } else { -expected }));
        }
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn a_disk_that_is_behind_costs_a_gap_and_no_time() {
        let folder = folder("gap");
        let counters = Arc::new(RecorderCounters::default());
        let (chunks, queue) = bounded(1);
        let call = CallId(8);
        let path = folder.join("2026-11-28").join(call.to_string());
        let mut tap = Tap {
            recording: Arc::new(Recording::new(call, path, SampleRate::Hz8000)),
            consent: None,
            chunks,
            counters: Arc::clone(&counters),
            first: 0,
            bytes: Vec::new(),
            resamplers: [None, None],
        };
        // Nobody reads: the first chunk fits, the second does not.
        let lost: u64 = (0..75).map(|number| tap.push(Side::Caller, number, &frame(5))).sum();
        assert_eq!((lost, counters.gap_frames.load(Ordering::Relaxed)), (50, 50));
        assert_eq!(tap.recorded().state, "gaps");
        let writer = Writer { files: HashMap::new(), counters: Arc::clone(&counters) };
        let writing = std::thread::spawn(move || writer.run(&queue));
        for number in 75..100 {
            while !writing.is_finished() && tap.push(Side::Caller, number, &frame(6)) > 0 {}
        }
        // The last chunk may find the queue full once more: it is the drop's.
        drop(tap);
        writing.join().expect("it ends well");
        let frames = read(&folder, call);
        assert!(frames[..25].iter().all(|(caller, _)| *caller == 5));
        assert!(frames.iter().skip(25).take(25).all(|(caller, _)| *caller == 0), "the gap is silence");
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn a_folder_that_cannot_be_written_fails_the_file_and_nothing_else() {
        let folder = folder("broken");
        let recorder = Recorder::start(&folder, Some("announced".to_owned())).expect("a folder");
        // A file where the day's folder should be.
        fs::write(folder.join("2026-11-28"), "").expect("a file");
        let mut tap = recorder.tap(CallId(9), STARTED, SampleRate::Hz8000).expect("it runs");
        for number in 0..100 {
            tap.push(Side::Agent, number, &frame(1));
        }
        let counters = Arc::clone(&recorder.counters);
        while counters.failed.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(tap.recorded().state, "failed");
        drop(tap);
        recorder.stop();
        assert_eq!((counters.failed.load(Ordering::Relaxed), counters.files.load(Ordering::Relaxed)), (1, 0));
        assert_eq!(counters.gap_frames.load(Ordering::Relaxed), 200);
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
