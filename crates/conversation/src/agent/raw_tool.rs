//! Tools of an agent file as they are written, and their checks.
//! Knows the keys of `[[tool]]` and `[[mcp]]`. Resolves no secret and reaches no host.

use super::{
    AgentError, HttpMethod, HttpTool, McpServer, McpTransport, Returns, Slot, SlotKind, Tool, ToolClass,
    ToolKind, Transfer, error::did_you_mean, raw::Check,
};
use crate::{
    floor::Interruptible,
    request::ToolSpec,
    variables::{Template, is_name},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};
use toml::Spanned;

/// What every statement and request may use besides its tool's arguments.
const GIVEN: [&str; 5] = ["call_id", "caller", "called", "today", "now"];
/// What a statement may use besides its tool's arguments.
const GIVEN_PARAMETERS: [&str; 4] = ["call_id", "caller", "today", "now"];
/// Bytes of an answer that a model is shown where nothing else is said: some two thousand tokens.
const MAX_BYTES: usize = 8_192;
/// The types that a JSON schema may name.
const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];

/// A key, where it stands if it does, and the kinds of tools that it is for.
type OwnKey<'k> = (&'static str, Option<std::ops::Range<usize>>, &'k [RawToolKind]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTool {
    pub(super) name: Spanned<String>,
    description: String,
    kind: RawToolKind,
    sql: Option<Spanned<String>>,
    #[serde(default)]
    args: Vec<Spanned<String>>,
    returns: Option<Spanned<RawReturns>>,
    class: Option<Spanned<RawClass>>,
    timeout_ms: Option<Spanned<u64>>,
    interruptible: Option<Interruptible>,
    parameters: Option<Spanned<toml::Table>>,
    method: Option<Spanned<RawMethod>>,
    url: Option<Spanned<String>>,
    headers: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    retries: Option<Spanned<u32>>,
    max_bytes: Option<Spanned<usize>>,
    agents: Option<Spanned<Vec<Spanned<String>>>>,
    destinations: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    secret: Option<Spanned<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawToolKind {
    Sqlite,
    EndCall,
    Note,
    Http,
    Transfer,
    HandOver,
    Wait,
    CollectDtmf,
    SendDtmf,
    RecordNote,
    SetLanguage,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawReturns {
    Rows,
    Row,
    Changes,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawClass {
    Read,
    Write,
    Irreversible,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RawMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMcp {
    name: Spanned<String>,
    url: Option<Spanned<String>>,
    headers: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    command: Option<Spanned<Vec<String>>>,
    tools: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    reads: Vec<Spanned<String>>,
    timeout_ms: Option<Spanned<u64>>,
}

impl RawMcp {
    pub(super) const fn name(&self) -> &Spanned<String> {
        &self.name
    }
}

impl RawTool {
    /// The agents that it hands over to.
    pub(super) fn handed_to(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.agents.iter().flat_map(|agents| agents.get_ref())
    }
}

impl Check<'_> {
    /// `variables` are the names that texts may hold.
    pub(super) fn tool(
        &self,
        raw: &RawTool,
        slots: &BTreeMap<String, Slot>,
        variables: &[&str],
    ) -> Result<Tool, AgentError> {
        self.own_keys(raw)?;
        let parameters = self.schema(raw, slots)?;
        let kind = match raw.kind {
            RawToolKind::Sqlite => {
                let returns = raw.returns.as_ref().map_or(RawReturns::Rows, |returns| *returns.get_ref());
                let returns = match returns {
                    RawReturns::Rows => Returns::Rows,
                    RawReturns::Row => Returns::Row,
                    RawReturns::Changes => Returns::Changes,
                };
                ToolKind::Sqlite { sql: self.sql(raw)?, returns }
            }
            RawToolKind::Note => ToolKind::NotePerson { sql: self.sql(raw)? },
            RawToolKind::Http => ToolKind::Http(Box::new(self.http(raw, &parameters, variables)?)),
            RawToolKind::EndCall => ToolKind::EndCall,
            RawToolKind::Transfer => ToolKind::Transfer(self.transfer(raw, variables)?),
            RawToolKind::HandOver => ToolKind::HandOver { agents: self.agents(raw)? },
            RawToolKind::Wait => ToolKind::Wait,
            RawToolKind::CollectDtmf => ToolKind::CollectDigits { secret: self.secret(raw)? },
            RawToolKind::SendDtmf => ToolKind::SendDigits,
            RawToolKind::RecordNote => ToolKind::RecordNote,
            RawToolKind::SetLanguage => ToolKind::SetLanguage,
        };
        let parameters = built_in_parameters(&kind).unwrap_or(parameters);
        let class = raw.class.as_ref().map_or_else(
            || class_of(&kind),
            |class| match class.get_ref() {
                RawClass::Read => ToolClass::Read,
                RawClass::Write => ToolClass::Write,
                RawClass::Irreversible => ToolClass::Irreversible,
            },
        );
        if let (ToolKind::Http(http), ToolClass::Irreversible, Some(retries)) = (&kind, class, &raw.retries)
            && http.retries > 0
        {
            let message = "what cannot be taken back is not tried again".to_owned();
            return Err(self.error(retries, message, "remove `retries`, or make it class = \"write\""));
        }
        let timeout = self.timeout(raw.timeout_ms.as_ref())?;
        let spec =
            ToolSpec { name: self.tool_name(&raw.name)?, description: raw.description.clone(), parameters };
        Ok(Tool { spec, kind, timeout, class, interruptible: raw.interruptible })
    }

    /// Models take names of letters, digits, `_` and `-`, up to 64 of them.
    fn tool_name(&self, name: &Spanned<String>) -> Result<String, AgentError> {
        let text = name.get_ref();
        let fits = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if !fits {
            let help = "use up to 64 letters, digits, `_` and `-`";
            return Err(self.error(name, format!("no model can call a tool `{text}`"), help));
        }
        Ok(text.clone())
    }

    /// The name that stands for keys that nobody may read.
    fn secret(&self, raw: &RawTool) -> Result<Option<String>, AgentError> {
        let Some(name) = &raw.secret else { return Ok(None) };
        let text = name.get_ref();
        if !is_name(text) || GIVEN.contains(&text.as_str()) {
            let message = format!("`{text}` cannot stand for keys");
            let help = "write a name of its own, such as secret = \"pin\": tools get the keys where a model writes {pin}";
            return Err(self.error(name, message, help));
        }
        Ok(Some(text.clone()))
    }

    /// Keys that mean nothing for a tool of this kind are a mistake somewhere.
    fn own_keys(&self, raw: &RawTool) -> Result<(), AgentError> {
        use RawToolKind::{CollectDtmf, EndCall, HandOver, Http, Note, Sqlite, Transfer};
        let at = |key: Option<std::ops::Range<usize>>| key;
        let keys: [OwnKey<'_>; 11] = [
            ("sql", at(raw.sql.as_ref().map(Spanned::span)), &[Sqlite, Note]),
            ("args", at(raw.args.first().map(Spanned::span)), &[Sqlite, Note, Http, EndCall]),
            ("returns", at(raw.returns.as_ref().map(Spanned::span)), &[Sqlite]),
            ("parameters", at(raw.parameters.as_ref().map(Spanned::span)), &[Sqlite, Note, Http]),
            ("method", at(raw.method.as_ref().map(Spanned::span)), &[Http]),
            ("url", at(raw.url.as_ref().map(Spanned::span)), &[Http]),
            ("headers", at(raw.headers.as_ref().map(Spanned::span)), &[Http, Transfer]),
            ("retries", at(raw.retries.as_ref().map(Spanned::span)), &[Http]),
            ("agents", at(raw.agents.as_ref().map(Spanned::span)), &[HandOver]),
            ("destinations", at(raw.destinations.as_ref().map(Spanned::span)), &[Transfer]),
            ("secret", at(raw.secret.as_ref().map(Spanned::span)), &[CollectDtmf]),
        ];
        for (key, span, kinds) in keys {
            if let Some(span) = span.filter(|_| !kinds.contains(&raw.kind)) {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
                let message = format!("`{key}` means nothing for a tool of kind `{}`", raw.kind.name());
                let help = format!("remove it; it is for {}", kinds.join(", "));
                return Err(self.error(&Spanned::new(span, ()), message, help));
            }
        }
        Ok(())
    }

    /// The JSON schema of a tool's arguments: its own, or made of the slots in `args`.
    fn schema(&self, raw: &RawTool, slots: &BTreeMap<String, Slot>) -> Result<Value, AgentError> {
        let mut properties = Map::new();
        for arg in &raw.args {
            let name = self.known("slot", arg, slots.keys().map(String::as_str))?;
            properties.insert(name.clone(), slot_schema(&slots[&name]));
        }
        let mut required: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        if let Some(own) = &raw.parameters {
            let schema = json(&toml::Value::Table(own.get_ref().clone()));
            let wrong = |reason: String| {
                let help = "write `parameters.properties.NAME = { type = \"string\", description = \"…\" }` and, \
                            below it, `parameters.required = [\"NAME\"]`";
                self.error(own, reason, help)
            };
            check_schema(&schema).map_err(wrong)?;
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                properties.insert(name.clone(), property.clone());
            }
            required.extend(schema["required"].as_array().into_iter().flatten().cloned());
        }
        if let Some(given) = properties.keys().find(|name| GIVEN.contains(&name.as_str())) {
            let message = format!("`{given}` is what the call knows by itself; a model cannot say it");
            let at = raw.parameters.as_ref().map_or_else(|| raw.name.span(), Spanned::span);
            return Err(self.error(&Spanned::new(at, ()), message, "give the argument another name"));
        }
        Ok(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }))
    }

    fn sql(&self, raw: &RawTool) -> Result<String, AgentError> {
        let Some(sql) = &raw.sql else {
            let message = "this tool has no `sql`".to_owned();
            return Err(self.error(&raw.name, message, "add the statement it runs"));
        };
        let own = raw.parameters.as_ref().and_then(|own| own.get_ref().get("properties")?.as_table());
        let own = own.into_iter().flat_map(toml::Table::keys).map(String::as_str);
        let args: Vec<&str> = raw.args.iter().map(|arg| arg.get_ref().as_str()).chain(own).collect();
        self.parameters(sql, &args)?;
        Ok(sql.get_ref().trim().to_owned())
    }

    /// Every `:parameter` of a statement is an argument or given.
    fn parameters(&self, sql: &Spanned<String>, args: &[&str]) -> Result<(), AgentError> {
        let known = || args.iter().copied().chain(GIVEN_PARAMETERS);
        // Every other part lies between quotes.
        for part in sql.get_ref().split('\'').step_by(2) {
            for after in part.split(':').skip(1) {
                let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
                let name = &after[..end];
                if !name.is_empty() && !known().any(|known| known == name) {
                    let message = format!("the statement uses `:{name}`, which is no argument of this tool");
                    return Err(self.error(
                        sql,
                        message,
                        did_you_mean(name, known().collect::<Vec<_>>().into_iter()),
                    ));
                }
            }
        }
        Ok(())
    }

    fn http(&self, raw: &RawTool, parameters: &Value, variables: &[&str]) -> Result<HttpTool, AgentError> {
        let Some(url) = &raw.url else {
            let help = "add it, such as url = \"https://api.example.com/orders/{order}\"";
            return Err(self.error(&raw.name, "this tool has no `url`".to_owned(), help));
        };
        self.host(url)?;
        let arguments =
            parameters["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let known: Vec<&str> = arguments.chain(variables.iter().copied()).chain(["now"]).collect();
        let template = self.filled_in(url, &known)?;
        let method = match raw.method.as_ref().map(|method| *method.get_ref()) {
            Some(RawMethod::Get) | None => HttpMethod::Get,
            Some(RawMethod::Post) => HttpMethod::Post,
            Some(RawMethod::Put) => HttpMethod::Put,
            Some(RawMethod::Patch) => HttpMethod::Patch,
            Some(RawMethod::Delete) => HttpMethod::Delete,
        };
        let looks = match raw.class.as_ref().map(|class| *class.get_ref()) {
            Some(class) => matches!(class, RawClass::Read),
            None => method == HttpMethod::Get,
        };
        let retries = self.within(raw.retries.as_ref(), 0..=5, if looks { 1 } else { 0 })?;
        let max_bytes = self.within(raw.max_bytes.as_ref(), 256..=65_536, MAX_BYTES)?;
        Ok(HttpTool {
            method,
            url: template,
            headers: self.headers(raw.headers.as_ref(), variables)?,
            retries,
            max_bytes,
        })
    }

    /// Scheme and host are fixed: whoever fills the places in must not choose whom we ask.
    fn host(&self, url: &Spanned<String>) -> Result<(), AgentError> {
        let text = url.get_ref();
        let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let Some(after) = after else {
            return Err(self.error(url, format!("`{text}` is not an HTTP URL"), "begin it with https://"));
        };
        let host = after.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let wrong = match () {
            () if host.is_empty() => "it names no host",
            () if host.contains(['{', '}']) => "the host is not fixed",
            () if host.contains('@') => "a login in the URL would stand in logs",
            () if text.contains('#') => "a fragment is never sent",
            () => return Ok(()),
        };
        let help = "write https://HOST/PATH, with places such as {order} in the path and the query alone";
        Err(self.error(url, format!("`{text}` cannot be used: {wrong}"), help))
    }

    fn headers(
        &self,
        raw: Option<&Spanned<BTreeMap<String, Spanned<String>>>>,
        variables: &[&str],
    ) -> Result<BTreeMap<String, String>, AgentError> {
        let mut headers = BTreeMap::new();
        for (name, value) in raw.into_iter().flat_map(|raw| raw.get_ref()) {
            let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if name.is_empty() || !name.bytes().all(token) || value.get_ref().chars().any(char::is_control) {
                let help = "write headers = { X-Name = \"one line of text\" }";
                return Err(self.error(value, format!("`{name}` is not a header"), help));
            }
            self.filled_in(value, variables)?;
            headers.insert(name.clone(), value.get_ref().clone());
        }
        Ok(headers)
    }

    fn transfer(&self, raw: &RawTool, variables: &[&str]) -> Result<Transfer, AgentError> {
        let none = || {
            let help = "add destinations = { sales = \"sip:sales@pbx.example\" }: nobody else can be called";
            self.error(&raw.name, "this tool leads nowhere".to_owned(), help)
        };
        let written = raw.destinations.as_ref().ok_or_else(none)?;
        let mut destinations = BTreeMap::new();
        for (name, uri) in written.get_ref() {
            let text = uri.get_ref();
            let scheme = ["sip:", "sips:", "tel:"].iter().any(|scheme| text.starts_with(scheme));
            if !scheme || text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c)) {
                let help = "write sip:USER@HOST or tel:+NUMBER";
                return Err(self.error(uri, format!("`{text}` cannot be called"), help));
            }
            destinations.insert(name.clone(), self.filled_in(uri, variables)?);
        }
        if destinations.is_empty() {
            return Err(none());
        }
        let headers = self.headers(raw.headers.as_ref(), variables)?;
        let headers = headers.into_iter().map(|(name, value)| (name, Template::new(&value))).collect();
        Ok(Transfer { destinations, headers })
    }

    /// Whether there are such agents is for the config to say.
    fn agents(&self, raw: &RawTool) -> Result<Vec<String>, AgentError> {
        let agents = raw.agents.as_ref().map(|agents| agents.get_ref().as_slice()).unwrap_or_default();
        for agent in agents {
            self.filled("agents", agent)?;
        }
        if agents.is_empty() {
            let message = "this tool hands over to nobody".to_owned();
            return Err(self.error(&raw.name, message, "add agents = [\"billing.toml\"]"));
        }
        Ok(agents.iter().map(|agent| agent.get_ref().clone()).collect())
    }

    fn timeout(&self, raw: Option<&Spanned<u64>>) -> Result<Option<Duration>, AgentError> {
        let written = raw.map(|_| self.within(raw, 50..=120_000, 0)).transpose()?;
        Ok(written.map(Duration::from_millis))
    }

    pub(super) fn within<N: Copy + PartialOrd + std::fmt::Display>(
        &self,
        key: Option<&Spanned<N>>,
        range: std::ops::RangeInclusive<N>,
        default: N,
    ) -> Result<N, AgentError> {
        match key {
            Some(key) if !range.contains(key.get_ref()) => {
                let help = format!("write a number from {} to {}", range.start(), range.end());
                Err(self.error(key, format!("{} is out of range", key.get_ref()), help))
            }
            Some(key) => Ok(*key.get_ref()),
            None => Ok(default),
        }
    }

    pub(super) fn mcp(&self, raw: &RawMcp) -> Result<McpServer, AgentError> {
        let transport = match (&raw.url, &raw.command) {
            (Some(url), None) => {
                self.host(url)?;
                self.filled_in(url, &[])?;
                let headers = self.headers(raw.headers.as_ref(), &[])?;
                McpTransport::Http { url: url.get_ref().clone(), headers }
            }
            (None, Some(command)) if command.get_ref().first().is_some_and(|program| !program.is_empty()) => {
                McpTransport::Stdio { command: command.get_ref().clone() }
            }
            _ => {
                let message = format!("the server `{}` needs one way to reach it", raw.name.get_ref());
                let help = "write url = \"https://HOST/mcp\", or command = [\"PROGRAM\", \"ARGUMENT\"]";
                return Err(self.error(&raw.name, message, help));
            }
        };
        let texts = |list: &[Spanned<String>]| list.iter().map(|name| name.get_ref().clone()).collect();
        let tools: Option<Vec<String>> = raw.tools.as_deref().map(texts);
        if let Some(tools) = &tools {
            for name in &raw.reads {
                self.known("tool", name, tools.iter().map(String::as_str))?;
            }
        }
        Ok(McpServer {
            name: raw.name.get_ref().clone(),
            transport,
            tools,
            reads: texts(&raw.reads),
            timeout: self.timeout(raw.timeout_ms.as_ref())?,
        })
    }
}

