//! Raw to checked: fills in defaults, parses values, and collects everything that is wrong.
//! Does not look at the machine; `machine.rs` does.

use super::{
    Config, ConfigError, DEMO, Http, Log, LogFormat, Media, Overrides, Problem, Recording, Rtp, Server, Sip,
    TurnModel, Unmatched,
    agent::similar_file,
    checker::{Checker, Secrets},
    defaults::*,
    pool::{Pool, resize},
    problem::Source,
    raw::*,
    read::read,
    target,
    value::{Listen, PortRange, RtpBind},
};
use crate::{media_threads::MediaPriority, rtp_socket::RtpPortsConfig};
use call::{
    CallConfig, Patience, Speculate, SpeculationConfig,
    latency::{Budgets, Stage},
};
use conversation::{BargeInConfig, FloorConfig};
use jiff::tz::TimeZone;
use media::JitterConfig;
use sip::digest::DigestAlgorithm;
use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};
use toml::Spanned;

/// Makes a config of a text whose relative paths start at `folder`.
pub(super) fn check(
    source: &Source,
    folder: &Path,
    overrides: &Overrides,
    secrets: Secrets,
) -> Result<Config, ConfigError> {
    let mut checker = Checker { source, folder, secrets, problems: Vec::new(), files: Vec::new() };
    let raw: RawConfig = read(source, &mut checker.problems);
    let range_place =
        raw.rtp.ports.as_ref().map(Spanned::span).or(raw.server.ports.as_ref().map(Spanned::span));
    let range_place = range_place.map_or_else(|| "--ports".to_owned(), |span| source.place(&span));
    let mut config = checker.config(raw);
    let resized = override_with(&mut config, overrides);
    checker.problems.extend(resized);
    checker.problems.extend(too_few_ports(&config, range_place));
    let Checker { mut problems, files, .. } = checker;
    config.files = files;
    problems.sort_by_key(Problem::offset);
    if problems.iter().any(Problem::is_error) {
        return Err(ConfigError::Wrong(problems));
    }
    config.warnings = problems;
    Ok(config)
}

fn override_with(config: &mut Config, overrides: &Overrides) -> Option<Problem> {
    if !overrides.sip.is_empty() {
        config.sip.listen.clone_from(&overrides.sip);
    }
    if let Some(RtpBind { address, ports }) = overrides.rtp {
        (config.rtp.address, config.rtp.ports) = (address, ports);
    }
    config.http.listen = overrides.http.unwrap_or(config.http.listen);
    if let Some(data_dir) = &overrides.data_dir {
        config.server.data_dir.clone_from(data_dir);
    }
    config.server.ports = overrides.ports.unwrap_or(config.server.ports);
    config.server.seed = overrides.seed.or(config.server.seed);
    config.log.format = overrides.log.unwrap_or(config.log.format);
    overrides.ports.and_then(|ports| resize(&mut config.pools, ports))
}

fn too_few_ports(config: &Config, place: String) -> Option<Problem> {
    let (range, cap) = (config.rtp.ports, u32::from(config.server.ports) + config.overflow_slots());
    let pairs = range.pairs();
    let message = format!("{range} holds {pairs} calls (two ports each), but the cap allows {cap}");
    (u32::try_from(pairs).unwrap_or(u32::MAX) < cap)
        .then(|| Problem::error(place, message, "widen rtp.ports or lower server.ports"))
}

