//! The server over real sockets on loopback: SIP and RTP from outside, providers and records made for the test.
//! No test here depends on how fast anything is: what must happen is waited for.
#![expect(clippy::expect_used, reason = "a test that cannot set itself up fails")]

use call::{
    Call, CallConfig, CallId, Clips, Event, HangUp, Input, LlmEvent, Output, SipInput, SipOutput, Stamped,
    SttEvent, TtsEvent,
    admission::{Level, Permit, PoolConfig},
    cdr::Cdr,
};
use conversation::{Agent, LlmRequest, ToolCall, TurnId, Variables};
use media::{Codec, Frame, RtpPacket, SampleRate};
use sip::{CodecSpec, IncomingInvite, LocalMedia, Transport};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tandem::{
    call_actor::{Machine, Models, Providers, Tools, TraceSink},
    providers::{
        CallInfo, Events, ProviderEvent, Request, SpeechToText, SttCommand, SttStream, TextToSpeech,
        TtsCommand, TtsStream,
    },
    rtp_socket::RtpPortsConfig,
    server::{
        AgentCalls, ArrivalTrunk, AtCap, BuiltCall, CallBuilder, CallStart, NewCall, RecordSink, Refusal,
        Server, ServerConfig, Services, SrtpPolicy, TrunkLimits,
    },
};
use tokio::{runtime::Runtime, sync::mpsc};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Long enough for the slowest machine; no passing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

// ---- providers, trace and records ----

/// Hears its words when it is first asked for them, answers with them, and speaks a tone for every sentence.
struct Fake {
    asked: Mutex<Vec<String>>,
}

impl SpeechToText for Fake {
    fn start(&self, _: &CallInfo, events: Events) -> SttStream {
        let (commands, mut queue) = mpsc::channel(25);
        tokio::spawn(async move {
            let mut words = "what are your hours";
            while let Some(command) = queue.recv().await {
                if matches!(command, SttCommand::Finalize) {
                    let heard = SttEvent::Final { text: std::mem::take(&mut words).into(), confidence: None };
                    let _ = events.send(ProviderEvent::Stt(heard)).await;
                }
            }
        });
        SttStream::new(commands, None)
    }
}

impl Models for Fake {
    fn ask(&self, _: &CallInfo, turn: TurnId, request: LlmRequest, events: Events) -> Request {
        if let Some(conversation::Message::User { text }) = request.messages.last() {
            lock(&self.asked).push(text.clone());
        }
        Request::new(tokio::spawn(async move {
            let done = LlmEvent::Done { input_tokens: None, output_tokens: None };
            for event in [LlmEvent::Delta("We are open from nine to five.".into()), done] {
                let _ = events.send(ProviderEvent::Llm(turn, event)).await;
            }
        }))
    }
}

impl TextToSpeech for Fake {
    fn open(&self, _: &CallInfo, events: Events) -> TtsStream {
        let (commands, mut queue) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                let TtsCommand::Speak { turn, sentence, .. } = command else { continue };
                let samples = tone(4_000);
                let _ = events.send(ProviderEvent::Tts(turn, TtsEvent::Audio { sentence, samples })).await;
                let _ = events.send(ProviderEvent::Tts(turn, TtsEvent::SentenceDone { sentence })).await;
            }
        });
        TtsStream::new(commands, None)
    }
}

impl Tools for Fake {
    fn run(&self, _: &CallInfo, _: TurnId, _: ToolCall, _: Variables, _: Events) {}
}

/// Keeps everything that the server tells.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<(CallId, Stamped)>>,
    begun: Mutex<Vec<CallId>>,
    ended: Mutex<Vec<Cdr>>,
}

impl TraceSink for Kept {
    fn record(&self, call: CallId, stamped: Stamped) {
        lock(&self.events).push((call, stamped));
    }
}

impl RecordSink for Kept {
    fn begin(&self, cdr: &Cdr, start: CallStart) {
        (start.recorded)();
        lock(&self.begun).push(cdr.arrival.call);
    }

