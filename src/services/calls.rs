//! Which trunk claims a call, which agent answers it, and what that agent works with.
//! Knows trunks and agents. Decides nothing about a call.

use super::{StartError, clips, stages};
use crate::{
    ai_gateway::AiGateway,
    call_actor::{InLanguage, Models, Providers, Tools},
    config::{
        Config, Served,
        profile::{Dtmf, Profile, Srtp},
        target::{LlmTarget, SttTarget, TtsTarget},
        trunk::Trunk,
    },
    context_webhook::ContextClient,
    knowledge::{Knowledge, Searcher},
    providers::{CallInfo, Events, Request, SpeechToText, TextToSpeech, embeddings::Embeddings},
    resume::Resume,
    server::{
        AgentCalls, ArrivalTrunk, AtCap, BuiltCall, CallBuilder, CallFacts, ContextAnswer, ContextQuestion,
        NewCall, Refusal, SrtpPolicy, TrunkLimits,
    },
    store::Checkpoints,
    telemetry::{metrics::Metrics, pii::Pii},
    tools::{ToolContext, ToolRunner, ToolSettings},
};
use ::ai_gateway::Standings;
use call::{
    CallConfig, CallContext, CallId, Clips, Localised, Member,
    cdr::{Arrival, Cause},
};
use conversation::{Agent, Checkpoint, LlmRequest, Stage, ToolCall, TurnId, Variables};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use sip::{IncomingInvite, SrtpMode, SrtpSuite, caller_id::incoming_caller};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::runtime::Handle;

/// The trunks of a config and the agents they lead to.
pub struct TrunkCalls {
    /// For new calls. Locked for as long as it takes to copy a pointer.
    current: RwLock<Arc<Prepared>>,
    /// Files have changed and are wrong: these are the last good ones.
    stale: AtomicBool,
}

/// A config with everything that its agents need.
struct Prepared {
    config: Arc<Config>,
    agents: BTreeMap<String, AgentServices>,
    /// Targets that run on this machine.
    own: BTreeSet<String>,
    context: Option<Arc<ContextClient>>,
    resume: Option<Resume>,
}

/// What an embedded recogniser can understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Whose.
    pub agent: String,
    /// How many different words.
    pub words: usize,
}

/// One agent, ready for calls.
pub(super) struct AgentServices {
    calls: AgentCalls,
    vocabulary: Option<Vocabulary>,
    gateway: Arc<AgentModels>,
    /// The same in each of its languages.
    gateways: BTreeMap<String, Arc<AgentModels>>,
    tools: ToolRunner,
    knowledge: Option<Arc<Knowledge>>,
}

impl TrunkCalls {
    pub(super) fn new(
        config: Arc<Config>,
        agents: BTreeMap<String, AgentServices>,
        checkpoints: Option<&Checkpoints>,
    ) -> Result<Self, StartError> {
        let webhook = config.call_context.webhook.clone();
        let context = webhook.map(ContextClient::new).transpose().map_err(StartError::Provider)?;
        let (own, context) = (own_targets(&config), context.map(Arc::new));
        let resume = config.resume.clone().zip(checkpoints.cloned());
        let resume = resume.map(|(config, checkpoints)| Resume::new(config, checkpoints));
        let prepared = Prepared { config, agents, own, context, resume };
        Ok(Self { current: RwLock::new(Arc::new(prepared)), stale: AtomicBool::new(false) })
    }

    fn current(&self) -> Arc<Prepared> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether files have changed and are wrong, so that calls go on with the last good ones.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    pub(super) fn note_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Relaxed);
    }

    /// The files that the agents were read from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.current().config.files.clone()
    }

    /// Whether a config can take the place of the one there is: trunks, pools and permits were told to others at start.
    ///
    /// # Errors
    /// What needs a restart.
    pub(super) fn fits(&self, config: &Config) -> Result<(), String> {
        let current = self.current();
        let trunks =
            |config: &Config| config.trunks.iter().map(|trunk| trunk.name.clone()).collect::<Vec<_>>();
        let pools = |config: &Config| config.pools.iter().map(|pool| pool.slots.clone()).collect::<Vec<_>>();
        for (what, same) in [
            ("list of trunks has", trunks(&current.config) == trunks(config)),
            ("pools have", pools(&current.config) == pools(config)),
            ("limits of [admission] have", current.config.permits() == config.permits()),
        ] {
            if !same {
                return Err(format!("the {what} changed, which needs a restart"));
            }
        }
        Ok(())
    }

    /// New calls get what was prepared here. Says how many agents there are.
    pub(super) fn replace(&self, fresh: Self) -> usize {
        let fresh = fresh.current.into_inner().unwrap_or_else(PoisonError::into_inner);
        let agents = fresh.agents.len();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        agents
    }

    /// The agents that can only understand the words of their file.
    pub fn vocabulary(&self) -> Vec<Vocabulary> {
        self.current().agents.values().filter_map(|agent| agent.vocabulary.clone()).collect()
    }
}

