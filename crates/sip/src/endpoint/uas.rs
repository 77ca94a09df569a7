//! The server side: what a request gets, in the order of RFC 3261 section 8.2, and the user's answers to INVITEs.
//! Knows requests outside dialogs; what happens inside one is in `in_dialog`.

use super::facts::{cseq_number, from_tag, invite_event, merge_key, sdp_body, to_tag, transaction_key};
use super::farewell::SavedDialog;
use super::io::{DialogKey, Event, Flow};
use super::store::{ServerMachine, ServerTransaction};
use super::{Endpoint, Step};
use crate::builder::{ResponseTemplate, Writer, reason_phrase, same_host};
use crate::dialog::{Dialog, Incoming, contact_uri, record_routes};
use crate::finding::check_request;
use crate::headers::{NameAddr, Via, accepts_sdp, media_type, split_list};
use crate::message::{HeaderName, Message, Method, StartLine};
use crate::multipart::{MultipartError, is_multipart, session_description};
use crate::pending::Abilities;
use crate::replaces::Replaces;
use crate::session::Said;
use crate::transaction::{InviteServer, InviteServerState, NonInviteServer};
use crate::uri::Uri;
use std::time::Duration;

/// RFC 3261 section 13.3.1.1: a provisional response every minute keeps proxies waiting.
pub(super) const PROVISIONAL_REFRESH: Duration = Duration::from_secs(60);

/// A request with what its answers need.
pub(super) struct Request<'a> {
    pub(super) message: &'a Message,
    pub(super) method: &'a Method,
    pub(super) uri: &'a str,
    pub(super) flow: Flow,
    pub(super) key: String,
    pub(super) template: ResponseTemplate,
    /// How many bytes came.
    pub(super) size: usize,
    /// The trunk and its user that the gate admitted it for, by number.
    pub(super) admitted: Option<(usize, Option<usize>)>,
}

/// A refusal: status, reason phrase, and the header that says what would have been right.
pub(super) struct Refusal {
    status: u16,
    reason: Option<String>,
    header: Option<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16) -> Self {
        Self { status, reason: None, header: None }
    }

    pub(super) fn because(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: Some(reason.into()), header: None }
    }

    pub(super) fn with(status: u16, name: &'static str, value: impl Into<String>) -> Self {
        Self { status, reason: None, header: Some((name, value.into())) }
    }
}

impl Endpoint {
    /// `received` is the message and how many bytes it had.
    pub(super) fn handle_request(&mut self, step: &mut Step<'_>, flow: Flow, received: (&Message, usize)) {
        let (message, size) = received;
        let StartLine::Request { method, uri, .. } = &message.start else { return };
        let Some(template) = ResponseTemplate::new(message, flow.remote) else {
            self.statistics.drop("no_via");
            return;
        };
        let key_method = if *method == Method::Ack { "INVITE" } else { method.name() };
        let Some(key) = transaction_key(message, uri, key_method) else {
            self.statistics.drop("no_via");
            return;
        };
        let request = Request { message, method, uri, flow, key, template, size, admitted: None };
        if *method == Method::Ack {
            if !self.absorbs(&request) {
                self.handle_ack(step, &request);
            }
            return;
        }
        if let Some(id) = self.store.server_by_key(&request.key) {
            return self.repeat_response(step, flow, id);
        }
        let Some(request) = self.pass_gate(step, request) else { return };
        if *method == Method::Cancel {
            return self.handle_cancel(step, request);
        }
        match self.refusal(&request) {
            Some(refusal) => self.refuse(step, request, refusal),
            None => self.accept_request(step, request),
        }
    }

