//! Messages to a server of the Model Context Protocol by HTTP ("streamable HTTP"): one POST for each.
//! Knows requests, event streams and session headers. Knows nothing of what the messages mean.

use super::{
    super::{
        answer::MOST_READ,
        http::{Header, read_body},
        reach::Reach,
    },
    Session, Trouble,
};
use crate::providers::openai::SseDecoder;
use reqwest::{Client, Response, Url};
use serde_json::Value;
use std::sync::Arc;

const SESSION: &str = "mcp-session-id";

/// A server behind a URL.
pub(in super::super) struct HttpPeer {
    pub(in super::super) url: Url,
    pub(in super::super) headers: Vec<Header>,
    pub(in super::super) client: Client,
    pub(in super::super) reach: Arc<Reach>,
}

impl HttpPeer {
    pub(super) async fn exchange(
        &self,
        message: &Value,
        id: Option<u64>,
        session: Option<&Session>,
    ) -> Result<(Value, Option<String>), Trouble> {
        self.exchanged(message, id, session).await.map_err(|trouble| match trouble {
            Trouble::Failed(reason) => Trouble::Failed(Header::redact(&self.headers, reason)),
            Trouble::Forgotten => Trouble::Forgotten,
        })
    }

    async fn exchanged(
        &self,
        message: &Value,
        id: Option<u64>,
        session: Option<&Session>,
    ) -> Result<(Value, Option<String>), Trouble> {
        self.reach.check(&self.url).map_err(Trouble::Failed)?;
        let headers = Header::all(&self.headers, &|_| None).map_err(Trouble::Failed)?;
        let mut request = self.client.post(self.url.clone()).headers(headers);
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header("mcp-protocol-version", &session.version);
            request = session.id.iter().fold(request, |request, id| request.header(SESSION, id));
        }
        let response = request.json(message).send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status.as_u16() == 404 && session.is_some_and(|session| session.id.is_some()) {
            return Err(Trouble::Forgotten);
        }
        let name = response.headers().get(SESSION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if !status.is_success() {
            let body = read_body(response).await.map_err(|error| unreachable(&error))?;
            return Err(Trouble::Failed(body.explanation()));
        }
        let Some(id) = id else { return Ok((Value::Null, name)) };
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let stream = kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        let answer = if stream { from_stream(response, id).await? } else { from_body(response, id).await? };
        Ok((answer, name))
    }
}

async fn from_body(response: Response, id: u64) -> Result<Value, Trouble> {
    let body = read_body(response).await.map_err(|error| unreachable(&error))?;
    let value: Value = serde_json::from_slice(&body.bytes)
        .map_err(|_| Trouble::Failed("the server's answer is no message of the protocol".to_owned()))?;
    answers(&value, id)
        .then_some(value)
        .ok_or_else(|| Trouble::Failed("the server answered something else than was asked".to_owned()))
}

/// Reads events until the answer is among them; the server's own requests and notes pass by.
async fn from_stream(mut response: Response, id: u64) -> Result<Value, Trouble> {
    let mut events = SseDecoder::default();
    let mut read = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        read += chunk.len();
        if read > MOST_READ {
            return Err(Trouble::Failed("the server's answer is too long".to_owned()));
        }
        events.push(&chunk).map_err(|failure| Trouble::Failed(failure.to_string()))?;
        while let Some(data) = events.next_data() {
            match serde_json::from_str::<Value>(&data) {
                Ok(value) if answers(&value, id) => return Ok(value),
                Ok(_) | Err(_) => {}
            }
        }
    }
    let last = events.rest().and_then(|data| serde_json::from_str::<Value>(&data).ok());
    last.filter(|value| answers(value, id))
        .ok_or_else(|| Trouble::Failed("the server ended its answer without a result".to_owned()))
}

pub(super) fn answers(value: &Value, id: u64) -> bool {
    value["id"] == id && (value.get("result").is_some() || value.get("error").is_some())
}

/// Without the URL: where the servers are is the operator's.
fn unreachable(error: &reqwest::Error) -> Trouble {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    Trouble::Failed(format!("the server cannot be reached: {reason}"))
}
