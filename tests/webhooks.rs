//! Webhooks against a receiver that fails, hangs, and comes back: nothing is lost, each call's events stay in order, and
//! nobody else waits.
//! Real HTTP on loopback; no test depends on speed.

mod example_call;

use call::CallId;
use example_call::{Directory, ended, figure, running};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};
use tandem::{
    secret::Secret,
    webhooks::{Outbox, Replay, SIGNATURE_HEADER, State, Webhook, Webhooks, verify},
};

/// What arrived: event, body, and whether its signature is right.
type Arrived = Arc<Mutex<Vec<(String, String, bool)>>>;

/// An endpoint that answers with a status that the test may change.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    arrived: Arrived,
}

impl Receiver {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}/calls", listener.local_addr().expect("bound"));
        let (status, arrived) = (Arc::new(AtomicU16::new(status)), Arrived::default());
        let (answer, told) = (Arc::clone(&status), Arc::clone(&arrived));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
                std::thread::spawn(move || serve(stream, &answer, &told));
            }
        });
        Self { url, status, arrived }
    }

    fn arrived(&self) -> Vec<(String, String, bool)> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn events(&self) -> Vec<String> {
        self.arrived().into_iter().map(|(event, ..)| event).collect()
    }

    fn hook(&self, name: &str) -> Webhook {
        Webhook {
            name: name.to_owned(),
            url: self.url.clone(),
            secret: Secret::new("a secret"),
            started: true,
            ended: true,
            numbers: false,
            give_up_after: Duration::from_secs(3_600),
        }
    }
}

/// Requests on one connection. Status 0: no answer at all.
fn serve(stream: TcpStream, answer: &AtomicU16, arrived: &Arrived) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
            head.push_str(&std::mem::take(&mut line));
        }
        if head.is_empty() {
            return;
        }
        let header = |name: &str| {
            let found =
                head.lines().find(|line| line.to_ascii_lowercase().starts_with(&name.to_ascii_lowercase()));
            found.and_then(|line| line.split_once(": ")).map_or(String::new(), |(_, value)| value.to_owned())
        };
        let mut body = vec![0; header("content-length:").parse().unwrap_or(0)];
        if lines.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let status = answer.load(Ordering::Relaxed);
        if status == 0 {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        if status == 200 {
            let signature = header(&format!("{SIGNATURE_HEADER}:"));
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            let sound = verify(&Secret::new("a secret"), &signature, &body, now.as_secs() as i64, 300);
            let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            let event = header("tandem-event-id:");
            // The call's id is the first half of the trace's, or the second: whoever asks for one gets the other.
            let call = event.split('.').next().unwrap_or_default().trim().to_owned();
            assert!(header("traceparent:").contains(&call), "{head}");
            arrived.push((event, body, sound));
        }
        if write!(out, "HTTP/1.1 {status} Any\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_fails_is_tried_again_in_the_order_of_its_call_and_survives_a_restart() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let receiver = Receiver::start(500);
    let hook = receiver.hook("crm");
    let start = |store: &_| {
        Webhooks::start(std::slice::from_ref(&hook), directory.path(), store, &metrics).expect("it starts")
    };
    // What was before the hook is none of its business.
    store.end_call(ended(CallId(1)));
    store.flush();
    let mut webhooks = start(&store);
    store.begin_call(running(CallId(2)));
    store.end_call(ended(CallId(2)));
    store.end_call(ended(CallId(3)));
    let waiting = "tandem_webhook_events_total{hook=\"crm\",result=\"waiting\"}";
    eventually("it fails", || metrics.encode().expect("text").contains(waiting));
    webhooks.stop();
    drop((webhooks, store));
    // The next process finds them, and the endpoint is well again.
    receiver.status.store(200, Ordering::Relaxed);
    let (store, _) = directory.store();
    let webhooks = start(&store);
    eventually("all have arrived", || receiver.events().len() >= 3);
    let events = receiver.events();
    let of_two: Vec<_> = events.iter().filter(|event| event.starts_with("0000000000000002")).collect();
    assert_eq!(of_two, ["0000000000000002.call.started", "0000000000000002.call.ended"]);
    assert!(events.contains(&"0000000000000003.call.ended".to_owned()), "{events:?}");
    for (event, body, sound) in receiver.arrived() {
        assert!(sound, "{event}: wrong signature");
        assert!(!body.contains("+15550100"), "numbers are told only where that is wanted");
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(told["id"], event.as_str());
        assert!(told["call"]["invite_us"].is_i64());
    }
    drop(webhooks);
}

#[test]
fn a_dead_endpoint_holds_up_nobody_and_what_it_missed_can_be_sent_again() {
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let (hanging, well) = (Receiver::start(0), Receiver::start(200));
    let dead = Webhook { give_up_after: Duration::ZERO, ..hanging.hook("dead") };
    let hooks = [dead, well.hook("well")];
    let webhooks = Webhooks::start(&hooks, directory.path(), &store, &metrics).expect("it starts");
    let begun = Instant::now();
    (1..=50).for_each(|call| store.end_call(ended(CallId(call))));
    assert!(begun.elapsed() < Duration::from_secs(1), "a call waits for no endpoint");
    eventually("the other hears of all", || well.events().len() == 50);
    let mut outbox = Outbox::open(directory.path()).expect("it is there");
    let dead = |outbox: &mut Outbox| {
        let list = outbox.list(Some("dead"), 100).expect("readable");
        list.iter().filter(|delivery| delivery.state == State::Dead).count()
    };
    eventually("the first are given up", || dead(&mut outbox) >= 16);
    // It never answers; the operator points the name somewhere else and sends what was missed.
    drop(webhooks);
    let count = outbox.replay(&Replay { hook: Some("dead".into()), ..Replay::default() }).expect("writable");
    assert!(count >= 16);
    let moved = Webhook { name: "dead".into(), ..well.hook("dead") };
    let webhooks = Webhooks::start(&[moved], directory.path(), &store, &metrics).expect("it starts");
    eventually("all that was missed arrives", || well.events().len() == 100);
    assert_eq!(figure(&metrics, "tandem_webhook_events_total{hook=\"well\",result=\"delivered\"}"), 50);
    drop(webhooks);
}

#[test]
fn what_the_database_has_not_taken_over_stays_in_the_journal_whoever_else_has_read_it() {
    let directory = Directory::new();
    let nowhere =
        tandem::store::PostgresUrl::new(Secret::new("postgres://tandem@127.0.0.1:1/x?sslmode=disable"));
    let database = tandem::store::DatabaseUrl::Postgres(nowhere.expect("a URL"));
    let config = tandem::store::StoreConfig { database, journal_reserve: 4_096, ..directory.config() };
    let metrics = tandem::telemetry::Metrics::default();
    let store = tandem::store::Store::open(config, metrics.clone()).expect("it starts without its database");
    let well = Receiver::start(200);
    let webhooks =
        Webhooks::start(&[well.hook("well")], directory.path(), &store, &metrics).expect("it starts");
    (1..=50).for_each(|call| store.end_call(ended(CallId(call))));
    eventually("the hook has read everything", || well.events().len() == 50);
    // Long enough for what is not needed any more to be deleted.
    std::thread::sleep(Duration::from_secs(7));
    drop((webhooks, store));
    // The database is another one now: nothing is missing from it.
    let (store, _) = directory.store();
    let filter = tandem::store::CallFilter { limit: 100, ..tandem::store::CallFilter::default() };
    assert_eq!(store.reader().expect("a database").calls(&filter).expect("readable").len(), 50);
}
