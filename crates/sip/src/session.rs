//! Session timers (RFC 4028): the two header fields, what both roles agree on, and when to refresh or give up.
//! Knows numbers and instants. Which request refreshes a session is for the endpoint to choose.

use crate::headers::{param, params_of, split_list};
use crate::message::{HeaderName, Message};
use crate::policy::{Refresher, SessionTimer, SessionTimerMode};
use std::time::{Duration, Instant};

/// RFC 4028 section 5: what Min-SE is without the header.
const DEFAULT_MIN_SE_S: u32 = 90;
/// Longer intervals are kept as a day: nobody means them, and instants must not overflow.
const LONGEST_S: u32 = 86_400;

/// One of the two sides of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Uac,
    Uas,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// What a request or response says of session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Said {
    /// Session-Expires in seconds.
    pub(crate) expires_s: Option<u32>,
    pub(crate) refresher: Option<Side>,
    /// Min-SE in seconds.
    pub(crate) min_se_s: Option<u32>,
    /// `timer` in Supported or Require.
    pub(crate) supported: bool,
}

impl Said {
    pub(crate) fn read(message: &Message) -> Self {
        let expires = message.value(&HeaderName::SessionExpires);
        let params = expires.and_then(|value| value.split_once(';')).map_or("", |(_, params)| params);
        let refresher = match param(params, "refresher") {
            Some(side) if side.eq_ignore_ascii_case("uac") => Some(Side::Uac),
            Some(side) if side.eq_ignore_ascii_case("uas") => Some(Side::Uas),
            Some(_) | None => None,
        };
        Self {
            expires_s: expires.and_then(delta_seconds),
            refresher,
            min_se_s: message.value(&HeaderName::MinSe).and_then(delta_seconds),
            supported: has_option(message, &HeaderName::Supported, "timer")
                || has_option(message, &HeaderName::Require, "timer"),
        }
    }
}

/// The number before any parameter; too large ones are as large as can be (RFC 3261 section 25.1: delta-seconds).
fn delta_seconds(value: &str) -> Option<u32> {
    let digits = value.split(';').next().unwrap_or_default().trim();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// Whether a list of option tags holds `tag`.
pub(crate) fn has_option(message: &Message, name: &HeaderName, tag: &str) -> bool {
    message
        .all(name)
        .flat_map(|field| split_list(&field.value))
        .any(|option| params_of(option).next().is_some_and(|(key, _)| key.eq_ignore_ascii_case(tag)))
}

/// What a 2xx of ours says, and what holds from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) interval_s: u32,
    pub(crate) refresher: Side,
    /// The peer knows the extension and has to refresh: the 2xx says `Require: timer` (section 9).
    pub(crate) require: bool,
}

/// Min-SE of the 422 that a request deserves (section 9); peers that do not know the extension cannot heed one.
pub(crate) fn too_small(policy: &SessionTimer, said: &Said) -> Option<u32> {
    let on = policy.mode != SessionTimerMode::Off && said.supported;
    (on && said.expires_s.is_some_and(|expires| expires < policy.min_se_s)).then_some(policy.min_se_s)
}

/// What we agree to as UAS (section 9, table 2). `current` is the session so far: a request without Session-Expires
/// in a dialog that has a timer must not end it on one side only.
pub(crate) fn as_uas(policy: &SessionTimer, said: &Said, current: Option<&Session>) -> Option<Agreed> {
    let asks = matches!(policy.mode, SessionTimerMode::Offer | SessionTimerMode::Require);
    if policy.mode == SessionTimerMode::Off {
        return None;
    }
    let floor = said.min_se_s.unwrap_or(DEFAULT_MIN_SE_S).max(policy.min_se_s);
    let interval_s = match (said.expires_s, current) {
        (Some(expires), _) => expires.min(policy.expires_s.max(floor)),
        (None, Some(current)) if said.supported || current.ours => current.interval_s.max(floor),
        (None, None) if asks => policy.expires_s.max(floor),
        (None, _) => return None,
    };
    let kept = current.map(|current| if current.ours { Side::Uas } else { Side::Uac });
    let refresher = match said.refresher {
        _ if !said.supported => Side::Uas,
        Some(side) if said.expires_s.is_some() => side,
        Some(_) | None => kept.unwrap_or(match policy.refresher {
            Refresher::Us => Side::Uas,
            Refresher::Peer | Refresher::Any => Side::Uac,
        }),
    };
    let require = refresher == Side::Uac;
    Some(Agreed { interval_s: interval_s.min(LONGEST_S), refresher, require })
}

/// What a 2xx to our request means (section 7.2): the interval, and whether we refresh. Without the header there is no
/// timer, unless we asked for one: then we keep it up alone, which finds a dead peer as well.
pub(crate) fn as_uac(policy: &SessionTimer, said: &Said, asked_s: Option<u32>) -> Option<(u32, bool)> {
    if policy.mode == SessionTimerMode::Off {
        return None;
    }
    match said.expires_s {
        Some(expires) => {
            // A shorter interval than the peer may ask for would be a way to make us busy.
            let interval_s = expires.clamp(policy.min_se_s.clamp(1, LONGEST_S), LONGEST_S);
            Some((interval_s, said.refresher != Some(Side::Uas)))
        }
        None => asked_s.map(|asked| (asked.clamp(1, LONGEST_S), true)),
    }
}

