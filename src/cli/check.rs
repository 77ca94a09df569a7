//! `tandem check`: says everything that is wrong with a config file and this machine, offline.
//! Starts nothing and calls nobody.

use super::Exit;
use crate::config::{Config, ConfigError, Overrides, Problem, Secrets, machine};
use std::path::PathBuf;

/// Say everything that is wrong with a config file, offline. Exits with 0 if it can be served, else with 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file; without one, the built-in defaults are checked against this machine.
    file: Option<PathBuf>,
}

/// Prints every problem. `further` finds what the config alone cannot know: engines, agents.
pub fn run(args: &Args, further: impl Fn(&Config) -> Vec<Problem>) -> Exit {
    let name =
        args.file.as_ref().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
    let problems = match Config::load_with(args.file.as_deref(), &Overrides::default(), Secrets::Noted) {
        Ok(config) => {
            let mut problems = config.warnings.clone();
            problems.extend(machine::limits(&config));
            problems.extend(machine::data_dir(&config));
            problems.extend(config.tls_problem());
            problems.extend(further(&config));
            problems
        }
        Err(ConfigError::Wrong(problems)) => problems,
        Err(unreadable @ ConfigError::Unreadable { .. }) => {
            eprintln!("{unreadable}");
            return Exit::Usage;
        }
    };
    for problem in &problems {
        println!("{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    if errors > 0 {
        println!("{name}: {}, {}", count(errors, "error"), count(warnings, "warning"));
        return Exit::Failed;
    }
    let note = if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
    println!("{name}: ok{note}");
    Exit::Done
}
