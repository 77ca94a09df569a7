//! `tandem say`: the embedded voice into a file, for callers that play recordings.
//! Knows file formats. Places no call.

use super::{Exit, audio};
use media::{Codec, Frame};
use std::path::{Path, PathBuf};

/// Speak a text into a file: 8 kHz, 16 bits, one channel.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The words.
    text: String,
    /// Where to write them: a .wav file, or a .ulaw file for SIPp's rtp_stream (G.711 without a header).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Silence before and after the words.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=600_000))]
    pad_ms: u32,
}

/// Writes the file.
pub fn run(args: &Args) -> Exit {
    let Some(format) = Format::of(&args.out) else {
        eprintln!("tandem say: {}: its name must end in .wav or .ulaw", args.out.display());
        return Exit::Usage;
    };
    let samples = match audio::render(std::iter::once(args.text.as_str()), Codec::Pcmu.rate()) {
        Ok(speech) => pad(speech.into_values().flatten(), args.pad_ms),
        Err(message) => {
            eprintln!("tandem say: {message}");
            return Exit::Engine;
        }
    };
    match format.write(&args.out, &samples) {
        Ok(()) => Exit::Done,
        Err(message) => {
            eprintln!("tandem say: {}: {message}", args.out.display());
            Exit::Failed
        }
    }
}

fn pad(speech: impl Iterator<Item = i16>, ms: u32) -> Vec<i16> {
    let silence = || std::iter::repeat_n(0, ms as usize * Codec::Pcmu.rate().frame_samples() / 20);
    silence().chain(speech).chain(silence()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Wav,
    Ulaw,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "wav" => Some(Self::Wav),
            "ulaw" => Some(Self::Ulaw),
            _ => None,
        }
    }

    fn write(self, path: &Path, samples: &[i16]) -> Result<(), String> {
        match self {
            Self::Wav => {
                audio::write_mono(path, samples, Codec::Pcmu.rate()).map_err(|error| error.to_string())
            }
            Self::Ulaw => std::fs::write(path, ulaw(samples)).map_err(|error| error.to_string()),
        }
    }
}

/// Whole frames of code words; the last one is filled up with silence.
fn ulaw(samples: &[i16]) -> Vec<u8> {
    let rate = Codec::Pcmu.rate();
    let mut bytes = Vec::with_capacity(samples.len());
    for frame in samples.chunks(rate.frame_samples()) {
        Codec::Pcmu.encode(&Frame::from_samples(rate, frame), &mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_says_its_format() {
        let format = |name: &str| Format::of(Path::new(name));
        assert_eq!(format("a/speech.ulaw"), Some(Format::Ulaw));
        assert_eq!(format("speech.WAV"), Some(Format::Wav));
        assert_eq!((format("speech.mp3"), format("speech")), (None, None));
    }

    #[test]
    fn ulaw_is_whole_frames_and_silence_is_its_highest_code() {
        assert_eq!(ulaw(&[0; 200]), [0xff; 320]);
    }

    #[test]
    fn padding_is_before_and_after_the_words() {
        assert_eq!(pad([7, 8].into_iter(), 1), [[0; 8].as_slice(), &[7, 8], &[0; 8]].concat());
    }
}
