//! Agents' tools against servers on this machine that answer, refuse, redirect, flood and hang.
//! Knows requests and results. What a call makes of them is in `transactions.rs`.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use call::{CallId, ToolResult};
use conversation::{Agent, ToolCall, ToolClass, TurnId, Variables};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tandem::{
    providers::{Events, ProviderEvent},
    secret::Secret,
    telemetry::Metrics,
    tools::{Reach, ToolContext, ToolRunner, ToolSettings},
};
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc::Receiver};

/// A request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: String,
}

type Log = Arc<Mutex<Vec<Seen>>>;

fn note(log: &Log, seen: Seen) {
    log.lock().expect("nobody panics here").push(seen);
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A server that does what the path says, and remembers every request.
async fn server(other: Option<SocketAddr>) -> (SocketAddr, Log) {
    let log = Log::default();
    let tries = Arc::new(AtomicUsize::new(0));
    let remember = Arc::clone(&log);
    let handler = move |request: Request<Body>| {
        let (log, tries) = (Arc::clone(&remember), Arc::clone(&tries));
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
            let path = parts.uri.path().to_owned();
            let body = String::from_utf8_lossy(&body).into_owned();
            let (method, uri) = (parts.method.to_string(), parts.uri.to_string());
            note(&log, Seen { method, uri, headers: parts.headers, body });
            answer(&path, &tries, other).await
        }
    };
    (serve(Router::new().fallback(any(handler))).await, log)
}

async fn answer(path: &str, tries: &AtomicUsize, other: Option<SocketAddr>) -> Response {
    let json = [("content-type", "application/json")];
    match path {
        "/flood" => {
            // Ten megabytes, and more for whoever goes on reading.
            let chunks = futures_util::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 65_536]))
            });
            Body::from_stream(chunks).into_response()
        }
        "/page" => ([("content-type", "text/html")], "<html><body>Oops</body></html>").into_response(),
        "/nothing" => StatusCode::NO_CONTENT.into_response(),
        "/hang" => std::future::pending().await,
        "/refuse" => (StatusCode::NOT_FOUND, "no such order; key was tool-secret").into_response(),
        "/shaky" if tries.fetch_add(1, Ordering::Relaxed) == 0 => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        "/down" => StatusCode::BAD_GATEWAY.into_response(),
        "/round" => Redirect::temporary("/round").into_response(),
        "/there" => Redirect::temporary("/orders/there").into_response(),
        "/away" => {
            let other = other.expect("there is another server");
            Redirect::temporary(&format!("http://{other}/stolen")).into_response()
        }
        "/inside" => Redirect::temporary("http://169.254.169.254/latest/meta-data").into_response(),
        _ => (json, r#"{ "state": "sent" }"#).into_response(),
    }
}

/// An agent's tools and a call that listens.
struct Bench {
    directory: PathBuf,
    runner: ToolRunner,
    events: Events,
    inbox: Receiver<ProviderEvent>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn agent(tools: &str) -> Agent {
    let head = "[agent]\nname = \"a\"\ngreeting = \"Hello.\"\n[variables]\ntenant = \"none\"\n";
    Agent::parse(&format!("{head}{tools}"), &BTreeMap::new()).expect("a valid agent")
}

fn reach(hosts: &[String], networks: &[&str]) -> Reach {
    Reach {
        hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
        networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
    }
}

fn bench(agent: &Agent, reach: Reach) -> Bench {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("tandem-tools-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let settings = ToolSettings {
        reach: Arc::new(reach),
        timeout: Duration::from_secs(20),
        secrets: BTreeMap::from([("env:TOKEN".to_owned(), Secret::new("tool-secret"))]),
    };
    let shared = (Handle::current(), Metrics::default());
    let runner = ToolRunner::start(&directory, "", agent, &settings, shared).expect("the tools can start");
    let (events, inbox) = Events::channel(Arc::new(|| {}));
    Bench { directory, runner, events, inbox }
}

fn local(agent: &Agent, server: SocketAddr) -> Bench {
    bench(agent, reach(&[server.to_string()], &["127.0.0.1"]))
}

impl Bench {
    fn start(&self, turn: u32, name: &str, arguments: &str) {
        let mut variables = Variables::default();
        variables.set("tenant", "acme & sons");
        let context = ToolContext {
            call: CallId(0xabc),
            caller: "+15550100".to_owned().into(),
            today: jiff::civil::date(2026, 11, 28),
            variables,
        };
        let call = ToolCall { id: "t1".into(), name: name.into(), arguments: arguments.into() };
        self.runner.run(&context, TurnId(turn), &call, self.events.clone());
    }

