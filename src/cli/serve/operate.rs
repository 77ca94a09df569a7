//! What goes on beside the calls: health, hanging up, figures once a second, and the signal to stop.
//! Knows how to ask the server. Decides nothing.

use crate::{
    config::Prices,
    http::{CallControl, Health, HealthReport, Slots, Status as HttpStatus},
    server::{Drained, Server, Status},
    services::TrunkCalls,
    store::Store,
    telemetry::{
        alerts::{AlertRules, Alerts, Signs},
        metrics::{Metrics, Way},
    },
    trunks::TrunkStates,
};
use call::{
    CallId,
    admission::{Level, PoolFigures},
};
use sip::EndpointStatistics;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time,
};

/// What a port's price is for.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// How long goodbyes may take once calls have had their time: longer than most sentences.
const GOODBYE: Duration = Duration::from_secs(30);

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

    pub(super) fn health(&self, calls: Arc<TrunkCalls>) -> Arc<dyn Health> {
        Arc::new(ServerHealth { status: self.status.clone(), started: self.started, calls })
    }

    pub(super) fn control(&self) -> Arc<dyn CallControl> {
        Arc::new(Control { server: self.server.clone(), runtime: tokio::runtime::Handle::current() })
    }

    /// Puts what the server counts into the metrics, once a second, and tells what is wrong with it.
    pub(super) fn publish(
        &self,
        trunks: TrunkStates,
        (alerts, prices): (Alerts, Prices),
        (store, calls): (Store, Arc<TrunkCalls>),
    ) -> JoinHandle<()> {
        let (server, status, metrics) = (self.server.clone(), self.status.clone(), self.metrics.clone());
        tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut rules = AlertRules::default();
            let mut second = time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                let Some(server) = server.upgrade() else { return };
                let status = status.borrow().clone();
                trunks.count(&status.trunks, &status.sip.gate);
                let media_lag = seen.publish(&server, &status, &metrics);
                seen.publish_costs(&status.pools, &prices, &metrics);
                let signs = Signs {
                    pools: &status.pools,
                    permits: &status.permits,
                    troubles: &metrics.troubles(),
                    media_lag,
                    database_behind: store.database_behind(),
                    agents_stale: calls.is_stale(),
                };
                for alert in rules.look(Instant::now(), signs) {
                    tracing::warn!(state = alert.state, about = alert.about, "{}", alert.text);
                    alerts.send(&alert);
                }
            }
        })
    }
}

struct ServerHealth {
    status: watch::Receiver<Status>,
    started: Instant,
    calls: Arc<TrunkCalls>,
}

impl Health for ServerHealth {
    fn health(&self) -> HealthReport {
        let status = self.status.borrow();
        let mut reasons = reasons(&status);
        if self.calls.is_stale() {
            reasons.push(
                "agents or config have changed and are wrong: calls go on with the last good ones; the log says why"
                    .to_owned(),
            );
        }
        HealthReport {
            status: match (status.draining, reasons.is_empty()) {
                (true, _) => HttpStatus::Draining,
                (false, true) => HttpStatus::Ready,
                (false, false) => HttpStatus::Degraded,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            slots: Slots { cap: status.cap as usize, busy: status.calls as usize },
            reasons,
        }
    }
}

/// What somebody should look at.
fn reasons(status: &Status) -> Vec<String> {
    let full = status.pools.iter().filter(|pool| pool.level >= Level::Alert);
    let mut reasons: Vec<String> =
        full.map(|pool| format!("pool {}: {} of {} ports in use", pool.name, pool.busy, pool.cap)).collect();
    if status.undelivered > 0 {
        reasons.push(format!("{} commands wait for a media thread that is behind", status.undelivered));
    }
    if status.draining {
        reasons.push("the server is stopping: new calls are refused".to_owned());
    }
    reasons
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
    transport: [u64; TRANSPORT_REASONS.len()],
    queues: [u64; QUEUES.len()],
    /// How long the ports of each pool had been busy, and when that was.
    busy_for: BTreeMap<String, (Instant, Duration)>,
}

/// Why SIP messages are lost before the endpoint sees them or after it has written them.
const TRANSPORT_REASONS: [&str; 5] =
    ["connection_refused", "connection_cut", "stream_send_failed", "datagram_send_failed", "panic"];
/// The queues that the server counts itself.
const QUEUES: [&str; 9] = [
    "stt_audio",
    "sentences",
    "rtp_send",
    "rtp_receive",
    "commands",
    "recording",
    "vad_audio",
    "vad_answers",
    "turn_pauses",
];

impl Seen {
    /// Says how late a media thread has been since the last time, at worst.
    fn publish(&mut self, server: &Server, status: &Status, metrics: &Metrics) -> Duration {
        metrics.ports(status.cap as usize, status.calls as usize);
        metrics.pools(&status.pools);
        metrics.ports_leaked(status.leaked);
        metrics.ports_cooling(status.ports.cooling);
        let lags = server.media_threads().iter().map(|thread| thread.counters().lateness.take_worst());
        let lags: Vec<Duration> = lags.collect();
        lags.iter().for_each(|lag| metrics.media_lag(*lag));
        self.publish_sip(&status.sip, metrics);
        self.publish_transport(server, metrics);
        self.publish_queues(server, status, metrics);
        lags.into_iter().max().unwrap_or_default()
    }

