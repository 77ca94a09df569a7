//! SIPp as a carrier: each scenario of `loadtest/sipp`, judged by SIPp's exit code and by the server's own records.
//! SIPp is a program of others' that plays its part by the clock; what the server makes of it is what counts.

mod served;

use serde_json::Value;
use served::{PATIENCE, Served, free_ports, heard, missing, repository, wait_for};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A scenario that is being played; killed when dropped.
struct Scenario(Child);

impl Scenario {
    fn start(server: &Served, name: &str, options: &[&str]) -> Self {
        assert_eq!(missing("sipp", "sip-tester"), None);
        let mut sipp = Command::new("sipp");
        // A port for SIP, and room for the media ports of some calls.
        let ports = free_ports(80);
        let scenario = repository(&format!("loadtest/sipp/{name}.xml"));
        sipp.arg(server.udp.to_string()).arg("-sf").arg(scenario).args(["-s", "demo", "-nostdin"]);
        sipp.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-timeout_error"]);
        sipp.args(["-timeout", &format!("{}s", PATIENCE.as_secs())]);
        sipp.args(["-p", &ports.start.to_string(), "-mp", &(ports.start + 2).to_string()]);
        sipp.args(options).current_dir(server.path("."));
        Self(sipp.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("SIPp starts"))
    }

    fn end(mut self) -> ExitStatus {
        wait_for("the end of SIPp", || self.0.try_wait().expect("it is ours"))
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

fn say(server: &Served, text: &str) {
    let said = server.tandem(&["say", text, "--out", "speech.ulaw"]);
    assert!(said.status.success(), "{said:?}");
}

fn all(records: &[Value], key: &str, expected: &Value) {
    for record in records {
        assert_eq!(&record[key], expected, "{key} of {record:#}");
    }
}

#[test]
fn ten_callers_at_five_a_second_are_all_understood() {
    let server = Served::start(12, "");
    say(&server, "What are your opening hours?");
    assert!(Scenario::start(&server, "caller", &["-m", "10", "-r", "5"]).end().success());
    let records = server.closed_records(10);
    assert_eq!(records.len(), 10, "one record for each INVITE");
    all(&records, "end_cause", &"caller_hung_up".into());
    for record in &records {
        let trace = server.trace(&[record["call"].as_str().expect("a name")]);
        let words = heard(&trace);
        assert!(words.iter().any(|text| text.ends_with("opening hours")), "heard only {words:?}");
        assert!(served::said(&trace).contains("from nine"), "{trace:#}");
        let quality = &record["quality"];
        assert!(quality["received"].as_u64() > Some(50) && quality["sent"].as_u64() > Some(500), "{quality}");
    }
}

#[test]
fn who_hangs_up_in_the_greeting_leaves_a_record_and_a_free_port() {
    let server = Served::start(20, "");
    assert!(Scenario::start(&server, "hang-up-early", &["-m", "20", "-r", "10"]).end().success());
    let records = server.closed_records(20);
    assert_eq!(records.len(), 20, "one record for each INVITE");
    all(&records, "end_cause", &"caller_hung_up".into());
    all(&records, "sip_status", &200.into());
    assert!(Scenario::start(&server, "hang-up-early", &["-m", "1"]).end().success());
}

#[test]
fn who_gives_up_while_it_rings_leaves_a_record_and_never_an_answer() {
    let server = Served::start(8, "[sip]\nring_ms = 20000\n");
    assert!(Scenario::start(&server, "cancel", &["-m", "6", "-r", "5"]).end().success());
    let records = server.closed_records(6);
    assert_eq!(records.len(), 6, "one record for each INVITE");
    all(&records, "end_cause", &"caller_cancelled".into());
    all(&records, "answer_us", &Value::Null);
    all(&records, "sip_status", &487.into());
}

#[test]
fn over_the_cap_the_caller_is_refused_at_once_and_the_others_talk_on() {
    let server = Served::start(2, "");
    say(&server, "What are your opening hours?");
    let held = Scenario::start(&server, "caller", &["-m", "2", "-r", "10"]);
    wait_for("two calls", || (server.records().len() == 2).then_some(()));
    assert!(Scenario::start(&server, "over-the-cap", &["-m", "5", "-r", "20"]).end().success());
    assert!(held.end().success(), "the calls that were held went on to their end");

    let records = server.closed_records(7);
    assert_eq!(records.len(), 7, "one record for each INVITE");
    let (talked, refused): (Vec<Value>, Vec<Value>) =
        records.into_iter().partition(|record| record["answer_us"].is_u64());
    assert_eq!((talked.len(), refused.len()), (2, 5));
    let ends = |records: &[Value]| records.iter().filter_map(|r| r["end_us"].as_i64()).collect::<Vec<_>>();
    assert!(ends(&refused).iter().max() < ends(&talked).iter().min(), "refused while the others talked");
    all(&talked, "end_cause", &"caller_hung_up".into());
    all(&refused, "end_cause", &"ports_full".into());
    all(&refused, "sip_status", &503.into());
    all(&refused, "port_slot", &Value::Null);
    for record in &talked {
        let words = heard(&server.trace(&[record["call"].as_str().expect("a name")]));
        assert!(words.iter().any(|text| text.ends_with("opening hours")), "heard only {words:?}");
    }
}

#[test]
fn the_command_that_readme_shows_runs_a_scenario() {
    let server = Served::start(2, "");
    assert_eq!(missing("sipp", "sip-tester"), None);
    let mut run = Command::new(repository("loadtest/sipp/run"));
    run.args(["hang-up-early", &server.udp.to_string()]).env("TANDEM", env!("CARGO_BIN_EXE_tandem"));
    let ports = free_ports(10);
    run.args(["-p", &ports.start.to_string(), "-mp", &(ports.start + 2).to_string()]);
    let ran = run.stdin(Stdio::null()).output().expect("bash is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    all(&server.closed_records(1), "end_cause", &"caller_hung_up".into());
}
