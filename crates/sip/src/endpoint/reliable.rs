//! Reliable provisional responses and PRACK in both roles (RFC 3262).
//! Knows which response waits for which PRACK. Whether there are any is the policy's choice.

use super::facts::{cseq_number, sdp_body, to_tag};
use super::io::{DialogKey, Event, Flow};
use super::store::Purpose;
use super::uas::{Refusal, Request};
use super::{Endpoint, Step, routing};
use crate::dialog::{Dialog, Phase};
use crate::message::{HeaderName, Message};
use crate::pending::{Answer, EarlyDialog, Unpracked};
use crate::policy::Reliable;
use crate::session::has_option;
use std::time::Instant;

/// The most early dialogs of one INVITE that are kept.
const MAX_EARLY: usize = 8;

/// How a provisional response goes out.
enum Way {
    Reliably,
    Plainly,
    /// It cannot go out at all.
    Nowhere,
}

impl Endpoint {
    /// The user's provisional answer to the first INVITE: reliably if both sides can.
    pub(super) fn provisional(&mut self, step: &mut Step<'_>, key: DialogKey, mut answer: Answer) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if !dialog.policy.early_media {
            answer.sdp = None;
        }
        let way = way(dialog, &answer);
        match way {
            Way::Plainly => {
                if dialog.incoming.as_ref().is_some_and(|incoming| !incoming.offer) {
                    // An offer of ours must go out reliably (RFC 3261 section 13.2.1).
                    answer.sdp = None;
                }
                self.answer_invite(step, key, answer, None);
            }
            Way::Nowhere => self.statistics.commands_ignored += 1,
            Way::Reliably => {
                dialog.provisional.get_or_insert_default().push(answer);
                self.advance_provisional(step, key);
            }
        }
    }

    /// Sends what may go out next: one reliable response at a time (section 3), then the 2xx that waited.
    pub(super) fn advance_provisional(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let busy = dialog.offered.as_ref().is_some_and(|offered| offered.is_prack);
        let Some(provisional) = dialog.provisional.as_mut().filter(|open| open.unpracked.is_none() && !busy)
        else {
            return;
        };
        if let Some(answer) = provisional.queue.pop_front() {
            let first = provisional.rseq == 0;
            let rseq = if first { 1 + self.identifiers.below(0x7fff_0000) } else { provisional.rseq + 1 };
            provisional.rseq = rseq;
            return self.answer_invite(step, key, answer, Some(rseq));
        }
        if let Some(answer) = provisional.accept.take() {
            self.answer_invite(step, key, answer, None);
        }
    }

    /// A reliable provisional response has left.
    pub(super) fn note_unpracked(
        &mut self,
        now: Instant,
        key: DialogKey,
        flow: Flow,
        (bytes, sdp): (Vec<u8>, bool),
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if let Some(incoming) = dialog.incoming.as_mut().filter(|incoming| incoming.offer && sdp) {
            incoming.settled = true;
        }
        let unpracked = Unpracked::new(now, flow, (bytes, sdp), &self.config.timers);
        dialog.provisional.get_or_insert_default().unpracked = Some(unpracked);
    }

    /// Section 3: the 2xx waits for the PRACK of a response with a description.
    pub(super) fn waits_for_prack(&self, key: DialogKey) -> bool {
        let Some(dialog) = self.store.dialogs.get(&key) else { return false };
        dialog.provisional.as_ref().is_some_and(|provisional| provisional.holds_description())
            || dialog.offered.as_ref().is_some_and(|offered| offered.is_prack)
    }

    pub(super) fn accept_after_prack(&mut self, key: DialogKey, answer: Answer) {
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.provisional.get_or_insert_default().accept.get_or_insert(answer);
        }
    }

    /// The response comes again, or nobody has acknowledged it for 64*T1: then the INVITE fails (section 3).
    pub(super) fn fire_provisional(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let Some(provisional) = dialog.provisional.as_mut() else { return };
        let Some(unpracked) = provisional.unpracked.as_mut() else { return };
        if unpracked.ends <= step.now {
            provisional.unpracked = None;
            return self.reject_incoming(step, key, 504);
        }
        if unpracked.next <= step.now {
            unpracked.advance(step.now);
            let (flow, bytes) = (unpracked.flow, unpracked.response.clone());
            self.statistics.retransmissions_out += 1;
            self.send(step, flow, bytes);
        }
    }

    /// A PRACK of the peer.
    pub(super) fn handle_prack(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let wanted =
            dialog.provisional.as_ref().filter(|open| open.unpracked.is_some()).map(|open| open.rseq);
        let wanted = wanted.zip(dialog.incoming.as_ref().map(|incoming| incoming.cseq));
        let rack = request.message.value(&HeaderName::RAck).and_then(parse_rack);
        if rack.is_some() && rack == dialog.late_rack {
            dialog.late_rack = None;
            return self.answer_ok(step, request);
        }
        if rack.is_none() || rack != wanted {
            return self.refuse(step, request, Refusal::new(481));
        }
        if let Some(provisional) = &mut dialog.provisional {
            provisional.unpracked = None;
        }
        let sdp = sdp_body(request.message);
        let answers = dialog.incoming.as_ref().is_some_and(|incoming| !incoming.settled && !incoming.offer);
        match sdp {
            Some(offer) if !answers => self.take_offer(step, request, key, (offer, true)),
            sdp => {
                if let Some(incoming) = dialog.incoming.as_mut().filter(|_| sdp.is_some()) {
                    incoming.settled = true;
                    incoming.pracked_answer = sdp;
                }
                self.answer_ok(step, request);
            }
        }
        self.advance_provisional(step, key);
        self.store.wake_dialog(key);
    }

    /// A provisional response to our INVITE, before anybody hears of it: notes its early dialog, acknowledges it if it is
    /// reliable. `false`: it came before, or not in its order (section 4).
    pub(super) fn take_provisional(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        message: &Message,
    ) -> bool {
        let rseq = message.value(&HeaderName::RSeq).and_then(|value| value.trim().parse::<u32>().ok());
        let rseq = rseq.filter(|_| has_option(message, &HeaderName::Require, "100rel"));
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return false };
        let reliable = dialog.policy.reliable != Reliable::Off;
        let Some(outgoing) = dialog.outgoing.as_mut() else { return false };
        let tag = to_tag(message).unwrap_or_default();
        let known = outgoing.early.iter().position(|early| early.tag == tag);
        let early = match known {
            Some(at) => outgoing.early.remove(at),
            None => match EarlyDialog::of(message) {
                Some(early) if outgoing.early.len() < MAX_EARLY => early,
                // Without a tag there is no dialog to acknowledge it in; and there is an end to forks.
                Some(_) | None => return rseq.is_none(),
            },
        };
        // The latest stands last.
        outgoing.early.push(early);
        let (Some(rseq), true) = (rseq, reliable) else { return true };
        let Some(early) = outgoing.early.last_mut() else { return true };
        if !early.takes(rseq) {
            self.statistics.retransmissions_in += 1;
            return false;
        }
        if early.answer.is_none() {
            early.answer = sdp_body(message);
        }
        self.send_prack(step, key, format!("{rseq} {} INVITE", cseq_number(message)));
        true
    }

    fn send_prack(&mut self, step: &mut Step<'_>, key: DialogKey, rack: String) {
        let branch = self.identifiers.branch();
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let cseq = dialog.reserve_cseq();
        let seen = in_latest_fork(dialog);
        let flow = routing::next_hop(&seen);
        let mut writer = seen.request("PRACK", cseq, &self.via(&flow, &branch));
        writer.header("RAck", rack);
        let bytes = writer.finish(None, b"");
        self.send_request(step, flow, ("PRACK", branch, bytes), (Some(key), Purpose::Prack));
    }
}

