//! `tandem report` and `tandem export` against calls that can be added up by hand.
//! Knows the commands and the store; every expected number is derived in the comment beside it.

mod example_call;

use call::{CallId, Event, Stamped, latency::TurnLatency};
use conversation::TurnId;
use example_call::Directory;
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};
use tandem::{
    store::{CallRecord, Direction, Store},
    telemetry::Metrics,
};

/// 2025-11-20 09:00:00 UTC in microseconds.
const NINE: i64 = 1_763_629_200_000_000;
const S: i64 = 1_000_000;

fn call(number: u64, begin_s: i64, answered: bool, lasts_s: i64, cause: &str) -> CallRecord {
    let invite = NINE + begin_s * S;
    CallRecord {
        trunk: Some("pbx".into()),
        agent: Some("demo 1".into()),
        caller: "+15550100".to_owned().into(),
        port_slot: Some(0),
        capacity: Some(4),
        concurrency: Some(1),
        answer_us: answered.then_some(invite + S),
        end_us: Some(invite + lasts_s * S + if answered { S } else { 0 }),
        end_cause: Some(cause.into()),
        ..CallRecord::new(CallId(number), Direction::Inbound, format!("{number}@pbx"), invite)
    }
}

fn refused(number: u64, begin_s: i64, cause: &str) -> CallRecord {
    CallRecord { port_slot: None, concurrency: None, ..call(number, begin_s, false, 0, cause) }
}

/// An hour with seven calls, and one that began before it.
fn hour(directory: &Directory) -> Store {
    let (store, _) = directory.store();
    let calls = [
        // Held a port from 08:59 to 09:01: sixty seconds of the hour.
        CallRecord { end_us: Some(NINE + 60 * S), ..call(1, -60, true, 0, "caller_hung_up") },
        CallRecord {
            turns: 10,
            barge_ins: 2,
            fallbacks: 1,
            cost_currency: Some("USD".into()),
            cost_stt: Some(0.1),
            cost_llm: Some(0.2),
            cost_tts: Some(0.3),
            cost_telephony: Some(0.4),
            cost_total: Some(1.0),
            ..call(2, 0, true, 600, "caller_hung_up")
        },
        CallRecord {
            concurrency: Some(2),
            turns: 5,
            cost_currency: Some("USD".into()),
            cost_stt: Some(0.1),
            cost_tts: Some(0.1),
            cost_telephony: Some(0.1),
            ..call(3, 300, true, 600, "agent_ended")
        },
        // Gone after five seconds: abandoned.
        CallRecord { concurrency: Some(3), ..call(4, 360, true, 5, "caller_hung_up") },
        refused(5, 390, "ports_full"),
        // Gave up while it rang, after three seconds.
        CallRecord { concurrency: Some(3), ..call(6, 420, false, 3, "caller_cancelled") },
        CallRecord { turns: 1, fallbacks: 1, ..call(7, 1_200, true, 60, "stt_failed") },
        refused(8, 1_300, "no_trunk"),
        // Another hour.
        call(9, 3_600, true, 9, "caller_hung_up"),
    ];
    calls.into_iter().for_each(|call| store.end_call(call));
    let gap = |turn: u32, ms: u64| {
        let latency = TurnLatency {
            total_us: ms * 1_000,
            budget_us: 0,
            work_budget_us: 0,
            violated_by: None,
            stages: Vec::new(),
        };
        Stamped { at_us: u64::from(turn), event: Event::Latency { turn: TurnId(turn), latency } }
    };
    // Gaps of 100, 200, … 4,000 ms in the call that began with one of four ports in use; three in the other.
    (1..=40).for_each(|turn: u32| store.event(CallId(2), turn.into(), gap(turn, u64::from(turn) * 100)));
    (1..=3).for_each(|turn: u32| store.event(CallId(3), turn.into(), gap(turn, 50)));
    store.flush();
    store
}

fn config(directory: &Directory) -> PathBuf {
    let path = directory.path().join("tandem.toml");
    let text = "[server]\ndata_dir = \".\"\n[agent]\ntime_zone = \"UTC\"\n[[prices.port]]\nmonth = 72.0\n";
    fs::write(&path, text).expect("writable");
    path
}

