//! OpenAI's chat completions, simulated, streamed and whole: echoes, answers by rule, calls tools.
//! Plays the dialects of compatible servers as faults.

use super::{Fault, FaultKind, Jitter, Provider, Shared, World, count, pause};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How OpenAI refuses a request.
pub(super) fn refusal(status: u16, code: Option<&str>) -> Response {
    let (kind, usual, message) = match status {
        401 => ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        402 | 403 => ("invalid_request_error", "forbidden", "You may not do this."),
        429 => ("requests", "rate_limit_exceeded", "Rate limit reached."),
        400..=499 => ("invalid_request_error", "invalid_value", "The request is not valid."),
        _ => ("server_error", "server_error", "The server had an error."),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = code.unwrap_or(usual);
    let error = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    (status, [("x-request-id", "req_sim")], Json(error)).into_response()
}

pub(super) async fn models(State(shared): World, headers: HeaderMap) -> Response {
    count(&shared.counters.llm_model_lists);
    if !shared.admits(key(&headers)) {
        return refusal(401, None);
    }
    let model = json!({"id": "sim", "object": "model", "created": 1, "owned_by": "simulator"});
    Json(json!({"object": "list", "data": [model]})).into_response()
}

pub(super) async fn complete(State(shared): World, headers: HeaderMap, body: Bytes) -> Response {
    let ordinal = count(&shared.counters.llm_requests);
    if let Some(refusal) = shared.refuse(Provider::OpenAi).await {
        return refusal;
    }
    if !shared.admits(key(&headers)) {
        return refusal(401, None);
    }
    let Some(request) = serde_json::from_slice::<Value>(&body).ok().filter(is_valid) else {
        return refusal(400, None);
    };
    let fault = shared.faults.take(Provider::OpenAi, |kind| !kind.at_handshake());
    let dialect = fault.map_or(FaultKind::None, |fault: Fault| fault.kind);
    let reply = Reply::to(&request, &shared.config.replies, dialect);
    let jitter = shared.jitter(ordinal);
    if request["stream"] == json!(true) {
        let usage = request["stream_options"]["include_usage"] == json!(true);
        return stream(shared, reply, ordinal, usage, jitter);
    }
    whole(&shared, &reply, ordinal, jitter).await
}

/// Numbers in a simulated vector.
const DIMENSIONS: usize = 64;

/// Vectors in which words that begin alike are the same: enough to tell a meaning from a word.
pub(super) async fn embed(State(shared): World, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = shared.refuse(Provider::OpenAi).await {
        return refusal;
    }
    if !shared.admits(key(&headers)) {
        return refusal(401, None);
    }
    let request = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let (Some(texts), Some(model)) = (request["input"].as_array(), request["model"].as_str()) else {
        return refusal(400, None);
    };
    let embedded = texts.iter().enumerate().map(|(index, text)| {
        let vector = vector(text.as_str().unwrap_or_default());
        json!({"object": "embedding", "index": index, "embedding": vector})
    });
    let data: Vec<Value> = embedded.collect();
    Json(json!({"object": "list", "data": data, "model": model})).into_response()
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3) {
        let beginning = word.bytes().take(3).fold(7_usize, |sum, byte| sum * 31 + usize::from(byte));
        vector[beginning % DIMENSIONS] += 1.0;
    }
    vector
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn is_valid(request: &Value) -> bool {
    request["model"].is_string()
        && request["messages"].as_array().is_some_and(|messages| !messages.is_empty())
}

/// What is answered.
struct Reply {
    model: String,
    pieces: Vec<String>,
    calls: Vec<(String, String)>,
    prompt_tokens: usize,
    dialect: FaultKind,
}

impl Reply {
    fn to(request: &Value, rules: &[(String, String)], dialect: FaultKind) -> Self {
        let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let last = messages.last().unwrap_or(&Value::Null);
        let said = text(&last["content"]);
        let calls = if last["role"] == "tool" { Vec::new() } else { wanted_calls(request, &said, dialect) };
        let mut reply = match (calls.is_empty(), last["role"] == "tool") {
            (false, _) => rule(rules, &said).unwrap_or_default(),
            (true, true) => format!("The tool said {said}."),
            (true, false) => answer(rules, &said),
        };
        if dialect == FaultKind::Think {
            reply = format!("<think>The user said something.</think>{reply}");
        }
        Self {
            model: request["model"].as_str().unwrap_or_default().into(),
            pieces: reply.split_inclusive(' ').map(String::from).collect(),
            calls,
            prompt_tokens: request["messages"].to_string().len() / 4,
            dialect,
        }
    }

    fn usage(&self) -> Value {
        let completion = self.pieces.len() + 8 * self.calls.len();
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
    }

    fn finish_reason(&self) -> &'static str {
        if self.calls.is_empty() { "stop" } else { "tool_calls" }
    }

    /// The deltas of a streamed reply, in order.
    fn deltas(&self) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        deltas.extend(self.pieces.iter().map(|piece| json!({"content": piece})));
        if self.dialect == FaultKind::ToolParallel {
            deltas.extend(self.mixed_calls());
        } else {
            deltas.extend(self.calls.iter().enumerate().flat_map(|(n, call)| self.call_deltas(n, call)));
        }
        deltas
    }

    fn call_deltas(&self, n: usize, (name, arguments): &(String, String)) -> Vec<Value> {
        let id = format!("call_{n}");
        if self.dialect == FaultKind::ToolBare {
            return vec![json!({"tool_calls": [{"function": {"name": name, "arguments": arguments}}]})];
        }
        if self.dialect == FaultKind::ToolWhole {
            let function = json!({"name": name, "arguments": arguments});
            return vec![
                json!({"tool_calls": [{"index": n, "id": id, "type": "function", "function": function}]}),
            ];
        }
        let function = json!({"name": name, "arguments": ""});
        let first = json!({"tool_calls": [{"index": n, "id": id, "type": "function", "function": function}]});
        let piece = |text| json!({"tool_calls": [{"index": n, "function": {"arguments": text}}]});
        std::iter::once(first).chain(cut(arguments, 5).into_iter().map(piece)).collect()
    }

    /// The pieces of all calls, one of each in turn.
    fn mixed_calls(&self) -> Vec<Value> {
        let mut queues: Vec<VecDeque<Value>> =
            self.calls.iter().enumerate().map(|(n, call)| self.call_deltas(n, call).into()).collect();
        let mut deltas = Vec::new();
        while queues.iter().any(|queue| !queue.is_empty()) {
            deltas.extend(queues.iter_mut().filter_map(VecDeque::pop_front));
        }
        deltas
    }
}

