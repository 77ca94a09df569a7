//! Asks somebody's server about a call before it is answered: take it, refuse it, send it elsewhere; which agent; what
//! is known of the caller. Knows the request and its answer. What becomes of the call is admission's.

use crate::{
    secret::Secret,
    server::{CallFacts, ContextAnswer},
    telemetry::otlp::traceparent,
};
use call::cdr::Arrival;
use conversation::Variables;
use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::timeout_at;

/// Bytes read of an answer.
const MOST: usize = 65_536;
/// Answers kept for when the server is away.
const KEPT: usize = 10_000;

/// Whom to ask, and what to do without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextWebhook {
    /// Where; as the operator wrote it, so that it may well be inside.
    pub url: String,
    /// Sent with every request.
    pub headers: BTreeMap<String, Secret>,
    /// How long a caller may be kept waiting for it.
    pub timeout: Duration,
    /// How long the last answer for the same caller and number stands in for a missing one.
    pub keep: Duration,
    /// Without any answer, the call is refused with this status; else it is taken as if nobody had been asked.
    pub refuse: Option<u16>,
}

/// The client of a webhook, with the answers it remembers.
pub struct ContextClient {
    webhook: ContextWebhook,
    headers: HeaderMap,
    client: Client,
    kept: Mutex<HashMap<Key, (Instant, ContextAnswer)>>,
}

/// What makes two calls alike: trunk, caller, called.
type Key = (String, String, String);

impl ContextClient {
    /// # Errors
    /// When a header cannot be sent, or the TLS library cannot be set up.
    pub fn new(webhook: ContextWebhook) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &webhook.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is not a header"))?;
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| format!("the header {name} of the call context cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = Client::builder()
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            // Where it leads is the operator's to say, and nobody else's.
            .redirect(Policy::none())
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { webhook, headers, client, kept: Mutex::default() })
    }

    /// What the server says of a call, or what stands in for it. Always an answer, within the timeout.
    pub async fn ask(self: Arc<Self>, arrival: Arrival, headers: Variables) -> ContextAnswer {
        let key = (arrival.trunk.clone(), arrival.caller.clone(), arrival.called.clone());
        let deadline = Instant::now() + self.webhook.timeout;
        let asked = timeout_at(deadline.into(), self.request(&arrival, &headers)).await;
        let reason = match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(answer) => {
                self.keep(key, &answer);
                return answer;
            }
            Err(reason) => reason,
        };
        let kept = self.recall(&key);
        let instead = match (&kept, self.webhook.refuse) {
            (Some(_), _) => "the last answer for this caller is used",
            (None, Some(_)) => "the call is refused",
            (None, None) => "the call is taken without",
        };
        tracing::warn!(call = %arrival.call, reason, "no call context: {instead}");
        kept.unwrap_or_else(|| match self.webhook.refuse {
            Some(status) => ContextAnswer::Refuse { status, reason: None, redirect: None },
            None => ContextAnswer::Take(CallFacts::default()),
        })
    }

    async fn request(&self, arrival: &Arrival, headers: &Variables) -> Result<ContextAnswer, String> {
        let headers: Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let question = json!({
            "event": "call.incoming",
            "call_id": arrival.call.to_string(),
            "sip_call_id": arrival.sip_call_id,
            "trunk": arrival.trunk,
            "caller": arrival.caller,
            "called": arrival.called,
            "variables": headers,
        });
        let request = self
            .client
            .post(&self.webhook.url)
            .header("traceparent", traceparent(arrival.call, None))
            .headers(self.headers.clone())
            .json(&question);
        let mut response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered with status {status}"));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MOST {
                return Err(format!("its answer is longer than {MOST} bytes"));
            }
        }
        read(&bytes)
    }

    fn keep(&self, key: Key, answer: &ContextAnswer) {
        if self.webhook.keep.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(&key) {
            kept.retain(|_, (at, _)| now.saturating_duration_since(*at) < self.webhook.keep);
            if kept.len() >= KEPT {
                return;
            }
        }
        kept.insert(key, (now, answer.clone()));
    }

    fn recall(&self, key: &Key) -> Option<ContextAnswer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = kept.get(key)?;
        (at.elapsed() < self.webhook.keep).then(|| answer.clone())
    }
}

