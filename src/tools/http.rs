//! Tools that are a request to somebody's HTTP server: one transaction with its tries, its time and its limits.
//! Knows the agent file's request. A model fills in arguments; it chooses neither host nor header nor method.

use super::{
    ToolContext,
    answer::{Body, MOST_READ},
    reach::{CheckedNames, Reach},
};
use crate::secret::Secret;
use crate::telemetry::otlp::traceparent;
use conversation::{HttpMethod, HttpTool, Template, ToolClass};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout_at};

/// Redirects that one request follows.
const MOST_REDIRECTS: usize = 3;
/// The first pause before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// To be connected, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

/// A header as it is sent: a text with variables in it, and a secret at its end.
#[derive(Clone, Debug)]
pub(super) struct Header {
    name: HeaderName,
    text: Template,
    secret: Option<Secret>,
}

impl Header {
    /// As they are sent, with these values of variables.
    pub(super) fn all(headers: &[Self], value: &dyn Fn(&str) -> Option<String>) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for Self { name, text, secret } in headers {
            let mut value = text.render(|name| value(name).unwrap_or_default());
            value.push_str(secret.as_ref().map_or("", Secret::expose));
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| format!("the header {name} cannot be sent"))?;
            value.set_sensitive(secret.is_some());
            map.insert(name.clone(), value);
        }
        Ok(map)
    }

    /// A text without their secrets, should somebody have quoted them back to us.
    pub(super) fn redact(headers: &[Self], text: String) -> String {
        let secrets = headers.iter().filter_map(|header| header.secret.as_ref());
        secrets.fold(text, |text, secret| secret.redact(&text))
    }
}

/// Headers of an agent's file. `secret` knows what stands behind `env:NAME` and `file:PATH`.
///
/// # Errors
/// What cannot be sent, or is not known.
pub(super) fn headers(
    written: &BTreeMap<String, String>,
    secret: &dyn Fn(&str) -> Option<Secret>,
) -> Result<Vec<Header>, String> {
    let header = |(name, value): (&String, &String)| {
        let parsed = name.parse().map_err(|_| format!("`{name}` is not a header"))?;
        let Some(reference) = reference(value) else {
            return Ok(Header { name: parsed, text: Template::new(value), secret: None });
        };
        let secret = secret(reference).ok_or_else(|| format!("the header {name} needs {reference}"))?;
        let before = value.strip_suffix(reference).unwrap_or_default();
        Ok(Header { name: parsed, text: Template::new(before), secret: Some(secret) })
    };
    written.iter().map(header).collect()
}

/// The secret's place at the end of a header's value: `env:NAME` in `Bearer env:NAME`.
pub fn reference(value: &str) -> Option<&str> {
    let last = value.rsplit(' ').next()?;
    (last.starts_with("env:") || last.starts_with("file:")).then_some(last)
}

/// The client of all tools. It follows no redirect by itself, takes no proxy and connects to checked addresses only.
pub(super) fn client(reach: &Arc<Reach>) -> Result<Client, String> {
    Client::builder()
        .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(CheckedNames(Arc::clone(reach))))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(50))
        .tcp_nodelay(true)
        .build()
        .map_err(|error| error.to_string())
}

/// One tool, ready to be asked.
#[derive(Clone)]
pub(super) struct Requester {
    pub(super) tool: HttpTool,
    pub(super) headers: Vec<Header>,
    pub(super) class: ToolClass,
    pub(super) client: Client,
    pub(super) reach: Arc<Reach>,
}

/// Why a try gave no answer.
enum Failed {
    /// Another try would fail like this one.
    Final(String),
    /// It may pass. `arrived`: the server may have seen the request; `wait`: as long as it asked for.
    Passing { reason: String, arrived: bool, wait: Option<Duration> },
}

/// What every try of one call sends.
struct Question {
    url: Url,
    method: Method,
    headers: HeaderMap,
    identity: HeaderMap,
    body: Option<String>,
}

