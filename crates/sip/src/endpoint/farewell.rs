//! The end of a dialog that another process began: what has to be kept of it, and the BYE made of that.
//! Knows RFC 3261 section 12's dialog state. Where it is kept meanwhile is the user's business.

use super::io::{DialogKey, Flow, Transport};
use super::{Endpoint, Step};
use crate::dialog::{Dialog, Phase};
use crate::uri::Uri;
use std::fmt;
use std::net::SocketAddr;

/// How far the CSeq of our BYE is beyond the last one that was kept. Requests that we sent since (session refreshes,
/// one in some minutes) used lower ones; a gap is allowed (RFC 3261 section 12.2.2).
const CSEQ_GAP: u32 = 10_000;

/// CSeq numbers stay below this (section 8.1.1.5).
const CSEQ_END: u32 = 1 << 31;

/// What a BYE needs when nothing else is left of a dialog (RFC 3261 section 12).
#[derive(Clone, PartialEq, Eq)]
pub struct SavedDialog {
    /// How the peer is reached.
    pub transport: Transport,
    /// The address its INVITE came from.
    pub remote: SocketAddr,
    /// The peer names another address than it sends from.
    pub behind_nat: bool,
    /// The Call-ID.
    pub call_id: String,
    /// Our name-addr with our tag.
    pub local: String,
    /// Our tag alone.
    pub local_tag: String,
    /// The peer's name-addr with its tag.
    pub remote_party: String,
    /// Routes, in the order in which a request of ours takes them.
    pub route_set: Vec<String>,
    /// The peer's Contact.
    pub remote_target: String,
    /// The last CSeq number of ours.
    pub cseq: u32,
}

impl fmt::Debug for SavedDialog {
    /// Shows no numbers and names: they are the caller's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedDialog({} over {})", self.remote, self.transport.name())
    }
}

impl SavedDialog {
    pub(super) fn of(dialog: &Dialog) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            transport: dialog.flow.transport,
            remote: dialog.flow.remote,
            behind_nat: dialog.behind_nat,
            call_id: dialog.call_id.clone(),
            local: text(&dialog.local),
            local_tag: dialog.local_tag.clone(),
            remote_party: text(&dialog.remote),
            route_set: dialog.route_set.clone(),
            remote_target: dialog.remote_target.clone(),
            cseq: dialog.local_cseq,
        }
    }

    /// Nothing in it may become a header or a line of its own: it may have lain in a file.
    fn is_sound(&self) -> bool {
        let texts = [&self.call_id, &self.local, &self.local_tag, &self.remote_party, &self.remote_target];
        let clean = |text: &String| !text.contains(['\r', '\n', '\0']);
        texts.into_iter().all(clean)
            && self.route_set.iter().all(clean)
            && !self.local_tag.is_empty()
            && Uri::parse(&self.remote_target).is_ok()
    }
}

impl Endpoint {
    /// [`super::Command::Farewell`]: takes the dialog up where the other process left it, and ends it.
    pub(super) fn farewell(
        &mut self,
        step: &mut Step<'_>,
        saved: SavedDialog,
        flow: Flow,
        reason: Option<String>,
    ) {
        let known = self.store.dialog_by_tag(&saved.call_id, &saved.local_tag).is_some();
        if known || !saved.is_sound() || self.store.dialogs.len() >= self.config.max_dialogs {
            self.statistics.commands_ignored += 1;
            return;
        }
        self.last_dialog += 1;
        let key = DialogKey(self.last_dialog);
        let mut dialog = Dialog::new(key, saved.call_id, flow);
        dialog.phase = Phase::Confirmed;
        dialog.local_tag = saved.local_tag;
        dialog.local = saved.local.into_bytes();
        dialog.remote = saved.remote_party.into_bytes();
        dialog.route_set = saved.route_set;
        dialog.remote_target = saved.remote_target;
        dialog.behind_nat = saved.behind_nat;
        dialog.local_cseq = saved.cseq.saturating_add(CSEQ_GAP).min(CSEQ_END - 2);
        // The old connection went with the old process: the next hop is found afresh.
        dialog.flow_closed = flow.transport.is_reliable();
        self.store.add_dialog(dialog);
        self.send_bye(step, key, reason);
    }
}
