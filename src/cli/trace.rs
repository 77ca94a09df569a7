//! `tandem trace`: the calls there were and are, and one of them turn by turn.
//! Reads the store, so it works while the server runs and when it does not.

mod ladder;
mod list;
mod render;

pub use ladder::render_ladder;
pub use list::render_list;
pub use render::{render_call, render_turn};

use super::{Exit, encode};
use crate::config::{Config, Overrides, Secrets};
use crate::sip_transport::ladder::SipLadder;
use crate::store::{CallFilter, Reader, StoreError};
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

/// Narrower than this nothing is drawn, whatever the terminal says.
const NARROWEST: usize = 60;
/// For output that is no terminal.
const PLAIN_WIDTH: usize = 100;
/// How long the server's API may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Show the newest calls, or one call turn by turn with where its time went.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The call: its id or the first digits of it, its SIP Call-ID, or `last`. Without one, the newest calls are listed.
    call: Option<String>,
    /// Draw the SIP messages of the call instead, from the memory of the running server.
    #[arg(long, requires = "call")]
    sip: bool,
    /// With --sip: print every message in full.
    #[arg(long, requires = "sip")]
    full: bool,
    /// With --sip: the server's HTTP API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    api: String,
    /// Print JSON, as the HTTP API does.
    #[arg(long)]
    json: bool,
    /// How many calls to list.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "call")]
    limit: u32,
    /// Where the database lives.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's config file, which says where the database lives.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
}

/// Prints what was asked for.
pub fn run(args: &Args) -> Exit {
    if let (true, Some(asked)) = (args.sip, &args.call) {
        return match sip(args, asked) {
            Ok(text) => print(&text),
            Err(message) => {
                eprintln!("tandem trace: {message}");
                Exit::Failed
            }
        };
    }
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    // The keys of providers are of no interest here.
    let config = match Config::load_with(args.config.as_deref(), &overrides, Secrets::Noted) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    match Reader::of(&config.server.data_dir, &config.store.database).and_then(|reader| text(args, &reader)) {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("{error}");
            exit_code(&error)
        }
    }
}

/// The ladder of a call, as text or JSON.
fn sip(args: &Args, asked: &str) -> Result<String, String> {
    let url = format!("{}/calls/{}/sip", args.api.trim_end_matches('/'), encode(asked));
    let (success, body) = get(&url).map_err(|error| {
        format!("nothing answers at {}: {error}; say where the server's HTTP API is with --api", args.api)
    })?;
    if !success {
        let error: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let part = |name: &str| safe(error["error"][name].as_str().unwrap_or("no answer that makes sense"));
        return Err(format!("{}; {}", part("what"), part("instead")));
    }
    let ladder: SipLadder = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    if args.json {
        return serde_json::to_string_pretty(&ladder).map_err(|error| error.to_string());
    }
    Ok(render_ladder(&ladder, terminal().0, args.full))
}

/// Asks the API: whether it gave what was asked for, and its answer.
fn get(url: &str) -> Result<(bool, String), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asking = async {
        let answer = reqwest::Client::new().get(url).timeout(ANSWER).send().await?;
        Ok::<_, reqwest::Error>((answer.status().is_success(), answer.text().await?))
    };
    runtime.map_err(|error| error.to_string())?.block_on(asking).map_err(|error| error.to_string())
}

/// What is printed, in full.
fn text(args: &Args, reader: &Reader) -> Result<String, StoreError> {
    let (width, colour) = terminal();
    let json = |value: serde_json::Result<String>| value.map_err(|error| StoreError::Io(error.into()));
    let Some(asked) = &args.call else {
        let calls = reader.calls(&CallFilter { limit: args.limit, ..CallFilter::default() })?;
        return if args.json {
            json(serde_json::to_string_pretty(&serde_json::json!({ "calls": calls })))
        } else {
            Ok(render_list(&calls, width, colour))
        };
    };
    let trace = reader.trace(asked)?;
    if args.json {
        json(serde_json::to_string_pretty(&trace))
    } else {
        Ok(render_call(&trace, width, colour))
    }
}

/// A reader of ours that goes away early, such as `head`, is no failure.
fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out
        .write_all(text.trim_end().as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            eprintln!("cannot write: {error}");
            Exit::Failed
        }
    }
}

/// The exit code that an error of the store stands for.
pub(super) fn exit_code(error: &StoreError) -> Exit {
    match error {
        StoreError::Unknown { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::Rejected { .. }
        | StoreError::Unreachable { .. }
        | StoreError::Database { .. } => Exit::Failed,
        StoreError::NotWritable { .. }
        | StoreError::InUse { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Newer { .. }
        | StoreError::Absent { .. }
        | StoreError::Io(_) => Exit::DataDir,
    }
}

/// How wide standard output is, in characters, and whether it shows colours (`NO_COLOR` turns them off).
pub fn terminal() -> (usize, bool) {
    let out = io::stdout();
    if !out.is_terminal() {
        return (PLAIN_WIDTH, false);
    }
    let width = rustix::termios::tcgetwinsize(&out).map_or(PLAIN_WIDTH, |size| usize::from(size.ws_col));
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (width.max(NARROWEST), colour)
}

/// Text from outside as a terminal may have it: without anything that moves its cursor or turns its words around.
fn safe(text: &str) -> String {
    let unsafe_ = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if unsafe_(c) { '?' } else { c }).collect()
}

/// A moment as it is written everywhere: UTC, to the second.
fn moment(unix_us: i64) -> String {
    jiff::Timestamp::from_microsecond(unix_us)
        .map_or_else(|_| unix_us.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// Microseconds as seconds with `digits` after the point.
fn in_seconds(us: u64, digits: usize) -> String {
    let millis = us / 1_000;
    let (whole, rest) = (millis / 1_000, format!("{:03}", millis % 1_000));
    format!("{whole}.{} s", &rest[..digits.clamp(1, 3)])
}

/// Microseconds as whole milliseconds, rounded.
fn millis(us: u64) -> u64 {
    us.saturating_add(500) / 1_000
}
