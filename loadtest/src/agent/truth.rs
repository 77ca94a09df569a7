//! Trace against truth: what the server's trace says of each turn, beside what the caller's own clock says.
//! Knows the server's HTTP API as JSON. A server without one is simply not compared.

use super::outcome::CallOutcome;
use serde::Serialize;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a trace may take to be complete after the end of its call.
const WRITTEN: Duration = Duration::from_secs(10);
/// Requests at the same time.
const AT_ONCE: usize = 8;
/// A turn of the trace is the one that the caller heard if its first packets are not further apart.
const SAME_TURN_MS: f64 = 300.0;

/// What the comparison showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Truth {
    /// Calls whose trace was read.
    pub(crate) calls: usize,
    /// Calls without a complete trace, and why for the first of them.
    pub(crate) without_trace: usize,
    pub(crate) why: Option<String>,
    /// The caller's response gap less the trace's, for each turn that both have.
    #[serde(skip)]
    pub(crate) differences_ms: Vec<f64>,
    /// Answers that a caller heard and no trace tells of.
    pub(crate) only_heard: usize,
    /// Turns that a trace tells of and no caller timed: the caller was speaking again, for example.
    pub(crate) only_traced: usize,
    /// Turns whose stages do not add up to the whole.
    pub(crate) sum_violations: Vec<String>,
    /// Warnings of the traces themselves.
    pub(crate) warnings: Vec<String>,
}

/// One turn of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Traced {
    turn: u64,
    /// When its first voiced packet left, in milliseconds since the INVITE.
    heard_ms: f64,
    gap_ms: f64,
    sum_ms: f64,
}

/// Reads the traces of all calls and compares.
pub(crate) fn compare(api: &str, calls: &[CallOutcome]) -> Result<Truth, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let wanted: Vec<&CallOutcome> = calls.iter().filter(|call| call.setup_ms.is_some()).collect();
    let traces = runtime.block_on(read_all(api, &wanted))?;
    let mut truth = Truth::default();
    for (call, trace) in wanted.into_iter().zip(traces) {
        match trace {
            Ok(trace) => truth.add(call, &trace),
            Err(why) => {
                truth.without_trace += 1;
                truth.why.get_or_insert(why);
            }
        }
    }
    Ok(truth)
}

async fn read_all(api: &str, calls: &[&CallOutcome]) -> Result<Vec<Result<Value, String>>, String> {
    let client = reqwest::Client::builder().timeout(WRITTEN).build().map_err(|error| error.to_string())?;
    let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut reading = Vec::with_capacity(calls.len());
    for call in calls {
        let (client, permits) = (client.clone(), permits.clone());
        let url = call
            .call_id
            .as_ref()
            .map(|id| format!("{}/calls/{}/trace", api.trim_end_matches('/'), encode(id)));
        reading.push(tokio::spawn(async move {
            let _permit = permits.acquire().await;
            read(&client, &url.ok_or("it has no Call-ID")?).await
        }));
    }
    let mut traces = Vec::with_capacity(reading.len());
    for one in reading {
        traces.push(one.await.map_err(|error| error.to_string())?);
    }
    Ok(traces)
}

/// One trace, once it is complete.
async fn read(client: &reqwest::Client, url: &str) -> Result<Value, String> {
    let patience = Instant::now() + WRITTEN;
    loop {
        let answer = client.get(url).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if status.is_success() {
            let trace: Value = answer.json().await.map_err(|error| error.to_string())?;
            if trace["running"] == false {
                return Ok(trace);
            }
        }
        if Instant::now() >= patience {
            return Err(if status.is_success() { "it does not end".to_owned() } else { status.to_string() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A Call-ID as one segment of a path.
fn encode(id: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    id.bytes()
        .map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Truth {
    fn add(&mut self, call: &CallOutcome, trace: &Value) {
        self.calls += 1;
        let name = call.call_id.as_deref().unwrap_or("?");
        let warnings = trace["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        self.warnings.extend(warnings.map(|warning| format!("{name}: {warning}")));
        let mut turns = turns(trace);
        for turn in &turns {
            if (turn.gap_ms - turn.sum_ms).abs() > 0.001 {
                let Traced { turn, gap_ms, sum_ms, .. } = turn;
                self.sum_violations.push(format!("{name} turn {turn}: {sum_ms:.3} ms of {gap_ms:.3} ms"));
            }
        }
        for answer in &call.answers {
            let heard = answer.asked_ms + answer.gap_ms;
            let off = |turn: &Traced| (turn.heard_ms - heard).abs();
            let nearest = (0..turns.len()).min_by(|a, b| off(&turns[*a]).total_cmp(&off(&turns[*b])));
            match nearest.filter(|place| off(&turns[*place]) <= SAME_TURN_MS) {
                Some(place) => self.differences_ms.push(answer.gap_ms - turns.swap_remove(place).gap_ms),
                None => self.only_heard += 1,
            }
        }
        self.only_traced += turns.len();
    }
}

/// The turns of a trace that have a response gap.
fn turns(trace: &Value) -> Vec<Traced> {
    let events = trace["events"].as_array().into_iter().flatten();
    let ms = |value: &Value| value.as_u64().map(|us| us as f64 / 1_000.0);
    let latencies = events.filter(|event| event["kind"] == "latency");
    let turn = |event: &Value| {
        Some(Traced {
            turn: event["turn"].as_u64()?,
            heard_ms: ms(&event["at_us"])?,
            gap_ms: ms(&event["total_us"])?,
            sum_ms: event["stages"].as_array()?.iter().filter_map(|stage| ms(&stage["us"])).sum(),
        })
    };
    latencies.filter_map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::outcome::Answer;
    use serde_json::json;

    fn latency(turn: u64, at_us: u64, total_us: u64, stages: &[u64]) -> Value {
        let stages: Vec<Value> =
            stages.iter().map(|us| json!({ "stage": "llm_first_token", "us": us })).collect();
        json!({ "seq": turn, "at_us": at_us, "kind": "latency", "turn": turn, "total_us": total_us, "stages": stages })
    }

    #[test]
    fn turns_are_compared_with_what_the_caller_heard_at_the_same_time() {
        let trace = json!({
            "running": false,
            "warnings": ["something"],
            "events": [
                { "seq": 1, "at_us": 0, "kind": "answered" },
                latency(1, 5_000_000, 600_000, &[200_000, 400_000]),
                latency(2, 9_000_000, 700_000, &[200_000, 400_000]),
                latency(3, 20_000_000, 500_000, &[500_000]),
            ],
        });
        let answer = |asked_ms, gap_ms| Answer { asked_ms, gap_ms };
        let call = CallOutcome {
            call_id: Some("a@b".to_owned()),
            answers: vec![answer(4_395.0, 607.0), answer(8_296.0, 706.0), answer(13_000.0, 500.0)],
            ..CallOutcome::default()
        };
        let mut truth = Truth::default();
        truth.add(&call, &trace);
        assert_eq!(truth.differences_ms, [7.0, 6.0]);
        assert_eq!((truth.only_heard, truth.only_traced), (1, 1));
        assert_eq!(truth.sum_violations, ["a@b turn 2: 600.000 ms of 700.000 ms"]);
        assert_eq!(truth.warnings, ["a@b: something"]);
    }

    #[test]
    fn a_call_id_is_one_segment_of_a_path() {
        assert_eq!(encode("a1/b@c"), "a1%2Fb%40c");
    }
}