    /// A request that came again: its transaction answers as before.
    fn repeat_response(&mut self, step: &mut Step<'_>, flow: Flow, id: u64) {
        self.statistics.retransmissions_in += 1;
        self.follow_flow(flow, id);
        let response = self.store.servers.get(&id).and_then(|transaction| match &transaction.machine {
            ServerMachine::Invite(machine) => machine.handle_retransmission(),
            ServerMachine::Other(machine) => machine.handle_retransmission(),
        });
        if let Some(bytes) = response.map(<[u8]>::to_vec) {
            self.send(step, flow, bytes);
        }
    }

    /// RFC 3261 section 8.2: syntax, method, header, content.
    fn refusal(&self, request: &Request<'_>) -> Option<Refusal> {
        if let Some(finding) = check_request(request.message) {
            return Some(Refusal { status: finding.status(), reason: Some(finding.reason()), header: None });
        }
        if matches!(request.method, Method::Other(_)) && !self.serves_register(request) {
            return Some(Refusal::with(405, "Allow", self.allow_for(request)));
        }
        if !Uri::parse(request.uri).is_ok_and(|uri| uri.scheme_supported()) {
            return Some(Refusal::new(416));
        }
        let in_dialog = to_tag(request.message).is_some();
        if !in_dialog && merge_key(request.message).is_some_and(|key| self.store.is_merged(&key)) {
            return Some(Refusal { status: 482, reason: Some("Merged Request".into()), header: None });
        }
        if let Some(refusal) = self.extension_refusal(request) {
            return Some(refusal);
        }
        let describes = matches!(request.method, Method::Invite | Method::Update | Method::Prack);
        if *request.method == Method::Invite && !replaces_ok(request.message) {
            return Some(Refusal::because(400, "Bad Replaces"));
        }
        let content = describes.then(|| content_refusal(request.message)).flatten();
        content.or_else(|| self.requirement_refusal(request))
    }

    fn accept_request(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        if to_tag(request.message).is_some() {
            return self.handle_in_dialog(step, request);
        }
        match request.method {
            Method::Options => self.answer_options(step, request),
            Method::Invite => self.accept_invite(step, request),
            Method::Other(_) if self.serves_register(&request) => self.handle_register(step, request),
            // Only who is in a call with us may ask us to call somebody.
            Method::Refer => self.refuse(step, request, Refusal::new(403)),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Info
            | Method::Prack
            | Method::Update
            | Method::Notify
            | Method::Other(_) => {
                self.refuse(step, request, Refusal::new(481));
            }
        }
    }

    pub(super) fn answer_options(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        let tag = self.identifiers.tag();
        let mut writer = self.response(&request.template, 200, None, &tag);
        writer.header("Allow", self.allow_for(&request)).header("Accept", "application/sdp");
        // Without any extension the field is empty (RFC 3261 section 11.2).
        let supported = self.supported(self.policy_of(&request));
        writer.header("Accept-Encoding", "identity").header("Supported", supported);
        self.complete(step, request, tag, writer.finish(None, b""));
    }

    /// A response with our Server header.
    pub(super) fn response(
        &self,
        template: &ResponseTemplate,
        status: u16,
        reason: Option<&str>,
        tag: &str,
    ) -> Writer {
        let mut writer = template.response(status, reason.unwrap_or(reason_phrase(status)), tag);
        if !self.config.product.is_empty() {
            writer.header("Server", &self.config.product);
        }
        writer
    }

    /// Answers with a final non-2xx. A full store answers without a transaction.
    pub(super) fn refuse(&mut self, step: &mut Step<'_>, request: Request<'_>, refusal: Refusal) {
        let tag = self.identifiers.tag();
        let mut writer = self.response(&request.template, refusal.status, refusal.reason.as_deref(), &tag);
        if let Some((name, value)) = refusal.header {
            writer.header(name, value);
        }
        if refusal.status == 415 {
            writer.header("Accept-Encoding", "identity");
        }
        self.complete(step, request, tag, writer.finish(None, b""));
    }

