//! The server's figures, in the OpenMetrics text format.
//! Few, present at zero from the start, and with labels from closed lists: never a call, a number or a port.

use super::media_metrics::MediaFigures;
use super::{
    gateway_metrics::GatewayFigures, pool_metrics::PoolFamilies, process_metrics::Process,
    record_metrics::RecordFigures, sip_metrics::SipFigures, turn_metrics::TurnFigures,
};
use crate::sip_transport::{Ladders, SipCounters};
use crate::store::{CRASHED, CallRecord, Direction};
use call::{CallId, Event, admission::PoolFigures, latency::TurnLatency, port_slots::LoadBand};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Seconds. Fine where a caller notices the difference: doubling buckets would jump from 0.64 to 1.28 s.
pub(super) const SECONDS: [f64; 17] =
    [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// Seconds that a media thread may wake late.
const LAG_SECONDS: [f64; 10] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.1];
/// Values of one label; what is beyond is counted as `other`.
pub(super) const LABEL_VALUES: usize = 64;
/// The value for what is in no list.
pub(super) const OTHER: &str = "other";

const STAGES: [&str; 6] = ["stt", "llm", "tts", "tool", "knowledge", OTHER];

const QUEUES: [&str; 21] = [
    "embeddings",
    "alerts",
    "mail",
    "store",
    "trace",
    "live",
    "log",
    "otlp",
    "stt_audio",
    "sentences",
    "searches",
    "tools",
    "checkpoints",
    "recording",
    "vad_audio",
    "vad_answers",
    "turn_pauses",
    "rtp_send",
    "rtp_receive",
    "commands",
    OTHER,
];
const SPAN_RESULTS: [&str; 2] = ["sent", "failed"];
const METHODS: [&str; 12] = [
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "REGISTER", "PRACK", "UPDATE", "REFER", "NOTIFY",
    OTHER,
];
const PORT_RESULTS: [&str; 5] = ["granted", "busy", "draining", "stage_capacity", "machine"];

pub(super) type Labels<const N: usize> = [(&'static str, String); N];
pub(super) type Counters<const N: usize> = Family<Labels<N>, Counter>;
pub(super) type Counters64<const N: usize> = Family<Labels<N>, Counter<f64, AtomicU64>>;
pub(super) type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To us.
    In,
    /// From us.
    Out,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What the labels may be besides what this file knows: from the config and from the closed lists of other parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Causes a call can end for.
    pub end_causes: Vec<String>,
    /// Names of the language model targets.
    pub llm_targets: Vec<String>,
    /// Reasons to drop a SIP message.
    pub sip_drop_reasons: Vec<String>,
}

/// All figures. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    figures: Arc<Figures>,
}

struct Figures {
    turns: TurnFigures,
    records: RecordFigures,
    gateway: GatewayFigures,
    calls_active: Gauge,
    ports_cap: Gauge,
    ports_busy: Gauge,
    ports_busy_max: Arc<BusyMax>,
    ports_cooling: Gauge,
    port_acquire: Counters<1>,
    pools: Arc<PoolFamilies>,
    leaked: Counter,
    sip: SipFigures,
    sip_messages: Counters<3>,
    sip_dropped: Counters<1>,
    media: MediaFigures,
    queue_dropped: Counters<1>,
    provider_failures: Counters<1>,
    fallback: Counters<1>,
    llm_attempts: Counters<2>,
    otlp_spans: Counters<1>,
    media_lag: Histogram,
    targets: Known,
    drop_reasons: Known,
    queues: Known,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(MetricsConfig::default())
    }
}

impl Metrics {
    /// All figures, at zero.
    pub fn new(config: MetricsConfig) -> Self {
        Self::with(config, Vec::new())
    }

    /// All figures, at zero, and those that others read from their own state at each scrape.
    pub fn with(config: MetricsConfig, others: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        let figures = Arc::new(Figures::register(&mut registry, &config));
        registry.register_collector(Box::new(Process));
        registry.register_collector(Box::new(Arc::clone(&figures.ports_busy_max)));
        registry.register_collector(Box::new(Arc::clone(&figures.pools)));
        others.into_iter().for_each(|other| registry.register_collector(other));
        let metrics = Self { registry: Arc::new(registry), figures };
        metrics.start_at_zero();
        metrics
    }

