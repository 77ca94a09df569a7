//! Whole calls with the embedded engines: the real server, the real caller, the scripts of `loadtest/scripts`.
//! What is expected are words and records. How long anything takes is printed by `tandem call`, and judged nowhere.

mod served;

use serde_json::Value;
use served::{Served, heard, level_dbfs, repository, said, wait_for};
use std::process::{Output, Stdio};

/// Calls with a script and gives back the report of a call in which every expectation was met.
fn follow(server: &Served, script: &str) -> Value {
    let script = repository(&format!("loadtest/scripts/{script}.toml"));
    let output = server.call(&["--script", &script.to_string_lossy()]).output().expect("tandem starts");
    let report = report(&output);
    assert!(output.status.success(), "{:?} {report:#}", output.status);
    report
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

fn cause(report: &Value) -> &str {
    report["trace"]["call"]["end_cause"].as_str().unwrap_or("none")
}

/// Rows of the demo's database.
fn rows(server: &Served, question: &str) -> Vec<String> {
    let database = server.data().join("demo.sqlite");
    let database = rusqlite::Connection::open(database).expect("the demo's database");
    let mut statement = database.prepare(question).expect("a good question");
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("it runs");
    rows.collect::<Result<_, _>>().expect("rows of text")
}

#[test]
fn the_opening_hours_are_told_and_the_trace_can_be_read_meanwhile() {
    let server = Served::start(2, "");
    let script = repository("loadtest/scripts/hours.toml");
    let mut call = server.call(&["--script", &script.to_string_lossy(), "--out", "call.wav"]);
    let call = call.stdout(Stdio::piped()).spawn().expect("tandem starts");
    let running = wait_for("a call that is understood while it runs", || {
        let listed = server.records();
        let trace = (!listed.is_empty()).then(|| server.trace(&["last"]))?;
        (trace["running"] == true && !heard(&trace).is_empty()).then_some(trace)
    });
    assert_eq!(server.records()[0]["end_cause"], Value::Null);
    let drawn = server.tandem(&["trace", "last", "--data-dir", "data"]);
    assert!(drawn.status.success() && String::from_utf8_lossy(&drawn.stdout).contains("opening hours"));
    assert!(heard(&running)[0].ends_with("your opening hours"), "{:?}", heard(&running));

    let output = call.wait_with_output().expect("it ends");
    let report = report(&output);
    assert!(output.status.success(), "{report:#}");
    assert!(said(&report["trace"]).contains("from nine in the morning"));
    assert_eq!(cause(&report), "caller_hung_up");
    greeting_is_on_the_right_only(&server);
}

/// Three seconds from the answer on are the greeting: the caller is silent on the left, the agent speaks on the right.
fn greeting_is_on_the_right_only(server: &Served) {
    let mut wav = hound::WavReader::open(server.path("call.wav")).expect("a recording");
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8_000));
    let samples: Vec<i16> = wav.samples().collect::<Result<_, _>>().expect("whole samples");
    let channel = |which: usize| samples.iter().skip(which).step_by(2).copied().collect::<Vec<_>>();
    let (left, right) = (channel(0), channel(1));
    assert!(level_dbfs(&left[..24_000]) < -80.0, "caller: {} dBFS", level_dbfs(&left[..24_000]));
    assert!(level_dbfs(&right[..24_000]) > -35.0, "agent: {} dBFS", level_dbfs(&right[..24_000]));
    let loudest = left.chunks(1_600).map(level_dbfs).fold(-100.0, f64::max);
    assert!(loudest > -35.0, "the caller's question is on the left: {loudest} dBFS");
}

#[test]
fn a_caller_is_understood_whose_speech_is_judged_on_a_thread_for_all_calls() {
    let server = Served::start(2, "[media]\nvad_threads = 1\n");
    let report = follow(&server, "hours");
    assert_eq!(cause(&report), "caller_hung_up");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let judging = tasks.flatten().find(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "vad-0")
    });
    let spent = std::fs::read_to_string(judging.expect("its thread").path().join("schedstat"));
    let spent = spent.expect("the kernel counts").split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
    assert!(spent > Some(1_000_000), "the thread has judged hundreds of frames: {spent:?} ns");
}

