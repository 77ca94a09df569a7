//! Speech from text and files, and what is written as WAV.
//! Knows WAV and the embedded voice, nothing of calls.

use media::{Resampler, SampleRate};
use pico_engine::Voice;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Speaks every text with the embedded voice.
pub(super) fn render<'a>(
    texts: impl Iterator<Item = &'a str>,
    rate: SampleRate,
) -> Result<BTreeMap<String, Vec<i16>>, String> {
    let mut speech = BTreeMap::new();
    let mut voice = None;
    for text in texts {
        if speech.contains_key(text) {
            continue;
        }
        if voice.is_none() {
            voice = Some(Voice::new().map_err(|error| format!("the embedded voice: {error}"))?);
        }
        if let Some(voice) = &mut voice {
            speech.insert(text.to_owned(), say(voice, text, rate)?);
        }
    }
    Ok(speech)
}

fn say(voice: &mut Voice, text: &str, rate: SampleRate) -> Result<Vec<i16>, String> {
    let speech = match rate {
        SampleRate::Hz8000 => voice.speak_8k(text),
        SampleRate::Hz16000 => voice.speak(text),
    };
    let chunks: Result<Vec<_>, _> = speech.collect();
    Ok(chunks.map_err(|error| format!("cannot say \"{text}\": {error}"))?.concat())
}

/// Reads every file as mono at this rate; of stereo the left channel.
pub(super) fn read_files<'a>(
    paths: impl Iterator<Item = &'a Path>,
    rate: SampleRate,
) -> Result<BTreeMap<PathBuf, Vec<i16>>, String> {
    paths
        .map(|path| {
            Ok((path.to_owned(), read(path, rate).map_err(|error| format!("{}: {error}", path.display()))?))
        })
        .collect()
}

fn read(path: &Path, rate: SampleRate) -> Result<Vec<i16>, hound::Error> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err(hound::Error::Unsupported);
    }
    let left = reader.samples::<i16>().step_by(usize::from(spec.channels));
    let samples = left.collect::<Result<Vec<i16>, _>>()?;
    if spec.sample_rate == rate.hz() {
        return Ok(samples);
    }
    let mut resampler = Resampler::new(spec.sample_rate, rate.hz());
    let mut resampled = Vec::new();
    resampler.push(&samples, &mut resampled);
    resampler.finish(&mut resampled);
    Ok(resampled)
}

/// Writes both sides of a call: caller left, agent right.
pub(super) fn write_stereo(
    path: &Path,
    (left, right): &(Vec<i16>, Vec<i16>),
    rate: SampleRate,
) -> Result<(), hound::Error> {
    let mut writer = hound::WavWriter::create(path, spec(2, rate))?;
    for (left, right) in left.iter().zip(right) {
        writer.write_sample(*left)?;
        writer.write_sample(*right)?;
    }
    writer.finalize()
}

/// Writes one voice.
pub(super) fn write_mono(path: &Path, samples: &[i16], rate: SampleRate) -> Result<(), hound::Error> {
    let mut writer = hound::WavWriter::create(path, spec(1, rate))?;
    for sample in samples {
        writer.write_sample(*sample)?;
    }
    writer.finalize()
}

const fn spec(channels: u16, rate: SampleRate) -> hound::WavSpec {
    hound::WavSpec {
        channels,
        sample_rate: rate.hz(),
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    }
}
