//! What admission asks of those who make a call out of an INVITE, and of those who keep its record.
//! Knows what is known of a call before it begins. Decides nothing.

use super::super::trunk_loads::{AtCap, TrunkLimits};
use crate::{
    call_actor::{Keeper, Machine, Providers},
    providers::CallInfo,
};
use call::{
    CallId,
    admission::Level,
    cdr::{Arrival, Cause, Cdr},
    port_slots::Grant,
};
use conversation::{Checkpoint, Variables};
use sip::IncomingInvite;
use std::{collections::BTreeMap, net::SocketAddr, pin::Pin, sync::Arc, time::Instant};

/// Keeps call records. Called on the SIP task: it must not wait.
pub trait RecordSink: Send + Sync {
    /// A call has its slot and begins.
    fn begin(&self, cdr: &Cdr, start: CallStart);
    /// A call that we place has its slot and is about to be tried.
    fn begin_outgoing(&self, _cdr: &Cdr) {}
    /// A call is over, or was refused: then this is the first that is heard of it.
    fn end(&self, cdr: &Cdr);
}

/// What somebody else knows of a call before it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFacts {
    /// Who is to answer, by the key in the config; the trunk's agent where absent.
    pub agent: Option<String>,
    /// Where the same caller's last conversation stood, if it was cut off.
    pub resumed: Option<Arc<Checkpoint>>,
    /// What is known of the caller.
    pub variables: Variables,
}

/// What somebody else says about a call before it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextAnswer {
    /// It is taken.
    Take(CallFacts),
    /// It is not.
    Refuse {
        /// The final status.
        status: u16,
        /// The reason phrase; the status's own where absent.
        reason: Option<String>,
        /// Where the caller is to try instead, with a 3xx.
        redirect: Option<String>,
    },
}

/// A question to somebody else. It runs beside the calls; its answer comes when it comes, but always.
pub type ContextQuestion = Pin<Box<dyn Future<Output = ContextAnswer> + Send>>;

/// What goes with the record of a call that begins.
pub struct CallStart {
    /// What another process needs to end the call, should this one die.
    pub dialog: sip::SavedDialog,
    /// To be told when both are on the disk: the call's answer waits for it, for a while.
    pub recorded: Box<dyn FnOnce() + Send>,
}

/// Makes a call out of an INVITE. Called on the SIP task: it must not wait.
pub trait CallBuilder: Send + Sync {
    /// The trunk that a call comes over, before anything is spent on it; `None`: whatever the server's config says.
    ///
    /// # Errors
    /// [`Refusal`] when no trunk claims it.
    fn trunk(&self, _invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        Ok(None)
    }

    /// The prices that hold for a call of this trunk and place, of which this is known, if there are any.
    fn rates(
        &self,
        _invite: &IncomingInvite,
        _overflow: bool,
        _facts: &CallFacts,
    ) -> Option<Arc<ai_gateway::Rates>> {
        None
    }

    /// What has to be known before the call is built; `None`: it can be built at once. The caller hears nothing but
    /// 100 Trying meanwhile, and its slot is held.
    fn ask(&self, _invite: &IncomingInvite, _arrival: &Arrival) -> Option<ContextQuestion> {
        None
    }

    /// The machine of a new call and whom it works with.
    ///
    /// # Errors
    /// [`Refusal`] when nobody here takes such a call.
    fn build(&self, now: Instant, call: NewCall<'_>) -> Result<BuiltCall, Refusal>;
}

/// What the trunk of a new call decides before the call is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalTrunk {
    /// Its name, for the record.
    pub name: String,
    /// Who calls, where the trunk says it elsewhere than in From.
    pub caller: Option<String>,
    /// Who was called, where the trunk says it elsewhere than in the Request-URI.
    pub called: Option<String>,
    /// The answer to calls over the cap.
    pub at_cap: AtCap,
    /// What it may bring.
    pub limits: TrunkLimits,
    /// The pool of this call, by its place.
    pub pool: usize,
    /// Whether the called number is a priority number there.
    pub priority: bool,
    /// The permits of the stages that it needs, by their places.
    pub needs: Vec<usize>,
}

/// A call that has its slot and its sockets.
pub struct NewCall<'a> {
    /// Its name.
    pub call: CallId,
    /// The INVITE.
    pub invite: &'a IncomingInvite,
    /// Its slot.
    pub grant: Grant,
    /// The cap was reached: the slot is one of the trunk's overflow slots.
    pub overflow: bool,
    /// The pool that the slot is of, by its place.
    pub pool: usize,
    /// How full that pool is with this call.
    pub level: Level,
    /// Who calls, as the trunk tells it.
    pub caller: &'a str,
    /// Who was called, as the trunk tells it.
    pub called: &'a str,
    /// What somebody else knows of it.
    pub facts: &'a CallFacts,
    /// Where the caller is to send its RTP.
    pub media: SocketAddr,
    /// For SSRC and first sequence numbers.
    pub seed: u64,
    /// Wall clock of the INVITE, in microseconds since 1970.
    pub started_at_us: u64,
}

/// What a call is made of, as far as the server does not know it.
pub struct BuiltCall {
    /// The decisions.
    pub machine: Box<dyn Machine>,
    /// What providers may know.
    pub info: CallInfo,
    /// Whom it works with.
    pub providers: Providers,
    /// Whom agents work with that may take over, by the agent's name.
    pub team: BTreeMap<String, Providers>,
    /// Where its conversation is kept, if it is.
    pub keeper: Option<Arc<dyn Keeper>>,
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The final status.
    pub status: u16,
    /// For the record.
    pub cause: Cause,
}
