//! Tools of other people's servers, by the Model Context Protocol: which there are, and calling them.
//! Knows the protocol's messages. How they travel is in `http` and `stdio`.

mod http;
mod stdio;

use super::{answer::Body, arguments::named_values, http::IdempotencyKey};
use conversation::{McpServer, Tool, ToolClass, ToolKind, ToolSpec};
use serde_json::{Map, Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

pub(super) use http::HttpPeer;
pub(super) use stdio::StdioPeer;

/// The revision of the protocol that we ask for; a server may answer with an older one.
const VERSION: &str = "2025-06-18";
/// Revisions that we understand.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Tools taken from one server: every one of them is part of every question to a model.
const MOST_TOOLS: usize = 64;
/// Pages of a list that are asked for.
const MOST_PAGES: usize = 10;
/// Bytes of a tool's description and schema.
const MOST_TEXT: usize = 16_384;
/// Bytes of a result that a model is shown.
const MOST_RESULT: usize = 8_192;

/// A way to the server.
pub(super) enum Peer {
    Http(HttpPeer),
    Stdio(StdioPeer),
}

/// One server.
pub(super) struct Mcp {
    server: McpServer,
    peer: Peer,
    next_id: AtomicU64,
    /// Whether the server has been greeted, and by which session it knows us.
    session: tokio::sync::Mutex<Option<Session>>,
}

/// What the server said in its greeting.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) version: String,
    /// Of HTTP alone.
    pub(super) id: Option<String>,
    /// Of a process alone: which start of it this is.
    pub(super) start: u64,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server does not know the session any more: greet it again.
    Forgotten,
    /// Anything else, in words.
    Failed(String),
}

impl Mcp {
    pub(super) fn new(server: McpServer, peer: Peer) -> Self {
        Self { server, peer, next_id: AtomicU64::new(1), session: tokio::sync::Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.server.name
    }

    /// How long one of its tools may take, where its section says so.
    pub(super) const fn timeout(&self) -> Option<Duration> {
        self.server.timeout
    }

    /// The tools that it has and the agent wants.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) async fn tools(&self, deadline: Instant) -> Result<Vec<Tool>, String> {
        let mut found = Vec::new();
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let parameters = cursor.map_or_else(|| json!({}), |cursor: String| json!({ "cursor": cursor }));
            let page = self.request("tools/list", parameters, deadline).await?;
            let tools = page["tools"].as_array().ok_or("its list of tools is no list")?;
            found.extend(tools.iter().filter_map(|tool| self.tool(tool)));
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || found.len() > MOST_TOOLS {
                break;
            }
        }
        if let Some(missing) = self.missing(&found) {
            let names: Vec<&str> = found.iter().map(|tool| tool.spec.name.as_str()).collect();
            return Err(format!("it has no tool `{missing}`; it has: {}", names.join(", ")));
        }
        if found.len() > MOST_TOOLS {
            tracing::warn!(
                server = self.name(),
                most = MOST_TOOLS,
                "only the first tools of the server are used"
            );
            found.truncate(MOST_TOOLS);
        }
        Ok(found)
    }

    fn missing(&self, found: &[Tool]) -> Option<&String> {
        let wanted = self.server.tools.iter().flatten().chain(&self.server.reads);
        wanted.into_iter().find(|name| !found.iter().any(|tool| tool.spec.name == **name))
    }

    /// A tool as the server describes it; `None` if it is not wanted or cannot be used.
    fn tool(&self, described: &Value) -> Option<Tool> {
        let name = described["name"].as_str()?;
        if self.server.tools.as_ref().is_some_and(|wanted| !wanted.iter().any(|wanted| wanted == name)) {
            return None;
        }
        let callable = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let description = described["description"].as_str().unwrap_or_default();
        let schema = &described["inputSchema"];
        let short = description.len() + schema.to_string().len() <= MOST_TEXT;
        if !callable || !short {
            tracing::warn!(server = self.name(), tool = %name.escape_debug(), "a tool cannot be used: its name or its size");
            return None;
        }
        let parameters =
            if schema.is_object() { schema.clone() } else { json!({ "type": "object", "properties": {} }) };
        let reads = self.server.reads.iter().any(|reads| reads == name);
        Some(Tool {
            spec: ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters },
            kind: ToolKind::Mcp { server: self.server.name.clone(), tool: name.to_owned() },
            timeout: self.server.timeout,
            class: if reads { ToolClass::Read } else { ToolClass::Write },
            interruptible: None,
        })
    }

    /// Calls one of its tools.
    ///
    /// # Errors
    /// Why there is no result, in words for the model.
    pub(super) async fn call(
        &self,
        tool: &str,
        values: &Map<String, Value>,
        key: &IdempotencyKey,
        deadline: Instant,
    ) -> Result<String, String> {
        let parameters = json!({
            "name": tool,
            "arguments": named_values(values),
            "_meta": { "tandem/idempotency-key": key.to_string(), "traceparent": key.traceparent() },
        });
        let result = self.request("tools/call", parameters, deadline).await?;
        read_result(&result)
    }

    /// One request with its answer; greets the server first if need be.
    async fn request(&self, method: &str, parameters: Value, deadline: Instant) -> Result<Value, String> {
        let tries = async {
            for _ in 0..2 {
                let session = self.session().await?;
                match self.ask(method, parameters.clone(), Some(&session)).await {
                    Ok((result, _)) => return Ok(result),
                    Err(Trouble::Failed(reason)) => return Err(reason),
                    Err(Trouble::Forgotten) => *self.session.lock().await = None,
                }
            }
            Err("the server forgets its sessions".to_owned())
        };
        tokio::time::timeout_at(deadline.into(), tries).await.unwrap_or_else(|_| {
            Err("the server did not answer in time; whether it did anything is not known".to_owned())
        })
    }

    /// The session there is, or a new one. Who comes while it is being made waits for it.
    async fn session(&self) -> Result<Session, String> {
        let mut known = self.session.lock().await;
        if let Some(session) = known.as_ref().filter(|session| self.peer.is_alive(session)) {
            return Ok(session.clone());
        }
        let start = self.peer.start().await?;
        let hello = json!({
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": { "name": "tandem", "version": env!("CARGO_PKG_VERSION") },
        });
        let (said, id) = match self.ask("initialize", hello, None).await {
            Ok(answer) => answer,
            Err(Trouble::Failed(reason)) => return Err(reason),
            Err(Trouble::Forgotten) => return Err("the server cannot be greeted".to_owned()),
        };
        let version = said["protocolVersion"].as_str().unwrap_or_default().to_owned();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(format!(
                "the server speaks version {version:?} of the protocol, which is not known here"
            ));
        }
        let session = Session { version, id, start };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        if let Err(Trouble::Failed(reason)) = self.peer.exchange(&ready, None, Some(&session)).await {
            return Err(reason);
        }
        Ok(known.insert(session).clone())
    }

    /// A result, and the session's name if the answer brought one.
    async fn ask(
        &self,
        method: &str,
        parameters: Value,
        session: Option<&Session>,
    ) -> Result<(Value, Option<String>), Trouble> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        let (mut answer, name) = self.peer.exchange(&message, Some(id), session).await?;
        if let Some(error) = answer.get("error") {
            let reason = error["message"].as_str().unwrap_or("no reason given");
            let reason: String = reason.chars().take(300).collect();
            return Err(Trouble::Failed(format!("the server refused: {reason}")));
        }
        Ok((answer["result"].take(), name))
    }
}

