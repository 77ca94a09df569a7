//! Spans on their way to a collector: a queue, batches, OTLP/HTTP with protobuf bodies.
//! Knows the wire. Nothing ever waits for it: a collector that is slow, dead or silent costs spans, which are counted.

use super::{
    names::{Profile, SCHEMA_URL},
    span::{Kind, Span, Value},
};
use crate::{secret::Secret, telemetry::Metrics};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, Status, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use reqwest::{Client, StatusCode as Http};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep, timeout_at},
};

/// Spans that wait for the collector; beyond that they are dropped, and counted.
pub const SPAN_QUEUE: usize = 8_192;
/// Spans in one request.
const BATCH: usize = 512;
/// How long a batch waits for more.
const GATHER: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// Times a batch is tried, and how long after a failure again. The queue covers the meantime.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks of who waits for the end.
const LOOK: Duration = Duration::from_millis(20);

/// Where spans go, and how.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// The collector's address, without `/v1/traces`.
    pub endpoint: String,
    /// Sent with every request, such as a key.
    pub headers: Vec<(String, Secret)>,
    /// Whose names are used.
    pub profile: Profile,
    /// How many of a hundred uneventful calls are told.
    pub sample_percent: u8,
    /// Whether callers' numbers and words are told.
    pub words: bool,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Sends spans. Dropping it ends the sending once what waits is gone.
pub struct Exporter {
    queue: Sender<Span>,
    metrics: Metrics,
    under_way: Arc<AtomicUsize>,
}

impl Exporter {
    /// Starts sending. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no HTTP client to be had, with the reason.
    pub fn start(config: OtlpConfig, metrics: Metrics) -> Result<Self, String> {
        let client = Client::builder().timeout(config.timeout).build().map_err(|error| error.to_string())?;
        let (queue, spans) = mpsc::channel(SPAN_QUEUE);
        let under_way = Arc::new(AtomicUsize::new(0));
        let collector =
            Collector { client, config, metrics: metrics.clone(), under_way: Arc::clone(&under_way) };
        tokio::spawn(collector.run(spans));
        Ok(Self { queue, metrics, under_way })
    }

    /// Hands a span over. Never waits.
    pub fn send(&self, span: Span) {
        self.under_way.fetch_add(1, Relaxed);
        if self.queue.try_send(span).is_err() {
            self.under_way.fetch_sub(1, Relaxed);
            self.metrics.queue_dropped("otlp", 1);
        }
    }

    /// Waits until what was handed over has been sent or is lost, at most for so long. Not for a call's path.
    pub async fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.under_way.load(Relaxed) > 0 && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

struct Collector {
    client: Client,
    config: OtlpConfig,
    metrics: Metrics,
    under_way: Arc<AtomicUsize>,
}

/// What became of a batch.
enum Answer {
    /// Taken, but for so many.
    Taken { rejected: u64 },
    /// Not now.
    Busy(String),
    /// Never.
    Refused(String),
}

impl Collector {
    async fn run(self, mut spans: Receiver<Span>) {
        let mut batch = Vec::with_capacity(BATCH);
        while gather(&mut spans, &mut batch).await {
            let count = batch.len() as u64;
            let body = request(batch.drain(..), self.config.profile).encode_to_vec();
            let rejected = self.deliver(body, count).await;
            self.metrics.otlp_spans("sent", count - rejected.min(count));
            self.metrics.otlp_spans("failed", rejected.min(count));
            self.under_way.fetch_sub(usize::try_from(count).unwrap_or(usize::MAX), Relaxed);
        }
    }

    /// Tries until the batch is taken or refused; returns how many spans were lost.
    async fn deliver(&self, body: Vec<u8>, count: u64) -> u64 {
        for attempt in 1..=TRIES {
            match self.post(body.clone()).await {
                Answer::Taken { rejected: 0 } => return 0,
                Answer::Taken { rejected } => {
                    tracing::warn!(rejected, "the collector did not take all spans");
                    return rejected;
                }
                Answer::Refused(reason) => {
                    tracing::warn!(reason, count, "the collector refuses spans");
                    return count;
                }
                Answer::Busy(reason) if attempt == TRIES => {
                    tracing::warn!(reason, count, "the collector does not take spans: they are dropped");
                }
                Answer::Busy(_) => sleep(AGAIN * attempt).await,
            }
        }
        count
    }

    async fn post(&self, body: Vec<u8>) -> Answer {
        let url = format!("{}/v1/traces", self.config.endpoint.trim_end_matches('/'));
        let mut post = self.client.post(url).header("content-type", "application/x-protobuf").body(body);
        for (name, value) in &self.config.headers {
            post = post.header(name, value.expose());
        }
        let answer = match post.send().await {
            Ok(answer) => answer,
            // The address in the error is the operator's own; a key would stand in a header.
            Err(error) => return Answer::Busy(error.without_url().to_string()),
        };
        match answer.status() {
            Http::OK | Http::ACCEPTED | Http::NO_CONTENT => {
                Answer::Taken { rejected: rejected(answer).await }
            }
            // What the specification calls retryable.
            status @ (Http::TOO_MANY_REQUESTS
            | Http::BAD_GATEWAY
            | Http::SERVICE_UNAVAILABLE
            | Http::GATEWAY_TIMEOUT) => Answer::Busy(status.to_string()),
            status => Answer::Refused(status.to_string()),
        }
    }
}

/// Waits for spans; false when no more will come.
async fn gather(spans: &mut Receiver<Span>, batch: &mut Vec<Span>) -> bool {
    if spans.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        match timeout_at(until, spans.recv_many(batch, BATCH - batch.len())).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    true
}

/// Spans that a collector says it did not take, of an answer that is otherwise a yes.
async fn rejected(answer: reqwest::Response) -> u64 {
    if answer.content_length().is_none_or(|length| length > ANSWER as u64) {
        return 0;
    }
    let Ok(body) = answer.bytes().await else { return 0 };
    let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

/// One request's message.
fn request(spans: impl Iterator<Item = Span>, profile: Profile) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", Value::from("tandem")),
            attribute("service.version", Value::from(env!("CARGO_PKG_VERSION"))),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "tandem".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.map(|span| wire(span, profile)).collect();
    let scope_spans = ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA_URL.to_owned() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

fn wire(mut span: Span, profile: Profile) -> WireSpan {
    profile.apply(&mut span);
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let status = span
        .error
        .as_ref()
        .map(|message| Status { message: message.clone(), code: StatusCode::Error.into() });
    WireSpan {
        trace_id: span.trace_id().to_vec(),
        span_id: span.id().to_vec(),
        parent_span_id: span.parent_id().map(|id| id.to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: span.start_us.saturating_mul(1_000),
        end_time_unix_nano: span.end_us.saturating_mul(1_000),
        attributes: span.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        status,
        ..WireSpan::default()
    }
}

fn attribute(name: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Float(number) => any_value::Value::DoubleValue(number),
        Value::Bool(yes) => any_value::Value::BoolValue(yes),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