/// Content as text, or as a list of parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn answer(rules: &[(String, String)], said: &str) -> String {
    rule(rules, said).unwrap_or_else(|| format!("You said {}.", said.trim_end_matches(['.', '?', '!'])))
}

fn rule(rules: &[(String, String)], said: &str) -> Option<String> {
    let rule = rules.iter().find(|(needle, _)| said.to_lowercase().contains(&needle.to_lowercase()));
    rule.map(|(_, reply)| reply.clone())
}

/// A tool is called when the user names it, or when a tool must be called.
fn wanted_calls(request: &Value, said: &str, dialect: FaultKind) -> Vec<(String, String)> {
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let functions = tools.iter().map(|tool| &tool["function"]);
    let forced = request["tool_choice"] == "required";
    let named = |name: &str| said.contains(name) || said.contains(&name.replace('_', " "));
    let mut calls: Vec<_> = functions
        .filter_map(|function| Some((function["name"].as_str()?, &function["parameters"])))
        .filter(|(name, _)| forced || named(name))
        .map(|(name, schema)| (name.to_owned(), arguments(schema, said).to_string()))
        .take(1)
        .collect();
    if dialect == FaultKind::ToolParallel {
        calls.extend(calls.clone());
    }
    if let (FaultKind::ToolMalformed, Some((_, arguments))) = (dialect, calls.first_mut()) {
        arguments.truncate(arguments.len() - 1);
    }
    calls
}

/// Arguments that fit the schema: the last word for text, the first number for numbers.
fn arguments(schema: &Value, said: &str) -> Value {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let words = || said.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let number = words().find_map(|word| word.parse::<i64>().ok()).unwrap_or(1);
    let value = |property: &Value| match property["type"].as_str() {
        Some("integer" | "number") => json!(number),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some(_) | None => match property["enum"].get(0) {
            Some(first) => first.clone(),
            None => json!(words().next_back().unwrap_or("something")),
        },
    };
    properties.iter().map(|(name, property)| (name.clone(), value(property))).collect()
}