impl Prepared {
    /// The trunk that the gate found; without one, the only trunk of a config that names none.
    fn trunk_of(&self, invite: &IncomingInvite) -> Result<&Trunk, Refusal> {
        let trunk = match &invite.trunk {
            Some(name) => self.config.trunk(name),
            None => self.config.trunks.first(),
        };
        trunk.ok_or(Refusal { status: 500, cause: Cause::InternalError })
    }
}

impl Prepared {
    /// The header fields that may become variables. What is not there sets nothing.
    fn read_headers(&self, invite: &IncomingInvite, variables: &mut Variables) {
        for (header, variable) in &self.config.call_context.headers_in {
            let found = invite.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(header));
            if let Some((_, value)) = found {
                variables.set(variable.clone(), value);
            }
        }
    }

    /// What is known of a caller before the call: from a conversation that was cut off, from the INVITE and from whoever was
    /// asked, the last one to be believed.
    fn known(&self, agent: &AgentServices, resumed: Option<&Checkpoint>, new: &NewCall<'_>) -> Variables {
        let declared = agent.calls.agent.variables();
        let mut known = Variables::default();
        for (name, value) in resumed.iter().flat_map(|kept| kept.variables.iter()) {
            if declared.get(name).is_some() {
                known.set(name, value);
            }
        }
        self.read_headers(new.invite, &mut known);
        new.facts.variables.iter().for_each(|(name, value)| known.set(name, value));
        known
    }

    /// The agents that an agent may hand over to, and those that they may, and so on.
    fn team(&self, agent: &Agent) -> BTreeMap<String, Member> {
        let mut team = BTreeMap::new();
        let mut names: Vec<String> = agent.handed_to().map(str::to_owned).collect();
        while let Some(name) = names.pop() {
            let Some(other) = self.agents.get(&name).filter(|_| !team.contains_key(&name)) else { continue };
            let AgentCalls { agent, clips, context, .. } = &other.calls;
            names.extend(agent.handed_to().map(str::to_owned));
            let (agent, clips, tools) = (Arc::clone(agent), Arc::clone(clips), other.tools.brought());
            let languages = Arc::clone(&context.languages);
            team.insert(name, Member { agent, clips, tools, languages });
        }
        team
    }

    /// What is known and may go out, as header fields.
    fn headers_out(&self, variables: &Variables) -> Vec<(String, String)> {
        let headers = self.config.call_context.headers_out.iter();
        let known = headers
            .filter_map(|(header, variable)| Some((header.clone(), variables.get(variable)?.to_owned())));
        known.filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The agent that somebody else chose; none if there is no such agent here.
    fn chosen(&self, facts: &CallFacts) -> Option<&AgentServices> {
        let Some(name) = &facts.agent else {
            // Who was cut off goes on with whom they talked to last.
            let kept = facts.resumed.as_ref()?;
            return self.agents.values().find(|agent| agent.calls.agent.name() == kept.agent);
        };
        let same = |key: &str| key == name || key.strip_suffix(".toml") == Some(name);
        let found = self.agents.iter().find(|(key, _)| same(key)).map(|(_, agent)| agent);
        if found.is_none() {
            tracing::warn!(
                agent = name,
                "the call context chose an agent that is not here: [agent] more names it"
            );
        }
        found
    }
}