impl Requester {
    /// Asks, within the deadline, as often as the tool allows.
    ///
    /// # Errors
    /// Why there is no result, in words for the model; no secret is in them.
    pub(super) async fn run(
        &self,
        context: &ToolContext,
        values: &Map<String, Value>,
        key: &IdempotencyKey,
        deadline: Instant,
    ) -> Result<String, String> {
        let result = self.tries(context, values, key, deadline).await;
        let hide = |text: String| Header::redact(&self.headers, text);
        result.map(hide).map_err(hide)
    }

    async fn tries(
        &self,
        context: &ToolContext,
        values: &Map<String, Value>,
        key: &IdempotencyKey,
        deadline: Instant,
    ) -> Result<String, String> {
        let question = self.question(context, values, key)?;
        let mut pause = PAUSE;
        let mut left = self.tool.retries;
        loop {
            let failed = match timeout_at(deadline.into(), self.once(&question)).await {
                Ok(Ok(result)) => return result,
                Ok(Err(failed)) => failed,
                Err(_) => return Err(self.too_late()),
            };
            let (reason, arrived, wait) = match failed {
                Failed::Final(reason) => return Err(reason),
                Failed::Passing { reason, arrived, wait } => (reason, arrived, wait),
            };
            let wait = wait.unwrap_or(pause);
            let again = left > 0 && !(arrived && self.class == ToolClass::Irreversible);
            if !again || Instant::now() + wait >= deadline {
                return Err(reason);
            }
            left -= 1;
            pause *= 2;
            sleep(wait).await;
        }
    }

    fn too_late(&self) -> String {
        let reads = self.class == ToolClass::Read;
        let known = if reads { "" } else { "; whether it was carried out is not known" };
        format!("the service did not answer in time{known}")
    }

    fn question(
        &self,
        context: &ToolContext,
        values: &Map<String, Value>,
        key: &IdempotencyKey,
    ) -> Result<Question, String> {
        let mut url = self.url(context, values)?;
        self.reach.check(&url)?;
        let in_url: Vec<&str> = self.tool.url.names().collect();
        let rest = values.iter().filter(|(name, value)| !in_url.contains(&name.as_str()) && !value.is_null());
        let rest: Map<String, Value> = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
        let bodyless = matches!(self.tool.method, HttpMethod::Get | HttpMethod::Delete);
        if bodyless && !rest.is_empty() {
            let mut query = url.query_pairs_mut();
            for (name, value) in &rest {
                query.append_pair(name, &plain(value));
            }
        }
        let body = (!bodyless).then(|| Value::Object(rest).to_string());
        let method = self.tool.method.name().parse().map_err(|_| "no such method".to_owned())?;
        let mut identity = HeaderMap::new();
        let mut put = |name: &'static str, value: String| {
            identity.extend(
                HeaderValue::from_str(&value).ok().map(|value| (HeaderName::from_static(name), value)),
            );
        };
        put("idempotency-key", key.to_string());
        put("traceparent", key.traceparent());
        put("accept", "application/json, text/plain;q=0.5".to_owned());
        Ok(Question {
            url,
            method,
            headers: Header::all(&self.headers, &|name| context.value(name))?,
            identity,
            body,
        })
    }

    /// The URL with arguments and variables in it, each as one segment or one value, whatever is in them.
    fn url(&self, context: &ToolContext, values: &Map<String, Value>) -> Result<Url, String> {
        let mut empty = None;
        let text = self.tool.url.render(|name| {
            let value = values.get(name).map(plain).or_else(|| context.value(name)).unwrap_or_default();
            if value.is_empty() {
                empty = Some(name.to_owned());
            }
            escape(&value)
        });
        if let Some(name) = empty {
            return Err(format!("{name:?} is empty, and the request cannot be made without it"));
        }
        let path = text.split(['?', '#']).next().unwrap_or_default();
        // A segment of dots would be taken away, together with the one before it.
        if path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err("an argument consists of dots alone, which no request can carry".to_owned());
        }
        Url::parse(&text).map_err(|error| format!("the request cannot be made: {error}"))
    }

    /// One try, redirects included.
    async fn once(&self, question: &Question) -> Result<Result<String, String>, Failed> {
        let mut url = question.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            self.reach.check(&url).map_err(Failed::Final)?;
            let mut request = self.client.request(question.method.clone(), url.clone());
            // What was meant for one server is not told to another.
            if url.origin() == question.url.origin() {
                request = request.headers(question.headers.clone());
            }
            request = request.headers(question.identity.clone());
            if let Some(body) = &question.body {
                request = request.header("content-type", "application/json").body(body.clone());
            }
            let response = request.send().await.map_err(|error| unreachable(&error))?;
            match self.next(&url, &response)? {
                Some(next) => url = next,
                None => return self.read(response).await,
            }
        }
        Err(Failed::Final(format!("the service redirects more than {MOST_REDIRECTS} times")))
    }

    /// Where a redirect leads; `None` for any other answer.
    fn next(&self, url: &Url, response: &Response) -> Result<Option<Url>, Failed> {
        let status = response.status();
        let location = response.headers().get(LOCATION);
        let Some(location) = location.filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308))
        else {
            return Ok(None);
        };
        if self.tool.method != HttpMethod::Get && !matches!(status.as_u16(), 307 | 308) {
            let reason = format!(
                "the service redirects what changes something (status {status}), which is not followed"
            );
            return Err(Failed::Final(reason));
        }
        let next = location.to_str().ok().and_then(|location| url.join(location).ok());
        next.map(Some).ok_or_else(|| Failed::Final("the service redirects nowhere".to_owned()))
    }

    async fn read(&self, response: Response) -> Result<Result<String, String>, Failed> {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(response).await?;
        if status.is_success() {
            return Ok(body.result(self.tool.max_bytes));
        }
        let reason = body.explanation();
        let passing = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !passing {
            return Err(Failed::Final(reason));
        }
        Err(Failed::Passing { reason, arrived: true, wait: wait.map(Duration::from_secs) })
    }
}

