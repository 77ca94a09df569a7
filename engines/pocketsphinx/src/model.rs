//! What one agent's callers may say, ready to be loaded into any number of recognisers.
//! Reads the acoustic model's directory and the dictionary; knows nothing of calls.

use crate::decoder::{Decoder, Files};
use crate::dictionary::{Dictionary, DictionaryError};
use crate::language_model::LanguageModel;
use crate::recogniser::{Recogniser, Search};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// What a model is built from.
#[derive(Clone, Debug, Default)]
pub struct ModelConfig {
    /// What callers may say, as lower-case words.
    pub sentences: Vec<Vec<String>>,
    /// Phones (ARPAbet) of words that CMUdict lacks or says differently; `|` separates alternatives.
    pub pronunciations: BTreeMap<String, String>,
    /// Holds `en-us/` and `cmudict-en-us.dict`; by default where Debian installs them.
    pub model_dir: Option<PathBuf>,
}

/// Why there is no model or no recogniser.
#[derive(Debug)]
pub enum ModelError {
    /// There are no sentences, hence no words to listen for.
    NoSentences,
    /// The installed model cannot be read.
    Unreadable {
        /// What was looked for.
        path: PathBuf,
        /// What went wrong.
        error: std::io::Error,
    },
    /// A word cannot be pronounced.
    Dictionary(DictionaryError),
    /// No place for temporary files.
    Scratch(std::io::Error),
    /// PocketSphinx refused; the name of the step.
    Refused(&'static str),
}

impl std::fmt::Display for ModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSentences => {
                write!(f, "the recogniser needs example sentences to know which words to expect")
            }
            Self::Unreadable { path, error } => write!(
                f,
                "cannot read {}: {error}; the model comes with the Debian package pocketsphinx-en-us",
                path.display()
            ),
            Self::Dictionary(error) => error.fmt(f),
            Self::Scratch(error) => write!(f, "cannot write temporary files for the recogniser: {error}"),
            Self::Refused(step) => write!(f, "PocketSphinx refused the {step}"),
        }
    }
}

impl std::error::Error for ModelError {}

/// Everything a recogniser is loaded from.
pub struct Model {
    acoustic: PathBuf,
    dictionary: String,
    searches: Vec<(Search, String)>,
    grammars: Vec<(String, String)>,
    vocabulary: usize,
}

const ACOUSTIC_FILES: [&str; 6] =
    ["mdef", "means", "variances", "transition_matrices", "sendump", "noisedict"];

/// How much likelier what the agent asked for is than everything else together.
const EXPECTED_SHARE: f64 = 4.0;

impl Model {
    /// Finds the acoustic model, picks the dictionary's words and counts the sentences.
    ///
    /// # Errors
    /// See [`ModelError`]: something is missing on the machine or in the agent's words.
    pub fn new(config: &ModelConfig) -> Result<Self, ModelError> {
        let dir =
            config.model_dir.clone().unwrap_or_else(|| Path::new(env!("POCKETSPHINX_MODELS")).join("en-us"));
        let acoustic = dir.join("en-us");
        for file in ACOUSTIC_FILES {
            readable(&acoustic.join(file))?;
        }
        let mut any = LanguageModel::new();
        for sentence in &config.sentences {
            any.add(sentence, 1.0);
        }
        if any.weight() == 0.0 {
            return Err(ModelError::NoSentences);
        }
        let cmudict = dir.join("cmudict-en-us.dict");
        let cmudict = std::fs::read_to_string(&cmudict)
            .map_err(|error| ModelError::Unreadable { path: cmudict.clone(), error })?;
        let mut words = any.vocabulary();
        let vocabulary = words.len();
        words.extend(
            DIGITS.iter().chain(&MULTIPLES).chain(&YES_NO).flat_map(|p| p.split(' ')).map(str::to_owned),
        );
        let dictionary =
            Dictionary::build(&words, &config.pronunciations, &cmudict).map_err(ModelError::Dictionary)?;
        let searches = vec![
            (Search::YesNo, expecting(&config.sentences, &yes_no_sentences()).to_arpa()),
            (Search::Digits, expecting(&config.sentences, &digit_sentences()).to_arpa()),
            (Search::Any, any.to_arpa()),
        ];
        Ok(Self { acoustic, dictionary: dictionary.to_text(), searches, grammars: Vec::new(), vocabulary })
    }

