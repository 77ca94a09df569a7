//! Prints what each stage costs for one frame of 20 ms, on this machine. `cargo run --release -p media --example cost`
//! Does not judge: no test depends on it.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use media::{
    Codec, FRAME, Frame, JitterConfig, Playout, Receiver, ReceiverConfig, Resampler, SampleRate, SegmentId,
    Sender, SenderConfig, Vad, tone,
};

const FRAMES: u32 = 50_000;

/// One second of sixteen calls.
const BATCH: u32 = 800;

/// The fastest of many batches: other processes only ever slow one down.
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

fn frames(samples: &[i16]) -> Vec<Frame> {
    samples.chunks(160).map(|chunk| Frame::from_samples(SampleRate::Hz8000, chunk)).collect()
}

fn main() {
    let spoken = frames(&tone::speech(8_000, 1, -22.0, 8_000 * 4));
    let noisy = frames(&tone::noise(1, -50.0, 8_000 * 4));
    let at = |frames: &[Frame], n: u32| frames[n as usize % frames.len()].clone();
    stages(&spoken, at);
    let start = Instant::now();
    let config = ReceiverConfig {
        codec: Codec::Pcmu,
        payload_type: 0,
        telephone_event: Some(101),
        comfort_noise: None,
        jitter: JitterConfig::default(),
    };
    for (label, loss) in [("receive and pop, 20 ms packets", 0), ("the same, every tenth packet lost", 10)] {
        let (mut receiver, mut sender) = (Receiver::new(config), sender());
        let packets: Vec<Vec<u8>> = (0..FRAMES).map(|n| sender.packet(&at(&spoken, n), false)).collect();
        measure(label, |n| {
            if loss == 0 || n % loss != 0 {
                black_box(receiver.receive(start + FRAME * n, &packets[n as usize]));
            }
            black_box(receiver.pop(start + FRAME * n + FRAME / 2));
        });
    }
    let mut vad = Vad::new();
    measure("voice activity, speech", |n| _ = black_box(vad.push(&at(&spoken, n))));
    let mut vad = Vad::new();
    measure("voice activity, steady noise", |n| _ = black_box(vad.push(&at(&noisy, n))));
    for (from, to) in [(24_000, 8_000), (8_000, 16_000), (16_000, 8_000), (22_050, 8_000), (48_000, 16_000)] {
        let mut resampler = Resampler::new(from, to);
        let samples = tone::noise(1, -20.0, from as usize / 50);
        let mut out = Vec::new();
        measure(&format!("resample {from} to {to} Hz"), |_| {
            out.clear();
            resampler.push(&samples, &mut out);
            black_box(&out);
        });
    }
    println!("sizes: Receiver {} bytes, Vad about 9 kB", size_of::<Receiver>());
}

fn sender() -> Sender {
    let (codec, payload_type, telephone_event) = (Codec::Pcmu, 0, Some(101));
    Sender::new(SenderConfig { codec, payload_type, telephone_event, ssrc: 1, sequence: 0, timestamp: 0 })
}

fn stages(spoken: &[Frame], at: impl Fn(&[Frame], u32) -> Frame) {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let mut bytes = Vec::with_capacity(160);
        measure(&format!("{} encode", codec.name()), |n| {
            bytes.clear();
            codec.encode(&at(spoken, n), &mut bytes);
            black_box(&bytes);
        });
        let mut samples = Vec::with_capacity(160);
        measure(&format!("{} decode", codec.name()), |_| {
            samples.clear();
            codec.decode(&bytes, &mut samples);
            black_box(&samples);
        });
    }
    let mut sender = sender();
    measure("sender, one packet", |n| _ = black_box(sender.packet(&at(spoken, n), false)));
    let mut playout = Playout::new(SampleRate::Hz8000);
    measure("playout, push and next frame", |n| {
        playout.push(SegmentId(0), at(spoken, n).samples());
        black_box(playout.next_frame());
    });
}
