//! Where transactions and dialogs live, with their indexes and one queue of wake-ups.
//! Keeps the indexes true. Knows nothing of what a message means.

use super::io::{DialogKey, Flow, RequestKey};
use super::large::SizeChoice;
use crate::builder::ResponseTemplate;
use crate::dialog::Dialog;
use crate::digest::AuthSession;
use crate::transaction::{
    InviteClient, InviteClientState, InviteServer, NonInviteClient, NonInviteClientState, NonInviteServer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Who waits for a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Server(u64),
    Client(u64),
    Dialog(DialogKey),
}

pub(super) enum ServerMachine {
    Invite(InviteServer),
    Other(NonInviteServer),
}

pub(super) struct ServerTransaction {
    pub(super) machine: ServerMachine,
    pub(super) flow: Flow,
    pub(super) key: String,
    pub(super) merge_key: Option<String>,
    pub(super) dialog: Option<DialogKey>,
    pub(super) template: ResponseTemplate,
    /// The To tag of our responses.
    pub(super) tag: String,
}

pub(super) enum ClientMachine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl ClientMachine {
    /// The request as sent.
    pub(super) fn request(&self) -> &[u8] {
        match self {
            Self::Invite(machine) => machine.request(),
            Self::Other(machine) => machine.request(),
        }
    }

    /// Whether its final response is still to come.
    pub(super) fn waits(&self) -> bool {
        match self {
            Self::Invite(machine) => {
                matches!(machine.state(), InviteClientState::Calling | InviteClientState::Proceeding)
            }
            Self::Other(machine) => machine.state() != NonInviteClientState::Completed,
        }
    }
}

/// Why a request was sent, which decides what its response means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    Invite,
    /// With the offer, because it is sent again after a 491.
    Reinvite(String),
    Bye,
    Info,
    /// A request outside dialogs.
    Request(RequestKey),
    /// With its offer, because it is sent again after a 491.
    Update(Option<String>),
    /// An UPDATE or re-INVITE of the session timer's.
    RefreshUpdate,
    RefreshInvite,
    Prack,
    Refer,
    Notify,
    /// CANCEL, or the BYE of a fork: nobody waits for the response.
    Silent,
}

pub(super) struct ClientTransaction {
    pub(super) machine: ClientMachine,
    pub(super) flow: Flow,
    pub(super) branch: String,
    pub(super) method: &'static str,
    pub(super) dialog: Option<DialogKey>,
    pub(super) purpose: Purpose,
    /// ACKs to the 2xx responses of this INVITE, by To tag: a repeated 2xx gets the same ACK.
    pub(super) acks: Vec<(String, Flow, Vec<u8>)>,
    /// ACK to its non-2xx response.
    pub(super) reject_ack: Option<Vec<u8>>,
    /// How often it has been sent with credentials after a challenge.
    pub(super) rounds: u8,
    pub(super) size: SizeChoice,
    /// The credentials of a request outside dialogs; those of a dialog are its own.
    pub(super) auth: Option<AuthSession>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) servers: BTreeMap<u64, ServerTransaction>,
    server_keys: BTreeMap<String, u64>,
    merge_keys: BTreeMap<String, u64>,
    pub(super) clients: BTreeMap<u64, ClientTransaction>,
    client_keys: BTreeMap<String, u64>,
    pub(super) dialogs: BTreeMap<DialogKey, Dialog>,
    dialog_ids: BTreeMap<(String, String), DialogKey>,
    wakes: BTreeSet<(Instant, Owner)>,
    wake_of: BTreeMap<Owner, Instant>,
    last_id: u64,
}

impl Store {
    pub(super) fn transactions(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    pub(super) fn server_by_key(&self, key: &str) -> Option<u64> {
        self.server_keys.get(key).copied()
    }

    pub(super) fn is_merged(&self, merge_key: &str) -> bool {
        self.merge_keys.contains_key(merge_key)
    }

    pub(super) fn client_by_branch(&self, branch: &str) -> Option<u64> {
        self.client_keys.get(branch).copied()
    }

    /// The dialog with that Call-ID and our tag.
    pub(super) fn dialog_by_tag(&self, call_id: &str, local_tag: &str) -> Option<DialogKey> {
        self.dialog_ids.get(&(call_id.to_owned(), local_tag.to_owned())).copied()
    }

    pub(super) fn add_server(&mut self, transaction: ServerTransaction) -> u64 {
        self.last_id += 1;
        self.server_keys.insert(transaction.key.clone(), self.last_id);
        if let Some(key) = &transaction.merge_key {
            self.merge_keys.insert(key.clone(), self.last_id);
        }
        self.servers.insert(self.last_id, transaction);
        self.wake_server(self.last_id);
        self.last_id
    }

    pub(super) fn remove_server(&mut self, id: u64) {
        self.set_wake(Owner::Server(id), None);
        if let Some(transaction) = self.servers.remove(&id) {
            self.server_keys.remove(&transaction.key);
            if let Some(key) = &transaction.merge_key {
                self.merge_keys.remove(key);
            }
        }
    }

    pub(super) fn add_client(&mut self, transaction: ClientTransaction) -> u64 {
        self.last_id += 1;
        self.client_keys.insert(transaction.branch.clone(), self.last_id);
        self.clients.insert(self.last_id, transaction);
        self.wake_client(self.last_id);
        self.last_id
    }

    pub(super) fn remove_client(&mut self, id: u64) -> Option<ClientTransaction> {
        self.set_wake(Owner::Client(id), None);
        let transaction = self.clients.remove(&id)?;
        self.client_keys.remove(&transaction.branch);
        Some(transaction)
    }

    pub(super) fn add_dialog(&mut self, dialog: Dialog) {
        self.dialog_ids.insert((dialog.call_id.clone(), dialog.local_tag.clone()), dialog.key);
        let key = dialog.key;
        self.dialogs.insert(key, dialog);
        self.wake_dialog(key);
    }

    pub(super) fn remove_dialog(&mut self, key: DialogKey) -> Option<Dialog> {
        self.set_wake(Owner::Dialog(key), None);
        let dialog = self.dialogs.remove(&key)?;
        self.dialog_ids.remove(&(dialog.call_id.clone(), dialog.local_tag.clone()));
        Some(dialog)
    }

    pub(super) fn wake_server(&mut self, id: u64) {
        let wake = self.servers.get(&id).and_then(|transaction| match &transaction.machine {
            ServerMachine::Invite(machine) => machine.next_wake(),
            ServerMachine::Other(machine) => machine.next_wake(),
        });
        self.set_wake(Owner::Server(id), wake);
    }

    pub(super) fn wake_client(&mut self, id: u64) {
        let wake = self.clients.get(&id).and_then(|transaction| match &transaction.machine {
            ClientMachine::Invite(machine) => machine.next_wake(),
            ClientMachine::Other(machine) => machine.next_wake(),
        });
        self.set_wake(Owner::Client(id), wake);
    }

    pub(super) fn wake_dialog(&mut self, key: DialogKey) {
        let wake = self.dialogs.get(&key).and_then(Dialog::next_wake);
        self.set_wake(Owner::Dialog(key), wake);
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Takes the next owner whose instant has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Owner> {
        let (at, owner) = *self.wakes.first()?;
        if at > now {
            return None;
        }
        self.set_wake(owner, None);
        Some(owner)
    }

    fn set_wake(&mut self, owner: Owner, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.wake_of.insert(owner, at),
            None => self.wake_of.remove(&owner),
        };
        if let Some(before) = before {
            self.wakes.remove(&(before, owner));
        }
        if let Some(at) = at {
            self.wakes.insert((at, owner));
        }
    }
}
