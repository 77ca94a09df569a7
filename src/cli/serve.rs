//! `tandem serve`: from the config to a running server, and to its decent end.
//! Knows the order of things; the things are in their own modules.

use super::{Exit, serve_args::ServeArgs};
use crate::{
    config::{Config, Transport},
    http::{self, HttpState},
    rtp_socket::{RtpPortsConfig, RtpSockets},
    server::{Server, ServerConfig, Services},
    services::{self, Records, StartError, Traces, TrunkCalls},
    store::{CRASHED, Store, StoreConfig},
    telemetry::{
        live::LiveEvents,
        logs,
        metrics::{Metrics, MetricsConfig},
        traces::TraceSink,
    },
};
use ::call::cdr::Cause;
use sip::EndpointConfig;
use std::{
    io::{self, ErrorKind},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::oneshot};

mod banner;
mod operate;

use operate::{Operations, StopSignals};

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> Exit {
    let config = match args.load() {
        Ok(config) => Arc::new(config),
        Err(exit) => return exit,
    };
    // Two cryptography providers may be linked one day; rustls must not have to guess.
    let _another_may_have_been_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = Metrics::new(metrics_config(&config));
    let _logs = match logs::init(config.log.format, &config.log.level, metrics.clone()) {
        Ok(guard) => guard,
        Err(error) => return fail(Exit::Failed, &error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failed, &error.to_string()),
    };
    let exit = runtime.block_on(serve(config, metrics));
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

async fn serve(config: Arc<Config>, metrics: Metrics) -> Exit {
    let mut signals = match StopSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(Exit::Failed, &format!("SIGTERM cannot be caught: {error}")),
    };
    if let Err(error) = RtpSockets::bind(config.rtp.address, 0) {
        return fail(Exit::Address, &bind_error("RTP", "rtp.address or --rtp", config.rtp.address, &error));
    }
    let store = match Store::open(StoreConfig::new(&config.server.data_dir), metrics.clone()) {
        Ok(store) => store,
        Err(error) => return fail(Exit::DataDir, &error.to_string()),
    };
    let calls = match services::prepare(Arc::clone(&config), &metrics).await {
        Ok(calls) => calls,
        Err(error) => return fail(exit_of(&error), &error.to_string()),
    };
    let listener = match TcpListener::bind(config.http.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let address = config.http.listen;
            return fail(Exit::Address, &bind_error("HTTP", "http.listen or --http", address, &error));
        }
    };
    let http_address = listener.local_addr().unwrap_or(config.http.listen);
    let live = LiveEvents::new();
    let traces = match TraceSink::start(store.clone(), metrics.clone(), live.clone()) {
        Ok(traces) => traces,
        Err(error) => return fail(Exit::Failed, &error.to_string()),
    };
    let vocabulary = calls.vocabulary();
    let server = match start(&config, calls, &store, &traces, &metrics) {
        Ok(server) => Arc::new(server),
        Err(error) => return fail(exit_of_start(&error), &start_error(&error)),
    };
    let reader = match store.reader() {
        Ok(reader) => reader,
        Err(error) => return fail(Exit::DataDir, &error.to_string()),
    };
    let operations = Operations::new(&server, metrics.clone());
    let state = HttpState {
        reader,
        metrics: metrics.clone(),
        health: operations.health(),
        control: operations.control(),
        live,
    };
    let (stop_http, stopped) = oneshot::channel::<()>();
    let http = tokio::spawn(http::serve(listener, state, async {
        let _dropped_means_stop_too = stopped.await;
    }));
    let publishing = operations.publish();
    banner::print(&config, &server, http_address, &vocabulary);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %http_address, ports = config.server.ports, "ready");
    signals.wait().await;
    tracing::info!("told to stop: no new calls, the running ones say goodbye");
    let drained = signals.drain(&server, config.server.drain).await;
    let _nobody_may_be_listening = stop_http.send(());
    let _ended_either_way = http.await;
    publishing.abort();
    let _it_holds_the_server_no_more = publishing.await;
    drop(operations);
    if let Ok(server) = Arc::try_unwrap(server).map_err(|_| ()) {
        server.stop().await;
    }
    traces.flush();
    store.close();
    // A log line, not a message of our own: standard error may be a pipe that nobody reads any more.
    tracing::info!(calls = drained.calls, broken_off = drained.broken_off, "stopped");
    Exit::Done
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

fn endpoint(config: &Config) -> EndpointConfig {
    let default = EndpointConfig::default();
    // A dialog outlives its call until the answer to its BYE: the cap of calls must be met before this one.
    let max_dialogs = default.max_dialogs.max(2 * usize::from(config.server.ports));
    EndpointConfig { product: config.sip.user_agent.clone(), max_dialogs, ..default }
}

fn start(
    config: &Config,
    calls: TrunkCalls,
    store: &Store,
    traces: &TraceSink,
    metrics: &Metrics,
) -> io::Result<Server> {
    let transport = |listen: &crate::config::Listen| match listen.transport {
        Transport::Udp => (sip::Transport::Udp, listen.address),
        Transport::Tcp => (sip::Transport::Tcp, listen.address),
    };
    let defaults = ServerConfig::default();
    let server = ServerConfig {
        sip: config.sip.listen.iter().map(transport).collect(),
        endpoint: endpoint(config),
        rtp: RtpPortsConfig {
            address: config.rtp.address,
            low: config.rtp.ports.first,
            high: config.rtp.ports.last,
            quiet: config.rtp.cooling,
            longest_cooling: defaults.rtp.longest_cooling,
        },
        external_ip: config.server.external_ip,
        ports: u32::from(config.server.ports),
        trunk: "none".to_owned(),
        media_threads: config.media.threads,
        seed: config.server.seed,
        ..defaults
    };
    let services = Services {
        calls: Arc::new(calls),
        records: Arc::new(Records::new(store.clone(), metrics.clone())),
        trace: Arc::new(Traces(traces.clone())),
    };
    Server::start(server, services)
}
