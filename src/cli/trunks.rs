//! `tandem trunks`: how each trunk of a running server stands.
//! Asks the server's HTTP API and draws a table. Decides nothing.

use super::Exit;
use crate::{
    http::TrunkList,
    trunks::{RegistrationState, TrunkState},
};
use jiff::{Timestamp, tz::TimeZone};
use std::time::Duration;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show each trunk of the running server: registered, reachable, its last failure and its calls.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server's HTTP API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    api: String,
    /// Print JSON, as the HTTP API does.
    #[arg(long)]
    json: bool,
}

/// Prints the table.
pub fn run(args: &Args) -> Exit {
    let url = format!("{}/trunks", args.api.trim_end_matches('/'));
    match ask(&url) {
        Ok(list) if args.json => match serde_json::to_string_pretty(&list) {
            Ok(text) => print(&text),
            Err(error) => fail(&error.to_string()),
        },
        Ok(list) => print(&table(&list.trunks, &TimeZone::system(), Timestamp::now())),
        Err(error) => fail(&format!("{url}: {error}; is the server running, and is --api its http.listen?")),
    }
}

fn ask(url: &str) -> Result<TrunkList, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let _another_may_have_been_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    runtime.block_on(async {
        let asked = super::api_client().get(url).timeout(PATIENCE).send().await;
        let answer =
            asked.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    })
}

fn print(text: &str) -> Exit {
    use std::io::Write as _;
    // A reader that goes away early, such as `head`, is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    Exit::Done
}

fn fail(message: &str) -> Exit {
    eprintln!("tandem trunks: {message}");
    Exit::Failed
}

const HEADER: [&str; 6] = ["NAME", "PROFILE", "REGISTERED", "REACHABLE", "CALLS", "LAST FAILURE"];

/// The table, with columns as wide as they need to be.
pub fn table(trunks: &[TrunkState], zone: &TimeZone, now: Timestamp) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(trunks.iter().map(|trunk| row(trunk, zone, now)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(trunk: &TrunkState, zone: &TimeZone, now: Timestamp) -> [String; 6] {
    let clock = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let registered = match &trunk.registration {
        None if trunk.bindings > 0 => format!("{} with us", trunk.bindings),
        None => "-".to_owned(),
        Some(registration) => match (registration.state, registration.until, registration.retry_at) {
            (RegistrationState::Registered, Some(until), _) => format!("until {}", clock(until)),
            (RegistrationState::Registered, None, _) => "yes".to_owned(),
            (RegistrationState::Registering, ..) => "asking".to_owned(),
            (RegistrationState::Unregistered, ..) => "no".to_owned(),
            (RegistrationState::Failed, _, Some(at)) => format!("no, again at {}", clock(at)),
            (RegistrationState::Failed, _, None) => "no".to_owned(),
        },
    };
    let reachable = match (trunk.reachable, trunk.rtt_ms) {
        (Some(true), Some(rtt)) => format!("{rtt:.1} ms"),
        (Some(true), None) => "yes".to_owned(),
        (Some(false), _) => "no".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let failure = trunk.last_failure.as_ref().map_or_else(String::new, |failure| {
        let ago = now.duration_since(failure.at).as_secs().max(0);
        format!("{} ({ago} s ago)", failure.reason)
    });
    let calls = match trunk.overflow {
        0 => trunk.calls.to_string(),
        overflow => format!("{}+{overflow}", trunk.calls),
    };
    [trunk.name.clone(), trunk.profile.clone(), registered, reachable, calls, failure]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_says_what_a_person_wants_to_know() {
        let trunk = |name: &str, registration, reachable, rtt_ms, last_failure| {
            let state = json!({
                "name": name, "profile": "generic", "registration": registration, "targets": [],
                "reachable": reachable, "rtt_ms": rtt_ms, "last_failure": last_failure, "bindings": 0,
                "calls": 2, "overflow": 0, "refused": {}, "attempts": {},
            });
            serde_json::from_value::<TrunkState>(state).expect("a state")
        };
        let until = json!({
            "state": "registered", "registrar": "sip:pbx", "until": "2026-01-02T10:00:00Z", "retry_at": null,
        });
        let failed = json!({
            "state": "failed", "registrar": "sip:pbx", "until": null, "retry_at": "2026-01-02T09:01:00Z",
        });
        let failure = json!({ "at": "2026-01-02T09:00:00Z", "reason": "REGISTER: 403 Forbidden" });
        let trunks = [
            trunk("pbx", until, Some(true), Some(1.25), json!(null)),
            trunk("carrier", failed, None, None, failure),
        ];
        let now = "2026-01-02T09:00:30Z".parse().expect("a time");
        let table = table(&trunks, &TimeZone::UTC, now);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("NAME") && lines[0].ends_with("LAST FAILURE"), "{table}");
        assert!(lines[1].contains("until 10:00:00") && lines[1].contains("1.2 ms"), "{table}");
        assert!(lines[2].contains("no, again at 09:01:00"), "{table}");
        assert!(lines[2].ends_with("REGISTER: 403 Forbidden (30 s ago)"), "{table}");
    }
}