impl RawToolKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::EndCall => "end_call",
            Self::Note => "note",
            Self::Http => "http",
            Self::Transfer => "transfer",
            Self::HandOver => "hand_over",
            Self::Wait => "wait",
            Self::CollectDtmf => "collect_dtmf",
            Self::SendDtmf => "send_dtmf",
            Self::RecordNote => "record_note",
            Self::SetLanguage => "set_language",
        }
    }
}

/// What a tool does to the world where nothing else is said.
fn class_of(kind: &ToolKind) -> ToolClass {
    match kind {
        ToolKind::Sqlite { returns: Returns::Rows | Returns::Row, .. } => ToolClass::Read,
        ToolKind::Http(http) if http.method == HttpMethod::Get => ToolClass::Read,
        ToolKind::Transfer(_) => ToolClass::Irreversible,
        ToolKind::Sqlite { returns: Returns::Changes, .. }
        | ToolKind::NotePerson { .. }
        | ToolKind::Http(_)
        | ToolKind::Mcp { .. }
        | ToolKind::EndCall
        | ToolKind::HandOver { .. }
        | ToolKind::Wait
        | ToolKind::CollectDigits { .. }
        | ToolKind::SendDigits
        | ToolKind::RecordNote
        | ToolKind::SetLanguage => ToolClass::Write,
    }
}

