//! The SIP of a caller that only wants a call to be up: INVITE, ACK, BYE as text over UDP.
//! Knows five messages. Repeats nothing: on loopback what is lost was too much for somebody.

use sip::{
    headers::NameAddr,
    message::{HeaderName, Message},
};
use std::net::SocketAddr;

/// Who calls whom, and in which run.
pub(crate) struct Wording {
    pub(crate) local: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Tells the calls of one load from those of another.
    run: u32,
}

impl Wording {
    /// For calls from the socket of this address.
    pub(crate) fn new(local: SocketAddr, server: SocketAddr) -> Self {
        Self { local, server, run: u32::from(local.port()) ^ std::process::id().rotate_left(16) }
    }

    /// A call with this number, whose caller wants G.711 at this port.
    pub(crate) fn invite(&self, number: usize, port: u16) -> String {
        let (server, ip) = (self.server, self.local.ip());
        let uri = format!("sip:bench@{server}");
        let offer = format!(
            "v=0\r\no=- {number} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
             a=ptime:20\r\na=sendrecv\r\n"
        );
        let head = self.head("INVITE", &uri, number, &format!("<{uri}>"));
        format!(
            "{head}Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{offer}",
            offer.len()
        )
    }

    /// The acknowledgement of a call's 200.
    pub(crate) fn ack(&self, number: usize, answer: &Message) -> String {
        self.within("ACK", number, answer)
    }

    /// The end of a call that was answered with this.
    pub(crate) fn bye(&self, number: usize, answer: &Message) -> String {
        self.within("BYE", number, answer)
    }

    /// Which call a response belongs to, of so many; `None` for one of an earlier run.
    pub(crate) fn number_of(&self, message: &Message, calls: usize) -> Option<usize> {
        let id = message.value(&HeaderName::CallId)?;
        let (number, run) = id.split_once('-')?;
        let number: usize = number.parse().ok()?;
        (run == self.run.to_string() && number < calls).then_some(number)
    }

    fn within(&self, method: &str, number: usize, answer: &Message) -> String {
        let to = answer.value(&HeaderName::To).unwrap_or_default();
        let contact = answer.value(&HeaderName::Contact).and_then(NameAddr::parse);
        let target = contact.map_or_else(|| format!("sip:bench@{}", self.server), |c| c.uri.to_owned());
        self.head(method, &target, number, to) + "Content-Length: 0\r\n\r\n"
    }

    fn head(&self, method: &str, uri: &str, number: usize, to: &str) -> String {
        let Self { local, run, .. } = self;
        let cseq = if method == "BYE" { 2 } else { 1 };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{number}x{run};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:load@{local}>;tag={number}\r\nTo: {to}\r\nCall-ID: {number}-{run}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:load@{local}>\r\n"
        )
    }
}