/// The dialog as requests to the peer need it: before the answer, the fork that was heard last.
pub(super) fn in_latest_fork(dialog: &Dialog) -> Dialog {
    let early = dialog.outgoing.as_ref().and_then(|outgoing| outgoing.early.last());
    match early.filter(|_| dialog.phase == Phase::Early) {
        Some(early) => early.seen_from(dialog),
        None => dialog.clone(),
    }
}

fn way(dialog: &Dialog, answer: &Answer) -> Way {
    if dialog.policy.reliable == Reliable::Off || !dialog.peer.reliable {
        return Way::Plainly;
    }
    let offers_first = dialog.incoming.as_ref().is_some_and(|incoming| !incoming.offer && !incoming.settled);
    let started = dialog.provisional.as_ref().is_some_and(|open| open.unpracked.is_some());
    match answer.sdp {
        // Without an offer in the INVITE the first reliable response must carry ours (RFC 3261 section 13.2.1).
        None if offers_first && !started && dialog.peer.insists_on_reliable => Way::Nowhere,
        None if offers_first && !started => Way::Plainly,
        None | Some(_) => Way::Reliably,
    }
}

/// `rseq cseq INVITE` (section 7.2).
fn parse_rack(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    let (rseq, cseq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next() == Some("INVITE") && words.next().is_none()).then_some((rseq, cseq))
}

/// What a 2xx left out because it had been said reliably before.
pub(super) fn early_answer(dialog: &Dialog, message: &Message) -> Option<String> {
    let tag = to_tag(message).unwrap_or_default();
    let early = dialog.outgoing.as_ref()?.early.iter().find(|early| early.tag == tag)?;
    early.answer.clone()
}

impl Endpoint {
    /// A provisional response that the user is to hear of.
    pub(super) fn tell_progress(
        &self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, message): (u16, &Message),
    ) {
        let early_media = self.store.dialogs.get(&key).is_some_and(|dialog| dialog.policy.early_media);
        let sdp = sdp_body(message).filter(|_| early_media);
        step.event(Event::Progress { dialog: key, status, sdp });
    }
}
