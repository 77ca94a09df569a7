//! What every measurement starts from: a fresh server, callers, and the traces of their calls.
//! Knows how to start and ask. What the answers mean is each measurement's business.

use crate::{
    fleet::{self, Outcome, Plan, Tally},
    processes::{Addresses, Engines, Extras, Server, Simulators},
    voice::{self, Speech},
};
use sip::Transport;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use tandem::{caller::script::Script, store::Reader, telemetry::CallTrace};

/// How long a trace may take to be complete after the end of its call.
const WRITTEN: Duration = Duration::from_secs(5);

/// Where the processes of a measurement listen.
#[derive(clap::Args)]
pub(crate) struct Where {
    /// Where servers take calls.
    #[arg(long, default_value = "127.0.0.1:15060")]
    sip: SocketAddr,
    /// Where servers answer HTTP.
    #[arg(long, default_value = "127.0.0.1:15100")]
    http: SocketAddr,
    /// Where the simulators of the providers listen.
    #[arg(long, default_value = "127.0.0.1:15130")]
    simulators: SocketAddr,
    /// Ports for RTP.
    #[arg(long, default_value = "20000-24999")]
    rtp: String,
}

impl Where {
    pub(crate) fn addresses(&self) -> Addresses {
        let Self { sip, http, simulators, .. } = *self;
        Addresses { sip, http, simulators, rtp: self.rtp.clone(), tls: None }
    }
}

/// The place where figures are taken.
pub(crate) struct Bench {
    program: PathBuf,
    pub(crate) addresses: Addresses,
    pub(crate) folder: PathBuf,
    started: AtomicU32,
    pub(crate) speech: Speech,
}

/// A server and its simulators. In this order, so that the server goes first.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) simulators: Option<Simulators>,
}

/// Nothing of the simulators' work takes time.
const AT_ONCE: [&str; 12] = [
    "--jitter",
    "0",
    "--stt-final-ms",
    "0",
    "--llm-first-token-ms",
    "0",
    "--llm-token-ms",
    "0",
    "--tts-first-audio-ms",
    "0",
    "--tts-speed",
    "100",
];

/// Calls that follow each other or overlap.
pub(crate) struct Calls {
    pub(crate) count: usize,
    pub(crate) spacing: Duration,
    pub(crate) limit: Duration,
}

impl Bench {
    /// Prepares a folder and the words that callers say.
    pub(crate) fn new(program: PathBuf, addresses: Addresses, words: &[&str]) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("tandem-figures-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let speech = voice::speak(words.iter().copied())?;
        Ok(Self { program, addresses, folder, started: AtomicU32::new(0), speech })
    }

    /// A fresh server. Simulated providers hear every caller say `phrase`, whatever is said, and take no time except
    /// for what `further` arguments say.
    pub(crate) fn start(&self, engines: Engines, phrase: &str, further: &[&str]) -> Result<World, String> {
        self.start_configured(engines, phrase, further, "")
    }

    /// The same with this text at the end of the server's config.
    pub(crate) fn start_configured(
        &self,
        engines: Engines,
        phrase: &str,
        further: &[&str],
        config: &str,
    ) -> Result<World, String> {
        self.start_with(engines, phrase, further, Extras { config: config.to_owned(), ..Extras::default() })
    }

    /// The same with whatever else the server is to be started with.
    pub(crate) fn start_with(
        &self,
        engines: Engines,
        phrase: &str,
        further: &[&str],
        extras: Extras,
    ) -> Result<World, String> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(number.to_string());
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let simulators = match engines {
            Engines::Embedded => None,
            Engines::Simulated => {
                let phrases = folder.join("phrases");
                std::fs::write(&phrases, phrase).map_err(|error| error.to_string())?;
                let phrases = phrases.display().to_string();
                let niceness = fleet::NICENESS.to_string();
                let arguments: Vec<&str> = AT_ONCE
                    .into_iter()
                    .chain(["--script", &phrases, "--niceness", &niceness])
                    .chain(further.iter().copied())
                    .collect();
                Some(Simulators::start(self.addresses.simulators, &arguments)?)
            }
        };
        let server = Server::start(&self.program, &self.addresses, engines, &folder, extras)?;
        Ok(World { server, simulators })
    }

    /// A plan for calls to the server.
    pub(crate) fn plan<'a>(&'a self, uri: &'a str, calls: &Calls) -> Plan<'a> {
        Plan {
            uri,
            server: self.addresses.sip,
            transport: Transport::Udp,
            speech: &self.speech,
            calls: calls.count,
            spacing: calls.spacing,
            limit: calls.limit,
            measured: None,
        }
    }

    /// Places calls and waits for their ends. A call that fails is said and left out.
    pub(crate) fn call(
        &self,
        calls: &Calls,
        script: impl Fn(usize) -> Script + Send,
    ) -> Result<Vec<Outcome>, String> {
        let uri = self.uri();
        let (_nothing_to_say, news) = mpsc::channel();
        let outcomes = fleet::run(&self.plan(&uri, calls), script, news, &Tally::default())?;
        Ok(outcomes.into_iter().filter(|outcome| !said_failure(outcome)).collect())
    }

    /// The server's address for callers.
    pub(crate) fn uri(&self) -> String {
        format!("sip:figures@{}", self.addresses.sip)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _a_leftover_in_the_temporary_folder = std::fs::remove_dir_all(&self.folder);
    }
}

fn said_failure(outcome: &Outcome) -> bool {
    let failure = outcome.failure();
    if let Some(failure) = &failure {
        eprintln!("  a call failed and is left out: {failure}");
    }
    failure.is_some()
}

impl World {
    /// The traces of calls, once they are complete.
    pub(crate) fn traces(&self, outcomes: &[Outcome]) -> Result<Vec<CallTrace>, String> {
        let reader = Reader::open(&self.server.data).map_err(|error| error.to_string())?;
        let patience = Instant::now() + WRITTEN;
        let ids = outcomes.iter().filter_map(|outcome| outcome.call_id.as_deref());
        ids.map(|id| {
            loop {
                match reader.trace(id) {
                    Ok(trace) if !trace.running => return Ok(trace),
                    Ok(_) | Err(_) if Instant::now() < patience => {
                        std::thread::sleep(Duration::from_millis(20))
                    }
                    Ok(_) => return Err(format!("the trace of {id} does not end")),
                    Err(error) => return Err(error.to_string()),
                }
            }
        })
        .collect()
    }
}
