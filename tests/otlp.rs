//! What a trace collector is told: names, parents and times of every span, under every profile, and what it costs the
//! calls when it is dead. The collector here is a stand-in that reads the real messages.

mod example_call;

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use call::{
    CallId, Event, Stamped,
    cdr::{Arrival, Cause, Cdr},
};
use conversation::TurnId;
use example_call::{Directory, INVITE_US, events, figure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value, trace::v1::Span as WireSpan,
};
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tandem::{
    secret::Secret,
    telemetry::{
        LiveEvents, Metrics, TraceSink,
        otlp::{
            AgentLabels, CallSpans, Exporter, Labels, OtlpConfig, Profile, SPAN_QUEUE, Span, TargetLabels,
            plain, traceparent,
        },
    },
};

const CALL: CallId = CallId(0x0123_4567_89ab_cdef);

fn target(provider: &str, model: &str) -> TargetLabels {
    TargetLabels { provider: provider.into(), model: model.into() }
}

fn labels(words: bool, sample_percent: u8) -> Labels {
    let agent = AgentLabels {
        stt: target("embedded", "small-ear"),
        tts: target("embedded", "small-voice"),
        voice: Some("anna".into()),
        language: "en-US".into(),
    };
    let llm = [("fast-model", target("somebody", "fast-1")), ("flow", target("embedded", "flow"))];
    Labels {
        trunks: BTreeMap::from([("pbx".to_owned(), "asterisk".to_owned())]),
        agents: BTreeMap::from([("demo 1".to_owned(), agent)]),
        llm: llm.into_iter().map(|(name, target)| (name.to_owned(), target)).collect(),
        words,
        sample_percent,
    }
}

fn cdr(call: CallId) -> Cdr {
    let arrival = Arrival {
        call,
        sip_call_id: "abc@carrier.example".into(),
        invited_at_us: INVITE_US as u64,
        trunk: "pbx".into(),
        caller: "+15550100".into(),
        called: "+15550199".into(),
    };
    let load = Some((10, call::port_slots::LoadBand::of(2, 10)));
    Cdr { pool: Some("main".into()), load, ..Cdr::new(arrival) }
}

/// The spans of a call, in the order in which they are told.
fn spans_of(call: CallId, events: &[Stamped], labels: Labels) -> Vec<Span> {
    let mut calls = CallSpans::new(labels);
    let mut spans = Vec::new();
    calls.begin(&cdr(call));
    for stamped in events {
        calls.event(call, stamped, &mut spans);
    }
    assert!(calls.is_empty(), "a call that is over is forgotten");
    spans
}

/// Compares with a file beside this one; `GOLDEN=write` writes it anew.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::create_dir_all(format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"))).expect("a folder");
        std::fs::write(&path, text).expect("it is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{path} says otherwise; GOLDEN=write takes this:\n{text}");
}

#[test]
fn every_profile_has_its_names_for_the_same_call() {
    for profile in Profile::ALL {
        let mut spans = spans_of(CALL, &events(), labels(true, 100));
        spans.iter_mut().for_each(|span| profile.apply(span));
        golden(&format!("otlp-{}.txt", profile.name()), &plain(&spans, INVITE_US as u64));
    }
}

#[test]
fn a_target_that_was_asked_beside_another_has_its_span_whoever_answers() {
    let turn = TurnId(1);
    let attempt =
        |target: &str, role: &str| Event::LlmAttempt { turn, target: target.into(), role: role.into() };
    for (lost, won) in [("fast-model", "flow"), ("flow", "fast-model")] {
        let events = [
            (
                0,
                Event::Started { agent: "demo 1".into(), port_slot: 3, concurrency: 2, codec: "PCMU".into() },
            ),
            (40_000, Event::Answered),
            (50_000, attempt("fast-model", "primary")),
            (850_000, attempt("flow", "hedge")),
            (900_000, Event::HedgeLost { turn, target: lost.into(), input_tokens: 9, output_tokens: 0 }),
            (900_000, Event::FirstToken { turn }),
            (950_000, Event::ReplyDone { turn, input_tokens: Some(310), output_tokens: Some(12) }),
            (990_000, Event::AgentDone { turn }),
            (999_000, Event::Ended { cause: "caller_hung_up".into(), status: None }),
        ]
        .map(|(at_us, event)| Stamped { at_us, event });
        let spans = spans_of(CALL, &events, labels(false, 100));
        let outcome = |target: &str| {
            let chat = spans.iter().filter(|span| span.name.starts_with("chat "));
            let mut of_target =
                chat.filter(|span| plain(std::slice::from_ref(span), 0).contains(&format!("\"{target}\"")));
            let text = plain(std::slice::from_ref(of_target.next().expect("it was asked")), 0);
            (text.contains("outcome = \"won\""), text.contains("outcome = \"cancelled\""))
        };
        assert_eq!((outcome(won), outcome(lost)), ((true, false), (false, true)), "{lost} loses");
    }
}

