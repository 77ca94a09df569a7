//! What each stage of a call costs for a frame of 20 ms, with criterion's statistics.
//! Knows the media crate only. `cargo run --release -p media --example cost` prints the same quickly, without them.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use media::vad::{Earshot, judge};
use media::{
    Codec, ComfortNoise, Decoder, EchoGuard, Encoder, FRAME, Frame, JitterConfig, Pitch, Playout, Receiver,
    ReceiverConfig, Resampler, RtpPacket, SampleRate, SegmentId, Sender, SenderConfig, Srtp, SrtpProfile,
    Vad, VadModel, VadStream, tone,
};
use std::{hint::black_box, time::Instant};

const CODECS: [Codec; 5] = [
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::Opus(SampleRate::Hz8000),
    Codec::Opus(SampleRate::Hz16000),
];

/// Calls that a batch of the voice detector holds.
const BATCH: usize = 32;

fn label(codec: Codec) -> String {
    format!("{} {} Hz", codec.name(), codec.rate().hz())
}

/// Four seconds of a voice.
fn spoken(rate: SampleRate) -> Vec<Frame> {
    let samples = tone::speech(rate.hz(), 1, -22.0, rate.hz() as usize * 4);
    samples.chunks(rate.frame_samples()).map(|chunk| Frame::from_samples(rate, chunk)).collect()
}

fn sender(codec: Codec) -> Sender {
    let (payload_type, telephone_event) = (100, Some(101));
    Sender::new(SenderConfig { codec, payload_type, telephone_event, ssrc: 1, sequence: 0, timestamp: 0 })
}

/// Counts without end.
fn counter() -> impl FnMut() -> usize {
    let mut n = 0;
    move || {
        n += 1;
        n - 1
    }
}

fn codecs(c: &mut Criterion) {
    for codec in CODECS {
        let frames = spoken(codec.rate());
        let (mut encoder, mut bytes, mut next) = (Encoder::new(codec), Vec::new(), counter());
        c.bench_function(&format!("encode/{}", label(codec)), |b| {
            b.iter(|| {
                bytes.clear();
                encoder.encode(&frames[next() % frames.len()], &mut bytes);
                black_box(&bytes);
            });
        });
        let payloads: Vec<Vec<u8>> = frames
            .iter()
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload);
                payload
            })
            .collect();
        let (mut decoder, mut samples, mut next) = (Decoder::new(codec), Vec::new(), counter());
        c.bench_function(&format!("decode/{}", label(codec)), |b| {
            b.iter(|| {
                samples.clear();
                decoder.decode(&payloads[next() % payloads.len()], &mut samples);
                black_box(&samples);
            });
        });
    }
}

/// Parsing, jitter buffer and decoder together: a packet in, a frame out.
fn jitter(c: &mut Criterion) {
    for codec in [Codec::Pcmu, Codec::G722] {
        for loss in [0, 10] {
            let config = ReceiverConfig {
                codec,
                payload_type: 100,
                telephone_event: Some(101),
                comfort_noise: None,
                jitter: JitterConfig::default(),
            };
            let frames = spoken(codec.rate());
            let (mut receiver, mut sender, start) = (Receiver::new(config), sender(codec), Instant::now());
            // A whole round of sequence numbers, so that it may begin again behind its end.
            let packets: Vec<Vec<u8>> =
                (0..1 << 16).map(|n: usize| sender.packet(&frames[n % frames.len()], false)).collect();
            let mut next = counter();
            c.bench_function(&format!("jitter push+pop/{}, {loss} in 100 lost", label(codec)), |b| {
                b.iter(|| {
                    let n = next();
                    let now = start + FRAME * n as u32;
                    if loss == 0 || n % (100 / loss) != 0 {
                        black_box(receiver.receive(now, &packets[n % packets.len()]));
                    }
                    black_box(receiver.pop(now + FRAME / 2));
                });
            });
        }
    }
}

fn voice(c: &mut Criterion) {
    let frames = spoken(SampleRate::Hz8000);
    let noise: Vec<Frame> = tone::noise(1, -50.0, 32_000)
        .chunks(160)
        .map(|chunk| Frame::from_samples(SampleRate::Hz8000, chunk))
        .collect();
    for (name, frames) in [("speech", &frames), ("steady noise, kept by the gate", &noise)] {
        let (mut vad, mut next) = (Vad::new(), counter());
        c.bench_function(&format!("vad/{name}"), |b| {
            b.iter(|| black_box(vad.push(&frames[next() % frames.len()])));
        });
    }
    let mut streams: Vec<_> = (0..BATCH).map(|_| VadStream::new(Earshot.begin())).collect();
    let mut next = counter();
    c.bench_function(&format!("vad/speech, {BATCH} calls in one batch, all of them"), |b| {
        b.iter(|| {
            let frame = &frames[next() % frames.len()];
            streams.iter_mut().for_each(|stream| stream.push(frame));
            judge(&mut Earshot, &mut streams.iter_mut().collect::<Vec<_>>());
        });
    });
}

