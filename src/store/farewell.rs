//! What is kept of a dialog so that the next process can end it: the SIP endpoint's words, as they stand in a file.
//! Knows their form only.

use serde::{Deserialize, Serialize};
use sip::{SavedDialog, Transport};
use std::{fmt, net::SocketAddr};

/// A dialog as it lies in the journal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    transport: String,
    remote: SocketAddr,
    behind_nat: bool,
    call_id: String,
    local: String,
    local_tag: String,
    remote_party: String,
    route_set: Vec<String>,
    remote_target: String,
    cseq: u32,
}

impl fmt::Debug for Farewell {
    /// Shows no numbers: they are the caller's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Farewell({} over {})", self.remote, self.transport)
    }
}

impl From<SavedDialog> for Farewell {
    fn from(saved: SavedDialog) -> Self {
        Self {
            transport: saved.transport.param().to_owned(),
            remote: saved.remote,
            behind_nat: saved.behind_nat,
            call_id: saved.call_id,
            local: saved.local,
            local_tag: saved.local_tag,
            remote_party: saved.remote_party,
            route_set: saved.route_set,
            remote_target: saved.remote_target,
            cseq: saved.cseq,
        }
    }
}

impl Farewell {
    /// As the endpoint takes it; `None` if it names a transport that is none.
    pub fn dialog(self) -> Option<SavedDialog> {
        Some(SavedDialog {
            transport: Transport::named(&self.transport)?,
            remote: self.remote,
            behind_nat: self.behind_nat,
            call_id: self.call_id,
            local: self.local,
            local_tag: self.local_tag,
            remote_party: self.remote_party,
            route_set: self.route_set,
            remote_target: self.remote_target,
            cseq: self.cseq,
        })
    }
}
