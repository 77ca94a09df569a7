//! The engines inside the server, behind the same traits as every vendor: a first call needs no key and no network.
//! Knows how engines and calls are joined by threads and queues; what engines do is in `engines/`.

#[cfg(feature = "embedded-stt")]
pub mod stt;
pub mod tts;

#[cfg(feature = "embedded-stt")]
pub use stt::{EmbeddedStt, EmbeddedSttConfig};
pub use tts::EmbeddedTts;
