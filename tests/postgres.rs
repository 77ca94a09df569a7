//! The store with PostgreSQL behind it: the same promises as with SQLite, and what a server adds to what can go wrong.
//! Real PostgreSQL, started by the test; skipped, and said so, where it is not installed.

mod example_call;
mod live;
mod postgres_server;

use call::CallId;
use conversation::{Checkpoint, Message, Variables};
use example_call::{Directory, ended, events, figure, keep, passed_on, running};
use live::{LISTEN, Live};
use postgres_server::PostgresServer;
use std::time::{Duration, Instant};
use tandem::{
    resume::{Resume, ResumeConfig},
    secret::Secret,
    store::{
        CRASHED, CallFilter, Checkpoints, DatabaseUrl, PostgresUrl, Reader, Store, StoreConfig, StoreError,
    },
    telemetry::Metrics,
};

const CALL: CallId = CallId(0x7f3a_0000_0000_0001);

fn config(directory: &Directory, url: &str) -> StoreConfig {
    let mut url = PostgresUrl::new(Secret::new(url)).expect("it is a URL");
    url.patience = Duration::from_secs(2);
    StoreConfig { database: DatabaseUrl::Postgres(url), ..directory.config() }
}

fn count(reader: &Reader) -> usize {
    reader.calls(&CallFilter { limit: 1_000, ..CallFilter::default() }).map_or(0, |calls| calls.len())
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn who_was_cut_off_from_one_server_goes_on_at_another() {
    let Some(server) = PostgresServer::start("cut-off") else { return };
    let (one, other) = (Directory::new(), Directory::new());
    let at = |directory: &Directory| {
        let config = config(directory, &server.url());
        let checkpoints = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        let settings = ResumeConfig { good_for: Duration::from_secs(60), secret: Secret::new("key") };
        Resume::new(settings, checkpoints)
    };
    let (one, other) = (at(&one), at(&other));
    let find = |resume: &Resume, called: &str| {
        let (resume, called) = (resume.clone(), called.to_owned());
        async move { resume.find("+491".to_owned(), called).await }
    };
    assert_eq!(find(&one, "+492").await, None, "nobody was cut off yet");
    let said = |text: &str| vec![Message::User { text: text.to_owned() }];
    let kept = |text: &str| {
        Checkpoint::of(("desk", "de-DE"), Some("help"), &Variables::default(), said(text), &[]).map(Box::new)
    };
    let keeper = one.keeper("+491", "+492").expect("a caller with a number");
    keeper.keep(kept("first"));
    keeper.keep(kept("when are you open"));
    // A call waits for 300 ms only, which a busy machine may need to connect.
    let begun = Instant::now();
    let mut found = None;
    while found != kept("when are you open") {
        assert!(begun.elapsed() < Duration::from_secs(60), "another server finds {found:?}");
        found = find(&other, "+492").await.map(Box::new);
    }
    assert_eq!(find(&other, "+493").await, None, "another number is another conversation");
    other.keeper("+491", "+492").expect("a caller with a number").keep(None);
    let begun = Instant::now();
    while find(&one, "+492").await.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has come to its end everywhere");
    }
}

#[test]
fn a_call_comes_back_from_postgresql_as_it_was_stored() {
    let Some(server) = PostgresServer::start("comes-back") else { return };
    let directory = Directory::new();
    let store = Store::open(config(&directory, &server.url()), Metrics::default()).expect("it answers");
    keep(&store, CALL, u64::MAX);
    let reader = store.reader().expect("it answers");
    assert_eq!(reader.call("7f3a").expect("it is there"), ended(CALL));
    assert_eq!(reader.events(CALL, 0, 1_000).expect("readable").events.len(), events().len());
    let turns = reader.turns(CALL).expect("readable");
    assert_eq!(turns.len(), 3);
    assert!(turns[2].interrupted && turns[2].stages.iter().map(|stage| stage.us).sum::<u64>() == 1_130_000);
    assert_eq!(reader.trace("last").expect("it is there").turns.len(), 3);
    assert!(matches!(reader.call("cd"), Err(StoreError::Unknown { .. })));
    // What callers send may hold what PostgreSQL cannot: it neither stops the others nor loses the call.
    let mut odd = ended(CallId(2));
    odd.caller = "nu\0l".to_owned().into();
    store.end_call(odd);
    store.end_call(passed_on(CallId(3)));
    store.flush();
    assert_eq!(count(&reader), 3);
    let legs = reader.legs(CallId(3)).expect("readable");
    assert_eq!(legs, passed_on(CallId(3)).legs().collect::<Vec<_>>());
}

#[test]
fn two_servers_share_a_database_and_each_buries_its_own_dead() {
    let Some(server) = PostgresServer::start("two") else { return };
    let (one, two) = (Directory::new(), Directory::new());
    let open = |directory: &Directory| Store::open(config(directory, &server.url()), Metrics::default());
    // Both migrate the empty database at once.
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| open(&two).expect("it answers"));
        (open(&one).expect("it answers"), second.join().expect("no panic"))
    });
    first.begin_call(running(CallId(1)));
    second.begin_call(running(CallId(2)));
    first.flush();
    second.flush();
    drop(first);
    let first = open(&one).expect("it answers");
    let reader = first.reader().expect("it answers");
    let cause = |call: &str| reader.call(call).expect("it is there").end_cause;
    assert_eq!(cause("0000000000000001").as_deref(), Some(CRASHED));
    assert_eq!(cause("0000000000000002"), None, "the other server lives");
    drop(second);
}