fn resample(c: &mut Criterion) {
    for (from, to) in [(8_000, 16_000), (16_000, 8_000), (24_000, 8_000), (48_000, 16_000)] {
        let (mut resampler, mut out) = (Resampler::new(from, to), Vec::new());
        let samples = tone::noise(1, -20.0, from as usize / 50);
        c.bench_with_input(
            BenchmarkId::new("resample", format!("{from} to {to} Hz")),
            &samples,
            |b, samples| {
                b.iter(|| {
                    out.clear();
                    resampler.push(samples, &mut out);
                    black_box(&out);
                });
            },
        );
    }
}

fn srtp(c: &mut Criterion) {
    for profile in [SrtpProfile::AesCm128HmacSha1_80, SrtpProfile::AeadAes128Gcm] {
        let key = [7; 30];
        let key = if profile == SrtpProfile::AeadAes128Gcm { &key[..28] } else { &key[..] };
        let packet = |sequence: u16| {
            let (mut packet, payload) = (Vec::new(), [0x5a; 160]);
            let head = RtpPacket {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: 0,
                ssrc: 7,
                payload: &payload,
            };
            head.write(&mut packet);
            packet
        };
        let Ok(mut end) = Srtp::new(profile, key, key) else { continue };
        let mut next = counter();
        c.bench_function(&format!("srtp seal/{profile:?}"), |b| {
            b.iter(|| black_box(end.seal_rtp(&packet(next() as u16))));
        });
        // Opened in order and each once, as replay protection wants it: sealing is in the measured time, once more.
        let (Ok(mut from), Ok(mut to)) = (Srtp::new(profile, key, key), Srtp::new(profile, key, key)) else {
            continue;
        };
        let mut next = counter();
        c.bench_function(&format!("srtp seal+open/{profile:?}"), |b| {
            b.iter(|| {
                let sealed = from.seal_rtp(&packet(next() as u16)).unwrap_or_default();
                black_box(to.open_rtp(&sealed).is_ok())
            });
        });
    }
}

fn out(c: &mut Criterion) {
    let frames = spoken(SampleRate::Hz8000);
    let (mut sender, mut next) = (sender(Codec::Pcmu), counter());
    c.bench_function("sender/PCMU, one packet", |b| {
        b.iter(|| black_box(sender.packet(&frames[next() % frames.len()], false)));
    });
    let (mut playout, mut next) = (Playout::new(SampleRate::Hz8000), counter());
    c.bench_function("playout/push and next frame", |b| {
        b.iter(|| {
            playout.push(SegmentId(0), frames[next() % frames.len()].samples());
            black_box(playout.next_frame());
        });
    });
    let mut playout = Playout::new(SampleRate::Hz8000);
    playout.set_comfort_noise(Some(ComfortNoise::white(-65.0, 1)));
    c.bench_function("playout/a pause with comfort noise", |b| b.iter(|| black_box(playout.next_frame())));
}

/// What is done with each frame besides: who sounds like whom, what has a pitch, how loud it is, and handing it on.
fn sides(c: &mut Criterion) {
    let frames = spoken(SampleRate::Hz8000);
    let (mut echo, mut next) = (EchoGuard::default(), counter());
    c.bench_function("echo guard/both directions, not compared", |b| {
        b.iter(|| {
            let frame = &frames[next() % frames.len()];
            echo.sent(frame);
            echo.received(frame);
        });
    });
    // Both sides speak and are not alike: every delay is looked at.
    let others: Vec<_> = frames.iter().rev().cloned().collect();
    c.bench_function("echo guard/both directions, compared", |b| {
        b.iter(|| {
            let now = next() % frames.len();
            echo.sent(&frames[now]);
            echo.received(&others[now]);
            black_box(echo.is_echo());
        });
    });
    let (mut pitch, mut next) = (Pitch::default(), counter());
    c.bench_function("pitch/followed, not asked", |b| b.iter(|| pitch.push(&frames[next() % frames.len()])));
    let mut next = counter();
    c.bench_function("frame/level", |b| b.iter(|| black_box(frames[next() % frames.len()].level_dbfs())));
    let (mut hands, mut next) = (Vec::new(), counter());
    c.bench_function("frame/made, and through ten hands", |b| {
        b.iter(|| {
            let mut frame = Frame::from_samples(SampleRate::Hz8000, frames[next() % frames.len()].samples());
            for _ in 0..10 {
                hands.push(black_box(frame));
                frame = hands.pop().unwrap_or(Frame::silence(SampleRate::Hz8000));
            }
            black_box(frame);
        });
    });
}

criterion_group!(stages, codecs, jitter, voice, resample, srtp, out, sides);
criterion_main!(stages);
