//! Raw to checked: fills in defaults, parses values, and collects everything that is wrong.
//! Does not look at the machine; `machine.rs` does.

use super::{
    AgentFile, Budgets, Config, ConfigError, Conversation, DEMO, Http, Log, LogFormat, Media, Overrides,
    Problem, Rtp, Server, Sip, Timeouts,
    defaults::{self, *},
    problem::{Source, suggest},
    profile::{self, Profile},
    raw::*,
    read::read,
    target,
    trunk::Trunk,
    value::{Listen, PortRange, RtpBind, Secret},
};
use call::latency::Stage;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::Duration,
};
use toml::Spanned;

const SECOND: Duration = Duration::from_secs(1);

/// What a secret means that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// The server is to start: an error.
    Required,
    /// The file is only looked at, perhaps on another machine: a warning, and the config must not be used.
    Noted,
}

/// Makes a config of a text whose relative paths start at `folder`.
pub(super) fn check(
    source: &Source,
    folder: &Path,
    overrides: &Overrides,
    secrets: Secrets,
) -> Result<Config, ConfigError> {
    let mut checker = Checker { source, folder, secrets, problems: Vec::new() };
    let raw: RawConfig = read(source, &mut checker.problems);
    let range_place =
        raw.rtp.ports.as_ref().map(Spanned::span).or(raw.server.ports.as_ref().map(Spanned::span));
    let range_place = range_place.map_or_else(|| "--ports".to_owned(), |span| source.place(&span));
    let mut config = checker.config(raw);
    override_with(&mut config, overrides);
    checker.problems.extend(too_few_ports(&config, range_place));
    let Checker { mut problems, .. } = checker;
    problems.sort_by_key(Problem::offset);
    if problems.iter().any(Problem::is_error) {
        return Err(ConfigError::Wrong(problems));
    }
    config.warnings = problems;
    Ok(config)
}

fn override_with(config: &mut Config, overrides: &Overrides) {
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
}

fn too_few_ports(config: &Config, place: String) -> Option<Problem> {
    let (range, cap) = (config.rtp.ports, config.server.ports);
    let pairs = range.pairs();
    let message = format!("{range} holds {pairs} calls (two ports each), but the cap allows {cap}");
    (pairs < usize::from(cap))
        .then(|| Problem::error(place, message, "widen rtp.ports or lower server.ports"))
}

/// Where the checking is, and what it has found so far.
pub(super) struct Checker<'a> {
    pub(super) source: &'a Source,
    pub(super) folder: &'a Path,
    pub(super) secrets: Secrets,
    pub(super) problems: Vec<Problem>,
}