fn tandem(directory: &Directory, arguments: &[&str]) -> String {
    let config = config(directory).display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(arguments)
        .args(["--config", &config])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

const HOUR: [&str; 4] = ["--since", "2025-11-20T09:00", "--until", "2025-11-20T10:00"];

fn near(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{value} is not {expected}");
}

#[test]
fn every_figure_of_an_hour_is_the_one_that_was_worked_out_by_hand() {
    let directory = Directory::new();
    let _store = hour(&directory);
    let text = tandem(&directory, &[&["report", "--json"], HOUR.as_slice()].concat());
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let f = &all[0];
    let counts = ["offered", "answered", "running", "blocked", "failed", "abandoned", "completed", "dropped"];
    let found: Vec<_> = counts.iter().map(|name| f[name].as_u64().expect("a count")).collect();
    // Seven arrived; 2, 3, 4 and 7 were answered; 5 found no port; 8 no trunk; 4 and 6 gave up; 2 and 3 were completed.
    assert_eq!(found, [7, 4, 0, 1, 1, 2, 2, 1]);
    near(&f["answer_rate"], 4.0 / 7.0);
    near(&f["abandonment_rate"], 2.0 / 7.0);
    near(&f["completion_rate"], 2.0 / 4.0);
    // (600 + 600 + 5 + 60) / 4
    near(&f["handle_seconds"], 316.25);
    near(&f["minutes"], 1_265.0 / 60.0);
    // 60 + 601 + 601 + 6 + 3 + 61 = 1,332 port seconds of 3,600, of four ports.
    near(&f["concurrency"]["busy_seconds"], 1_332.0);
    near(&f["concurrency"]["mean"], 0.37);
    near(&f["utilisation"], 0.0925);
    assert_eq!(f["capacity"], 4);
    assert_eq!(f["concurrency"]["max"], 3);
    // Seconds with none: 2,638; one: 601; two: 352; three: 9. 3,420 are needed: two.
    assert_eq!(f["concurrency"]["p95"], 2);
    let minutes = f["concurrency"]["minutes"].as_array().expect("a list");
    assert_eq!(minutes.len(), 60);
    // The seventh minute: two calls, and a third for six seconds.
    assert_eq!(minutes[6]["max"], 3);
    near(&minutes[6]["mean"], 2.0 + 6.0 / 60.0);
    near(&f["fallback_rate"], 2.0 / 16.0);
    near(&f["calls_with_fallback"], 2.0 / 4.0);
    near(&f["interruptions_per_turn"], 2.0 / 16.0);
    let bands = &f["latency"];
    assert_eq!((&bands[0]["band"], &bands[0]["turns"]), (&Value::from("<50"), &Value::from(40)));
    near(&bands[0]["p50_ms"], 2_000.0);
    near(&bands[0]["p95_ms"], 3_800.0);
    near(&bands[0]["p99_ms"], 4_000.0);
    // Half of the ports: three turns, too few for a percentile.
    assert_eq!((&bands[1]["turns"], &bands[1]["p99_ms"]), (&Value::from(3), &Value::Null));
    assert_eq!(f["causes"]["caller_hung_up"], 2);
    assert_eq!(f["hours"][9], 7);
    let money = &f["money"][0];
    near(&money["calls"], 1.0);
    near(&money["parts"]["stt"], 0.2);
    near(&money["parts"]["telephony"], 0.5);
    assert_eq!(money["calls_unknown"], 1);
    near(&money["per_call"], 1.0);
    // Four ports at 72 for 1/720 of a month; 0.37 of four were used.
    near(&money["reserved"], 0.4);
    near(&money["idle"], 0.4 * (1.0 - 0.0925));
    near(&money["per_concurrent_port_month"], 1.4 / 0.37 * 720.0);
}

#[test]
fn two_periods_stand_side_by_side_in_the_table_and_on_the_page() {
    let directory = Directory::new();
    let _store = hour(&directory);
    let against = ["--against", "2025-11-20T10:00..2025-11-20T11:00"];
    let text = tandem(&directory, &[&["report"], HOUR.as_slice(), &against].concat());
    let line = |name: &str| {
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned()
    };
    let words: Vec<String> = line("offered").split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["offered", "7", "1", "+600.0", "%"], "{text}");
    assert!(line("answer rate").ends_with("-42.9 pt"), "{text}");
    let page = directory.path().join("report.html");
    let page_path = page.display().to_string();
    tandem(&directory, &[&["report", "--html", &page_path], HOUR.as_slice(), &against].concat());
    let html = fs::read_to_string(page).expect("it was written");
    for part in ["<svg", "57.1 %", "ports full", "-42.9 pt", "prefers-color-scheme"] {
        assert!(html.contains(part), "no {part}");
    }
    assert!(!html.contains("http://") && !html.contains("https://"), "it needs nothing else");
}

