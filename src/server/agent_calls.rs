//! Makes calls for one agent: what every call of it has in common, put together with what the INVITE brought.
//! Knows where a call's settings come from. Decides nothing about it.

use super::{BuiltCall, CallBuilder, NewCall, Refusal};
use crate::{call_actor::Providers, providers::CallInfo};
use call::{Call, CallConfig, CallContext, CallSetup, Clips};
use conversation::Agent;
use jiff::{Timestamp, tz::TimeZone};
use sip::{CodecSpec, LocalMedia, SrtpMode, SrtpSeed, SrtpSuite};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// The agent that answers every call.
#[derive(Clone)]
pub struct AgentCalls {
    /// Who answers.
    pub agent: Arc<Agent>,
    /// Speech that needs no provider.
    pub clips: Arc<Clips>,
    /// How its calls behave.
    pub config: CallConfig,
    /// Whom they work with.
    pub providers: Providers,
    /// Codecs it offers, preferred first.
    pub codecs: Vec<&'static str>,
    /// Whether keys may come as telephone-event (RFC 4733); else they come by INFO or as tones.
    pub telephone_event: bool,
    /// Whether their media is encrypted, and how.
    pub srtp: SrtpPolicy,
    /// What is known of a call, and what that allows.
    pub context: CallContext,
    /// Where "tomorrow" is reckoned.
    pub time_zone: TimeZone,
}

/// Whether media is encrypted, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SrtpPolicy {
    /// Off, optional or required.
    pub mode: SrtpMode,
    /// The ways to encrypt, preferred first in our offers.
    pub suites: Vec<SrtpSuite>,
}

impl SrtpPolicy {
    /// Where the keys of one call come from. Not from the seed of the call: its SSRC tells half of that.
    pub fn seed(&self) -> SrtpSeed {
        let mut secret = [0; 32];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        match self.mode {
            SrtpMode::Off => SrtpSeed::default(),
            // Without randomness there are no keys, and a call that must have them is refused.
            SrtpMode::Optional | SrtpMode::Required => {
                random.fill(&mut secret).map_or_else(|_| SrtpSeed::default(), |()| SrtpSeed::new(secret))
            }
        }
    }
}

impl AgentCalls {
    fn build_call(&self, now: Instant, new: &NewCall<'_>) -> Call {
        let started =
            i64::try_from(new.started_at_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let local = LocalMedia {
            codecs: self.codecs.iter().filter_map(|name| CodecSpec::named(name)).collect(),
            telephone_event: self.telephone_event,
            session_id: new.seed >> 1, // Fits the 63 bits that some peers read it into.
            srtp: self.srtp.mode,
            srtp_suites: self.srtp.suites.clone(),
            srtp_seed: self.srtp.seed(),
            ..LocalMedia::new(new.media.ip(), new.media.port())
        };
        let setup = CallSetup {
            id: new.call,
            agent: Arc::clone(&self.agent),
            clips: Arc::clone(&self.clips),
            grant: new.grant,
            offer: new.invite.offer.clone(),
            local,
            seed: new.seed,
            started_at_us: new.started_at_us,
            today: started.unwrap_or_default().to_zoned(self.time_zone.clone()).date(),
            context: self.context.clone(),
        };
        Call::new(now, self.config.clone(), setup)
    }
}

impl CallBuilder for AgentCalls {
    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        let machine = Box::new(self.build_call(now, &new));
        let language = self.agent.language().to_owned();
        let info = CallInfo {
            call: new.call,
            rate: machine.rate(),
            language,
            turn: None,
            may_hedge: new.level.allows_speculation(),
        };
        Ok(BuiltCall {
            machine,
            info,
            providers: self.providers.clone(),
            team: BTreeMap::new(),
            keeper: None,
        })
    }
}
