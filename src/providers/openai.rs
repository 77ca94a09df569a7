//! OpenAI chat completions, streamed, and the many servers that speak the same format.
//! Knows that format in all its dialects. Does not know routes, fallbacks or what is spoken of a reply.

use super::{CallInfo, LanguageModel, LlmSink, Request, websocket::cut};
use crate::secret::Secret;
use ai_gateway::{Failure, FailureClass};
use call::LlmEvent;
use conversation::{LlmRequest, Message, ToolCall};
use futures_util::StreamExt;
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{runtime::Handle, time::timeout};

/// How to reach a server and what to ask of it.
#[derive(Clone, Debug)]
pub struct OpenAiConfig {
    /// Up to and with `/v1`.
    pub base_url: String,
    /// Sent as a bearer token; servers of one's own often need none.
    pub api_key: Option<Secret>,
    /// The model's name.
    pub model: String,
    /// The longest reply, in tokens.
    pub max_tokens: Option<u32>,
    /// What the server calls that limit: `max_completion_tokens`, or `max_tokens` with older ones.
    pub max_tokens_field: String,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Whether to ask for token counts; very old servers refuse that.
    pub include_usage: bool,
    /// Merged into the request's body, over everything else.
    pub extra_body: Map<String, Value>,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for silence on the connection. The gateway has shorter ones; this one only ends what nobody waits for.
    pub read_timeout: Duration,
}

impl OpenAiConfig {
    /// A server with defaults that suit a telephone conversation.
    pub fn new(base_url: impl Into<String>, api_key: Option<Secret>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            model: model.into(),
            max_tokens: None,
            max_tokens_field: "max_completion_tokens".into(),
            temperature: None,
            include_usage: true,
            extra_body: Map::new(),
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(20),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url.trim_end_matches('/'))
    }

    /// The body of a request.
    fn body(&self, request: &LlmRequest) -> Value {
        let mut body = Map::new();
        body.insert("model".into(), json!(self.model));
        body.insert("stream".into(), json!(true));
        if self.include_usage {
            body.insert("stream_options".into(), json!({"include_usage": true}));
        }
        body.insert("messages".into(), messages(request));
        if !request.tools.is_empty() {
            body.insert("tools".into(), request.tools.iter().map(tool).collect());
        }
        if let Some(limit) = self.max_tokens {
            body.insert(self.max_tokens_field.clone(), json!(limit));
        }
        if let Some(temperature) = self.temperature {
            body.insert("temperature".into(), json!(temperature));
        }
        body.extend(self.extra_body.clone());
        Value::Object(body)
    }
}

/// A chat-completions server as a language model.
pub struct OpenAi {
    config: OpenAiConfig,
    client: Client,
    runtime: Handle,
}

impl OpenAi {
    /// Requests run on the runtime that this is called from, over connections that they share.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn new(config: OpenAiConfig) -> Result<Self, Failure> {
        let client = Client::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
        Ok(Self { config, client, runtime: Handle::current() })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.config.api_key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}

impl LanguageModel for OpenAi {
    fn ask(&self, call: &CallInfo, request: LlmRequest, events: LlmSink) -> Request {
        let body = self.config.body(&request);
        let post = self.authorized(self.client.post(self.config.url("chat/completions"))).json(&body);
        let post = post.header("traceparent", call.traceparent());
        let key = self.config.api_key.clone();
        let steps = request.messages.len();
        Request::new(self.runtime.spawn(async move {
            let last = match reply(post, steps, &events).await {
                Ok(done) => done,
                Err(failure) => {
                    let reason = failure.to_string();
                    let reason = key.map_or(reason.clone(), |key| key.redact(&reason));
                    LlmEvent::Failed { reason }
                }
            };
            let _ = events.send(last).await;
        }))
    }

    fn warm(&self) {
        let get = self.authorized(self.client.get(self.config.url("models"))).timeout(WARM_TIMEOUT);
        self.runtime.spawn(async move {
            // Whatever the answer is, reading it to its end leaves an open connection for the next request.
            if let Ok(response) = get.send().await {
                let _ = response.bytes().await;
            }
        });
    }
}