#[test]
fn records_outlive_a_database_that_is_down_or_hangs_and_arrive_once() {
    let Some(mut server) = PostgresServer::start("down") else { return };
    let directory = Directory::new();
    let metrics = Metrics::default();
    let store = Store::open(config(&directory, &server.url()), metrics.clone()).expect("it answers");
    let reader = store.reader().expect("it answers");
    (1..=20).for_each(|call| store.end_call(ended(CallId(call))));
    store.flush();
    assert_eq!(count(&reader), 20);
    server.stop();
    let begun = Instant::now();
    (21..=120).for_each(|call| store.end_call(ended(CallId(call))));
    assert!(begun.elapsed() < Duration::from_secs(1), "a call waits for no database");
    eventually("it is noticed", || figure(&metrics, "tandem_cdr_spooled_total") > 0);
    server.run();
    eventually("it catches up", || count(&reader) == 120);
    server.hang();
    (121..=220).for_each(|call| store.end_call(ended(CallId(call))));
    std::thread::sleep(Duration::from_millis(2_500));
    server.go_on();
    eventually("it catches up again", || count(&reader) == 220);
    assert_eq!(
        server.psql("SELECT count(*) || ' ' || count(DISTINCT id) FROM calls").as_deref(),
        Some("220 220")
    );
    assert_eq!(figure(&metrics, "tandem_cdr_lost_total"), 0);
    // And when the server starts while the database is down, calls are taken all the same.
    drop(store);
    server.stop();
    let store = Store::open(config(&directory, &server.url()), metrics.clone()).expect("it starts");
    let reader = store.reader().expect("it asks later");
    store.end_call(ended(CallId(221)));
    server.run();
    eventually("it connects by itself", || count(&reader) == 221);
}

#[test]
fn a_server_that_wants_tls_is_asked_with_it_and_one_that_nobody_vouches_for_is_not_asked_at_all() {
    let Some(mut server) = PostgresServer::start("tls") else { return };
    let directory = Directory::new();
    let store = Store::open(config(&directory, &server.url()), Metrics::default()).expect("it answers");
    store.end_call(ended(CALL));
    store.flush();
    drop(store);
    server.stop();
    let authority = server.demand_tls();
    server.run();
    // It takes nobody else any more.
    assert!(matches!(
        Store::open(config(&directory, &server.url()), Metrics::default())
            .and_then(|store| store.reader()?.call("last")),
        Err(StoreError::Unreachable { .. })
    ));
    let file = directory.path().join("tls.toml");
    let text = "[server]\ndata_dir = \".\"\n[store]\ndatabase = \"env:TANDEM_TEST_DATABASE\"\n";
    std::fs::write(&file, text).expect("a file");
    let export = |trusted: Option<&std::path::Path>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(["export", "--format", "json", "--since", "2000-01-01", "--config"]).arg(&file);
        command.env("TANDEM_TEST_DATABASE", server.tls_url());
        match trusted {
            Some(authority) => command.env("SSL_CERT_FILE", authority),
            None => command.env_remove("SSL_CERT_FILE"),
        };
        command.output().expect("it starts")
    };
    let exported = export(Some(&authority));
    let rows = String::from_utf8_lossy(&exported.stdout).into_owned();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert!(rows.contains(&CALL.to_string()) && rows.lines().count() == 1, "{rows}");
    let refused = export(None);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(reason.contains("ertificate") || reason.contains("TLS"), "{reason}");
}

#[test]
fn a_database_of_a_newer_tandem_is_left_alone() {
    let Some(server) = PostgresServer::start("newer") else { return };
    server.psql(
        "CREATE TABLE tandem_schema (version BIGINT PRIMARY KEY); INSERT INTO tandem_schema VALUES (999)",
    );
    let directory = Directory::new();
    let opened = Store::open(config(&directory, &server.url()), Metrics::default());
    assert!(matches!(opened.err(), Some(StoreError::Newer { found: 999, .. })));
}

#[test]
fn the_program_takes_calls_with_postgresql_also_while_it_hangs() {
    let Some(server) = PostgresServer::start("serves") else { return };
    let live = Live::start(&format!("[store]\ndatabase = \"{}\"\n", server.url()));
    let ended = || server.psql("SELECT count(*) FROM calls WHERE end_us IS NOT NULL");
    live.call(&format!("{LISTEN}, {{ hang_up = true }}"));
    eventually("the record of the first call", || ended().as_deref() == Some("1"));
    server.hang();
    live.call(&format!("{LISTEN}, {{ hang_up = true }}"));
    server.go_on();
    eventually("the record of the call that it slept through", || ended().as_deref() == Some("2"));
    assert_eq!(live.get("/calls/last").0, 200);
}
