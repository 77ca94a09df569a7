//! Session timers in the endpoint (RFC 4028): what a 2xx makes of them, refreshing, 422, and giving up a dead peer.
//! Knows sessions and requests. The arithmetic is in `crate::session`.

use super::facts::sdp_body;
use super::io::{DialogKey, Event};
use super::store::{ClientMachine, Purpose};
use super::{Endpoint, Step, routing};
use crate::dialog::{Dialog, Phase};
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::pending::Abilities;
use crate::policy::SessionTimerMode;
use crate::session::{Said, Session, as_uac};
use std::time::Duration;

/// When a refresh that failed for no lasting reason is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// The longest interval that a 422 can make us ask for, in seconds.
const MOST_ASKED_S: u32 = 86_400;

impl Dialog {
    /// The Session-Expires of our requests; `None`: we do not ask for a timer.
    pub(crate) fn asked_interval(&self) -> Option<u32> {
        match self.policy.session_timer.mode {
            SessionTimerMode::Off => None,
            SessionTimerMode::Accept => {
                self.session.as_ref().map(|session| session.interval_s.max(self.min_se_s))
            }
            SessionTimerMode::Offer | SessionTimerMode::Require => {
                let current = self.session.as_ref().map_or(self.expires_s, |session| session.interval_s);
                Some(current.max(self.min_se_s))
            }
        }
    }
}

impl Endpoint {
    /// What a 2xx to our INVITE, re-INVITE or UPDATE makes of the session timer and of what we know of the peer.
    pub(super) fn session_from_2xx(&mut self, step: &Step<'_>, key: DialogKey, message: &Message) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let abilities = Abilities::read(message);
        // A 2xx without Allow (it is only a SHOULD) does not take back what was said before.
        let update = abilities.update || (message.header(&HeaderName::Allow).is_none() && dialog.peer.update);
        dialog.peer = Abilities { update, ..abilities };
        if dialog.phase != Phase::Confirmed {
            return;
        }
        let agreed = as_uac(&dialog.policy.session_timer, &Said::read(message), dialog.asked_interval());
        dialog.session = agreed.map(|(interval_s, ours)| Session::start(step.now, interval_s, ours));
        self.store.wake_dialog(key);
    }

    /// A session is due to be refreshed, or was not refreshed.
    pub(super) fn fire_session(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let Some(session) = &mut dialog.session else { return };
        if session.expires_at <= step.now {
            let ends_at = session.ends_at;
            dialog.session = None;
            return self.give_up(step, key, ends_at);
        }
        if session.refresh_at.is_some_and(|at| at <= step.now) {
            session.refresh_at = None;
            self.refresh(step, key);
        }
    }

