//! A call as it is stored, and a directory to store it in; shared by the tests of the store, the API and the trace.
//! Knows the public types only.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use call::{
    CallId, Event, Stamped,
    latency::{Stage, StageTime, TurnLatency},
};
use conversation::TurnId;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tandem::store::{CallRecord, Direction, LegRecord, Store, StoreConfig};
use tandem::telemetry::Metrics;

/// 2025-11-20 09:30:00 UTC in microseconds.
pub const INVITE_US: i64 = 1_763_631_000_000_000;

/// An empty directory that goes with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tandem-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> StoreConfig {
        StoreConfig { journal_reserve: 1 << 16, ..StoreConfig::new(&self.0) }
    }

    pub fn store(&self) -> (Store, Metrics) {
        let metrics = Metrics::default();
        (Store::open(self.config(), metrics.clone()).expect("the directory is fine"), metrics)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The value of one series.
pub fn figure(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.encode().expect("a string takes it");
    let line = text.lines().find(|line| line.split(' ').next() == Some(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// A running call.
pub fn running(call: CallId) -> CallRecord {
    let id = format!("{call}@carrier.example");
    let at = INVITE_US + i64::try_from(call.0 & 0xffff).expect("small");
    CallRecord {
        trunk: Some("generic".into()),
        agent: Some("demo 1".into()),
        caller: "+15550100".to_owned().into(),
        called: "+15550199".to_owned().into(),
        port_slot: Some(3),
        concurrency: Some(2),
        codec: Some("PCMU".into()),
        node: Some("test".into()),
        ..CallRecord::new(call, Direction::Inbound, id, at)
    }
}

/// The same call when it is over.
pub fn ended(call: CallId) -> CallRecord {
    let mut record = running(call);
    record.answer_us = Some(record.invite_us + 40_000);
    record.end_us = Some(record.invite_us + 31_400_000);
    record.end_cause = Some("caller_hung_up".into());
    record.sip_status = Some(200);
    record.turns = 3;
    record.barge_ins = 1;
    record.gap_p50_us = Some(612_000);
    record.gap_max_us = Some(1_130_000);
    record.quality.received = 1_560;
    record.quality.sent = 1_566;
    record.quality.lost = 4;
    record
}

/// The same call, passed on twice: the first time nobody took it.
pub fn passed_on(call: CallId) -> CallRecord {
    let mut record = ended(call);
    let leg = |number: u32, after_us: i64, answered: bool| LegRecord {
        leg: number,
        purpose: "transfer".into(),
        direction: Direction::Outbound,
        peer: "desk".to_owned().into(),
        sip_call_id: None,
        begin_us: record.invite_us + after_us,
        answer_us: answered.then_some(record.invite_us + after_us + 5),
        end_us: Some(record.invite_us + after_us + 5),
        end_cause: Some(if answered { "answered" } else { "failed" }.into()),
        sip_status: Some(if answered { 200 } else { 486 }),
        q850_cause: Some(if answered { 16 } else { 17 }),
        ..LegRecord::first_of(&record)
    };
    let legs = vec![leg(1, 9_000_000, false), leg(2, 30_000_000, true)];
    record.transfer_to = Some("desk".into());
    record.transfer_status = Some("done".into());
    record.other_legs = legs;
    record
}

fn latency(total_us: u64, parts: &[(Stage, u64, Option<u64>)]) -> TurnLatency {
    let time = |stage| {
        let part = parts.iter().find(|part| part.0 == stage);
        StageTime { stage, us: part.map_or(0, |part| part.1), budget_us: part.and_then(|part| part.2) }
    };
    let stages = Stage::ALL.map(time).to_vec();
    TurnLatency { total_us, budget_us: 800_000, work_budget_us: 0, violated_by: None, stages }
}

/// A greeting, a question with its answer, and a booking that the caller cuts short.
pub fn events() -> Vec<Stamped> {
    let (greeting, one, two) = (TurnId(0), TurnId(1), TurnId(2));
    let sentence = |turn, sentence, text: &str| Event::Sentence { turn, sentence, text: text.into() };
    let ended = |turn, text: &str, waited_ms| Event::TurnEnded {
        turn,
        text: text.into(),
        reason: "silence after a complete sentence".into(),
        waited_ms,
    };
    let attempt =
        |turn, target: &str, role: &str| Event::LlmAttempt { turn, target: target.into(), role: role.into() };
    [
        (0, Event::Started { agent: "demo 1".into(), port_slot: 3, concurrency: 2, codec: "PCMU".into() }),
        (40_000, Event::Answered),
        (41_000, sentence(greeting, 0, "Hello, this is the Riverside practice. How can I help you?")),
        (60_000, Event::Acked),
        (150_000, Event::FirstAudio { turn: greeting }),
        (182_000, Event::FirstPacket { turn: greeting }),
        (4_100_000, Event::AgentDone { turn: greeting }),
        (5_000_000, Event::Speech { active: true }),
        (6_900_000, Event::Speech { active: false }),
        (
            7_100_000,
            Event::Heard { text: "what time do you open".into(), is_final: true, confidence: Some(0.5) },
        ),
        (7_140_000, ended(one, "what time do you open", 240)),
        (7_141_000, Event::Asked { turn: one }),
        (7_141_000, attempt(one, "fast-model", "primary")),
        (7_300_000, Event::FirstToken { turn: one }),
        (7_380_000, sentence(one, 0, "We open at nine.")),
        (7_470_000, Event::FirstAudio { turn: one }),
        (7_492_000, Event::FirstPacket { turn: one }),
        (
            7_492_000,
            Event::Latency {
                turn: one,
                latency: latency(
                    612_000,
                    &[
                        (Stage::Jitter, 40_000, Some(60_000)),
                        (Stage::EndOfTurn, 221_000, Some(300_000)),
                        (Stage::LlmFirstToken, 159_000, Some(350_000)),
                        (Stage::FirstSentence, 80_000, Some(60_000)),
                        (Stage::TtsFirstAudio, 90_000, Some(150_000)),
                        (Stage::Pacing, 20_000, Some(40_000)),
                        (Stage::Other, 2_000, None),
                    ],
                ),
            },
        ),
        (7_500_000, Event::ReplyDone { turn: one, input_tokens: Some(310), output_tokens: Some(12) }),
        (9_000_000, Event::AgentDone { turn: one }),
        (12_000_000, ended(two, "book me in on Friday at ten", 240)),
        (12_001_000, Event::Asked { turn: two }),
        (12_001_000, attempt(two, "fast-model", "primary")),
        (12_300_000, attempt(two, "flow", "fallback")),
        (12_310_000, Event::ToolStarted { turn: two, name: "book_appointment".into() }),
        (12_322_000, Event::ToolEnded { turn: two, name: "book_appointment".into(), ok: true, ms: 12 }),
        (12_340_000, Event::FirstToken { turn: two }),
        (12_350_000, sentence(two, 0, "You are booked for Friday at ten.")),
        (12_351_000, sentence(two, 1, "Is there anything else?")),
        (12_850_000, Event::FirstPacket { turn: two }),
        (
            12_850_000,
            Event::Latency {
                turn: two,
                latency: latency(
                    1_130_000,
                    &[
                        (Stage::Jitter, 40_000, Some(60_000)),
                        (Stage::EndOfTurn, 241_000, Some(300_000)),
                        (Stage::LlmFirstToken, 309_000, Some(350_000)),
                        (Stage::Tool, 30_000, Some(200_000)),
                        (Stage::FirstSentence, 10_000, Some(60_000)),
                        (Stage::TtsFirstAudio, 480_000, Some(150_000)),
                        (Stage::Pacing, 20_000, Some(40_000)),
                    ],
                ),
            },
        ),
        (
            14_200_000,
            Event::BargeIn {
                turn: two,
                state: "speaking".into(),
                reaction_ms: 180,
                decided_ms: 350,
                heard: "You are booked for Friday".into(),
                unsaid: "at ten. Is there anything else?".into(),
            },
        ),
        (22_000_000, Event::NoInput { count: 1 }),
        (31_400_000, Event::Ended { cause: "caller_hung_up".into(), status: None }),
    ]
    .map(|(at_us, event)| Stamped { at_us, event })
    .to_vec()
}

/// Puts that call into a store, to its end or only so far.
pub fn keep(store: &Store, call: CallId, until_us: u64) {
    store.begin_call(running(call));
    for (seq, stamped) in (1..).zip(events().into_iter().take_while(|stamped| stamped.at_us <= until_us)) {
        store.event(call, seq, stamped);
    }
    if until_us == u64::MAX {
        store.end_call(ended(call));
    }
    store.flush();
}
