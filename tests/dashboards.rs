//! Dashboards and alert rules name figures that exist, and Prometheus' own tool accepts what we hand it.
//! Knows files and names; what a figure means is told by its help text.

use call::CallId;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tandem::{
    store::{CallRecord, Direction},
    telemetry::Metrics,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()))
}

/// Every name that a query may use: families, with the suffixes of their kind.
fn known() -> BTreeSet<String> {
    let metrics = Metrics::default();
    // Labels that only a config or a call can name: nothing stands there before.
    metrics.gateway_fallback("route", ("one", "other"), "timeout");
    metrics.ports_cost("pool", "EUR", 0.0, 0.0);
    let paid = CallRecord::new(CallId(1), Direction::Inbound, "paid", 0);
    metrics.call_ended(&CallRecord { cost_currency: Some("EUR".to_owned()), cost_llm: Some(0.1), ..paid });
    let text = metrics.encode().expect("a string takes it");
    let mut known = BTreeSet::from(["up".to_owned()]);
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and its kind");
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    known
}

/// The figures that a query names: words that begin as ours do, outside quotes.
fn named(query: &str) -> BTreeSet<String> {
    let outside = query.split(['"', '\'']).step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned);
    words.filter(|word| word.starts_with("tandem_") || word.starts_with("process_")).collect()
}

fn dashboards() -> Vec<(String, serde_json::Value)> {
    let files = std::fs::read_dir(root().join("dashboards")).expect("the folder is there");
    let files = files.map(|file| file.expect("readable").path());
    let boards = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    boards
        .map(|path| {
            let board = serde_json::from_str(&read(&path)).expect("JSON");
            (path.display().to_string(), board)
        })
        .collect()
}

#[test]
fn dashboards_ask_for_figures_that_exist() {
    let (known, boards) = (known(), dashboards());
    assert!(boards.len() >= 5, "{} boards", boards.len());
    let mut uids = BTreeSet::new();
    for (path, board) in boards {
        assert!(uids.insert(board["uid"].to_string()), "{path} has the id of another");
        let panels = board["panels"].as_array().expect("panels");
        assert!(!panels.is_empty(), "{path} is empty");
        for panel in panels {
            let targets = panel["targets"].as_array().expect("queries");
            for query in targets.iter().map(|target| target["expr"].as_str().expect("a query")) {
                let named = named(query);
                assert!(!named.is_empty(), "{path}: {query} asks for nothing of ours");
                let unknown: Vec<_> = named.difference(&known).collect();
                assert!(unknown.is_empty(), "{path}: {} asks for {unknown:?}", panel["title"]);
            }
        }
    }
}

#[test]
fn alert_rules_ask_for_figures_that_exist_and_name_a_remedy() {
    let known = known();
    let rules = read(&root().join("alerts/tandem.yml"));
    for line in rules.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let unknown: Vec<_> = named(line).difference(&known).cloned().collect();
        let in_words = line.contains("description:");
        assert!(in_words || unknown.is_empty(), "{line}: {unknown:?}");
    }
    let count = |what: &str| rules.matches(what).count();
    assert!(count("- alert:") >= 12);
    assert_eq!(count("- alert:"), count("summary:"));
    assert_eq!(count("- alert:"), count("description:"));
}

fn promtool(arguments: &[&str]) -> Output {
    let output = Command::new("promtool").args(arguments).current_dir(root()).output();
    output.expect("promtool is there; scripts/setup test installs it")
}

#[test]
fn prometheus_accepts_the_rules_and_they_fire_as_they_should() {
    for arguments in [
        &["check", "config", "alerts/prometheus.yml"][..],
        &["check", "rules", "alerts/tandem.yml"],
        &["test", "rules", "alerts/tandem_test.yml"],
    ] {
        let output = promtool(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

/// What the tool calls an error is one; its advice on names is not, as OpenMetrics has rules of its own for them.
#[test]
fn prometheus_reads_what_we_show() {
    use std::{io::Write as _, process::Stdio};
    let metrics = Metrics::default();
    // Labels that only a config or a call can name: nothing stands there before.
    metrics.gateway_fallback("route", ("one", "other"), "timeout");
    metrics.ports_cost("pool", "EUR", 0.0, 0.0);
    let paid = CallRecord::new(CallId(1), Direction::Inbound, "paid", 0);
    metrics.call_ended(&CallRecord { cost_currency: Some("EUR".to_owned()), cost_llm: Some(0.1), ..paid });
    let text = metrics.encode().expect("a string takes it");
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there; scripts/setup test installs it");
    tool.stdin.take().expect("asked for").write_all(text.as_bytes()).expect("it reads");
    let output = tool.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("error while linting") && !told.contains("text format parsing error"), "{told}");
}
