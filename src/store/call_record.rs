//! One call as it is kept: the call detail record (CDR), and one turn of it.
//! Knows columns and their meaning. Knows neither SQL nor how a call comes to have them.

use super::{
    LegRecord, Value,
    column::{self, columns},
};
use crate::telemetry::{Pii, trace_id_text};
use call::{
    CallId, Event,
    cdr::{Cause, Cdr},
    latency::StageTime,
    other_leg::{OtherLeg, Purpose},
};
use serde::{Deserialize, Serialize};

/// End cause of calls whose server died under them; written when the next one starts.
pub const CRASHED: &str = "server_crash";

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They called us.
    Inbound,
    /// We called them.
    Outbound,
}

impl Direction {
    /// As stored, shown and labelled.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    /// The direction of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Inbound, Self::Outbound].into_iter().find(|direction| direction.name() == name)
    }
}

/// How the media of the caller's leg went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Packets received.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Frames made up for missing ones.
    pub concealed: u64,
    /// Interarrival jitter in microseconds (RFC 3550 section 6.4.1).
    pub jitter_us: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets from strangers, ignored.
    pub foreign: u64,
    /// Lost packets that were found in the one behind them.
    #[serde(default)]
    pub recovered: u64,
    /// There and back, by the far end's reports, in microseconds.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    /// Packets of ours that never came there, by its reports.
    #[serde(default)]
    pub remote_lost: Option<u64>,
    /// The jitter it reports, in microseconds.
    #[serde(default)]
    pub remote_jitter_us: Option<u64>,
    /// How good what we heard was: a mean opinion score, 1 to 4.5 (ITU-T G.107), over the call and at its worst.
    #[serde(default)]
    pub mos_in: Option<f64>,
    /// The worst interval of it.
    #[serde(default)]
    pub mos_in_min: Option<f64>,
    /// How good we were heard, by the far end's reports.
    #[serde(default)]
    pub mos_out: Option<f64>,
    /// The worst interval of it.
    #[serde(default)]
    pub mos_out_min: Option<f64>,
}

