//! What goes on beside the calls: health, hanging up, figures once a second, and the signal to stop.
//! Knows how to ask the server. Decides nothing.

use crate::{
    http::{CallControl, Health, HealthReport, Slots, Status as HttpStatus},
    server::{Server, Status},
    telemetry::metrics::{Metrics, Way},
};
use call::CallId;
use sip::EndpointStatistics;
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle, time};

/// Handles on a running server that do not keep it alive.
pub(super) struct Operations {
    server: Weak<Server>,
    status: watch::Receiver<Status>,
    metrics: Metrics,
    started: Instant,
}

impl Operations {
    pub(super) fn new(server: &Arc<Server>, metrics: Metrics) -> Self {
        Self { server: Arc::downgrade(server), status: server.status(), metrics, started: Instant::now() }
    }

    pub(super) fn health(&self) -> Arc<dyn Health> {
        Arc::new(ServerHealth { status: self.status.clone(), started: self.started })
    }

    pub(super) fn control(&self) -> Arc<dyn CallControl> {
        Arc::new(Control { server: self.server.clone(), runtime: tokio::runtime::Handle::current() })
    }

    /// Puts what the server counts into the metrics, once a second.
    pub(super) fn publish(&self) -> JoinHandle<()> {
        let (server, status, metrics) = (self.server.clone(), self.status.clone(), self.metrics.clone());
        tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut second = time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                let Some(server) = server.upgrade() else { return };
                let status = status.borrow().clone();
                seen.publish(&server, &status, &metrics);
            }
        })
    }
}

struct ServerHealth {
    status: watch::Receiver<Status>,
    started: Instant,
}

impl Health for ServerHealth {
    fn health(&self) -> HealthReport {
        let status = self.status.borrow();
        HealthReport {
            status: if status.draining { HttpStatus::Draining } else { HttpStatus::Ready },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            slots: Slots { cap: status.cap as usize, busy: status.calls as usize },
        }
    }
}

struct Control {
    server: Weak<Server>,
    runtime: tokio::runtime::Handle,
}

impl CallControl for Control {
    fn hang_up(&self, call: CallId) -> bool {
        let Some(server) = self.server.upgrade() else { return false };
        // Handlers run on a worker of the runtime: it must be told that this one waits.
        tokio::task::block_in_place(|| self.runtime.block_on(server.hang_up(call)))
    }
}

/// What was counted the last time: metrics want increments.
#[derive(Default)]
struct Seen {
    sip: EndpointStatistics,
    queues: [u64; 4],
}

impl Seen {
    fn publish(&mut self, server: &Server, status: &Status, metrics: &Metrics) {
        metrics.ports(status.cap as usize, status.calls as usize);
        for thread in server.media_threads() {
            metrics.media_lag(thread.counters().lateness.take_worst());
        }
        self.publish_sip(&status.sip, metrics);
        self.publish_queues(server, metrics);
    }

    fn publish_sip(&mut self, now: &EndpointStatistics, metrics: &Metrics) {
        for (way, now, before) in [
            (Way::In, &now.requests_in, &self.sip.requests_in),
            (Way::Out, &now.requests_out, &self.sip.requests_out),
        ] {
            for (method, count) in now {
                metrics.sip_messages(way, method, None, count - before.get(method).unwrap_or(&0));
            }
        }
        for (way, now, before) in [
            (Way::In, &now.responses_in, &self.sip.responses_in),
            (Way::Out, &now.responses_out, &self.sip.responses_out),
        ] {
            for (status, count) in now {
                metrics.sip_messages(
                    way,
                    "response",
                    Some(*status),
                    count - before.get(status).unwrap_or(&0),
                );
            }
        }
        for (reason, count) in &now.dropped {
            metrics.sip_dropped(reason, count - self.sip.dropped.get(reason).unwrap_or(&0));
        }
        self.sip = now.clone();
    }

    fn publish_queues(&mut self, server: &Server, metrics: &Metrics) {
        use std::sync::atomic::Ordering::Relaxed;
        let actors = server.actor_counters();
        let over_rate =
            server.media_threads().iter().map(|t| t.counters().datagrams_over_rate.load(Relaxed)).sum();
        let now = [
            actors.stt_frames_dropped.load(Relaxed),
            actors.sentences_refused.load(Relaxed),
            actors.datagrams_dropped.load(Relaxed),
            over_rate,
        ];
        for ((queue, now), before) in
            ["stt_audio", "sentences", "rtp_send", "rtp_receive"].iter().zip(now).zip(self.queues)
        {
            metrics.queue_dropped(queue, now - before);
        }
        self.queues = now;
    }
}

/// The reasons for which the endpoint drops messages, for metrics that exist at zero.
pub(super) fn drop_reasons() -> Vec<String> {
    EndpointStatistics::default().dropped.keys().map(|reason| (*reason).to_owned()).collect()
}

/// Waits for SIGTERM or an interrupt.
pub(super) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be caught: only an interrupt stops the server decently");
            return drop(tokio::signal::ctrl_c().await);
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