    fn give_up(&mut self, step: &mut Step<'_>, key: DialogKey, ends_at: std::time::Instant) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if dialog.phase != Phase::Confirmed {
            return;
        }
        dialog.ends_at = Some(ends_at.max(step.now + Duration::from_millis(1)));
        step.event(Event::SessionExpired { dialog: key });
        self.send_bye(step, key, Some("SIP;cause=408;text=\"Session expired\"".to_owned()));
    }

    /// Refreshes the session: by UPDATE where the peer has it, else by a re-INVITE with the description that holds.
    fn refresh(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        if dialog.phase != Phase::Confirmed || dialog.bye_wanted.is_some() {
            return;
        }
        if dialog.peer.update && dialog.update.is_none() {
            let fork = dialog.clone();
            return self.send_update(step, key, (fork, None), Purpose::RefreshUpdate);
        }
        let open = dialog.invite_is_open() || dialog.update.is_some() || dialog.offered.is_some();
        match dialog.our_sdp.clone().filter(|_| !open) {
            Some(sdp) => self.send_reinvite(step, key, sdp, Purpose::RefreshInvite),
            // Another request is under way, which refreshes as well if it succeeds.
            None => self.refresh_again(step, key, TRY_AGAIN),
        }
    }

    fn refresh_again(&mut self, step: &Step<'_>, key: DialogKey, after: Duration) {
        if let Some(session) = self.store.dialogs.get_mut(&key).and_then(|dialog| dialog.session.as_mut())
            && session.ours
        {
            session.refresh_at = Some(step.now + after);
        }
        self.store.wake_dialog(key);
    }

    /// A refresh has its final response; `None`: there will never be one.
    pub(super) fn refresh_completed(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, message): (u16, Option<&Message>),
    ) {
        if let (200..300, Some(message)) = (status, message) {
            if let Some(dialog) = self.store.dialogs.get_mut(&key) {
                dialog.refresh_target_of(message);
            }
            self.session_from_2xx(step, key, message);
            let answer = sdp_body(message);
            if self.note_their_sdp(key, answer.as_deref()) {
                // The peer used the occasion to change something.
                step.event(Event::Answered { dialog: key, sdp: answer });
            }
            return;
        }
        if let (405 | 501, Some(dialog)) = (status, self.store.dialogs.get_mut(&key)) {
            dialog.peer.update = false;
            return self.refresh_again(step, key, Duration::ZERO);
        }
        if status == 422 && self.raise_interval(key, message) {
            return self.refresh_again(step, key, Duration::ZERO);
        }
        if matches!(status, 408 | 481) {
            // RFC 4028 section 10, RFC 3261 section 12.2.1.2.
            let ends_at = self.store.dialogs.get_mut(&key).and_then(|dialog| dialog.session.take());
            let ends_at = ends_at.map_or(step.now + self.config.timers.timeout(), |session| session.ends_at);
            return self.give_up(step, key, ends_at);
        }
        let wait = self.patience(key, status, message).unwrap_or(TRY_AGAIN);
        self.refresh_again(step, key, wait);
    }

    /// A 422 (section 7.3): our next request asks for as much as it says. `false` if that is no more than before.
    pub(super) fn raise_interval(&mut self, key: DialogKey, message: Option<&Message>) -> bool {
        let min_se = message.and_then(|message| Said::read(message).min_se_s);
        let Some(min_se) = min_se.filter(|min_se| *min_se <= MOST_ASKED_S) else { return false };
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return false };
        if dialog.policy.session_timer.mode == SessionTimerMode::Off || min_se <= dialog.min_se_s {
            return false;
        }
        dialog.min_se_s = min_se;
        dialog.expires_s = dialog.expires_s.max(min_se);
        true
    }

    /// Sends our first INVITE again with the interval that a 422 asks for, in the same dialog with the next CSeq.
    pub(super) fn invite_again(&mut self, step: &mut Step<'_>, id: u64, key: DialogKey) -> bool {
        let Some(client) = self.store.clients.get(&id) else { return false };
        let ClientMachine::Invite(machine) = &client.machine else { return false };
        let Ok(invite) = parse(machine.request()) else { return false };
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return false };
        let cancelled = dialog.outgoing.as_ref().is_some_and(|open| open.cancel != crate::dialog::Cancel::No);
        if cancelled {
            return false;
        }
        let cseq = dialog.reserve_cseq();
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let StartLine::Request { uri, .. } = &invite.start else { return false };
        let Some(dialog) = self.store.dialogs.get(&key) else { return false };
        let mut writer = crate::builder::Writer::request("INVITE", uri);
        writer.header("Via", self.via(&flow, &branch));
        for field in &invite.headers {
            let replaced = matches!(
                field.name,
                HeaderName::Via
                    | HeaderName::CSeq
                    | HeaderName::SessionExpires
                    | HeaderName::MinSe
                    | HeaderName::ContentLength
            );
            if !replaced {
                writer.header(field.name.text(), field.wire_value());
            }
        }
        writer.header("CSeq", format!("{cseq} INVITE"));
        self.write_session_request(&mut writer, dialog);
        let bytes = writer.finish(None, &invite.body);
        self.send_invite(step, key, flow, (branch, bytes), Purpose::Invite);
        true
    }
}