/// One row per INVITE, refused ones too. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Our name of the call.
    #[serde(with = "call_id")]
    pub call: CallId,
    /// The carrier's name of it: the Call-ID header.
    pub sip_call_id: String,
    /// Who called whom.
    pub direction: Direction,
    /// The trunk it came by.
    pub trunk: Option<String>,
    /// The agent that answered.
    pub agent: Option<String>,
    /// The calling number or address (ANI).
    pub caller: Pii<String>,
    /// The number or address dialled (DNIS).
    pub called: Pii<String>,
    /// When the INVITE came.
    pub invite_us: i64,
    /// When 200 OK was sent.
    pub answer_us: Option<i64>,
    /// When it was over; absent while it is running.
    pub end_us: Option<i64>,
    /// Why it ended.
    pub end_cause: Option<String>,
    /// The final SIP status of the INVITE.
    pub sip_status: Option<u16>,
    /// The port slot it held.
    pub port_slot: Option<u32>,
    /// Slots in use when it got its slot, this one included.
    pub concurrency: Option<u32>,
    /// The codec's name.
    pub codec: Option<String>,
    /// Turns of the agent.
    pub turns: u32,
    /// How often the caller took the floor from the agent.
    pub barge_ins: u32,
    /// Media figures.
    pub quality: Quality,
    /// Median response gap in microseconds.
    pub gap_p50_us: Option<u64>,
    /// Longest response gap in microseconds.
    pub gap_max_us: Option<u64>,
    /// The response gap that 95 of 100 turns stayed within, in microseconds.
    #[serde(default)]
    pub gap_p95_us: Option<u64>,
    /// The server that took it, where several share a database.
    #[serde(default)]
    pub node: Option<String>,
    /// Port slots there were when it began: what `concurrency` is to be compared with.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// When 180 Ringing was sent; with `invite_us` the post-dial delay.
    #[serde(default)]
    pub ring_us: Option<i64>,
    /// Who ended it: `caller`, `agent`, `server` or `network`.
    #[serde(default)]
    pub hangup_party: Option<String>,
    /// Why it ended, as telephone exchanges count it (ITU-T Q.850).
    #[serde(default)]
    pub q850_cause: Option<u16>,
    /// Turns that a prepared sentence had to save.
    #[serde(default)]
    pub fallbacks: u32,
    /// Tools that ended.
    #[serde(default)]
    pub tools: u32,
    /// Those of them that gave no result.
    #[serde(default)]
    pub tools_failed: u32,
    /// What all of them took together, in microseconds.
    #[serde(default)]
    pub tool_us: u64,
    /// Tokens in, as far as providers have said.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens out, as far as providers have said.
    #[serde(default)]
    pub output_tokens: u64,
    /// Characters given to text-to-speech.
    #[serde(default)]
    pub tts_characters: u64,
    /// The currency of the costs; absent when no prices are configured.
    #[serde(default)]
    pub cost_currency: Option<String>,
    /// What speech-to-text cost; absent when it is not known, as are the others.
    #[serde(default)]
    pub cost_stt: Option<f64>,
    /// What language models cost.
    #[serde(default)]
    pub cost_llm: Option<f64>,
    /// What text-to-speech cost.
    #[serde(default)]
    pub cost_tts: Option<f64>,
    /// What the trunk costs.
    #[serde(default)]
    pub cost_telephony: Option<f64>,
    /// All together, when all are known.
    #[serde(default)]
    pub cost_total: Option<f64>,
    /// The trace of it, as a collector knows it: 32 hexadecimal digits.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// The agent's name, without its version.
    #[serde(default)]
    pub agent_name: Option<String>,
    /// The version of the agent's file.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The port pool that its slot was of.
    #[serde(default)]
    pub pool: Option<String>,
    /// The pool that was too full for it, where another one took it.
    #[serde(default)]
    pub overflowed_from: Option<String>,
    /// How full its pool counted as when it began: `normal`, `warn`, `alert`, `overflow` or `full`.
    #[serde(default)]
    pub pool_level: Option<String>,
    /// How busy its pool was when it began, as the label of that name in the metrics.
    #[serde(default)]
    pub load_band: Option<String>,
    /// Whom the caller was passed on to last: the destination's name in the agent's file.
    #[serde(default)]
    pub transfer_to: Option<String>,
    /// What came of it: `done`, `failed`, or `asked` if the call ended before that was known.
    #[serde(default)]
    pub transfer_status: Option<String>,
    /// The file that its sound was written to.
    #[serde(default)]
    pub recording: Option<String>,
    /// `whole`, `gaps` or `failed`.
    #[serde(default)]
    pub recording_state: Option<String>,
    /// Why it may be recorded, as the operator has put it.
    #[serde(default)]
    pub recording_consent: Option<String>,
    /// What the agent wrote down, a line each.
    #[serde(default)]
    pub notes: Option<Pii<String>>,
    /// The language it went on in, a BCP 47 tag, if it changed.
    #[serde(default)]
    pub language: Option<String>,
    /// Its legs beyond the first: no column, rows of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_legs: Vec<LegRecord>,
}

columns! {
    /// Every column, in the order in which they are read and written. A new field needs a line here, and a step of the
    /// schema.
    COLUMNS of CallRecord;
    "id": call,
    "sip_call_id": sip_call_id,
    "direction": direction,
    "trunk": trunk,
    "agent": agent,
    "caller": caller,
    "called": called,
    "invite_us": invite_us,
    "ring_us": ring_us,
    "answer_us": answer_us,
    "end_us": end_us,
    "end_cause": end_cause,
    "hangup_party": hangup_party,
    "sip_status": sip_status,
    "q850_cause": q850_cause,
    "node": node,
    "port_slot": port_slot,
    "concurrency": concurrency,
    "capacity": capacity,
    "codec": codec,
    "turns": turns,
    "barge_ins": barge_ins,
    "fallbacks": fallbacks,
    "tools": tools,
    "tools_failed": tools_failed,
    "tool_us": tool_us,
    "received": quality.received,
    "lost": quality.lost,
    "late": quality.late,
    "concealed": quality.concealed,
    "jitter_us": quality.jitter_us,
    "sent": quality.sent,
    "foreign_packets": quality.foreign,
    "recovered": quality.recovered,
    "rtt_us": quality.rtt_us,
    "remote_lost": quality.remote_lost,
    "remote_jitter_us": quality.remote_jitter_us,
    "mos_in": quality.mos_in,
    "mos_in_min": quality.mos_in_min,
    "mos_out": quality.mos_out,
    "mos_out_min": quality.mos_out_min,
    "gap_p50_us": gap_p50_us,
    "gap_p95_us": gap_p95_us,
    "gap_max_us": gap_max_us,
    "input_tokens": input_tokens,
    "output_tokens": output_tokens,
    "tts_characters": tts_characters,
    "cost_currency": cost_currency,
    "cost_stt": cost_stt,
    "cost_llm": cost_llm,
    "cost_tts": cost_tts,
    "cost_telephony": cost_telephony,
    "cost_total": cost_total,
    "trace_id": trace_id,
    "agent_name": agent_name,
    "agent_version": agent_version,
    "pool": pool,
    "overflowed_from": overflowed_from,
    "pool_level": pool_level,
    "load_band": load_band,
    "transfer_to": transfer_to,
    "transfer_status": transfer_status,
    "recording": recording,
    "recording_state": recording_state,
    "recording_consent": recording_consent,
    "notes": notes,
    "language": language,
}

