//! Requests outside dialogs: OPTIONS to see whether a peer lives, REGISTER (RFC 3261 sections 10.2 and 11.1).
//! Knows one request and its one response. When to register again is decided in `registration`.

use super::answers::write_extra_headers;
use super::io::{Event, Flow, OutgoingRequest, RequestKey};
use super::store::{ClientTransaction, Purpose};
use super::uac::from_value;
use super::{Endpoint, Step, routing};
use crate::builder::Writer;
use crate::digest::AuthSession;
use crate::headers::{NameAddr, split_list};
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::uri::Uri;

impl Endpoint {
    /// [`super::Command::Request`]. Draining does not matter: a server that goes says so to its registrars.
    pub(super) fn request(&mut self, step: &mut Step<'_>, request: OutgoingRequest) {
        let valid = Uri::parse(&request.uri).is_ok_and(|uri| uri.scheme_supported())
            && [&request.from, &request.to]
                .into_iter()
                .all(|one| from_value(one).is_some_and(|one| NameAddr::parse(&one).is_some()));
        let full = self.store.transactions() >= self.config.max_transactions;
        if !valid || full || !routing::may_send_to(request.flow.remote) {
            self.statistics.refused_full += u64::from(full);
            let (status, reason) = if valid { (503, "Service Unavailable") } else { (400, "Bad Request") };
            return step.event(Event::Response {
                request: request.request,
                status,
                reason: reason.to_owned(),
                headers: Vec::new(),
                flow: request.flow,
            });
        }
        let branch = self.identifiers.branch();
        let bytes = self.write_request(&request, &branch);
        let auth = request.credentials.map(AuthSession::new);
        let purpose = Purpose::Request(request.request);
        let id = self.send_request(step, request.flow, (request.method, branch, bytes), (None, purpose));
        if let Some(client) = self.store.clients.get_mut(&id) {
            client.auth = auth;
        }
    }

    fn write_request(&mut self, request: &OutgoingRequest, branch: &str) -> Vec<u8> {
        let tag = request.local_tag.clone().unwrap_or_else(|| self.identifiers.tag());
        let call_id = request.call_id.clone().unwrap_or_else(|| self.identifiers.call_id());
        let cseq = request.cseq.unwrap_or_else(|| self.identifiers.cseq());
        let mut writer = Writer::request(request.method, &request.uri);
        writer
            .header("Via", self.via(&request.flow, branch))
            .header("Max-Forwards", "70")
            .header("From", format!("{};tag={tag}", from_value(&request.from).unwrap_or_default()))
            .header("To", from_value(&request.to).unwrap_or_default())
            .header("Call-ID", call_id)
            .header("CSeq", format!("{cseq} {}", request.method));
        if !request.headers.iter().any(|(name, _)| HeaderName::from_text(name) == HeaderName::Contact) {
            writer.header("Contact", self.request_contact(request));
        }
        writer.header("Allow", self.allow());
        if request.method == "OPTIONS" {
            writer.header("Accept", "application/sdp");
        }
        if !self.config.product.is_empty() {
            writer.header("User-Agent", &self.config.product);
        }
        write_extra_headers(&mut writer, &request.headers);
        let (content_type, body) = match &request.body {
            Some((content_type, body)) => (Some(content_type.as_str()), body.as_bytes()),
            None => (None, [].as_slice()),
        };
        writer.finish(content_type, body)
    }

    /// A registrar sends calls to our Contact: the user is the one of the address of record.
    fn request_contact(&self, request: &OutgoingRequest) -> String {
        let contact = self.contact(&request.flow);
        let to = from_value(&request.to).unwrap_or_default();
        let user = NameAddr::parse(&to).and_then(|addr| Uri::parse(addr.uri).ok()).map_or("", |uri| uri.user);
        if request.method != "REGISTER" || user.is_empty() {
            return contact;
        }
        contact.replacen("<sip:", &format!("<sip:{user}@"), 1)
    }

    /// A request outside dialogs will never have a response.
    pub(super) fn request_failed(
        &mut self,
        step: &mut Step<'_>,
        client: &ClientTransaction,
        (status, reason): (u16, &str),
    ) {
        let Purpose::Request(request) = client.purpose else { return };
        let (reason, flow) = (reason.to_owned(), client.flow);
        step.event(Event::Response { request, status, reason, headers: Vec::new(), flow });
    }

    /// The final response to a request outside dialogs.
    pub(super) fn request_answered(
        &mut self,
        step: &mut Step<'_>,
        id: u64,
        (request, flow): (RequestKey, Flow),
        message: &Message,
    ) {
        let StartLine::Response { status, reason } = &message.start else { return };
        let Some(client) = self.store.clients.get(&id) else { return };
        let sent = parse(client.machine.request()).ok();
        let ours = sent.as_ref().filter(|_| client.method == "REGISTER");
        let ours = ours.and_then(|sent| sent.value(&HeaderName::Contact));
        let mut headers = Vec::with_capacity(message.headers.len());
        for field in &message.headers {
            if field.name != HeaderName::Contact || ours.is_none() {
                headers.push((field.name.text().to_owned(), field.value.clone()));
            }
        }
        if let Some(binding) = ours.and_then(|ours| own_binding(message, ours)) {
            headers.push(("Contact".to_owned(), binding.to_owned()));
        }
        step.event(Event::Response { request, status: *status, reason: reason.clone(), headers, flow });
    }
}

/// Of all the bindings that a registrar lists, ours; a single one is ours even if it was rewritten on the way.
fn own_binding<'a>(response: &'a Message, ours: &str) -> Option<&'a str> {
    let ours = NameAddr::parse(ours).and_then(|addr| Uri::parse(addr.uri).ok())?;
    let all = || response.all(&HeaderName::Contact).flat_map(|field| split_list(&field.value));
    let same = |text: &&str| {
        let uri = NameAddr::parse(text).and_then(|addr| Uri::parse(addr.uri).ok());
        uri.is_some_and(|uri| {
            uri.user == ours.user && uri.host.eq_ignore_ascii_case(ours.host) && uri.port == ours.port
        })
    };
    let mut only = all();
    let single = only.next().filter(|_| only.next().is_none());
    all().find(same).or(single)
}