impl Peer {
    /// Sends a message; with an `id`, waits for the answer to it.
    async fn exchange(
        &self,
        message: &Value,
        id: Option<u64>,
        session: Option<&Session>,
    ) -> Result<(Value, Option<String>), Trouble> {
        match self {
            Self::Http(peer) => peer.exchange(message, id, session).await,
            Self::Stdio(peer) => {
                peer.exchange(message, id).await.map(|answer| (answer, None)).map_err(Trouble::Failed)
            }
        }
    }

    /// Makes sure that there is somebody to greet.
    async fn start(&self) -> Result<u64, String> {
        match self {
            Self::Http(_) => Ok(0),
            Self::Stdio(peer) => peer.start().await,
        }
    }

    fn is_alive(&self, session: &Session) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Stdio(peer) => peer.is_running(session.start),
        }
    }
}

/// A tool's result: its structured content, or its texts.
fn read_result(result: &Value) -> Result<String, String> {
    let texts = result["content"].as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
    let text = texts.join("\n");
    if result["isError"] == true {
        let reason: String = text.chars().take(300).collect();
        return Err(if reason.is_empty() { "the tool failed".to_owned() } else { reason });
    }
    let structured = result.get("structuredContent").filter(|content| content.is_object());
    let bytes = structured.map_or_else(|| text.into_bytes(), |content| content.to_string().into_bytes());
    Body { status: 200, content_type: String::new(), bytes, cut: false }.result(MOST_RESULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_its_structure_or_its_texts() {
        let texts = json!({ "content": [{ "type": "text", "text": "two" }, { "type": "image" }, { "type": "text", "text": "free" }] });
        assert_eq!(read_result(&texts), Ok(r#"{"text":"two\nfree"}"#.into()));
        let both =
            json!({ "content": [{ "type": "text", "text": "x" }], "structuredContent": { "free": 2 } });
        assert_eq!(read_result(&both), Ok(r#"{"free":2}"#.into()));
        let failed = json!({ "isError": true, "content": [{ "type": "text", "text": "no such customer" }] });
        assert_eq!(read_result(&failed), Err("no such customer".into()));
        for nothing in [json!(null), json!({}), json!({ "content": 7 }), json!([])] {
            assert_eq!(read_result(&nothing), Ok(r#"{"empty":true,"status":200}"#.into()), "{nothing}");
        }
    }
}
