//! Which trunk claims a call, which agent answers it, and what that agent works with.
//! Knows trunks and agents. Decides nothing about a call.

use super::{StartError, clips, stages};
use crate::{
    ai_gateway::AiGateway,
    call_actor::{Models, Providers, Tools},
    config::{
        Config, Served,
        profile::{Dtmf, Profile, Srtp},
        target::{LlmTarget, SttTarget, TtsTarget},
        trunk::Trunk,
    },
    providers::{CallInfo, Events, Request},
    server::{
        AgentCalls, ArrivalTrunk, AtCap, BuiltCall, CallBuilder, NewCall, Refusal, SrtpPolicy, TrunkLimits,
    },
    telemetry::{metrics::Metrics, pii::Pii},
    tools::{ToolContext, ToolRunner, ToolSettings},
};
use call::{CallContext, CallId, cdr::Cause};
use conversation::{Agent, LlmRequest, Stage, ToolCall, TurnId, Variables};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use sip::{IncomingInvite, SrtpMode, SrtpSuite, caller_id::incoming_caller};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};
use tokio::runtime::Handle;

/// The trunks of a config and the agents they lead to.
pub struct TrunkCalls {
    config: Arc<Config>,
    agents: BTreeMap<String, AgentServices>,
    /// Targets that run on this machine.
    own: BTreeSet<String>,
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
    tools: ToolRunner,
}

impl TrunkCalls {
    pub(super) fn new(config: Arc<Config>, agents: BTreeMap<String, AgentServices>) -> Self {
        let own = |name: &&String, own: bool| own.then(|| (*name).clone());
        let stt = config
            .stt
            .iter()
            .filter_map(|(name, target)| own(&name, matches!(target, SttTarget::Embedded { .. })));
        let llm =
            config.llm.iter().filter_map(|(name, target)| own(&name, matches!(target, LlmTarget::Flow)));
        let tts =
            config.tts.iter().filter_map(|(name, target)| own(&name, matches!(target, TtsTarget::Embedded)));
        let own = stt.chain(llm).chain(tts).collect();
        Self { config, agents, own }
    }

    /// The agents that can only understand the words of their file.
    pub fn vocabulary(&self) -> Vec<Vocabulary> {
        self.agents.values().filter_map(|agent| agent.vocabulary.clone()).collect()
    }

    /// The trunk that the gate found; without one, the only trunk of a config that names none.
    fn trunk_of(&self, invite: &IncomingInvite) -> Result<&Trunk, Refusal> {
        let trunk = match &invite.trunk {
            Some(name) => self.config.trunk(name),
            None => self.config.trunks.first(),
        };
        trunk.ok_or(Refusal { status: 500, cause: Cause::InternalError })
    }
}

impl CallBuilder for TrunkCalls {
    fn trunk(&self, invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        let trunk = self.trunk_of(invite)?;
        let Profile { at_cap, limits, quirks, .. } = &*trunk.profile;
        let called = if quirks.called_in_to { &invite.to.user } else { &invite.user };
        let (pool, priority) = self.config.pool_of(trunk, called);
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
            needs: self.needs(trunk, pool),
        }))
    }

    fn rates(&self, invite: &IncomingInvite, overflow: bool) -> Option<Arc<ai_gateway::Rates>> {
        let trunk = self.trunk_of(invite).ok()?;
        let key = trunk.overflow_agent.as_ref().filter(|_| overflow).unwrap_or(&trunk.agent);
        let agent = &self.agents.get(key)?.calls.agent;
        let config = &self.config;
        let first = |routes: &BTreeMap<String, crate::config::target::Route>, stage| {
            routes
                .get(agent.route(stage))
                .and_then(|route| route.targets.first())
                .cloned()
                .unwrap_or_default()
        };
        let (stt, tts) = (first(&config.routes.stt, Stage::Stt), first(&config.routes.tts, Stage::Tts));
        let served = Served { stt: &stt, tts: &tts, trunk: &trunk.name, own: &self.own };
        config.prices.rates(Timestamp::now().as_microsecond(), served).map(Arc::new)
    }

    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        let trunk = self.trunk_of(new.invite)?;
        let overflow = trunk.overflow_agent.as_ref().filter(|_| new.overflow);
        let pool = self.config.pools.get(new.pool);
        let of_pool = pool.and_then(|pool| pool.agent.as_ref());
        let llm_route = pool.and_then(|pool| pool.llm_route.clone());
        let agent = self.agents.get(overflow.or(of_pool).unwrap_or(&trunk.agent));
        let agent = agent.ok_or(Refusal { status: 500, cause: Cause::InternalError })?;
        let models = agent.models(llm_route);
        models.warm();
        let caller = Pii::new(new.caller.to_owned());
        let codecs = trunk.profile.media.codecs.clone();
        let telephone_event = matches!(trunk.profile.media.dtmf, Dtmf::Rfc4733 | Dtmf::Auto);
        let srtp = srtp(&trunk.profile);
        let today = today(&self.config.time_zone);
        let variables = given(agent.calls.agent.variables(), &new, today);
        let context = CallContext {
            variables: variables.clone(),
            tools: agent.tools.brought(),
            may_refer: trunk.profile.transfer.send,
        };
        let calls = AgentCalls { codecs, telephone_event, srtp, context, ..agent.calls.clone() };
        let context = ToolContext { call: new.call, caller, today, variables };
        let mut built = calls.build(now, new)?;
        built.providers.models = models;
        built.providers.tools = Arc::new(CallTools { runner: agent.tools.clone(), context });
        Ok(built)
    }
}

impl TrunkCalls {
    /// The permits of the stages that a call needs, if it is answered where it belongs.
    fn needs(&self, trunk: &Trunk, pool: usize) -> Vec<usize> {
        let of_pool = self.config.pools.get(pool).and_then(|pool| pool.agent.as_ref());
        let agent = self.config.agents.get(of_pool.unwrap_or(&trunk.agent));
        agent.map_or_else(Vec::new, |agent| {
            self.config.needs(agent.route(Stage::Stt), agent.route(Stage::Tts))
        })
    }
}

/// The variables of a call: what the agent declares, and what every call has.
fn given(declared: &Variables, new: &NewCall<'_>, today: Date) -> Variables {
    let mut variables = declared.clone();
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

    pub(super) async fn prepare(
        config: &Config,
        key: &str,
        agent: Arc<Agent>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let (stt, words) = stages::speech_to_text(config, &agent)?;
        let vocabulary = words.map(|words| Vocabulary { agent: agent.name().to_owned(), words });
        let tts = stages::text_to_speech(config, &agent)?;
        let route = agent.route(Stage::Llm).to_owned();
        let gateway = Arc::new(stages::gateway(config, &agent)?.counted_by(metrics.clone()));
        let gateway = Arc::new(AgentModels { gateway, route });
        let clips = Arc::new(clips::render(&agent, &tts, config.has_wide_band()).await?);
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
            context: CallContext::default(),
            time_zone: config.time_zone.clone(),
        };
        Ok(Self { calls, vocabulary, gateway, tools })
    }
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
    fn run(&self, _: &CallInfo, turn: TurnId, tool: ToolCall, events: Events) {
        self.runner.run(&self.context, turn, &tool, events);
    }
}
