//! What the store promises: nothing a call does waits, every call record survives, and what was kept can be read.
//! Real files in a temporary directory; no test depends on speed.

mod example_call;

use call::{CallId, Event, Stamped};
use example_call::{Directory, INVITE_US, ended, events, figure, keep, passed_on, running};
use rusqlite::Connection;
use std::{
    collections::BTreeSet, fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::Command,
    sync::mpsc,
};
use tandem::store::{
    CRASHED, CallFilter, DATABASE_FILE, JOURNAL_FOLDER, Reader, Store, StoreConfig, StoreError,
};
use tandem::telemetry::{LiveEvents, Metrics, TraceSink};

const CALL: CallId = CallId(0x7f3a_0000_0000_0001);

fn all(reader: &Reader) -> Vec<String> {
    let filter = CallFilter { limit: 1_000, ..CallFilter::default() };
    reader.calls(&filter).expect("readable").iter().map(|record| record.call.to_string()).collect()
}

/// What `Store::open` says; it must fail.
fn refusal(config: StoreConfig) -> StoreError {
    match Store::open(config, Metrics::default()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[test]
fn without_traces_the_records_are_kept_and_nothing_else() {
    let directory = Directory::new();
    let config = StoreConfig { traces: false, ..directory.config() };
    let store = Store::open(config, Metrics::default()).expect("a store");
    keep(&store, CALL, u64::MAX);
    let reader = store.reader().expect("readable");
    let record = reader.call("last").expect("it is there");
    assert_eq!(record.end_us, ended(CALL).end_us);
    assert!(reader.events(CALL, 0, 1_000).expect("readable").events.is_empty());
    assert!(reader.turns(CALL).expect("readable").is_empty());
}

#[test]
fn a_call_comes_back_as_it_was_stored() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    keep(&store, CALL, u64::MAX);
    let reader = store.reader().expect("there is a database");
    assert_eq!(reader.call("last").expect("it is there"), ended(CALL));
    let stored = reader.events(CALL, 0, 1_000).expect("readable");
    assert_eq!(stored.unreadable, 0);
    let stored: Vec<Stamped> = stored.events.into_iter().map(|event| event.stamped).collect();
    assert_eq!(stored, events());
    let turns = reader.turns(CALL).expect("readable");
    assert_eq!(turns.len(), 3);
    assert_eq!(
        turns[1].caller_text.as_ref().map(|text| text.expose().as_str()),
        Some("what time do you open")
    );
    assert_eq!(turns[1].total_us, Some(612_000));
    assert_eq!(turns[1].stages.iter().map(|stage| stage.us).sum::<u64>(), 612_000);
    let said = turns[2].agent_text.as_ref().map(|text| text.expose().as_str());
    assert_eq!(said, Some("You are booked for Friday at ten. Is there anything else?"));
    assert!(turns[2].interrupted && !turns[1].interrupted);
}

#[test]
fn each_leg_of_a_call_has_a_row_and_a_replay_adds_none() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    let call = passed_on(CALL);
    (0..2).for_each(|_| store.end_call(call.clone()));
    store.flush();
    let reader = store.reader().expect("there is a database");
    assert_eq!(reader.legs(CALL).expect("readable"), call.legs().collect::<Vec<_>>());
    assert_eq!(reader.legs(CALL).expect("readable").len(), 3);
    assert_eq!(reader.trace("last").expect("it is there").call, Some(call));
}

#[test]
fn a_database_of_an_older_tandem_is_brought_up_to_date_with_the_first_leg_of_each_call() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    store.end_call(ended(CALL));
    store.flush();
    drop(store);
    let older = Connection::open(directory.path().join(DATABASE_FILE)).expect("it opens");
    older.execute_batch("DROP TABLE legs").expect("it is there");
    for column in [
        "trace_id",
        "agent_name",
        "agent_version",
        "pool",
        "overflowed_from",
        "pool_level",
        "load_band",
        "transfer_to",
        "transfer_status",
        "recording",
        "recording_state",
        "recording_consent",
        "notes",
        "language",
    ] {
        older.execute_batch(&format!("ALTER TABLE calls DROP COLUMN {column}")).expect("it is there");
    }
    older.pragma_update(None, "user_version", 4).expect("it is writable");
    drop(older);
    let (store, _) = directory.store();
    let reader = store.reader().expect("there is a database");
    assert_eq!(reader.call("last").expect("it is there"), ended(CALL));
    assert_eq!(reader.legs(CALL).expect("readable"), ended(CALL).legs().collect::<Vec<_>>());
    store.end_call(passed_on(CallId(2)));
    store.flush();
    assert_eq!(reader.legs(CallId(2)).expect("readable").len(), 3);
}

