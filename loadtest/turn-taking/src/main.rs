//! Measures turn-taking on a small corpus that is spoken on the spot: whole calls in the simulation, real audio, the
//! product's own decisions. Beside it, endpointers that only wait for a fixed silence, on the same audio. With `--each`,
//! what became of every one is printed as well.

mod corpus;
mod ends;
mod interruptions;
mod words;

use conversation::Agent;
use pico_engine::Voice;
use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

/// The agent of every call. It says nothing of its own: the simulation's model does.
const AGENT: &str =
    "[agent]\nname = \"measured\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\npersona = \"You answer.\"\n";

/// Half widths of the noise on the line, and what they are in dBFS.
pub(crate) const LINES: [(u16, &str); 3] = [(8, "quiet"), (180, "-50 dBFS"), (570, "-40 dBFS")];

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("turn-taking: {reason}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<(), String> {
    let agent = Arc::new(Agent::parse(AGENT, &BTreeMap::new()).map_err(|error| error.to_string())?);
    let mut voice = Voice::new().map_err(|error| error.to_string())?;
    let each = std::env::args().any(|argument| argument == "--each");
    ends::measure(&mut voice, &agent, each)?;
    interruptions::measure(&mut voice, &agent, each)?;
    words::measure(&mut voice, each)
}

/// The value that `share` (0 to 1) of all stay within.
pub(crate) fn percentile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
}

/// Of how many, in hundredths.
pub(crate) fn percent(part: usize, all: usize) -> f64 {
    part as f64 * 100.0 / all.max(1) as f64
}
