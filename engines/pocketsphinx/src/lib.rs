//! Speech-to-text on the server's own processor: Debian's PocketSphinx, told beforehand what the agent's callers may say.
//! Knows audio at 8 kHz and words. Knows nothing of calls, threads or providers.

mod decoder;
mod dictionary;
mod ffi;
mod frontend;
mod language_model;
mod model;
mod recogniser;

pub use dictionary::{Dictionary, DictionaryError};
pub use frontend::{CEPSTRA, Cepstrum, ChannelMean, FrontEnd};
pub use language_model::LanguageModel;
pub use model::{Model, ModelConfig, ModelError};
pub use recogniser::{Recogniser, Search, Utterance, Word};
