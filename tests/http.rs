//! What the HTTP interface promises: JSON for everything, errors that help, and live events of a running call.
//! Real sockets on loopback; no test depends on speed.

mod example_call;

use call::CallId;
use example_call::{Directory, ended, events, keep, running};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tandem::http::{CallControl, Health, HealthReport, HttpState, Role, Slots, Status, Token, serve};
use tandem::secret::Secret;
use tandem::store::Store;
use tandem::telemetry::{LiveEvents, Metrics, TraceSink};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const CALL: CallId = CallId(0x7f3a_0000_0000_0001);

struct Server {
    directory: Directory,
    address: SocketAddr,
    store: Store,
    metrics: Metrics,
    live: LiveEvents,
    shell: Arc<Shell>,
}

/// What the server's other parts would be.
struct Shell {
    status: Mutex<Status>,
    hung_up: Mutex<Vec<CallId>>,
}

impl Health for Shell {
    fn health(&self) -> HealthReport {
        let status = *self.status.lock().expect("not poisoned");
        let (version, slots) = ("0.1.0".into(), Slots { cap: 10, busy: 1 });
        HealthReport { status, version, uptime_s: 1.5, slots, reasons: Vec::new() }
    }
}

impl CallControl for Shell {
    fn hang_up(&self, call: CallId) -> bool {
        self.hung_up.lock().expect("not poisoned").push(call);
        call == CALL
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(tokens: &[Token]) -> Self {
        let directory = Directory::new();
        let (store, metrics) = directory.store();
        let live = LiveEvents::new();
        let shell = Arc::new(Shell { status: Mutex::new(Status::Ready), hung_up: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let state = HttpState {
            tokens: tokens.to_vec().into(),
            trunks: None,
            reader: store.reader().expect("there is a database"),
            metrics: metrics.clone(),
            health: Arc::clone(&shell) as Arc<dyn Health>,
            control: Arc::clone(&shell) as Arc<dyn CallControl>,
            live: live.clone(),
            ladders: tandem::sip_transport::Ladders::default(),
        };
        tokio::spawn(serve(listener, state, std::future::pending()));
        Self { directory, address, store, metrics, live, shell }
    }

    async fn text(&self, method: &str, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        let answer = String::from_utf8(answer).expect("text");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    async fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, body) = self.text(method, path, "localhost").await;
        let body = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        (status, body)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.json("GET", path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

#[tokio::test]
async fn health_says_ready_and_draining_by_status_code_too() {
    let server = Server::start().await;
    let body = server.get("/health").await;
    let ready =
        json!({ "status": "ready", "version": "0.1.0", "uptime_s": 1.5, "slots": { "cap": 10, "busy": 1 } });
    assert_eq!(body, ready);
    *server.shell.status.lock().expect("not poisoned") = Status::Draining;
    let (status, body) = server.json("GET", "/health").await;
    assert_eq!((status, &body["status"]), (503, &json!("draining")));
}

#[tokio::test]
async fn calls_are_listed_found_and_traced() {
    let server = Server::start().await;
    keep(&server.store, CALL, u64::MAX);
    server.store.end_call(ended(CallId(2)));
    server.store.flush();
    assert_eq!(server.get("/calls").await["calls"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.get("/calls?limit=1").await["calls"].as_array().map(Vec::len), Some(1));
    let by_sip = server.get("/calls?sip_call_id=7f3a000000000001@carrier.example").await;
    assert_eq!(by_sip["calls"][0]["call"], "7f3a000000000001");
    let one = server.get("/calls/7f3a").await;
    assert_eq!((&one["end_cause"], &one["caller"]), (&json!("caller_hung_up"), &json!("+15550100")));
    let trace = server.get("/calls/7f3a/trace").await;
    assert_eq!(trace["turns"][1]["latency"]["total_us"], 612_000);
    assert_eq!(trace["events"].as_array().map(Vec::len), Some(events().len()));
    // The very JSON of `tandem trace --json`.
    let read = server.store.reader().expect("there is a database").trace("7f3a").expect("it is there");
    assert_eq!(trace, serde_json::to_value(read).expect("it serialises"));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_advice() {
    let server = Server::start().await;
    server.store.end_call(ended(CALL));
    server.store.end_call(ended(CallId(CALL.0 + 1)));
    server.store.flush();
    for (method, path, expected) in [
        ("GET", "/calls/0000", 404),
        ("GET", "/calls/0000/trace", 404),
        ("GET", "/calls/0000/events", 404),
        ("DELETE", "/calls/0000", 404),
        ("GET", "/calls/7f3a", 409),
        ("DELETE", "/calls/7f3a000000000001", 409),
        ("GET", "/calls?limt=5", 400),
        ("GET", "/calls?limit=many", 400),
        ("GET", "/calls/last/events?after=-1", 400),
        ("GET", "/nothing", 404),
        ("POST", "/calls", 405),
        ("GET", "/calls/%27%20OR%201=1", 404),
    ] {
        let (status, body) = server.json(method, path).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
        for part in ["what", "instead"] {
            assert!(
                body["error"][part].as_str().is_some_and(|text| !text.is_empty()),
                "{method} {path}: {body}"
            );
        }
    }
    let (_, body) = server.json("GET", "/calls?limt=5").await;
    assert!(body["error"]["instead"].as_str().is_some_and(|text| text.contains("limit")), "{body}");
    assert!(server.shell.hung_up.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn a_running_call_can_be_hung_up() {
    let server = Server::start().await;
    server.store.begin_call(running(CALL));
    server.store.flush();
    let (status, body) = server.json("DELETE", "/calls/last").await;
    assert_eq!((status, &body["status"]), (202, &json!("hanging_up")));
    assert_eq!(*server.shell.hung_up.lock().expect("not poisoned"), [CALL]);
}

#[tokio::test]
async fn a_follower_sees_every_event_of_a_running_call_once_and_in_order() {
    let server = Server::start().await;
    server.store.begin_call(running(CALL));
    server.store.flush();
    let sink = TraceSink::start(server.store.clone(), server.metrics.clone(), server.live.clone())
        .expect("a thread");
    let store = server.store.clone();
    tokio::spawn(async move {
        for stamped in events() {
            sink.record(CALL, stamped);
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        tokio::task::spawn_blocking(move || sink.flush()).await.expect("it flushes");
        store.end_call(ended(CALL));
    });
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let body = server.get(&format!("/calls/{CALL}/events?after={after}")).await;
        let events = body["events"].as_array().expect("a list").clone();
        after = body["next"].as_u64().expect("a number");
        if events.is_empty() && body["ended"] == json!(true) {
            break;
        }
        seen.extend(events);
    }
    let numbers: Vec<u64> = seen.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=events().len() as u64).collect::<Vec<_>>());
    assert_eq!((&seen[0]["kind"], &seen[0]["at_us"]), (&json!("started"), &json!(0)));
}

#[tokio::test]
async fn a_follower_who_wants_no_waiting_gets_what_there_is() {
    let server = Server::start().await;
    server.store.begin_call(running(CALL));
    server.store.flush();
    let body = server.get("/calls/last/events?wait_s=0").await;
    assert_eq!(body, json!({ "call": "7f3a000000000001", "events": [], "next": 0, "ended": false }));
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let server = Server::start().await;
    let (status, body) = server.text("GET", "/metrics", "127.0.0.1").await;
    assert_eq!(status, 200);
    assert!(body.contains("# TYPE tandem_turn_seconds histogram") && body.contains("# EOF"), "{body}");
}

#[tokio::test]
async fn a_page_of_another_name_is_refused_on_loopback() {
    let server = Server::start().await;
    let (status, body) = server.text("GET", "/calls", "evil.example").await;
    assert_eq!(status, 403, "{body}");
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_says_no_more_than_it_should() {
    let server = Server::start().await;
    let other = rusqlite::Connection::open(server.directory.path().join(tandem::store::DATABASE_FILE))
        .expect("opens");
    other.execute_batch("DROP TABLE calls").expect("it is writable");
    let (status, body) = server.json("GET", "/calls").await;
    assert_eq!(status, 500, "{body}");
    assert!(!body.to_string().contains("/tmp"), "{body}");
}

/// Asks with a token; the status is all that matters.
async fn asked(server: &Server, method: &str, path: &str, token: &str) -> u16 {
    let host = format!("127.0.0.1\r\nAuthorization: Bearer {token}");
    server.text(method, path, &host).await.0
}

#[tokio::test]
async fn with_tokens_in_the_config_each_may_do_what_its_role_says() {
    let token = |secret: &str, role| Token { secret: Secret::new(secret), role };
    let server = Server::start_with(&[token("look", Role::Read), token("act", Role::Operate)]).await;
    server.store.begin_call(running(CALL));
    server.store.flush();
    for path in ["/health", "/openapi.json"] {
        assert_eq!(server.text("GET", path, "127.0.0.1").await.0, 200, "{path} is open to all");
    }
    for (method, path) in [("GET", "/calls"), ("GET", "/metrics"), ("DELETE", "/calls/last")] {
        assert_eq!(server.text(method, path, "127.0.0.1").await.0, 401, "{method} {path} without a token");
        assert_eq!(asked(&server, method, path, "loo").await, 401, "{method} {path} with a wrong one");
    }
    assert_eq!(asked(&server, "GET", "/calls", "look").await, 200);
    assert_eq!(asked(&server, "DELETE", "/calls/last", "look").await, 403);
    assert!(server.shell.hung_up.lock().expect("not poisoned").is_empty());
    assert_eq!(asked(&server, "GET", "/metrics", "act").await, 200);
    assert_eq!(asked(&server, "DELETE", "/calls/last", "act").await, 202);
}

#[tokio::test]
async fn the_document_of_the_api_lists_every_route_and_no_other() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    // Routes as the router has them: their paths, and the methods behind each.
    let source = include_str!("../src/http/mod.rs");
    let mut routes = 0;
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').expect("a path");
        let handlers = rest.lines().next().unwrap_or_default();
        for method in ["get", "post", "put", "delete", "patch"] {
            let served = handlers.contains(&format!("{method}("));
            let told = paths.get(path).is_some_and(|path| path.get(method).is_some());
            assert_eq!(served, told, "{method} {path}");
            routes += usize::from(served);
        }
    }
    assert!(routes >= 9, "{routes}");
    assert_eq!(paths.len(), source.matches(".route(\"").count());
    for path in paths.keys().filter(|path| !path.ends_with("/events")) {
        let (status, body) = server.text("GET", &path.replace("{call}", "last"), "localhost").await;
        assert!(status != 405 && !body.contains("there is nothing at"), "{path}: {status}");
    }
}

#[tokio::test]
async fn calls_are_found_by_number_latency_and_outcome() {
    let server = Server::start().await;
    keep(&server.store, CALL, u64::MAX);
    for (query, found) in [
        ("number=%2B15550100", 1),
        ("number=%2B15550199", 1),
        ("number=%2B1555", 0),
        ("slower_than_ms=1130", 1),
        ("slower_than_ms=1131", 0),
        ("end_cause=caller_hung_up&number=%2B15550100", 1),
        ("end_cause=ports_full", 0),
    ] {
        let body = server.get(&format!("/calls?{query}")).await;
        assert_eq!(body["calls"].as_array().map(Vec::len), Some(found), "{query}: {body}");
    }
}
