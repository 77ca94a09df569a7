//! Challenges to our requests: a 401 or 407 is answered by the same request with credentials (RFC 3261 section 22).
//! Knows transactions and whose credentials belong to which. The arithmetic is in `digest`.

use super::io::DialogKey;
use super::store::{ClientMachine, ClientTransaction, Purpose};
use super::{Endpoint, Step};
use crate::builder::Writer;
use crate::dialog::{Cancel, Phase};
use crate::digest::{AuthRefusal, ChallengedBy, DigestChallenge};
use crate::headers::CSeq;
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::transaction::{InviteClient, NonInviteClient};

/// The most times one request is sent with credentials. A proxy and a server may each ask once.
const MAX_ROUNDS: u8 = 2;

/// Headers that prove who we are.
const PROOFS: [ChallengedBy; 2] = [ChallengedBy::Server, ChallengedBy::Proxy];

impl Endpoint {
    /// A 401 or 407 came: sends the request again with credentials, if it may. Says whether it did.
    pub(super) fn answer_challenge(&mut self, step: &mut Step<'_>, id: u64, message: &Message) -> bool {
        let by = match &message.start {
            StartLine::Response { status: 401, .. } => ChallengedBy::Server,
            StartLine::Response { status: 407, .. } => ChallengedBy::Proxy,
            StartLine::Response { .. } | StartLine::Request { .. } => return false,
        };
        match self.challenged_request(id, by, message) {
            Ok(Some((branch, bytes))) => {
                self.statistics.challenges_answered += 1;
                self.send_again(step, id, branch, bytes);
                true
            }
            Ok(None) => false,
            Err(reason) => {
                self.statistics.refuse_challenge(reason);
                false
            }
        }
    }

    /// The request once more, with a new branch, the next CSeq number and credentials; `Err` says why not.
    fn challenged_request(
        &mut self,
        id: u64,
        by: ChallengedBy,
        response: &Message,
    ) -> Result<Option<(String, Vec<u8>)>, &'static str> {
        let Some(client) = self.store.clients.get_mut(&id) else { return Ok(None) };
        let (rounds, flow, dialog) = (client.rounds, client.named_flow(), client.dialog);
        let Ok(request) = parse(client.machine.request()) else { return Ok(None) };
        let StartLine::Request { uri, .. } = &request.start else { return Ok(None) };
        if rounds >= MAX_ROUNDS {
            return Err("rounds");
        }
        let initial = client.purpose == Purpose::Invite;
        let method = client.method;
        let session = match dialog {
            Some(key) => {
                let Some(dialog) = self.store.dialogs.get_mut(&key) else { return Ok(None) };
                let cancelled =
                    dialog.outgoing.as_ref().is_some_and(|outgoing| outgoing.cancel != Cancel::No);
                if cancelled && initial || dialog.phase == Phase::Ending && method != "BYE" {
                    return Ok(None);
                }
                dialog.auth.as_mut()
            }
            None => client.auth.as_mut(),
        };
        // An incoming call has no credentials, whatever its peer asks for.
        let session = session.ok_or("no_credentials")?;
        let header = HeaderName::from_text(by.challenge_header());
        let challenges = DigestChallenge::parse_all(response.all(&header).map(|field| field.value.as_str()));
        session.challenged(by, &challenges, rounds > 0).map_err(refusal)?;
        let fields = session.authorize(method, uri, &self.identifiers.tag());
        let cseq = match dialog.and_then(|key| self.store.dialogs.get_mut(&key)) {
            Some(dialog) => dialog.reserve_cseq(),
            None => super::facts::cseq_number(&request) + 1,
        };
        let branch = self.identifiers.branch();
        let via = self.via(&flow, &branch);
        Ok(with_credentials(&request, &via, cseq, &fields).map(|bytes| (branch, bytes)))
    }

    /// The same request in a new transaction, which takes the old one's place.
    fn send_again(&mut self, step: &mut Step<'_>, id: u64, branch: String, bytes: Vec<u8>) {
        let Some(old) = self.store.clients.get(&id) else { return };
        let (way, bytes) = self.way_of(&old.purpose, old.way(), bytes);
        let reliable = way.flow.transport.is_reliable();
        let timers = self.config.timers;
        let machine = match &old.machine {
            ClientMachine::Invite(_) => {
                ClientMachine::Invite(InviteClient::new(step.now, bytes.clone(), timers, reliable))
            }
            ClientMachine::Other(_) => {
                ClientMachine::Other(NonInviteClient::new(step.now, bytes.clone(), timers, reliable))
            }
        };
        let next = ClientTransaction {
            machine,
            flow: way.flow,
            branch,
            method: old.method,
            dialog: old.dialog,
            purpose: old.purpose.clone(),
            acks: Vec::new(),
            reject_ack: None,
            rounds: old.rounds + 1,
            size: way.size,
            auth: old.auth.clone(),
        };
        let key = next.dialog;
        let new = self.store.add_client(next);
        self.replace_outgoing(key, id, new);
        self.send(step, way.flow, bytes);
    }

    /// The dialog waits for another transaction now.
    pub(super) fn replace_outgoing(&mut self, key: Option<DialogKey>, old: u64, new: u64) {
        let Some(dialog) = key.and_then(|key| self.store.dialogs.get_mut(&key)) else { return };
        if let Some(outgoing) = dialog.outgoing.as_mut().filter(|outgoing| outgoing.transaction == old) {
            outgoing.transaction = new;
            outgoing.provisional_seen = false;
            outgoing.early.clear();
        }
        if let Some(update) = dialog.update.as_mut().filter(|update| update.transaction == old) {
            update.transaction = new;
        }
    }

    /// A request of a dialog whose peer has challenged before: with credentials at once (RFC 7616 section 3.6).
    pub(super) fn authorize_in_dialog(&mut self, key: Option<DialogKey>, bytes: Vec<u8>) -> Vec<u8> {
        let Some(session) = key
            .and_then(|key| self.store.dialogs.get_mut(&key))
            .and_then(|dialog| dialog.auth.as_mut())
            .filter(|session| session.is_challenged())
        else {
            return bytes;
        };
        let Ok(request) = parse(&bytes) else { return bytes };
        let StartLine::Request { method, uri, .. } = &request.start else { return bytes };
        let fields = session.authorize(method.name(), uri, &self.identifiers.tag());
        insert_fields(bytes, &fields)
    }
}