    /// What the ports have cost since the last time, where they have a price: used ones and idle ones.
    fn publish_costs(&mut self, pools: &[PoolFigures], prices: &Prices, metrics: &Metrics) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        let Some((month, currency)) = prices.port_month(now_us) else { return };
        let second = month / MONTH.as_secs_f64();
        let now = Instant::now();
        for pool in pools {
            let before = self.busy_for.insert(pool.name.clone(), (now, pool.busy_for));
            let Some((at, busy_for)) = before else { continue };
            let reserved = now.saturating_duration_since(at).as_secs_f64() * f64::from(pool.cap);
            let busy = pool.busy_for.saturating_sub(busy_for).as_secs_f64();
            metrics.ports_cost(&pool.name, &currency, reserved * second, (reserved - busy).max(0.0) * second);
        }
    }

    fn publish_sip(&mut self, now: &EndpointStatistics, metrics: &Metrics) {
        for (way, now, before) in [
            (Way::In, &now.requests_in, &self.sip.requests_in),
            (Way::Out, &now.requests_out, &self.sip.requests_out),
        ] {
            for (method, count) in now {
                metrics.sip_requests(way, method, count - before.get(method).unwrap_or(&0));
            }
        }
        for (way, now, before) in [
            (Way::In, &now.responses_in, &self.sip.responses_in),
            (Way::Out, &now.responses_out, &self.sip.responses_out),
        ] {
            for (status, count) in now {
                metrics.sip_responses(way, *status, count - before.get(status).unwrap_or(&0));
            }
        }
        for (reason, count) in &now.dropped {
            metrics.sip_dropped(reason, count - self.sip.dropped.get(reason).unwrap_or(&0));
        }
        self.sip = now.clone();
    }

    fn publish_transport(&mut self, server: &Server, metrics: &Metrics) {
        let sip = server.sip_counters();
        let now = [
            &sip.connections_refused,
            &sip.connections_cut,
            &sip.stream_messages_failed,
            &sip.datagrams_failed,
            &sip.panics,
        ]
        .map(|counter| counter.load(Relaxed));
        for ((reason, now), before) in TRANSPORT_REASONS.iter().zip(now).zip(self.transport) {
            metrics.sip_dropped(reason, now - before);
        }
        self.transport = now;
        metrics.sip_transport(sip, server.ladders());
    }

    fn publish_queues(&mut self, server: &Server, status: &Status, metrics: &Metrics) {
        let actors = server.actor_counters();
        let vad = server.vad_counters();
        let over_rate =
            server.media_threads().iter().map(|t| t.counters().datagrams_over_rate.load(Relaxed)).sum();
        let now = [
            actors.stt_frames_dropped.load(Relaxed),
            actors.sentences_refused.load(Relaxed),
            actors.datagrams_dropped.load(Relaxed),
            over_rate,
            status.lost_commands,
            actors.recording_frames_lost.load(Relaxed),
            vad.map_or(0, |vad| vad.refused.load(Relaxed)),
            vad.map_or(0, |vad| vad.late.load(Relaxed)),
            server
                .turn_counters()
                .map_or(0, |turns| turns.refused.load(Relaxed) + turns.failed.load(Relaxed)),
        ];
        for ((queue, now), before) in QUEUES.iter().zip(now).zip(self.queues) {
            metrics.queue_dropped(queue, now - before);
        }
        self.queues = now;
    }
}

/// The reasons for which the endpoint drops messages, for metrics that exist at zero.
pub(super) fn drop_reasons() -> Vec<String> {
    let endpoint = EndpointStatistics::default();
    endpoint.dropped.keys().chain(&TRANSPORT_REASONS).map(|reason| (*reason).to_owned()).collect()
}

/// SIGTERM and the interrupt. Caught from the moment this exists, so that none of them ends the server without a goodbye.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// # Errors
    /// When the system will not have them caught.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Lets the calls go on for `running`, then say goodbye. Whoever signals again does not want to wait: what is left
    /// is broken off at once, with its records.
    pub(super) async fn drain(&mut self, server: &Server, running: Duration) -> Drained {
        let calls = server.status().borrow().calls;
        let drained = tokio::select! {
            drained = server.drain(running, GOODBYE) => drained,
            () = self.wait() => {
                tracing::warn!("told to stop again: the calls that are left are broken off");
                server.drain(Duration::ZERO, Duration::ZERO).await
            }
        };
        Drained { calls: drained.calls.max(calls), ..drained }
    }
}
