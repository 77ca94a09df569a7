//! Which trunk claims a call, which agent answers it, and what that agent works with.
//! Knows trunks and agents. Decides nothing about a call.

use super::{StartError, clips, stages};
use crate::{
    ai_gateway::AiGateway,
    call_actor::{Models, Providers, Tools},
    config::{Config, trunk::Trunk},
    providers::{CallInfo, Events, Request},
    server::{AgentCalls, ArrivalTrunk, BuiltCall, CallBuilder, NewCall, Refusal, SrtpPolicy},
    telemetry::{metrics::Metrics, pii::Pii},
    tools::{SqlTool, ToolContext, ToolRunner},
};
use call::cdr::Cause;
use conversation::{Agent, LlmRequest, Stage, ToolCall, TurnId};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use sip::IncomingInvite;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::runtime::Handle;

/// The trunks of a config and the agents they lead to.
pub struct TrunkCalls {
    config: Arc<Config>,
    agents: BTreeMap<String, AgentServices>,
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
        Self { config, agents }
    }

    /// The agents that can only understand the words of their file.
    pub fn vocabulary(&self) -> Vec<Vocabulary> {
        self.agents.values().filter_map(|agent| agent.vocabulary.clone()).collect()
    }

    fn trunk_of(&self, invite: &IncomingInvite) -> Result<&Trunk, Refusal> {
        self.config
            .trunk_for(invite.flow.remote.ip(), &invite.user)
            .map_err(|reason| Refusal { status: reason.status(), cause: Cause::NoTrunk })
    }
}

impl CallBuilder for TrunkCalls {
    fn trunk(&self, invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        let trunk = self.trunk_of(invite)?;
        Ok(Some(ArrivalTrunk {
            name: trunk.name.clone(),
            full_status: trunk.profile.at_cap.status,
            retry_after: Some(trunk.profile.at_cap.retry_after_seconds.clone()),
        }))
    }

    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        let trunk = self.trunk_of(new.invite)?;
        let agent =
            self.agents.get(&trunk.agent).ok_or(Refusal { status: 500, cause: Cause::InternalError })?;
        agent.gateway.warm();
        let caller = Pii::new(new.invite.from.user.clone());
        let calls = AgentCalls { codecs: trunk.profile.codecs.clone(), ..agent.calls.clone() };
        let mut built = calls.build(now, new)?;
        let today = today(&self.config.time_zone);
        built.providers.tools = Arc::new(CallTools { runner: agent.tools.clone(), caller, today });
        Ok(built)
    }
}

impl AgentServices {
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
        let gateway = Arc::new(AgentModels { gateway: stages::gateway(config, &agent)?, route });
        let clips = Arc::new(clips::render(&agent, &tts).await?);
        let tools = tool_runner(config, key, &agent, metrics)?;
        let today = today(&config.time_zone);
        let no_caller = CallTools { runner: tools.clone(), caller: Pii::default(), today };
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
            srtp: SrtpPolicy::default(),
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
    let tools: Vec<SqlTool> = agent.tools().iter().filter_map(SqlTool::of).collect();
    let schema = config.schemas.get(key).map_or("", String::as_str);
    ToolRunner::start(&config.server.data_dir, schema, tools, Handle::current(), metrics.clone())
        .map_err(|error| StartError::DataDir(format!("the tools of the agent `{key}`: {error}")))
}

/// The date where the agent is, which need not be that of this machine.
fn today(time_zone: &TimeZone) -> Date {
    Timestamp::now().to_zoned(time_zone.clone()).date()
}

/// The gateway, on one agent's route.
struct AgentModels {
    gateway: AiGateway,
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
    caller: Pii<String>,
    today: Date,
}

impl Tools for CallTools {
    fn run(&self, call: &CallInfo, turn: TurnId, tool: ToolCall, events: Events) {
        let context = ToolContext { call: call.call, caller: self.caller.clone(), today: self.today };
        self.runner.run(&context, turn, &tool, events);
    }
}