    /// Every series that can be foreseen exists before anything happens: a rate over it is then right from the first event.
    fn start_at_zero(&self) {
        let all = &*self.figures;
        all.turns.start_at_zero();
        all.records.start_at_zero();
        all.media.start_at_zero();
        for result in PORT_RESULTS {
            drop(all.port_acquire.get_or_create(&[("result", result.to_owned())]));
        }
        for stage in STAGES {
            drop(all.provider_failures.get_or_create(&[("stage", stage.to_owned())]));
            drop(all.fallback.get_or_create(&[("stage", stage.to_owned())]));
        }
        for result in SPAN_RESULTS {
            drop(all.otlp_spans.get_or_create(&[("result", result.to_owned())]));
        }
        for way in [Way::In, Way::Out] {
            for method in METHODS {
                drop(all.sip_messages.get_or_create(&sip_labels(way, method, "")));
            }
            for class in ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"] {
                drop(all.sip_messages.get_or_create(&sip_labels(way, "", class)));
            }
        }
        for queue in all.queues.values() {
            drop(all.queue_dropped.get_or_create(&[("queue", queue)]));
        }
        for reason in all.drop_reasons.values() {
            drop(all.sip_dropped.get_or_create(&[("reason", reason)]));
        }
        for target in all.targets.values() {
            for role in ["primary", "fallback"] {
                let labels = [("target", target.clone()), ("role", role.to_owned())];
                drop(all.llm_attempts.get_or_create(&labels));
            }
        }
    }

    /// A turn of a call that began under this load. The exemplar leads to its trace.
    pub fn turn(&self, call: CallId, band: LoadBand, latency: &TurnLatency) {
        self.figures.turns.turn(call, band, latency);
    }

    /// Port slots that had lost their calls, since the start.
    pub fn ports_leaked(&self, count: u64) {
        self.figures.leaked.inner().store(count, Ordering::Relaxed);
    }

    /// How the pools stand.
    pub fn pools(&self, pools: &[PoolFigures]) {
        self.figures.pools.set(pools);
    }

    /// Takes from a call's event what is worth counting.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most events are for the trace, or for the groups of figures"
    )]
    pub fn observe(&self, event: &Event) {
        let all = &*self.figures;
        all.turns.observe(event);
        all.media.observe(event);
        match event {
            Event::LlmAttempt { target, role, .. } => {
                let role = if role == "primary" { "primary" } else { "fallback" };
                let target = all.targets.or_other(target);
                all.llm_attempts.get_or_create(&[("target", target), ("role", role.into())]).inc();
            }
            Event::Fallback { stage, .. } => {
                // A turn is saved because its last provider failed; those before it say so themselves.
                let stage = [("stage", listed(stage, &STAGES))];
                all.provider_failures.get_or_create(&stage).inc();
                all.fallback.get_or_create(&stage).inc();
            }
            Event::ProviderFailed { stage, .. } => {
                all.provider_failures.get_or_create(&[("stage", listed(stage, &STAGES))]).inc();
            }
            Event::Unrecorded => self.call_unrecorded(),
            // Frames that are dropped the shell counts as it drops them; costs are counted when calls end.
            _ => {}
        }
    }

    /// A call began; it counts as active until the guard is dropped.
    #[must_use]
    pub fn call_active(&self) -> ActiveCall {
        self.figures.calls_active.inc();
        ActiveCall(self.figures.calls_active.clone())
    }

    /// A call is over and has its record.
    pub fn call_ended(&self, record: &CallRecord) {
        self.figures.records.call_ended(record);
    }

    /// A call whose server died under it has got its end.
    pub fn call_crashed(&self, direction: Direction) {
        self.figures.records.count(direction, CRASHED);
    }

    /// Ports of a pool have cost so much since this was last told, all of them and those that nobody used.
    pub fn ports_cost(&self, pool: &str, currency: &str, reserved: f64, idle: f64) {
        self.figures.records.ports_cost(pool, currency, reserved, idle);
    }

    /// Pairs of RTP ports that rest after a call.
    pub fn ports_cooling(&self, cooling: usize) {
        self.figures.ports_cooling.set(i64::try_from(cooling).unwrap_or(i64::MAX));
    }

    /// A try of the gateway is over or has won; `after` is from asking to the first thing that can be spoken.
    pub fn gateway_attempt(&self, target: &str, role: &str, outcome: &str, after: Option<Duration>) {
        self.figures.gateway.attempt(target, role, outcome, after);
    }

    /// Of a route, `from` gave up for that class of reason and `to` is asked.
    pub fn gateway_fallback(&self, route: &str, from_to: (&str, &str), reason: &str) {
        self.figures.gateway.fallback(route, from_to, reason);
    }

    /// A second target was asked beside a late one and `won` or `lost`, or was not asked because too many had been
    /// (`suppressed`).
    pub fn gateway_hedge(&self, result: &'static str) {
        self.figures.gateway.hedge(result);
    }

    /// A target is passed over from now on because it is over its budget, or is not any more.
    pub fn gateway_passed_over(&self, target: &str, is: bool) {
        self.figures.gateway.passed_over(target, is);
    }

    /// The gateway took so long to pass a first word on.
    pub fn gateway_overhead(&self, took: Duration) {
        self.figures.gateway.overhead(took);
    }

    /// How many port slots there are and how many are in use.
    pub fn ports(&self, cap: usize, busy: usize) {
        let figure = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.figures.ports_cap.set(figure(cap));
        self.figures.ports_busy.set(figure(busy));
        self.figures.ports_busy_max.busy(figure(busy));
    }

    /// A port slot was asked for: `granted`, `busy` (over the cap) or `draining`.
    pub fn port_acquired(&self, result: &str) {
        let result = if PORT_RESULTS.contains(&result) { result } else { "busy" };
        self.figures.port_acquire.get_or_create(&[("result", result.to_owned())]).inc();
    }

    /// Requests went by.
    pub fn sip_requests(&self, way: Way, method: &str, count: u64) {
        let labels = sip_labels(way, &listed(method, &METHODS), "");
        self.figures.sip_messages.get_or_create(&labels).inc_by(count);
    }

    /// Responses went by.
    pub fn sip_responses(&self, way: Way, status: u16, count: u64) {
        let class = match status {
            ..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            600.. => "6xx",
        };
        self.figures.sip_messages.get_or_create(&sip_labels(way, "", class)).inc_by(count);
        self.figures.sip.responses(way, status, count);
    }

    /// What the SIP sockets have counted since the start.
    pub fn sip_transport(&self, counters: &SipCounters, ladders: &Ladders) {
        self.figures.sip.transport(counters, ladders);
    }

    /// SIP messages were thrown away.
    pub fn sip_dropped(&self, reason: &str, count: u64) {
        let reason = self.figures.drop_reasons.or_other(reason);
        self.figures.sip_dropped.get_or_create(&[("reason", reason)]).inc_by(count);
    }

    /// A full queue refused entries.
    pub fn queue_dropped(&self, queue: &str, count: u64) {
        if count > 0 {
            let queue = self.figures.queues.learn(queue);
            self.figures.queue_dropped.get_or_create(&[("queue", queue)]).inc_by(count);
        }
    }

    /// Spans were taken by the collector (`sent`) or lost on the way (`failed`).
    pub fn otlp_spans(&self, result: &'static str, count: u64) {
        self.figures.otlp_spans.get_or_create(&[("result", listed(result, &SPAN_RESULTS))]).inc_by(count);
    }

    /// Call records have to wait in the journal: the database does not take them.
    pub fn cdr_spooled(&self, count: u64) {
        self.figures.records.spooled(count);
    }

    /// A call was not made to wait for the disk, because it hangs.
    pub fn call_unrecorded(&self) {
        self.figures.records.unrecorded();
    }

    /// What became of events for a webhook: `delivered`, `waiting` (it failed and is tried again), `dead` or `dropped`.
    pub fn webhook(&self, hook: &str, result: &str, count: u64) {
        self.figures.records.webhook(hook, result, count);
    }

    /// Events were posted, and that took so long.
    pub fn webhook_seconds(&self, took: Duration) {
        self.figures.records.webhook_seconds(took);
    }

    /// Lines of the journal could not be read.
    pub fn cdr_damaged(&self, count: u64) {
        self.figures.records.damaged(count);
    }

    /// The journal has made something durable, or tried to.
    pub fn journal_synced(&self, took: Duration) {
        self.figures.records.journal_synced(took);
    }

    /// The record of a call is on the disk, so long after the call's end.
    pub fn cdr_end_durable(&self, took: Duration) {
        self.figures.records.end_durable(took);
    }

    /// Call records were lost.
    pub fn cdr_lost(&self, count: u64) {
        self.figures.records.lost(count);
    }

    /// What an alert may be about, counted since the start.
    pub fn troubles(&self) -> Troubles {
        let all = &*self.figures;
        let by_stage = |family: &Counters<1>| {
            STAGES.map(|stage| (stage, family.get_or_create(&[("stage", stage.to_owned())]).get())).to_vec()
        };
        let [records_lost, records_spooled, price_unknown] = all.records.troubles();
        Troubles {
            provider_failures: by_stage(&all.provider_failures),
            fallbacks: by_stage(&all.fallback),
            violations: all.turns.violations(),
            turns: all.turns.turns(),
            records_lost,
            records_spooled,
            price_unknown,
        }
    }

    /// A media thread woke this late.
    pub fn media_lag(&self, lag: Duration) {
        self.figures.media_lag.observe(lag.as_secs_f64());
    }

    /// Everything as OpenMetrics text. Starts a new window for `tandem_ports_busy_max`.
    ///
    /// # Errors
    /// When a collector cannot write into a string.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Figures {
    fn register(registry: &mut Registry, config: &MetricsConfig) -> Self {
        let of = registry.sub_registry_with_prefix("tandem");
        let leaked = "Port slots taken back from calls that were gone";
        let messages = "SIP messages; status is empty in requests, method in responses";
        let lag = Histogram::new(LAG_SECONDS);
        Self {
            turns: TurnFigures::register(of),
            records: RecordFigures::register(of, &config.end_causes),
            gateway: GatewayFigures::register(of, &config.llm_targets),
            calls_active: add(of, "calls_active", "Calls running now", Gauge::default()),
            ports_cap: add(of, "ports_cap", "Port slots there are", Gauge::default()),
            ports_busy: add(of, "ports_busy", "Port slots in use now", Gauge::default()),
            ports_busy_max: Arc::default(),
            ports_cooling: add(
                of,
                "port_quarantined",
                "RTP port pairs that rest after a call",
                Gauge::default(),
            ),
            port_acquire: add(of, "port_acquire", "Port slots asked for, by result", Family::default()),
            pools: Arc::default(),
            leaked: add(of, "port_leaked", leaked, Counter::default()),
            sip: SipFigures::register(of),
            sip_messages: add(of, "sip_messages", messages, Family::default()),
            sip_dropped: add(of, "sip_dropped", "SIP messages not answered, by reason", Family::default()),
            media: MediaFigures::register(of),
            queue_dropped: add(of, "queue_dropped", "Entries that a full queue refused", Family::default()),
            provider_failures: add(of, "provider_failures", "Failures of providers", Family::default()),
            fallback: add(of, "fallback", "Turns saved by a prepared sentence", Family::default()),
            llm_attempts: add(of, "llm_attempts", "Requests to language model targets", Family::default()),
            otlp_spans: add(of, "otlp_spans", "Spans for the trace collector by result", Family::default()),
            media_lag: seconds(of, "media_thread_lag", "How late media threads wake", lag),
            targets: Known::new(&config.llm_targets),
            drop_reasons: Known::new(&config.sip_drop_reasons),
            queues: Known::new(&QUEUES),
        }
    }
}