    /// Sends a final response and leaves it to a transaction to repeat it.
    pub(super) fn complete(
        &mut self,
        step: &mut Step<'_>,
        request: Request<'_>,
        tag: String,
        bytes: Vec<u8>,
    ) {
        if self.store.transactions() >= self.transaction_limit(&request) {
            // Served all the same; only a copy would be answered as if it were new.
            return self.send(step, request.flow, bytes);
        }
        let reliable = request.flow.transport.is_reliable();
        let machine = if *request.method == Method::Invite {
            let mut machine = InviteServer::new(self.config.timers, reliable);
            machine.reject(step.now, bytes.clone());
            ServerMachine::Invite(machine)
        } else {
            let mut machine = NonInviteServer::new(self.config.timers, reliable);
            machine.complete(step.now, bytes.clone());
            ServerMachine::Other(machine)
        };
        let flow = request.flow;
        self.add_server(request, machine, tag, None);
        self.send(step, flow, bytes);
    }

    pub(super) fn add_server(
        &mut self,
        request: Request<'_>,
        machine: ServerMachine,
        tag: String,
        dialog: Option<DialogKey>,
    ) -> u64 {
        let merge_key = if to_tag(request.message).is_none() { merge_key(request.message) } else { None };
        // A merged request does not own the key of the first one.
        let merge_key = merge_key.filter(|key| !self.store.is_merged(key));
        let Request { flow, key, template, .. } = request;
        self.store.add_server(ServerTransaction { machine, flow, key, merge_key, dialog, template, tag })
    }

    fn accept_invite(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        self.last_dialog += 1;
        let key = DialogKey(self.last_dialog);
        let tag = self.identifiers.tag();
        let trunk = self.trunk_of(&request).map(|rules| rules.name.clone());
        let policy = self.policy_of_new(&request).clone();
        let (message, flow) = (request.message, request.flow);
        let mut dialog = uas_dialog(key, message, flow, tag.clone());
        dialog.local_cseq = self.identifiers.cseq();
        let event = invite_event(key, trunk, &request, SavedDialog::of(&dialog));
        let transaction = self.begin_invite(step, request, tag, key);
        dialog.incoming = Some(self.incoming(step, message, transaction, true));
        dialog.peer = Abilities::read(message);
        dialog.set_policy(policy);
        self.store.add_dialog(dialog);
        self.note_their_sdp(key, sdp_body(message).as_deref());
        step.event(event);
    }

    /// Opens the server transaction of an INVITE or re-INVITE and sends 100 Trying at once.
    pub(super) fn begin_invite(
        &mut self,
        step: &mut Step<'_>,
        request: Request<'_>,
        tag: String,
        dialog: DialogKey,
    ) -> u64 {
        let flow = request.flow;
        let mut machine = InviteServer::new(self.config.timers, flow.transport.is_reliable());
        let trying = self.response(&request.template, 100, None, "").finish(None, b"");
        machine.provisional(trying.clone());
        let id = self.add_server(request, ServerMachine::Invite(machine), tag, Some(dialog));
        self.send(step, flow, trying);
        id
    }

    pub(super) fn incoming(
        &self,
        step: &Step<'_>,
        message: &Message,
        transaction: u64,
        initial: bool,
    ) -> Incoming {
        Incoming {
            transaction,
            cseq: cseq_number(message),
            initial,
            ends: step.now + self.config.answer_limit,
            refresh: step.now + PROVISIONAL_REFRESH,
            offer: sdp_body(message).is_some(),
            settled: false,
            pracked_answer: None,
            said: Said::read(message),
        }
    }

