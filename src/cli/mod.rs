//! Commands and what their exit codes mean.
//! Each command's own arguments and work are in the file that bears its name.

mod audio;
pub mod call;
pub mod check;
pub mod init;
pub mod route_test;
pub mod say;
pub mod serve;
pub mod serve_args;
pub mod trace;
pub mod trunks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A voice-agent media server: a SIP trunk in, an AI agent on the line.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve_args::ServeArgs),
    Call(call::Args),
    Say(say::Args),
    Trace(trace::Args),
    Trunks(trunks::Args),
    RouteTest(route_test::Args),
    Init(init::Args),
    Check(check::Args),
}

const EXIT_CODES: &str = "Exit codes:
  0  all went well
  1  the work failed, or a call did not go as expected
  2  wrong arguments or a wrong config file
  3  an address is in use or cannot be bound
  4  an engine or its model is missing
  5  the data directory cannot be used";

/// How the program ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done = 0,
    /// The work failed, or a call did not go as expected.
    Failed = 1,
    /// Wrong arguments or a wrong config file.
    Usage = 2,
    /// An address is in use or cannot be bound.
    Address = 3,
    /// An engine or its model is missing.
    Engine = 4,
    /// The data directory cannot be used.
    DataDir = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command that the arguments name. Wrong arguments end the program with 2.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Call(args) => return call::run(&args),
        Command::Say(args) => say::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Trunks(args) => trunks::run(&args),
        Command::RouteTest(args) => route_test::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args, crate::services::missing_engines),
    };
    exit.into()
}

/// A Call-ID as a path segment: everything but letters and digits escaped.
pub(crate) fn encode(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Asks a server of ours, with the token that it may want.
fn api_client() -> reqwest::Client {
    let mut headers = reqwest::header::HeaderMap::new();
    let token = std::env::var("TANDEM_TOKEN").ok().filter(|token| !token.is_empty());
    let value =
        token.and_then(|token| reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")).ok());
    if let Some(mut value) = value {
        value.set_sensitive(true);
        headers.insert(reqwest::header::AUTHORIZATION, value);
    }
    reqwest::Client::builder().default_headers(headers).build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_free_of_contradictions() {
        Cli::command().debug_assert();
    }
}
