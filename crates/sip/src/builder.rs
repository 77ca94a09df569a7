//! Writes messages, strictly: CRLF, one Content-Length, no line end inside a value (RFC 3261 section 7).
//! Knows the wire format. Knows nothing of which fields a message should carry.

use crate::headers::{Via, param, params_of, split_list};
use crate::message::{HeaderName, Message};
use crate::uri::bracketed;
use std::net::SocketAddr;

/// A message being written.
#[derive(Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a request.
    pub fn request(method: &str, uri: &str) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(1024) };
        writer.push_clean(method.as_bytes());
        writer.bytes.push(b' ');
        writer.push_clean(uri.as_bytes());
        writer.bytes.extend_from_slice(b" SIP/2.0\r\n");
        writer
    }

    /// Begins a response.
    pub fn response(status: u16, reason: &str) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(1024) };
        writer.bytes.extend_from_slice(b"SIP/2.0 ");
        writer.bytes.extend_from_slice(status.to_string().as_bytes());
        writer.bytes.push(b' ');
        writer.push_clean(reason.as_bytes());
        writer.bytes.extend_from_slice(b"\r\n");
        writer
    }

    /// Begins with the fields: for a message whose start is written later.
    pub(crate) fn fields() -> Self {
        Self { bytes: Vec::new() }
    }

    /// What has been written so far.
    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a field. Line ends inside the value become spaces.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.push_clean(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.push_clean(value.as_ref());
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Appends whole fields that this writer has written before.
    pub(crate) fn raw(&mut self, fields: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(fields);
        self
    }

    /// Appends the body's fields and the body, and returns the message.
    pub fn finish(mut self, content_type: Option<&str>, body: &[u8]) -> Vec<u8> {
        if let (Some(content_type), false) = (content_type, body.is_empty()) {
            self.header("Content-Type", content_type);
        }
        self.header("Content-Length", body.len().to_string());
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(body);
        self.bytes
    }

    fn push_clean(&mut self, value: &[u8]) {
        self.bytes
            .extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }));
    }
}

/// What every response to one request shares: copied once, when the request arrives (RFC 3261 section 8.2.6).
#[derive(Clone)]
pub struct ResponseTemplate {
    head: Vec<u8>,
    to: Vec<u8>,
    to_has_tag: bool,
    record_route: Vec<u8>,
    timestamp: Option<String>,
}

impl ResponseTemplate {
    /// Copies what the responses to `request` need. `None` if its top Via cannot be read.
    pub fn new(request: &Message, source: SocketAddr) -> Option<Self> {
        let mut head = Writer { bytes: Vec::with_capacity(512) };
        write_vias(request, source, &mut head)?;
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            if let Some(field) = request.header(&name) {
                head.header(name.text(), field.wire_value());
            }
        }
        let to = request.header(&HeaderName::To);
        let to_has_tag = to.is_some_and(|field| {
            crate::headers::NameAddr::parse(&field.value).is_some_and(|addr| addr.tag().is_some())
        });
        let mut record_route = Writer { bytes: Vec::new() };
        for field in request.all(&HeaderName::RecordRoute) {
            record_route.header("Record-Route", field.wire_value());
        }
        Some(Self {
            head: head.bytes,
            to: to.map(|field| field.wire_value().into_owned()).unwrap_or_default(),
            to_has_tag,
            record_route: record_route.bytes,
            timestamp: request.value(&HeaderName::Timestamp).map(str::to_owned),
        })
    }

    /// A response; `tag` becomes the To tag unless the request had one or `tag` is empty.
    pub fn response(&self, status: u16, reason: &str, tag: &str) -> Writer {
        let mut writer = Writer::response(status, reason);
        writer.raw(&self.head);
        if !self.to.is_empty() {
            let mut to = self.to.clone();
            if !self.to_has_tag && !tag.is_empty() {
                to.extend_from_slice(b";tag=");
                to.extend_from_slice(tag.as_bytes());
            }
            writer.header("To", to);
        }
        if status == 100
            && let Some(timestamp) = &self.timestamp
        {
            writer.header("Timestamp", timestamp);
        }
        writer
    }

    /// The Record-Route fields, which dialog-forming responses repeat (RFC 3261 section 12.1.1).
    pub(crate) fn record_route(&self) -> &[u8] {
        &self.record_route
    }
}

/// Copies the Via fields; the top one gets `received` and `rport` (RFC 3261 18.2.1, RFC 3581 section 4).
fn write_vias(request: &Message, source: SocketAddr, head: &mut Writer) -> Option<()> {
    let mut top = true;
    for field in request.all(&HeaderName::Via) {
        for element in split_list(&field.value) {
            match Via::parse(element) {
                Some(via) if top => head.header("Via", top_via(&via, source)),
                Some(_) => head.header("Via", element),
                None if top => return None,
                None => continue,
            };
            top = false;
        }
    }
    (!top).then_some(())
}

fn top_via(via: &Via<'_>, source: SocketAddr) -> String {
    let mut text = format!("SIP/2.0/{} {}", via.transport, bracketed(via.host));
    if let Some(port) = via.port {
        text.push_str(&format!(":{port}"));
    }
    let wants_rport = param(via.params, "rport").is_some();
    for (name, value) in params_of(via.params) {
        if name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received") {
            continue;
        }
        text.push(';');
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    if wants_rport || !same_host(via.host, source) {
        text.push_str(&format!(";received={}", source.ip()));
    }
    if wants_rport {
        text.push_str(&format!(";rport={}", source.port()));
    }
    text
}

/// Whether the sent-by host is the address the request came from.
pub(crate) fn same_host(host: &str, source: SocketAddr) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical() == source.ip().to_canonical())
}

/// The usual reason phrase of a status (RFC 3261 section 21).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        600 => "Busy Everywhere",
        603 => "Decline",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    #[test]
    fn a_value_cannot_smuggle_a_second_header() {
        let mut writer = Writer::response(486, "Busy\r\nEvil: 1");
        writer.header("X", "a\r\nEvil: 2");
        let text = String::from_utf8(writer.finish(None, b"")).expect("ascii");
        assert_eq!(text, "SIP/2.0 486 Busy  Evil: 1\r\nX: a  Evil: 2\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn received_and_rport_say_where_the_request_came_from() {
        let request = parse(
            b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bKx, SIP/2.0/TCP p\r\n\
              From: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n",
        )
        .expect("parses");
        let template =
            ResponseTemplate::new(&request, "192.0.2.9:61000".parse().expect("address")).expect("has a Via");
        let text = String::from_utf8(template.response(200, "OK", "t").finish(None, b"")).expect("ascii");
        assert!(
            text.starts_with(
                "SIP/2.0 200 OK\r\n\
                 Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKx;received=192.0.2.9;rport=61000\r\n\
                 Via: SIP/2.0/TCP p\r\nFrom: <sip:a>;tag=1\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nTo: <sip:b>;tag=t\r\n"
            ),
            "{text}"
        );
    }
}
