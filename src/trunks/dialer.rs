//! Places calls: a trunk or a group of them, target after target, until one takes the call or nobody can.
//! Knows attempts and their outcomes. What is said in the call is up to who asked for it.

use super::{
    outgoing::Placement,
    placed::Placed,
    runtime::{Shared, address},
    states::AttemptResult,
};
use crate::config::{Config, trunk::Trunk};
use call::cdr::Cause;
use sip::{
    Command, DialogKey, Event, Flow,
    failover::{Advice, Hunt, Outcome},
    locate::Target,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout_at};

/// Makes the SDP offer for a flow, whose local address the media address must fit.
pub type Offer<'a> = &'a (dyn Fn(&Flow) -> String + Send + Sync);
/// Hears of every provisional response: the dialog, its status and its SDP.
pub type Early<'a> = &'a (dyn Fn(DialogKey, u16, Option<&str>) + Send + Sync);

/// A call to place.
pub struct CallRequest {
    /// A trunk, or a group of trunks.
    pub to: String,
    /// Whom to call.
    pub number: String,
    /// Whose number is shown; `None`: the trunk's own.
    pub caller: Option<String>,
}

/// A call that was answered.
pub struct Leg {
    /// Its dialog.
    pub dialog: DialogKey,
    /// The answer to our offer; absent only if the peer broke the rules.
    pub sdp: Option<String>,
    /// The trunk that carries it.
    pub trunk: String,
    /// What happens to it from now on.
    pub events: mpsc::Receiver<Event>,
    /// Its port slot and its record: dropping the leg gives back the one and ends the other.
    pub(super) _placed: Placed,
}

/// One attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    /// Over which trunk.
    pub trunk: String,
    /// To which address; empty when none was found.
    pub target: String,
    /// The final status; absent when there was none.
    pub status: Option<u16>,
    /// What happened, for a person.
    pub reason: String,
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trunk, target, status, reason } = self;
        f.write_str(trunk)?;
        if !target.is_empty() {
            write!(f, " by {target}")?;
        }
        match status {
            Some(status) => write!(f, ": {status} {reason}"),
            None => write!(f, ": {reason}"),
        }
    }
}

