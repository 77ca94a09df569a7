//! The record of one call, gathered from its events, and the closed list of reasons for its end.
//! Knows no database: the shell writes the record down.

use crate::{
    CallId, Event, Stamped,
    admission::Level,
    other_leg::{self, OtherLeg},
    port_slots::LoadBand,
    spent::Spent,
};
use ai_gateway::Rates;
use std::sync::Arc;

/// Lines of an agent that are kept.
const MOST_NOTES: usize = 20;

/// Why a call ended. Every call ends for exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The caller hung up; of a call of ours, whoever was called.
    CallerHungUp,
    /// Who placed the call gave up before the answer.
    CallerCancelled,
    /// The agent said goodbye.
    AgentEnded,
    /// The caller was passed on to somebody else.
    Transferred,
    /// The caller said nothing for too long.
    NoInput,
    /// The longest allowed duration was reached.
    MaxDuration,
    /// Neither side made a sound for too long.
    MaxSilence,
    /// The agent said the same again and again.
    RepeatLoop,
    /// A machine was at the other end.
    BotLoop,
    /// No language model answered, several turns in a row.
    LlmFailed,
    /// The server was stopping.
    ServerStopping,
    /// The operator ended it.
    Admin,
    /// No packet came from the caller for too long.
    MediaTimeout,
    /// Our 200 was never acknowledged.
    AckTimeout,
    /// Nobody refreshed the session in time (RFC 4028).
    SessionExpired,
    /// The offer held no codec we speak, or was no offer at all.
    NoCommonCodec,
    /// Speech-to-text was lost for good.
    SttFailed,
    /// Nothing could be spoken any more, not even a prepared sentence.
    TtsFailed,
    /// A fault of ours.
    InternalError,
    /// A call of ours that nobody took.
    NotReached,
    /// Refused: every port slot was in use.
    PortsFull,
    /// Refused: the server was stopping.
    Draining,
    /// Refused: no trunk matched.
    NoTrunk,
    /// Refused: a stage had no room, such as a recogniser whose provider allows no further stream.
    StageFull,
    /// Refused: the machine was short of processors, memory or time.
    MachineBusy,
    /// Refused or redirected, because the call context said so.
    ContextRefused,
}

impl Cause {
    /// Every cause, for metrics that must exist at zero.
    pub const ALL: [Self; 26] = [
        Self::CallerHungUp,
        Self::CallerCancelled,
        Self::AgentEnded,
        Self::Transferred,
        Self::NoInput,
        Self::MaxDuration,
        Self::MaxSilence,
        Self::RepeatLoop,
        Self::BotLoop,
        Self::LlmFailed,
        Self::ServerStopping,
        Self::Admin,
        Self::MediaTimeout,
        Self::AckTimeout,
        Self::SessionExpired,
        Self::NoCommonCodec,
        Self::SttFailed,
        Self::TtsFailed,
        Self::InternalError,
        Self::NotReached,
        Self::PortsFull,
        Self::Draining,
        Self::NoTrunk,
        Self::StageFull,
        Self::MachineBusy,
        Self::ContextRefused,
    ];

    /// As it stands in records, traces and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller_hung_up",
            Self::CallerCancelled => "caller_cancelled",
            Self::AgentEnded => "agent_ended",
            Self::Transferred => "transferred",
            Self::NoInput => "no_input",
            Self::MaxDuration => "max_duration",
            Self::MaxSilence => "max_silence",
            Self::RepeatLoop => "repeat_loop",
            Self::BotLoop => "bot_loop",
            Self::LlmFailed => "llm_failed",
            Self::ServerStopping => "server_stopping",
            Self::Admin => "admin",
            Self::MediaTimeout => "media_timeout",
            Self::AckTimeout => "ack_timeout",
            Self::SessionExpired => "session_expired",
            Self::NoCommonCodec => "no_common_codec",
            Self::SttFailed => "stt_failed",
            Self::TtsFailed => "tts_failed",
            Self::InternalError => "internal_error",
            Self::NotReached => "not_reached",
            Self::PortsFull => "ports_full",
            Self::Draining => "draining",
            Self::NoTrunk => "no_trunk",
            Self::StageFull => "stage_full",
            Self::MachineBusy => "machine_busy",
            Self::ContextRefused => "context_refused",
        }
    }
}