/// The body as far as it may be read, whatever its length is said to be.
pub(super) async fn read_body(mut response: Response) -> reqwest::Result<Body> {
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let mut cut = false;
    while let Some(chunk) = response.chunk().await? {
        let room = MOST_READ - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            cut = true;
            break;
        }
    }
    Ok(Body { status, content_type, bytes, cut })
}

async fn read(response: Response) -> Result<Body, Failed> {
    read_body(response).await.map_err(|_| Failed::Passing {
        reason: "the connection broke in the middle of the answer".to_owned(),
        arrived: true,
        wait: None,
    })
}

/// Without the URL, which holds the caller's data.
fn unreachable(error: &reqwest::Error) -> Failed {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let reason = format!("the service cannot be reached: {reason}");
    if reason.contains("may not reach") {
        return Failed::Final(reason);
    }
    Failed::Passing { reason, arrived: !error.is_connect(), wait: None }
}

/// A value as it stands in a URL: text without quotes, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Everything but letters, digits and `-._~` (RFC 3986 section 2.3) as its bytes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The name of one wish: the same call, turn, tool and arguments always have the same, so that a server that has seen
/// it does not carry it out twice.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IdempotencyKey {
    digest: [u8; 32],
    call: call::CallId,
    turn: conversation::TurnId,
}

impl IdempotencyKey {
    pub(super) fn new(
        call: call::CallId,
        turn: conversation::TurnId,
        tool: &str,
        values: &Map<String, Value>,
    ) -> Self {
        let mut hash = Sha256::new();
        // Maps of JSON values are ordered by name: the order in which a model writes arguments does not count.
        for part in [&call.to_string(), &turn.0.to_string(), tool, &Value::Object(values.clone()).to_string()]
        {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self { digest: hash.finalize().into(), call, turn }
    }

    /// W3C Trace Context: the call is the trace, its turn the parent.
    pub(super) fn traceparent(&self) -> String {
        traceparent(self.call, Some(self.turn))
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::hex::hex(&self.digest[..16]))
    }
}