/// What an alert may be about, counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Failures of providers, by stage.
    pub provider_failures: Vec<(&'static str, u64)>,
    /// Turns that a prepared sentence had to save, by stage.
    pub fallbacks: Vec<(&'static str, u64)>,
    /// Turns over budget, by the stage to blame.
    pub violations: Vec<(&'static str, u64)>,
    /// Turns that had a response gap.
    pub turns: u64,
    /// Call records lost.
    pub records_lost: u64,
    /// Call records that had to wait for the database.
    pub records_spooled: u64,
    /// Calls of which a part has no price.
    pub price_unknown: u64,
}

/// Counts a call as active until it is dropped, however the call ends.
pub struct ActiveCall(Gauge);

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(super) fn add<M: prometheus_client::registry::Metric + Clone>(
    of: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    of.register(name, help, metric.clone());
    metric
}

pub(super) fn seconds<M: prometheus_client::registry::Metric + Clone>(
    of: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    of.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

pub(super) fn in_seconds() -> Histogram {
    Histogram::new(SECONDS)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a call are far below 2^52")]
pub(super) fn seconds_of(us: u64) -> f64 {
    us as f64 / 1e6
}

fn sip_labels(way: Way, method: &str, class: &str) -> Labels<3> {
    [("direction", way.name().into()), ("method", method.into()), ("status", class.into())]
}

pub(super) fn listed(value: &str, list: &[&str]) -> String {
    if list.contains(&value) { value.to_owned() } else { OTHER.to_owned() }
}

/// The values one label may have.
pub(super) struct Known(Mutex<BTreeSet<String>>);

impl Known {
    pub(super) fn new<T: AsRef<str>>(values: &[T]) -> Self {
        let values = values.iter().map(|value| value.as_ref().to_owned());
        Self(Mutex::new(values.chain([OTHER.to_owned()]).collect()))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter()
    }

    /// The value if it is known, `other` if not.
    pub(super) fn or_other(&self, value: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) { value.to_owned() } else { OTHER.to_owned() }
    }

    /// The value, which our own code chose and which is known from now on; `other` when there are too many.
    pub(super) fn learn(&self, value: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) || (known.len() < LABEL_VALUES && known.insert(value.to_owned())) {
            return value.to_owned();
        }
        OTHER.to_owned()
    }
}

/// The most slots in use since the last scrape: what a gauge alone misses between two looks.
#[derive(Debug, Default)]
struct BusyMax {
    now: AtomicI64,
    most: AtomicI64,
}

impl BusyMax {
    fn busy(&self, busy: i64) {
        self.now.store(busy, Ordering::Relaxed);
        self.most.fetch_max(busy, Ordering::Relaxed);
    }
}

impl Collector for BusyMax {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let most = self.most.swap(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
        let gauge = ConstGauge::new(most);
        let help = "Most port slots in use at once since the last scrape";
        gauge.encode(encoder.encode_descriptor("tandem_ports_busy_max", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::latency::{Stage, StageTime};
    use conversation::TurnId;

    fn metrics() -> Metrics {
        Metrics::new(MetricsConfig {
            end_causes: vec!["caller_hung_up".into(), "ports_full".into()],
            llm_targets: vec!["flow".into()],
            sip_drop_reasons: vec!["malformed".into()],
        })
    }

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.encode().expect("a string takes it");
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }

    #[test]
    fn everything_is_there_at_zero_before_the_first_call() {
        let metrics = metrics();
        for line in [
            "tandem_calls_total{direction=\"inbound\",end_cause=\"ports_full\"} 0",
            "tandem_calls_active 0",
            "tandem_ports_cap 0",
            "tandem_ports_busy 0",
            "tandem_ports_busy_max 0",
            "tandem_port_acquire_total{result=\"granted\"} 0",
            "tandem_turn_seconds_bucket{le=\"1.25\"} 0",
            "tandem_stage_seconds_bucket{le=\"0.05\",stage=\"end_of_turn\"} 0",
            "tandem_stage_over_budget_total{stage=\"other\"} 0",
            "tandem_barge_in_total 0",
            "tandem_barge_in_reaction_seconds_count 0",
            "tandem_sip_messages_total{direction=\"in\",method=\"INVITE\",status=\"\"} 0",
            "tandem_sip_dropped_total{reason=\"malformed\"} 0",
            "tandem_rtp_packets_total{direction=\"out\"} 0",
            "tandem_rtp_late_total 0",
            "tandem_rtp_lost_total 0",
            "tandem_rtp_concealed_total 0",
            "tandem_queue_dropped_total{queue=\"store\"} 0",
            "tandem_provider_failures_total{stage=\"tts\"} 0",
            "tandem_fallback_total{stage=\"llm\"} 0",
            "tandem_llm_attempts_total{target=\"flow\",role=\"fallback\"} 0",
            "tandem_cdr_spooled_total 0",
            "tandem_cdr_lost_total 0",
            "tandem_media_thread_lag_seconds_count 0",
        ] {
            has(&metrics, line);
        }
        let text = metrics.encode().expect("a string takes it");
        for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _waits_for_ever = runtime.spawn(std::future::pending::<()>());
        let text = runtime.block_on(async { metrics.encode() }).expect("a string takes it");
        assert!(text.contains("\ntandem_runtime_tasks 1\n"), "{text}");
    }

    #[test]
    fn a_stage_counts_as_over_budget_only_beyond_it() {
        let metrics = metrics();
        let time = |stage, us, budget| StageTime { stage, us, budget_us: Some(budget) };
        let stages = vec![time(Stage::SttFinal, 200_000, 200_000), time(Stage::EndOfTurn, 300_000, 240_000)];
        let latency = TurnLatency {
            total_us: 500_000,
            budget_us: 450_000,
            work_budget_us: 0,
            violated_by: Some(Stage::EndOfTurn),
            stages,
        };
        metrics.observe(&Event::Latency { turn: TurnId(1), latency });
        has(&metrics, "tandem_stage_over_budget_total{stage=\"stt_final\"} 0");
        has(&metrics, "tandem_stage_over_budget_total{stage=\"end_of_turn\"} 1");
        has(&metrics, "tandem_turn_budget_violations_total{stage=\"end_of_turn\"} 1");
        has(&metrics, "tandem_turn_budget_violations_total{stage=\"stt_final\"} 0");
        has(&metrics, "tandem_turn_seconds_sum 0.5");
        has(&metrics, "tandem_turn_seconds_bucket{le=\"0.4\"} 0");
        has(&metrics, "tandem_turn_seconds_bucket{le=\"0.5\"} 1");
    }

    #[test]
    fn strange_labels_never_make_new_series() {
        let metrics = metrics();
        for n in 0..1_000 {
            metrics.sip_requests(Way::In, &format!("SCAN{n}"), 1);
            metrics.sip_dropped(&format!("reason {n}"), 1);
            metrics.queue_dropped(&format!("queue {n}"), 1);
            let (stage, reason) = (format!("stage {n}"), String::new());
            metrics.observe(&Event::ProviderFailed { stage, reason });
        }
        has(&metrics, "tandem_sip_messages_total{direction=\"in\",method=\"other\",status=\"\"} 1000");
        has(&metrics, "tandem_sip_dropped_total{reason=\"other\"} 1000");
        has(&metrics, "tandem_provider_failures_total{stage=\"other\"} 1000");
        assert!(metrics.encode().expect("a string takes it").lines().count() < 1_100);
    }

    #[test]
    fn the_most_busy_moment_is_seen_once_by_the_next_scrape() {
        let metrics = metrics();
        metrics.ports(10, 7);
        metrics.ports(10, 2);
        has(&metrics, "tandem_ports_busy_max 7");
        has(&metrics, "tandem_ports_busy_max 2");
    }

    #[test]
    fn a_call_is_active_until_its_guard_is_gone() {
        let metrics = metrics();
        let call = metrics.call_active();
        has(&metrics, "tandem_calls_active 1");
        drop(call);
        has(&metrics, "tandem_calls_active 0");
    }
}