fn cut(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

async fn whole(shared: &Shared, reply: &Reply, ordinal: u64, mut jitter: Jitter) -> Response {
    pause(jitter.vary(shared.config.llm_first_token)).await;
    let calls: Vec<_> = reply.calls.iter().enumerate().map(|(n, (name, arguments))| {
        json!({"id": format!("call_{n}"), "type": "function", "function": {"name": name, "arguments": arguments}})
    }).collect();
    let text = reply.pieces.concat();
    let content = if calls.is_empty() { json!(text) } else { Value::Null };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let choice =
        json!({"index": 0, "message": message, "finish_reason": reply.finish_reason(), "logprobs": null});
    Json(json!({"id": format!("chatcmpl-{ordinal}"), "object": "chat.completion", "created": 1, "model": reply.model,
        "choices": [choice], "usage": reply.usage()}))
    .into_response()
}

/// Some bytes of the body; an error breaks the connection.
type Piece = Result<Bytes, io::Error>;

fn stream(shared: Arc<Shared>, reply: Reply, ordinal: u64, usage: bool, jitter: Jitter) -> Response {
    let (pieces, receiver) = mpsc::channel::<Piece>(4);
    let slow = if reply.dialect == FaultKind::Slow { 10 } else { 1 };
    let writer = Writer { shared, pieces, dialect: reply.dialect, slow, jitter };
    tokio::spawn(async move {
        // `None` is the client's going away, or ours: both are counted where they happen.
        let _ = writer.write(&reply, ordinal, usage).await;
    });
    let body =
        futures_util::stream::unfold(receiver, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

struct Writer {
    shared: Arc<Shared>,
    pieces: mpsc::Sender<Piece>,
    dialect: FaultKind,
    slow: u32,
    jitter: Jitter,
}

impl Writer {
    /// Writes the whole reply; `None` when the client goes away or the fault ends it.
    async fn write(mut self, reply: &Reply, ordinal: u64, usage: bool) -> Option<()> {
        let config = self.shared.config.clone();
        let chunk = |choices: Value, usage: Value| {
            json!({"id": format!("chatcmpl-{ordinal}"), "object": "chat.completion.chunk", "created": 1,
                "model": reply.model, "choices": choices, "usage": usage})
        };
        let choice =
            |delta: &Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        let deltas = reply.deltas();
        let mut pause = config.llm_token;
        self.wait(config.llm_first_token).await?;
        self.begin().await?;
        for (n, delta) in deltas.iter().enumerate() {
            if n > 0 {
                self.wait(pause).await?;
            }
            if delta["content"].as_str().is_some_and(|text| text.trim_end().ends_with(['.', '?', '!'])) {
                pause = config.llm_later_token.unwrap_or(pause);
            }
            if n == deltas.len().div_ceil(3) {
                self.midway().await?;
            }
            self.event(&chunk(choice(delta, Value::Null), Value::Null).to_string()).await?;
        }
        self.event(&chunk(choice(&json!({}), json!(reply.finish_reason())), Value::Null).to_string()).await?;
        if self.dialect == FaultKind::NoDone {
            return Some(());
        }
        if usage {
            self.event(&chunk(json!([]), reply.usage()).to_string()).await?;
        }
        self.event("[DONE]").await
    }

    /// Waits, but not longer than the client does.
    async fn wait(&mut self, delay: Duration) -> Option<()> {
        let delay = self.jitter.vary(delay) * self.slow;
        tokio::select! {
            () = pause(delay) => Some(()),
            () = self.pieces.closed() => self.cancelled(),
        }
    }

    fn cancelled<T>(&self) -> Option<T> {
        count(&self.shared.counters.llm_cancelled);
        None
    }

    /// What goes wrong before the first event.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each vendor plays some of the faults only")]
    async fn begin(&mut self) -> Option<()> {
        match self.dialect {
            FaultKind::Stall => {
                self.pieces.closed().await;
                self.cancelled()
            }
            FaultKind::Reset => self.reset().await,
            FaultKind::Garbage => self.event("this is no JSON {").await,
            FaultKind::Unknown => {
                self.send("event: news\nid: 7\nretry: 10\n".into()).await?;
                self.event(
                    r#"{"object":"chat.completion.news","obfuscation":"xx","choices":null,"news":{"a":[1]}}"#,
                )
                .await
            }
            _ => Some(()),
        }
    }

    /// What goes wrong after the first third.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each vendor plays some of the faults only")]
    async fn midway(&mut self) -> Option<()> {
        match self.dialect {
            FaultKind::StallMidway => {
                self.pieces.closed().await;
                self.cancelled()
            }
            FaultKind::ResetMidway => self.reset().await,
            FaultKind::ErrorMidway => {
                self.event(
                    r#"{"error":{"message":"simulated","type":"server_error","code":"server_error"}}"#,
                )
                .await?;
                None
            }
            _ => Some(()),
        }
    }

    /// An error in the body makes the server drop the connection in the middle of it.
    async fn reset(&self) -> Option<()> {
        let _ = self.pieces.send(Err(io::ErrorKind::ConnectionReset.into())).await;
        None
    }

    async fn event(&self, data: &str) -> Option<()> {
        let comment = if self.dialect == FaultKind::Comments { ": keep-alive\n\n" } else { "" };
        let event = format!("{comment}data: {data}\n\n");
        let event = if self.dialect == FaultKind::Crlf { event.replace('\n', "\r\n") } else { event };
        if self.dialect != FaultKind::Split {
            return self.send(event.into()).await;
        }
        for piece in Bytes::from(event).chunks(7) {
            self.send(Bytes::copy_from_slice(piece)).await?;
            tokio::task::yield_now().await;
        }
        Some(())
    }

    async fn send(&self, bytes: Bytes) -> Option<()> {
        match self.pieces.send(Ok(bytes)).await {
            Ok(()) => Some(()),
            Err(_) => self.cancelled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_said_before_the_tool_that_is_called() {
        let tool = json!({"function": {"name": "look_up", "parameters": {"properties": {}}}});
        let request =
            json!({"messages": [{"role": "user", "content": "Please look up this."}], "tools": [tool]});
        let rules = [("look up".to_owned(), "One moment.".to_owned())];
        let reply = Reply::to(&request, &rules, FaultKind::None);
        assert_eq!((reply.pieces.concat().as_str(), reply.calls.len()), ("One moment.", 1));
        let silent = Reply::to(&request, &[], FaultKind::None);
        assert_eq!((silent.pieces.len(), silent.calls.len()), (0, 1));
    }
}