/// A session with a timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) interval_s: u32,
    /// We refresh it.
    pub(crate) ours: bool,
    /// When we refresh it.
    pub(crate) refresh_at: Option<Instant>,
    /// When the peer is given up (section 10).
    pub(crate) expires_at: Instant,
    /// When all of it must be over.
    pub(crate) ends_at: Instant,
}

impl Session {
    /// A session that was refreshed now.
    pub(crate) fn start(now: Instant, interval_s: u32, ours: bool) -> Self {
        let interval = Duration::from_secs(interval_s.into());
        let refresh_at = ours.then(|| now + refresh_after(interval));
        Self {
            interval_s,
            ours,
            refresh_at,
            expires_at: now + expires_after(interval),
            ends_at: now + interval,
        }
    }

    pub(crate) fn next_wake(&self) -> Instant {
        self.refresh_at.map_or(self.expires_at, |refresh| refresh.min(self.expires_at))
    }
}

/// Half the interval (section 7.2 recommends it) less 5 s, so that both sides never refresh at the same instant.
fn refresh_after(interval: Duration) -> Duration {
    interval / 2 - Duration::from_secs(5).min(interval / 10)
}

/// 32 s before the end (section 10), or a third of a short interval: the BYE still has time to arrive.
fn expires_after(interval: Duration) -> Duration {
    interval - Duration::from_secs(32).min(interval / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(expires_s: u32, refresher: Option<Side>, supported: bool) -> Said {
        Said { expires_s: Some(expires_s), refresher, min_se_s: None, supported }
    }

    #[test]
    fn a_session_of_90_s_is_refreshed_after_40_and_given_up_after_60() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        let now = Instant::now();
        let session = Session::start(now, 90, true);
        assert_eq!(session.refresh_at, Some(now + Duration::from_secs(40)));
        assert_eq!(session.expires_at, now + Duration::from_secs(60));
        let session = Session::start(now, 1800, false);
        assert_eq!((session.refresh_at, session.expires_at), (None, now + Duration::from_secs(1768)));
        assert!(Session::start(now, 1, true).refresh_at.is_some_and(|at| at > now), "never at once");
    }

    #[test]
    fn the_fields_are_read_leniently_and_never_overflow() {
        let text = |fields: &str| {
            format!("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{fields}\r\n\r\n")
        };
        let read = |fields: &str| Said::read(&crate::parser::parse(text(fields).as_bytes()).expect("parses"));
        let expected =
            Said { expires_s: Some(90), refresher: Some(Side::Uac), min_se_s: Some(91), supported: true };
        assert_eq!(read("x: 90 ;refresher=UAC\r\nMin-SE: 91;x\r\nk: path, timer"), expected);
        assert_eq!(read("Session-Expires: 99999999999999999999").expires_s, Some(u32::MAX));
        assert_eq!(read("Session-Expires: -1").expires_s, None);
        assert_eq!(read("Session-Expires: ;refresher=uas").expires_s, None);
    }

    #[test]
    fn as_uas_the_callers_choice_of_refresher_stands_and_ours_fills_the_gap() {
        let policy = SessionTimer::default();
        let agreed =
            |said: Said| as_uas(&policy, &said, None).map(|a| (a.interval_s, a.refresher, a.require));
        assert_eq!(agreed(said(600, None, true)), Some((600, Side::Uac, true)));
        assert_eq!(agreed(said(600, Some(Side::Uas), true)), Some((600, Side::Uas, false)));
        assert_eq!(
            agreed(said(600, None, false)),
            Some((600, Side::Uas, false)),
            "a proxy asked, the caller cannot"
        );
        assert_eq!(agreed(said(7200, None, true)), Some((1800, Side::Uac, true)), "lowered to ours");
        let wide = Said { min_se_s: Some(3600), ..said(7200, None, true) };
        assert_eq!(agreed(wide), Some((3600, Side::Uac, true)), "but not below the caller's Min-SE");
        assert_eq!(agreed(Said::default()), None);
        let offer =
            SessionTimer { mode: SessionTimerMode::Offer, refresher: Refresher::Us, ..policy.clone() };
        assert_eq!(as_uas(&offer, &Said::default(), None).map(|a| a.refresher), Some(Side::Uas));
        let off = SessionTimer { mode: SessionTimerMode::Off, ..policy.clone() };
        assert_eq!(as_uas(&off, &said(600, None, true), None), None);
        assert_eq!(too_small(&policy, &said(30, None, true)), Some(90));
        assert_eq!(too_small(&policy, &said(30, None, false)), None);
    }

    #[test]
    fn as_uac_the_answer_decides() {
        let policy = SessionTimer::default();
        assert_eq!(as_uac(&policy, &said(300, Some(Side::Uas), true), None), Some((300, false)));
        assert_eq!(as_uac(&policy, &said(300, None, true), None), Some((300, true)));
        assert_eq!(
            as_uac(&policy, &said(1, None, true), None),
            Some((90, true)),
            "a peer cannot make us busy"
        );
        assert_eq!(as_uac(&policy, &Said::default(), None), None);
        assert_eq!(as_uac(&policy, &Said::default(), Some(1800)), Some((1800, true)), "kept up alone");
    }
}
