//! REGISTER on the wire, and what the registrar's changes mean to the user (RFC 3261 section 10.3).
//! Knows the trunk that the gate admitted a request for. The bindings themselves are the registrar's.

use super::facts::cseq_number;
use super::io::{Event, Flow};
use super::uas::{Refusal, Request};
use super::{Endpoint, Step};
use crate::gate::{GateReason, unescaped};
use crate::headers::{NameAddr, split_list};
use crate::message::HeaderName;
use crate::registrar::{Change, Owner, Register, RegisterError};
use crate::uri::Uri;

impl Endpoint {
    /// The way to a registered user of a trunk, and the URI to call: the contact that its phone prefers.
    pub fn binding(&self, trunk: &str, aor_user: &str) -> Option<(Flow, String)> {
        self.registrar.binding(trunk, aor_user)
    }

    /// Whether it is a REGISTER that its trunk lets be served. Elsewhere it gets 405 and not 501: we know the method,
    /// but not for the address that it names (RFC 3261 section 21.4.6), and the Allow of that answer says so.
    pub(super) fn serves_register(&self, request: &Request<'_>) -> bool {
        request.method.name() == "REGISTER" && self.trunk_of(request).is_some_and(|rules| rules.registrar)
    }

    /// A REGISTER that the gate admitted.
    pub(super) fn handle_register(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        let owner = match self.owner(&request) {
            Ok(owner) => owner,
            Err(status) => {
                if status == 403 {
                    self.statistics.gate.count(GateReason::ForeignAddress);
                }
                return self.refuse(step, request, Refusal::new(status));
            }
        };
        let message = request.message;
        let contacts = message.all(&HeaderName::Contact).flat_map(|field| split_list(&field.value)).collect();
        let expires = message.headers.iter().find(|field| field.name.text().eq_ignore_ascii_case("Expires"));
        let register = Register {
            owner,
            call_id: message.value(&HeaderName::CallId).unwrap_or_default(),
            cseq: cseq_number(message),
            flow: request.flow,
            contacts,
            expires: expires.map(|field| field.value.as_str()),
        };
        let mut changes = Vec::new();
        let result = self.registrar.register(step.now, &register, &mut changes);
        match result {
            Ok(contacts) => self.answer_register(step, request, &contacts),
            Err(RegisterError::Full) => return self.shed(step, &request),
            Err(error) => {
                let refusal = self.register_refusal(error);
                return self.refuse(step, request, refusal);
            }
        }
        report_changes(step, changes);
    }

    /// Whose contacts a REGISTER is about: the To URI. A user may register only itself (step 4), by the name that
    /// it has authenticated with; a trunk that is known by its address speaks for all its users.
    fn owner(&self, request: &Request<'_>) -> Result<Owner, u16> {
        let rules = self.trunk_of(request).ok_or(403_u16)?;
        let to = request.message.value(&HeaderName::To).and_then(NameAddr::parse).ok_or(400_u16)?;
        let uri = Uri::parse(to.uri).map_err(|_| 400_u16)?;
        let served =
            rules.hosts.is_empty() || rules.hosts.iter().any(|host| host.eq_ignore_ascii_case(uri.host));
        if !served {
            return Err(404);
        }
        let aor = unescaped(uri.user);
        let user = request.admitted.and_then(|(_, user)| rules.users.get(user?));
        if user.is_some_and(|user| user.username != aor) {
            return Err(403);
        }
        Ok((rules.name.clone(), aor))
    }

    fn register_refusal(&self, error: RegisterError) -> Refusal {
        match error {
            RegisterError::Malformed(reason) => Refusal::because(400, reason),
            RegisterError::TooBrief => {
                Refusal::with(423, "Min-Expires", self.registrar.min_expires_s().to_string())
            }
            RegisterError::OutOfOrder => Refusal::because(500, "CSeq Out Of Order"),
            RegisterError::TooManyContacts => Refusal::because(403, "Too Many Contacts"),
            RegisterError::Full => Refusal::new(503),
        }
    }

    fn answer_register(&mut self, step: &mut Step<'_>, request: Request<'_>, contacts: &[String]) {
        let tag = self.identifiers.tag();
        let mut writer = self.response(&request.template, 200, None, &tag);
        for contact in contacts {
            writer.header("Contact", contact);
        }
        self.complete(step, request, tag, writer.finish(None, b""));
    }

    /// Registrations that have run out.
    pub(super) fn expire_registrations(&mut self, step: &mut Step<'_>) {
        let mut changes = Vec::new();
        self.registrar.handle_timeout(step.now, &mut changes);
        report_changes(step, changes);
        self.statistics.gate.bindings = self.registrar.len();
    }

    /// Registrations whose stream is gone.
    pub(super) fn unregister_flow(&mut self, step: &mut Step<'_>, flow: Flow) {
        let mut changes = Vec::new();
        self.registrar.handle_flow_closed(flow, &mut changes);
        report_changes(step, changes);
    }
}

fn report_changes(step: &mut Step<'_>, changes: Vec<Change>) {
    for change in changes {
        step.event(match change {
            Change::Registered { owner: (trunk, aor), contact, flow, expires_s } => {
                Event::Registered { trunk, aor, contact, flow, expires_s }
            }
            Change::Unregistered { owner: (trunk, aor) } => Event::Unregistered { trunk, aor },
        });
    }
}