/// Longer than the pause between two turns, shorter than most servers keep a connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// A warm-up that takes longer than a ringing telephone is of no use.
const WARM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the explanation of an error may take to arrive.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the request and passes the reply on as it comes; gives the last event.
async fn reply(post: RequestBuilder, steps: usize, events: &LlmSink) -> Result<LlmEvent, Failure> {
    let response = post.send().await.map_err(|error| transport_failure(&error))?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let mut bytes = response.bytes_stream();
    let mut lines = SseDecoder::default();
    let mut reply = Reply::new(steps);
    while let Some(chunk) = bytes.next().await {
        lines.push(&chunk.map_err(|error| transport_failure(&error))?)?;
        while let Some(data) = lines.next_data() {
            if data.starts_with("[DONE]") {
                return finish(reply, events).await;
            }
            for delta in reply.add(&data)? {
                if events.send(LlmEvent::Delta(delta)).await.is_err() {
                    return Err(Failure::new(FailureClass::Internal, "nobody listens"));
                }
            }
        }
    }
    if let Some(data) = lines.rest().filter(|data| !data.starts_with("[DONE]")) {
        for delta in reply.add(&data)? {
            let _ = events.send(LlmEvent::Delta(delta)).await;
        }
    }
    finish(reply, events).await
}

async fn finish(reply: Reply, events: &LlmSink) -> Result<LlmEvent, Failure> {
    let (calls, done) = reply.finish()?;
    for call in calls {
        let _ = events.send(LlmEvent::ToolCall(call)).await;
    }
    Ok(done)
}

fn transport_failure(error: &reqwest::Error) -> Failure {
    let class = if error.is_timeout() { FailureClass::Timeout } else { FailureClass::Network };
    // The error's own text holds the address; its source says what happened.
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    Failure::new(class, cut(&source.to_string()))
}

/// What an HTTP error means.
async fn refusal(response: Response) -> Failure {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = match (header("retry-after-ms"), header("retry-after")) {
        (Some(ms), _) => ms.trim().parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.trim().parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    let body = timeout(ERROR_BODY_TIMEOUT, response.text()).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let error = serde_json::from_str::<Value>(&body).ok().and_then(|value| value.get("error").cloned());
    let mut failure = match error {
        Some(error) => in_band_failure(&error, FailureClass::of_http_status(status)),
        None => Failure::new(FailureClass::of_http_status(status), cut(&body)),
    };
    failure.reason = format!("HTTP {status} {}", failure.reason).trim_end().to_owned();
    failure.retry_after = retry_after;
    failure
}

/// What an error object means, alone or within a stream. Its code says more than the HTTP status.
fn in_band_failure(error: &Value, otherwise: FailureClass) -> Failure {
    let text = |field| error.get(field).and_then(Value::as_str).unwrap_or_default();
    let class = match (text("code"), text("type")) {
        ("insufficient_quota", _) | (_, "insufficient_quota") => FailureClass::Quota,
        ("rate_limit_exceeded", _) => FailureClass::RateLimited,
        ("invalid_api_key", _) | (_, "authentication_error") => FailureClass::Auth,
        ("context_length_exceeded" | "model_not_found", _) => FailureClass::BadRequest,
        (_, "invalid_request_error") if otherwise == FailureClass::Internal => FailureClass::BadRequest,
        (_, "overloaded_error" | "unavailable_error") => FailureClass::Overloaded,
        (_, _) => otherwise,
    };
    let message = error.get("message").and_then(Value::as_str).or(error.as_str()).unwrap_or("no message");
    Failure::new(class, cut(message))
}

/// The conversation as the server wants it.
fn messages(request: &LlmRequest) -> Value {
    // The date stands at the end, so that what comes before it stays the same from day to day in prompt caches.
    let today = request.today.strftime("%A, %-d %B %Y");
    let system = format!("{}\n\nToday is {today}.", request.system);
    let first = json!({"role": "system", "content": system.trim_start()});
    let mut messages: Vec<_> = request.messages.iter().map(message).collect();
    if let Some((at, text)) = request.question_with_passages() {
        messages[at] = Some(json!({"role": "user", "content": text}));
    }
    std::iter::once(first).chain(messages.into_iter().flatten()).collect()
}

fn message(message: &Message) -> Option<Value> {
    Some(match message {
        Message::User { text } => json!({"role": "user", "content": text}),
        Message::Assistant { text, tool_calls, .. } if tool_calls.is_empty() => {
            // A reply of which nothing was heard is none; servers refuse empty ones.
            (!text.is_empty()).then(|| json!({"role": "assistant", "content": text}))?
        }
        Message::Assistant { text, tool_calls, .. } => {
            let content = if text.is_empty() { Value::Null } else { json!(text) };
            let calls: Vec<_> = tool_calls.iter().map(called).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
        Message::Tool { call_id, result, .. } => {
            json!({"role": "tool", "tool_call_id": call_id, "content": result})
        }
    })
}

fn called(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    json!({"id": call.id, "type": "function", "function": function})
}

fn tool(spec: &conversation::ToolSpec) -> Value {
    let function = json!({"name": spec.name, "description": spec.description, "parameters": spec.parameters});
    json!({"type": "function", "function": function})
}

/// Cuts server-sent events out of a byte stream (HTML standard, section 9.2); only their data is of interest.
#[derive(Default)]
pub(crate) struct SseDecoder {
    bytes: Vec<u8>,
    /// Data lines of the event under way.
    data: Option<String>,
}

/// A line that does not end within this many bytes is not one of ours.
const LONGEST_LINE: usize = 1 << 20;

impl SseDecoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.bytes.len() + bytes.len() > LONGEST_LINE {
            return Err(Failure::new(FailureClass::Internal, "an endless line in the event stream"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The data of the next complete event.
    pub(crate) fn next_data(&mut self) -> Option<String> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = self.line(line.trim_end_matches(['\n', '\r'])) {
                return Some(data);
            }
        }
        None
    }

    /// What is left when the stream has ended; some servers forget the last empty line.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        self.line(&line);
        self.data.take()
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.into()),
            }
        }
        None
    }
}

