//! What callers say, spoken by the embedded voice or read from files, and what they heard, written to files.
//! Knows text, samples and WAV.

use media::{Resampler, SampleRate};
use pico_engine::Voice;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Texts and their audio.
pub(crate) type Speech = BTreeMap<String, Vec<i16>>;

/// Speaks every text at 8 kHz, each once.
pub(crate) fn speak<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Speech, String> {
    speak_at(SampleRate::Hz8000, texts)
}

/// Speaks every text, each once.
pub(crate) fn speak_at<'a>(
    rate: SampleRate,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Speech, String> {
    let mut voice = Voice::new().map_err(|error| format!("the embedded voice: {error}"))?;
    let mut speech = Speech::new();
    for text in texts {
        if !speech.contains_key(text) {
            let spoken = match rate {
                SampleRate::Hz8000 => voice.speak_8k(text),
                SampleRate::Hz16000 => voice.speak(text),
            };
            let chunks: Result<Vec<Vec<i16>>, _> = spoken.collect();
            let chunks = chunks.map_err(|error| format!("cannot say \"{text}\": {error}"))?;
            speech.insert(text.to_owned(), chunks.concat());
        }
    }
    Ok(speech)
}

/// Reads WAV files of 16 bits; of stereo the left channel.
pub(crate) fn read_files<'a>(
    rate: SampleRate,
    paths: impl IntoIterator<Item = &'a Path>,
) -> Result<BTreeMap<PathBuf, Vec<i16>>, String> {
    let read = |path: &Path| {
        let samples = read(rate, path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path.to_owned(), samples))
    };
    paths.into_iter().map(read).collect()
}

fn read(rate: SampleRate, path: &Path) -> Result<Vec<i16>, hound::Error> {
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
pub(crate) fn write_stereo(
    path: &Path,
    rate: SampleRate,
    (left, right): &(Vec<i16>, Vec<i16>),
) -> Result<(), hound::Error> {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 2, sample_rate: rate.hz(), bits_per_sample: 16, sample_format };
    let mut writer = hound::WavWriter::create(path, spec)?;
    for (left, right) in left.iter().zip(right) {
        writer.write_sample(*left)?;
        writer.write_sample(*right)?;
    }
    writer.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_at_either_rate() {
        let path = std::env::temp_dir().join(format!("loadtest-voice-{}.wav", std::process::id()));
        let tone = media::tone::sine(16_000, 440.0, -12.0, 16_000);
        write_stereo(&path, SampleRate::Hz16000, &(tone.clone(), vec![0; tone.len()])).expect("written");
        let read = |rate| read(rate, &path).expect("read");
        assert_eq!(read(SampleRate::Hz16000), tone);
        let narrow = read(SampleRate::Hz8000);
        assert!((narrow.len() as i64 - 8_000).abs() < 50, "{}", narrow.len());
        let _ = std::fs::remove_file(path);
    }
}
