//! What the model is told that the caller has heard, against what was really to be heard when the agent was cut.

use crate::{corpus, percent, percentile};
use conversation::{Context, HeardSentence, TurnId};
use pico_engine::Voice;

/// Cuts of each sentence.
const CUTS: usize = 40;

pub(crate) fn measure(voice: &mut Voice, each: bool) -> Result<(), String> {
    let mut errors = Vec::new();
    for text in corpus::AGENT_SAYS {
        let words: Vec<&str> = text.split(' ').collect();
        let whole = corpus::speak(voice, text)?.samples.len();
        // A word ends where the sentence would end if it were the last one, all in proportion.
        let ends: Result<Vec<usize>, String> = (1..=words.len())
            .map(|count| Ok(corpus::speak(voice, &words[..count].join(" "))?.samples.len().min(whole)))
            .collect();
        let ends = ends?;
        if each {
            println!("    {text}: {:?} of {whole} samples", ends);
        }
        for cut in 0..CUTS {
            let played = whole * cut / CUTS;
            let really = ends.iter().filter(|end| **end <= played).count();
            let mut context = Context::new("");
            context.assistant_sentence(TurnId(1), 0, *text);
            context.heard(TurnId(1), &[HeardSentence { index: 0, fraction: played as f32 / whole as f32 }]);
            let told = context.heard_and_unsaid(TurnId(1)).0.split_whitespace().count();
            errors.push(told.abs_diff(really) as u64);
        }
    }
    let within = errors.iter().filter(|error| **error <= 1).count();
    println!("\nContext after an interruption: {} cuts, by position within the sentence", errors.len());
    println!(
        "  words too many or too few             p50 {}, p95 {}, max {}; at most one in {:.1} %   (aim: <= 1)",
        percentile(&errors, 0.5),
        percentile(&errors, 0.95),
        percentile(&errors, 1.0),
        percent(within, errors.len())
    );
    println!("  Where text-to-speech tells when its words end, those times are used instead.");
    Ok(())
}