    /// Adds a JSGF grammar that [`Recogniser::select_grammar`] can switch to. Its words must be in the sentences.
    pub fn add_grammar(&mut self, name: &str, jsgf: &str) {
        self.grammars.push((name.to_owned(), jsgf.to_owned()));
    }

    /// How many words it knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Loads a recogniser. Takes some milliseconds, and some ten megabytes for as long as it lives.
    ///
    /// # Errors
    /// [`ModelError::Scratch`] or [`ModelError::Refused`].
    pub fn recogniser(&self) -> Result<Recogniser, ModelError> {
        let scratch = tempfile::tempdir().map_err(ModelError::Scratch)?;
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            std::fs::write(&path, text).map(|()| path).map_err(ModelError::Scratch)
        };
        let dictionary = write("dictionary", &self.dictionary)?;
        let files = Files { acoustic: &self.acoustic, dictionary: &dictionary };
        let mut decoder =
            Decoder::load(&files).ok_or(ModelError::Refused("acoustic model or the dictionary"))?;
        for (search, text) in &self.searches {
            let path = write("language-model", text)?;
            if !decoder.add_language_model(search.name(), &path) {
                return Err(ModelError::Refused("language model"));
            }
        }
        for (name, jsgf) in &self.grammars {
            let (Ok(name), Ok(jsgf)) = (CString::new(name.as_str()), CString::new(jsgf.as_str())) else {
                return Err(ModelError::Refused("grammar"));
            };
            if !decoder.add_grammar(&name, &jsgf) {
                return Err(ModelError::Refused("grammar"));
            }
        }
        Recogniser::new(decoder).ok_or(ModelError::Refused("search"))
    }
}

fn readable(path: &Path) -> Result<(), ModelError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(ModelError::Unreadable { path: path.to_owned(), error }),
    }
}

/// The agent's sentences, outweighed by the `expected` ones.
fn expecting(sentences: &[Vec<String>], expected: &[Vec<&str>]) -> LanguageModel {
    let mut model = LanguageModel::new();
    for sentence in sentences {
        model.add(sentence, 1.0);
    }
    let weight = (EXPECTED_SHARE * model.weight() / expected.len() as f64).max(1.0);
    for sentence in expected {
        model.add(sentence, weight);
    }
    model
}

const DIGITS: [&str; 11] =
    ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const MULTIPLES: [&str; 2] = ["double", "triple"];

/// Every digit after every other two, so that strings of any length come out evenly likely.
fn digit_sentences() -> Vec<Vec<&'static str>> {
    let mut sentences = Vec::new();
    for a in DIGITS {
        for b in DIGITS {
            // Long strings: most of what follows a digit is another one.
            sentences.extend(DIGITS.map(|c| vec![a, b, c, a, c, b]));
        }
        sentences.extend(MULTIPLES.map(|multiple| vec![a, multiple, a, a]));
    }
    sentences
}

const YES_NO: [&str; 20] = [
    "yes",
    "yeah",
    "yes please",
    "yep",
    "sure",
    "okay",
    "right",
    "that's right",
    "correct",
    "that is correct",
    "of course",
    "no",
    "nope",
    "no thank you",
    "no thanks",
    "not really",
    "that's wrong",
    "that is wrong",
    "wrong",
    "yes that's right",
];

fn yes_no_sentences() -> Vec<Vec<&'static str>> {
    YES_NO.iter().map(|phrase| phrase.split(' ').collect()).collect()
}
