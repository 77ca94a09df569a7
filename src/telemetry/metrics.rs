//! The server's figures, in the OpenMetrics text format.
//! Few, present at zero from the start, and with labels from closed lists: never a call, a number or a port.

use super::{otlp, pool_metrics::PoolFamilies, process_metrics::Process, sip_metrics::SipFigures};
use crate::sip_transport::{Ladders, SipCounters};
use crate::store::{CRASHED, CallRecord, Direction};
use call::{
    CallId, Event,
    admission::PoolFigures,
    latency::{Stage, TurnLatency},
    port_slots::LoadBand,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        counter::Counter,
        exemplar::HistogramWithExemplars,
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
const SECONDS: [f64; 17] =
    [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// Seconds that a media thread may wake late.
const LAG_SECONDS: [f64; 10] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.1];
/// Seconds that a disk takes to make something durable.
const SYNC_SECONDS: [f64; 10] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
/// Values of one label; what is beyond is counted as `other`.
const LABEL_VALUES: usize = 64;
/// The value for what is in no list.
const OTHER: &str = "other";

/// What can be wrong with the media of a call: `media::MediaFault`.
const MEDIA_FAULTS: [&str; 4] = ["not_hearing", "silent", "not_heard", "dead"];

const STAGES: [&str; 6] = ["stt", "llm", "tts", "tool", "knowledge", OTHER];

/// What a sound beside the agent's voice can have been.
const ASIDES: [&str; 2] = ["backchannel", "noise"];
const QUEUES: [&str; 13] = [
    "alerts",
    "store",
    "trace",
    "live",
    "log",
    "otlp",
    "stt_audio",
    "sentences",
    "searches",
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
/// Seconds of a call: a wrong number hangs up within 10, a talk takes minutes.
const CALL_SECONDS: [f64; 10] = [5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1_200.0, 1_800.0];

type Labels<const N: usize> = [(&'static str, String); N];
pub(super) type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Counters64<const N: usize> = Family<Labels<N>, Counter<f64, AtomicU64>>;
/// By load band, with the trace of a turn in each bucket.
type TurnHistograms =
    Family<Labels<1>, HistogramWithExemplars<Labels<1>>, fn() -> HistogramWithExemplars<Labels<1>>>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

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
    calls: Counters<2>,
    calls_active: Gauge,
    ports_cap: Gauge,
    ports_busy: Gauge,
    ports_busy_max: Arc<BusyMax>,
    port_acquire: Counters<1>,
    turn_seconds: Histogram,
    turn_e2e: TurnHistograms,
    call_seconds: Histogram,
    pools: Arc<PoolFamilies>,
    leaked: Counter,
    stage_seconds: Histograms,
    over_budget: Counters<1>,
    violations: Counters<1>,
    barge_in: Counter,
    barge_in_seconds: Histogram,
    barge_in_resumed: Counters<1>,
    guesses: Counters<1>,
    wasted_tokens: Counter,
    sip: SipFigures,
    sip_messages: Counters<3>,
    sip_dropped: Counters<1>,
    rtp_packets: Counters<1>,
    rtp_late: Counter,
    rtp_lost: Counter,
    rtp_concealed: Counter,
    rtp_foreign: Counter,
    rtp_malformed: Counter,
    srtp_auth_failed: Counter,
    srtp_replayed: Counter,
    queue_dropped: Counters<1>,
    media_faults: Counters<1>,
    provider_failures: Counters<1>,
    fallback: Counters<1>,
    llm_attempts: Counters<2>,
    otlp_spans: Counters<1>,
    cdr_spooled: Counter,
    cdr_unrecorded: Counter,
    cdr_damaged: Counter,
    journal_sync: Histogram,
    webhooks: Counters<2>,
    webhook_seconds: Histogram,
    call_cost: Counters64<2>,
    cost_unknown: Counter,
    hooks: Known,
    cdr_lost: Counter,
    media_lag: Histogram,
    causes: Known,
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
        for direction in [Direction::Inbound, Direction::Outbound] {
            for cause in all.causes.values() {
                drop(
                    all.calls.get_or_create(&[("direction", direction.name().into()), ("end_cause", cause)]),
                );
            }
        }
        PORT_RESULTS
            .iter()
            .for_each(|result| drop(all.port_acquire.get_or_create(&[("result", (*result).into())])));
        for stage in Stage::ALL {
            drop(all.stage_seconds.get_or_create(&[("stage", stage.name().into())]));
            drop(all.over_budget.get_or_create(&[("stage", stage.name().into())]));
            drop(all.violations.get_or_create(&[("stage", stage.name().into())]));
        }
        for band in LoadBand::ALL {
            drop(all.turn_e2e.get_or_create(&[("load_band", band.name().into())]));
        }
        for stage in STAGES {
            drop(all.provider_failures.get_or_create(&[("stage", stage.into())]));
            drop(all.fallback.get_or_create(&[("stage", stage.into())]));
        }
        for result in SPAN_RESULTS {
            drop(all.otlp_spans.get_or_create(&[("result", result.into())]));
        }
        for way in [Way::In, Way::Out] {
            drop(all.rtp_packets.get_or_create(&[("direction", way.name().into())]));
            for method in METHODS {
                drop(all.sip_messages.get_or_create(&sip_labels(way, method, "")));
            }
            for class in ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"] {
                drop(all.sip_messages.get_or_create(&sip_labels(way, "", class)));
            }
        }
        for outcome in ["used", "wasted"] {
            drop(all.guesses.get_or_create(&[("outcome", outcome.into())]));
        }
        ASIDES.iter().for_each(|was| drop(all.barge_in_resumed.get_or_create(&[("was", (*was).into())])));
        all.queues.values().for_each(|queue| drop(all.queue_dropped.get_or_create(&[("queue", queue)])));
        all.drop_reasons
            .values()
            .for_each(|reason| drop(all.sip_dropped.get_or_create(&[("reason", reason)])));
        for target in all.targets.values() {
            for role in ["primary", "fallback"] {
                drop(all.llm_attempts.get_or_create(&[("target", target.clone()), ("role", role.into())]));
            }
        }
    }

    /// A turn of a call that began under this load. The exemplar leads to its trace.
    pub fn turn(&self, call: CallId, band: LoadBand, latency: &TurnLatency) {
        let exemplar = [("trace_id", otlp::trace_id_text(call))];
        let labels = [("load_band", band.name().to_owned())];
        self.figures.turn_e2e.get_or_create(&labels).observe(
            seconds_of(latency.total_us),
            Some(exemplar),
            None,
        );
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
    pub fn observe(&self, event: &Event) {
        let all = &*self.figures;
        match event {
            Event::Latency { latency, .. } => self.observe_latency(latency),
            Event::BargeIn { reaction_ms, .. } => {
                all.barge_in.inc();
                all.barge_in_seconds.observe(f64::from(*reaction_ms) / 1_000.0);
            }
            Event::AgentResumed { was, .. } => {
                all.barge_in_resumed.get_or_create(&[("was", listed(was, &ASIDES))]).inc();
            }
            Event::GuessUsed { .. } => {
                all.guesses.get_or_create(&[("outcome", "used".into())]).inc();
            }
            Event::GuessWasted { input_tokens, output_tokens, .. } => {
                all.guesses.get_or_create(&[("outcome", "wasted".into())]).inc();
                all.wasted_tokens.inc_by(u64::from(*input_tokens) + u64::from(*output_tokens));
            }
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
            Event::Quality {
                received,
                lost,
                late,
                concealed,
                sent,
                foreign,
                malformed,
                srtp_auth_failed,
                srtp_replayed,
                ..
            } => {
                self.rtp(Way::In, *received);
                self.rtp(Way::Out, *sent);
                all.rtp_lost.inc_by(*lost);
                all.rtp_late.inc_by(*late);
                all.rtp_concealed.inc_by(*concealed);
                all.rtp_foreign.inc_by(*foreign);
                all.rtp_malformed.inc_by(*malformed);
                all.srtp_auth_failed.inc_by(*srtp_auth_failed);
                all.srtp_replayed.inc_by(*srtp_replayed);
            }
            Event::Unrecorded => self.call_unrecorded(),
            // Whole calls are counted, when they end.
            Event::Cost { .. } => {}
            Event::MediaFault { fault, active: true } => {
                all.media_faults.get_or_create(&[("fault", listed(fault, &MEDIA_FAULTS))]).inc();
            }
            // The shell counts these frames as they are dropped; the event is for the trace.
            Event::Dropped { .. } => {}
            Event::Started { .. }
            | Event::Answered
            | Event::Acked
            | Event::Speech { .. }
            | Event::Floor { .. }
            | Event::Heard { .. }
            | Event::Digit
            | Event::Hold { .. }
            | Event::Ducked { .. }
            | Event::ProviderTurn { .. }
            | Event::Guessed { .. }
            | Event::AgentPaused { .. }
            | Event::KeysSent { .. }
            | Event::MediaFault { active: false, .. }
            | Event::TurnEnded { .. }
            | Event::Asked { .. }
            | Event::FirstToken { .. }
            | Event::Sentence { .. }
            | Event::FirstAudio { .. }
            | Event::FirstPacket { .. }
            | Event::ReplyDone { .. }
            | Event::ToolStarted { .. }
            | Event::ToolEnded { .. }
            | Event::Expecting { .. }
            | Event::Transfer { .. }
            | Event::Path { .. }
            | Event::HandedOver { .. }
            | Event::Continued { .. }
            | Event::Noted { .. }
            | Event::Knowledge { .. }
            | Event::AgentDone { .. }
            | Event::Filler { .. }
            | Event::Loop { .. }
            | Event::NoInput { .. }
            | Event::Ended { .. } => {}
        }
    }

    fn observe_latency(&self, latency: &TurnLatency) {
        self.figures.turn_seconds.observe(seconds_of(latency.total_us));
        if let Some(stage) = latency.violated_by {
            self.figures.violations.get_or_create(&[("stage", stage.name().to_owned())]).inc();
        }
        for stage in &latency.stages {
            let labels = [("stage", stage.stage.name().to_owned())];
            self.figures.stage_seconds.get_or_create(&labels).observe(seconds_of(stage.us));
            if stage.over_us() > 0 {
                self.figures.over_budget.get_or_create(&labels).inc();
            }
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
        if let Some((from, to)) = record.answer_us.zip(record.end_us) {
            self.figures.call_seconds.observe(seconds_of(to.saturating_sub(from).unsigned_abs()));
        }
        let cause = self.figures.causes.or_other(record.end_cause.as_deref().unwrap_or(OTHER));
        let labels = [("direction", record.direction.name().to_owned()), ("end_cause", cause)];
        self.figures.calls.get_or_create(&labels).inc();
        self.call_cost(record);
    }

    /// A call whose server died under it has got its end.
    pub fn call_crashed(&self, direction: Direction) {
        let labels = [
            ("direction", direction.name().to_owned()),
            ("end_cause", self.figures.causes.or_other(CRASHED)),
        ];
        self.figures.calls.get_or_create(&labels).inc();
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

    /// RTP packets went by. [`Event::Quality`] says it for whole calls.
    pub fn rtp(&self, way: Way, count: u64) {
        self.figures.rtp_packets.get_or_create(&[("direction", way.name().to_owned())]).inc_by(count);
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
        self.figures.cdr_spooled.inc_by(count);
    }

    /// A call was not made to wait for the disk, because it hangs.
    pub fn call_unrecorded(&self) {
        self.figures.cdr_unrecorded.inc();
    }

    /// What became of events for a webhook: `delivered`, `waiting` (it failed and is tried again), `dead` or `dropped`.
    pub fn webhook(&self, hook: &str, result: &str, count: u64) {
        let labels = [("hook", self.figures.hooks.learn(hook)), ("result", result.to_owned())];
        self.figures.webhooks.get_or_create(&labels).inc_by(count);
    }

    /// Events were posted, and that took so long.
    pub fn webhook_seconds(&self, took: Duration) {
        self.figures.webhook_seconds.observe(took.as_secs_f64());
    }

    /// What an ended call has cost, part by part; what is not known of it is counted.
    fn call_cost(&self, record: &CallRecord) {
        let Some(currency) = &record.cost_currency else { return };
        let parts = [
            ("stt", record.cost_stt),
            ("llm", record.cost_llm),
            ("tts", record.cost_tts),
            ("telephony", record.cost_telephony),
        ];
        for (part, cost) in parts {
            if let Some(cost) = cost.filter(|cost| *cost >= 0.0) {
                let labels = [("part", part.to_owned()), ("currency", currency.clone())];
                self.figures.call_cost.get_or_create(&labels).inc_by(cost);
            }
        }
        if record.cost_total.is_none() {
            self.figures.cost_unknown.inc();
        }
    }

    /// Lines of the journal could not be read.
    pub fn cdr_damaged(&self, count: u64) {
        self.figures.cdr_damaged.inc_by(count);
    }

    /// The journal has made something durable, or tried to.
    pub fn journal_synced(&self, took: Duration) {
        self.figures.journal_sync.observe(took.as_secs_f64());
    }

    /// Call records were lost.
    pub fn cdr_lost(&self, count: u64) {
        self.figures.cdr_lost.inc_by(count);
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
        let ports_busy_max = Arc::new(BusyMax::default());
        Self {
            calls: add(of, "calls", "Calls that ended, refused ones too", Family::default()),
            calls_active: add(of, "calls_active", "Calls running now", Gauge::default()),
            ports_cap: add(of, "ports_cap", "Port slots there are", Gauge::default()),
            ports_busy: add(of, "ports_busy", "Port slots in use now", Gauge::default()),
            port_acquire: add(of, "port_acquire", "Port slots asked for, by result", Family::default()),
            turn_seconds: seconds(of, "turn", "Response gap, speech end to answer", Histogram::new(SECONDS)),
            turn_e2e: seconds(
                of,
                "turn_e2e",
                "Response gap by the load that its call began under",
                Family::new_with_constructor(turn_seconds),
            ),
            call_seconds: seconds(
                of,
                "call_duration",
                "Answer to end of calls",
                Histogram::new(CALL_SECONDS),
            ),
            pools: Arc::default(),
            leaked: add(
                of,
                "port_leaked",
                "Port slots taken back from calls that were gone",
                Counter::default(),
            ),
            stage_seconds: seconds(
                of,
                "stage",
                "Parts of the response gap",
                Family::new_with_constructor(in_seconds),
            ),
            over_budget: add(
                of,
                "stage_over_budget",
                "Parts that took longer than their budget",
                Family::default(),
            ),
            violations: add(
                of,
                "turn_budget_violations",
                "Turns over budget, by the stage to blame",
                Family::default(),
            ),
            barge_in: add(of, "barge_in", "Callers who took the floor", Counter::default()),
            barge_in_seconds: seconds(of, "barge_in_reaction", "Speech to silence", Histogram::new(SECONDS)),
            barge_in_resumed: add(
                of,
                "barge_in_resumed",
                "Sounds that the agent fell silent for and that were not meant for it",
                Family::default(),
            ),
            guesses: add(of, "guesses", "Answers begun before the turn was over", Family::default()),
            wasted_tokens: add(of, "wasted_tokens", "Tokens of guesses that were wrong", Counter::default()),
            sip: SipFigures::register(of),
            sip_messages: add(
                of,
                "sip_messages",
                "SIP messages; status is empty in requests, method in responses",
                Family::default(),
            ),
            sip_dropped: add(of, "sip_dropped", "SIP messages not answered, by reason", Family::default()),
            rtp_packets: add(of, "rtp_packets", "RTP packets of ended calls", Family::default()),
            rtp_late: add(of, "rtp_late", "RTP packets that came too late to be played", Counter::default()),
            rtp_lost: add(of, "rtp_lost", "RTP packets that never came", Counter::default()),
            rtp_concealed: add(of, "rtp_concealed", "Frames made up for missing packets", Counter::default()),
            rtp_foreign: add(of, "rtp_foreign", "RTP packets from strangers, ignored", Counter::default()),
            rtp_malformed: add(of, "rtp_malformed", "RTP packets that made no sense", Counter::default()),
            srtp_auth_failed: add(
                of,
                "srtp_auth_failed",
                "SRTP packets that were not authentic",
                Counter::default(),
            ),
            srtp_replayed: add(of, "srtp_replayed", "SRTP packets that had come before", Counter::default()),
            queue_dropped: add(of, "queue_dropped", "Entries that a full queue refused", Family::default()),
            media_faults: add(
                of,
                "media_faults",
                "Media that stopped in a call, by what is wrong",
                Family::default(),
            ),
            provider_failures: add(of, "provider_failures", "Failures of providers", Family::default()),
            fallback: add(of, "fallback", "Turns saved by a prepared sentence", Family::default()),
            llm_attempts: add(of, "llm_attempts", "Requests to language model targets", Family::default()),
            otlp_spans: add(of, "otlp_spans", "Spans for the trace collector by result", Family::default()),
            cdr_spooled: add(
                of,
                "cdr_spooled",
                "Call records that had to wait in the journal for the database",
                Counter::default(),
            ),
            cdr_unrecorded: add(
                of,
                "cdr_unrecorded",
                "Calls answered before their start was on disk, because the disk hung",
                Counter::default(),
            ),
            cdr_damaged: add(of, "cdr_damaged", "Journal lines that could not be read", Counter::default()),
            webhooks: add(
                of,
                "webhook_events",
                "Events for webhooks, by what became of them",
                Family::default(),
            ),
            webhook_seconds: seconds(of, "webhook", "What endpoints take to answer", Histogram::new(SECONDS)),
            call_cost: add(of, "call_cost", "What calls have cost, by part", Family::default()),
            cost_unknown: add(of, "cost_unknown", "Calls of which a part has no price", Counter::default()),
            hooks: Known::new(&[OTHER]),
            journal_sync: seconds(
                of,
                "journal_sync",
                "What the disk takes to make call records durable",
                Histogram::new(SYNC_SECONDS),
            ),
            cdr_lost: add(of, "cdr_lost", "Call records lost: an alarm", Counter::default()),
            media_lag: seconds(
                of,
                "media_thread_lag",
                "How late media threads wake",
                Histogram::new(LAG_SECONDS),
            ),
            causes: Known::new(&config.end_causes),
            targets: Known::new(&config.llm_targets),
            drop_reasons: Known::new(&config.sip_drop_reasons),
            queues: Known::new(&QUEUES),
            ports_busy_max,
        }
    }
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

fn seconds<M: prometheus_client::registry::Metric + Clone>(
    of: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    of.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn turn_seconds() -> HistogramWithExemplars<Labels<1>> {
    HistogramWithExemplars::new(SECONDS.into_iter())
}

fn in_seconds() -> Histogram {
    Histogram::new(SECONDS)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a call are far below 2^52")]
fn seconds_of(us: u64) -> f64 {
    us as f64 / 1e6
}

fn sip_labels(way: Way, method: &str, class: &str) -> Labels<3> {
    [("direction", way.name().into()), ("method", method.into()), ("status", class.into())]
}

fn listed(value: &str, list: &[&str]) -> String {
    if list.contains(&value) { value.to_owned() } else { OTHER.to_owned() }
}

/// The values one label may have.
struct Known(Mutex<BTreeSet<String>>);

impl Known {
    fn new<T: AsRef<str>>(values: &[T]) -> Self {
        let values = values.iter().map(|value| value.as_ref().to_owned());
        Self(Mutex::new(values.chain([OTHER.to_owned()]).collect()))
    }

    fn values(&self) -> impl Iterator<Item = String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter()
    }

    /// The value if it is known, `other` if not.
    fn or_other(&self, value: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) { value.to_owned() } else { OTHER.to_owned() }
    }

    /// The value, which our own code chose and which is known from now on; `other` when there are too many.
    fn learn(&self, value: &str) -> String {
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
    use call::latency::StageTime;
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
        assert!(metrics.encode().expect("a string takes it").lines().count() < 1_000);
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