#[test]
fn numbers_and_words_stay_here_unless_they_are_asked_for() {
    let told = plain(&spans_of(CALL, &events(), labels(false, 100)), 0);
    for secret in ["5550100", "5550199", "what time", "Friday", "nine", "abc@"] {
        assert!(!told.contains(secret), "{secret} is in\n{told}");
    }
    assert!(plain(&spans_of(CALL, &events(), labels(true, 100)), 0).contains("what time do you open"));
}

#[test]
fn a_turn_is_told_when_it_ends_and_a_crash_costs_one_turn_at_most() {
    let all = events();
    let until = all.iter().position(|stamped| stamped.at_us > 9_000_000).expect("there is more");
    let mut calls = CallSpans::new(labels(false, 100));
    let mut spans = Vec::new();
    calls.begin(&cdr(CALL));
    all[..until].iter().for_each(|stamped| calls.event(CALL, stamped, &mut spans));
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "call setup",
            "invoke_agent demo",
            "text_to_speech small-voice",
            "invoke_agent demo",
            "speech_to_text small-ear",
            "chat fast-1",
            "text_to_speech small-voice",
            "gateway.decision",
        ]
    );
}

#[test]
fn of_uneventful_calls_a_share_is_told_and_of_the_others_every_one() {
    let quiet: Vec<Stamped> =
        events().into_iter().filter(|stamped| !(9_500_000..31_000_000).contains(&stamped.at_us)).collect();
    let told = |events: &[Stamped], percent| {
        (0..1_000).filter(|n| !spans_of(CallId(*n), events, labels(false, percent)).is_empty()).count()
    };
    assert_eq!([0, 10, 100].map(|percent| told(&quiet, percent)), [0, 100, 1_000]);
    // The example's second turn fell back to another target.
    assert_eq!(told(&events(), 0), 1_000);
    let late = spans_of(CallId(1), &events(), labels(false, 0));
    assert_eq!(late[0].name, "call setup", "a call that becomes interesting is told from its root on");
}

#[test]
fn the_steps_of_a_call_have_no_gap() {
    let steps: BTreeSet<String> = spans_of(CALL, &events(), labels(false, 100))
        .iter()
        .flat_map(|span| &span.attributes)
        .filter(|(name, _)| *name == "agent.trajectory.step")
        .map(|(_, step)| step.to_string())
        .collect();
    assert_eq!(steps, ["1", "2", "3", "4"].map(str::to_owned).into());
}

#[test]
fn a_refused_call_is_one_span_and_an_error() {
    let mut refused = Cdr::refused(cdr(CALL).arrival, Cause::PortsFull, 503, 400);
    refused.arrival.trunk = "pbx".into();
    let mut spans = Vec::new();
    CallSpans::new(labels(false, 100)).refused(&refused, &mut spans);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].error.as_deref(), Some("ports_full"));
}

/// A collector that keeps what it is sent, and answers with a status of its own.
#[derive(Clone, Default)]
struct StandIn {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    headers: Arc<Mutex<Vec<String>>>,
    refuse_first: Arc<Mutex<u32>>,
}