impl Checker<'_> {
    fn config(&mut self, raw: RawConfig) -> Config {
        let call = self.call(&raw);
        let connect = self.milliseconds(&raw.timeouts_ms.stt_connect, STT_CONNECT, 100..=30_000);
        let stt = self.stt_targets(&raw.stt, connect);
        let llm = self.llm_targets(&raw.llm);
        let tts = self.tts_targets(&raw.tts, call.patience.speech);
        let routes = self.used_routes(&raw, &call, &target::Names::of(&stt, &llm, &tts));
        let recording = self.recording(&raw.recording, &raw.server);
        let turn_model = self.turn_model(&raw.conversation);
        let mut agents = BTreeMap::new();
        let default_agent = self.agent(&raw.agent.file, DEMO, &mut agents);
        for key in raw.agent.more.iter().flat_map(|more| more.get_ref()) {
            self.agent(&Some(key.clone()), DEMO, &mut agents);
        }
        let mut pools = self.pools(&raw, &routes, &mut agents);
        let pool_names: Vec<String> = pools.iter().map(|pool| pool.slots.name.clone()).collect();
        let trunks = self.trunks(&raw, &default_agent, &mut agents, &pool_names);
        self.believed_headers(&raw.call_context, &trunks);
        self.handed_to(&mut agents);
        self.agent_routes(&agents, &routes, &tts);
        self.agent_languages(&agents, &routes, (&stt, &tts));
        let trunk_groups = self.trunk_groups(&raw, &trunks);
        let schemas = self.schemas(&agents);
        let libraries = self.libraries(&agents);
        let rooms = self.rooms(&agents);
        let time_zone = self.time_zone(&raw.agent.time_zone);
        let server = self.server_of(&raw.server, &mut pools);
        let targets = stt.keys().map(|name| format!("stt.{name}"));
        let targets: Vec<String> = targets.chain(tts.keys().map(|name| format!("tts.{name}"))).collect();
        let tools = self.tools(&raw.tools, &agents);
        Config {
            server,
            pools,
            admission: self.admission(&raw.admission, &targets),
            sip: self.sip(&raw.sip),
            rtp: self.rtp(&raw.rtp),
            http: self.http(&raw.http),
            media: self.media(&raw.media),
            store: self.records(&raw.store),
            webhooks: self.webhooks(&raw.webhook),
            prices: self.prices(&raw.prices, &time_zone),
            call: CallConfig { record: recording.is_some(), turn_model: turn_model.is_some(), ..call },
            turn_model,
            recording,
            time_zone,
            stt,
            llm,
            tts,
            routes,
            agents,
            schemas,
            libraries,
            rooms,
            embeddings: self.embeddings(&raw.embeddings),
            tools,
            call_context: self.call_context(&raw.call_context),
            resume: self.resume(&raw.resume),
            files: Vec::new(),
            trunks,
            trunk_groups,
            alerts: self.alerts(&raw.alerts),
            otlp: self.otlp(&raw.otlp),
            log: self.log(&raw.log),
            warnings: Vec::new(),
        }
    }

    /// The routes, and what of the targets none of them uses.
    fn used_routes(&mut self, raw: &RawConfig, call: &CallConfig, names: &target::Names) -> target::Routes {
        let default = match call.budgets.total {
            // Twice the budget of the whole is as good as lost: the next target is asked.
            total if !total.is_zero() => total * 2,
            _ => ai_gateway::Route::FIRST_SPEAKABLE_TIMEOUT,
        };
        let patience = self.milliseconds(&raw.timeouts_ms.llm_first_token, default, 100..=60_000);
        let routes = self.routes(&raw.routes, names, patience);
        self.unused("stt", &raw.stt, |name| routes.stt.values().any(|route| route.targets.contains(name)));
        self.unused("llm", &raw.llm, |name| {
            routes.llm.values().any(|route| route.targets.iter().any(|target| target.0 == *name))
        });
        self.unused("tts", &raw.tts, |name| routes.tts.values().any(|route| route.targets.contains(name)));
        routes
    }

    /// The server, with as many ports as its pools have together; without any there is one pool.
    fn server_of(&mut self, raw: &RawServer, pools: &mut Vec<Pool>) -> Server {
        let mut server = self.server(raw);
        if pools.is_empty() {
            pools.push(Pool::only(server.ports));
        }
        let cap: u32 = pools.iter().map(|pool| pool.slots.cap).sum();
        server.ports = u16::try_from(cap).unwrap_or(u16::MAX);
        server
    }

    fn server(&mut self, raw: &RawServer) -> Server {
        Server {
            data_dir: self.folder.join(raw.data_dir.as_ref().map_or(DATA_DIR, |key| key.get_ref())),
            ports: self.number(&raw.ports, PORTS, PORTS_RANGE),
            seed: raw.seed.is_some().then(|| self.number(&raw.seed, 0, 0..=i64::MAX)),
            external: self.external(raw),
            drain: self.seconds(&raw.drain_seconds, DRAIN, 0..=86_400),
        }
    }

    fn sip(&mut self, raw: &RawSip) -> Sip {
        let listen: Vec<Listen> = self.each(&raw.listen, &SIP_LISTEN, str::parse);
        if let (Some(key), true) = (&raw.listen, listen.is_empty()) {
            self.error(key, "nobody could call", "write at least one, such as \"udp:0.0.0.0:5060\"");
        }
        let user_agent = raw.user_agent.as_ref().map_or(USER_AGENT, |key| key.get_ref());
        if let (Some(key), true) = (&raw.user_agent, user_agent.chars().any(char::is_control)) {
            self.error(key, "a header cannot hold control characters", "write one line of plain text");
        }
        let unmatched = self.choice(&raw.unmatched, "403", &["403", "404", "silent"]);
        let unmatched = match unmatched.as_str() {
            "404" => Unmatched::NotFound,
            "silent" => Unmatched::Silent,
            _ => Unmatched::Forbidden,
        };
        let digest = match self.choice(&raw.digest, "both", &["both", "md5", "sha-256"]).as_str() {
            "md5" => vec![DigestAlgorithm::Md5],
            "sha-256" => vec![DigestAlgorithm::Sha256],
            _ => vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5],
        };
        let (tls, transport) = (self.tls(raw, &listen), self.transport(raw));
        Sip { listen, user_agent: user_agent.to_owned(), unmatched, digest, transport, tls }
    }

    fn rtp(&mut self, raw: &RawRtp) -> Rtp {
        let address = self.parsed(&raw.address, RTP_ADDRESS, |text| {
            text.parse().map_err(|_| {
                format!("`{text}` is not an IP address; write one of this machine's, or 0.0.0.0")
            })
        });
        let ports: PortRange = self.parsed(&raw.ports, RTP_PORTS, str::parse);
        Rtp {
            address,
            ports,
            cooling: self.seconds(&raw.cooling_seconds, RtpPortsConfig::default().quiet, 0..=600),
            cooling_limit: self.seconds(
                &raw.cooling_limit_seconds,
                RtpPortsConfig::default().longest_cooling,
                0..=86_400,
            ),
        }
    }

    /// The folder, where recording is switched on. One that is not absolute is beside the data.
    fn recording(&mut self, raw: &RawRecording, server: &RawServer) -> Option<Recording> {
        let enabled = raw.enabled.as_ref().is_some_and(|key| *key.get_ref());
        let data = self.folder.join(server.data_dir.as_ref().map_or(DATA_DIR, |key| key.get_ref()));
        let directory = match &raw.directory {
            Some(key) => self.folder.join(key.get_ref()),
            None => data.join(RECORDINGS),
        };
        let consent = raw.consent.as_ref().map(|key| key.get_ref().trim().to_owned());
        if let (Some(key), true) = (&raw.consent, consent.as_ref().is_some_and(|text| text.len() > CONSENT)) {
            let help = "say it in a few words: it stands in the record of every call";
            self.error(key, format!("this is longer than {CONSENT} bytes"), help);
        }
        let consent = consent.filter(|text| !text.is_empty());
        enabled.then_some(Recording { directory, consent })
    }

    /// A path that is not absolute starts at the config's folder.
    fn turn_model(&mut self, raw: &RawConversation) -> Option<TurnModel> {
        let threads = self.number(&raw.turn_model_threads, 1, 1..=64);
        let key = raw.turn_model.as_ref()?;
        let path = self.folder.join(key.get_ref());
        if !path.is_file() {
            let message = format!("there is no file `{}`", path.display());
            // The server will not start without it; a config may be written before.
            self.warn(key, message, similar_file(&path));
        }
        Some(TurnModel { path, threads })
    }

    fn http(&mut self, raw: &RawHttp) -> Http {
        let listen: SocketAddr = self.parsed(&raw.listen, HTTP_LISTEN, |text| {
            text.parse().map_err(|_| format!("`{text}` is not an IP address and a port; write {HTTP_LISTEN}"))
        });
        let tokens = self.tokens(raw);
        if let (Some(key), false) = (&raw.listen, listen.ip().is_loopback() || raw.tokens.is_some()) {
            self.warn(
                key,
                "calls and traces can be read from the network without a login",
                "keep it on 127.0.0.1, or write http.tokens",
            );
        }
        Http { listen, tokens }
    }

    fn time_zone(&mut self, key: &Key<String>) -> TimeZone {
        let Some(key) = key else { return TimeZone::system() };
        TimeZone::get(key.get_ref()).unwrap_or_else(|_| {
            let message = format!("there is no time zone `{}`", key.get_ref());
            self.error(key, message, "write its IANA name, such as \"Europe/Berlin\"");
            TimeZone::UTC
        })
    }

    fn media(&mut self, raw: &RawMedia) -> Media {
        let default = MediaPriority::default();
        Media {
            threads: raw.threads.is_some().then(|| self.number(&raw.threads, 1, 1..=256)),
            priority: MediaPriority::of(&self.choice(&raw.priority, default.name(), &MediaPriority::NAMES))
                .unwrap_or(default),
            vad_threads: self.number(&raw.vad_threads, 0, 0..=64),
        }
    }

    fn call(&mut self, raw: &RawConfig) -> CallConfig {
        let floor = self.floor(&raw.conversation);
        let default = CallConfig::default();
        let budgets = self.budgets(&raw.budgets_ms, &floor);
        let patience = self.patience(&raw.timeouts_ms, &raw.conversation);
        // A turn that is late is the moment to make a sound, unless the file says another one.
        let late = budgets.total.clamp(Duration::from_millis(300), Duration::from_secs(10));
        let filler = match raw.conversation.filler_after_ms {
            None if !budgets.total.is_zero() => late,
            None | Some(_) => patience.filler,
        };
        CallConfig {
            jitter: self.jitter(&raw.media),
            budgets,
            patience: Patience { record: self.answer_wait(&raw.store.answer_wait_ms), filler, ..patience },
            speculation: self.speculation(&raw.conversation),
            ring_for: self.milliseconds(&raw.sip.ring_ms, default.ring_for, 0..=60_000),
            record: default.record,
            comfort_noise_dbfs: self.comfort_noise(&raw.media, default.comfort_noise_dbfs),
            tones_too: default.tones_too,
            turn_model: default.turn_model,
            vad_elsewhere: raw.media.vad_threads.as_ref().is_some_and(|threads| *threads.get_ref() > 0),
            floor,
        }
    }

    fn comfort_noise(&mut self, raw: &RawMedia, default: Option<f32>) -> Option<f32> {
        let Some(key) = &raw.comfort_noise_dbfs else { return default };
        let level = self.number(&raw.comfort_noise_dbfs, 0_i16, -100..=0);
        if (-39..0).contains(&level) {
            self.error(key, "that is no comfort but noise", "write -40 or less, or 0 for none");
        }
        (level < 0).then_some(f32::from(level))
    }

    fn jitter(&mut self, raw: &RawMedia) -> JitterConfig {
        let default = JitterConfig::default();
        let jitter = JitterConfig {
            minimum: self.milliseconds(&raw.jitter_min_ms, default.minimum, 0..=1000),
            maximum: self.milliseconds(&raw.jitter_max_ms, default.maximum, 20..=2000),
        };
        let written = raw.jitter_max_ms.as_ref().or(raw.jitter_min_ms.as_ref());
        if let (Some(key), true) = (written, jitter.maximum < jitter.minimum) {
            self.error(key, "jitter_max_ms is below jitter_min_ms", "make it larger");
        }
        jitter
    }

    fn floor(&mut self, raw: &RawConversation) -> FloorConfig {
        let default = FloorConfig::default();
        let floor = FloorConfig {
            complete: self.milliseconds(&raw.end_of_turn_complete_ms, default.complete, 100..=15_000),
            yes_no: self.milliseconds(&raw.end_of_turn_yes_no_ms, default.yes_no, 60..=15_000),
            eager: self.milliseconds(&raw.end_of_turn_eager_ms, default.eager, 100..=15_000),
            unsure: self.milliseconds(&raw.end_of_turn_unsure_ms, default.unsure, 100..=15_000),
            incomplete: self.milliseconds(&raw.end_of_turn_incomplete_ms, default.incomplete, 100..=15_000),
            number_short: self.milliseconds(&raw.end_of_turn_number_ms, default.number_short, 100..=15_000),
            barge_in: self.barge_in(raw),
            no_input: self.seconds(&raw.no_input_seconds, default.no_input, 1..=300),
            ..default
        };
        let keys = [&raw.end_of_turn_incomplete_ms, &raw.end_of_turn_unsure_ms, &raw.end_of_turn_complete_ms];
        let written = keys.into_iter().find_map(Option::as_ref);
        if let (Some(key), false) =
            (written, floor.complete <= floor.unsure && floor.unsure <= floor.incomplete)
        {
            self.error(
                key,
                "the waits for the end of a turn must not fall from complete over unsure to incomplete",
                "raise the later one or lower the earlier one",
            );
        }
        floor
    }

    fn speculation(&mut self, raw: &RawConversation) -> SpeculationConfig {
        let default = SpeculationConfig::default();
        let mode = match self.choice(&raw.speculation, "off", &["off", "llm", "speech"]).as_str() {
            "llm" => Speculate::Llm,
            "speech" => Speculate::Speech,
            _ => Speculate::Off,
        };
        let max_waste_percent = self.number(&raw.max_waste_percent, default.max_waste_percent, 0..=100);
        SpeculationConfig { mode, max_waste_percent }
    }

    fn barge_in(&mut self, raw: &RawConversation) -> BargeInConfig {
        let default = BargeInConfig::default();
        // A longer speech needs a longer window, which holds 1.28 s at most, by as much as the defaults leave between.
        let room = default.window.saturating_sub(default.pause);
        let pause = self.milliseconds(&raw.barge_in_speech_ms, default.pause, 20..=1000);
        let barge_in = BargeInConfig {
            duck: self.milliseconds(&raw.barge_in_duck_ms, default.duck, 20..=1000),
            pause,
            window: pause + room,
            decide_after: self.milliseconds(&raw.barge_in_decide_after_ms, default.decide_after, 0..=5000),
            decide_by: self.milliseconds(&raw.barge_in_decide_by_ms, default.decide_by, 0..=5000),
            backchannel: self.milliseconds(&raw.backchannel_ms, default.backchannel, 0..=5000),
            settle: self.milliseconds(&raw.barge_in_settle_ms, default.settle, 0..=5000),
        };
        let written = raw.barge_in_decide_by_ms.as_ref().or(raw.barge_in_decide_after_ms.as_ref());
        if let (Some(key), true) = (written, barge_in.decide_by < barge_in.decide_after) {
            self.error(key, "barge_in_decide_by_ms is below barge_in_decide_after_ms", "make it larger");
        }
        barge_in
    }

    fn patience(&mut self, raw: &RawTimeouts, conversation: &RawConversation) -> Patience {
        let default = Patience::default();
        let minutes = i64::try_from(default.call.as_secs() / 60).unwrap_or(1);
        Patience {
            reply: self.milliseconds(&raw.reply, default.reply, 100..=120_000),
            speech: self.milliseconds(&raw.tts_first_audio, default.speech, 100..=30_000),
            tool: self.milliseconds(&raw.tool, default.tool, 100..=120_000),
            media: self.milliseconds(&raw.media, default.media, 1000..=600_000),
            record: default.record,
            call: Duration::from_secs(
                60 * self.number(&conversation.max_duration_minutes, minutes.unsigned_abs(), 1..=1440),
            ),
            no_inputs: self.number(&conversation.no_input_limit, default.no_inputs, 1..=20),
            filler: self.milliseconds(&conversation.filler_after_ms, default.filler, 300..=10_000),
            still: self.milliseconds(&conversation.longest_silence_ms, default.still, 500..=10_000),
            warning: self.seconds(&conversation.max_duration_warning_seconds, default.warning, 0..=3_600),
            silence: self.seconds(&conversation.max_silence_seconds, default.silence, 5..=3_600),
            circles: self.number(&conversation.repeat_limit, default.circles, 3..=100),
            failures: self.number(&conversation.failed_turns_limit, default.failures, 1..=100),
        }
    }

    fn budgets(&mut self, raw: &RawBudgets, floor: &FloorConfig) -> Budgets {
        let key = |stage| match stage {
            Stage::Jitter => &raw.jitter,
            Stage::EndOfTurn => &raw.end_of_turn,
            Stage::SttFinal => &raw.stt_final,
            Stage::Knowledge => &raw.knowledge,
            Stage::LlmFirstToken => &raw.llm_first_token,
            Stage::Tool => &raw.tool,
            Stage::FirstSentence => &raw.first_sentence,
            Stage::TtsFirstAudio => &raw.tts_first_audio,
            Stage::Pacing => &raw.pacing,
            Stage::Other => &raw.other,
        };
        let default = Budgets::default();
        let stages = default.stages.into_iter();
        let stages: BTreeMap<Stage, Duration> = stages
            .map(|(stage, budget)| (stage, self.milliseconds(key(stage), budget, 0..=60_000)))
            .collect();
        let too_tight = stages.get(&Stage::EndOfTurn).is_some_and(|budget| *budget < floor.complete);
        if let (Some(key), true) = (&raw.end_of_turn, too_tight) {
            let silence = floor.complete.as_millis();
            self.warn(
                key,
                format!("every turn will be over budget: at least {silence} ms of silence are waited for"),
                "raise it above conversation.end_of_turn_complete_ms",
            );
        }
        Budgets {
            stages,
            work: self.milliseconds(&raw.work, default.work, 0..=120_000),
            total: self.milliseconds(&raw.total, default.total, 0..=120_000),
        }
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        let format = self.choice(&raw.format, "pretty", &["pretty", "json"]);
        let level = self.choice(&raw.level, "info", &["error", "warn", "info", "debug", "trace"]);
        Log { format: if format == "json" { LogFormat::Json } else { LogFormat::Pretty }, level }
    }
}
