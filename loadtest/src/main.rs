//! Load and measurements: `loadtest figures`, `loadtest calls`, `loadtest sip`, `loadtest soak`, `loadtest simulators`.
//! Knows commands. The server under test is a process of its own and is known by its wire, its /proc and its store.

mod bench;
mod calls;
mod figures;
mod fleet;
mod machine;
mod processes;
mod report;
mod sip_bench;
mod sip_text;
mod soak;
mod spread;
mod streams;
mod voice;
mod wire;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

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
    Calls(calls::Args),
    Sip(sip_bench::Args),
    Soak(soak::Args),
    #[command(hide = true)]
    SipAnswerer(sip_bench::answerer::Args),
    #[command(hide = true)]
    Floor(figures::media::floor::Args),
    #[command(hide = true)]
    Echo(figures::media::echo::Args),
    /// Simulates Deepgram, OpenAI and ElevenLabs on one port.
    Simulators(loadtest::simulate::Arguments),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Figures(args) => figures::run(&args).map(|()| true),
        Command::Calls(args) => calls::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Sip(args) => sip_bench::run(&args).map(|()| true),
        Command::SipAnswerer(args) => sip_bench::answerer::run(&args).map(|()| true),
        Command::Floor(args) => figures::media::floor::run(&args).map(|()| true),
        Command::Echo(args) => figures::media::echo::run(&args).map(|()| true),
        Command::Simulators(arguments) => {
            loadtest::simulate::run(arguments).map(|()| true).map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("loadtest: {message}");
            ExitCode::from(2)
        }
    }
}
