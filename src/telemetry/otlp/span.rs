//! A span as the rest of this folder sees it: our names, our ids, plain values.
//! Does not know how it travels.

use super::ids::{Part, hex, span_id, trace_id};
use call::CallId;
use std::fmt::Write as _;

/// What a span says about its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work inside.
    Internal,
    /// We were asked.
    Server,
    /// We asked.
    Client,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// A part of a call that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Which call.
    pub call: CallId,
    /// Which part.
    pub part: Part,
    /// The part it belongs to; none for the root.
    pub parent: Option<Part>,
    /// What it is called.
    pub name: String,
    /// What it says about its ends.
    pub kind: Kind,
    /// Microseconds since 1970.
    pub start_us: u64,
    /// Microseconds since 1970.
    pub end_us: u64,
    /// Under our names.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong, if it did.
    pub error: Option<String>,
}

impl Span {
    /// A span without attributes.
    pub fn new(call: CallId, part: Part, parent: Option<Part>, name: impl Into<String>) -> Self {
        Self {
            call,
            part,
            parent,
            name: name.into(),
            kind: Kind::Internal,
            start_us: 0,
            end_us: 0,
            attributes: Vec::new(),
            error: None,
        }
    }

    /// The same, as a request to somebody else.
    pub fn client(mut self) -> Self {
        self.kind = Kind::Client;
        self
    }

    /// The same, from one moment to another.
    pub fn between(mut self, start_us: u64, end_us: u64) -> Self {
        (self.start_us, self.end_us) = (start_us, end_us.max(start_us));
        self
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// Adds an attribute if there is a value for it.
    pub fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    pub(super) fn trace_id(&self) -> [u8; 16] {
        trace_id(self.call)
    }

    pub(super) fn id(&self) -> [u8; 8] {
        span_id(self.call, self.part)
    }

    pub(super) fn parent_id(&self) -> Option<[u8; 8]> {
        self.parent.map(|parent| span_id(self.call, parent))
    }
}

/// Spans as text, one attribute a line, times from `zero_us` on: for people and for comparison.
pub fn plain(spans: &[Span], zero_us: u64) -> String {
    let mut text = String::new();
    for span in spans {
        let ms = |us: u64| us.saturating_sub(zero_us) as f64 / 1e3;
        let parent = span.parent_id().map_or_else(|| "root".to_owned(), |id| hex(&id));
        let kind = format!("{:?}", span.kind).to_lowercase();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{} < {parent}  {}  [{kind}]", hex(&span.id()), span.name);
        let _ = writeln!(text, "    {:.3} .. {:.3} ms", ms(span.start_us), ms(span.end_us));
        for (name, value) in &span.attributes {
            let _ = writeln!(text, "    {name} = {value}");
        }
        if let Some(error) = &span.error {
            let _ = writeln!(text, "    error: {error}");
        }
    }
    text
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(yes) => write!(f, "{yes}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}