impl CallBuilder for TrunkCalls {
    fn trunk(&self, invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        let current = self.current();
        let trunk = current.trunk_of(invite)?;
        let Profile { at_cap, limits, quirks, .. } = &*trunk.profile;
        let called = if quirks.called_in_to { &invite.to.user } else { &invite.user };
        let (pool, priority) = current.config.pool_of(trunk, called);
        Ok(Some(ArrivalTrunk {
            name: trunk.name.clone(),
            caller: caller_id(invite, trunk),
            called: quirks.called_in_to.then(|| invite.to.user.clone()),
            at_cap: AtCap {
                status: at_cap.status,
                retry_after: at_cap.retry_after_seconds.clone(),
                redirect: at_cap.redirect.clone(),
                overflow_slots: at_cap.overflow_slots,
            },
            limits: TrunkLimits { max_channels: limits.max_channels, max_cps: limits.max_cps },
            pool,
            priority,
            needs: current.needs(trunk, pool),
        }))
    }

    fn rates(
        &self,
        invite: &IncomingInvite,
        overflow: bool,
        facts: &CallFacts,
    ) -> Option<Arc<ai_gateway::Rates>> {
        let current = self.current();
        let trunk = current.trunk_of(invite).ok()?;
        let key = trunk.overflow_agent.as_ref().filter(|_| overflow).unwrap_or(&trunk.agent);
        let agent = &current.chosen(facts).or_else(|| current.agents.get(key))?.calls.agent;
        let config = &current.config;
        let first = |routes: &BTreeMap<String, crate::config::target::Route>, stage| {
            routes
                .get(agent.route(stage))
                .and_then(|route| route.targets.first())
                .cloned()
                .unwrap_or_default()
        };
        let (stt, tts) = (first(&config.routes.stt, Stage::Stt), first(&config.routes.tts, Stage::Tts));
        let served = Served { stt: &stt, tts: &tts, trunk: &trunk.name, own: &current.own };
        config.prices.rates(Timestamp::now().as_microsecond(), served).map(Arc::new)
    }

    fn ask(&self, invite: &IncomingInvite, arrival: &Arrival) -> Option<ContextQuestion> {
        let current = self.current();
        let (client, resume) = (current.context.clone(), current.resume.clone());
        if client.is_none() && resume.is_none() {
            return None;
        }
        let mut variables = Variables::default();
        current.read_headers(invite, &mut variables);
        let arrival = arrival.clone();
        Some(Box::pin(async move {
            let (caller, called) = (arrival.caller.clone(), arrival.called.clone());
            let kept = async {
                match resume {
                    Some(resume) => resume.find(caller, called).await,
                    None => None,
                }
            };
            let answer = async {
                match client {
                    Some(client) => client.ask(arrival, variables).await,
                    None => ContextAnswer::Take(CallFacts::default()),
                }
            };
            let (answer, kept) = tokio::join!(answer, kept);
            match answer {
                ContextAnswer::Take(facts) => {
                    ContextAnswer::Take(CallFacts { resumed: kept.map(Arc::new), ..facts })
                }
                refused @ ContextAnswer::Refuse { .. } => refused,
            }
        }))
    }

    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        let current = self.current();
        let trunk = current.trunk_of(new.invite)?;
        let overflow = trunk.overflow_agent.as_ref().filter(|_| new.overflow);
        let pool = current.config.pools.get(new.pool);
        let of_pool = pool.and_then(|pool| pool.agent.as_ref());
        let llm_route = pool.and_then(|pool| pool.llm_route.clone());
        let agent = current.chosen(new.facts);
        let agent = agent.or_else(|| current.agents.get(overflow.or(of_pool).unwrap_or(&trunk.agent)));
        let agent = agent.ok_or(Refusal { status: 500, cause: Cause::InternalError })?;
        let languages = agent.in_languages(llm_route.clone());
        let models = agent.models(llm_route);
        models.warm();
        let today = today(&current.config.time_zone);
        let resumed = new.facts.resumed.clone().filter(|kept| kept.agent == agent.calls.agent.name());
        let known = current.known(agent, resumed.as_deref(), &new);
        let keeper = current.resume.as_ref().and_then(|resume| resume.keeper(new.caller, new.called));
        let variables = variables_of(agent, &known, &new, today);
        let context = CallContext {
            variables: variables.clone(),
            tools: agent.tools.brought(),
            may_refer: trunk.profile.transfer.send,
            resumed,
            keep: keeper.is_some(),
            headers: current.headers_out(&variables),
            team: Arc::new(current.team(&agent.calls.agent)),
            languages: Arc::clone(&agent.calls.context.languages),
        };
        let caller = Pii::new(new.caller.to_owned());
        let for_tools = |agent: &AgentServices| {
            let variables = variables_of(agent, &known, &new, today);
            ToolContext { call: new.call, caller: caller.clone(), today, variables }
        };
        let members = context.team.keys().filter_map(|name| Some((name, current.agents.get(name)?)));
        let team = members.map(|(name, other)| (name.clone(), other.providers(for_tools(other)))).collect();
        let providers = Providers { models, languages, ..agent.providers(for_tools(agent)) };
        let calls = AgentCalls { context, ..agent.calls_over(trunk) };
        let built = calls.build(now, new)?;
        Ok(BuiltCall { providers, team, keeper, ..built })
    }
}

