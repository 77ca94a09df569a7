//! The config file as written becomes a config as checked: everything that can be wrong is found here, at the start.
//! Knows every key and its default; opens no socket and calls no provider.

mod agent;
mod alerts;
mod call_context;
mod check;
mod checker;
mod defaults;
pub mod machine;
mod otlp;
pub mod pool;
mod prices;
mod problem;
pub mod profile;
mod raw;
mod read;
mod records;
mod sections;
mod signalling;
pub mod target;
mod tools;
pub mod trunk;
mod value;
mod webhook;

pub use call_context::CallContextConfig;
pub use checker::Secrets;
pub use prices::{Prices, Served};
pub use problem::{ConfigError, Problem, Severity};
pub use records::Records;
pub use tools::Tools;
pub use value::{Listen, Network, PortRange, RtpBind, Transport};

use crate::{
    http::Token,
    knowledge::Library,
    media_threads::MediaPriority,
    providers::embeddings::EmbeddingsConfig,
    sip_transport::{SipTransportConfig, TlsConfig},
    telemetry::{alerts::AlertsConfig, otlp::OtlpConfig},
};
use call::CallConfig;
use conversation::Agent;
use jiff::tz::TimeZone;
use pool::{AdmissionLimits, Pool};
use problem::Source;
use sip::{ExternalAddresses, digest::DigestAlgorithm};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use target::{LlmTarget, Routes, SttTarget, TtsTarget};
use trunk::Trunk;

/// A config file in which every key stands with its default and its reason; `tandem init` writes it.
pub const TEMPLATE: &str = include_str!("tandem.toml");

/// The key of the built-in agent in [`Config::agents`].
pub const DEMO: &str = "demo";

/// What is said in calls is written down, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// A folder for each day is in it.
    pub directory: PathBuf,
    /// Why callers may be recorded, in the operator's words, for each call's record.
    pub consent: Option<String>,
}

/// A neural model that says whether a caller sounds finished: `turn_model` of `[conversation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnModel {
    /// An ONNX file.
    pub path: PathBuf,
    /// Threads that it runs on.
    pub threads: usize,
}

/// Everything a deployment decides, checked. What has a default is filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// Signalling.
    pub sip: Sip,
    /// The callers' media.
    pub rtp: Rtp,
    /// Health, traces, metrics.
    pub http: Http,
    /// How media is handled.
    pub media: Media,
    /// Where call records go.
    pub store: Records,
    /// Who is told of calls.
    pub webhooks: Vec<crate::webhooks::Webhook>,
    /// What targets, trunks and ports cost.
    pub prices: Prices,
    /// Where what is said is written to, if it is.
    pub recording: Option<Recording>,
    /// The model that listens if callers sound finished, if there is one.
    pub turn_model: Option<TurnModel>,
    /// How every call behaves: turn-taking, jitter buffer, patience, budgets.
    pub call: CallConfig,
    /// Where "tomorrow" is reckoned.
    pub time_zone: TimeZone,
    /// Speech-to-text targets by name.
    pub stt: BTreeMap<String, SttTarget>,
    /// Language model targets by name.
    pub llm: BTreeMap<String, LlmTarget>,
    /// Text-to-speech targets by name.
    pub tts: BTreeMap<String, TtsTarget>,
    /// What agents may name.
    pub routes: Routes,
    /// Agents by the key that trunks carry.
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// The script that sets up an agent's database, by the same key: the `.sql` file beside the agent's file.
    pub schemas: BTreeMap<String, String>,
    /// The documents that an agent looks up, by the same key, if it does.
    pub libraries: BTreeMap<String, Library>,
    /// The room that an agent seems to sit in, by the same key, if there is one.
    pub rooms: BTreeMap<String, call::Ambience>,
    /// What turns documents and questions into vectors, if anything does.
    pub embeddings: Option<EmbeddingsConfig>,
    /// What agents' tools are allowed.
    pub tools: Tools,
    /// What is asked and read about a call before it is answered.
    pub call_context: CallContextConfig,
    /// Whether callers who were cut off go on where they were, and for how long.
    pub resume: Option<crate::resume::ResumeConfig>,
    /// The files that agents were read from, for whoever looks after them.
    pub files: Vec<PathBuf>,
    /// Where calls come from and go to; the first that matches takes the call. Never empty.
    pub trunks: Vec<Trunk>,
    /// Trunks that outgoing calls may take in turn, by the group's name.
    pub trunk_groups: BTreeMap<String, Vec<String>>,
    /// The port slots, in pools. Never empty; the first takes what nothing else claims.
    pub pools: Vec<Pool>,
    /// When a free slot is of no use.
    pub admission: AdmissionLimits,
    /// Where alerts go besides the log.
    pub alerts: AlertsConfig,
    /// Where traces go besides the store; none: nowhere.
    pub otlp: Option<OtlpConfig>,
    /// What is written to standard error.
    pub log: Log,
    /// What will likely surprise, for the operator.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and checks a file, or takes the defaults where there is none. Flags win over the file. Every secret must be
    /// there.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] holds everything that is wrong, not only the first thing.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_with(path, overrides, Secrets::Required)
    }

    /// The same, with a say in what a missing secret means.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        path: Option<&Path>,
        overrides: &Overrides,
        secrets: Secrets,
    ) -> Result<Self, ConfigError> {
        let source = match path {
            Some(path) => Source::read(path)
                .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?,
            None => Source::new("built-in defaults", ""),
        };
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        let mut config = check::check(&source, folder, overrides, secrets)?;
        config.files.extend(path.map(Path::to_owned));
        Ok(config)
    }
}

