//! One function for each kind of bytes that strangers send, with what must be true whatever they are.
//! Deterministic: the same bytes do the same. Knows the crates under test and no fuzzer.

use media::{
    Codec, Frame, JitterConfig, Receiver, ReceiverConfig, RtcpSession, RtpPacket, SenderCounts, is_rtcp,
};
use sip::digest::{
    AuthSession, ChallengedBy, Credentials, DigestChallenge, DigestResponse, Password, digest_response,
};
use sip::gate::{GateConfig, TrunkRules};
use sip::headers::{CSeq, NameAddr, Via, param, split_list};
use sip::message::{HeaderName, StartLine};
use sip::uri::Uri;
use sip::{
    Command, Endpoint, EndpointConfig, Event, Flow, Input, LocalMedia, Output, SrtpMode, StreamFramer,
    Transport, accept_answer, make_answer,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A target and its name, which is also the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("message", message),
    ("stream", stream),
    ("sdp", sdp),
    ("uri", uri),
    ("digest", digest),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("telephone_event", telephone_event),
];

/// The zero of time: any instant will do, and all runs of a process share one.
fn zero() -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    *ZERO.get_or_init(Instant::now)
}

/// One that may take keys, and has them ready (RFC 4568).
fn local_media() -> LocalMedia {
    LocalMedia {
        srtp: SrtpMode::Optional,
        ..LocalMedia::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 20_000)
    }
}

const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn flow(transport: Transport) -> Flow {
    let address = |last, port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port);
    let connection = u64::from(transport.is_reliable());
    Flow { transport, local: address(1, 5060), remote: address(7, 5060), connection }
}

/// One to four messages (cut at a byte that no message has) to an endpoint whose user takes every call and answers
/// every offer; then time passes until nothing is left. All that goes out is a message, and has no line of a stranger's.
/// The same behind a gate whose users log in and register.
pub fn message(data: &[u8]) {
    play(data, EndpointConfig::default());
    let user =
        Credentials { realm: None, username: "ann".to_owned(), password: Password::new("canary-password") };
    let trunk = TrunkRules { users: vec![user], registrar: true, ..TrunkRules::open("phones") };
    let gate = GateConfig { trunks: vec![trunk, TrunkRules::open("all")], ..GateConfig::default() };
    play(data, EndpointConfig { gate: Some(gate), ..EndpointConfig::default() });
}

fn play(data: &[u8], config: EndpointConfig) {
    let mut endpoint = Endpoint::new(config, [3; 32]);
    let mut now = zero();
    let mut wake = None;
    for (number, bytes) in data.split(|byte| *byte == 0x1e).take(4).enumerate() {
        read_all(bytes);
        let flow = flow(if number % 2 == 0 { Transport::Udp } else { Transport::Tcp });
        wake = step(&mut endpoint, now, Input::Message { flow, bytes });
        now += Duration::from_millis(300);
    }
    // 64*T1, the session's longest timer and a BYE that nobody answers, with room.
    for _ in 0..2_000 {
        let Some(at) = wake else { break };
        now = now.max(at);
        wake = step(&mut endpoint, now, Input::Timeout);
    }
    let statistics = endpoint.statistics();
    assert!(statistics.transactions == 0, "{} transactions for ever", statistics.transactions);
}

/// Every typed reading of a message that a user of the parser may do.
fn read_all(bytes: &[u8]) {
    let Ok(message) = sip::parser::parse(bytes) else { return };
    let _ = sip::finding::check_request(&message);
    for header in &message.headers {
        assert!(!header.value.contains(['\r', '\n']), "a line end inside {}", header.name.text());
        let _ = (NameAddr::parse(&header.value), Via::parse(&header.value), CSeq::parse(&header.value));
        let _ = header.wire_value();
    }
    if let StartLine::Request { uri, .. } = &message.start {
        let _ = Uri::parse(uri);
    }
    let _ = format!("{message:?}");
}