    fn end(&self, cdr: &Cdr) {
        lock(&self.ended).push(cdr.clone());
    }
}

impl Kept {
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<_> =
            lock(&self.ended).iter().map(|cdr| cdr.cause.clone().unwrap_or_default()).collect();
        causes.sort();
        causes
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A loud square wave of 400 Hz.
fn tone(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if (n / 10) % 2 == 0 { 8_000 } else { -8_000 }).collect()
}

// ---- machines ----

/// What a scripted call does, chosen by the number dialled.
struct Scripted {
    kind: String,
    sdp: String,
    next: Instant,
    peer: SocketAddr,
    codec_silence: Vec<u8>,
}

impl Machine for Scripted {
    fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        let ended = |cause: &str| Output::Event(Event::Ended { cause: cause.into(), status: None });
        match input {
            Input::Timeout if !self.sdp.is_empty() => {
                out.push(Output::Sip(SipOutput::Ring));
                if self.kind != "rings" {
                    out.push(Output::Sip(SipOutput::Answer { sdp: std::mem::take(&mut self.sdp) }));
                    out.push(Output::Event(Event::Answered));
                }
            }
            Input::Rtp { from, datagram } => {
                assert!(self.kind != "panics", "a bug in the machine");
                out.push(Output::SendRtp { to: from, datagram: datagram.to_vec() });
            }
            Input::Sip(SipInput::Bye { .. }) => {
                out.push(ended("caller_hung_up"));
                return None;
            }
            Input::Sip(SipInput::Cancelled) => {
                out.push(ended("caller_cancelled"));
                return None;
            }
            Input::HangUp(HangUp::Drain | HangUp::Admin) if self.kind != "deaf" => {
                out.push(Output::Sip(SipOutput::Bye { reason: None }));
                out.push(ended("server_stopping"));
                return None;
            }
            Input::Rtcp { .. }
            | Input::Sip(_)
            | Input::Stt(_)
            | Input::Llm(..)
            | Input::Tts(..)
            | Input::Tool(..)
            | Input::Found { .. }
            | Input::Recorded
            | Input::Judged { .. }
            | Input::TurnJudged { .. }
            | Input::HangUp(_)
            | Input::Press { .. }
            | Input::Timeout => {}
        }
        if now >= self.next {
            self.next += Duration::from_millis(20);
            out.push(Output::SendRtp { to: self.peer, datagram: self.codec_silence.clone() });
        }
        Some(self.next.max(now))
    }
}

struct ScriptedCalls(Arc<Fake>);

impl CallBuilder for ScriptedCalls {
    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        assert!(new.invite.user != "unbuildable", "a bug in building the call");
        let offer = new.invite.offer.as_deref().unwrap_or_default();
        let (sdp, negotiated) =
            sip::make_answer(offer, &local_media(new.media)).expect("the test's own offer");
        let machine = Scripted {
            kind: new.invite.user.clone(),
            sdp,
            next: now + Duration::from_millis(20),
            peer: negotiated.remote,
            codec_silence: vec![0x80; 172],
        };
        let info = CallInfo {
            call: new.call,
            rate: SampleRate::Hz8000,
            language: "en-US".into(),
            turn: None,
            may_hedge: false,
        };
        Ok(BuiltCall {
            machine: Box::new(machine),
            info,
            providers: providers(&self.0),
            team: Default::default(),
            keeper: None,
        })
    }
}

/// The same, over a trunk whose calls need a permit to be heard; a number that begins with 9 has priority.
struct PooledCalls(ScriptedCalls);

impl CallBuilder for PooledCalls {
    fn trunk(&self, invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        let at_cap = AtCap { status: 503, retry_after: Some(5..=15), redirect: None, overflow_slots: 0 };
        Ok(Some(ArrivalTrunk {
            name: "carrier".into(),
            caller: None,
            called: None,
            at_cap,
            limits: TrunkLimits::default(),
            pool: 0,
            priority: invite.user.starts_with('9'),
            needs: vec![0],
        }))
    }

    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        self.0.build(now, new)
    }
}