/// The arguments of tools that the call carries out itself.
fn built_in_parameters(kind: &ToolKind) -> Option<Value> {
    let (properties, required) = match kind {
        ToolKind::Transfer(transfer) => {
            let names: Vec<&String> = transfer.destinations.keys().collect();
            (json!({ "destination": { "type": "string", "enum": names } }), json!(["destination"]))
        }
        ToolKind::HandOver { agents } => {
            let summary = json!({ "type": "string", "maxLength": 1000, "description": "what the other agent has to know" });
            (json!({ "agent": { "type": "string", "enum": agents }, "summary": summary }), json!(["agent"]))
        }
        ToolKind::Wait => {
            let seconds = json!({ "type": "integer", "minimum": 1, "maximum": 120, "description": "how long to stay silent" });
            (json!({ "seconds": seconds }), json!(["seconds"]))
        }
        ToolKind::CollectDigits { .. } => {
            let count = json!({ "type": "integer", "minimum": 1, "maximum": 32, "description": "how many keys; absent: as many as come before # or a pause" });
            (json!({ "count": count }), json!([]))
        }
        ToolKind::SendDigits => {
            let about = "keys to press: 0 to 9, *, #, A to D; a comma waits half a second";
            let keys = json!({ "type": "string", "pattern": "^[0-9*#A-Da-d,]{1,64}$", "description": about });
            (json!({ "keys": keys }), json!(["keys"]))
        }
        ToolKind::RecordNote => (json!({ "text": { "type": "string", "maxLength": 500 } }), json!(["text"])),
        // Which ones there are is filled in once all are known.
        ToolKind::SetLanguage => (json!({ "language": { "type": "string" } }), json!(["language"])),
        ToolKind::Sqlite { .. }
        | ToolKind::NotePerson { .. }
        | ToolKind::Http(_)
        | ToolKind::Mcp { .. }
        | ToolKind::EndCall => return None,
    };
    Some(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }))
}

