//! Prints how well and how fast the recogniser and the voice are on this machine:
//! `cargo run --release -p pocketsphinx-engine --example bench [flite]`. With `flite`, Debian's flite speaks too.

use pico_engine::Voice;
use pocketsphinx_engine::{Model, ModelConfig, Recogniser, Search, Utterance};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "../tests/domain/mod.rs"]
mod domain;

type Failure = Box<dyn std::error::Error>;
type Say = Box<dyn FnMut(&str) -> Result<Vec<i16>, Failure>>;

fn main() -> Result<(), Failure> {
    let config = ModelConfig {
        sentences: domain::sentences(),
        pronunciations: BTreeMap::from([("acme".to_owned(), "AE K M IY".to_owned())]),
        model_dir: None,
    };
    let begin = Instant::now();
    let mut model = Model::new(&config)?;
    println!(
        "{} sentences, {} words: model in {:.1?}",
        config.sentences.len(),
        model.vocabulary(),
        begin.elapsed()
    );
    model.add_grammar("digits-only", domain::DIGITS_JSGF);
    let before = resident_kb();
    let begin = Instant::now();
    let mut recogniser = model.recogniser()?;
    println!("first recogniser in {:.1?}, {} KB", begin.elapsed(), resident_kb() - before);
    voice_figures()?;

    let mut voices: Vec<(String, Say)> = Vec::new();
    let mut pico = Voice::new()?;
    voices.push((
        "pico".to_owned(),
        Box::new(move |text| Ok(pico.speak_8k(text).collect::<Result<Vec<_>, _>>()?.concat())),
    ));
    if std::env::args().any(|argument| argument == "flite") {
        for name in ["rms", "slt", "awb", "kal16"] {
            voices.push((name.to_owned(), Box::new(move |text| flite(name, text))));
        }
    }
    for (name, say) in &mut voices {
        for (title, tests, searches) in [
            ("sentences", &domain::TESTS[..], &[Search::Any][..]),
            ("digits", &domain::DIGITS[..], &[Search::Any, Search::Digits]),
            ("yes/no", &domain::YES_NO[..], &[Search::Any, Search::YesNo]),
            ("wrong expectation (digits)", &domain::TESTS[..], &[Search::Digits]),
            ("wrong expectation (yes/no)", &domain::TESTS[..], &[Search::YesNo]),
        ] {
            for search in searches {
                let mut score = Score::default();
                for text in tests {
                    let audio = say(text)?;
                    recogniser.reset();
                    recogniser.select(*search);
                    score.count(text, &audio, &mut recogniser);
                }
                println!("{name:>6} {title} as {search:?}: {score}");
            }
        }
        let mut score = Score::default();
        for text in &domain::DIGITS {
            let audio = say(text)?;
            recogniser.reset();
            recogniser.select_grammar(c"digits-only");
            score.count(text, &audio, &mut recogniser);
        }
        println!("{name:>6} digits as JSGF: {score}");
        let mut score = Score::default();
        for text in &domain::FOREIGN {
            let audio = say(text)?;
            recogniser.reset();
            score.count(text, &audio, &mut recogniser);
        }
        println!("{name:>6} out of domain: {score}");
    }
    println!("after use: {} KB", resident_kb() - before);
    let more: Vec<Recogniser> = (0..4).map(|_| model.recogniser()).collect::<Result<_, _>>()?;
    println!("with {} more: {} KB", more.len(), resident_kb() - before);
    Ok(())
}

#[derive(Default)]
struct Score {
    words: usize,
    errors: usize,
    exact: usize,
    sentences: usize,
    cpu: Duration,
    audio: Duration,
    slowest_end: Duration,
    fits: Vec<f32>,
}

impl Score {
    fn count(&mut self, text: &str, audio: &[i16], recogniser: &mut Recogniser) {
        let audio = domain::telephone(audio);
        let begin = Instant::now();
        recogniser.push(&[0; 800]);
        recogniser.start_utterance();
        for frame in audio.chunks(160) {
            recogniser.push(frame);
            let _ = recogniser.hypothesis();
        }
        let end = Instant::now();
        let heard: Utterance = recogniser.end_utterance();
        self.slowest_end = self.slowest_end.max(end.elapsed());
        self.cpu += begin.elapsed();
        self.audio += Duration::from_secs_f64(audio.len() as f64 / 8_000.0);
        let errors = domain::word_errors(text, &heard.text());
        if std::env::var_os("SHOW").is_some() && errors > 0 {
            println!("    {text} -> {} {:?}", heard.text(), heard.fit);
        }
        self.words += text.split(' ').count();
        self.errors += errors;
        self.sentences += 1;
        self.exact += usize::from(errors == 0);
        self.fits.extend(heard.fit);
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fits = self.fits.clone();
        fits.sort_by(f32::total_cmp);
        let at = |share: f32| {
            fits.get((share * (fits.len().max(1) - 1) as f32) as usize).copied().unwrap_or_default()
        };
        write!(
            f,
            "WER {:.1} %, exact {}/{}, RTF {:.3}, slowest end {:.1?}, fit {:.1}/{:.1}/{:.1}/{:.1}/{:.1} ({} empty)",
            100.0 * self.errors as f64 / self.words as f64,
            self.exact,
            self.sentences,
            self.cpu.as_secs_f64() / self.audio.as_secs_f64(),
            self.slowest_end,
            at(0.0),
            at(0.1),
            at(0.5),
            at(0.9),
            at(1.0),
            self.sentences - fits.len(),
        )
    }
}

fn voice_figures() -> Result<(), Failure> {
    let before = resident_kb();
    let begin = Instant::now();
    let mut voice = Voice::new()?;
    println!("voice in {:.1?}", begin.elapsed());
    for text in ["Sure.", "I have Tuesday at half past three, does that suit you?"] {
        let begin = Instant::now();
        let mut speech = voice.speak_8k(text);
        let first = speech.next().transpose()?.unwrap_or_default();
        let first_audio = begin.elapsed();
        let rest = speech.collect::<Result<Vec<_>, _>>()?.concat();
        let seconds = (first.len() + rest.len()) as f64 / 8_000.0;
        println!(
            "{text:?}: first audio {first_audio:.1?}, RTF {:.4}",
            begin.elapsed().as_secs_f64() / seconds
        );
    }
    println!("voice: {} KB", resident_kb() - before);
    Ok(())
}

fn flite(voice: &str, text: &str) -> Result<Vec<i16>, Failure> {
    let file = std::env::temp_dir().join(format!("bench-{}.wav", std::process::id()));
    Command::new("flite").args(["-voice", voice, "-t", text, "-o"]).arg(&file).status()?;
    let raw = Command::new("sox")
        .arg(&file)
        .args(["-t", "raw", "-r", "8000", "-b", "16", "-e", "signed", "-c", "1", "-"])
        .output()?;
    std::fs::remove_file(file)?;
    Ok(raw.stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect())
}

fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or_default()
}