fn providers(fake: &Arc<Fake>) -> Providers {
    let (stt, models, tts, tools) = (fake.clone(), fake.clone(), fake.clone(), fake.clone());
    Providers { stt, models, tts, tools, documents: None, languages: Default::default() }
}

fn local_media(media: SocketAddr) -> LocalMedia {
    LocalMedia { codecs: vec![CodecSpec::PCMU], ..LocalMedia::new(media.ip(), media.port()) }
}

// ---- the server under test ----

struct Bench {
    runtime: Runtime,
    server: Server,
    kept: Arc<Kept>,
    fake: Arc<Fake>,
}

impl Bench {
    fn new(ports: u32) -> Self {
        Self::with(ports, |fake| Arc::new(ScriptedCalls(fake)))
    }

    /// The same scripted calls in pools, and only so many calls that can be heard.
    fn with_pools(pools: Vec<PoolConfig>, permits: Vec<Permit>) -> Self {
        let config = ServerConfig { pools, permits, ..Self::config(0) };
        Self::start(config, |fake| Arc::new(PooledCalls(ScriptedCalls(fake))))
    }

    fn with(ports: u32, calls: impl FnOnce(Arc<Fake>) -> Arc<dyn CallBuilder>) -> Self {
        Self::start(Self::config(ports), calls)
    }

    fn config(ports: u32) -> ServerConfig {
        ServerConfig {
            sip: vec![
                (Transport::Udp, SocketAddr::new(LOOPBACK, 0)),
                (Transport::Tcp, SocketAddr::new(LOOPBACK, 0)),
            ],
            rtp: RtpPortsConfig { address: LOOPBACK, low: 0, high: 0, ..RtpPortsConfig::default() },
            ports,
            ..ServerConfig::default()
        }
    }

    fn start(config: ServerConfig, calls: impl FnOnce(Arc<Fake>) -> Arc<dyn CallBuilder>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let kept = Arc::new(Kept::default());
        let fake = Arc::new(Fake { asked: Mutex::default() });
        let services = Services { calls: calls(fake.clone()), records: kept.clone(), trace: kept.clone() };
        let guard = runtime.enter();
        let server = Server::start(config, services).expect("loopback has ports");
        drop(guard);
        Self { runtime, server, kept, fake }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        let listening = self.server.listening().iter().find(|l| l.transport == transport);
        listening.expect("asked for both").address
    }

    fn caller(&self, call_id: &str, dialled: &str) -> Caller {
        let socket = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
        socket.connect(self.address(Transport::Udp)).expect("loopback");
        Caller::new(Wire::Udp(socket), call_id, dialled)
    }

    fn calls(&self) -> u32 {
        self.server.status().borrow().calls
    }
}

// ---- a caller, in text ----

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

struct Caller {
    wire: Wire,
    rtp: UdpSocket,
    call_id: String,
    dialled: String,
    to_tag: String,
    cseq: u32,
}

struct Response {
    status: u16,
    text: String,
}

impl Caller {
    fn new(wire: Wire, call_id: &str, dialled: &str) -> Self {
        let rtp = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
        rtp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { wire, rtp, call_id: call_id.into(), dialled: dialled.into(), to_tag: String::new(), cseq: 1 }
    }