impl CallRecord {
    /// The record of a call that has just begun.
    pub fn new(call: CallId, direction: Direction, sip_call_id: impl Into<String>, invite_us: i64) -> Self {
        Self {
            call,
            sip_call_id: sip_call_id.into(),
            direction,
            trunk: None,
            agent: None,
            caller: Pii::default(),
            called: Pii::default(),
            invite_us,
            answer_us: None,
            end_us: None,
            end_cause: None,
            sip_status: None,
            port_slot: None,
            concurrency: None,
            codec: None,
            turns: 0,
            barge_ins: 0,
            quality: Quality::default(),
            gap_p50_us: None,
            gap_max_us: None,
            gap_p95_us: None,
            node: None,
            capacity: None,
            ring_us: None,
            hangup_party: None,
            q850_cause: None,
            fallbacks: 0,
            tools: 0,
            tools_failed: 0,
            tool_us: 0,
            input_tokens: 0,
            output_tokens: 0,
            tts_characters: 0,
            cost_currency: None,
            cost_stt: None,
            cost_llm: None,
            cost_tts: None,
            cost_telephony: None,
            cost_total: None,
            trace_id: None,
            agent_name: None,
            agent_version: None,
            pool: None,
            overflowed_from: None,
            pool_level: None,
            load_band: None,
            transfer_to: None,
            transfer_status: None,
            recording: None,
            recording_state: None,
            recording_consent: None,
            notes: None,
            language: None,
            other_legs: Vec::new(),
        }
    }

    /// All its legs; the first is the one it began with.
    pub fn legs(&self) -> impl Iterator<Item = LegRecord> {
        std::iter::once(LegRecord::first_of(self)).chain(self.other_legs.iter().cloned())
    }

    /// The record in a row that holds [`COLUMNS`]; `None` if a column makes no sense.
    pub fn from_row(row: &[Value]) -> Option<Self> {
        column::filled(COLUMNS, Self::new(CallId(0), Direction::Inbound, "", 0), row)
    }
}

