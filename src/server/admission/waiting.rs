//! Calls about which somebody else is asked before they begin.
//! Knows how they wait, and what becomes of what they hold. Whom to ask the builder of calls knows.

use super::{
    Admission, Admitted, Arc, Arrival, AtCap, CallFacts, Cause, ContextAnswer, Denied, DialogKey,
    IncomingInvite, Instant, Message, Place, Refusal, Request, no_ports,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::task::JoinHandle;

/// A call that waits for what somebody else says about it. It holds its slot, and no ports: it may never need any.
pub(super) struct Waiting {
    invite: IncomingInvite,
    arrival: Arrival,
    at_cap: AtCap,
    invited: Instant,
    pub(super) held: (Admitted, Place),
    question: Option<JoinHandle<()>>,
}

impl Admission {
    /// Builds the call, unless somebody else has to be asked about it first.
    pub(super) fn ask_or_start(
        &mut self,
        now: Instant,
        invite: IncomingInvite,
        arrival: Arrival,
        at_cap: AtCap,
        held: (Admitted, Place),
        commands: &mut Vec<sip::Command>,
    ) {
        let builder = Arc::clone(&self.services.calls);
        // A bug in asking must not take the task with it that all calls need.
        let question = catch_unwind(AssertUnwindSafe(|| builder.ask(&invite, &arrival))).unwrap_or(None);
        let dialog = invite.dialog;
        let waiting = |question| Waiting { invite, arrival, at_cap, invited: now, held, question };
        let Some(question) = question else {
            return self.begin(now, waiting(None), &CallFacts::default(), commands);
        };
        let sip = self.sip.clone();
        let question = tokio::spawn(async move {
            // Whoever asks may fail; the call must hear of something.
            let answer = tokio::spawn(question).await;
            let answer = answer.unwrap_or_else(|_| ContextAnswer::Take(CallFacts::default()));
            sip.send(Request::Message(Message::Context { dialog, answer })).await;
        });
        self.waiting.insert(dialog, waiting(Some(question)));
    }

    /// Somebody else has said what is to become of a call. It may have gone meanwhile.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        dialog: DialogKey,
        answer: ContextAnswer,
        commands: &mut Vec<sip::Command>,
    ) {
        let Some(waiting) = self.waiting.remove(&dialog) else { return };
        let (status, reason, redirect) = match answer {
            ContextAnswer::Take(facts) => return self.begin(now, waiting, &facts, commands),
            ContextAnswer::Refuse { status, reason, redirect } => (status, reason, redirect),
        };
        let headers = redirect.map(|uri| ("Contact".to_owned(), format!("<{uri}>"))).into_iter().collect();
        commands.push(sip::Command::Respond { dialog, status, reason, sdp: None, headers });
        self.forget(now, waiting, Refusal { status, cause: Cause::ContextRefused });
    }

    /// The caller gave up before anybody had said anything: the endpoint has told it so.
    pub(super) fn gave_up(&mut self, now: Instant, dialog: DialogKey) {
        if let Some(waiting) = self.waiting.remove(&dialog) {
            waiting.question.iter().for_each(JoinHandle::abort);
            self.forget(now, waiting, Refusal { status: 487, cause: Cause::CallerCancelled });
        }
    }

    /// What a call held that does not begin comes back, and its record is written.
    fn forget(&mut self, now: Instant, waiting: Waiting, refusal: Refusal) {
        let Waiting { arrival, invited, held, .. } = waiting;
        self.release(now, held.0.grant.slot);
        self.count_refused(arrival, refusal, now.saturating_duration_since(invited));
    }

    /// Starts a call with what it holds. What was taken comes back if it does not begin.
    fn begin(&mut self, now: Instant, waiting: Waiting, facts: &CallFacts, commands: &mut Vec<sip::Command>) {
        let Waiting { invite, arrival, at_cap, invited, held, .. } = waiting;
        let sockets = match self.status.draining {
            true => Err(Refusal { status: 503, cause: Cause::Draining }),
            false => self.ports.acquire().map_err(|error| no_ports(&error)),
        };
        let started = sockets.and_then(|sockets| {
            let sockets = &mut Some(sockets);
            let started = self.start((now, invited), &invite, &arrival, facts, held, sockets);
            if let Some(sockets) = sockets.take() {
                self.ports.release(now, sockets);
            }
            started
        });
        if let Err(refusal) = started {
            self.release(now, held.0.grant.slot);
            let after = invited.elapsed();
            self.deny((invite.dialog, arrival), Denied::Refused(refusal), Some(at_cap), after, commands);
        }
    }
}