    fn send(&mut self, method: &str, body: &str) {
        let (transport, local) = match &self.wire {
            Wire::Udp(socket) => ("UDP", socket.local_addr()),
            Wire::Tcp(stream, _) => ("TCP", stream.local_addr()),
        };
        let local = local.expect("bound");
        let Self { call_id, dialled, to_tag, cseq, .. } = self;
        // An ACK for a 2xx is a transaction of its own; CANCEL shares the INVITE's branch.
        let branch = if method == "CANCEL" { "INVITE" } else { method };
        let text = format!(
            "{method} sip:{dialled}@127.0.0.1 SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {local};branch=z9hG4bK{call_id}{branch}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@127.0.0.1>;tag=c{call_id}\r\n\
             To: <sip:{dialled}@127.0.0.1>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:caller@{local}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let text = if body.is_empty() { text.replace("Content-Type: application/sdp\r\n", "") } else { text };
        self.write(text.as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => drop(socket.send(bytes).expect("loopback")),
            Wire::Tcp(stream, _) => stream.write_all(bytes).expect("loopback"),
        }
    }

    fn invite(&mut self) {
        let offer = sip::make_offer(&local_media(self.rtp.local_addr().expect("bound")));
        self.send("INVITE", &offer);
    }

    /// The next message from the server.
    fn read(&mut self) -> String {
        let mut buffer = vec![0; 65_535];
        let length = match &mut self.wire {
            Wire::Udp(socket) => {
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                socket.recv(&mut buffer).expect("the server says something")
            }
            Wire::Tcp(stream, rest) => return read_stream(stream, rest),
        };
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next final response to `method`.
    fn finally(&mut self, method: &str) -> Response {
        loop {
            let text = self.read();
            let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest[..3].parse().ok()).unwrap_or(0);
            let about = text.lines().any(|line| line.starts_with("CSeq:") && line.ends_with(method));
            if status >= 200 && about {
                return Response { status, text };
            }
        }
    }

    /// Waits for a request of the server and answers it.
    fn expect_request(&mut self, method: &str) {
        loop {
            let text = self.read();
            if text.starts_with(method) {
                let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
                let lines = text.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
                let headers: String = lines.map(|line| format!("{line}\r\n")).collect();
                self.write(format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes());
                return;
            }
        }
    }

    /// Calls and acknowledges; afterwards the RTP socket is connected to the server's.
    fn call(&mut self) {
        self.invite();
        let answer = self.finally("INVITE");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let to = answer.text.lines().find(|line| line.starts_with("To:")).expect("a To");
        self.to_tag = format!(";tag={}", to.split("tag=").nth(1).expect("a tag"));
        let port = answer.text.lines().find_map(|line| line.strip_prefix("m=audio ")).expect("audio");
        let port: u16 = port.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");
        self.rtp.connect((LOOPBACK, port)).expect("loopback");
        self.send("ACK", "");
    }

    fn hang_up(&mut self) {
        self.cseq += 1;
        self.send("BYE", "");
        assert_eq!(self.finally("BYE").status, 200);
    }

    /// Says something until it comes back: a datagram may be lost, and a flood may have had its place.
    fn is_echoed(&self, said: &[u8]) {
        let start = Instant::now();
        let mut buffer = [0; 256];
        while start.elapsed() < PATIENCE {
            self.rtp.send(said).expect("loopback");
            let length = self.rtp.recv(&mut buffer).expect("media goes on");
            if &buffer[..length] == said {
                return;
            }
        }
        panic!("nothing came back");
    }
}

fn read_stream(stream: &mut TcpStream, rest: &mut Vec<u8>) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    loop {
        let text = String::from_utf8_lossy(rest).into_owned();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| line.strip_prefix("Content-Length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if rest.len() >= head + 4 + length {
                let message = rest.drain(..head + 4 + length).collect();
                return String::from_utf8(message).expect("text");
            }
        }
        let mut buffer = [0; 4_096];
        let read = stream.read(&mut buffer).expect("the server says something");
        assert!(read > 0, "the server closed the connection");
        rest.extend_from_slice(&buffer[..read]);
    }
}

// ---- promises ----

/// A server whose calls are those of the product.
fn real_calls() -> Bench {
    let agent = Agent::parse(include_str!("../agents/demo.toml"), &knowledge()).expect("the demo agent");
    Bench::with(2, |fake| {
        Arc::new(AgentCalls {
            agent: Arc::new(agent),
            clips: Arc::new(Clips::default()),
            config: CallConfig::default(),
            providers: providers(&fake),
            codecs: vec!["PCMU", "PCMA"],
            telephone_event: true,
            srtp: SrtpPolicy::default(),
            context: Default::default(),
            time_zone: jiff::tz::TimeZone::UTC,
        })
    })
}

