//! What a trace looks like, line by line, and that it adds up.
//! Knows text only; what goes in is the example call.

mod example_call;

use call::{
    CallId, Event, Stamped,
    latency::{Stage, StageTime, TurnLatency},
};
use conversation::TurnId;
use example_call::{Directory, ended, events, keep, running};
use std::process::{Command, Output};
use tandem::cli::trace::{render_call, render_list, render_turn};
use tandem::store::CallRecord;
use tandem::telemetry::{CallTrace, NumberedEvent};

const CALL: CallId = CallId(0x7f3a_0000_0000_0001);

fn numbered(events: Vec<Stamped>) -> Vec<NumberedEvent> {
    (1..).zip(events).map(|(seq, stamped)| NumberedEvent { seq, stamped }).collect()
}

fn trace_of(record: CallRecord, events: Vec<Stamped>) -> CallTrace {
    CallTrace::from_events(Some(record), numbered(events))
}

fn tandem(directory: &Directory, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("trace").args(arguments).arg("--data-dir").arg(directory.path());
    command.output().expect("the program runs")
}

#[test]
fn a_call_reads_as_a_waterfall() {
    let text = render_call(&trace_of(ended(CALL), events()), 90, false);
    assert_eq!(text, include_str!("captures/trace.txt"), "\n{text}");
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    for width in [60, 72, 80] {
        let text = render_call(&trace_of(ended(CALL), events()), width, false);
        let body = text.lines().skip(6);
        let widest = body.map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{widest:?} > {width}\n{text}");
    }
}

#[test]
fn colours_only_mark_what_the_words_say_too() {
    let trace = trace_of(ended(CALL), events());
    let plain = render_call(&trace, 80, false);
    let coloured = render_call(&trace, 80, true);
    assert!(!plain.contains('\x1b') && plain.is_ascii());
    let mut stripped = String::new();
    let mut escape = false;
    for c in coloured.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (false, '█') => stripped.push('#'),
            (false, c) => stripped.push(c),
            (true, c) => escape = c != 'm',
        }
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_running_call_says_what_it_waits_for() {
    let until = |at_us| events().into_iter().filter(|stamped| stamped.at_us <= at_us).collect();
    let text = render_call(&trace_of(running(CALL), until(7_141_000)), 80, false);
    assert!(text.contains("  running\n") && text.contains("waiting for the model's first word"), "{text}");
    let text = render_call(&trace_of(running(CALL), until(12_310_000)), 80, false);
    assert!(text.contains("waiting for a tool") && text.contains("book_appointment: running"), "{text}");
    assert!(text.contains("gap p50 612 ms"), "{text}");
    let turn = &trace_of(running(CALL), until(12_310_000)).turns[2];
    assert!(text.ends_with(&render_turn(turn, true, 80, false)));
}

#[test]
fn parts_that_do_not_add_up_are_called_out() {
    let stages = vec![StageTime { stage: Stage::Jitter, us: 40_000, budget_us: None }];
    let latency =
        TurnLatency { total_us: 50_000, budget_us: 0, work_budget_us: 0, violated_by: None, stages };
    let event = Event::Latency { turn: TurnId(1), latency };
    let trace = trace_of(ended(CALL), vec![Stamped { at_us: 9, event }]);
    assert_eq!(trace.warnings.len(), 1);
    assert!(render_call(&trace, 80, false).contains("warning: turn 1: the stages add up to 40000"));
    assert!(trace_of(ended(CALL), events()).warnings.is_empty());
}

#[test]
fn missing_events_are_called_out() {
    let mut kept = numbered(events());
    kept.drain(3..6);
    let trace = CallTrace::from_events(Some(ended(CALL)), kept);
    assert_eq!(trace.warnings, ["3 events are missing: the trace was not keeping up"]);
}

#[test]
fn absurd_figures_draw_something_and_never_panic() {
    let time = |us| StageTime { stage: Stage::Other, us, budget_us: Some(0) };
    for us in [0, 1, u64::MAX / 2, u64::MAX] {
        let stages = vec![time(us), time(us), time(1)];
        let latency =
            TurnLatency { total_us: us, budget_us: us, work_budget_us: 0, violated_by: None, stages };
        let event = Event::Latency { turn: TurnId(u32::MAX), latency };
        let mut record = ended(CALL);
        record.end_us = Some(i64::MIN);
        let trace = trace_of(record, vec![Stamped { at_us: u64::MAX, event }]);
        for width in [0, 1, 60, 10_000] {
            assert!(!render_call(&trace, width, true).is_empty());
        }
    }
}

#[test]
fn a_caller_cannot_write_to_the_terminal() {
    let mut record = ended(CALL);
    record.caller = "\x1b]0;owned\x07\u{202e}+1555\r\n".to_owned().into();
    let mut said = events();
    said.push(Stamped {
        at_us: 1,
        event: Event::TurnEnded {
            turn: TurnId(9),
            text: "\x1b[2J".into(),
            reason: "\u{9b}1m".into(),
            waited_ms: 1,
        },
    });
    let trace = trace_of(record.clone(), said);
    for text in [render_call(&trace, 80, false), render_list(&[record], 80, false)] {
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(bad), "{text:?}");
    }
}

#[test]
fn the_list_has_one_line_for_each_call() {
    let mut refused =
        CallRecord::new(CallId(3), tandem::store::Direction::Inbound, "x", 1_763_631_100_000_000);
    refused.end_us = Some(refused.invite_us + 1_000);
    refused.end_cause = Some("ports_full".into());
    refused.sip_status = Some(503);
    let text = render_list(&[refused, ended(CALL), running(CallId(2))], 100, false);
    let expected = "\
call              when                  from       agent     length  turns  gap p50  end
0000000000000003  2025-11-20 09:31:40Z             -          0.0 s      0        -  ports_full (503)
7f3a000000000001  2025-11-20 09:30:00Z  +15550100  demo 1    31.4 s      3   612 ms  caller_hung_up
0000000000000002  2025-11-20 09:30:00Z  +15550100  demo 1         -      0        -  running
";
    assert_eq!(text, expected, "\n{text}");
    assert_eq!(render_list(&[], 80, false), "No calls yet.\n");
}

#[test]
fn the_command_shows_a_call_while_it_is_running() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    keep(&store, CALL, 7_141_000);
    let list = tandem(&directory, &[]);
    assert!(list.status.success(), "{list:?}");
    assert!(String::from_utf8_lossy(&list.stdout).contains("7f3a000000000001"), "{list:?}");
    let one = tandem(&directory, &["last"]);
    assert!(String::from_utf8_lossy(&one.stdout).contains("waiting for the model's first word"), "{one:?}");
    drop(store);
    let json = tandem(&directory, &["7f3a", "--json"]);
    let trace: CallTrace = serde_json::from_slice(&json.stdout).expect("it is JSON, and reads back");
    assert_eq!(trace.turns.len(), 2);
}

#[test]
fn the_command_says_what_is_wrong_and_exits_with_it() {
    let directory = Directory::new();
    let nothing = tandem(&directory, &["last"]);
    assert_eq!(nothing.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--data-dir"), "{nothing:?}");
    let (store, _) = directory.store();
    let unknown = tandem(&directory, &["abc"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("`tandem trace` lists"), "{unknown:?}");
    let empty = tandem(&directory, &[]);
    assert_eq!(String::from_utf8_lossy(&empty.stdout), "No calls yet.\n");
    drop(store);
}
