//! What callers say, spoken by the embedded voice.
//! Knows text and samples.

use pico_engine::Voice;
use std::collections::BTreeMap;

/// Texts and their audio, 8 kHz.
pub(crate) type Speech = BTreeMap<String, Vec<i16>>;

/// Speaks every text, each once.
pub(crate) fn speak<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Speech, String> {
    let mut voice = Voice::new().map_err(|error| format!("the embedded voice: {error}"))?;
    let mut speech = Speech::new();
    for text in texts {
        if !speech.contains_key(text) {
            let chunks: Result<Vec<Vec<i16>>, _> = voice.speak_8k(text).collect();
            let chunks = chunks.map_err(|error| format!("cannot say \"{text}\": {error}"))?;
            speech.insert(text.to_owned(), chunks.concat());
        }
    }
    Ok(speech)
}