    fn handle_cancel(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        let invite = transaction_key(request.message, request.uri, "INVITE")
            .and_then(|key| self.store.server_by_key(&key));
        let Some(id) = invite else {
            if let Some(finding) = check_request(request.message) {
                let refusal =
                    Refusal { status: finding.status(), reason: Some(finding.reason()), header: None };
                return self.refuse(step, request, refusal);
            }
            return self.refuse(step, request, Refusal::new(481));
        };
        let (tag, dialog, open) = match self.store.servers.get(&id) {
            Some(ServerTransaction { tag, dialog, machine: ServerMachine::Invite(machine), .. }) => {
                (tag.clone(), *dialog, machine.state() == InviteServerState::Proceeding)
            }
            Some(_) | None => return self.refuse(step, request, Refusal::new(481)),
        };
        let bytes = self.response(&request.template, 200, None, &tag).finish(None, b"");
        self.complete(step, request, tag, bytes);
        if let (true, Some(key)) = (open, dialog) {
            let initial = self
                .store
                .dialogs
                .get(&key)
                .and_then(|dialog| dialog.incoming.as_ref())
                .is_some_and(|i| i.initial);
            if initial {
                step.event(Event::Cancelled { dialog: key });
            }
            self.reject_incoming(step, key, 487);
        }
    }
}

/// At most one Replaces, and a readable one (RFC 3891 section 3).
fn replaces_ok(message: &Message) -> bool {
    let mut fields = message.all(&HeaderName::Replaces);
    fields.next().is_none_or(|field| Replaces::parse(&field.value).is_some()) && fields.next().is_none()
}

/// Only SDP can be a session description here (sections 8.2.3 and 13.3.1).
fn content_refusal(message: &Message) -> Option<Refusal> {
    let is_sdp = match message.value(&HeaderName::ContentType) {
        Some(kind) if is_multipart(kind) => match session_description(kind, &message.body) {
            Ok(_) => true,
            Err(MultipartError::Boundary) => return Some(Refusal::because(400, "Bad Multipart Body")),
            Err(MultipartError::Encoding) => false,
        },
        Some(kind) => media_type(kind).eq_ignore_ascii_case("application/sdp"),
        None => message.body.starts_with(b"v=0"),
    };
    let encoded = message
        .value(&HeaderName::ContentEncoding)
        .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if !message.body.is_empty() && (!is_sdp || encoded) {
        return Some(Refusal::with(415, "Accept", "application/sdp"));
    }
    let mut accept = message.all(&HeaderName::Accept).peekable();
    if accept.peek().is_some() && !accept.any(|field| accepts_sdp(&field.value)) {
        return Some(Refusal::new(406));
    }
    None
}

/// The dialog that our tagged response to this INVITE creates (RFC 3261 section 12.1.1).
fn uas_dialog(key: DialogKey, message: &Message, flow: Flow, tag: String) -> Dialog {
    let wire = |name: &HeaderName| {
        message.header(name).map(|field| field.wire_value().into_owned()).unwrap_or_default()
    };
    let mut local = wire(&HeaderName::To);
    local.extend_from_slice(b";tag=");
    local.extend_from_slice(tag.as_bytes());
    let from = message.value(&HeaderName::From).and_then(NameAddr::parse);
    // An RFC 2543 INVITE may lack a Contact; its From is the best target there is.
    let target = contact_uri(message).or_else(|| from.map(|addr| addr.uri.to_owned()));
    let call_id = message.value(&HeaderName::CallId).unwrap_or_default().to_owned();
    Dialog {
        local_tag: tag,
        remote_tag: from_tag(message).map(str::to_owned),
        local,
        remote: wire(&HeaderName::From),
        route_set: record_routes(message),
        remote_target: target.unwrap_or_default(),
        remote_cseq: Some(cseq_number(message)),
        behind_nat: top_via_differs(message, flow),
        ..Dialog::new(key, call_id, flow)
    }
}

/// Whether the peer that sent the request names another IP address than it sends from.
fn top_via_differs(message: &Message, flow: Flow) -> bool {
    let Some(field) = message.header(&HeaderName::Via) else { return false };
    let via = split_list(&field.value).next().and_then(Via::parse);
    via.is_some_and(|via| via.host.parse::<std::net::IpAddr>().is_ok() && !same_host(via.host, flow.remote))
}
