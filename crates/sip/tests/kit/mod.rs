//! What the tests share: a clock, an endpoint with a peer that speaks text, and messages to send.
//! Knows no socket: bytes go from hand to hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may unwrap and skip")]

use sip::message::{HeaderName, Message, StartLine};
use sip::parser::parse;
use sip::{Command, DialogKey, Endpoint, EndpointConfig, Event, Flow, Input, Output, Transport};
use std::time::{Duration, Instant};

pub const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
                         m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                          m=audio 20000 RTP/AVP 0\r\n";

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
pub fn zero() -> Instant {
    Instant::now()
}

pub fn udp() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.7:5060".parse().unwrap(),
        connection: 0,
    }
}

pub fn tcp() -> Flow {
    Flow { transport: Transport::Tcp, connection: 7, ..udp() }
}

/// An endpoint with a fake clock and a peer at the other end of one flow.
pub struct Bench {
    pub endpoint: Endpoint,
    pub now: Instant,
    pub begin: Instant,
    pub wake: Option<Instant>,
    pub flow: Flow,
    /// What was sent since `take_sent`, with its time in milliseconds.
    pub sent: Vec<(u64, Message)>,
    pub sent_flows: Vec<Flow>,
    pub events: Vec<Event>,
}

impl Bench {
    pub fn new(flow: Flow) -> Self {
        Self::with(EndpointConfig::default(), flow)
    }

    pub fn with(config: EndpointConfig, flow: Flow) -> Self {
        let begin = zero();
        Self {
            endpoint: Endpoint::new(config, [7; 32]),
            now: begin,
            begin,
            wake: None,
            flow,
            sent: Vec::new(),
            sent_flows: Vec::new(),
            events: Vec::new(),
        }
    }

    pub fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.wake = self.endpoint.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Send { flow, bytes } => {
                    let message = parse(&bytes).expect("we write what we can read");
                    self.sent.push(((self.now - self.begin).as_millis() as u64, message));
                    self.sent_flows.push(flow);
                }
                Output::Event(event) => self.events.push(event),
                Output::CloseFlow { .. } => {}
            }
        }
    }

    pub fn receive(&mut self, text: &str) {
        let flow = self.flow;
        self.step(Input::Message { flow, bytes: text.as_bytes() });
    }

    pub fn command(&mut self, command: Command) {
        self.step(Input::Command(command));
    }

    /// Lets time pass, waking the endpoint whenever it asks.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut steps = 0;
        while let Some(wake) = self.wake.filter(|wake| *wake <= until) {
            assert!(wake >= self.now || steps == 0, "a wake-up in the past");
            self.now = self.now.max(wake);
            self.step(Input::Timeout);
            assert!(self.wake != Some(wake), "a timeout that changes nothing");
            steps += 1;
            assert!(steps < 10_000, "the endpoint never rests");
        }
        self.now = until;
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    pub fn take_sent(&mut self) -> Vec<Message> {
        self.sent_flows.clear();
        std::mem::take(&mut self.sent).into_iter().map(|(_, message)| message).collect()
    }

    /// `100 180 BYE`: what was sent, in short.
    pub fn take_sent_kinds(&mut self) -> String {
        self.take_sent().iter().map(kind).collect::<Vec<_>>().join(" ")
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn take_event_names(&mut self) -> String {
        self.take_events().iter().map(Event::name).collect::<Vec<_>>().join(" ")
    }

    pub fn respond(&mut self, dialog: DialogKey, status: u16) {
        let sdp = (200..300).contains(&status).then(|| ANSWER.to_owned());
        self.command(Command::Respond { dialog, status, reason: None, sdp, headers: Vec::new() });
    }

    /// An incoming call up to the ACK; returns the dialog and our To tag.
    pub fn established(&mut self) -> (DialogKey, String) {
        self.receive(&invite("call", "z9hG4bKinv"));
        let dialog = self.last_dialog();
        self.respond(dialog, 200);
        let tag = tag_of(&self.sent.last().expect("200").1, &HeaderName::To);
        self.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
        self.take_sent();
        assert_eq!(self.take_event_names(), "Invite Acked");
        (dialog, tag)
    }

    /// As `established`, with more header fields in the INVITE and in what was sent last: the 200.
    pub fn established_with(&mut self, extra: &str) -> (DialogKey, String, Message) {
        self.receive(&with_headers(&invite("call", "z9hG4bKinv"), extra));
        let dialog = self.last_dialog();
        self.respond(dialog, 200);
        let ok = self.take_sent().pop().expect("200");
        let tag = tag_of(&ok, &HeaderName::To);
        self.receive(&in_dialog("ACK", 1, "z9hG4bKack", &tag));
        assert_eq!(self.take_event_names(), "Invite Acked");
        (dialog, tag, ok)
    }

    pub fn last_dialog(&self) -> DialogKey {
        self.events.iter().rev().find_map(Event::dialog).expect("an event with a dialog")
    }
}