fn step(endpoint: &mut Endpoint, now: Instant, input: Input<'_>) -> Option<Instant> {
    let mut out = Vec::new();
    let mut wake = endpoint.step(now, input, &mut out);
    let mut at = 0;
    while at < out.len() {
        let command = match &out[at] {
            Output::Send { bytes, .. } => {
                check_sent(bytes);
                None
            }
            Output::Event(event) => reaction(event),
            Output::CloseFlow { .. } => None,
        };
        if let Some(command) = command {
            wake = endpoint.step(now, Input::Command(command), &mut out);
        }
        at += 1;
        assert!(out.len() < 1_000, "one message made a thousand outputs");
    }
    wake
}

/// A user that takes what it can and refuses the rest.
#[expect(clippy::wildcard_enum_match_arm, reason = "only what must be answered is")]
fn reaction(event: &Event) -> Option<Command> {
    let (dialog, offer) = match event {
        Event::Invite(invite) => (invite.dialog, invite.offer.clone()),
        Event::Reinvite { dialog, offer } => (*dialog, offer.clone()),
        _ => return None,
    };
    let (status, sdp) = match make_answer(offer.as_deref().unwrap_or(OFFER), &local_media()) {
        Ok((answer, _)) => (200, Some(answer)),
        Err(error) => (error.status(), None),
    };
    Some(Command::Respond { dialog, status, reason: None, sdp, headers: Vec::new() })
}

/// What we send is a whole message with an exact length, and no field of ours was split into two.
fn check_sent(bytes: &[u8]) {
    let sent = sip::parser::parse(bytes).expect("we write what can be read");
    assert!(sent.body_fault.is_none() && sent.skipped_lines == 0, "sent something crooked");
    let once = |name: &HeaderName| sent.all(name).count() <= 1;
    assert!(
        once(&HeaderName::CSeq) && once(&HeaderName::CallId) && once(&HeaderName::ContentLength),
        "sent a field twice"
    );
}

/// A stream cut in two places gives the same messages as the stream in one piece, and stays within its bounds.
pub fn stream(data: &[u8]) {
    let Some(([first, second], bytes)) = data.split_first_chunk::<2>() else { return };
    let cuts =
        [usize::from(*first), usize::from(*first) + usize::from(*second)].map(|cut| cut.min(bytes.len()));
    let whole = framed(&[bytes]);
    let cut = framed(&[&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]]);
    assert_eq!(whole, cut, "framing depends on where segments end");
    for message in &whole.0 {
        read_all(message);
        assert!(message.len() <= sip::parser::MAX_MESSAGE, "a message over the limit");
    }
}

fn framed(segments: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    let mut framer = StreamFramer::new();
    let mut messages = Vec::new();
    for segment in segments {
        framer.push(segment);
        loop {
            match framer.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

/// What we answer to an offer is an answer; and an answer, whatever it is, is taken or refused.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let local = local_media();
    if let Ok((answer, negotiated)) = make_answer(&text, &local) {
        let lines = |text: &str| text.split('\n').filter(|line| line.starts_with("m=")).count();
        assert_eq!(lines(&answer), lines(&text), "RFC 3264 section 6: as many m-lines as the offer");
        assert!(accept_answer(&local, &answer).is_ok(), "our own answer cannot be read:\n{answer}");
        assert!((10..=200).contains(&negotiated.ptime_ms) && negotiated.payload_type < 128, "out of range");
    }
    let _ = accept_answer(&local, &text);
}

/// URIs and the header values that hold them: parts are parts of the text, and lists end.
pub fn uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(uri) = Uri::parse(&text) {
        for part in [uri.scheme, uri.user, uri.host, uri.params] {
            assert!(text.contains(part), "a part from nowhere");
        }
        let _ = (uri.scheme_supported(), uri.socket_address(5060), uri.param("transport"));
    }
    for element in split_list(&text) {
        if let Some(address) = NameAddr::parse(element) {
            let _ = (address.tag(), Uri::parse(address.uri), param(address.params, "q"));
        }
        let via = Via::parse(element);
        let _ = via.map(|via| (via.branch(), param(via.params, "received")));
    }
    let _ = CSeq::parse(&text);
}

/// A challenge is answered with what the same realm can read; a response, whatever it is, has one proof.
pub fn digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace(['\r', '\n'], " ");
    let challenges = DigestChallenge::parse_all([text.as_str()]);
    let credentials =
        Credentials { realm: None, username: "ann".to_owned(), password: Password::new("canary-password") };
    let mut session = AuthSession::new(credentials);
    if session.challenged(ChallengedBy::Server, &challenges, false).is_ok() {
        for (_, value) in session.authorize("INVITE", "sip:a@b", "0123") {
            assert!(!value.contains("canary-password"), "the password in clear");
            let read = DigestResponse::parse(&value).unwrap_or_else(|| panic!("not readable: {value}"));
            let asked = challenges
                .iter()
                .any(|challenge| challenge.nonce == read.nonce && challenge.realm == read.realm);
            assert!(asked, "answers what nobody asked");
        }
    }
    if let Some(response) = DigestResponse::parse(&text) {
        let password = Password::new("x");
        let proof = digest_response(&response, &password, "INVITE");
        assert_eq!(proof, digest_response(&response, &password, "INVITE"));
        let _ = response.nonce_count();
    }
}

