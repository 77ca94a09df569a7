//! One leg of a call as it is kept: the caller's, the one a transfer asked for, each attempt of a call of ours.
//! Knows columns. What a call says of its legs is the call's business; media figures stand in the call's own row.

use super::{
    CallRecord, Direction, Value, call_id,
    column::{self, columns},
};
use crate::telemetry::Pii;
use call::{
    CallId,
    cdr::{Cause, Cdr},
    other_leg::{OtherLeg, Purpose},
};
use serde::{Deserialize, Serialize};

/// One row per leg. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegRecord {
    /// Our name of the call that it is a leg of.
    #[serde(with = "call_id")]
    pub call: CallId,
    /// Its number in the call; 0 is the leg that the call began with.
    pub leg: u32,
    /// `call`, `transfer` or `attempt`.
    pub purpose: String,
    /// Who called whom.
    pub direction: Direction,
    /// The trunk that carries it.
    pub trunk: Option<String>,
    /// The far end: who called, who was called, or the destination's name in the agent's file.
    pub peer: Pii<String>,
    /// The Call-ID header, where the leg is a dialog of ours.
    pub sip_call_id: Option<String>,
    /// When it began.
    pub begin_us: i64,
    /// When it rang, where that is known.
    pub ring_us: Option<i64>,
    /// When it was answered.
    pub answer_us: Option<i64>,
    /// When it was over, or out of our sight.
    pub end_us: Option<i64>,
    /// Why it ended: the call's cause for its first leg; `answered` or `failed` for the others.
    pub end_cause: Option<String>,
    /// The final SIP status.
    pub sip_status: Option<u16>,
    /// The same as telephone exchanges count it (ITU-T Q.850).
    pub q850_cause: Option<u16>,
}

columns! {
    /// Every column of a leg, in the order in which they are read and written.
    LEG_COLUMNS of LegRecord;
    "call": call,
    "leg": leg,
    "purpose": purpose,
    "direction": direction,
    "trunk": trunk,
    "peer": peer,
    "sip_call_id": sip_call_id,
    "begin_us": begin_us,
    "ring_us": ring_us,
    "answer_us": answer_us,
    "end_us": end_us,
    "end_cause": end_cause,
    "sip_status": sip_status,
    "q850_cause": q850_cause,
}

impl LegRecord {
    /// The leg that a call began with.
    pub fn first_of(record: &CallRecord) -> Self {
        let peer = match record.direction {
            Direction::Inbound => &record.caller,
            Direction::Outbound => &record.called,
        };
        Self {
            call: record.call,
            leg: 0,
            purpose: "call".to_owned(),
            direction: record.direction,
            trunk: record.trunk.clone(),
            peer: peer.clone(),
            sip_call_id: Some(record.sip_call_id.clone()).filter(|id| !id.is_empty()),
            begin_us: record.invite_us,
            ring_us: record.ring_us,
            answer_us: record.answer_us,
            end_us: record.end_us,
            end_cause: record.end_cause.clone(),
            sip_status: record.sip_status,
            q850_cause: record.q850_cause,
        }
    }

    /// The others, as the call itself tells them.
    pub(super) fn others_of(cdr: &Cdr) -> Vec<Self> {
        let invite_us = i64::try_from(cdr.arrival.invited_at_us).unwrap_or(i64::MAX);
        let leg = |(place, leg): (usize, &OtherLeg)| Self {
            call: cdr.arrival.call,
            leg: u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1),
            purpose: leg.purpose.name().to_owned(),
            // Both lead away from us: a REFER has the carrier call somebody in our name.
            direction: match leg.purpose {
                Purpose::Transfer | Purpose::Attempt => Direction::Outbound,
            },
            trunk: leg.trunk.clone().or_else(|| Some(cdr.arrival.trunk.clone())),
            peer: leg.peer.clone().into(),
            sip_call_id: None,
            begin_us: invite_us.saturating_add_unsigned(leg.began_after_us),
            ring_us: None,
            answer_us: leg.answered_after_us.map(|us| invite_us.saturating_add_unsigned(us)),
            end_us: leg.ended_after_us.map(|us| invite_us.saturating_add_unsigned(us)),
            end_cause: leg
                .ended_after_us
                .map(|_| if leg.answered_after_us.is_some() { "answered" } else { "failed" }.to_owned()),
            sip_status: leg.status,
            q850_cause: leg.status.map(|status| match leg.answered_after_us {
                Some(_) => 16,
                None => Cause::Transferred.q850(Some(status)),
            }),
        };
        cdr.other_legs.iter().enumerate().map(leg).collect()
    }

    /// The leg in a row that holds [`LEG_COLUMNS`]; `None` if a column makes no sense.
    pub fn from_row(row: &[Value]) -> Option<Self> {
        let nobody = CallRecord::new(CallId(0), Direction::Inbound, "", 0);
        column::filled(LEG_COLUMNS, Self::first_of(&nobody), row)
    }
}