/// A reply as it grows.
struct Reply {
    calls: Vec<PartialCall>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
    has_text: bool,
    /// Makes the ids of calls unique that come without one.
    steps: usize,
}

#[derive(Default)]
struct PartialCall {
    index: Option<i64>,
    id: String,
    name: String,
    arguments: String,
}

impl Reply {
    const fn new(steps: usize) -> Self {
        Self { calls: Vec::new(), usage: None, finish_reason: None, has_text: false, steps }
    }

    /// Takes one chunk and gives what it adds to the text. An empty piece says that the reply goes on without text.
    fn add(&mut self, data: &str) -> Result<Vec<String>, Failure> {
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| Failure::new(FailureClass::Internal, format!("not a chunk: {error}")))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(in_band_failure(&error, FailureClass::Internal));
        }
        self.usage = chunk.usage.or(self.usage.take());
        let mut pieces = Vec::new();
        for choice in chunk.choices.unwrap_or_default() {
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            let delta = choice.delta.unwrap_or_default();
            let text = delta.content.or(delta.refusal).unwrap_or_default();
            self.has_text |= !text.is_empty();
            pieces.push(text);
            delta.tool_calls.into_iter().flatten().for_each(|call| self.add_call(call));
        }
        Ok(pieces)
    }

    /// Finds the call that a piece belongs to. Servers leave the index out, or give every call the same one.
    fn add_call(&mut self, piece: CallDelta) {
        let id = piece.id.unwrap_or_default();
        let same = |call: &&mut PartialCall| match piece.index {
            Some(index) => call.index == Some(index),
            None => true,
        };
        let known = self.calls.iter_mut().rev().find(same);
        let known = known.filter(|call| id.is_empty() || call.id.is_empty() || call.id == id);
        let call = match known {
            Some(call) => call,
            None => {
                self.calls.push(PartialCall { index: piece.index, ..PartialCall::default() });
                let Some(call) = self.calls.last_mut() else { return };
                call
            }
        };
        if call.id.is_empty() {
            call.id = id;
        }
        let function = piece.function.unwrap_or_default();
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        match function.arguments {
            Some(Value::String(text)) => call.arguments.push_str(&text),
            Some(Value::Null) | None => {}
            Some(whole) => call.arguments = whole.to_string(),
        }
    }

    /// The tool calls and the last event, once the stream has ended.
    fn finish(self) -> Result<(Vec<ToolCall>, LlmEvent), Failure> {
        let cut_off = self.finish_reason.is_none();
        if cut_off && (!self.calls.is_empty() || !self.has_text) {
            return Err(Failure::new(FailureClass::Network, "the stream ended in the middle of the reply"));
        }
        if self.finish_reason.as_deref() == Some("content_filter") && !self.has_text {
            return Err(Failure::new(FailureClass::BadRequest, "the provider's content filter refused"));
        }
        let steps = self.steps;
        let calls: Result<_, _> =
            self.calls.into_iter().enumerate().map(|(n, call)| call.finish(steps, n)).collect();
        let usage = self.usage.unwrap_or_default();
        let done =
            LlmEvent::Done { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens };
        Ok((calls?, done))
    }
}

