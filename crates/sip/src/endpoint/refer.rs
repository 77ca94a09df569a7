//! REFER and NOTIFY inside dialogs (RFC 3515, RFC 6665): the primitives that a transfer is made of.
//! Knows subscriptions. Whom to call, and whether, is for the user to decide.

use super::answers::write_extra_headers;
use super::facts::cseq_number;
use super::io::{DialogKey, Event};
use super::store::Purpose;
use super::uas::{Refusal, Request};
use super::{Endpoint, Step};
use crate::dialog::{Dialog, Phase};
use crate::headers::{NameAddr, media_type, split_list};
use crate::message::{HeaderName, Message};
use crate::pending::Referral;
use crate::replaces::Replaces;
use crate::uri::Uri;
use std::time::{Duration, Instant};

/// A REFER that the user has not answered by then is declined.
const REFER_LIMIT: Duration = Duration::from_secs(5);
/// How long NOTIFYs are expected after the dialog of a REFER has ended (RFC 5057: the subscription outlives the call).
const LINGER: Duration = Duration::from_secs(180);
/// Subscriptions that outlive their dialogs; of more, the oldest is forgotten.
const MAX_LINGERING: usize = 256;
/// What the first NOTIFY says (RFC 3515 section 2.4.4).
const TRYING: &str = "SIP/2.0 100 Trying\r\n";

/// The subscription of a REFER whose dialog has ended.
pub(super) struct Lingering {
    until: Instant,
    call_id: String,
    tag: String,
}

