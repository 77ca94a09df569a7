//! The embedded voice is not taken for pressed keys, however high or low and loud it speaks.
//! Here and not in `media`, which knows no voice.
#![allow(missing_docs)]

use media::{Codec, Digit, Frame, InBandDigits, Resampler, SampleRate};
use pico_engine::Voice;

/// Many vowels that are sung at the frequencies of keys, and the names of the keys.
const TEXT: &str = "Good morning, thank you for calling. Would you prefer Tuesday at a quarter to four, or Thursday? \
    Blue moon, cool pool, we see three green trees, he keeps bees, she sells sea shells by the sea shore. \
    Hello? Are you there? Your number is zero one two three four five six seven eight nine, star, hash.";

/// What in-band detection makes of speech that went through µ-law.
fn keys(samples: &[i16], gain: f32) -> String {
    let mut digits = InBandDigits::new(SampleRate::Hz8000);
    let mut found = String::new();
    for chunk in samples.chunks(160) {
        let louder: Vec<i16> = chunk.iter().map(|sample| (f32::from(*sample) * gain) as i16).collect();
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        Codec::Pcmu.encode(&Frame::from_samples(SampleRate::Hz8000, &louder), &mut bytes);
        Codec::Pcmu.decode(&bytes, &mut again);
        found.extend(digits.push(&Frame::from_samples(SampleRate::Hz8000, &again)).map(|Digit(key)| key));
    }
    found
}

#[test]
fn a_voice_is_not_a_key_at_any_pitch_or_level() -> Result<(), Box<dyn std::error::Error>> {
    let mut voice = Voice::new()?;
    let spoken = voice.speak_8k(TEXT).collect::<Result<Vec<_>, _>>()?.concat();
    assert!(spoken.len() > 8_000 * 10, "it did speak");
    for from in (5_600..=11_200).step_by(400) {
        let (mut resampler, mut pitched) = (Resampler::new(from, 8_000), Vec::new());
        resampler.push(&spoken, &mut pitched);
        for gain in [0.3, 1.0, 2.5] {
            assert_eq!(keys(&pitched, gain), "", "{from} Hz, gain {gain}");
        }
    }
    Ok(())
}
