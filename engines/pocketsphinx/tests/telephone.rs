//! Spoken by the embedded voice, narrowed to what a telephone leaves, and understood again.
//! The bounds are loose: they notice a broken front-end, not a bad day.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod domain;

use pico_engine::Voice;
use pocketsphinx_engine::{Model, ModelConfig, ModelError, Recogniser, Search, Utterance};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

fn model() -> Model {
    let pronunciations = BTreeMap::from([("acme".to_owned(), "AE K M IY".to_owned())]);
    let config = ModelConfig { sentences: domain::sentences(), pronunciations, model_dir: None };
    Model::new(&config).unwrap()
}

fn hear(recogniser: &mut Recogniser, audio: &[i16]) -> Utterance {
    recogniser.push(&[0; 1_600]);
    assert!(recogniser.start_utterance());
    for frame in domain::telephone(audio).chunks(160) {
        recogniser.push(frame);
    }
    recogniser.end_utterance()
}

fn pico(voice: &mut Voice, text: &str) -> Vec<i16> {
    voice.speak_8k(text).collect::<Result<Vec<_>, _>>().unwrap().concat()
}

/// Share of the words that were understood.
fn understood(recogniser: &mut Recogniser, mut say: impl FnMut(&str) -> Vec<i16>, tests: &[&str]) -> f64 {
    let (mut words, mut errors) = (0, 0);
    for text in tests {
        let heard = hear(recogniser, &say(text)).text();
        words += text.split(' ').count();
        errors += domain::word_errors(text, &heard);
    }
    1.0 - errors as f64 / words as f64
}

#[test]
fn a_call_is_understood() {
    let mut recogniser = model().recogniser().unwrap();
    let mut voice = Voice::new().unwrap();
    let share = understood(&mut recogniser, |text| pico(&mut voice, text), &domain::TESTS);
    assert!(share > 0.8, "{share:.2} of the words");
}

#[test]
fn flite_is_understood_where_it_is_installed() {
    if Command::new("flite").arg("--version").output().is_err()
        || Command::new("sox").arg("--version").output().is_err()
    {
        eprintln!("flite or sox is not installed: skipped");
        return;
    }
    let mut recogniser = model().recogniser().unwrap();
    let share = understood(&mut recogniser, flite, &domain::TESTS[..12]);
    assert!(share > 0.85, "{share:.2} of the words");
}

fn flite(text: &str) -> Vec<i16> {
    let file = std::env::temp_dir().join(format!("tandem-test-{}.wav", std::process::id()));
    Command::new("flite").args(["-voice", "rms", "-t", text, "-o"]).arg(&file).status().unwrap();
    let raw = Command::new("sox")
        .arg(&file)
        .args(["-t", "raw", "-r", "8000", "-b", "16", "-e", "signed", "-"])
        .output();
    std::fs::remove_file(file).unwrap();
    raw.unwrap().stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

#[test]
fn digits_are_understood_when_digits_are_expected() {
    let mut recogniser = model().recogniser().unwrap();
    let mut voice = Voice::new().unwrap();
    recogniser.select(Search::Digits);
    let share = understood(&mut recogniser, |text| pico(&mut voice, text), &domain::DIGITS);
    assert!(share > 0.7, "{share:.2} of the digits");
}

#[test]
fn who_does_not_say_the_digits_is_understood_all_the_same() {
    let mut recogniser = model().recogniser().unwrap();
    let mut voice = Voice::new().unwrap();
    recogniser.select(Search::Digits);
    let share = understood(&mut recogniser, |text| pico(&mut voice, text), &domain::TESTS);
    assert!(share > 0.7, "{share:.2} of the words");
}

#[test]
fn words_come_while_they_are_spoken() {
    let mut recogniser = model().recogniser().unwrap();
    let mut voice = Voice::new().unwrap();
    let audio = domain::telephone(&pico(&mut voice, "i would like to book an appointment"));
    recogniser.start_utterance();
    let (half, rest) = audio.split_at(audio.len() * 2 / 3);
    recogniser.push(half);
    assert!(recogniser.hypothesis().is_some());
    recogniser.push(rest);
    assert!(recogniser.end_utterance().text().ends_with("appointment"));
    assert_eq!(recogniser.hypothesis(), None);
}

#[test]
fn a_reset_recogniser_is_a_new_one() {
    let model = model();
    let mut voice = Voice::new().unwrap();
    let audio = pico(&mut voice, "cancel my appointment please");
    let mut used = model.recogniser().unwrap();
    understood(&mut used, |text| pico(&mut voice, text), &domain::TESTS[..3]);
    used.reset();
    assert_eq!(hear(&mut used, &audio), hear(&mut model.recogniser().unwrap(), &audio));
}

#[test]
fn silence_has_no_words() {
    let mut recogniser = model().recogniser().unwrap();
    assert_eq!(hear(&mut recogniser, &[0; 8_000]).text(), "");
    assert_eq!(recogniser.end_utterance(), Utterance::default());
    assert!(recogniser.start_utterance());
    assert_eq!(recogniser.end_utterance().words, []);
}

#[test]
fn a_grammar_hears_nothing_else() {
    let mut model = model();
    model.add_grammar("digits-only", domain::DIGITS_JSGF);
    let mut recogniser = model.recogniser().unwrap();
    let mut voice = Voice::new().unwrap();
    assert!(recogniser.select_grammar(c"digits-only"));
    let heard = hear(&mut recogniser, &pico(&mut voice, "four eight three nine two"));
    assert!(heard.words.iter().all(|word| domain::DIGITS_JSGF.contains(&word.text)), "{heard:?}");
    assert!(!recogniser.select_grammar(c"no such grammar"));
}

#[test]
fn what_is_missing_is_said() {
    let words = |text: &str| vec![text.split(' ').map(str::to_owned).collect()];
    let unknown = ModelConfig { sentences: words("hello xyzzyx"), ..ModelConfig::default() };
    let error = Model::new(&unknown).err().unwrap().to_string();
    assert!(error.contains("xyzzyx"), "{error}");
    let nowhere = ModelConfig {
        sentences: words("hello"),
        model_dir: Some(PathBuf::from("/nowhere")),
        ..ModelConfig::default()
    };
    let error = Model::new(&nowhere).err().unwrap().to_string();
    assert!(error.contains("/nowhere") && error.contains("pocketsphinx-en-us"), "{error}");
    assert!(matches!(Model::new(&ModelConfig::default()), Err(ModelError::NoSentences)));
}

#[test]
fn recognisers_on_several_threads_hear_the_same() {
    let model = model();
    let audio = pico(&mut Voice::new().unwrap(), "book tuesday at three thirty");
    let expected = hear(&mut model.recogniser().unwrap(), &audio);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| hear(&mut model.recogniser().unwrap(), &audio))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}
