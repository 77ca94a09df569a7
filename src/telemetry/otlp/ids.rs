//! Ids of traces and spans, computed from the call's own id.
//! Anybody who knows the call can compute them, so a request carries its parent before that span is over.

use call::CallId;
use conversation::TurnId;

/// The parts of a call that are spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// From the INVITE to the answer: the root.
    Setup,
    /// The port slot, from grant to release.
    Lifecycle,
    /// The end, with the figures of the whole call.
    End,
    /// One turn.
    Turn(TurnId),
    /// What speech-to-text did for it.
    Stt(TurnId),
    /// The n-th request to a language model of the turn.
    Chat(TurnId, u32),
    /// What text-to-speech did for it.
    Tts(TurnId),
    /// The n-th tool of the turn.
    Tool(TurnId, u32),
    /// The n-th decision of the call.
    Decision(u32),
}

/// Sixteen bytes whose second half is the call's own id, as it stands in records and logs.
pub(super) fn trace_id(call: CallId) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(call.0).max(1).to_be_bytes());
    id[8..].copy_from_slice(&call.0.to_be_bytes());
    id
}

/// Never zero, which would mean no span.
pub(super) fn span_id(call: CallId, part: Part) -> [u8; 8] {
    let (kind, a, b) = match part {
        Part::Setup => (1, 0, 0),
        Part::Lifecycle => (2, 0, 0),
        Part::End => (3, 0, 0),
        Part::Turn(turn) => (4, turn.0, 0),
        Part::Stt(turn) => (5, turn.0, 0),
        Part::Chat(turn, n) => (6, turn.0, n),
        Part::Tts(turn) => (7, turn.0, 0),
        Part::Tool(turn, n) => (8, turn.0, n),
        Part::Decision(n) => (9, n, 0),
    };
    let place = (u64::from(a) << 32) | u64::from(b);
    mix(mix(call.0 ^ kind).wrapping_add(place)).max(1).to_be_bytes()
}

/// The `traceparent` header (W3C Trace Context, level 1) that makes what a provider, a tool or a webhook does a child of
/// this turn, or of the call where there is no turn.
pub fn traceparent(call: CallId, turn: Option<TurnId>) -> String {
    let part = turn.map_or(Part::Setup, Part::Turn);
    format!("00-{}-{}-01", hex(&trace_id(call)), hex(&span_id(call, part)))
}

/// The trace of a call, as exemplars and other systems write it.
pub(crate) fn trace_id_text(call: CallId) -> String {
    hex(&trace_id(call))
}

/// Tells two texts apart without telling either.
pub(super) fn digest(text: &str) -> String {
    let fold = |hash: u64, byte: u8| mix(hash ^ u64::from(byte));
    format!("{:016x}", text.bytes().fold(text.len() as u64, fold))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    crate::hex::hex(bytes)
}

/// The finaliser of SplitMix64: ids must look random, for collectors that sample by their digits.
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_trace_names_its_call_and_no_two_spans_of_it_are_alike() {
        let call = CallId(0x0123_4567_89ab_cdef);
        assert!(traceparent(call, None).starts_with("00-") && traceparent(call, None).ends_with("-01"));
        assert_eq!(&traceparent(call, None)[19..35], "0123456789abcdef");
        let mut seen = BTreeSet::new();
        let fixed = [Part::Setup, Part::Lifecycle, Part::End];
        let turns = (0..200).map(TurnId).flat_map(|turn| {
            let several = (0..4).flat_map(move |n| [Part::Chat(turn, n), Part::Tool(turn, n)]);
            [Part::Turn(turn), Part::Stt(turn), Part::Tts(turn), Part::Decision(turn.0)]
                .into_iter()
                .chain(several)
        });
        for part in fixed.into_iter().chain(turns) {
            let id = span_id(call, part);
            assert!(id != [0; 8] && seen.insert(id), "{part:?}");
        }
    }

    #[test]
    fn even_the_call_that_is_zero_has_a_valid_trace() {
        assert!(trace_id(CallId(0)).iter().any(|byte| *byte != 0));
    }
}