/// Packets, each behind its length, to one leg's receiver: one frame of 20 ms comes out for every 20 ms.
pub fn rtp(data: &[u8]) {
    received(data, |_, _| {});
}

fn received(data: &[u8], mut each: impl FnMut(&[u8], Option<media::Digit>)) {
    let mut receiver = Receiver::new(ReceiverConfig {
        codec: Codec::Pcmu,
        payload_type: 0,
        telephone_event: Some(101),
        comfort_noise: Some(13),
        jitter: JitterConfig::default(),
    });
    let mut now = zero();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        if let Ok(parsed) = RtpPacket::parse(packet) {
            let mut written = Vec::new();
            parsed.write(&mut written);
            assert!(RtpPacket::parse(&written) == Ok(parsed), "what we write is read back");
        }
        each(packet, receiver.receive(now, packet));
        // Lengths that are odd let time stand still: packets in a burst.
        if length % 2 == 0 {
            now += Duration::from_millis(20);
            check_frame(&receiver.pop(now).frame);
        }
    }
    let statistics = receiver.statistics();
    assert!(statistics.received <= data.len() as u64, "more packets than bytes");
}

fn check_frame(frame: &Frame) {
    assert_eq!(frame.samples().len(), 160, "20 ms at 8,000 samples a second");
}

/// Compound packets, each behind its length; then reports of our own, which must be RTCP.
pub fn rtcp(data: &[u8]) {
    let mut session = RtcpSession::new(7, "name");
    let mut now = zero();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let events = session.incoming(now, packet);
        assert!(events.len() <= packet.len(), "more events than bytes");
        now += Duration::from_millis(500);
    }
    let counts = SenderCounts { packets: 1, octets: 160, timestamp: 160 };
    let report = session.report(now, 1 << 40, &media::ReceiverStatistics::default(), counts);
    assert!(is_rtcp(&report) && is_rtcp(&session.bye()), "our reports are RTCP");
}

/// The same as [`rtp`], with every packet made one of telephone events: a key comes from no fewer packets than one.
pub fn telephone_event(data: &[u8]) {
    let mut events = Vec::with_capacity(data.len() + 64);
    for (number, payload) in data.chunks(6).enumerate() {
        let mut packet = vec![0x80, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        // The first byte says how far sequence and timestamp go on, so that the fuzzer can repeat and reorder.
        let jump = payload.first().copied().unwrap_or_default();
        packet[2..4].copy_from_slice(&(number as u16).wrapping_add(u16::from(jump % 8)).to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(jump / 8) * 160).to_be_bytes());
        packet[1] |= jump & 0x80;
        packet.extend_from_slice(&payload[1..]);
        events.push(packet.len() as u8);
        events.extend_from_slice(&packet);
    }
    let (mut packets, mut keys) = (0, 0);
    received(&events, |_, digit| {
        packets += 1;
        keys += usize::from(digit.is_some());
    });
    assert!(keys <= packets, "{keys} keys of {packets} packets");
}