impl Prepared {
    /// The permits of the stages that a call needs, if it is answered where it belongs.
    fn needs(&self, trunk: &Trunk, pool: usize) -> Vec<usize> {
        let of_pool = self.config.pools.get(pool).and_then(|pool| pool.agent.as_ref());
        let agent = self.config.agents.get(of_pool.unwrap_or(&trunk.agent));
        agent.map_or_else(Vec::new, |agent| {
            self.config.needs(agent.route(Stage::Stt), agent.route(Stage::Tts))
        })
    }
}

/// Targets that run on this machine.
fn own_targets(config: &Config) -> BTreeSet<String> {
    let own = |name: &&String, own: bool| own.then(|| (*name).clone());
    let stt = config.stt.iter();
    let stt = stt.filter_map(|(name, target)| own(&name, matches!(target, SttTarget::Embedded { .. })));
    let llm = config.llm.iter().filter_map(|(name, target)| own(&name, matches!(target, LlmTarget::Flow)));
    let tts =
        config.tts.iter().filter_map(|(name, target)| own(&name, matches!(target, TtsTarget::Embedded)));
    stt.chain(llm).chain(tts).collect()
}

/// The variables of a call: what the agent declares, with what is known of it, and what every call has.
fn variables_of(agent: &AgentServices, known: &Variables, new: &NewCall<'_>, today: Date) -> Variables {
    let declared = agent.calls.agent.variables();
    let mut variables = declared.clone();
    for (name, value) in known.iter() {
        if declared.get(name).is_some() {
            variables.set(name, value);
        } else {
            tracing::debug!(call = %new.call, name, "a variable is set that the agent does not declare");
        }
    }
    variables.set("caller", new.caller);
    variables.set("called", new.called);
    variables.set("call_id", &new.call.to_string());
    variables.set("today", &today.to_string());
    variables
}

/// The encryption of a trunk's media, as its profile words it.
fn srtp(profile: &Profile) -> SrtpPolicy {
    let mode = match profile.media.srtp {
        Srtp::Off => SrtpMode::Off,
        Srtp::Optional => SrtpMode::Optional,
        Srtp::Required => SrtpMode::Required,
    };
    let suites = profile.media.srtp_suites.iter().filter_map(|name| SrtpSuite::named(name)).collect();
    SrtpPolicy { mode, suites }
}

/// Who calls, by the headers that the trunk is believed in. Whoever may call without any proof is believed in From alone.
fn caller_id(invite: &IncomingInvite, trunk: &Trunk) -> Option<String> {
    let trusted = !trunk.is_open_to_strangers();
    let caller = incoming_caller(&invite.headers, &trunk.profile.identity.caller_id_in, trusted);
    Some(caller.number).filter(|number| !number.is_empty())
}

impl AgentServices {
    /// The gateway on the agent's own route, or on the one that a pool puts in its place.
    fn models(&self, route: Option<String>) -> Arc<AgentModels> {
        match route {
            Some(route) => Arc::new(AgentModels { gateway: Arc::clone(&self.gateway.gateway), route }),
            None => Arc::clone(&self.gateway),
        }
    }

    /// Whom it works with in each of its languages, on those routes or on the one that a pool puts in the model's place.
    fn in_languages(&self, route: Option<String>) -> Arc<BTreeMap<String, InLanguage>> {
        let own = &self.calls.providers.languages;
        let Some(route) = route else { return Arc::clone(own) };
        let pooled = own.iter().filter_map(|(tag, own)| {
            let gateway = Arc::clone(&self.gateways.get(tag)?.gateway);
            let models = Arc::new(AgentModels { gateway, route: route.clone() });
            Some((tag.clone(), InLanguage { models, ..own.clone() }))
        });
        Arc::new(pooled.collect())
    }