impl Checker<'_> {
    fn config(&mut self, raw: RawConfig) -> Config {
        let timeouts = self.timeouts(&raw.timeouts_ms);
        let stt = self.stt_targets(&raw.stt);
        let llm = self.llm_targets(&raw.llm);
        let tts = self.tts_targets(&raw.tts);
        let routes = self.routes(&raw.routes, &target::Names::of(&stt, &llm, &tts), timeouts.llm_first_token);
        self.unused("stt", &raw.stt, |name| routes.stt.values().any(|route| route.targets.contains(name)));
        self.unused("llm", &raw.llm, |name| routes.llm.values().any(|route| route.targets.contains(name)));
        self.unused("tts", &raw.tts, |name| routes.tts.values().any(|route| route.targets.contains(name)));
        let mut agents = BTreeMap::new();
        let default_agent = self.agent(&raw.agent.file, DEMO, &mut agents);
        let trunks = self.trunks(&raw, &default_agent, &mut agents);
        let conversation = self.conversation(&raw.conversation);
        let budgets = self.budgets(&raw.budgets_ms, &conversation);
        Config {
            server: self.server(&raw.server),
            sip: self.sip(&raw.sip),
            rtp: self.rtp(&raw.rtp),
            http: self.http(&raw.http),
            media: self.media(&raw.media),
            conversation,
            timeouts,
            budgets,
            stt,
            llm,
            tts,
            routes,
            agents,
            trunks,
            log: self.log(&raw.log),
            warnings: Vec::new(),
        }
    }

    fn server(&mut self, raw: &RawServer) -> Server {
        Server {
            data_dir: self.folder.join(raw.data_dir.as_ref().map_or(DATA_DIR, |key| key.get_ref())),
            ports: self.number(&raw.ports, PORTS, PORTS_RANGE),
            seed: raw.seed.is_some().then(|| self.number(&raw.seed, 0, 0..=i64::MAX)),
            external_ip: raw.external_ip.as_ref().and_then(|key| {
                let ip = key.get_ref().parse().ok();
                if ip.is_none() {
                    self.error(
                        key,
                        format!("`{}` is not an IP address", key.get_ref()),
                        "write one, such as 203.0.113.9",
                    );
                }
                ip
            }),
            drain: self.seconds(&raw.drain_seconds, DRAIN, 0..=3600),
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
        Sip { listen, user_agent: user_agent.to_owned() }
    }

    fn rtp(&mut self, raw: &RawRtp) -> Rtp {
        let address = self.parsed(&raw.address, RTP_ADDRESS, |text| {
            text.parse().map_err(|_| {
                format!("`{text}` is not an IP address; write one of this machine's, or 0.0.0.0")
            })
        });
        let ports: PortRange = self.parsed(&raw.ports, RTP_PORTS, str::parse);
        Rtp { address, ports, cooling: self.seconds(&raw.cooling_seconds, COOLING, 0..=60) }
    }

    fn http(&mut self, raw: &RawHttp) -> Http {
        let listen: SocketAddr = self.parsed(&raw.listen, HTTP_LISTEN, |text| {
            text.parse().map_err(|_| format!("`{text}` is not an IP address and a port; write {HTTP_LISTEN}"))
        });
        if let (Some(key), false) = (&raw.listen, listen.ip().is_loopback()) {
            self.warn(
                key,
                "calls and traces can be read from the network without a login",
                "keep it on 127.0.0.1, or put a proxy with a login in front",
            );
        }
        Http { listen }
    }

    fn media(&mut self, raw: &RawMedia) -> Media {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jitter_min = self.milliseconds(&raw.jitter_min_ms, JITTER_MIN, 0..=1000);
        let jitter_max = self.milliseconds(&raw.jitter_max_ms, JITTER_MAX, 20..=2000);
        if let (Some(key), true) =
            (raw.jitter_max_ms.as_ref().or(raw.jitter_min_ms.as_ref()), jitter_max < jitter_min)
        {
            self.error(key, "jitter_max_ms is below jitter_min_ms", "make it larger");
        }
        Media { threads: self.number(&raw.threads, cores, 1..=256), jitter_min, jitter_max }
    }

    fn conversation(&mut self, raw: &RawConversation) -> Conversation {
        let conversation = Conversation {
            complete: self.milliseconds(&raw.end_of_turn_complete_ms, COMPLETE, 100..=15_000),
            unsure: self.milliseconds(&raw.end_of_turn_unsure_ms, UNSURE, 100..=15_000),
            incomplete: self.milliseconds(&raw.end_of_turn_incomplete_ms, INCOMPLETE, 100..=15_000),
            number_short: self.milliseconds(&raw.end_of_turn_number_ms, NUMBER_SHORT, 100..=15_000),
            barge_in_speech: self.milliseconds(&raw.barge_in_speech_ms, BARGE_IN_SPEECH, 20..=5000),
            no_input: self.seconds(&raw.no_input_seconds, NO_INPUT, 1..=300),
            no_input_limit: self.number(&raw.no_input_limit, NO_INPUT_LIMIT, 0..=20),
            max_duration: 60
                * self.number(&raw.max_duration_minutes, MAX_DURATION_MINUTES, 1..=1440)
                * SECOND,
        };
        let Conversation { complete, unsure, incomplete, .. } = conversation;
        let keys = [&raw.end_of_turn_incomplete_ms, &raw.end_of_turn_unsure_ms, &raw.end_of_turn_complete_ms];
        let written = keys.into_iter().find_map(Option::as_ref);
        if let (Some(key), false) = (written, complete <= unsure && unsure <= incomplete) {
            self.error(
                key,
                "the waits for the end of a turn must not fall from complete over unsure to incomplete",
                "raise the later one or lower the earlier one",
            );
        }
        conversation
    }

    fn timeouts(&mut self, raw: &RawTimeouts) -> Timeouts {
        Timeouts {
            stt_connect: self.milliseconds(&raw.stt_connect, STT_CONNECT, 100..=30_000),
            llm_first_token: self.milliseconds(&raw.llm_first_token, LLM_FIRST_TOKEN, 100..=60_000),
            tts_first_audio: self.milliseconds(&raw.tts_first_audio, TTS_FIRST_AUDIO, 100..=30_000),
            tool: self.milliseconds(&raw.tool, TOOL, 100..=120_000),
        }
    }

    fn budgets(&mut self, raw: &RawBudgets, conversation: &Conversation) -> Budgets {
        let key = |stage| match stage {
            Stage::Jitter => &raw.jitter,
            Stage::EndOfTurn => &raw.end_of_turn,
            Stage::SttFinal => &raw.stt_final,
            Stage::LlmFirstToken => &raw.llm_first_token,
            Stage::Tool => &raw.tool,
            Stage::FirstSentence => &raw.first_sentence,
            Stage::TtsFirstAudio => &raw.tts_first_audio,
            Stage::Pacing => &raw.pacing,
            Stage::Other => &raw.other,
        };
        let stages: BTreeMap<Stage, Duration> = Stage::ALL
            .into_iter()
            .map(|stage| (stage, self.milliseconds(key(stage), defaults::budget(stage), 0..=60_000)))
            .collect();
        if let Some(key) =
            raw.end_of_turn.as_ref().filter(|_| stages[&Stage::EndOfTurn] < conversation.complete)
        {
            let silence = conversation.complete.as_millis();
            self.warn(
                key,
                format!("every turn will be over budget: the caller's silence is waited for {silence} ms"),
                "raise it to conversation.end_of_turn_complete_ms",
            );
        }
        Budgets { stages, total: self.milliseconds(&raw.total, BUDGET_TOTAL, 0..=120_000) }
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        let format = self.choice(&raw.format, "pretty", &["pretty", "json"]);
        let level = self.choice(&raw.level, "info", &["error", "warn", "info", "debug", "trace"]);
        Log { format: if format == "json" { LogFormat::Json } else { LogFormat::Pretty }, level }
    }

    fn trunks(
        &mut self,
        raw: &RawConfig,
        default_agent: &str,
        agents: &mut BTreeMap<String, AgentFile>,
    ) -> Vec<Trunk> {
        let at_cap =
            raw.sip.at_cap_status.is_some().then(|| self.number(&raw.sip.at_cap_status, 503, 400..=699));
        let mut names = BTreeSet::new();
        let mut takes_everything: Option<String> = None;
        let mut trunks: Vec<Trunk> = Vec::new();
        for raw in &raw.trunk {
            let (at, raw) = (raw, raw.get_ref());
            let name = raw.name.as_ref().map_or_else(String::new, |key| key.get_ref().clone());
            match &raw.name {
                None => self.error(at, "this trunk has no name", "write name = \"my-carrier\""),
                Some(key) if !names.insert(name.clone()) => {
                    self.error(
                        key,
                        format!("a second trunk is called `{name}`"),
                        "give each trunk its own name",
                    );
                }
                Some(_) => {}
            }
            if let Some(earlier) = &takes_everything {
                let message = format!("no call reaches this trunk: `{earlier}` above it takes every call");
                self.warn(at, message, "put it first, or give the other one sources or called");
            }
            if raw.sources.is_none() && raw.called.is_none() {
                takes_everything.get_or_insert_with(|| name.clone());
            }
            trunks.push(self.trunk(name, raw, at_cap, default_agent, agents));
        }
        if trunks.is_empty() {
            trunks.push(self.trunk("open".to_owned(), &RawTrunk::default(), at_cap, default_agent, agents));
        }
        trunks
    }

    fn trunk(
        &mut self,
        name: String,
        raw: &RawTrunk,
        at_cap: Option<u16>,
        default_agent: &str,
        agents: &mut BTreeMap<String, AgentFile>,
    ) -> Trunk {
        for list in [&raw.sources, &raw.called].into_iter().flatten().filter(|list| list.get_ref().is_empty())
        {
            self.error(
                list,
                "an empty list would let everything in",
                "name what may come in, or remove the line",
            );
        }
        let mut profile = self.profile(&raw.profile);
        profile.at_cap.status = at_cap.unwrap_or(profile.at_cap.status);
        Trunk {
            name,
            profile: Arc::new(profile),
            sources: self.each(&raw.sources, &[], str::parse),
            called: self.each(&raw.called, &[], called_prefix),
            agent: self.agent(&raw.agent, default_agent, agents),
        }
    }

    fn profile(&mut self, key: &Key<String>) -> Profile {
        let name = key.as_ref().map_or("generic", |key| key.get_ref());
        let built_in = profile::BUILT_IN.into_iter().find(|(known, _)| *known == name);
        let source = match (built_in, key) {
            (Some((name, text)), _) => Source::new(format!("sip-profiles/{name}.toml (built in)"), text),
            (None, Some(key)) if name.ends_with(".toml") => match Source::read(&self.folder.join(name)) {
                Ok(source) => source,
                Err(reason) => {
                    self.error(
                        key,
                        format!("the profile `{name}` cannot be read: {reason}"),
                        "correct the path",
                    );
                    return self.profile(&None);
                }
            },
            (None, _) => {
                let help = suggest(name, profile::BUILT_IN.map(|(known, _)| known));
                if let Some(key) = key {
                    self.error(
                        key,
                        format!("unknown profile `{name}`"),
                        format!("{help} (or the path of a .toml file)"),
                    );
                }
                return self.profile(&None);
            }
        };
        let mut inner =
            Checker { source: &source, folder: self.folder, secrets: self.secrets, problems: Vec::new() };
        let profile = Profile::read(&mut inner);
        inner.problems.sort_by_key(Problem::offset);
        let at = key.as_ref().map_or(0, |key| key.span().start);
        self.problems.extend(inner.problems.into_iter().map(|problem| problem.at(at)));
        profile
    }

    /// Reads the agent file that a key names, once, and returns its key in `agents`.
    fn agent(
        &mut self,
        key: &Key<String>,
        default: &str,
        agents: &mut BTreeMap<String, AgentFile>,
    ) -> String {
        let name = key.as_ref().map_or(default, |key| key.get_ref());
        if !agents.contains_key(name) {
            let file = match key {
                Some(key) if name != DEMO => self.agent_file(key),
                Some(_) | None => {
                    AgentFile { name: "the demo agent".into(), text: DEMO_AGENT.into(), folder: None }
                }
            };
            agents.insert(name.to_owned(), file);
        }
        name.to_owned()
    }

    fn agent_file(&mut self, key: &Spanned<String>) -> AgentFile {
        let path = self.folder.join(key.get_ref());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|reason| {
            let message = format!("the agent file `{}` cannot be read: {reason}", key.get_ref());
            self.error(key, message, similar_file(&path));
            String::new()
        });
        AgentFile { name: path.display().to_string(), text, folder: path.parent().map(Path::to_owned) }
    }

    /// A secret from where `env:NAME` or `file:PATH` says.
    pub(super) fn secret(&mut self, key: &Spanned<String>) -> Option<Secret> {
        let found = match key.get_ref().split_once(':') {
            Some(("env", name)) => {
                let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty());
                value.ok_or_else(|| format!("the environment variable {name} is not set"))
            }
            Some(("file", path)) => std::fs::read_to_string(self.folder.join(path))
                .map_err(|reason| format!("the secret's file {path} cannot be read: {reason}")),
            Some(_) | None => {
                let help = "write env:NAME for an environment variable or file:PATH for a file, so that nobody reads it here";
                self.error(key, "this is not a reference to a secret", help);
                return None;
            }
        };
        match (found, self.secrets) {
            (Ok(value), _) => return Some(Secret::new(value.trim())),
            (Err(message), Secrets::Required) => self.error(key, message, "provide it before the start"),
            (Err(message), Secrets::Noted) => self.warn(key, message, "provide it before the server starts"),
        }
        None
    }
}