#[test]
fn an_appointment_that_was_confirmed_is_in_the_database() {
    let server = Served::start(2, "");
    let report = follow(&server, "booking");
    assert_eq!(cause(&report), "agent_ended");
    let booked =
        rows(&server, "SELECT strftime('%w', day) || ' ' || time || ' ' || lower(name) FROM appointments");
    assert_eq!(booked, ["2 11:00 miller"]);
}

#[test]
fn keyed_digits_reach_the_tool_and_stand_in_no_trace_log_or_file_of_calls() {
    let server = Served::start(2, "[log]\nlevel = \"trace\"\n");
    let report = follow(&server, "account");
    let spoken = said(&report["trace"]);
    assert!(spoken.contains("two hundred forty eight dollars"), "{spoken}");
    for text in [report["trace"].to_string(), server.trace(&["last"]).to_string(), server.log()] {
        let digits: String = text.chars().filter(|c| !" -.,\"".contains(*c)).collect();
        assert!(!digits.contains("12345"), "the account's number is in {text}");
    }
    let mut files = 0;
    for file in std::fs::read_dir(server.data()).expect("a folder").map_while(Result::ok) {
        if file.file_name().to_string_lossy().starts_with("tandem") {
            files += 1;
            let bytes = std::fs::read(file.path()).expect("readable");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("12345") && !text.contains("1 2 3 4 5"), "{:?}", file.path());
        }
    }
    assert!(files > 0, "the calls' database has another name now");
}

#[test]
fn an_agent_that_is_interrupted_falls_silent_and_answers_what_was_said_last() {
    let server = Served::start(2, "");
    let report = follow(&server, "interrupt");
    let trace = &report["trace"];
    let cut = trace["turns"].as_array().expect("turns").iter().find(|turn| !turn["barge_in"].is_null());
    let barge_in = &cut.expect("a turn that was cut")["barge_in"];
    assert!(barge_in["unsaid"].as_str().is_some_and(|text| text.contains("public holidays")), "{barge_in}");
    assert_eq!(report["silences_ms"].as_array().map(Vec::len), Some(1));
    assert!(said(trace).contains("free parking"));
}

#[test]
fn a_graph_of_rules_leads_a_caller_through_without_any_model() {
    let desk = repository("agents/parcel.toml");
    let server = Served::start(2, &format!("[agent]\nfile = {desk:?}\n"));
    let report = follow(&server, "parcel");
    assert_eq!(cause(&report), "agent_ended");
    let trace = report["trace"].to_string();
    assert!(trace.contains("welcome -> number") && trace.contains("found -> hours"), "{trace}");
}

#[test]
fn who_wants_a_person_is_noted_for_a_call_back() {
    let server = Served::start(2, "");
    follow(&server, "person");
    assert_eq!(rows(&server, "SELECT caller FROM callback_requests WHERE done = 0"), ["caller"]);
}

#[test]
fn a_goodbye_ends_the_call_from_the_agents_side() {
    let mut server = Served::start(2, "");
    let report = follow(&server, "goodbye");
    assert_eq!(cause(&report), "agent_ended");
    assert!(server.stop().success(), "{}", server.log());
}

#[test]
fn a_call_that_is_refused_or_disappoints_its_script_fails_the_command() {
    let server = Served::start(
        2,
        "[[trunk]]\nname = \"ours\"\nprofile = \"generic\"\nsources = [\"127.0.0.1\"]\ncalled = [\"demo\"]\n",
    );
    let script = server.path("disappointed.toml");
    let steps = "steps = [ { expect = \"bananas\", within_ms = 1500 }, { hang_up = true } ]";
    std::fs::write(&script, steps).expect("a script");
    let disappointed = server.call(&["--script", "disappointed.toml"]).output().expect("tandem starts");
    assert_eq!(disappointed.status.code(), Some(1));
    assert_eq!(report(&disappointed)["unmet"].as_array().map(Vec::len), Some(1));

    let other = format!("sip:nobody@{}", server.udp);
    let refused = server.tandem(&["call", &other, "--json", "--api", "none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(report(&refused)["status"], 404);
    let records = server.closed_records(2);
    assert_eq!(records[1]["end_cause"], "no_trunk");
}