#[test]
fn an_export_holds_every_call_of_its_period_and_no_number_unless_asked() {
    let directory = Directory::new();
    let _store = hour(&directory);
    let export = |more: &[&str]| tandem(&directory, &[&["export"], HOUR.as_slice(), more].concat());
    let csv = export(&["--format", "csv"]);
    assert_eq!(csv.lines().count(), 1 + 7);
    assert!(csv.starts_with("id,sip_call_id,direction,"), "{csv}");
    assert!(!csv.contains("+15550100") && !csv.contains("@pbx"));
    let json = export(&["--format", "json", "--numbers", "full"]);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let order: Vec<_> = rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
    assert!(order.is_sorted(), "oldest first");
    assert_eq!((&rows[0]["caller"], &rows[0]["cost_total"]), (&Value::from("+15550100"), &Value::from(1.0)));
    assert_eq!(rows[1]["cost_total"], Value::Null);
    assert_eq!(export(&["--format", "json", "--cause", "ports_full"]).lines().count(), 1);
    let file = directory.path().join("calls.parquet").display().to_string();
    export(&["--format", "parquet", "--out", &file]);
    let bytes = fs::read(file).expect("it was written");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn an_export_of_legs_has_a_row_for_each_and_no_number_unless_asked() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    let mut passed_on = example_call::passed_on(CallId(1));
    passed_on.invite_us = NINE + S;
    store.end_call(passed_on);
    store.end_call(refused(2, 5, "ports_full"));
    store.flush();
    let export = |more: &[&str]| {
        tandem(&directory, &[&["export"], HOUR.as_slice(), &["--rows", "legs"], more].concat())
    };
    let csv = export(&["--format", "csv"]);
    assert_eq!(csv.lines().count(), 1 + 3 + 1);
    assert!(csv.starts_with("call,leg,purpose,direction,trunk,peer,") && !csv.contains("+15550100"), "{csv}");
    let json = export(&["--format", "json", "--numbers", "full"]);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["purpose"].as_str(), row["peer"].as_str(), row["sip_status"].as_u64()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("call"), Some("+15550100"), Some(200)),
            (Some("transfer"), Some("desk"), Some(486)),
            (Some("transfer"), Some("desk"), Some(200)),
            (Some("call"), Some("+15550100"), None),
        ]
    );
    let file = directory.path().join("legs.parquet").display().to_string();
    export(&["--format", "parquet", "--out", &file]);
    assert!(fs::read(file).expect("it was written").ends_with(b"PAR1"));
}

#[test]
fn a_list_longer_than_a_page_is_exported_whole_even_if_calls_share_a_moment() {
    let directory = Directory::new();
    let (store, _) = (Store::open(directory.config(), Metrics::default()).expect("it opens"), ());
    // 2,500 calls, ten in each microsecond: no page can end between two of them.
    (0..2_500_u64).for_each(|n| {
        let mut record = call(n + 1, 1, true, 1, "caller_hung_up");
        record.invite_us = NINE + i64::try_from(n / 10).expect("small");
        store.end_call(record);
    });
    store.flush();
    let csv = tandem(&directory, &[&["export"], HOUR.as_slice()].concat());
    assert_eq!(csv.lines().count(), 1 + 2_500);
}
