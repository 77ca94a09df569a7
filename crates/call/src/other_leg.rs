//! The legs of a call besides the caller's, for its record: whom it was passed on to, where a call of ours was tried.
//! Knows what became of them. Knows neither their audio nor who decides about them.

use crate::Event;

/// Legs that one record keeps; a call that is passed on more often keeps the first of them.
const MOST: usize = 20;

/// What a leg is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The caller is passed on to somebody.
    Transfer,
    /// A call of ours outward is tried, and did not come to be this way.
    Attempt,
}

impl Purpose {
    /// As it stands in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Attempt => "attempt",
        }
    }
}

/// One leg. Times are microseconds since the INVITE of the call.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherLeg {
    /// What it is for.
    pub purpose: Purpose,
    /// Over which trunk, where it is not the call's own.
    pub trunk: Option<String>,
    /// Whom it leads to: a destination's name in the agent's file, a number or an address.
    pub peer: String,
    /// When it was asked for.
    pub began_after_us: u64,
    /// When somebody took it.
    pub answered_after_us: Option<u64>,
    /// When it was over, or out of our sight: what comes of a caller who is passed on is the carrier's to know.
    pub ended_after_us: Option<u64>,
    /// The final SIP status, where the far end told one.
    pub status: Option<u16>,
}

impl std::fmt::Debug for OtherLeg {
    /// Leaves out whom it leads to: that may be somebody's number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OtherLeg({}, {:?})", self.purpose.name(), self.status)
    }
}

/// Takes from an event of the call, at so many microseconds, what it says of its other legs.
#[expect(clippy::wildcard_enum_match_arm, reason = "a few of many events are about other legs")]
pub(crate) fn observe(legs: &mut Vec<OtherLeg>, at_us: u64, event: &Event) {
    let open = |legs: &mut Vec<OtherLeg>, answered: bool, status: Option<u16>| {
        let Some(leg) = legs.iter_mut().rfind(|leg| leg.ended_after_us.is_none()) else { return };
        leg.answered_after_us = answered.then_some(at_us);
        leg.ended_after_us = Some(at_us);
        leg.status = status;
    };
    match event {
        Event::Transfer { destination, state, .. } if state == "asked" && legs.len() < MOST => {
            legs.push(OtherLeg {
                purpose: Purpose::Transfer,
                trunk: None,
                peer: destination.clone(),
                began_after_us: at_us,
                answered_after_us: None,
                ended_after_us: None,
                status: None,
            });
        }
        Event::Transfer { state, status, .. } if state == "done" => open(legs, true, *status),
        Event::Transfer { state, status, .. } if state == "failed" => open(legs, false, *status),
        Event::Ended { .. } => open(legs, false, None),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(state: &str, status: Option<u16>) -> Event {
        Event::Transfer { destination: "desk".into(), state: state.into(), status }
    }

    #[test]
    fn a_transfer_that_fails_and_one_that_succeeds_are_two_legs() {
        let mut legs = Vec::new();
        let events = [
            (10, transfer("asked", None)),
            (20, transfer("accepted", Some(202))),
            (30, transfer("failed", Some(486))),
            (40, transfer("asked", None)),
            (50, transfer("done", Some(200))),
            (60, Event::Ended { cause: "transferred".into(), status: None }),
        ];
        events.iter().for_each(|(at, event)| observe(&mut legs, *at, event));
        let told = legs.iter().map(|leg| {
            (leg.began_after_us, leg.answered_after_us, leg.ended_after_us, leg.status, leg.peer.as_str())
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [(10, None, Some(30), Some(486), "desk"), (40, Some(50), Some(50), Some(200), "desk")]
        );
    }

    #[test]
    fn a_caller_who_hangs_up_meanwhile_ends_the_leg_too() {
        let mut legs = Vec::new();
        observe(&mut legs, 10, &transfer("asked", None));
        observe(&mut legs, 25, &Event::Ended { cause: "caller_hung_up".into(), status: None });
        assert_eq!((legs[0].answered_after_us, legs[0].ended_after_us), (None, Some(25)));
        assert!(!format!("{legs:?}").contains("desk"));
    }

    #[test]
    fn a_model_that_never_stops_passing_on_fills_no_memory() {
        let mut legs = Vec::new();
        for at in 0..1_000 {
            observe(&mut legs, 2 * at, &transfer("asked", None));
            observe(&mut legs, 2 * at + 1, &transfer("failed", None));
        }
        assert_eq!(legs.len(), MOST);
    }
}