/// Sends what no call wants at 200 packets a second, from a stranger and from the caller's own socket, until the answer
/// says to stop; then how many of each.
fn disturb(caller: &Caller, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<(u64, u64, UdpSocket)> {
    let own = caller.rtp.try_clone().expect("a socket");
    let stranger = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
    stranger.connect(own.peer_addr().expect("connected")).expect("loopback");
    std::thread::spawn(move || {
        let (mut strange, mut malformed) = (0, 0);
        // A loud frame of the right payload type; too short, of no known version, with an extension that is not there.
        let mut loud = Vec::new();
        RtpPacket { marker: true, payload_type: 0, sequence: 9, timestamp: 9, ssrc: 99, payload: &[0; 160] }
            .write(&mut loud);
        let broken: [&[u8]; 3] =
            [&[0x80; 11], &[0xff; 900], &[0x90, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 9, 9]];
        while !stop.load(Ordering::Relaxed) {
            stranger.send(&loud).expect("loopback");
            strange += 1;
            own.send(broken[malformed as usize % broken.len()]).expect("loopback");
            malformed += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        (strange, malformed, stranger)
    })
}

#[test]
fn foreign_and_malformed_packets_at_200_a_second_are_counted_and_the_call_goes_on() {
    let bench = real_calls();
    let mut caller = bench.caller("disturbed", "agent");
    caller.call();
    let mut voice = Voice::new(&caller.rtp);
    voice.listen_until("the greeting", |heard| heard.voiced > 5);
    let stop = Arc::new(AtomicBool::new(false));
    let disturbing = disturb(&caller, Arc::clone(&stop));
    voice.listen_until("silence after it", |heard| heard.quiet > 25);
    voice.speak(40);
    voice.listen_until("the end of the turn", |_| !lock(&bench.fake.asked).is_empty());
    voice.heard = Heard::default();
    voice.listen_until("the answer", |heard| heard.voiced > 5);
    stop.store(true, Ordering::Relaxed);
    let (strange, malformed, stranger) = disturbing.join().expect("no panic");
    caller.hang_up();
    wait_for("the record", || lock(&bench.kept.ended).len() == 1);
    let quality = lock(&bench.kept.ended)[0].quality.clone().expect("figures");
    let Event::Quality { foreign, malformed: found, received, mos_in, .. } = quality else {
        panic!("{quality:?}")
    };
    assert!(mos_in.is_some_and(|mos| mos.average >= mos.minimum && mos.average > 1.0), "{mos_in:?}");
    // The kernel may drop a few of them; what came is counted.
    assert!(strange > 50 && foreign > strange / 2 && foreign <= strange, "{foreign} of {strange} foreign");
    assert!(found > malformed / 2 && found <= malformed, "{found} of {malformed} malformed");
    assert!(received > 60, "{received}");
    stranger.set_nonblocking(true).expect("a socket");
    assert!(stranger.recv(&mut [0; 2_000]).is_err(), "nothing of ours goes to a stranger");
}

#[test]
fn a_caller_asks_and_hears_an_answer() {
    let bench = real_calls();
    let mut caller = bench.caller("asks", "agent");
    caller.call();
    let mut voice = Voice::new(&caller.rtp);
    voice.listen_until("the greeting", |heard| heard.voiced > 5);
    voice.listen_until("silence after it", |heard| heard.quiet > 25);
    voice.speak(40);
    voice.listen_until("the end of the turn", |_| !lock(&bench.fake.asked).is_empty());
    voice.heard = Heard::default();
    voice.listen_until("the answer", |heard| heard.voiced > 5);
    caller.hang_up();
    wait_for("the record", || lock(&bench.kept.ended).len() == 1);
    let ended = lock(&bench.kept.ended)[0].clone();
    assert_eq!(ended.cause.as_deref(), Some("caller_hung_up"));
    assert_eq!((ended.sip_status, ended.turns), (Some(200), 1));
    assert_eq!(lock(&bench.fake.asked)[0], "what are your hours");
    assert_eq!(*lock(&bench.kept.begun), [ended.arrival.call]);
    let events = lock(&bench.kept.events);
    let gaps = events.iter().filter(|(_, stamped)| matches!(stamped.event, Event::Latency { .. })).count();
    assert_eq!(gaps, 1, "one turn, one latency");
}

#[test]
fn over_the_cap_a_caller_is_refused_at_once_and_recorded() {
    let bench = Bench::new(1);
    let mut first = bench.caller("first", "echo");
    first.call();
    let mut second = bench.caller("second", "echo");
    second.invite();
    let refusal = second.finally("INVITE");
    assert_eq!(refusal.status, 503);
    assert!(refusal.text.contains("Retry-After: "), "{}", refusal.text);
    second.send("ACK", "");
    first.is_echoed(b"undisturbed");
    first.hang_up();
    wait_for("the slot", || bench.calls() == 0);
    let mut third = bench.caller("third", "echo");
    third.call();
    third.hang_up();
    wait_for("the records", || lock(&bench.kept.ended).len() == 3);
    assert_eq!(bench.kept.causes(), ["caller_hung_up", "caller_hung_up", "ports_full"]);
    assert_eq!(bench.server.status().borrow().busiest, 1);
}

/// The bank: a ramp from 72 to 96 % of a pool, then twice the calls that both pools can take. Scaled from 250 ports to 25.
#[test]
fn a_bank_s_ramp_overflows_into_the_second_pool_and_no_cap_is_ever_broken() {
    let main = PoolConfig { overflow: Some(1), ..PoolConfig::new("main", 25) };
    let permits = vec![Permit { name: "stt default".into(), cap: 1_000, used: 0 }];
    let bench = Bench::with_pools(vec![main, PoolConfig::new("backup", 5)], permits);
    let level =
        |bench: &Bench| bench.server.status().borrow().pools.first().map(|pool| (pool.busy, pool.level));
    let mut up: Vec<Caller> = Vec::new();
    let mut ramp = |bench: &Bench, until: usize| {
        while up.len() < until {
            let mut caller = bench.caller(&format!("ramp{}", up.len()), "echo");
            caller.call();
            up.push(caller);
        }
    };
    for (calls, expected) in
        [(17, Level::Normal), (18, Level::Warn), (22, Level::Alert), (24, Level::Overflow)]
    {
        ramp(&bench, calls);
        assert_eq!(level(&bench), Some((calls as u32, expected)));
    }
    ramp(&bench, 29);
    assert_eq!(level(&bench), Some((24, Level::Overflow)), "what comes from 95 % on goes elsewhere");
    ramp(&bench, 30);
    assert_eq!(
        level(&bench),
        Some((25, Level::Full)),
        "with the second pool full, the first fills to its cap"
    );
    for n in 0..30 {
        let mut late = bench.caller(&format!("late{n}"), "echo");
        late.invite();
        let refusal = late.finally("INVITE");
        assert_eq!(refusal.status, 503);
        assert!(refusal.text.contains("Retry-After: "), "{}", refusal.text);
        late.send("ACK", "");
    }
    assert_eq!(bench.calls(), 30, "never one over");
    up[0].is_echoed(b"undisturbed");
    up.iter_mut().for_each(Caller::hang_up);
    wait_for("the slots", || bench.calls() == 0 && level(&bench) == Some((0, Level::Normal)));
    wait_for("the records", || lock(&bench.kept.ended).len() == 60);
    let ended = lock(&bench.kept.ended);
    let of = |pool: &str| ended.iter().filter(|cdr| cdr.pool.as_deref() == Some(pool)).count();
    assert_eq!((of("main"), of("backup")), (25, 5));
    let refused = ended.iter().filter(|cdr| cdr.cause.as_deref() == Some("ports_full"));
    assert_eq!(refused.count(), 30, "every refusal has its record");
    assert_eq!(bench.server.status().borrow().pools[1].taken_over, 5);
    assert_eq!(bench.server.status().borrow().leaked, 0);
}

#[test]
fn a_free_port_without_a_stream_to_hear_with_is_refused_with_that_reason() {
    let permits = vec![Permit { name: "stt default".into(), cap: 1, used: 0 }];
    let bench = Bench::with_pools(vec![PoolConfig::new("main", 10)], permits);
    let mut first = bench.caller("first", "echo");
    first.call();
    let mut second = bench.caller("second", "echo");
    second.invite();
    assert_eq!(second.finally("INVITE").status, 503);
    second.send("ACK", "");
    first.hang_up();
    wait_for("the stream", || bench.calls() == 0);
    let mut third = bench.caller("third", "echo");
    third.call();
    third.hang_up();
    wait_for("the records", || lock(&bench.kept.ended).len() == 3);
    assert_eq!(bench.kept.causes(), ["caller_hung_up", "caller_hung_up", "stage_full"]);
}

#[test]
fn a_panic_in_one_call_ends_it_with_a_bye_and_leaves_the_others_alive() {
    let bench = Bench::new(4);
    let mut healthy = bench.caller("healthy", "echo");
    let mut sick = bench.caller("sick", "panics");
    healthy.call();
    sick.call();
    sick.rtp.send(b"boom").expect("loopback");
    sick.expect_request("BYE");
    healthy.is_echoed(b"unharmed");
    let mut unbuildable = bench.caller("unbuildable", "unbuildable");
    unbuildable.invite();
    assert_eq!(unbuildable.finally("INVITE").status, 500);
    unbuildable.send("ACK", "");
    healthy.hang_up();
    wait_for("the records", || lock(&bench.kept.ended).len() == 3);
    assert_eq!(bench.kept.causes(), ["caller_hung_up", "internal_error", "internal_error"]);
    wait_for("the slots", || bench.calls() == 0);
}

#[test]
fn garbage_on_any_port_changes_nothing() {
    let bench = Bench::new(2);
    let mut caller = bench.caller("steady", "echo");
    caller.call();
    let stranger = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
    let rtp = caller.rtp.peer_addr().expect("connected");
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    let mut state = 1u64;
    for length in (0..1_400).step_by(7) {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .take(length)
        .collect();
        for target in [bench.address(Transport::Udp), rtp, rtcp] {
            stranger.send_to(&bytes, target).expect("loopback");
        }
    }
    let mut stream = TcpStream::connect(bench.address(Transport::Tcp)).expect("loopback");
    stream.write_all(b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n").expect("loopback");
    caller.is_echoed(b"undisturbed");
    caller.hang_up();
    wait_for("the record", || lock(&bench.kept.ended).len() == 1);
}

#[test]
fn a_caller_who_gives_up_while_it_rings_is_recorded() {
    let bench = Bench::new(1);
    let mut caller = bench.caller("gives-up", "rings");
    caller.invite();
    while !caller.read().starts_with("SIP/2.0 180") {}
    caller.send("CANCEL", "");
    assert_eq!(caller.finally("INVITE").status, 487);
    caller.send("ACK", "");
    wait_for("the record", || lock(&bench.kept.ended).len() == 1);
    assert_eq!(bench.kept.causes(), ["caller_cancelled"]);
    wait_for("the slot", || bench.calls() == 0);
}

#[test]
fn draining_says_goodbye_breaks_off_the_deaf_and_writes_every_record() {
    let bench = Bench::new(4);
    let mut polite = bench.caller("polite", "echo");
    let mut deaf = bench.caller("deaf", "deaf");
    polite.call();
    deaf.call();
    let drained = bench
        .runtime
        .block_on(async { bench.server.drain(Duration::ZERO, Duration::from_millis(300)).await });
    assert_eq!((drained.calls, drained.broken_off), (2, 1));
    assert_eq!(bench.kept.causes(), ["server_stopping", "server_stopping"]);
    let mut late = bench.caller("late", "echo");
    late.invite();
    let refusal = late.finally("INVITE");
    assert_eq!(refusal.status, 503);
    assert!(refusal.text.contains("Retry-After: "), "{}", refusal.text);
    late.send("ACK", "");
    polite.expect_request("BYE");
    deaf.expect_request("BYE");
    wait_for("the refused one's record", || lock(&bench.kept.ended).len() == 3);
    let Bench { runtime, server, kept, .. } = bench;
    runtime.block_on(server.stop());
    assert_eq!(kept.causes(), ["draining", "server_stopping", "server_stopping"]);
}

#[test]
fn a_call_over_tcp_is_a_call() {
    let bench = Bench::new(1);
    let stream = TcpStream::connect(bench.address(Transport::Tcp)).expect("loopback");
    let mut caller = Caller::new(Wire::Tcp(stream, Vec::new()), "stream", "echo");
    caller.call();
    caller.is_echoed(b"hello");
    let call = lock(&bench.kept.begun)[0];
    assert!(bench.runtime.block_on(bench.server.hang_up(call)));
    caller.expect_request("BYE");
    wait_for("the record", || lock(&bench.kept.ended).len() == 1);
    assert!(!bench.runtime.block_on(bench.server.hang_up(call)), "it is over");
}

fn knowledge() -> BTreeMap<String, String> {
    BTreeMap::from([("demo-hours.md".into(), include_str!("../agents/demo-hours.md").into())])
}

// ---- RTP with speech in it ----

#[derive(Clone, Copy, Default)]
struct Heard {
    voiced: u32,
    /// Silent packets since the last voiced one.
    quiet: u32,
}

/// The caller's mouth and ears: sends a frame every 20 ms and looks at what comes back.
struct Voice<'a> {
    rtp: &'a UdpSocket,
    sequence: u16,
    heard: Heard,
}

impl<'a> Voice<'a> {
    fn new(rtp: &'a UdpSocket) -> Self {
        rtp.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        Self { rtp, sequence: 0, heard: Heard::default() }
    }

    fn speak(&mut self, frames: u32) {
        for _ in 0..frames {
            self.frame(&Frame::from_samples(SampleRate::Hz8000, &speech(self.sequence)));
        }
    }

    /// Says nothing, audibly, until what was waited for has come.
    fn listen_until(&mut self, what: &str, mut done: impl FnMut(&Heard) -> bool) {
        let start = Instant::now();
        while !done(&self.heard) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
            self.frame(&Frame::silence(SampleRate::Hz8000));
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let mut payload = Vec::new();
        Codec::Pcmu.encode(frame, &mut payload);
        let mut datagram = Vec::new();
        let timestamp = u32::from(self.sequence) * 160;
        let (sequence, ssrc) = (self.sequence, 7);
        RtpPacket { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: &payload }
            .write(&mut datagram);
        self.rtp.send(&datagram).expect("loopback");
        self.sequence += 1;
        std::thread::sleep(Duration::from_millis(20));
        let mut buffer = [0; 2_048];
        while let Ok(length) = self.rtp.recv(&mut buffer) {
            self.hear(&buffer[..length]);
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        let packet = RtpPacket::parse(datagram).expect("the server sends RTP");
        let mut samples = Vec::new();
        Codec::Pcmu.decode(packet.payload, &mut samples);
        let frame = Frame::from_samples(SampleRate::Hz8000, &samples);
        if frame.level_dbfs() > -45.0 {
            self.heard = Heard { voiced: self.heard.voiced + 1, quiet: 0 };
        } else {
            self.heard.quiet += 1;
        }
    }
}

/// 20 ms of two seconds of speech-like sound.
fn speech(frame: u16) -> Vec<i16> {
    let all = media::tone::speech(8_000, 1, -15.0, 16_000);
    all.into_iter().cycle().skip(usize::from(frame) * 160).take(160).collect()
}

/// The product's machine is one for the actor.
const _: fn(Call) -> Box<dyn Machine> = |call| Box::new(call);
