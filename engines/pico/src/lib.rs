//! Text-to-speech on the server's own processor: SVOX Pico, its American voice inside the binary.
//! Knows text and samples. Knows nothing of calls, turns or providers.

mod half_band;
mod text;
mod voice;

pub use half_band::HalfBand;
pub use text::spoken;
pub use voice::{Speech, Voice, VoiceError};