pub fn kind(message: &Message) -> String {
    match &message.start {
        StartLine::Request { method, .. } => method.name().to_owned(),
        StartLine::Response { status, .. } => status.to_string(),
    }
}

pub fn tag_of(message: &Message, name: &HeaderName) -> String {
    let value = message.value(name).expect("the field");
    sip::headers::NameAddr::parse(value).unwrap().tag().unwrap_or_default().to_owned()
}

pub fn value<'a>(message: &'a Message, name: &str) -> &'a str {
    message.value(&HeaderName::from_text(name)).unwrap_or("")
}

pub fn request(method: &str, call: &str, branch: &str, extra: &str) -> String {
    format!(
        "{method} sip:+15550100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch={branch}\r\n\
         Max-Forwards: 70\r\nFrom: \"Ann\" <sip:ann@example.org>;tag=peer\r\nTo: <sip:+15550100@192.0.2.1>\r\n\
         Call-ID: {call}\r\nCSeq: 1 {method}\r\nContact: <sip:ann@192.0.2.7:5060>\r\n{extra}\r\n"
    )
}

pub fn invite(call: &str, branch: &str) -> String {
    request(
        "INVITE",
        call,
        branch,
        &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", OFFER.len()),
    ) + OFFER
}

/// A request of the peer in the dialog of call `call` with our tag.
pub fn in_dialog(method: &str, cseq: u32, branch: &str, our_tag: &str) -> String {
    request(method, "call", branch, "Content-Length: 0\r\n")
        .replace("CSeq: 1", &format!("CSeq: {cseq}"))
        .replace("To: <sip:+15550100@192.0.2.1>", &format!("To: <sip:+15550100@192.0.2.1>;tag={our_tag}"))
}

/// The peer's response to a request of ours.
pub fn response(request: &Message, status: u16, to_tag: &str, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status} Because\r\n");
    for header in &request.headers {
        match header.name {
            HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                text += &format!("{}: {}\r\n", header.name.text(), header.value);
            }
            HeaderName::To if header.value.contains("tag=") || to_tag.is_empty() => {
                text += &format!("To: {}\r\n", header.value);
            }
            HeaderName::To => text += &format!("To: {};tag={to_tag}\r\n", header.value),
            _ => {}
        }
    }
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{text}{extra}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The message with more header fields.
pub fn with_headers(text: &str, extra: &str) -> String {
    text.replacen("Max-Forwards: 70\r\n", &format!("Max-Forwards: 70\r\n{extra}"), 1)
}

/// The message with a session description as its body.
pub fn with_sdp(text: &str, sdp: &str) -> String {
    let head = text.split("Content-Length").next().unwrap_or_default();
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// A response of the peer to our request, as a caller's side would answer it: with nothing to say.
pub fn ok(request: &Message) -> String {
    response(request, 200, "", "", "")
}