/// Why there is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialError {
    /// There is no such trunk or group, or it has no outbound address.
    NoTrunk(String),
    /// There is no port for it now, and why.
    NoPort(String),
    /// The server stops.
    Draining,
    /// Nobody took it. The last attempt decided.
    Failed(Vec<AttemptFailure>),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrunk(reason) => f.write_str(reason),
            Self::NoPort(reason) => write!(f, "there is no port for this call: {reason}"),
            Self::Draining => f.write_str("the server is stopping: no new calls"),
            Self::Failed(attempts) => {
                for (number, attempt) in attempts.iter().enumerate() {
                    write!(f, "{}{attempt}", if number == 0 { "" } else { "; then " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for DialError {}

/// The trunks that a name means, in the order in which they are tried.
///
/// # Errors
/// [`DialError::NoTrunk`] says what there is instead.
pub fn trunks_of<'a>(config: &'a Config, name: &str) -> Result<Vec<&'a Trunk>, DialError> {
    let members: Vec<&Trunk> = match config.trunk_groups.get(name) {
        Some(members) => members.iter().filter_map(|member| config.trunk(member)).collect(),
        None => config.trunk(name).into_iter().collect(),
    };
    if members.is_empty() {
        let known = config.trunks.iter().map(|trunk| trunk.name.as_str());
        let known: Vec<&str> = known.chain(config.trunk_groups.keys().map(String::as_str)).collect();
        let known = known.join(", ");
        return Err(DialError::NoTrunk(format!("there is no trunk `{name}`; there are: {known}")));
    }
    let able: Vec<&Trunk> =
        members.into_iter().filter(|trunk| !trunk.profile.signalling.outbound.is_empty()).collect();
    if able.is_empty() {
        let help = "write outbound below its [trunk.signalling]";
        return Err(DialError::NoTrunk(format!("the trunk `{name}` has no outbound address; {help}")));
    }
    Ok(able)
}

/// Places calls. Clones share what is known of the targets.
#[derive(Clone)]
pub struct Dialer {
    shared: Arc<Shared>,
}

/// A dialog that was answered: its name, the answer to our offer, and what happens to it.
type Answer = (DialogKey, Option<String>, mpsc::Receiver<Event>);

/// A call on its way.
struct Calling {
    placed: Placed,
    failures: Vec<AttemptFailure>,
}

/// What one attempt came to.
enum Attempt {
    Answered(DialogKey, Option<String>, mpsc::Receiver<Event>),
    /// The status and its reason.
    Refused(u16, String),
    /// It rang until our patience ended: the target works, and another one would ring the same telephone.
    Unanswered,
    Silent,
    Unsent(String),
}

impl Dialer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes one port slot, places a call and waits until it is answered or nobody is left to ask. `offer` makes the SDP for a flow;
    /// `early` hears of every provisional response: its status and its SDP. Dropping the future gives the call up.
    ///
    /// # Errors
    /// [`DialError`] with every attempt.
    pub async fn call(
        &self,
        request: &CallRequest,
        offer: Offer<'_>,
        early: Early<'_>,
    ) -> Result<Leg, DialError> {
        let mut trunks = trunks_of(&self.shared.config, &request.to)?;
        // What is known to be down comes last, in its order.
        trunks.sort_by_key(|trunk| self.shared.states.is_down(&trunk.name));
        let Some(first) = trunks.first() else { return Err(DialError::Failed(Vec::new())) };
        let shown = request.caller.as_deref();
        let mut call = Calling {
            placed: Placed::begin(&self.shared, first, &request.number, shown).await?,
            failures: Vec::new(),
        };
        for trunk in trunks {
            for outbound in &trunk.profile.signalling.outbound {
                let placement = Placement::new(trunk, outbound, &request.number, request.caller.as_deref());
                let found = match placement {
                    Ok(placement) => {
                        self.shared.targets(trunk, outbound).await.map(|found| (placement, Hunt::new(found)))
                    }
                    Err(reason) => Err(reason),
                };
                match found {
                    Ok(way) => {
                        if let Some((dialog, sdp, events)) =
                            self.hunt(trunk, way, (offer, early), &mut call).await?
                        {
                            call.placed.answered(&trunk.name);
                            let (trunk, _placed) = (trunk.name.clone(), call.placed);
                            return Ok(Leg { dialog, sdp, trunk, events, _placed });
                        }
                    }
                    Err(reason) => {
                        call.placed.attempt();
                        let failure = (String::new(), None, reason);
                        self.note(trunk, &mut call, failure, AttemptResult::NoAnswer);
                    }
                }
            }
        }
        call.placed.failed(Cause::NotReached);
        Err(DialError::Failed(call.failures))
    }

    /// Every target of one address of a trunk. `None`: another one may have more luck.
    async fn hunt(
        &self,
        trunk: &Trunk,
        (placement, mut hunt): (Placement, Hunt),
        media: (Offer<'_>, Early<'_>),
        call: &mut Calling,
    ) -> Result<Option<Answer>, DialError> {
        while let Some((target, choice)) =
            self.shared.failover(trunk, |failover| failover.next(Instant::now(), &mut hunt))
        {
            if self.shared.is_stopping() {
                call.placed.failed(Cause::Draining);
                return Err(DialError::Draining);
            }
            call.placed.attempt();
            tracing::debug!(trunk = trunk.name, target = address(&target), why = choice.reason(), "dialling");
            let at = address(&target);
            let (outcome, rang, (status, reason)) = match self
                .attempt((trunk, &placement, &target), media, &mut call.placed)
                .await
            {
                Attempt::Answered(dialog, sdp, events) => {
                    self.shared.failover(trunk, |failover| {
                        failover.report(Instant::now(), &target, Outcome::Answered)
                    });
                    self.count(trunk, AttemptResult::Answered);
                    return Ok(Some((dialog, sdp, events)));
                }
                Attempt::Refused(status, reason) => {
                    (Outcome::Status(status, None), false, (Some(status), reason))
                }
                Attempt::Unanswered => (Outcome::Answered, true, (Some(480), "nobody answered".to_owned())),
                Attempt::Silent => (Outcome::Timeout, false, (None, "no response".to_owned())),
                Attempt::Unsent(reason) => (Outcome::TransportFailed, false, (None, reason)),
            };
            let advice =
                self.shared.failover(trunk, |failover| failover.report(Instant::now(), &target, outcome));
            let is_final = rang || advice == Advice::Stop;
            let result = match (is_final, status) {
                (true, _) => AttemptResult::Refused,
                (false, Some(_)) => AttemptResult::FailedOver,
                (false, None) => AttemptResult::NoAnswer,
            };
            self.note(trunk, call, (at, status, reason), result);
            if is_final {
                call.placed.failed(Cause::NotReached);
                return Err(DialError::Failed(std::mem::take(&mut call.failures)));
            }
        }
        Ok(None)
    }

    async fn attempt(
        &self,
        (trunk, placement, target): (&Trunk, &Placement, &Target),
        (offer, early): (Offer<'_>, Early<'_>),
        placed: &mut Placed,
    ) -> Attempt {
        let flow = match self.shared.flow(target) {
            Ok(flow) => flow,
            Err(reason) => return Attempt::Unsent(reason),
        };
        let (dialog, mut events) = self.shared.new_call(placed.hung_up());
        // Given up on every way out of here but the answered one, also when nobody waits for us any more.
        let mut guard = GiveUp { shared: &self.shared, dialog, armed: true };
        if !self.shared.command(placement.invite(trunk, dialog, flow, offer(&flow))) {
            return Attempt::Unsent("the server has no room for another call".to_owned());
        }
        let started = Instant::now();
        let timers = (trunk.profile.signalling.first_response, trunk.profile.timers.ring);
        let mut patience = started + timers.0;
        let mut rings = false;
        loop {
            let event = match timeout_at(patience.into(), events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return Attempt::Unsent("the call was lost".to_owned()),
                Err(_) if rings => return Attempt::Unanswered,
                Err(_) => return Attempt::Silent,
            };
            match heard(event) {
                // Somebody works on it: telephone networks take seconds to find a telephone.
                Heard::Trying => patience = longest(started, timers),
                Heard::Progress(status, sdp) => {
                    (rings, patience) = (true, longest(started, timers));
                    placed.rings();
                    early(dialog, status, sdp.as_deref());
                }
                Heard::Answered(sdp) => {
                    guard.armed = false;
                    return Attempt::Answered(dialog, sdp, events);
                }
                Heard::Failed(status, reason) => {
                    guard.armed = false;
                    self.shared.forget_call(dialog);
                    return Attempt::Refused(status, reason);
                }
                Heard::Nothing => {}
            }
        }
    }

    fn note(
        &self,
        trunk: &Trunk,
        call: &mut Calling,
        (target, status, reason): (String, Option<u16>, String),
        result: AttemptResult,
    ) {
        let failure = AttemptFailure { trunk: trunk.name.clone(), target, status, reason };
        // A busy subscriber is no failure of the trunk.
        if result != AttemptResult::Refused {
            self.shared.states.failed(&trunk.name, &format!("INVITE: {failure}"));
        }
        self.count(trunk, result);
        call.placed.attempt_failed(&failure);
        call.failures.push(failure);
    }

    fn count(&self, trunk: &Trunk, result: AttemptResult) {
        self.shared.states.note(&trunk.name, |state| {
            *state.attempts.entry(result.name().to_owned()).or_default() += 1;
        });
    }
}

fn longest(started: Instant, (first, ring): (Duration, Duration)) -> Instant {
    started + first.max(ring)
}

/// What an event means for a call that is not answered yet.
enum Heard {
    Trying,
    Progress(u16, Option<String>),
    Answered(Option<String>),
    Failed(u16, String),
    Nothing,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "before the answer nothing else concerns a dialer")]
fn heard(event: Event) -> Heard {
    match event {
        Event::Trying { .. } => Heard::Trying,
        Event::Progress { status, sdp, .. } => Heard::Progress(status, sdp),
        Event::Answered { sdp, .. } => Heard::Answered(sdp),
        Event::Failed { status, reason, .. } => Heard::Failed(status, reason),
        Event::Ended { .. } => Heard::Failed(487, "the call was ended".to_owned()),
        _ => Heard::Nothing,
    }
}

/// Cancels a call that nobody waits for any more.
struct GiveUp<'a> {
    shared: &'a Shared,
    dialog: DialogKey,
    armed: bool,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.forget_call(self.dialog);
            self.shared.command(Command::Cancel { dialog: self.dialog });
        }
    }
}