impl Endpoint {
    /// A REFER of the peer.
    pub(super) fn handle_refer(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        if dialog.referral.is_some() {
            return self.refuse(step, request, Refusal::new(491));
        }
        let Some(refer_to) = refer_to(request.message) else {
            return self.refuse(step, request, Refusal::because(400, "Bad Refer-To"));
        };
        let referred_by = request.message.value(&HeaderName::ReferredBy).map(str::to_owned);
        let cseq = cseq_number(request.message);
        let Some(transaction) = self.hold(step, request, key) else { return };
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.referral = Some(Referral { transaction, cseq, ends: step.now + REFER_LIMIT });
        }
        self.store.wake_dialog(key);
        let replaces = Replaces::of_uri(&refer_to);
        step.event(Event::Refer { dialog: key, refer_to, referred_by, replaces });
    }

    /// [`super::Command::RespondRefer`].
    pub(super) fn respond_refer(&mut self, step: &mut Step<'_>, key: DialogKey, status: u16) {
        let referral = self.store.dialogs.get_mut(&key).and_then(|dialog| dialog.referral.take());
        let (Some(referral), 200..=699) = (referral, status) else {
            self.statistics.commands_ignored += 1;
            return;
        };
        self.store.wake_dialog(key);
        // RFC 3515 section 2.4.2: 202 is what an accepted REFER gets.
        let accepted = status < 300;
        let contact = self.store.dialogs.get(&key).map(|dialog| self.contact(&dialog.flow));
        self.answer_held(step, referral.transaction, if accepted { 202 } else { status }, |writer| {
            if let Some(contact) = contact.filter(|_| accepted) {
                writer.header("Contact", contact);
            }
            None
        });
        if !accepted {
            return;
        }
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            let id = if dialog.was_referred { format!(";id={}", referral.cseq) } else { String::new() };
            dialog.notifying = Some(format!("refer{id}"));
            dialog.was_referred = true;
        }
        let state = "active;expires=60";
        self.notify(step, key, ("refer", state), ("message/sipfrag;version=2.0", TRYING));
    }

    pub(super) fn fire_referral(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let due =
            |dialog: &Dialog| dialog.referral.as_ref().is_some_and(|referral| referral.ends <= step.now);
        if self.store.dialogs.get(&key).is_some_and(due) {
            self.respond_refer(step, key, 603);
        }
    }

    /// [`super::Command::Notify`].
    pub(super) fn notify(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (event, state): (&str, &str),
        (content_type, body): (&str, &str),
    ) {
        let dialog = self.store.dialogs.get_mut(&key).filter(|dialog| dialog.phase != Phase::Ending);
        let Some((dialog, subscription)) =
            dialog.and_then(|dialog| dialog.notifying.clone().map(|subscription| (dialog, subscription)))
        else {
            self.statistics.commands_ignored += 1;
            return;
        };
        if state.trim_start().to_ascii_lowercase().starts_with("terminated") {
            dialog.notifying = None;
        }
        let event = if event == "refer" { subscription } else { event.to_owned() };
        let contact = self.store.dialogs.get(&key).map(|dialog| self.contact(&dialog.flow));
        self.send_in_dialog(step, key, ("NOTIFY", Purpose::Notify), |writer| {
            writer.header("Event", event).header("Subscription-State", state);
            writer.header("Contact", contact.unwrap_or_default());
            (Some(content_type.to_owned()), body.as_bytes().to_vec())
        });
    }

    /// [`super::Command::Refer`].
    pub(super) fn refer(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (refer_to, referred_by): (String, Option<String>),
        headers: &[(String, String)],
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key).filter(|dialog| dialog.phase == Phase::Confirmed)
        else {
            self.statistics.commands_ignored += 1;
            return;
        };
        // The first NOTIFY may overtake the 202.
        dialog.expects_notify = true;
        let refer_to = if refer_to.contains('<') { refer_to } else { format!("<{refer_to}>") };
        let contact = self.store.dialogs.get(&key).map(|dialog| self.contact(&dialog.flow));
        self.send_in_dialog(step, key, ("REFER", Purpose::Refer), |writer| {
            writer.header("Contact", contact.unwrap_or_default()).header("Refer-To", refer_to);
            if let Some(referred_by) = referred_by {
                writer.header("Referred-By", referred_by);
            }
            write_extra_headers(writer, headers);
            (None, Vec::new())
        });
    }

    /// Our REFER has its final response.
    pub(super) fn refer_completed(&mut self, step: &mut Step<'_>, key: DialogKey, status: u16) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.expects_notify &= status < 300;
        step.event(Event::Referred { dialog: key, status });
        self.end_if_unknown(step, key, status);
    }

    /// A NOTIFY of the peer: 200 where we subscribed by a REFER, else 481, or 489 for another package.
    pub(super) fn handle_notify(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let value = |name| request.message.value(&name).unwrap_or_default().to_owned();
        let (event, state) = (value(HeaderName::Event), value(HeaderName::SubscriptionState));
        if !media_type(&event).eq_ignore_ascii_case("refer") {
            return self.refuse(step, request, Refusal::with(489, "Allow-Events", "refer"));
        }
        let Some(dialog) = self.store.dialogs.get_mut(&key).filter(|dialog| dialog.expects_notify) else {
            return self.refuse(step, request, Refusal::new(481));
        };
        if media_type(&state).eq_ignore_ascii_case("terminated") {
            dialog.expects_notify = false;
        }
        let (content_type, body) = (value(HeaderName::ContentType), request.message.body_text());
        self.answer_ok(step, request);
        step.event(Event::Notify { dialog: key, event, state, content_type, body });
    }

    /// The subscription of our REFER outlives its dialog: its NOTIFYs still get their 200.
    pub(super) fn remember_referral(&mut self, now: Instant, dialog: &Dialog) {
        if self.lingering.len() >= MAX_LINGERING {
            self.lingering.pop_front();
        }
        let (call_id, tag) = (dialog.call_id.clone(), dialog.local_tag.clone());
        self.lingering.push_back(Lingering { until: now + LINGER, call_id, tag });
    }

    /// Whether a NOTIFY belongs to the REFER of a dialog that has ended a short while ago.
    pub(super) fn is_late_notify(&mut self, now: Instant, message: &Message) -> bool {
        self.lingering.retain(|lingering| lingering.until > now);
        let call_id = message.value(&HeaderName::CallId);
        let tag = super::facts::to_tag(message);
        self.lingering.iter().any(|l| call_id == Some(l.call_id.as_str()) && tag == Some(l.tag.as_str()))
    }
}

/// The one URI of Refer-To (RFC 3515 section 2.1), if we could call it.
fn refer_to(message: &Message) -> Option<String> {
    let mut values = message.all(&HeaderName::ReferTo).flat_map(|field| split_list(&field.value));
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let uri = NameAddr::parse(first)?.uri;
    Uri::parse(uri).is_ok_and(|parsed| parsed.scheme_supported()).then(|| uri.to_owned())
}