impl StandIn {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn spans(&self) -> Vec<WireSpan> {
        let requests = self.requests.lock().expect("not poisoned");
        let scopes = requests.iter().flat_map(|request| &request.resource_spans);
        scopes.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

async fn take(
    State(stand_in): State<StandIn>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let mut left = stand_in.refuse_first.lock().expect("not poisoned");
    if *left > 0 {
        *left -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
    }
    let request = ExportTraceServiceRequest::decode(body).expect("a message of OTLP");
    let key = headers.get("x-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    stand_in.headers.lock().expect("not poisoned").push(key.to_owned());
    stand_in.requests.lock().expect("not poisoned").push(request);
    (StatusCode::OK, Vec::new())
}

fn config(address: SocketAddr) -> OtlpConfig {
    OtlpConfig {
        endpoint: format!("http://{address}/"),
        headers: vec![("x-key".into(), Secret::new("very secret"))],
        profile: Profile::Semconv,
        sample_percent: 100,
        words: false,
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_one_whole_trace_for_each_call() {
    let stand_in = StandIn { refuse_first: Arc::new(Mutex::new(1)), ..StandIn::default() };
    let address = stand_in.start().await;
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let exporter = Arc::new(Exporter::start(config(address), metrics.clone()).expect("a client"));
    let collector = Some((Arc::clone(&exporter), labels(false, 100)));
    let sink =
        TraceSink::start_exporting(store, metrics.clone(), LiveEvents::new(), collector).expect("a thread");
    let calls: Vec<CallId> = (1..=5).map(|n| CallId(n << 40 | n)).collect();
    calls.iter().for_each(|call| sink.begin(&cdr(*call)));
    for stamped in events() {
        calls.iter().for_each(|call| sink.record(*call, stamped.clone()));
    }
    sink.flush();
    exporter.flush(Duration::from_secs(60)).await;
    let spans = stand_in.spans();
    let expected = spans_of(CALL, &events(), labels(false, 100));
    assert_eq!(spans.len(), calls.len() * expected.len());
    let mut traces: BTreeMap<Vec<u8>, Vec<&WireSpan>> = BTreeMap::new();
    spans.iter().for_each(|span| traces.entry(span.trace_id.clone()).or_default().push(span));
    assert_eq!(traces.len(), calls.len(), "one trace for each call");
    for (trace, spans) in &traces {
        let call = CallId(u64::from_be_bytes(trace[8..].try_into().expect("eight bytes")));
        check_trace(call, spans, &spans_of(call, &events(), labels(false, 100)));
    }
    assert_eq!(figure(&metrics, "tandem_otlp_spans_total{result=\"sent\"}"), spans.len() as u64);
    assert_eq!(figure(&metrics, "tandem_otlp_spans_total{result=\"failed\"}"), 0);
    assert!(stand_in.headers.lock().expect("not poisoned").iter().all(|key| key == "very secret"));
    let requests = stand_in.requests.lock().expect("not poisoned");
    let scope = &requests[0].resource_spans[0].scope_spans[0];
    assert_eq!(scope.schema_url, "https://opentelemetry.io/schemas/1.42.0");
}

/// Every span has the name, the times and the parent that it should, and the parents are there.
fn check_trace(call: CallId, spans: &[&WireSpan], expected: &[Span]) {
    let by_id: HashMap<&[u8], &&WireSpan> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "every span has an id of its own");
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, expected.iter().map(|span| &*span.name).collect::<Vec<_>>());
    for (span, expected) in spans.iter().zip(expected) {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
        assert_eq!(span.start_time_unix_nano, expected.start_us * 1_000);
        assert_eq!(span.attributes.len(), expected.attributes.len());
        let Some(parent) = by_id.get(&*span.parent_span_id) else {
            assert_eq!(span.name, "call setup", "only the root has no parent");
            assert!(span.parent_span_id.is_empty());
            continue;
        };
        let of_turn = ["speech_to_text", "chat", "text_to_speech", "execute_tool", "gateway.decision"];
        let in_turn = of_turn.iter().any(|kind| span.name.starts_with(kind));
        assert_eq!(parent.name, if in_turn { "invoke_agent demo" } else { "call setup" }, "of {}", span.name);
    }
    // What went to a provider with a request names spans that are really there.
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let turn = spans.iter().rfind(|span| span.name.starts_with("invoke_agent")).expect("a turn");
    let index =
        turn.attributes.iter().find(|attribute| attribute.key == "voice.turn.index").expect("its number");
    let Some(any_value::Value::IntValue(2)) = index.value.clone().and_then(|value| value.value) else {
        panic!("{index:?} is not the last turn's")
    };
    let header = traceparent(call, Some(conversation::TurnId(2)));
    assert_eq!(header, format!("00-{}-{}-01", hex(&turn.trace_id), hex(&turn.span_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_costs_spans_and_nothing_else() {
    // It accepts connections and says nothing, for ever.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let directory = Directory::new();
    let (store, metrics) = directory.store();
    let exporter = Arc::new(Exporter::start(config(address), metrics.clone()).expect("a client"));
    let collector = Some((Arc::clone(&exporter), labels(false, 100)));
    let sink =
        TraceSink::start_exporting(store, metrics.clone(), LiveEvents::new(), collector).expect("a thread");
    let per_call = spans_of(CALL, &events(), labels(false, 100)).len();
    let calls = SPAN_QUEUE / per_call + 200;
    let longest = tokio::task::spawn_blocking(move || {
        let mut longest = Duration::ZERO;
        for call in (1..).map(CallId).take(calls) {
            sink.begin(&cdr(call));
            for stamped in events() {
                let before = Instant::now();
                sink.record(call, stamped);
                longest = longest.max(before.elapsed());
            }
            sink.flush();
        }
        longest
    });
    // No call ever waits for the collector's ten seconds; how fast the machine is does not matter here.
    assert!(longest.await.expect("it ends") < Duration::from_secs(5));
    assert!(figure(&metrics, "tandem_queue_dropped_total{queue=\"otlp\"}") > 0, "and the loss is counted");
    assert_eq!(figure(&metrics, "tandem_otlp_spans_total{result=\"sent\"}"), 0);
    let before = Instant::now();
    exporter.flush(Duration::from_millis(50)).await;
    assert!(before.elapsed() < Duration::from_secs(5), "nor does the end of the server");
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_told_once() {
    let refusing = Router::new().route("/v1/traces", post(|| async { StatusCode::UNAUTHORIZED }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, refusing).await });
    let metrics = Metrics::default();
    let exporter = Exporter::start(config(address), metrics.clone()).expect("a client");
    let spans = spans_of(CALL, &events(), labels(false, 100));
    let count = spans.len() as u64;
    spans.into_iter().for_each(|span| exporter.send(span));
    exporter.flush(Duration::from_secs(60)).await;
    assert_eq!(figure(&metrics, "tandem_otlp_spans_total{result=\"failed\"}"), count);
}

#[test]
fn events_of_calls_that_nobody_announced_make_no_spans() {
    let mut spans = Vec::new();
    let mut calls = CallSpans::new(labels(false, 100));
    calls.event(CALL, &Stamped { at_us: 1, event: Event::Answered }, &mut spans);
    assert!(spans.is_empty() && calls.is_empty());
}