impl From<&Cdr> for CallRecord {
    /// What a call says of itself at its end, as it is kept.
    fn from(cdr: &Cdr) -> Self {
        let arrival = &cdr.arrival;
        let invite_us = i64::try_from(arrival.invited_at_us).unwrap_or(i64::MAX);
        let after = |us: u64| invite_us.saturating_add_unsigned(us);
        let cause = cdr.cause.as_deref().and_then(Cause::named);
        let cost = cdr.cost();
        let direction = if cdr.is_outbound { Direction::Outbound } else { Direction::Inbound };
        let transfer = cdr.other_legs.iter().rfind(|leg| leg.purpose == Purpose::Transfer);
        let agent = cdr.agent.as_deref().and_then(|agent| agent.rsplit_once(' '));
        let recorded = cdr.recorded.as_ref();
        let notes: Vec<_> = cdr.notes.iter().map(|note| note.replace(['\r', '\n'], " ")).collect();
        Self {
            trace_id: Some(trace_id_text(arrival.call)),
            agent_name: agent.map(|(name, _)| name.to_owned()),
            agent_version: agent.map(|(_, version)| version.to_owned()),
            pool: cdr.pool.clone(),
            overflowed_from: cdr.overflowed_from.clone(),
            pool_level: cdr.level.map(|level| level.name().to_owned()),
            load_band: cdr.load.map(|(_, band)| band.name().to_owned()),
            transfer_to: transfer.map(|leg| leg.peer.clone()),
            transfer_status: transfer.map(|leg| came_of(leg).to_owned()),
            recording: recorded.map(|recorded| recorded.path.clone()),
            recording_state: recorded.map(|recorded| recorded.state.to_owned()),
            recording_consent: recorded.and_then(|recorded| recorded.consent.clone()),
            notes: (!notes.is_empty()).then(|| notes.join("\n").into()),
            language: cdr.language.clone(),
            other_legs: LegRecord::others_of(cdr),
            trunk: Some(arrival.trunk.clone()),
            agent: cdr.agent.clone(),
            caller: Pii::new(arrival.caller.clone()),
            called: Pii::new(arrival.called.clone()),
            answer_us: cdr.answered_after_us.map(after),
            end_us: cdr.ended_after_us.map(after),
            end_cause: cdr.cause.clone(),
            sip_status: cdr.sip_status,
            port_slot: cdr.port_slot,
            concurrency: cdr.concurrency,
            codec: cdr.codec.clone(),
            turns: cdr.turns,
            barge_ins: cdr.barge_ins,
            quality: cdr.quality.as_ref().and_then(Quality::of).unwrap_or_default(),
            gap_p50_us: cdr.gap_us(0.5),
            gap_max_us: cdr.gap_us(1.0),
            gap_p95_us: cdr.gap_us(0.95),
            capacity: cdr.capacity,
            ring_us: cdr.rang_after_us.map(after),
            hangup_party: cause.map(|cause| cause.party().to_owned()),
            q850_cause: cause.map(|cause| cause.q850(cdr.sip_status)),
            fallbacks: cdr.fallbacks,
            tools: cdr.tools,
            tools_failed: cdr.tools_failed,
            tool_us: cdr.tool_us,
            input_tokens: cdr.spent.input_tokens,
            output_tokens: cdr.spent.output_tokens,
            tts_characters: cdr.spent.characters,
            cost_currency: cost.map(|(currency, _)| currency.to_owned()),
            cost_stt: cost.and_then(|(_, parts)| parts.stt),
            cost_llm: cost.and_then(|(_, parts)| parts.llm),
            cost_tts: cost.and_then(|(_, parts)| parts.tts),
            cost_telephony: cost.and_then(|(_, parts)| parts.telephony),
            cost_total: cost.and_then(|(_, parts)| parts.total()),
            ..Self::new(arrival.call, direction, arrival.sip_call_id.clone(), invite_us)
        }
    }
}

/// What came of passing the caller on; a call that ended before anybody knew says only that it was asked for.
fn came_of(leg: &OtherLeg) -> &'static str {
    match (leg.answered_after_us, leg.status) {
        (Some(_), _) => "done",
        (None, None) => "asked",
        (None, Some(_)) => "failed",
    }
}

impl Quality {
    /// The figures of the event that carries them.
    pub fn of(event: &Event) -> Option<Self> {
        let Event::Quality { received, lost, late, concealed, jitter_us, sent, foreign, recovered, .. } =
            event
        else {
            return None;
        };
        let Event::Quality { rtt_us, remote_lost, remote_jitter_us, mos_in, mos_out, .. } = event else {
            return None;
        };
        Some(Self {
            received: *received,
            lost: *lost,
            late: *late,
            concealed: *concealed,
            jitter_us: *jitter_us,
            sent: *sent,
            foreign: *foreign,
            recovered: *recovered,
            rtt_us: *rtt_us,
            remote_lost: *remote_lost,
            remote_jitter_us: *remote_jitter_us,
            mos_in: mos_in.map(|mos| mos.average),
            mos_in_min: mos_in.map(|mos| mos.minimum),
            mos_out: mos_out.map(|mos| mos.average),
            mos_out_min: mos_out.map(|mos| mos.minimum),
        })
    }
}

