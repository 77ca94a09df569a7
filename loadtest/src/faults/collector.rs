//! A stand-in for an OpenTelemetry collector, which can be made to say nothing or to die.
//! Knows HTTP. What it is sent is taken and not read.

use axum::{Router, body::Bytes, routing::post};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::runtime::Runtime;

/// Takes spans until it is told otherwise.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    silent: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    /// Its connections end with it.
    runtime: Option<Runtime>,
}

impl Collector {
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the collector: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let (silent, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_silent, taken) = (Arc::clone(&silent), Arc::clone(&bytes));
        let take = move |body: Bytes| {
            let (silent, taken) = (Arc::clone(&is_silent), Arc::clone(&taken));
            async move {
                if silent.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                taken.fetch_add(body.len() as u64, Ordering::Relaxed);
            }
        };
        let router = Router::new().route("/v1/traces", post(take));
        let _guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        runtime.spawn(async move {
            let _it_ends_with_the_runtime = axum::serve(listener, router).await;
        });
        drop(_guard);
        Ok(Self { address, silent, bytes, runtime: Some(runtime) })
    }

    /// The part of a server's config that sends traces here.
    pub(crate) fn config(&self) -> String {
        format!("[otlp]\nendpoint = \"http://{}\"\n", self.address)
    }

    /// From now on requests are taken and never answered.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Nobody is there any more.
    pub(crate) fn die(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }

    /// Bytes of spans that were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.die();
    }
}