#[test]
fn a_running_call_is_read_while_the_writer_writes() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    keep(&store, CALL, 7_300_000);
    // Another process would open it the same way.
    let reader = Reader::open(directory.path()).expect("there is a database");
    let record = reader.call("7f3a").expect("it is there");
    assert_eq!(record.end_us, None);
    assert_eq!(record.answer_us, Some(record.invite_us + 40_000));
    let before = reader.events(CALL, 0, 1_000).expect("readable").events.len();
    for n in 0..2_000 {
        store.event(CALL, 100 + n, Stamped { at_us: 8_000_000 + n, event: Event::Digit });
        if n % 500 == 0 {
            reader.events(CALL, 0, 1_000).expect("reading never collides with writing");
        }
    }
    store.flush();
    assert_eq!(reader.events(CALL, 0, 10_000).expect("readable").events.len(), before + 2_000);
    assert_eq!(reader.events(CALL, 2_098, 10).expect("readable").events.len(), 1);
}

#[test]
fn a_call_is_found_by_prefix_sip_call_id_and_last() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    let (one, two) = (CallId(0xab00_0000_0000_0001), CallId(0xab00_0000_0000_0002));
    store.end_call(ended(one));
    store.end_call(ended(two));
    store.flush();
    let reader = store.reader().expect("there is a database");
    let found = |asked: &str| reader.call(asked).map(|record| record.call);
    assert_eq!(found("last").ok(), Some(two));
    assert_eq!(found("AB00000000000001").ok(), Some(one));
    assert_eq!(found("ab00000000000002@carrier.example").ok(), Some(two));
    assert!(matches!(found("ab"), Err(StoreError::Ambiguous { matches, .. }) if matches.len() == 2));
    for unknown in ["", "cd", "x' OR 1=1 --", "ab000000000000010", "%"] {
        assert!(matches!(found(unknown), Err(StoreError::Unknown { .. })), "{unknown}");
    }
}

#[test]
fn calls_are_listed_newest_first_and_filtered() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    for n in 1..=5 {
        let mut record = ended(CallId(n));
        if n == 2 {
            record.end_cause = Some("ports_full".into());
        }
        store.end_call(record);
    }
    store.begin_call(running(CallId(6)));
    store.flush();
    let reader = store.reader().expect("there is a database");
    let list = |filter: CallFilter| -> Vec<u64> {
        reader
            .calls(&CallFilter { limit: 3, ..filter })
            .expect("readable")
            .iter()
            .map(|record| record.call.0)
            .collect()
    };
    assert_eq!(list(CallFilter::default()), [6, 5, 4]);
    assert_eq!(list(CallFilter { before_us: Some(INVITE_US + 4), ..CallFilter::default() }), [3, 2, 1]);
    assert_eq!(list(CallFilter { end_cause: Some("ports_full".into()), ..CallFilter::default() }), [2]);
    assert_eq!(list(CallFilter { running: Some(true), ..CallFilter::default() }), [6]);
    assert_eq!(list(CallFilter { agent: Some("nobody".into()), ..CallFilter::default() }), [0_u64; 0]);
}

#[test]
fn an_event_that_comes_before_or_after_its_call_row_is_kept() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    store.event(CALL, 1, Stamped { at_us: 5, event: Event::Digit });
    store.end_call(ended(CALL));
    store.event(CALL, 2, Stamped { at_us: 6, event: Event::Digit });
    // A late update of the running call must not reopen it.
    store.begin_call(running(CALL));
    store.flush();
    let reader = store.reader().expect("there is a database");
    assert_eq!(reader.call("last").expect("it is there"), ended(CALL));
    assert_eq!(reader.events(CALL, 0, 10).expect("readable").events.len(), 2);
}

#[test]
fn a_full_queue_drops_events_and_counts_them_but_keeps_every_call_record() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    // The writer waits for this lock; the queue fills meanwhile.
    let other = Connection::open(directory.path().join(DATABASE_FILE)).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    for n in 0..12_000 {
        store.event(CALL, n + 1, Stamped { at_us: n, event: Event::Digit });
    }
    for n in 1..=50 {
        store.end_call(ended(CallId(n)));
    }
    other.execute_batch("ROLLBACK").expect("it lets go");
    drop(other);
    store.close();
    assert!(figure(&metrics, "tandem_queue_dropped_total{queue=\"store\"}") > 0);
    assert_eq!(figure(&metrics, "tandem_cdr_lost_total"), 0);
    drop(store);
    let (store, _) = directory.store();
    assert_eq!(all(&store.reader().expect("there is a database")).len(), 50);
}