impl Config {
    /// Slots beyond the cap, of all trunks together.
    pub fn overflow_slots(&self) -> u32 {
        self.trunks.iter().map(|trunk| trunk.profile.at_cap.overflow_slots).sum()
    }

    /// Whether any trunk may bring a call that is wide band.
    pub fn has_wide_band(&self) -> bool {
        self.trunks.iter().flat_map(|trunk| &trunk.profile.media.codecs).any(|codec| {
            media::Codec::from_name(codec).is_some_and(|codec| codec.rate() == media::SampleRate::Hz16000)
        })
    }

    /// The trunk of that name.
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }
}

/// What flags say; each wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--sip`, instead of the file's list.
    pub sip: Vec<Listen>,
    /// `--rtp`.
    pub rtp: Option<RtpBind>,
    /// `--http`.
    pub http: Option<SocketAddr>,
    /// `--data-dir`, from the working directory.
    pub data_dir: Option<PathBuf>,
    /// `--ports`.
    pub ports: Option<u16>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--log`.
    pub log: Option<LogFormat>,
}

/// The process: `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// The cap: calls at the same time.
    pub ports: u16,
    /// Makes chance repeatable; drawn from the system when absent.
    pub seed: Option<u64>,
    /// The addresses that peers reach us at, where these are not the interfaces' own.
    pub external: ExternalAddresses,
    /// How long calls may go on after SIGTERM.
    pub drain: Duration,
}

/// Signalling: `[sip]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Never empty.
    pub listen: Vec<Listen>,
    /// The User-Agent and Server header.
    pub user_agent: String,
    /// Limits of connections, and where copies of messages go.
    pub transport: SipTransportConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// What a call gets that no trunk takes.
    pub unmatched: Unmatched,
    /// What callers with a login are asked for, in this order.
    pub digest: Vec<DigestAlgorithm>,
}

/// What a call gets that no trunk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Nothing at all.
    Silent,
    /// 403: tells a stranger nothing, and an honest carrier that it is our configuration.
    Forbidden,
    /// 404, as if there were no such number.
    NotFound,
}

/// The callers' media: `[rtp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// The local address.
    pub address: IpAddr,
    /// At least one pair for each call of the cap.
    pub ports: PortRange,
    /// How long a port must have been quiet after a call before it serves another.
    pub cooling: Duration,
    /// When it serves another even though somebody still sends to it.
    pub cooling_limit: Duration,
}

/// Health, traces, metrics: `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may ask; empty: everybody.
    pub tokens: Vec<Token>,
}

/// How media is handled: `[media]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Threads that calls live on; one less than cores when absent.
    pub threads: Option<usize>,
    /// What the kernel is asked for on their behalf.
    pub priority: MediaPriority,
    /// Threads that judge for all calls together whether the caller speaks; 0: each call decides by itself.
    pub vad_threads: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object in each line.
    Json,
}

/// What is written to standard error: `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How.
    pub format: LogFormat,
    /// How much: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}
