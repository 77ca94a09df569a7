//! Counters of the endpoint. All of them exist at zero from the start, so that a rate can be taken.
//! Knows numbers only.

use super::authentication::REFUSALS;
use crate::gate::GateStatistics;
use std::collections::BTreeMap;

/// The methods that are counted by name; every other one is counted as `other`.
const METHODS: &[&str] = &[
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "PRACK", "UPDATE", "REFER", "NOTIFY", "REGISTER",
    "other",
];

/// Why messages got no answer.
const DROP_REASONS: &[&str] = &[
    "too_large",
    "too_many_headers",
    "bad_start_line",
    "bad_status",
    "no_via",
    "response_via",
    "response_without_transaction",
    "response_malformed",
    "ack_without_transaction",
    "unsendable_address",
    "flow_closed",
];

/// What has passed through the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatistics {
    /// Requests received, by method.
    pub requests_in: BTreeMap<&'static str, u64>,
    /// Requests sent, by method, retransmissions included.
    pub requests_out: BTreeMap<&'static str, u64>,
    /// Responses received, by status.
    pub responses_in: BTreeMap<u16, u64>,
    /// Responses sent, by status, retransmissions included.
    pub responses_out: BTreeMap<u16, u64>,
    /// Messages that got no answer and were not expected, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Keep-alives (empty datagrams) received.
    pub keep_alives: u64,
    /// Requests that came again and were answered by their transaction.
    pub retransmissions_in: u64,
    /// Messages we sent again.
    pub retransmissions_out: u64,
    /// Commands that named no dialog, or one in the wrong state.
    pub commands_ignored: u64,
    /// Requests refused because a store was full.
    pub refused_full: u64,
    /// Calls refused while draining.
    pub refused_draining: u64,
    /// What the gate did; all zero without one.
    pub gate: GateStatistics,
    /// Challenges (401, 407) to our requests that were answered with credentials.
    pub challenges_answered: u64,
    /// Challenges that were not, by reason.
    pub challenges_refused: BTreeMap<&'static str, u64>,
    /// Large requests that went over UDP because TCP failed.
    pub udp_after_tcp: u64,
    /// Transactions that exist now.
    pub transactions: usize,
    /// Dialogs that exist now.
    pub dialogs: usize,
}

impl Default for EndpointStatistics {
    fn default() -> Self {
        let by_method: BTreeMap<_, _> = METHODS.iter().map(|method| (*method, 0)).collect();
        Self {
            requests_in: by_method.clone(),
            requests_out: by_method,
            responses_in: BTreeMap::new(),
            responses_out: BTreeMap::new(),
            dropped: DROP_REASONS.iter().map(|reason| (*reason, 0)).collect(),
            keep_alives: 0,
            retransmissions_in: 0,
            retransmissions_out: 0,
            commands_ignored: 0,
            refused_full: 0,
            refused_draining: 0,
            gate: GateStatistics::default(),
            challenges_answered: 0,
            challenges_refused: REFUSALS.iter().map(|reason| (*reason, 0)).collect(),
            udp_after_tcp: 0,
            transactions: 0,
            dialogs: 0,
        }
    }
}

impl EndpointStatistics {
    pub(super) fn request_in(&mut self, method: &str) {
        *self.requests_in.entry(known(method)).or_default() += 1;
    }

    pub(super) fn drop(&mut self, reason: &'static str) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    pub(super) fn refuse_challenge(&mut self, reason: &'static str) {
        *self.challenges_refused.entry(reason).or_default() += 1;
    }

    /// Counts one of our own messages by its first line.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if let Some(code) = bytes.strip_prefix(b"SIP/2.0 ") {
            let status = code.iter().take(3).fold(0_u16, |sum, digit| sum * 10 + u16::from(digit & 0x0f));
            *self.responses_out.entry(status).or_default() += 1;
            return;
        }
        let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        *self.requests_out.entry(known(std::str::from_utf8(method).unwrap_or("other"))).or_default() += 1;
    }
}

fn known(method: &str) -> &'static str {
    METHODS.iter().find(|known| **known == method).copied().unwrap_or("other")
}
