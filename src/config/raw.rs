//! The config file as it is written: every key optional, every unknown key refused, every value with its place.
//! Does not know defaults, ranges or what refers to what.

use super::sections::{
    RawAtCap, RawAuth, RawIdentity, RawLimits, RawQuirks, RawSignalling, RawTimers, RawTransfer, Sections,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// A key that may be absent. Numbers stay wide so that ranges are reported by us, in words.
pub(super) type Key<T> = Option<Spanned<T>>;
/// Named tables, such as `[stt.NAME]`.
pub(super) type Named<T> = BTreeMap<Spanned<String>, T>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of sections")]
pub(super) struct RawConfig {
    pub(super) server: RawServer,
    pub(super) sip: RawSip,
    pub(super) rtp: RawRtp,
    pub(super) http: RawHttp,
    pub(super) media: RawMedia,
    pub(super) store: RawStore,
    pub(super) webhook: Vec<Spanned<RawWebhook>>,
    pub(super) prices: RawPrices,
    pub(super) recording: RawRecording,
    pub(super) conversation: RawConversation,
    pub(super) timeouts_ms: RawTimeouts,
    pub(super) budgets_ms: RawBudgets,
    pub(super) stt: Named<RawStt>,
    pub(super) llm: Named<RawLlm>,
    pub(super) tts: Named<RawTts>,
    pub(super) routes: RawRoutes,
    pub(super) agent: RawAgent,
    pub(super) call_context: RawCallContext,
    pub(super) resume: RawResume,
    pub(super) embeddings: RawEmbeddings,
    pub(super) tools: RawTools,
    pub(super) trunk: Vec<Spanned<RawTrunk>>,
    pub(super) trunk_groups: Named<Vec<Spanned<String>>>,
    pub(super) pool: Vec<Spanned<RawPool>>,
    pub(super) admission: RawAdmission,
    pub(super) otlp: RawOtlp,
    pub(super) alerts: RawAlerts,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [server] on a line of its own")]
pub(super) struct RawServer {
    pub(super) data_dir: Key<String>,
    pub(super) ports: Key<i64>,
    pub(super) seed: Key<i64>,
    pub(super) external_ip: Key<String>,
    pub(super) external: Vec<Spanned<RawExternal>>,
    pub(super) drain_seconds: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [[server.external]] on a line of its own")]
pub(super) struct RawExternal {
    pub(super) ip: Key<String>,
    pub(super) local: Key<String>,
    pub(super) except: Key<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [sip.tls] on a line of its own")]
pub(super) struct RawTls {
    pub(super) certificate: Key<String>,
    pub(super) key: Key<String>,
    pub(super) client_ca: Key<String>,
    pub(super) client_certificate: Key<String>,
    pub(super) client_key: Key<String>,
    pub(super) ca: Key<String>,
    pub(super) verify: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [sip] on a line of its own")]
pub(super) struct RawSip {
    pub(super) listen: Key<Vec<Spanned<String>>>,
    pub(super) user_agent: Key<String>,
    pub(super) at_cap_status: Key<i64>,
    pub(super) unmatched: Key<String>,
    pub(super) digest: Key<String>,
    pub(super) ring_ms: Key<i64>,
    pub(super) max_connections: Key<i64>,
    pub(super) max_connections_per_address: Key<i64>,
    pub(super) keep_alive_seconds: Key<i64>,
    pub(super) hep: Key<String>,
    pub(super) hep_capture_id: Key<i64>,
    pub(super) tls: RawTls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [rtp] on a line of its own")]
pub(super) struct RawRtp {
    pub(super) address: Key<String>,
    pub(super) ports: Key<String>,
    pub(super) cooling_seconds: Key<i64>,
    pub(super) cooling_limit_seconds: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [http] on a line of its own")]
pub(super) struct RawHttp {
    pub(super) listen: Key<String>,
    pub(super) tokens: Key<Vec<Spanned<RawToken>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write { role = \"read\", token = \"env:...\" }")]
pub(super) struct RawToken {
    pub(super) role: Key<String>,
    pub(super) token: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [store] on a line of its own")]
pub(super) struct RawStore {
    pub(super) database: Key<String>,
    pub(super) answer_wait_ms: Key<i64>,
    pub(super) journal_limit_mb: Key<i64>,
    pub(super) traces: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [[webhook]] on a line of its own")]
pub(super) struct RawWebhook {
    pub(super) name: Key<String>,
    pub(super) url: Key<String>,
    pub(super) secret: Key<String>,
    pub(super) events: Key<Vec<Spanned<String>>>,
    pub(super) numbers: Key<bool>,
    pub(super) give_up_hours: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [prices] on a line of its own")]
pub(super) struct RawPrices {
    pub(super) currency: Key<String>,
    pub(super) stt: Vec<Spanned<RawPrice>>,
    pub(super) llm: Vec<Spanned<RawPrice>>,
    pub(super) tts: Vec<Spanned<RawPrice>>,
    pub(super) call: Vec<Spanned<RawPrice>>,
    pub(super) port: Vec<Spanned<RawPrice>>,
}

/// One price; which keys it needs depends on the list it stands in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [[prices.stt]] on a line of its own")]
pub(super) struct RawPrice {
    pub(super) target: Key<String>,
    pub(super) trunk: Key<String>,
    pub(super) from: Key<String>,
    pub(super) minute: Key<f64>,
    pub(super) input_million: Key<f64>,
    pub(super) output_million: Key<f64>,
    pub(super) thousand_characters: Key<f64>,
    pub(super) month: Key<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [media] on a line of its own")]
pub(super) struct RawMedia {
    pub(super) threads: Key<i64>,
    pub(super) priority: Key<String>,
    pub(super) vad_threads: Key<i64>,
    pub(super) codecs: Key<Vec<Spanned<String>>>,
    pub(super) comfort_noise_dbfs: Key<i64>,
    pub(super) jitter_min_ms: Key<i64>,
    pub(super) jitter_max_ms: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [recording] on a line of its own")]
pub(super) struct RawRecording {
    pub(super) enabled: Key<bool>,
    pub(super) directory: Key<String>,
    pub(super) consent: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [conversation] on a line of its own")]
pub(super) struct RawConversation {
    pub(super) turn_model: Key<String>,
    pub(super) turn_model_threads: Key<i64>,
    pub(super) end_of_turn_complete_ms: Key<i64>,
    pub(super) end_of_turn_yes_no_ms: Key<i64>,
    pub(super) end_of_turn_eager_ms: Key<i64>,
    pub(super) end_of_turn_unsure_ms: Key<i64>,
    pub(super) end_of_turn_incomplete_ms: Key<i64>,
    pub(super) end_of_turn_number_ms: Key<i64>,
    pub(super) barge_in_duck_ms: Key<i64>,
    pub(super) barge_in_speech_ms: Key<i64>,
    pub(super) barge_in_decide_after_ms: Key<i64>,
    pub(super) barge_in_decide_by_ms: Key<i64>,
    pub(super) backchannel_ms: Key<i64>,
    pub(super) barge_in_settle_ms: Key<i64>,
    pub(super) speculation: Key<String>,
    pub(super) max_waste_percent: Key<i64>,
    pub(super) no_input_seconds: Key<i64>,
    pub(super) no_input_limit: Key<i64>,
    pub(super) max_duration_minutes: Key<i64>,
    pub(super) max_duration_warning_seconds: Key<i64>,
    pub(super) max_silence_seconds: Key<i64>,
    pub(super) filler_after_ms: Key<i64>,
    pub(super) longest_silence_ms: Key<i64>,
    pub(super) repeat_limit: Key<i64>,
    pub(super) failed_turns_limit: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [timeouts_ms] on a line of its own")]
pub(super) struct RawTimeouts {
    pub(super) stt_connect: Key<i64>,
    pub(super) llm_first_token: Key<i64>,
    pub(super) reply: Key<i64>,
    pub(super) tts_first_audio: Key<i64>,
    pub(super) tool: Key<i64>,
    pub(super) media: Key<i64>,
}

/// One key for each `call::latency::Stage`, under its name, and one for the whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [budgets_ms] on a line of its own")]
pub(super) struct RawBudgets {
    pub(super) jitter: Key<i64>,
    pub(super) end_of_turn: Key<i64>,
    pub(super) stt_final: Key<i64>,
    pub(super) knowledge: Key<i64>,
    pub(super) llm_first_token: Key<i64>,
    pub(super) tool: Key<i64>,
    pub(super) first_sentence: Key<i64>,
    pub(super) tts_first_audio: Key<i64>,
    pub(super) pacing: Key<i64>,
    pub(super) other: Key<i64>,
    pub(super) work: Key<i64>,
    pub(super) total: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [stt.NAME] on a line of its own")]
pub(super) struct RawStt {
    pub(super) provider: Key<String>,
    pub(super) base_url: Key<String>,
    pub(super) api_key: Key<String>,
    pub(super) model: Key<String>,
    pub(super) language: Key<String>,
    pub(super) extra_query: Key<toml::Table>,
    pub(super) chunk_ms: Key<i64>,
    pub(super) model_dir: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [llm.NAME] on a line of its own")]
pub(super) struct RawLlm {
    pub(super) provider: Key<String>,
    pub(super) base_url: Key<String>,
    pub(super) api_key: Key<String>,
    pub(super) model: Key<String>,
    pub(super) temperature: Key<f64>,
    pub(super) max_output_tokens: Key<i64>,
    pub(super) max_tokens_field: Key<String>,
    pub(super) include_usage: Key<bool>,
    pub(super) extra_body: Key<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [embeddings] on a line of its own")]
pub(super) struct RawEmbeddings {
    pub(super) base_url: Key<String>,
    pub(super) api_key: Key<String>,
    pub(super) model: Key<String>,
    pub(super) timeout_ms: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [tts.NAME] on a line of its own")]
pub(super) struct RawTts {
    pub(super) provider: Key<String>,
    pub(super) base_url: Key<String>,
    pub(super) api_key: Key<String>,
    pub(super) model: Key<String>,
    pub(super) voice: Key<String>,
    pub(super) voices: Key<BTreeMap<String, Spanned<String>>>,
    pub(super) voice_settings: Key<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [routes.llm.NAME] on a line of its own")]
pub(super) struct RawRoutes {
    pub(super) stt: Named<RawRoute>,
    pub(super) llm: Named<RawLlmRoute>,
    pub(super) tts: Named<RawRoute>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [routes.stt.NAME] on a line of its own")]
pub(super) struct RawRoute {
    pub(super) targets: Key<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [routes.llm.NAME] on a line of its own")]
pub(super) struct RawLlmRoute {
    pub(super) targets: Key<Vec<Spanned<String>>>,
    pub(super) first_speakable_ms: Key<i64>,
    pub(super) stall_ms: Key<i64>,
    pub(super) total_ms: Key<i64>,
    pub(super) rounds: Key<i64>,
    pub(super) hedge_percent: Key<i64>,
    pub(super) pass_over_slow: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [agent] on a line of its own")]
pub(super) struct RawAgent {
    pub(super) file: Key<String>,
    pub(super) more: Key<Vec<Spanned<String>>>,
    pub(super) time_zone: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [[trunk]] on a line of its own")]
pub(super) struct RawTrunk {
    pub(super) name: Key<String>,
    pub(super) profile: Key<String>,
    pub(super) sources: Key<Vec<Spanned<String>>>,
    pub(super) called: Key<Vec<Spanned<String>>>,
    pub(super) hosts: Key<Vec<Spanned<String>>>,
    pub(super) agent: Key<String>,
    pub(super) overflow_agent: Key<String>,
    pub(super) pool: Key<String>,
    pub(super) signalling: RawSignalling,
    pub(super) auth: RawAuth,
    pub(super) identity: RawIdentity,
    pub(super) media: super::sections::RawMedia,
    pub(super) timers: RawTimers,
    pub(super) transfer: RawTransfer,
    pub(super) limits: RawLimits,
    pub(super) at_cap: RawAtCap,
    pub(super) quirks: RawQuirks,
}

impl RawTrunk {
    /// Whether it says which calls are its own, right or wrong.
    pub(super) fn names_its_calls(&self) -> bool {
        let lists = [&self.sources, &self.hosts, &self.signalling.sources];
        lists.into_iter().any(Option::is_some) || self.auth.users.is_some()
    }

    /// What it says otherwise than its profile.
    pub(super) fn sections(&self) -> Sections<'_> {
        Sections {
            signalling: &self.signalling,
            auth: &self.auth,
            identity: &self.identity,
            media: &self.media,
            timers: &self.timers,
            transfer: &self.transfer,
            limits: &self.limits,
            at_cap: &self.at_cap,
            quirks: &self.quirks,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [[pool]] on a line of its own")]
pub(super) struct RawPool {
    pub(super) name: Key<String>,
    pub(super) ports: Key<i64>,
    pub(super) called: Key<Vec<Spanned<String>>>,
    pub(super) overflow: Key<String>,
    pub(super) agent: Key<String>,
    pub(super) llm_route: Key<String>,
    pub(super) priority_reserve: Key<i64>,
    pub(super) priority: Key<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [admission] on a line of its own")]
pub(super) struct RawAdmission {
    pub(super) max_cpu_percent: Key<i64>,
    pub(super) max_media_lag_ms: Key<i64>,
    pub(super) min_memory_free_percent: Key<i64>,
    pub(super) max_streams: Key<BTreeMap<String, Spanned<i64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [alerts] on a line of its own")]
pub(super) struct RawAlerts {
    pub(super) webhook: Key<String>,
    pub(super) token: Key<String>,
    pub(super) mail: RawAlertMail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [alerts.mail] on a line of its own")]
pub(super) struct RawAlertMail {
    pub(super) server: Key<String>,
    pub(super) port: Key<i64>,
    pub(super) security: Key<String>,
    pub(super) username: Key<String>,
    pub(super) password: Key<String>,
    pub(super) from: Key<String>,
    pub(super) to: Key<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [otlp] on a line of its own")]
pub(super) struct RawOtlp {
    pub(super) endpoint: Key<String>,
    pub(super) headers: Key<BTreeMap<String, Spanned<String>>>,
    pub(super) profile: Key<String>,
    pub(super) sample_percent: Key<i64>,
    pub(super) words: Key<bool>,
    pub(super) timeout_ms: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [resume] on a line of its own")]
pub(super) struct RawResume {
    pub(super) minutes: Key<i64>,
    pub(super) secret: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [call_context] on a line of its own")]
pub(super) struct RawCallContext {
    pub(super) url: Key<String>,
    pub(super) headers: Key<toml::Table>,
    pub(super) timeout_ms: Key<i64>,
    pub(super) cache_minutes: Key<i64>,
    pub(super) on_failure: Key<String>,
    pub(super) headers_in: Key<toml::Table>,
    pub(super) headers_out: Key<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [tools] on a line of its own")]
pub(super) struct RawTools {
    pub(super) allowed_hosts: Key<Vec<Spanned<String>>>,
    pub(super) allowed_networks: Key<Vec<Spanned<String>>>,
    pub(super) allow_stdio: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [log] on a line of its own")]
pub(super) struct RawLog {
    pub(super) format: Key<String>,
    pub(super) level: Key<String>,
}