#[test]
fn call_records_outlive_a_database_that_is_full() {
    let directory = Directory::new();
    let limited = StoreConfig { size_limit: Some(128 << 10), ..directory.config() };
    let metrics = Metrics::default();
    let store = Store::open(limited, metrics.clone()).expect("the directory is fine");
    let long = "x".repeat(10_000);
    for n in 0..200 {
        let event = Event::Heard { text: long.clone(), is_final: false, confidence: None };
        store.event(CALL, n + 1, Stamped { at_us: n, event });
    }
    store.flush();
    for n in 1..=900 {
        store.end_call(ended(CallId(n)));
        if n % 300 == 0 {
            store.flush();
        }
    }
    store.close();
    assert!(figure(&metrics, "tandem_cdr_spooled_total") > 0, "the limit was never reached");
    assert_eq!(figure(&metrics, "tandem_cdr_lost_total"), 0);
    drop(store);
    // Space again: each record is there once.
    let (store, _) = directory.store();
    assert_eq!(all(&store.reader().expect("there is a database")).len(), 900);
}

#[test]
fn a_disk_that_is_really_full_still_takes_call_records() {
    let directory = Directory::new();
    let mount = directory.path().join("disk");
    fs::create_dir(&mount).expect("a directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&mount).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not mount");
        return;
    }
    let mount = Mounted(mount);
    let config = StoreConfig { journal_reserve: 512 << 10, ..StoreConfig::new(&mount.0) };
    let metrics = Metrics::default();
    let store = Store::open(config.clone(), metrics.clone()).expect("2 MB are enough to start");
    let mut filler = fs::File::create(mount.0.join("filler")).expect("there is room");
    while filler.write_all(&[0; 4_096]).is_ok() {}
    drop(filler);
    for n in 1..=200 {
        store.end_call(ended(CallId(n)));
    }
    store.flush();
    store.close();
    assert_eq!(figure(&metrics, "tandem_cdr_lost_total"), 0);
    assert!(figure(&metrics, "tandem_cdr_spooled_total") > 0, "the disk was not full");
    drop(store);
    fs::remove_file(mount.0.join("filler")).expect("it is ours");
    let store = Store::open(config, Metrics::default()).expect("there is room again");
    assert_eq!(all(&store.reader().expect("there is a database")).len(), 200);
    store.close();
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

#[test]
fn what_the_journal_holds_is_taken_over_once_however_often_it_is_read() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    (1..=3).for_each(|call| store.end_call(ended(CallId(call))));
    store.flush();
    store.close();
    drop(store);
    // A database that was brought back from a backup remembers an earlier place in the journal.
    let other = Connection::open(directory.path().join(DATABASE_FILE)).expect("it opens");
    other
        .execute_batch("DELETE FROM calls WHERE id LIKE '%2'; DELETE FROM journal_positions")
        .expect("writable");
    drop(other);
    let (store, _) = directory.store();
    let reader = store.reader().expect("there is a database");
    assert_eq!(all(&reader), ["0000000000000003", "0000000000000002", "0000000000000001"]);
}

#[test]
fn a_journal_that_somebody_deleted_begins_anew() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    store.end_call(ended(CallId(1)));
    store.flush();
    drop(store);
    fs::remove_dir_all(directory.path().join(JOURNAL_FOLDER)).expect("it is there");
    let (store, _) = directory.store();
    store.end_call(ended(CallId(2)));
    store.flush();
    assert_eq!(all(&store.reader().expect("there is a database")).len(), 2);
}

