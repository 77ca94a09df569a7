//! One call as it is kept: the call detail record (CDR), and one turn of it.
//! Knows columns and their meaning. Knows neither SQL nor how a call comes to have them.

use super::{Field, Kind, Value};
use crate::telemetry::Pii;
use call::{
    CallId, Event,
    cdr::{Cause, Cdr},
    latency::StageTime,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// One column of a call record, wherever it is written: database, CSV, Parquet.
pub struct Column {
    /// Its name, in every format.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Takes it from a record.
    pub get: fn(&CallRecord) -> Value,
    /// Puts it into one; false if the value makes no sense.
    pub set: fn(&mut CallRecord, &Value) -> bool,
}

macro_rules! columns {
    ($($name:literal: $($path:ident).+),* $(,)?) => {
        /// Every column, in the order in which they are read and written. A new field needs a line here, and a step of
        /// the schema.
        pub const COLUMNS: &[Column] = &[$(
            Column {
                name: $name,
                kind: kind_of(|record| &record.$($path).+),
                get: |record| record.$($path).+.to_value(),
                set: |record, value| match Field::from_value(value) {
                    Some(value) => {
                        record.$($path).+ = value;
                        true
                    }
                    None => false,
                },
            },
        )*];
    };
}

const fn kind_of<T: Field>(_: fn(&CallRecord) -> &T) -> Kind {
    T::KIND
}

columns! {
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
    "gap_p50_us": gap_p50_us,
    "gap_p95_us": gap_p95_us,
    "gap_max_us": gap_max_us,
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
        }
    }

    /// The record in a row that holds [`COLUMNS`]; `None` if a column makes no sense.
    pub fn from_row(row: &[Value]) -> Option<Self> {
        let mut record = Self::new(CallId(0), Direction::Inbound, "", 0);
        let set = COLUMNS.iter().zip(row).all(|(column, value)| (column.set)(&mut record, value));
        (set && row.len() >= COLUMNS.len()).then_some(record)
    }
}

impl From<&Cdr> for CallRecord {
    /// What a call says of itself at its end, as it is kept. A call of ours outward is marked by whoever dialled.
    fn from(cdr: &Cdr) -> Self {
        let arrival = &cdr.arrival;
        let invite_us = i64::try_from(arrival.invited_at_us).unwrap_or(i64::MAX);
        let after = |us: u64| invite_us.saturating_add_unsigned(us);
        let cause = cdr.cause.as_deref().and_then(Cause::named);
        Self {
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
            ..Self::new(arrival.call, Direction::Inbound, arrival.sip_call_id.clone(), invite_us)
        }
    }
}

impl Quality {
    /// The figures of the event that carries them.
    pub fn of(event: &Event) -> Option<Self> {
        let Event::Quality { received, lost, late, concealed, jitter_us, sent, foreign, .. } = event else {
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
        assert_eq!(CallRecord::from_row(&row), Some(record));
        assert_eq!(CallRecord::from_row(&row[1..]), None);
    }
}
