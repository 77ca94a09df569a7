//! What the server is tried with: simulators of the outside, and load.
//! Knows commands and wire formats. The server under test is a process of its own and is known by its wire, its /proc and
//! its store.

mod agent;
mod bench;
mod exposition;
mod faults;
mod figures;
mod fleet;
mod machine;
#[path = "../../tests/postgres_server/mod.rs"]
mod postgres_server;
mod processes;
pub mod providers;
mod report;
pub mod simulate;
mod sip_bench;
mod sip_text;
mod soak;
mod spread;
mod streams;
mod voice;
mod wire;

use clap::{Parser, Subcommand};
use std::{ffi::OsString, process::ExitCode};

/// Tries a Tandem server with calls, and measures it.
#[derive(Parser)]
#[command(name = "loadtest")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Figures(figures::Args),
    Faults(faults::Args),
    #[command(alias = "calls")]
    Agent(Box<agent::Args>),
    Sip(sip_bench::Args),
    #[command(hide = true)]
    SipAnswerer(sip_bench::answerer::Args),
    #[command(hide = true)]
    Floor(figures::media::floor::Args),
    #[command(hide = true)]
    Echo(figures::media::echo::Args),
    Soak(soak::Args),
    /// Simulates Deepgram, OpenAI and ElevenLabs on one port.
    Simulators(simulate::Arguments),
}

impl Command {
    fn run(self) -> Result<bool, String> {
        match self {
            Self::Figures(args) => figures::run(&args).map(|()| true),
            Self::Faults(args) => faults::run(&args),
            Self::Agent(args) => agent::run(&args),
            Self::Sip(args) => sip_bench::run(&args).map(|()| true),
            Self::SipAnswerer(args) => sip_bench::answerer::run(&args).map(|()| true),
            Self::Floor(args) => figures::media::floor::run(&args).map(|()| true),
            Self::Echo(args) => figures::media::echo::run(&args).map(|()| true),
            Self::Soak(args) => soak::run(&args),
            Self::Simulators(arguments) => {
                simulate::run(arguments).map(|()| true).map_err(|error| error.to_string())
            }
        }
    }
}

/// Runs the command that the program's arguments name: 0 when all went well, 1 when a call failed or a limit was
/// exceeded, 2 when it could not be tried.
pub fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("loadtest: {message}");
            ExitCode::from(2)
        }
    }
}

/// The same for arguments from elsewhere, without the program's name; false when a call failed or a limit was exceeded.
///
/// # Errors
/// What is wrong with the arguments, or why it could not be tried.
pub fn run<T: Into<OsString>>(arguments: impl IntoIterator<Item = T>) -> Result<bool, String> {
    let arguments = std::iter::once(OsString::from("loadtest")).chain(arguments.into_iter().map(Into::into));
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    cli.command.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_free_of_contradictions() {
        Cli::command().debug_assert();
    }
}