impl Cause {
    /// The cause of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Who ended the call: `caller`, `agent`, `server`, or `network` when somebody just went silent.
    pub const fn party(self) -> &'static str {
        match self {
            Self::CallerHungUp | Self::CallerCancelled => "caller",
            Self::AgentEnded | Self::Transferred | Self::NoInput | Self::RepeatLoop | Self::BotLoop => {
                "agent"
            }
            Self::MediaTimeout
            | Self::AckTimeout
            | Self::SessionExpired
            | Self::MaxSilence
            | Self::NotReached => "network",
            Self::MaxDuration
            | Self::LlmFailed
            | Self::ServerStopping
            | Self::Admin
            | Self::NoCommonCodec
            | Self::SttFailed
            | Self::TtsFailed
            | Self::InternalError
            | Self::PortsFull
            | Self::Draining
            | Self::NoTrunk
            | Self::StageFull
            | Self::MachineBusy
            | Self::ContextRefused => "server",
        }
    }

    /// The cause value of ITU-T Q.850: of a call that was refused by its status, as RFC 3398 section 8.2.6.1 maps it.
    pub const fn q850(self, status: Option<u16>) -> u16 {
        match (self, status) {
            (Self::CallerCancelled, _) => 16,
            (_, Some(401 | 402 | 403 | 407 | 603)) => 21,
            (_, Some(404 | 485 | 604)) => 1,
            (_, Some(405)) => 63,
            (_, Some(406 | 501)) => 79,
            (_, Some(408 | 504)) => 102,
            (_, Some(410)) => 22,
            (_, Some(480)) => 18,
            (_, Some(482 | 483)) => 25,
            (_, Some(484)) => 28,
            (_, Some(486 | 600)) => 17,
            (_, Some(488)) => 65,
            (_, Some(502)) => 38,
            (_, Some(300..)) => 41,
            (Self::MediaTimeout | Self::AckTimeout | Self::SessionExpired | Self::NotReached, _) => 102,
            (Self::NoCommonCodec, _) => 65,
            (
                Self::SttFailed
                | Self::TtsFailed
                | Self::LlmFailed
                | Self::InternalError
                | Self::ServerStopping,
                _,
            ) => 41,
            (_, _) => 16,
        }
    }
}

/// What is known of a call before it has an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Our name for it.
    pub call: CallId,
    /// The carrier's Call-ID.
    pub sip_call_id: String,
    /// Wall clock of the INVITE, in microseconds since 1970.
    pub invited_at_us: u64,
    /// The trunk it came over.
    pub trunk: String,
    /// The number or user that calls.
    pub caller: String,
    /// The number or user that was dialled.
    pub called: String,
}

impl std::fmt::Debug for Arrival {
    /// Leaves the numbers out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arrival({} over {})", self.call, self.trunk)
    }
}

/// What became of the sound of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The file.
    pub path: String,
    /// `whole`; `gaps` when the disk was behind; `failed` when it could not be written to the end.
    pub state: &'static str,
    /// Why it may be recorded, as the operator has put it in the config.
    pub consent: Option<String>,
}

/// One call's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Cdr {
    /// What was known at the INVITE.
    pub arrival: Arrival,
    /// We placed it.
    pub is_outbound: bool,
    /// The agent that answered, with its version.
    pub agent: Option<String>,
    /// The pool of that slot.
    pub pool: Option<String>,
    /// The cap of that pool, and how busy it was with this call.
    pub load: Option<(u32, LoadBand)>,
    /// The pool that was too full for it.
    pub overflowed_from: Option<String>,
    /// How full its pool counted as, with this call.
    pub level: Option<Level>,
    /// Its other legs, in the order in which they began; the first twenty.
    pub other_legs: Vec<OtherLeg>,
    /// What was recorded of it.
    pub recorded: Option<Recorded>,
    /// The slot it held.
    pub port_slot: Option<u32>,
    /// Slots in use when it was granted, this one included.
    pub concurrency: Option<u32>,
    /// Port slots there were then.
    pub capacity: Option<u32>,
    /// The codec's name.
    pub codec: Option<String>,
    /// From the INVITE to our 180, in microseconds.
    pub rang_after_us: Option<u64>,
    /// From the INVITE to our 200, in microseconds.
    pub answered_after_us: Option<u64>,
    /// From the INVITE to the end, in microseconds.
    pub ended_after_us: Option<u64>,
    /// Why it ended.
    pub cause: Option<String>,
    /// The final status of the INVITE.
    pub sip_status: Option<u16>,
    /// The language it ended in, if that is not the one it began in.
    pub language: Option<String>,
    /// Turns the caller took.
    pub turns: u32,
    /// How often the caller took the floor from the agent.
    pub barge_ins: u32,
    /// Turns that had to be saved by a prepared sentence.
    pub fallbacks: u32,
    /// Tools that ended.
    pub tools: u32,
    /// Those of them that gave no result.
    pub tools_failed: u32,
    /// What all of them took together, in microseconds.
    pub tool_us: u64,
    /// Lines that the agent wrote for it; the first twenty.
    pub notes: Vec<String>,
    /// Prices that hold for this call; `None`: nobody has named any.
    pub rates: Option<Arc<Rates>>,
    /// What it has used and cost so far.
    pub spent: Spent,
    /// Response gaps in microseconds, in order.
    pub gaps_us: Vec<u64>,
    /// The media figures of the caller's leg.
    pub quality: Option<Event>,
}