fn refusal(why: AuthRefusal) -> &'static str {
    match why {
        AuthRefusal::NothingUsable => "unusable",
        AuthRefusal::OtherRealm => "other_realm",
        AuthRefusal::Rejected => "rejected",
    }
}

/// Why challenges went unanswered: the names of the counters.
pub(super) const REFUSALS: &[&str] = &["no_credentials", "unusable", "other_realm", "rejected", "rounds"];

fn is_proof(name: &HeaderName) -> bool {
    PROOFS.iter().any(|by| name.text().eq_ignore_ascii_case(by.response_header()))
}

/// The proofs in a request of ours: the ACK of its 2xx repeats them (RFC 3261 section 13.2.2.4).
pub(super) fn copy_proofs(request: &Message, writer: &mut Writer) {
    for field in request.headers.iter().filter(|field| is_proof(&field.name)) {
        writer.header(field.name.text(), field.wire_value());
    }
}

/// The request with another Via and CSeq number, and these proofs instead of those it had.
fn with_credentials(
    request: &Message,
    via: &str,
    cseq: u32,
    fields: &[(&'static str, String)],
) -> Option<Vec<u8>> {
    let StartLine::Request { method, uri, .. } = &request.start else { return None };
    let mut writer = Writer::request(method.name(), uri);
    writer.header("Via", via);
    for field in &request.headers {
        if field.name == HeaderName::CSeq {
            let known = CSeq::parse(&field.value)?;
            writer.header("CSeq", format!("{cseq} {}", known.method));
        } else if !matches!(field.name, HeaderName::Via | HeaderName::ContentLength) && !is_proof(&field.name)
        {
            writer.header(field.name.text(), field.wire_value());
        }
    }
    for (name, value) in fields {
        writer.header(name, value);
    }
    Some(writer.finish(None, &request.body))
}

/// Fields put in after the start line of a message of ours.
fn insert_fields(bytes: Vec<u8>, fields: &[(&'static str, String)]) -> Vec<u8> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return bytes };
    let mut out = Vec::with_capacity(bytes.len() + 512);
    out.extend_from_slice(&bytes[..end + 2]);
    for (name, value) in fields {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(&bytes[end + 2..]);
    out
}