    /// Its tools, for one call.
    fn tools_of(&self, context: ToolContext) -> Arc<dyn Tools> {
        Arc::new(CallTools { runner: self.tools.clone(), context })
    }

    /// How its calls are made over a trunk.
    fn calls_over(&self, trunk: &Trunk) -> AgentCalls {
        let Profile { media, .. } = &*trunk.profile;
        let tones_too = media.dtmf == Dtmf::Both;
        AgentCalls {
            config: CallConfig { tones_too, ..self.calls.config.clone() },
            codecs: media.codecs.clone(),
            telephone_event: !matches!(media.dtmf, Dtmf::Info | Dtmf::Inband),
            srtp: srtp(&trunk.profile),
            ..self.calls.clone()
        }
    }

    /// Whom it works with in one call.
    fn providers(&self, context: ToolContext) -> Providers {
        let documents = self.knowledge.as_deref().map(Knowledge::for_call);
        Providers { tools: self.tools_of(context), documents, ..self.calls.providers.clone() }
    }

    pub(super) async fn prepare(
        config: &Config,
        key: &str,
        agent: Arc<Agent>,
        metrics: &Metrics,
        (searcher, standings): (&Searcher, &Arc<Mutex<Standings>>),
    ) -> Result<Self, StartError> {
        let (stt, words) = stages::speech_to_text(config, &agent)?;
        let vocabulary = words.map(|words| Vocabulary { agent: agent.name().to_owned(), words });
        let tts = stages::text_to_speech(config, &agent)?;
        let route = agent.route(Stage::Llm).to_owned();
        let gateway =
            Arc::new(stages::gateway(config, &agent, Arc::clone(standings))?.counted_by(metrics.clone()));
        let gateway = Arc::new(AgentModels { gateway, route });
        let mut clips = clips::render(&agent, &tts, config.has_wide_band()).await?;
        clips.ambience = config.rooms.get(key).cloned().unwrap_or_default();
        let clips = Arc::new(clips);
        let first = Ready { agent: Arc::clone(&agent), stt, models: Arc::clone(&gateway), tts, clips };
        let languages = languages(config, &first, (metrics, standings)).await?;
        let Ready { stt, tts, clips, .. } = first;
        let tools = tool_runner(config, key, &agent, metrics)?;
        tools.discover().await;
        let context = ToolContext {
            call: CallId(0),
            caller: Pii::default(),
            today: today(&config.time_zone),
            variables: agent.variables().clone(),
        };
        let no_caller = CallTools { runner: tools.clone(), context };
        let providers = Providers {
            stt,
            models: Arc::clone(&gateway) as Arc<dyn Models>,
            tts,
            tools: Arc::new(no_caller),
            documents: None,
            languages: Arc::new(languages.providers),
        };
        let calls = AgentCalls {
            config: config.call.clone(),
            agent,
            clips,
            providers,
            // Each call takes those of its trunk.
            codecs: Vec::new(),
            telephone_event: true,
            srtp: SrtpPolicy::default(),
            context: CallContext { languages: Arc::new(languages.spoken), ..CallContext::default() },
            time_zone: config.time_zone.clone(),
        };
        let knowledge = documents(config, key, searcher).await?;
        let gateways = languages.gateways;
        Ok(Self { calls, vocabulary, gateway, gateways, tools, knowledge })
    }
}

/// An agent in one language with all that its calls need.
struct Ready {
    agent: Arc<Agent>,
    stt: Arc<dyn SpeechToText>,
    models: Arc<AgentModels>,
    tts: Arc<dyn TextToSpeech>,
    clips: Arc<Clips>,
}

/// What an agent needs in each of its languages, by tag; nothing where there is only one.
#[derive(Default)]
struct Languages {
    providers: BTreeMap<String, InLanguage>,
    gateways: BTreeMap<String, Arc<AgentModels>>,
    spoken: BTreeMap<String, Localised>,
}

