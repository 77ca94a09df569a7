//! The load agent against the real server, at a small size: what it measures, judges and writes down.
//! Knows both from outside only. Nothing here depends on how fast this machine is.

mod served;

use serde_json::Value;
use served::{Served, repository};

/// Runs `loadtest agent` towards this server; whether all was within the limits, and its JSON.
fn load(server: &Served, arguments: &[&str]) -> (bool, Value) {
    let json = server.path("load.json");
    let (uri, path) = (server.uri(), json.display().to_string());
    let arguments = [&["agent", uri.as_str(), "--json", &path], arguments].concat();
    let good = loadtest::run(arguments).expect("sound arguments");
    let written = std::fs::read_to_string(&json).expect("the JSON was asked for");
    (good, serde_json::from_str(&written).expect("JSON"))
}

fn calls(json: &Value) -> &Vec<Value> {
    json["calls"].as_array().expect("a list of calls")
}

fn scenario(name: &str) -> String {
    repository(&format!("loadtest/scenarios/{name}.toml")).display().to_string()
}

#[test]
fn a_mix_of_callers_is_measured_and_agrees_with_the_traces() {
    let server = Served::start(8, "");
    let (report, api) = (server.path("load.html"), format!("http://{}", server.http));
    let (mix, report_path) = (scenario("mixed"), report.display().to_string());
    let mix = [
        "--scenario",
        &mix,
        "--calls",
        "4",
        "--total",
        "8",
        "--duration",
        "10m",
        "--finish",
        "5m",
        "--seed",
        "3",
    ];
    let further =
        ["--api", &api, "--report", &report_path, "--limit", "failed<=0%", "--limit", "sum_rule<=0"];
    let (good, json) = load(&server, &[&mix[..], &further, &["--codec", "pcma"]].concat());
    assert!(good, "{:#}", json["limits"]);
    assert_eq!(calls(&json).len(), 8);
    for call in calls(&json) {
        let answered = call["setup_ms"].is_number();
        assert!(
            answered || call["status"] == 487,
            "who gave up early is the only one without an answer: {call:#}"
        );
        assert!(!answered || call["codec"] == "PCMA", "{call:#}");
    }
    let count = |name: &str, key: &str| json["figures"][name]["values"][key].as_f64().unwrap_or_default();
    assert!(count("gap", "n") >= 5.0 && count("gap", "p50") > 0.0, "{:#}", json["figures"]["gap"]);
    assert!(count("packet", "n") > 500.0 && count("greeting", "n") >= 5.0, "{:#}", json["figures"]);
    assert_eq!(json["truth"]["sum_violations"], Value::Array(Vec::new()));
    assert!(count("truth", "n") >= 4.0, "turns are found in the traces: {:#}", json["truth"]);
    let html = std::fs::read_to_string(&report).expect("the report was asked for");
    assert!(html.contains("within all limits") && html.matches("<svg").count() >= 4);
}

#[test]
fn a_limit_that_is_exceeded_or_never_measured_fails_the_load() {
    let server = Served::start(2, "");
    let quick = ["--calls", "1", "--total", "1", "--duration", "1s", "--finish", "1s"];
    let (good, json) =
        load(&server, &[&quick[..], &["--limit", "setup.max<=0ms", "--limit", "setup.n>=1"]].concat());
    assert!(!good);
    let met: Vec<&Value> =
        json["limits"].as_array().expect("a list").iter().map(|limit| &limit["met"]).collect();
    assert_eq!(met, [false, true]);
    let (good, _) = load(&server, &[&quick[..], &["--limit", "barge_in.p95<=1s"]].concat());
    assert!(!good, "nothing was interrupted, so nothing is known of it");
}

#[test]
fn strangers_on_a_live_call_change_nothing_and_are_counted_by_the_server() {
    let server = Served::start(2, "");
    let flood = scenario("flood");
    let once = ["--calls", "1", "--total", "1", "--duration", "1s", "--finish", "3m"];
    let (good, json) =
        load(&server, &[&["--scenario", flood.as_str()], &once[..], &["--limit", "unanswered<=0"]].concat());
    assert!(good, "{json:#}");
    let call = &calls(&json)[0];
    assert_eq!(
        (&call["failure"], &call["answers"].as_array().map(Vec::len)),
        (&Value::Null, &Some(1)),
        "{call:#}"
    );
    assert!(call["strangers"].as_u64() > Some(1_000), "{call:#}");
    let trace = server.trace(&["last"]);
    let heard = served::heard(&trace);
    assert!(
        heard.iter().any(|text| text.ends_with("opening hours")),
        "through the flood only {heard:?} was heard"
    );
    // Half of the strangers' packets came from another port, half were no RTP of this call.
    let quality = &server.closed_records(1)[0]["quality"];
    let counted: u64 = ["foreign", "malformed"].iter().filter_map(|key| quality[key].as_u64()).sum();
    assert!(counted > 500, "{quality:#}");
}

#[test]
fn what_the_network_loses_on_the_way_is_what_the_server_misses() {
    let server = Served::start(2, "");
    let talk = ["--say", "What are your opening hours?", "--calls", "1", "--total", "1", "--duration", "16s"];
    let (_, json) =
        load(&server, &[&talk[..], &["--impair-up", "loss=10%", "--seed", "5", "--finish", "5s"]].concat());
    let call = &calls(&json)[0];
    let lost = call["link_up"]["lost"].as_i64().expect("a count");
    let missed = call["they_lost"].as_i64().expect("the server reports what it misses");
    assert!(lost > 30, "{call:#}");
    // Its last report is up to five seconds older than the end of the call, and some of what is lost is RTCP.
    assert!(missed > 0 && missed <= lost, "{missed} of {lost}");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_dialled() {
    let refused = |arguments: &[&str]| loadtest::run([&["agent"], arguments].concat()).expect_err("wrong");
    assert!(refused(&["--limit", "gpa.p95<=1s"]).contains("gap.p95"));
    assert!(refused(&["--rate", "fast"]).contains("5/s"));
    assert!(refused(&["--calls", "0"]).contains("--calls"));
    assert!(refused(&["--impair", "los=1%"]).contains("loss=1%"));
    assert!(refused(&["--codec", "g729"]).contains("PCMU"));
}