#[test]
fn the_word_that_a_start_is_on_disk_comes_when_it_is() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let (told, wait) = mpsc::channel();
    for call in 1..=100 {
        let told = told.clone();
        let recorded = Box::new(move || told.send(call).expect("it is waited for"));
        store.begin_durably(running(CallId(call)), dialog(call), recorded);
    }
    let words: Vec<u64> = (1..=100).map(|_| wait.recv().expect("the disk is sound")).collect();
    assert_eq!(words, (1..=100).collect::<Vec<_>>());
    // As if the process had been killed here: what was confirmed is in the journal.
    let journal = fs::read_dir(directory.path().join(JOURNAL_FOLDER)).expect("it is there");
    let text: String =
        journal.map(|entry| fs::read_to_string(entry.expect("readable").path()).expect("text")).collect();
    // A new file begins with copies of what is open.
    let begun: BTreeSet<&str> = text.lines().filter(|line| line.contains("\"entry\":\"begin\"")).collect();
    assert_eq!(begun.len(), 100);
    assert_eq!(figure(&metrics, "tandem_cdr_unrecorded_total"), 0);
    (1..=99).for_each(|call| store.end_call(ended(CallId(call))));
    store.flush();
    drop(store);
    let (store, metrics) = directory.store();
    let orphans = store.orphans();
    assert_eq!(orphans.len(), 1, "one peer still thinks that it is connected");
    assert_eq!(orphans[0].1, dialog(100));
    assert_eq!(store.orphans(), [], "they are asked for once");
    store.told(CallId(100));
    let crashed = "tandem_calls_total{direction=\"inbound\",end_cause=\"other\"}";
    assert_eq!(figure(&metrics, crashed), 1);
    let filter = CallFilter { end_cause: Some(CRASHED.into()), limit: 9, ..CallFilter::default() };
    assert_eq!(store.reader().expect("there is a database").calls(&filter).expect("readable").len(), 1);
    drop(store);
    let (store, _) = directory.store();
    assert_eq!(store.orphans(), [], "it has been told");
    assert_eq!(all(&store.reader().expect("there is a database")).len(), 100);
}

fn dialog(call: u64) -> sip::SavedDialog {
    sip::SavedDialog {
        transport: sip::Transport::Udp,
        remote: "192.0.2.7:5060".parse().expect("an address"),
        behind_nat: false,
        call_id: format!("{call}@carrier.example"),
        local: "<sip:100@192.0.2.1>;tag=ours".into(),
        local_tag: "ours".into(),
        remote_party: "<sip:ann@carrier.example>;tag=theirs".into(),
        route_set: vec!["<sip:192.0.2.9;lr>".into()],
        remote_target: "sip:ann@192.0.2.7".into(),
        cseq: 17,
    }
}

#[test]
fn a_record_after_close_waits_in_the_journal_for_the_next_run() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    store.close();
    store.end_call(ended(CALL));
    drop(store);
    assert_eq!(figure(&metrics, "tandem_cdr_lost_total"), 0);
    let (store, _) = directory.store();
    assert_eq!(all(&store.reader().expect("there is a database")), [CALL.to_string()]);
}

#[test]
fn calls_of_a_server_that_died_get_an_honest_end() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    keep(&store, CALL, 14_200_000);
    store.close();
    drop(store);
    let (store, _) = directory.store();
    let record = store.reader().expect("there is a database").call("last").expect("it is there");
    assert_eq!(record.end_cause.as_deref(), Some(CRASHED));
    assert!(record.end_us >= Some(record.invite_us + 14_200_000), "{record:?}");
    assert_eq!(record.agent.as_deref(), Some("demo 1"));
    assert_eq!((record.turns, record.barge_ins), (3, 1));
    let legs = store.reader().and_then(|reader| reader.legs(CALL)).expect("readable");
    assert_eq!(legs, record.legs().collect::<Vec<_>>());
    // A replayed record knows better.
    store.end_call(ended(CALL));
    store.flush();
    assert_eq!(store.reader().expect("there is a database").call("last").expect("it is there"), ended(CALL));
}

#[test]
fn old_traces_are_deleted_and_their_call_records_stay() {
    let directory = Directory::new();
    let mut config = directory.config();
    config.retention.trace_calls = 1;
    config.retention.trace_days = 20_000;
    let (store, _) = directory.store();
    for n in 1..=3 {
        keep(&store, CallId(n), u64::MAX);
    }
    store.close();
    drop(store);
    let store = Store::open(config, Metrics::default()).expect("the directory is fine");
    let reader = store.reader().expect("there is a database");
    assert_eq!(all(&reader).len(), 3);
    let kept = |call| reader.events(CallId(call), 0, 1_000).expect("readable").events.len();
    assert_eq!([kept(1), kept(2), kept(3)], [0, 0, events().len()]);
    assert_eq!(reader.turns(CallId(1)).expect("readable"), []);
    let trace = reader.trace("0000000000000001").expect("its record is there");
    assert!(trace.turns.is_empty() && !trace.running);
}

