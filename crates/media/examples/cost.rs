//! Prints what each stage costs for one frame of 20 ms, on this machine. `cargo run --release -p media --example cost`
//! Does not judge: no test depends on it.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use media::vad::{Earshot, judge};
use media::{
    Codec, ComfortNoise, Decoder, Encoder, FRAME, Frame, InBandDigits, JitterConfig, Playout, Receiver,
    ReceiverConfig, Resampler, SampleRate, SegmentId, Sender, SenderConfig, Vad, VadModel, VadStream, tone,
};

const CODECS: [Codec; 5] = [
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::Opus(SampleRate::Hz8000),
    Codec::Opus(SampleRate::Hz16000),
];

const FRAMES: u32 = 24_000;

/// Short enough to fit between two interruptions by other processes.
const BATCH: u32 = 40;

/// The fastest of many batches: other processes only ever slow one down. That is what a mean with its spread, as
/// criterion prints it, would hide on a machine that is shared.
fn measure(stage: &str, mut work: impl FnMut(u32)) {
    let mut fastest = f64::MAX;
    for batch in 0..FRAMES / BATCH {
        let start = Instant::now();
        for n in 0..BATCH {
            work(batch * BATCH + n);
        }
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    println!("{stage:<44} {:>8.3} µs", fastest * 1e6 / f64::from(BATCH));
}

fn frames(rate: SampleRate, samples: &[i16]) -> Vec<Frame> {
    samples.chunks(rate.frame_samples()).map(|chunk| Frame::from_samples(rate, chunk)).collect()
}

/// Four seconds of a voice, again and again.
struct Spoken(Vec<Frame>);

impl Spoken {
    fn new(rate: SampleRate) -> Self {
        Self(frames(rate, &tone::speech(rate.hz(), 1, -22.0, rate.hz() as usize * 4)))
    }

    fn at(&self, n: u32) -> &Frame {
        &self.0[n as usize % self.0.len()]
    }
}

fn main() {
    for codec in CODECS {
        code(codec);
    }
    for codec in CODECS {
        receive(codec, 0);
        receive(codec, 10);
    }
    speak();
    listen();
    for (from, to) in [(24_000, 8_000), (24_000, 16_000), (8_000, 16_000), (16_000, 8_000), (48_000, 16_000)]
    {
        let mut resampler = Resampler::new(from, to);
        let samples = tone::noise(1, -20.0, from as usize / 50);
        let mut out = Vec::new();
        measure(&format!("resample {from} to {to} Hz"), |_| {
            out.clear();
            resampler.push(&samples, &mut out);
            black_box(&out);
        });
    }
    let sizes = [size_of::<Receiver>(), size_of::<Sender>(), size_of::<Playout>(), size_of::<Vad>()];
    println!("sizes without what they own: Receiver, Sender, Playout, Vad {sizes:?} bytes");
}

/// Both directions of a codec alone.
fn code(codec: Codec) {
    let spoken = Spoken::new(codec.rate());
    let label = format!("{} {} Hz", codec.name(), codec.rate().hz());
    let (mut encoder, mut bytes) = (Encoder::new(codec), Vec::new());
    measure(&format!("{label} encode"), |n| {
        bytes.clear();
        encoder.encode(spoken.at(n), &mut bytes);
        black_box(&bytes);
    });
    let payloads: Vec<Vec<u8>> = (0..BATCH)
        .map(|n| {
            let mut payload = Vec::new();
            encoder.encode(spoken.at(n), &mut payload);
            payload
        })
        .collect();
    let (mut decoder, mut samples) = (Decoder::new(codec), Vec::new());
    measure(&format!("{label} decode"), |n| {
        samples.clear();
        decoder.decode(&payloads[(n % BATCH) as usize], &mut samples);
        black_box(&samples);
    });
    measure(&format!("{label} conceal one after a good one"), |n| {
        samples.clear();
        decoder.decode(&payloads[(n % BATCH) as usize], &mut samples);
        decoder.conceal(codec.rate().frame_samples(), &mut samples);
        black_box(&samples);
    });
}

/// The whole way in, without loss or with every so-many-th packet lost.
fn receive(codec: Codec, loss: u32) {
    let start = Instant::now();
    let config = ReceiverConfig {
        codec,
        payload_type: 100,
        telephone_event: Some(101),
        comfort_noise: None,
        jitter: JitterConfig::default(),
    };
    let (mut receiver, mut sender, spoken) =
        (Receiver::new(config), sender(codec), Spoken::new(codec.rate()));
    let packets: Vec<Vec<u8>> = (0..FRAMES).map(|n| sender.packet(spoken.at(n), false)).collect();
    let lossy = if loss == 0 { "" } else { ", one in ten lost" };
    measure(&format!("{} {} Hz receive and pop{lossy}", codec.name(), codec.rate().hz()), |n| {
        if loss == 0 || n % loss != 0 {
            black_box(receiver.receive(start + FRAME * n, &packets[n as usize]));
        }
        black_box(receiver.pop(start + FRAME * n + FRAME / 2));
    });
}

fn sender(codec: Codec) -> Sender {
    let (payload_type, telephone_event) = (100, Some(101));
    Sender::new(SenderConfig { codec, payload_type, telephone_event, ssrc: 1, sequence: 0, timestamp: 0 })
}

/// The way out but for the codec.
fn speak() {
    let spoken = Spoken::new(SampleRate::Hz8000);
    let mut sender = sender(Codec::Pcmu);
    measure("PCMU sender, one packet", |n| _ = black_box(sender.packet(spoken.at(n), false)));
    let mut playout = Playout::new(SampleRate::Hz8000);
    measure("playout, push and next frame", |n| {
        playout.push(SegmentId(0), spoken.at(n).samples());
        black_box(playout.next_frame());
    });
    playout.set_background(Some(tone::noise(1, -54.0, 8_000).into()));
    playout.duck(true);
    measure("the same, ducked over a background", |n| {
        playout.push(SegmentId(0), spoken.at(n).samples());
        black_box(playout.next_frame());
    });
    let mut silent = Playout::new(SampleRate::Hz8000);
    silent.set_comfort_noise(Some(ComfortNoise::white(-60.0, 1)));
    measure("playout, comfort noise", |_| _ = black_box(silent.next_frame()));
}

/// What listens to every frame.
fn listen() {
    let spoken = Spoken::new(SampleRate::Hz8000);
    let noisy = frames(SampleRate::Hz8000, &tone::noise(1, -50.0, 32_000));
    let mut vad = Vad::new();
    measure("voice activity, speech", |n| _ = black_box(vad.push(spoken.at(n))));
    let mut vad = Vad::new();
    measure("voice activity, steady noise", |n| _ = black_box(vad.push(&noisy[n as usize % noisy.len()])));
    let mut streams: Vec<_> = (0..32).map(|_| VadStream::new(Earshot.begin())).collect();
    measure("voice activity, speech, 32 calls at a time", |n| {
        let call = (n % 32) as usize;
        streams[call].push(spoken.at(n / 32));
        if call == 31 {
            judge(&mut Earshot, &mut streams.iter_mut().collect::<Vec<_>>());
        }
    });
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
        let (mut digits, spoken) = (InBandDigits::new(rate), Spoken::new(rate));
        measure(&format!("in-band digits {} Hz", rate.hz()), |n| _ = black_box(digits.push(spoken.at(n))));
    }
}