/// Tools for keys.
impl Checker<'_> {
    pub(super) fn error<T>(&mut self, key: &Spanned<T>, message: impl Into<String>, help: impl Into<String>) {
        let span = key.span();
        self.problems.push(Problem::error(self.source.place(&span), message, help).at(span.start));
    }

    pub(super) fn warn<T>(&mut self, key: &Spanned<T>, message: impl Into<String>, help: impl Into<String>) {
        let span = key.span();
        self.problems.push(Problem::warning(self.source.place(&span), message, help).at(span.start));
    }

    /// A whole number within bounds.
    pub(super) fn number<N: TryFrom<i64>>(
        &mut self,
        key: &Key<i64>,
        default: N,
        range: RangeInclusive<i64>,
    ) -> N {
        let Some(key) = key else { return default };
        let value = Some(*key.get_ref()).filter(|value| range.contains(value));
        value.and_then(|value| N::try_from(value).ok()).unwrap_or_else(|| {
            let help = match (range.start() == range.end(), *range.end()) {
                (true, only) => format!("only {only} is supported"),
                (false, i64::MAX) => format!("write a number from {}", range.start()),
                (false, end) => format!("write a number from {} to {end}", range.start()),
            };
            self.error(key, format!("{} is out of range", key.get_ref()), help);
            default
        })
    }

    /// Milliseconds within bounds.
    pub(super) fn milliseconds(
        &mut self,
        key: &Key<i64>,
        default: Duration,
        range: RangeInclusive<i64>,
    ) -> Duration {
        key.as_ref().map_or(default, |_| Duration::from_millis(self.number(key, 0, range)))
    }

    /// Seconds within bounds.
    fn seconds(&mut self, key: &Key<i64>, default: Duration, range: RangeInclusive<i64>) -> Duration {
        key.as_ref().map_or(default, |_| Duration::from_secs(self.number(key, 0, range)))
    }

    /// A value with a grammar. `default` must follow it; a value that does not is replaced by it.
    fn parsed<T>(
        &mut self,
        key: &Key<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let written = key.as_ref().and_then(|key| self.part(key, &parse));
        written.unwrap_or_else(|| parse(default).expect("a default follows its own grammar"))
    }

    /// A list of values with a grammar.
    pub(super) fn each<T>(
        &mut self,
        key: &Key<Vec<Spanned<String>>>,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        match key {
            Some(list) => list.get_ref().iter().filter_map(|part| self.part(part, &parse)).collect(),
            None => default.iter().filter_map(|text| parse(text).ok()).collect(),
        }
    }

    fn part<T>(&mut self, key: &Spanned<String>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(key.get_ref().trim()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let (message, help) =
                    wrong.split_once("; ").unwrap_or((&wrong, "see `tandem init` for an example"));
                self.error(key, message, help);
                None
            }
        }
    }

    /// One word of a few.
    pub(super) fn choice(&mut self, key: &Key<String>, default: &str, known: &[&str]) -> String {
        let Some(key) = key else { return default.to_owned() };
        let written = key.get_ref();
        if !known.contains(&written.as_str()) {
            self.error(key, format!("`{written}` is not a choice"), suggest(written, known.iter().copied()));
            return default.to_owned();
        }
        written.clone()
    }
}

/// Numbers are compared by their beginning; what is not part of a number can never match.
fn called_prefix(text: &str) -> Result<String, String> {
    let dialable =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+*#-_.".contains(c));
    if dialable {
        Ok(text.to_owned())
    } else {
        Err(format!("no called number begins with `{text}`; write its first digits, such as \"+4930\""))
    }
}

fn similar_file(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let help = suggest(&written, names.iter().map(String::as_str));
    if help.starts_with("did") { help } else { "correct the path; it starts at this file's folder".into() }
}