#[test]
fn two_servers_never_share_a_data_directory() {
    let directory = Directory::new();
    let (_store, _) = directory.store();
    let error = refusal(directory.config());
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[test]
fn a_damaged_database_is_refused_with_a_way_out() {
    let directory = Directory::new();
    fs::write(
        directory.path().join(DATABASE_FILE),
        "certainly not a database, but long enough to look at ".repeat(50),
    )
    .expect("it is writable");
    let error = refusal(directory.config());
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert!(matches!(Reader::open(directory.path()).err(), Some(StoreError::Corrupt { .. })));
}

#[test]
fn damage_inside_a_database_is_found_at_start() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    for n in 1..200 {
        store.end_call(ended(CallId(n)));
    }
    store.close();
    drop(store);
    let path = directory.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[4_096..].fill(0xa5);
    fs::write(&path, bytes).expect("it is writable");
    let error = refusal(directory.config());
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_database_of_a_newer_tandem_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path().join(DATABASE_FILE);
    let newer = Connection::open(&path).expect("it opens");
    newer.pragma_update(None, "user_version", 999).expect("it is writable");
    drop(newer);
    let error = refusal(directory.config());
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error:?}");
    assert!(matches!(Reader::open(directory.path()).err(), Some(StoreError::Newer { .. })));
}

#[test]
fn a_directory_that_cannot_be_written_is_said_at_start() {
    let directory = Directory::new();
    // Not even root can make a directory below a file.
    let file = directory.path().join("file");
    fs::write(&file, "").expect("it is writable");
    let error = refusal(StoreConfig::new(file.join("data")));
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
    let sealed = directory.path().join("sealed");
    fs::create_dir(&sealed).expect("a directory");
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).expect("it is ours");
    if fs::write(sealed.join("probe"), "").is_ok() {
        eprintln!("the rest is skipped: root may write anywhere");
        return;
    }
    assert!(matches!(refusal(StoreConfig::new(sealed)), StoreError::NotWritable { .. }));
}

#[test]
fn reading_where_nothing_was_stored_says_so() {
    let directory = Directory::new();
    let error = Reader::open(directory.path()).err().expect("there is nothing");
    assert!(matches!(error, StoreError::Absent { .. }));
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[test]
fn an_event_of_another_version_is_left_out_and_mentioned() {
    let directory = Directory::new();
    let (store, _) = directory.store();
    keep(&store, CALL, u64::MAX);
    store.close();
    let other = Connection::open(directory.path().join(DATABASE_FILE)).expect("it opens");
    other
        .execute("UPDATE events SET event = '{\"kind\":\"teleported\"}' WHERE seq = 5", [])
        .expect("it is writable");
    drop(other);
    let trace = store.reader().expect("there is a database").trace("last").expect("it is there");
    assert_eq!(trace.events.len(), events().len() - 1);
    assert!(trace.warnings.iter().any(|warning| warning.contains("another version")), "{:?}", trace.warnings);
}

#[test]
fn the_trace_sink_numbers_events_and_tells_store_metrics_and_followers() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let live = LiveEvents::new();
    let mut follower = live.subscribe();
    let sink = TraceSink::start(store.clone(), metrics.clone(), live).expect("a thread");
    for stamped in events() {
        sink.record(CALL, stamped);
    }
    sink.flush();
    store.flush();
    let stored =
        store.reader().expect("there is a database").events(CALL, 0, 1_000).expect("readable").events;
    let numbers: Vec<u64> = stored.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events().len() as u64).collect::<Vec<_>>());
    assert_eq!(figure(&metrics, "tandem_barge_in_total"), 1);
    let first = follower.try_recv().expect("it was told");
    assert_eq!((first.call, first.seq), (CALL, 1));
}

#[test]
fn a_trace_sink_that_cannot_keep_up_drops_and_counts() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let sink = TraceSink::start(store, metrics.clone(), LiveEvents::new()).expect("a thread");
    // Many threads at once outrun one; whatever is not dropped arrives.
    let (done, wait) = mpsc::channel();
    for thread in 0..4 {
        let (sink, done) = (sink.clone(), done.clone());
        std::thread::spawn(move || {
            for n in 0..20_000 {
                sink.record(CallId(thread), Stamped { at_us: n, event: Event::NoInput { count: 1 } });
            }
            let _ = done.send(());
        });
    }
    (0..4).for_each(|_| wait.recv().expect("the threads end"));
    sink.flush();
    // 80,000 went in; nobody waited; the counter only ever tells the truth.
    assert!(figure(&metrics, "tandem_queue_dropped_total{queue=\"trace\"}") <= 80_000);
}