impl PartialCall {
    fn finish(self, steps: usize, number: usize) -> Result<ToolCall, Failure> {
        let id = if self.id.is_empty() { format!("call_{steps}_{number}") } else { self.id };
        let arguments = if self.arguments.trim().is_empty() { "{}".into() } else { self.arguments };
        let is_object = serde_json::from_str::<BTreeMap<String, Value>>(&arguments).is_ok();
        if !is_object || self.name.is_empty() {
            let what = if is_object {
                "a tool call without a name"
            } else {
                "tool arguments that are no JSON object"
            };
            return Err(Failure::new(FailureClass::Internal, what));
        }
        Ok(ToolCall { id, name: self.name, arguments })
    }
}

/// One chunk of the stream, as leniently as can be read: everything may be missing or null.
#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<i64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    /// Text in pieces; some servers send the object itself.
    arguments: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], size: usize) -> Result<(String, Vec<ToolCall>, LlmEvent), Failure> {
        let (mut lines, mut reply, mut text) = (SseDecoder::default(), Reply::new(4), String::new());
        let mut data = Vec::new();
        for chunk in stream.chunks(size) {
            lines.push(chunk)?;
            data.extend(std::iter::from_fn(|| lines.next_data()));
        }
        data.extend(lines.rest());
        for data in data.iter().take_while(|data| !data.starts_with("[DONE]")) {
            text.extend(reply.add(data)?);
        }
        let (calls, done) = reply.finish()?;
        Ok((text, calls, done))
    }

    const SESSION: &str = concat!(
        "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1.5,\"model\":\"m\",\"choices\":",
        "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Zażółć \"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"gęślą.\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",",
        "\"function\":{\"name\":\"gate_status\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"gate\\\":\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"B\\\"}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":41,\"completion_tokens\":12,\"total_tokens\":53}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let crlf = SESSION.replace('\n', "\r\n");
        for stream in [SESSION, &crlf, SESSION.trim_end(), SESSION.trim_end_matches("data: [DONE]\n\n")] {
            for size in [1, 2, 3, 7, 64, 10_000] {
                let (text, calls, done) = read(stream.as_bytes(), size).expect("a whole reply");
                assert_eq!(text, "Zażółć gęślą.");
                assert_eq!(calls.len(), 1);
                assert_eq!((&*calls[0].id, &*calls[0].name), ("call_1", "gate_status"));
                assert_eq!(calls[0].arguments, r#"{"gate":"B"}"#);
                let usage = LlmEvent::Done { input_tokens: Some(41), output_tokens: Some(12) };
                assert_eq!(format!("{done:?}"), format!("{usage:?}"));
            }
        }
    }

    fn calls(deltas: &[&str]) -> Result<Vec<ToolCall>, Failure> {
        let mut reply = Reply::new(4);
        for delta in deltas {
            reply.add(&format!(r#"{{"choices":[{{"delta":{{"tool_calls":{delta}}}}}]}}"#))?;
        }
        reply.add(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#)?;
        Ok(reply.finish()?.0)
    }

    #[test]
    fn tool_calls_of_every_dialect_are_understood() {
        let bare = calls(&[r#"[{"function":{"name":"f","arguments":"{\"a\":1}"}}]"#]).expect("bare");
        assert_eq!((&*bare[0].id, &*bare[0].arguments), ("call_4_0", r#"{"a":1}"#));
        let object = calls(&[r#"[{"id":"x","function":{"name":"f","arguments":{"a":1}}}]"#]).expect("object");
        assert_eq!(object[0].arguments, r#"{"a":1}"#);
        let none = calls(&[r#"[{"index":0,"id":"x","function":{"name":"f"}}]"#]).expect("no arguments");
        assert_eq!(none[0].arguments, "{}");
        let same_index = calls(&[
            r#"[{"index":0,"id":"x","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"id":"y","function":{"name":"g","arguments":"{}"}}]"#,
        ]);
        assert_eq!(same_index.expect("two calls").iter().map(|c| &*c.name).collect::<Vec<_>>(), ["f", "g"]);
        let mixed = calls(&[
            r#"[{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a\""}}]"#,
            r#"[{"index":1,"id":"y","function":{"name":"g","arguments":"{\"b\""}}]"#,
            r#"[{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"arguments":":2}"}}]"#,
        ]);
        let arguments: Vec<_> = mixed.expect("two calls").into_iter().map(|c| c.arguments).collect();
        assert_eq!(arguments, [r#"{"a":1}"#, r#"{"b":2}"#]);
    }

    #[test]
    fn what_is_no_reply_fails() {
        assert!(calls(&[r#"[{"function":{"name":"f","arguments":"{\"a\":"}}]"#]).is_err(), "cut arguments");
        assert!(calls(&[r#"[{"function":{"arguments":"{}"}}]"#]).is_err(), "no name");
        for stream in ["", "data: hello\n\n", "data: {\"error\":{\"message\":\"x\"}}\n\n", "<html>"] {
            assert!(read(stream.as_bytes(), 5).is_err(), "{stream}");
        }
        let mut lines = SseDecoder::default();
        assert!((0..3).any(|_| lines.push(&[b'x'; LONGEST_LINE / 2]).is_err()), "an endless line");
    }

    #[test]
    fn a_stream_that_just_ends_is_taken_for_whole_if_it_said_something() {
        let (text, ..) =
            read(b"data: {\"choices\":[{\"delta\":{\"content\":\"Yes.\"}}]}\n\n", 9).expect("text");
        assert_eq!(text, "Yes.");
    }

    #[test]
    fn an_error_says_whether_asking_again_helps() {
        let class =
            |status, error: Value| in_band_failure(&error, FailureClass::of_http_status(status)).class;
        assert_eq!(class(429, json!({"code": "insufficient_quota"})), FailureClass::Quota);
        assert_eq!(class(429, json!({"code": "rate_limit_exceeded"})), FailureClass::RateLimited);
        assert_eq!(class(503, json!({"code": 503, "type": "unavailable_error"})), FailureClass::Overloaded);
        assert_eq!(class(401, json!({"type": "invalid_request_error"})), FailureClass::Auth);
        assert_eq!(class(400, json!("just text")), FailureClass::BadRequest);
    }

    #[test]
    fn a_request_says_what_was_heard_and_what_may_be_called() {
        let mut config = OpenAiConfig::new("http://localhost/v1/", None, "m");
        config.max_tokens = Some(120);
        config.max_tokens_field = "max_tokens".into();
        config.extra_body.insert("seed".into(), json!(7));
        let call = ToolCall { id: "c".into(), name: "gate".into(), arguments: "{}".into() };
        let said =
            |text: &str, tool_calls| Message::Assistant { text: text.into(), tool_calls, interrupted: true };
        let request = LlmRequest {
            system: "Be brief.".into(),
            messages: vec![
                said("Hello", vec![]),
                said("", vec![]),
                Message::User { text: "Is B open?".into() },
                said("", vec![call]),
                Message::Tool { call_id: "c".into(), name: "gate".into(), result: "{\"open\":true}".into() },
            ],
            tools: vec![conversation::ToolSpec {
                name: "gate".into(),
                description: "d".into(),
                parameters: json!({"type": "object"}),
            }],
            today: jiff::civil::date(2026, 11, 20),
            variables: Default::default(),
            looked_up: Vec::new(),
            acted: false,
        };
        let body = config.body(&request);
        assert_eq!(
            body["messages"],
            json!([
                {"role": "system", "content": "Be brief.\n\nToday is Friday, 20 November 2026."},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "Is B open?"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "gate", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "{\"open\":true}"},
            ])
        );
        assert_eq!((&body["max_tokens"], &body["seed"]), (&json!(120), &json!(7)));
        assert_eq!(body["tools"][0]["function"]["name"], "gate");
        assert_eq!(config.url("models"), "http://localhost/v1/models");
    }
}