/// An answer as it is written. Nothing at all takes the call.
fn read(bytes: &[u8]) -> Result<ContextAnswer, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(ContextAnswer::Take(CallFacts::default()));
    }
    let said: Value = serde_json::from_slice(bytes).map_err(|_| "its answer is not JSON".to_owned())?;
    let Some(said) = said.as_object() else { return Err("its answer is not an object".to_owned()) };
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    match text("action").unwrap_or("accept") {
        "accept" => Ok(ContextAnswer::Take(CallFacts {
            agent: text("agent").map(str::to_owned),
            resumed: None,
            variables: variables(said.get("variables")),
        })),
        "reject" => {
            let status = said.get("status").map_or(Some(603), Value::as_u64);
            let status =
                status.and_then(|status| u16::try_from(status).ok()).filter(|s| (400..700).contains(s));
            let status = status.ok_or("its status is not one of 400 to 699")?;
            let reason = text("reason").filter(|reason| is_line(reason)).map(str::to_owned);
            Ok(ContextAnswer::Refuse { status, reason, redirect: None })
        }
        "redirect" => {
            let to = text("to").ok_or("it redirects nowhere: \"to\" is missing")?;
            let uri = to.starts_with("sip:") || to.starts_with("sips:") || to.starts_with("tel:");
            if !uri || !is_line(to) || to.contains(['<', '>', '"', ' ']) {
                return Err("it redirects to something that is no SIP URI".to_owned());
            }
            Ok(ContextAnswer::Refuse { status: 302, reason: None, redirect: Some(to.to_owned()) })
        }
        other => Err(format!(
            "its action {:?} is not accept, reject or redirect",
            other.chars().take(40).collect::<String>()
        )),
    }
}

fn is_line(text: &str) -> bool {
    text.len() <= 200 && !text.chars().any(char::is_control)
}

/// Text, numbers and truth values; anything else is not one line.
fn variables(said: Option<&Value>) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in said.and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::String(text) => variables.set(name.clone(), text),
            Value::Number(_) | Value::Bool(_) => variables.set(name.clone(), &value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    variables
}

/// Without the URL, which may hold a key.
fn unreachable(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    format!("it cannot be reached: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(text: &str) -> CallFacts {
        match read(text.as_bytes()) {
            Ok(ContextAnswer::Take(facts)) => facts,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_answer_takes_the_call_and_says_what_is_known() {
        assert_eq!(took(""), CallFacts::default());
        assert_eq!(took("{}"), CallFacts::default());
        let facts = took(
            r#"{"agent":"b.toml","variables":{"tier":"gold","orders":3,"vip":true,"x":null,"y":[1]},"z":1}"#,
        );
        assert_eq!(facts.agent.as_deref(), Some("b.toml"));
        let variables: Vec<_> = facts.variables.iter().collect();
        assert_eq!(variables, [("orders", "3"), ("tier", "gold"), ("vip", "true")]);
    }

    #[test]
    fn an_answer_refuses_or_redirects() {
        let refused = read(br#"{"action":"reject","status":486,"reason":"Busy"}"#);
        let busy = ContextAnswer::Refuse { status: 486, reason: Some("Busy".into()), redirect: None };
        assert_eq!(refused, Ok(busy));
        let default = ContextAnswer::Refuse { status: 603, reason: None, redirect: None };
        assert_eq!(read(br#"{"action":"reject","reason":"a\r\nVia: forged"}"#), Ok(default));
        let to =
            ContextAnswer::Refuse { status: 302, reason: None, redirect: Some("sip:x@y.example".into()) };
        assert_eq!(read(br#"{"action":"redirect","to":"sip:x@y.example"}"#), Ok(to));
    }

    #[test]
    fn nonsense_is_no_answer() {
        for nonsense in [
            "<html>",
            "[]",
            "7",
            r#"{"action":"explode"}"#,
            r#"{"action":"reject","status":200}"#,
            r#"{"action":"reject","status":"486"}"#,
            r#"{"action":"redirect"}"#,
            r#"{"action":"redirect","to":"http://x"}"#,
            r#"{"action":"redirect","to":"sip:x>\r\nVia: y"}"#,
        ] {
            assert!(read(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }
}
