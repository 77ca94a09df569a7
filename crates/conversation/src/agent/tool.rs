//! What an agent can do: its tools, and the servers that bring more of them.
//! Knows what was declared. How a statement, a request or a transfer is carried out is not known here.

use crate::{floor::Interruptible, request::ToolSpec, variables::Template};
use std::{collections::BTreeMap, time::Duration};

/// Something that the agent can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// As a model sees it.
    pub spec: ToolSpec,
    /// How it is done.
    pub kind: ToolKind,
    /// How long it may take; the server's `timeouts_ms.tool` where absent.
    pub timeout: Option<Duration>,
    /// Whether it changes anything.
    pub class: ToolClass,
    /// What may cut in on what is said from its call to the end of the turn; the agent's rule where absent.
    pub interruptible: Option<Interruptible>,
}

/// How a tool is carried out. Statements use named parameters: the tool's arguments, and besides them `:call_id`,
/// `:caller`, `:today` (`2026-10-14`) and `:now` (RFC 3339) where they occur.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// A statement on the agent's database.
    Sqlite {
        /// The statement.
        sql: String,
        /// What becomes of its result.
        returns: Returns,
    },
    /// Note that a person must take care of the caller: a statement on the agent's database; the call's record
    /// mentions it.
    NotePerson {
        /// The statement.
        sql: String,
    },
    /// A request to somebody's HTTP server.
    Http(Box<HttpTool>),
    /// A tool of a server of the Model Context Protocol.
    Mcp {
        /// The server's name here.
        server: String,
        /// The tool's name there.
        tool: String,
    },
    /// Hang up after the current sentence.
    EndCall,
    /// Pass the caller on to one of these, after the current sentence.
    Transfer(Transfer),
    /// Let another agent go on with the call, after the current sentence.
    HandOver {
        /// The agents to choose from, by the file that the config names them by.
        agents: Vec<String>,
    },
    /// Stay silent while the caller is busy with something else.
    Wait,
    /// Let the caller key in digits, and take them as the caller's next words.
    CollectDigits {
        /// The name under which the call keeps them from the model and from everything that is written down: tools
        /// get them where their arguments say `{name}`.
        secret: Option<String>,
    },
    /// Press keys for the other side, once the sentence before has been heard.
    SendDigits,
    /// Write a line into the call's record.
    RecordNote,
    /// Go on in another language of the agent.
    SetLanguage,
}

/// The JSON that a statement's result becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// A list of objects.
    Rows,
    /// The first row as an object, or null.
    Row,
    /// `{"changes": 1}`.
    Changes,
}

/// Whether a tool may be repeated or guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolClass {
    /// It only looks: it may be tried again, and run on a guess.
    Read,
    /// It changes something: it runs for a turn that stands, and is repeated only under the same idempotency key.
    Write,
    /// It cannot be taken back: it is never repeated once it may have arrived.
    Irreversible,
}

/// A request to somebody's HTTP server. Arguments that the URL has no place for are its query or its JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTool {
    /// How it is asked.
    pub method: HttpMethod,
    /// Where: `https://api.example.com/orders/{order}`. Scheme and host hold no places.
    pub url: Template,
    /// Headers; a value may hold `{variable}` and end in a secret's place, `env:NAME` or `file:PATH`.
    pub headers: BTreeMap<String, String>,
    /// How often it is tried again when the network or the server is to blame.
    pub retries: u32,
    /// Bytes of an answer that a model is shown.
    pub max_bytes: usize,
}

/// The methods that tools use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9110 says what they mean")]
pub enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Whom a caller may be passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// SIP or tel URIs by the name that a model chooses. There is no other way to name a destination.
    pub destinations: BTreeMap<String, Template>,
    /// Headers of the REFER.
    pub headers: BTreeMap<String, Template>,
}

/// A server of the Model Context Protocol, whose tools the agent has besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// What it is called here.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
    /// The tools wanted of it; all of them where absent.
    pub tools: Option<Vec<String>>,
    /// Those of them that only look. Without proof, a tool is held to change something.
    pub reads: Vec<String>,
    /// How long one of its tools may take.
    pub timeout: Option<Duration>,
}

/// How a server of the Model Context Protocol is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpTransport {
    /// By requests to a URL ("streamable HTTP").
    Http {
        /// Where.
        url: String,
        /// Headers, as in [`HttpTool`].
        headers: BTreeMap<String, String>,
    },
    /// As a process of our own, by its standard input and output.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
    },
}
