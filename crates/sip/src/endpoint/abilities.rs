//! What we say that we can do, and the refusals that follow from it: Allow, Supported, 420, 421, 422.
//! Knows policies and option tags. Every list here is the truth: what stands in it works.

use super::Endpoint;
use super::uas::{Refusal, Request};
use crate::builder::Writer;
use crate::dialog::Dialog;
use crate::headers::{params_of, split_list};
use crate::message::{HeaderName, Method};
use crate::policy::{DialogPolicy, Reliable, SessionTimerMode};
use crate::session::{Agreed, Said, Side, has_option, too_small};

/// Our methods, as the Allow header says them.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY";

impl Endpoint {
    /// The value of Allow.
    pub(super) fn allow(&self) -> &'static str {
        ALLOW
    }

    /// The value of Allow as the trunk of a request may use us.
    pub(super) fn allow_for(&self, request: &Request<'_>) -> String {
        let registrar = self.trunk_of(request).is_some_and(|rules| rules.registrar);
        if registrar { format!("{ALLOW}, REGISTER") } else { ALLOW.to_owned() }
    }

    /// How a dialog is to behave that this request begins: the place where its trunk says so.
    pub(super) fn policy_of_new(&self, request: &Request<'_>) -> &DialogPolicy {
        self.trunk_of(request).map_or(&self.config.default_policy, |rules| &rules.policy)
    }

    /// The policy that a request meets: its dialog's, or that of the one it may begin.
    pub(super) fn policy_of(&self, request: &Request<'_>) -> &DialogPolicy {
        let dialog = self.dialog_of(request.message).and_then(|key| self.store.dialogs.get(&key));
        dialog.map_or_else(|| self.policy_of_new(request), |dialog| &dialog.policy)
    }

    /// The option tags that we support, as the Supported header says them; empty if there are none.
    pub(super) fn supported(&self, policy: &DialogPolicy) -> String {
        let known = [
            ("timer", policy.session_timer.mode != SessionTimerMode::Off),
            ("100rel", policy.reliable != Reliable::Off),
            ("replaces", self.config.replaces),
        ];
        known.iter().filter(|(_, on)| *on).map(|(tag, _)| *tag).collect::<Vec<_>>().join(", ")
    }

    /// Allow and Supported, in what begins or refreshes a dialog.
    pub(super) fn write_abilities(&self, writer: &mut Writer, policy: &DialogPolicy) {
        writer.header("Allow", self.allow());
        let supported = self.supported(policy);
        if !supported.is_empty() {
            writer.header("Supported", supported);
        }
    }

    /// 420 with what we lack, and nothing else (RFC 3261 section 8.2.2.3).
    pub(super) fn extension_refusal(&self, request: &Request<'_>) -> Option<Refusal> {
        let mut required =
            request.message.all(&HeaderName::Require).flat_map(|field| split_list(&field.value)).peekable();
        required.peek()?;
        let supported = self.supported(self.policy_of(request));
        let knows = |tag: &str| {
            let tag = params_of(tag).next().map_or(tag, |(tag, _)| tag);
            supported.split(", ").any(|known| known.eq_ignore_ascii_case(tag))
        };
        let unknown: Vec<&str> = required.filter(|tag| !knows(tag)).collect();
        (!unknown.is_empty()).then(|| Refusal::with(420, "Unsupported", unknown.join(", ")))
    }

    /// 421 with what a caller must be able to do (RFC 3262 section 3, RFC 4028), and 422 for a session interval
    /// that is too small for us (RFC 4028 section 9).
    pub(super) fn requirement_refusal(&self, request: &Request<'_>) -> Option<Refusal> {
        if !matches!(request.method, Method::Invite | Method::Update) {
            return None;
        }
        let (message, policy) = (request.message, self.policy_of(request));
        let lacks = |tag: &str| {
            !has_option(message, &HeaderName::Supported, tag)
                && !has_option(message, &HeaderName::Require, tag)
        };
        let initial = super::facts::to_tag(message).is_none();
        if initial && policy.reliable == Reliable::Required && lacks("100rel") {
            return Some(Refusal::with(421, "Require", "100rel"));
        }
        if initial && policy.session_timer.mode == SessionTimerMode::Require && lacks("timer") {
            return Some(Refusal::with(421, "Require", "timer"));
        }
        let min_se = too_small(&policy.session_timer, &Said::read(message))?;
        Some(Refusal::with(422, "Min-SE", min_se.to_string()))
    }

    /// The session timer in a 2xx of ours (RFC 4028 section 9).
    pub(super) fn write_agreed(&self, writer: &mut Writer, agreed: Option<Agreed>) {
        let Some(agreed) = agreed else { return };
        let (interval_s, refresher) = (agreed.interval_s, agreed.refresher.name());
        writer.header("Session-Expires", format!("{interval_s};refresher={refresher}"));
        if agreed.require {
            writer.header("Require", "timer");
        }
    }

    /// The session timer in a request of ours that may refresh the session (RFC 4028 section 7).
    pub(super) fn write_session_request(&self, writer: &mut Writer, dialog: &Dialog) {
        let timer = &dialog.policy.session_timer;
        let asks = matches!(timer.mode, SessionTimerMode::Offer | SessionTimerMode::Require);
        let Some(expires_s) = dialog.asked_interval() else { return };
        let refresher = match &dialog.session {
            Some(session) => Some(if session.ours { Side::Uac } else { Side::Uas }),
            None => match timer.refresher {
                crate::policy::Refresher::Us => Some(Side::Uac),
                crate::policy::Refresher::Peer => Some(Side::Uas),
                crate::policy::Refresher::Any => None,
            },
        };
        let refresher = refresher.map_or_else(String::new, |side| format!(";refresher={}", side.name()));
        writer.header("Session-Expires", format!("{expires_s}{refresher}"));
        if asks || dialog.min_se_s > 90 {
            writer.header("Min-SE", dialog.min_se_s.to_string());
        }
    }
}