impl Languages {
    fn add(&mut self, ready: &Ready, first: bool) {
        let Ready { agent, stt, models, tts, clips } = ready;
        let tag = agent.language().to_owned();
        let (stt, tts) = (Arc::clone(stt), Arc::clone(tts));
        self.providers.insert(tag.clone(), InLanguage { stt, models: Arc::clone(models) as _, tts });
        self.gateways.insert(tag.clone(), Arc::clone(models));
        let (agent, clips) = (Arc::clone(agent), Arc::clone(clips));
        self.spoken.insert(tag, Localised { agent, clips, first });
    }
}

/// Every language, ready before the first call: a call that changes has nothing to wait for.
async fn languages(
    config: &Config,
    first: &Ready,
    (metrics, standings): (&Metrics, &Arc<Mutex<Standings>>),
) -> Result<Languages, StartError> {
    let mut all = Languages::default();
    if first.agent.languages().is_empty() {
        return Ok(all);
    }
    all.add(first, true);
    for agent in first.agent.languages() {
        let agent = Arc::clone(agent);
        // Recognisers are told the language of each call; voices are chosen by name.
        let stt = match agent.route(Stage::Stt) == first.agent.route(Stage::Stt) {
            true => Arc::clone(&first.stt),
            false => stages::speech_to_text(config, &agent)?.0,
        };
        let tts = stages::text_to_speech(config, &agent)?;
        let gateway = stages::gateway(config, &agent, Arc::clone(standings))?.counted_by(metrics.clone());
        let gateway = Arc::new(gateway);
        let models = Arc::new(AgentModels { gateway, route: agent.route(Stage::Llm).to_owned() });
        let clips = clips::render(&agent, &tts, config.has_wide_band()).await?;
        // The room stays the same.
        let clips = Arc::new(Clips { ambience: first.clips.ambience.clone(), ..clips });
        all.add(&Ready { agent, stt, models, tts, clips }, false);
    }
    Ok(all)
}

/// What an agent looks up, taken in before its first call.
async fn documents(
    config: &Config,
    key: &str,
    searcher: &Searcher,
) -> Result<Option<Arc<Knowledge>>, StartError> {
    let Some(library) = config.libraries.get(key).cloned() else { return Ok(None) };
    let wrong = |error: String| StartError::Engine(format!("the documents of the agent `{key}`: {error}"));
    let embeddings = config.embeddings.clone().map(Embeddings::new).transpose().map_err(wrong)?.map(Arc::new);
    let (agent, searcher, runtime) = (key.to_owned(), searcher.clone(), Handle::current());
    let start = move || Knowledge::start(&agent, library, searcher, embeddings, runtime);
    let start = tokio::task::spawn_blocking(start);
    let knowledge = start.await.map_err(|error| wrong(error.to_string()))?;
    knowledge.map(Some).map_err(|error| wrong(error.to_string()))
}

fn tool_runner(
    config: &Config,
    key: &str,
    agent: &Agent,
    metrics: &Metrics,
) -> Result<ToolRunner, StartError> {
    let settings = ToolSettings {
        reach: Arc::clone(&config.tools.reach),
        timeout: config.call.patience.tool,
        secrets: config.tools.secrets.get(key).cloned().unwrap_or_default(),
    };
    let schema = config.schemas.get(key).map_or("", String::as_str);
    let shared = (Handle::current(), metrics.clone());
    ToolRunner::start(&config.server.data_dir, schema, agent, &settings, shared)
        .map_err(|error| StartError::DataDir(format!("the tools of the agent `{key}`: {error}")))
}

/// The date where the agent is, which need not be that of this machine.
fn today(time_zone: &TimeZone) -> Date {
    Timestamp::now().to_zoned(time_zone.clone()).date()
}

/// The gateway, on one agent's route.
struct AgentModels {
    gateway: Arc<AiGateway>,
    route: String,
}

impl AgentModels {
    fn warm(&self) {
        self.gateway.warm(&self.route);
    }
}

impl Models for AgentModels {
    fn ask(&self, call: &CallInfo, turn: TurnId, request: LlmRequest, events: Events) -> Request {
        self.gateway.ask(&self.route, call, turn, request, events)
    }
}

/// The tools of one call.
struct CallTools {
    runner: ToolRunner,
    context: ToolContext,
}

impl Tools for CallTools {
    fn run(&self, _: &CallInfo, turn: TurnId, tool: ToolCall, variables: Variables, events: Events) {
        let context = ToolContext { variables, ..self.context.clone() };
        self.runner.run(&context, turn, &tool, events);
    }
}