/// One turn as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Its number; 0 is the greeting.
    pub turn: u32,
    /// When it began, in microseconds since the INVITE.
    pub at_us: u64,
    /// What the caller said.
    pub caller_text: Option<Pii<String>>,
    /// Why the caller's turn was held to be over.
    pub reason: Option<String>,
    /// What the agent set out to say.
    pub agent_text: Option<Pii<String>>,
    /// Whether the caller cut it short.
    pub interrupted: bool,
    /// The response gap in microseconds.
    pub total_us: Option<u64>,
    /// Where it went.
    pub stages: Vec<StageTime>,
}

/// A [`CallId`] as its 16 hexadecimal digits.
pub mod call_id {
    use call::CallId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the digits.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(call: &CallId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(call)
    }

    /// Reads the digits.
    ///
    /// # Errors
    /// When the text is not hexadecimal.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CallId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::cdr::{Arrival, Cause};

    #[test]
    fn a_refused_call_is_a_record_like_any_other() {
        let arrival = Arrival {
            call: CallId(1),
            sip_call_id: "a@b".into(),
            invited_at_us: 1_000_000,
            trunk: "generic".into(),
            caller: "+15550100".into(),
            called: "100".into(),
        };
        let record = CallRecord::from(&Cdr::refused(arrival, Cause::PortsFull, 503, 300));
        assert_eq!((record.invite_us, record.answer_us, record.end_us), (1_000_000, None, Some(1_000_300)));
        assert_eq!((record.end_cause.as_deref(), record.sip_status), (Some("ports_full"), Some(503)));
        assert_eq!((record.hangup_party.as_deref(), record.q850_cause), (Some("server"), Some(41)));
        assert!(!format!("{record:?}").contains("+15550100"));
        let row: Vec<Value> = COLUMNS.iter().map(|column| (column.get)(&record)).collect();
        assert_eq!(CallRecord::from_row(&row), Some(record.clone()));
        assert_eq!(CallRecord::from_row(&row[1..]), None);
        assert_eq!(record.legs().count(), 1);
    }

    #[test]
    fn a_record_says_who_answered_whom_the_caller_went_to_and_what_was_kept() {
        let arrival = Arrival {
            call: CallId(5),
            sip_call_id: "a@b".into(),
            invited_at_us: 1_000_000,
            trunk: "generic".into(),
            caller: "+15550100".into(),
            called: "100".into(),
        };
        let mut cdr = Cdr::new(arrival);
        let transfer =
            |state: &str, status| Event::Transfer { destination: "desk".into(), state: state.into(), status };
        let noted = |text: &str| Event::Noted { turn: conversation::TurnId(1), text: text.into() };
        let events = [
            Event::Started {
                agent: "front desk 3".into(),
                port_slot: 0,
                concurrency: 1,
                codec: "PCMU".into(),
            },
            noted("wants a\nrefund"),
            noted("is in a hurry"),
            transfer("asked", None),
            transfer("done", Some(200)),
        ];
        for (at_us, event) in (1..).zip(events) {
            cdr.observe(&call::Stamped { at_us, event });
        }
        let (path, consent) = ("/data/1.wav".to_owned(), Some("announced".to_owned()));
        cdr.recorded = Some(call::cdr::Recorded { path, state: "whole", consent });
        let record = CallRecord::from(&cdr);
        assert_eq!(
            (record.agent_name.as_deref(), record.agent_version.as_deref()),
            (Some("front desk"), Some("3"))
        );
        assert_eq!(
            (record.transfer_to.as_deref(), record.transfer_status.as_deref()),
            (Some("desk"), Some("done"))
        );
        assert_eq!(
            record.notes.as_ref().map(|notes| notes.expose().as_str()),
            Some("wants a refund\nis in a hurry")
        );
        assert_eq!(record.recording_consent.as_deref(), Some("announced"));
        assert_eq!(record.trace_id.as_ref().map(String::len), Some(32));
        let legs: Vec<_> = record.legs().map(|leg| (leg.leg, leg.purpose, leg.sip_status)).collect();
        assert_eq!(legs, [(0, "call".to_owned(), None), (1, "transfer".to_owned(), Some(200))]);
        assert!(!format!("{record:?}").contains("refund"));
    }
}