/// Whether a schema says what an object of arguments looks like. Words that are not known here are the model's to read.
fn check_schema(schema: &Value) -> Result<(), String> {
    if schema.get("type").is_some_and(|kind| kind != "object") {
        return Err("arguments are always an object".to_owned());
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Err("`parameters` has no `properties`".to_owned());
    };
    let known = ["type", "properties", "required", "description", "additionalProperties"];
    if let Some(strange) =
        schema.as_object().into_iter().flat_map(Map::keys).find(|key| !known.contains(&key.as_str()))
    {
        return Err(format!("`parameters.{strange}` is not a word for a whole set of arguments"));
    }
    for (name, property) in properties {
        check_property(name, property)?;
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !properties.contains_key(name) {
            let help = did_you_mean(name, properties.keys().map(String::as_str));
            return Err(format!("`required` names `{name}`, which is no property ({help})"));
        }
    }
    Ok(())
}

fn check_property(name: &str, property: &Value) -> Result<(), String> {
    let Some(property) = property.as_object() else {
        return Err(format!("`{name}` must be a table such as {{ type = \"string\" }}"));
    };
    let kinds: Vec<&Value> = match property.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().collect(),
        kind => kind.into_iter().collect(),
    };
    for kind in kinds {
        let kind = kind.as_str().unwrap_or_default();
        if !TYPES.contains(&kind) {
            return Err(format!("`{name}` is of type `{kind}` ({})", did_you_mean(kind, TYPES.into_iter())));
        }
    }
    for (inner, property) in property.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check_property(&format!("{name}.{inner}"), property)?;
    }
    property.get("items").map_or(Ok(()), |items| check_property(&format!("{name}[]"), items))
}

/// TOML as JSON; a date becomes its text.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(yes) => json!(yes),
        toml::Value::Datetime(date) => json!(date.to_string()),
        toml::Value::Array(list) => Value::Array(list.iter().map(json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}

/// A slot as an argument in a JSON schema.
fn slot_schema(slot: &Slot) -> Value {
    match &slot.kind {
        SlotKind::Date => json!({"type": "string", "format": "date", "description": "a day, as 2026-10-14"}),
        SlotKind::Time => {
            json!({"type": "string", "description": "a time of day on the 24-hour clock, as 15:30"})
        }
        SlotKind::Digits { length: Some(length) } => {
            json!({"type": "string", "description": format!("exactly {length} digits, without blanks")})
        }
        SlotKind::Digits { length: None } => {
            json!({"type": "string", "description": "digits, without blanks"})
        }
        SlotKind::Name { .. } => json!({"type": "string", "description": "a person's name"}),
    }
}
