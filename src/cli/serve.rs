//! `tandem serve`: from the config to a running server, and to its decent end.
//! Knows the order of things; the things are in their own modules.

use super::{Exit, serve_args::ServeArgs};
use crate::{
    config::{Config, Recording},
    http::{self, HttpState},
    recorder::Recorder,
    rtp_socket::{RtpPortsConfig, RtpSockets},
    server::{Server, ServerConfig, Services},
    services::{self, Load, Records, StartError, Traces, TrunkCalls, Vocabulary},
    sip_transport::Tls,
    store::{CRASHED, Checkpoints, Reader, Store, StoreConfig, StoreError},
    telemetry::{
        alerts::Alerts,
        live::LiveEvents,
        logs,
        metrics::{Metrics, MetricsConfig},
        otlp::Exporter,
        traces::TraceSink,
    },
    trunks::{TrunkMetrics, TrunkStates, Trunks, rules},
    turn_pool::TurnPool,
    vad_pool::VadPool,
    webhooks::Webhooks,
};
use ::call::cdr::Cause;
use sip::EndpointConfig;
use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};
use tokio::{net::TcpListener, sync::oneshot, task::block_in_place};

mod banner;
mod operate;

use operate::{Operations, StopSignals};

/// How long the last spans may take to the collector: a batch gathers for a second.
const LAST_SPANS: std::time::Duration = std::time::Duration::from_secs(3);

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> Exit {
    let config = match args.load() {
        Ok(config) => Arc::new(config),
        Err(exit) => return exit,
    };
    // Two cryptography providers may be linked one day; rustls must not have to guess.
    let _another_may_have_been_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trunks = TrunkStates::new(&config);
    let metrics = Metrics::with(metrics_config(&config), vec![Box::new(TrunkMetrics(trunks.clone()))]);
    let _logs = match logs::init(config.log.format, &config.log.level, metrics.clone()) {
        Ok(guard) => guard,
        Err(error) => return fail(Exit::Failed, &error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failed, &error.to_string()),
    };
    let again = args.clone();
    let load: Load = Box::new(move || again.again());
    let exit = runtime.block_on(serve(config, metrics, trunks, load));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}

fn fail(exit: Exit, message: &str) -> Exit {
    eprintln!("tandem serve: {message}");
    eprintln!("Nothing was started.");
    exit
}

fn metrics_config(config: &Config) -> MetricsConfig {
    MetricsConfig {
        end_causes: Cause::ALL.iter().map(|cause| cause.name()).chain([CRASHED]).map(str::to_owned).collect(),
        llm_targets: config.llm.keys().cloned().collect(),
        sip_drop_reasons: operate::drop_reasons(),
    }
}

async fn serve(config: Arc<Config>, metrics: Metrics, trunks: TrunkStates, load: Load) -> Exit {
    match Running::start(&config, &metrics).await {
        Ok(running) => {
            let watching = tokio::spawn(services::watch(
                load,
                Arc::clone(&running.calls),
                metrics.clone(),
                Some(running.checkpoints.clone()),
            ));
            let exit = running.until_stopped(&config, metrics, trunks).await;
            watching.abort();
            exit
        }
        Err(exit) => exit,
    }
}

/// A server that takes calls, and what goes on beside it.
struct Running {
    signals: StopSignals,
    store: Store,
    reader: Reader,
    traces: TraceSink,
    exporter: Option<Arc<Exporter>>,
    live: LiveEvents,
    listener: TcpListener,
    webhooks: Webhooks,
    server: Arc<Server>,
    recorder: Option<Arc<Recorder>>,
    vocabulary: Vec<Vocabulary>,
    calls: Arc<TrunkCalls>,
    checkpoints: Checkpoints,
}