    async fn result(&mut self) -> Result<String, String> {
        let event =
            tokio::time::timeout(Duration::from_secs(60), self.inbox.recv()).await.expect("an answer");
        match event {
            Some(ProviderEvent::Tool(_, ToolResult { result, .. })) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn run(&mut self, name: &str, arguments: &str) -> Result<String, String> {
        self.start(1, name, arguments);
        self.result().await
    }
}

/// A tool without arguments that asks for one path.
fn simple(server: SocketAddr, path: &str, more: &str) -> Agent {
    agent(&format!(
        "[[tool]]\nname = \"ask\"\ndescription = \"d\"\nkind = \"http\"\nurl = \"http://{server}{path}\"\n{more}"
    ))
}

fn look_up(server: SocketAddr) -> Agent {
    agent(&format!(
        r#"
[[tool]]
name = "order"
description = "The state of an order."
kind = "http"
url = "http://{server}/orders/{{number}}?tenant={{tenant}}"
headers = {{ Authorization = "Bearer env:TOKEN", X-Caller = "{{caller}}" }}
parameters = {{ properties = {{ number = {{ type = "string" }}, full = {{ type = "boolean" }} }}, required = ["number"] }}

[[tool]]
name = "cancel"
description = "Cancels an order."
kind = "http"
method = "POST"
url = "http://{server}/orders/{{number}}/cancel"
parameters = {{ properties = {{ number = {{ type = "string" }}, why = {{ type = "string" }} }}, required = ["number"] }}
"#
    ))
}

#[tokio::test]
async fn a_request_carries_what_the_file_says_and_what_the_model_filled_in() {
    let (server, log) = server(None).await;
    let mut bench = local(&look_up(server), server);
    assert_eq!(bench.run("order", r#"{"number":"A 7","full":true}"#).await, Ok(r#"{"state":"sent"}"#.into()));
    assert!(bench.run("cancel", r#"{"number":"A7","why":"too late"}"#).await.is_ok());
    let seen = log.lock().expect("nobody panics here").clone();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].uri.as_str()),
        ("GET", "/orders/A%207?tenant=acme%20%26%20sons&full=true")
    );
    assert_eq!(seen[0].headers["authorization"], "Bearer tool-secret");
    assert_eq!(seen[0].headers["x-caller"], "+15550100");
    assert_eq!((seen[1].method.as_str(), seen[1].uri.as_str()), ("POST", "/orders/A7/cancel"));
    assert_eq!(seen[1].body, r#"{"why":"too late"}"#);
    let parent = seen[1].headers["traceparent"].to_str().expect("text");
    assert_eq!(&parent[19..36], "0000000000000abc-", "the trace ends as the call is named: {parent}");
    assert_eq!(parent.len(), 55);
}

#[tokio::test]
async fn nothing_that_a_model_writes_leaves_its_place_in_the_url() {
    let (server, log) = server(None).await;
    let mut bench = local(&look_up(server), server);
    for (number, uri) in [
        ("../admin", "/orders/..%2Fadmin?"),
        ("x?a=1&b#c", "/orders/x%3Fa%3D1%26b%23c?"),
        ("@evil.example/", "/orders/%40evil.example%2F?"),
        ("ä\n{tenant}", "/orders/%C3%A4%0A%7Btenant%7D?"),
        ("%2e%2e", "/orders/%252e%252e?"),
    ] {
        let arguments = json!({ "number": number }).to_string();
        assert!(bench.run("order", &arguments).await.is_ok(), "{number}");
        let seen = log.lock().expect("nobody panics here").pop().expect("a request");
        assert!(seen.uri.starts_with(uri), "{}", seen.uri);
    }
    for (number, word) in [("..", "dots"), (".", "dots"), ("", "empty")] {
        let error = bench.run("order", &json!({ "number": number }).to_string()).await.expect_err(number);
        assert!(error.contains(word), "{error}");
    }
    assert!(log.lock().expect("nobody panics here").is_empty(), "nothing was asked");
}

#[tokio::test]
async fn ten_megabytes_a_page_or_nothing_are_short_answers() {
    let (server, _) = server(None).await;
    let flood = local(&simple(server, "/flood", ""), server).run("ask", "").await.expect("its beginning");
    assert!(flood.len() <= 8_192 && flood.contains("too long"), "{}", flood.len());
    let page = local(&simple(server, "/page", ""), server).run("ask", "").await.expect_err("a page");
    assert!(page.contains("web page"), "{page}");
    let nothing = local(&simple(server, "/nothing", ""), server).run("ask", "").await;
    assert_eq!(nothing, Ok(r#"{"empty":true,"status":204}"#.into()));
    let mut hanging = local(&simple(server, "/hang", "timeout_ms = 200"), server);
    assert!(hanging.run("ask", "").await.expect_err("it hangs").contains("in time"));
}

#[tokio::test]
async fn a_refusal_is_told_without_the_secret() {
    let (server, _) = server(None).await;
    let tool = simple(server, "/refuse", "headers = { X-Key = \"env:TOKEN\" }");
    let error = local(&tool, server).run("ask", "").await.expect_err("404");
    assert!(
        error.contains("404") && error.contains("no such order") && !error.contains("tool-secret"),
        "{error}"
    );
}

#[tokio::test]
async fn reading_is_tried_again_and_changing_is_not_unless_the_file_says_so() {
    let (server, log) = server(None).await;
    assert!(local(&simple(server, "/shaky", ""), server).run("ask", "").await.is_ok());
    let keys = |log: &Log| -> Vec<String> {
        let seen = std::mem::take(&mut *log.lock().expect("nobody panics here"));
        seen.iter().map(|seen| seen.headers["idempotency-key"].to_str().expect("text").to_owned()).collect()
    };
    let both = keys(&log);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], both[1], "one wish, one key");
    let post = |retries: &str| simple(server, "/down", &format!("method = \"POST\"\n{retries}"));
    let error = local(&post(""), server).run("ask", "").await.expect_err("it is down");
    assert!(error.contains("502"), "{error}");
    assert_eq!(keys(&log).len(), 1);
    assert!(local(&post("retries = 2"), server).run("ask", "").await.is_err());
    let three = keys(&log);
    assert!(three.len() == 3 && three.iter().all(|key| *key == three[0]), "{three:?}");
}

#[tokio::test]
async fn another_turn_is_another_wish_and_the_order_of_arguments_does_not_matter() {
    let (server, log) = server(None).await;
    let mut bench = local(&look_up(server), server);
    for (turn, arguments) in [
        (1, r#"{"number":"7","why":"x"}"#),
        (1, r#"{"why":"x","number":"7"}"#),
        (2, r#"{"number":"7","why":"x"}"#),
    ] {
        bench.start(turn, "cancel", arguments);
        assert!(bench.result().await.is_ok());
    }
    let seen = log.lock().expect("nobody panics here").clone();
    let key = |n: usize| seen[n].headers["idempotency-key"].clone();
    assert_eq!(key(0), key(1));
    assert_ne!(key(0), key(2));
}

#[tokio::test]
async fn tools_that_run_side_by_side_take_as_long_as_the_longest() {
    let (server, _) = server(None).await;
    let mut bench = local(&simple(server, "/hang", "timeout_ms = 400\nretries = 0"), server);
    let begun = std::time::Instant::now();
    (0..20).for_each(|_| bench.start(1, "ask", ""));
    for _ in 0..20 {
        assert!(bench.result().await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(7), "one after the other they would take 8 s");
}

#[tokio::test]
async fn a_redirect_is_looked_at_again() {
    let (other, stolen) = server(None).await;
    let (server, log) = server(Some(other)).await;
    let ask = |path: &str| simple(server, path, "headers = { X-Key = \"env:TOKEN\" }\nretries = 0");
    assert_eq!(local(&ask("/there"), server).run("ask", "").await, Ok(r#"{"state":"sent"}"#.into()));
    let error = local(&ask("/round"), server).run("ask", "").await.expect_err("it never ends");
    assert!(error.contains("redirects more than"), "{error}");
    let error = local(&ask("/away"), server).run("ask", "").await.expect_err("nobody allowed that");
    assert!(error.contains("not one of the hosts"), "{error}");
    assert!(stolen.lock().expect("nobody panics here").is_empty());
    let hosts = [server.to_string(), "169.254.169.254".to_owned()];
    let error = bench(&ask("/inside"), reach(&hosts, &["127.0.0.1"])).run("ask", "").await;
    assert!(error.expect_err("it is inside").contains("may not reach"));
    // Where both are allowed, the second is not told the first one's key.
    let hosts = [server.to_string(), other.to_string()];
    assert!(bench(&ask("/away"), reach(&hosts, &["127.0.0.1"])).run("ask", "").await.is_ok());
    let seen = stolen.lock().expect("nobody panics here").clone();
    assert!(seen.len() == 1 && !seen[0].headers.contains_key("x-key"));
    assert!(
        log.lock().expect("nobody panics here").iter().all(|seen| seen.headers["x-key"] == "tool-secret")
    );
    let post = simple(server, "/there", "method = \"PUT\"");
    assert!(local(&post, server).run("ask", "").await.is_ok(), "307 keeps what was asked");
}

#[tokio::test]
async fn a_name_that_resolves_inside_is_not_connected_to() {
    let (server, log) = server(None).await;
    let named = format!("localhost:{}", server.port());
    let tool = agent(&format!(
        "[[tool]]\nname = \"ask\"\ndescription = \"d\"\nkind = \"http\"\nurl = \"http://{named}/x\"\n"
    ));
    let error = bench(&tool, reach(&[named.clone()], &[])).run("ask", "").await.expect_err("it is inside");
    assert!(error.contains("may not reach"), "{error}");
    assert!(log.lock().expect("nobody panics here").is_empty());
    assert!(bench(&tool, reach(&[named], &["127.0.0.0/8", "::1"])).run("ask", "").await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_answer_too() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it was bound");
    let error = local(&simple(gone, "/x", ""), gone).run("ask", "").await.expect_err("nobody listens");
    assert!(error.contains("cannot be reached"), "{error}");
}

// Servers of tools.

/// A server of the Model Context Protocol over HTTP that forgets its session once and answers as a stream or not.
#[derive(Clone)]
struct Customers {
    log: Log,
    stream: bool,
    forget: Arc<AtomicUsize>,
}

async fn mcp(State(server): State<Customers>, headers: HeaderMap, body: String) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    note(&server.log, Seen { method: method.clone(), uri: String::new(), headers, body });
    let id = &message["id"];
    let result = match method.as_str() {
        "initialize" => json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {} }),
        "tools/list" if message["params"]["cursor"].is_null() => json!({ "nextCursor": "more", "tools": [{
            "name": "find", "description": "Finds a customer.",
            "inputSchema": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] }
        }] }),
        "tools/list" => json!({ "tools": [{ "name": "delete" }, { "name": "no good name" }] }),
        "tools/call" if server.forget.fetch_sub(1, Ordering::Relaxed) == 1 => {
            return StatusCode::NOT_FOUND.into_response();
        }
        "tools/call" if message["params"]["arguments"]["name"] == "nobody" => {
            json!({ "isError": true, "content": [{ "type": "text", "text": "no such customer" }] })
        }
        "tools/call" => json!({ "content": [{ "type": "text", "text": "gold" }] }),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    let session = ("mcp-session-id", "s1");
    if server.stream {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress" });
        let text = format!(": hello\n\ndata: {note}\n\nevent: message\ndata: {answer}\n\n");
        return ([("content-type", "text/event-stream"), session], text).into_response();
    }
    ([("content-type", "application/json"), session], answer.to_string()).into_response()
}

async fn customers(stream: bool) -> (Bench, Log) {
    let server = Customers { log: Log::default(), stream, forget: Arc::new(AtomicUsize::new(2)) };
    let log = Arc::clone(&server.log);
    let address = serve(Router::new().fallback(any(mcp)).with_state(server)).await;
    let agent = agent(&format!(
        "[[mcp]]\nname = \"crm\"\nurl = \"http://{address}/mcp\"\nheaders = {{ Authorization = \"Bearer env:TOKEN\" }}\n\
         tools = [\"find\", \"delete\"]\nreads = [\"find\"]\n"
    ));
    let bench = local(&agent, address);
    bench.runner.discover().await;
    (bench, log)
}

#[tokio::test]
async fn a_server_brings_tools_and_they_are_called() {
    for stream in [false, true] {
        let (mut bench, log) = customers(stream).await;
        let tools = bench.runner.brought();
        let names: Vec<_> = tools.iter().map(|tool| (tool.spec.name.as_str(), tool.class)).collect();
        assert_eq!(names, [("find", ToolClass::Read), ("delete", ToolClass::Write)]);
        assert_eq!(bench.run("find", r#"{"name":"Ann"}"#).await, Ok(r#"{"text":"gold"}"#.into()));
        // The second call meets a server that has forgotten the session: it is greeted again.
        assert_eq!(bench.run("find", r#"{"name":"Bob"}"#).await, Ok(r#"{"text":"gold"}"#.into()));
        assert_eq!(bench.run("find", r#"{"name":"nobody"}"#).await, Err("no such customer".into()));
        assert!(
            bench.run("find", "{}").await.expect_err("a name is missing").contains("\"name\" is missing")
        );
        assert!(bench.run("fnd", "{}").await.expect_err("no such tool").contains("there are: find, delete"));
        let seen = log.lock().expect("nobody panics here").clone();
        let greetings = seen.iter().filter(|seen| seen.method == "initialize").count();
        assert_eq!(greetings, 2);
        let call = seen.iter().find(|seen| seen.method == "tools/call").expect("a call");
        assert_eq!(call.headers["mcp-session-id"], "s1");
        assert_eq!(call.headers["mcp-protocol-version"], "2025-03-26");
        assert_eq!(call.headers["authorization"], "Bearer tool-secret");
        assert!(call.body.contains("tandem/idempotency-key"), "{}", call.body);
    }
}

#[tokio::test]
async fn a_server_that_talks_nonsense_only_lacks_its_tools() {
    for path in ["/page", "/nothing", "/flood", "/down", "/orders/1"] {
        let (server, _) = server(None).await;
        let agent = agent(&format!("[[mcp]]\nname = \"crm\"\nurl = \"http://{server}{path}\"\n"));
        let mut bench = local(&agent, server);
        bench.runner.discover().await;
        assert!(bench.runner.brought().is_empty(), "{path}");
        assert!(bench.run("find", "{}").await.expect_err("no tools").contains("there is no tool"), "{path}");
    }
}

/// A process that answers in the protocol, and dies after its first call.
const PROCESS: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  case "$line" in
    *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18"}}\n' "$id" ;;
    *'"tools/list"'*) echo 'not a message'
      printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"secret"}]}}\n' "$id" ;;
    *'"tools/call"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"[%s]"}]}}\n' "$id" "$CARGO_MANIFEST_DIR"
      exit ;;
  esac
done
"#;

#[tokio::test]
async fn a_process_brings_tools_sees_no_keys_and_is_started_again_when_it_dies() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "what must not be seen is there");
    let agent =
        agent(&format!("[[mcp]]\nname = \"local\"\ncommand = [\"/bin/sh\", \"-c\", '''{PROCESS}''']\n"));
    let mut bench = bench(&agent, Reach::default());
    bench.runner.discover().await;
    assert_eq!(bench.runner.brought().len(), 1);
    for _ in 0..3 {
        // A call that meets the dying process is told so; the next one starts another.
        let mut answer = bench.run("secret", "{}").await;
        for _ in 0..10 {
            if answer.as_ref().is_err_and(|error| error.contains("process")) {
                answer = bench.run("secret", "{}").await;
            }
        }
        assert_eq!(answer, Ok("[]".into()), "no key of ours in its environment");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_only_lacks_its_tools() {
    let agent = agent("[[mcp]]\nname = \"local\"\ncommand = [\"/no/such/program\"]\n");
    let bench = bench(&agent, Reach::default());
    bench.runner.discover().await;
    assert!(bench.runner.brought().is_empty());
}
