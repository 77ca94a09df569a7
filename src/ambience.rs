//! The sound of a room, read from a WAV file and made as loud on the line as an agent's file says.
//! Knows files and levels. When it is heard is a call's business.

use call::Ambience;
use media::{Resampler, SampleRate};
use std::path::Path;

/// What is played over and over should not be noticed to repeat, and not fill the memory.
const LENGTHS: std::ops::RangeInclusive<f32> = 1.0..=120.0;
/// Below this there is nothing to make louder.
const SILENT_DBFS: f32 = -80.0;

/// Reads a file, for both rates; of stereo the left channel.
///
/// # Errors
/// In words for whoever wrote the agent's file: what is wrong with the file.
pub fn read(path: &Path, level_dbfs: f32) -> Result<Ambience, String> {
    let mut reader = hound::WavReader::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let spec = reader.spec();
    if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int || spec.channels == 0 {
        return Err(format!("it has {} bits a sample: make it 16 bit PCM", spec.bits_per_sample));
    }
    if spec.sample_rate < SampleRate::Hz8000.hz() {
        return Err(format!("it has {} Hz: a telephone has 8000", spec.sample_rate));
    }
    let seconds = reader.duration() as f32 / spec.sample_rate as f32;
    if !LENGTHS.contains(&seconds) {
        return Err(format!("it is {seconds:.1} s long: make it {} to {} s", LENGTHS.start(), LENGTHS.end()));
    }
    let left = reader.samples::<i16>().step_by(usize::from(spec.channels));
    let left = left.collect::<Result<Vec<i16>, _>>().map_err(|error| format!("it is broken: {error}"))?;
    let at = |rate: SampleRate| {
        let mut resampler = Resampler::new(spec.sample_rate, rate.hz());
        let mut samples = Vec::with_capacity(left.len());
        resampler.push(&left, &mut samples);
        resampler.finish(&mut samples);
        as_loud_as(level_dbfs, samples).map(Into::into)
    };
    let (samples, wide) = (at(SampleRate::Hz8000), at(SampleRate::Hz16000));
    samples.zip(wide).map(|(samples, wide)| Ambience { samples, wide }).ok_or("it is silent".to_owned())
}

/// The same sound with this mean level; nothing, where there is no sound.
fn as_loud_as(dbfs: f32, mut samples: Vec<i16>) -> Option<Vec<i16>> {
    let now = level(&samples);
    if now < SILENT_DBFS {
        return None;
    }
    let gain = 10.0_f32.powf((dbfs - now) / 20.0);
    // A float cast saturates: a bang in a quiet recording is clipped, never wrapped.
    samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * gain).round() as i16);
    Some(samples)
}

/// The mean level, in dB relative to full scale.
fn level(samples: &[i16]) -> f32 {
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let mean = power / samples.len().max(1) as f64;
    (10.0 * (mean / 32_768.0_f64.powi(2)).max(1e-12).log10()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{Playout, tone};
    use std::path::PathBuf;

    fn file(name: &str, spec: hound::WavSpec, samples: &[i16]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-ambience-{}-{name}.wav", std::process::id()));
        let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
        samples.iter().for_each(|sample| writer.write_sample(*sample).expect("room"));
        writer.finalize().expect("room");
        path
    }

    const fn spec(sample_rate: u32, channels: u16) -> hound::WavSpec {
        hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int }
    }

    #[test]
    fn a_room_is_heard_at_the_level_that_was_said() {
        for (rate, written) in [(8_000, -12.0), (44_100, -50.0)] {
            let path = file(&format!("{rate}"), spec(rate, 1), &tone::noise(7, written, rate as usize * 2));
            let room = read(&path, -45.0).expect("a room");
            for (rate, samples) in [(SampleRate::Hz8000, &room.samples), (SampleRate::Hz16000, &room.wide)] {
                let mut playout = Playout::new(rate);
                playout.set_background(Some(std::sync::Arc::clone(samples)));
                let heard: Vec<i16> =
                    (0..150).flat_map(|_| playout.next_frame().frame.samples().to_vec()).collect();
                assert!((level(&heard) + 45.0).abs() < 0.5, "{rate:?}: {} dBFS", level(&heard));
            }
            std::fs::remove_file(path).expect("it is there");
        }
    }

    #[test]
    fn what_is_no_room_is_told_why() {
        let why = |name: &str, spec: hound::WavSpec, samples: &[i16]| {
            let path = file(name, spec, samples);
            let error = read(&path, -45.0).expect_err("no room");
            std::fs::remove_file(path).expect("it is there");
            error
        };
        assert_eq!(why("silent", spec(8_000, 1), &[0; 16_000]), "it is silent");
        assert_eq!(why("short", spec(8_000, 1), &[900; 400]), "it is 0.1 s long: make it 1 to 120 s");
        assert_eq!(why("low", spec(4_000, 1), &[900; 8_000]), "it has 4000 Hz: a telephone has 8000");
        let missing = read(Path::new("/nowhere/room.wav"), -45.0).expect_err("nothing");
        assert!(missing.starts_with("it cannot be read"), "{missing}");
    }
}