impl Running {
    /// Everything that can fail, in the order in which it is needed.
    async fn start(config: &Arc<Config>, metrics: &Metrics) -> Result<Self, Exit> {
        let signals = StopSignals::catch()
            .map_err(|error| fail(Exit::Failed, &format!("SIGTERM cannot be caught: {error}")))?;
        let rtp = config.rtp.address;
        RtpSockets::bind(rtp, 0)
            .map_err(|error| fail(Exit::Address, &bind_error("RTP", "rtp.address or --rtp", rtp, &error)))?;
        let data_dir = |error: StoreError| fail(Exit::DataDir, &error.to_string());
        // A database server is waited for here, and nowhere else on this runtime.
        let store =
            block_in_place(|| Store::open(store_config(config), metrics.clone())).map_err(data_dir)?;
        let webhooks = Webhooks::start(&config.webhooks, &config.server.data_dir, &store, metrics)
            .map_err(|error| fail(Exit::DataDir, &error.to_string()))?;
        // Started even if nothing is kept yet: the config that is read again may say so.
        let checkpoints = Checkpoints::start(&store_config(config), metrics.clone())
            .map_err(|error| fail(Exit::Failed, &error.to_string()))?;
        let calls = services::prepare(Arc::clone(config), metrics, Some(&checkpoints))
            .await
            .map_err(|error| fail(exit_of(&error), &error.to_string()))?;
        let http = config.http.listen;
        let listener = TcpListener::bind(http).await.map_err(|error| {
            fail(Exit::Address, &bind_error("HTTP", "http.listen or --http", http, &error))
        })?;
        let live = LiveEvents::new();
        let exporter = config.otlp.clone().map(|otlp| Exporter::start(otlp, metrics.clone()).map(Arc::new));
        let exporter = exporter.transpose().map_err(|error| fail(Exit::Failed, &format!("OTLP: {error}")))?;
        let collector = exporter.clone().map(|exporter| (exporter, config.span_labels()));
        let traces = TraceSink::start_exporting(store.clone(), metrics.clone(), live.clone(), collector)
            .map_err(|error| fail(Exit::Failed, &error.to_string()))?;
        let vocabulary = calls.vocabulary();
        let tls = Tls::load(config.sip.tls.clone()).map_err(|error| {
            let remedy = "name files that this user can read under [sip.tls]";
            fail(Exit::Usage, &format!("TLS: {error}; {remedy}"))
        })?;
        let record = |recording: &Recording| Recorder::start(&recording.directory, recording.consent.clone());
        let recorder = config.recording.as_ref().map(record).transpose().map_err(|error| {
            let folder = config.recording.as_ref().map_or(Path::new(""), |to| &to.directory).display();
            let remedy = "give it to this user, or name another with recording.directory";
            fail(Exit::DataDir, &format!("recordings cannot be written to {folder}: {error}; {remedy}"))
        })?;
        let recorder = recorder.map(Arc::new);
        let calls = Arc::new(calls);
        let server = start(config, Arc::clone(&calls), &store, (&traces, metrics), (&tls, recorder.as_ref()))
            .map_err(|error| fail(exit_of_start(&error), &start_error(&error)))?;
        end_orphans(&store, &server);
        let reader = block_in_place(|| store.reader()).map_err(data_dir)?;
        let server = Arc::new(server);
        Ok(Self {
            signals,
            store,
            reader,
            traces,
            exporter,
            live,
            listener,
            server,
            webhooks,
            recorder,
            vocabulary,
            calls,
            checkpoints,
        })
    }

    /// Serves until a signal comes, then lets the calls end and writes everything down.
    async fn until_stopped(mut self, config: &Arc<Config>, metrics: Metrics, trunks: TrunkStates) -> Exit {
        let http_address = self.listener.local_addr().unwrap_or(config.http.listen);
        let operations = Operations::new(&self.server, metrics.clone());
        let state = HttpState {
            reader: self.reader,
            metrics,
            health: operations.health(Arc::clone(&self.calls)),
            control: operations.control(),
            live: self.live,
            ladders: self.server.ladders().clone(),
            tokens: config.http.tokens.clone().into(),
            trunks: Some(trunks.clone()),
        };
        let alerts = Alerts::start(&config.alerts, &state.metrics);
        let (stop_http, stopped) = oneshot::channel::<()>();
        let http = tokio::spawn(http::serve(self.listener, state, async {
            let _dropped_means_stop_too = stopped.await;
        }));
        let publishing = operations.publish(
            trunks.clone(),
            (alerts, config.prices.clone()),
            (self.store.clone(), Arc::clone(&self.calls)),
        );
        let mut runtime = self
            .server
            .outgoing_events()
            .map(|events| Trunks::start(Arc::clone(config), self.server.sip_link(), events, trunks));
        banner::print(config, &self.server, http_address, &self.vocabulary);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %http_address, ports = config.server.ports, "ready");
        self.signals.wait().await;
        let longest = config.server.drain.as_secs();
        tracing::info!(
            "told to stop: no new calls, the running ones may go on for {longest} s; a second signal ends them"
        );
        if let Some(trunks) = &mut runtime {
            trunks.stop().await;
        }
        let drained = self.signals.drain(&self.server, config.server.drain).await;
        let _nobody_may_be_listening = stop_http.send(());
        let _ended_either_way = http.await;
        publishing.abort();
        let _it_holds_the_server_no_more = publishing.await;
        drop((operations, runtime));
        if let Ok(server) = Arc::try_unwrap(self.server).map_err(|_| ()) {
            server.stop().await;
        }
        // The server is gone, and its calls with it: this is the last that holds it.
        if let Some(recorder) = self.recorder.and_then(Arc::into_inner) {
            recorder.stop();
        }
        self.traces.flush();
        self.webhooks.stop();
        if let Some(exporter) = &self.exporter {
            exporter.flush(LAST_SPANS).await;
        }
        self.store.close();
        // A log line, not a message of our own: standard error may be a pipe that nobody reads any more.
        tracing::info!(calls = drained.calls, broken_off = drained.broken_off, "stopped");
        Exit::Done
    }
}

fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        database: config.store.database.clone(),
        journal_limit: config.store.journal_limit,
        traces: config.store.traces,
        ..StoreConfig::new(&config.server.data_dir)
    }
}

/// The peers of calls that a dead server left behind still think that they are connected: each gets a BYE.
fn end_orphans(store: &Store, server: &Server) {
    let link = server.sip_link();
    for (call, saved) in store.orphans() {
        let told = link.flow(saved.transport, saved.remote, None).is_ok_and(|flow| {
            let reason = Some(format!("SIP;cause=500;text=\"{CRASHED}\""));
            link.command(sip::Command::Farewell { saved: Box::new(saved), flow, reason })
        });
        tracing::info!(%call, told, "the last server died in this call; its peer gets a BYE");
        if told {
            store.told(call);
        }
    }
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Engine(_) => Exit::Engine,
        StartError::Provider(_) => Exit::Usage,
        StartError::DataDir(_) => Exit::DataDir,
    }
}

fn bind_error(what: &str, key: &str, address: impl std::fmt::Display, error: &io::Error) -> String {
    let remedy = format!("choose another with {key}, or end what holds it");
    format!("{what} cannot listen on {address}: {error}; {remedy}")
}

/// Threads and chance are not addresses; everything else that a server needs to start is.
fn exit_of_start(error: &io::Error) -> Exit {
    let ours = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::NotFound);
    if ours { Exit::Failed } else { Exit::Address }
}

fn start_error(error: &io::Error) -> String {
    match exit_of_start(error) {
        Exit::Address => format!(
            "SIP cannot listen on {error}; choose another with sip.listen or --sip, or end what holds it"
        ),
        Exit::Done | Exit::Failed | Exit::Usage | Exit::Engine | Exit::DataDir => error.to_string(),
    }
}

/// The threads that judge the frames of all calls, with the model that is inside.
fn vad_pool(threads: usize) -> io::Result<Option<Arc<VadPool>>> {
    if threads == 0 {
        return Ok(None);
    }
    VadPool::start(threads, || media::vad::Earshot).map(|pool| Some(Arc::new(pool)))
}

/// The model that listens if callers sound finished, where the config names one.
fn listener(config: &Config) -> io::Result<Option<Arc<TurnPool>>> {
    let Some(model) = &config.turn_model else { return Ok(None) };
    let pool = TurnPool::start(&model.path, model.threads).map_err(|error| {
        io::Error::other(format!(
            "conversation.turn_model = \"{}\": {error}; name another file, or take the key out",
            model.path.display()
        ))
    })?;
    tracing::info!(path = %model.path.display(), threads = model.threads, "an end-of-turn model listens");
    Ok(Some(Arc::new(pool)))
}

fn endpoint(config: &Config) -> EndpointConfig {
    let default = EndpointConfig::default();
    // A dialog outlives its call until the answer to its BYE: the cap of calls must be met before this one.
    let max_dialogs = default.max_dialogs.max(2 * usize::from(config.server.ports));
    EndpointConfig {
        product: config.sip.user_agent.clone(),
        external: config.server.external.clone(),
        max_dialogs,
        gate: Some(rules::gate(config)),
        ..default
    }
}

fn start(
    config: &Config,
    calls: Arc<TrunkCalls>,
    store: &Store,
    (traces, metrics): (&TraceSink, &Metrics),
    (tls, recorder): (&Arc<Tls>, Option<&Arc<Recorder>>),
) -> io::Result<Server> {
    let transport = |listen: &crate::config::Listen| (listen.transport, listen.address);
    let defaults = ServerConfig::default();
    let server = ServerConfig {
        sip: config.sip.listen.iter().map(transport).collect(),
        endpoint: endpoint(config),
        rtp: RtpPortsConfig {
            address: config.rtp.address,
            low: config.rtp.ports.first,
            high: config.rtp.ports.last,
            quiet: config.rtp.cooling,
            longest_cooling: config.rtp.cooling_limit,
        },
        tls: Arc::clone(tls),
        transport: config.sip.transport.clone(),
        ports: u32::from(config.server.ports),
        pools: config.pools.iter().map(|pool| pool.slots.clone()).collect(),
        permits: config.permits(),
        machine: config.admission.machine,
        overflow_ports: config.overflow_slots(),
        trunk: "none".to_owned(),
        media_threads: config.media.threads,
        media_priority: config.media.priority,
        recorder: recorder.cloned(),
        vad: vad_pool(config.media.vad_threads)?,
        listener: listener(config)?,
        seed: config.server.seed,
        ..defaults
    };
    let services = Services {
        calls,
        records: Arc::new(Records::new(store.clone(), metrics.clone(), traces.clone())),
        trace: Arc::new(Traces(traces.clone())),
    };
    Server::start(server, services)
}