impl Cdr {
    /// The record at the INVITE.
    pub fn new(arrival: Arrival) -> Self {
        Self {
            arrival,
            is_outbound: false,
            agent: None,
            pool: None,
            load: None,
            overflowed_from: None,
            level: None,
            other_legs: Vec::new(),
            recorded: None,
            port_slot: None,
            concurrency: None,
            capacity: None,
            codec: None,
            rang_after_us: None,
            answered_after_us: None,
            ended_after_us: None,
            cause: None,
            sip_status: None,
            language: None,
            turns: 0,
            barge_ins: 0,
            fallbacks: 0,
            tools: 0,
            tools_failed: 0,
            tool_us: 0,
            notes: Vec::new(),
            rates: None,
            spent: Spent::default(),
            gaps_us: Vec::new(),
            quality: None,
        }
    }

    /// The record of a call that got no further than the INVITE.
    pub fn refused(arrival: Arrival, cause: Cause, status: u16, after_us: u64) -> Self {
        Self {
            cause: Some(cause.name().to_owned()),
            sip_status: Some(status),
            ended_after_us: Some(after_us),
            ..Self::new(arrival)
        }
    }

    /// Takes note of an event of the call.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a record keeps a few of many events")]
    pub fn observe(&mut self, stamped: &Stamped) {
        self.spent.observe(&stamped.event, self.rates.as_deref());
        other_leg::observe(&mut self.other_legs, stamped.at_us, &stamped.event);
        match &stamped.event {
            Event::Started { agent, port_slot, concurrency, codec } => {
                self.agent = Some(agent.clone());
                self.port_slot = Some(*port_slot);
                self.concurrency = Some(*concurrency);
                self.codec = Some(codec.clone());
            }
            Event::Answered => {
                self.answered_after_us.get_or_insert(stamped.at_us);
                self.sip_status = Some(200);
            }
            Event::TurnEnded { .. } => self.turns += 1,
            Event::BargeIn { .. } => self.barge_ins += 1,
            Event::Fallback { .. } => self.fallbacks += 1,
            Event::ToolEnded { ok, ms, .. } => {
                self.tools += 1;
                self.tools_failed += u32::from(!ok);
                self.tool_us += u64::from(*ms) * 1_000;
            }
            Event::Noted { text, .. } if self.notes.len() < MOST_NOTES => self.notes.push(text.clone()),
            Event::HandedOver { agent } if self.notes.len() < MOST_NOTES => {
                self.notes.push(format!("handed over to {agent}"));
            }
            Event::Language { language, .. } => self.language = Some(language.clone()),
            Event::Latency { latency, .. } => self.gaps_us.push(latency.total_us),
            Event::Quality { .. } => self.quality = Some(stamped.event.clone()),
            Event::Ended { cause, status } => {
                self.cause = Some(cause.clone());
                self.ended_after_us = Some(stamped.at_us);
                self.sip_status = self.sip_status.or(*status);
            }
            _ => {}
        }
    }

    /// What a turn has cost when its reply is complete, or when a guess at it has come to nothing, and the call with it: to be told at once.
    pub fn cost_of_turn(&self, stamped: &Stamped) -> Option<Event> {
        let (Event::ReplyDone { turn, .. } | Event::GuessWasted { turn, .. }) = &stamped.event else {
            return None;
        };
        let rates = self.rates.as_deref()?;
        let (llm, tts) = self.spent.of_turn(*turn, rates);
        let answered = self.answered_after_us.map_or(0, |at| stamped.at_us.saturating_sub(at));
        let total = self.spent.parts(rates, stamped.at_us, answered).total();
        Some(Event::Cost { turn: *turn, currency: rates.currency.clone(), llm, tts, call: total })
    }

    /// What the call has cost, when it is over: nothing is charged for hearing a call that was never answered.
    pub fn cost(&self) -> Option<(&str, crate::spent::Parts)> {
        let rates = self.rates.as_deref()?;
        let end = self.ended_after_us.unwrap_or_default();
        let answered = self.answered_after_us.map_or(0, |at| end.saturating_sub(at));
        let heard = if self.answered_after_us.is_some() { end } else { 0 };
        Some((&rates.currency, self.spent.parts(rates, heard, answered)))
    }

    /// The response gap that `share` (0 to 1) of the turns stayed within, in microseconds.
    pub fn gap_us(&self, share: f64) -> Option<u64> {
        let mut gaps = self.gaps_us.clone();
        gaps.sort_unstable();
        let last = gaps.len().checked_sub(1)?;
        gaps.get((last as f64 * share).round() as usize).copied()
    }
}
