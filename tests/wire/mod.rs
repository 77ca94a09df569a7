//! Two SIP endpoints on real sockets, with certificates made for the test: one places calls, one answers them.
//! Knows transports and dialogs. There is no media and no server around it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test waits for one event and skips the others")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use sip::{
    Command, DialogKey, Endpoint, EndpointConfig, EndpointStatistics, Event, Flow, OutgoingInvite, Transport,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};
use tandem::sip_transport::{
    self, Handler, Request, SipHandle, SipSockets, SipTransportConfig, Tls, TlsConfig, tls::Identity,
};

/// Long enough for the slowest machine; no passing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0\r\n";

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tandem-wire-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub folder: Folder,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = Folder::new();
        std::fs::write(folder.0.join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// The file that says whom to trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// A certificate for these names or addresses, in files that begin with `file`.
    pub fn issue(&self, file: &str, names: &[&str]) -> Identity {
        self.issue_until(file, names, 2100)
    }

    /// One that is not valid any more from the beginning of that year on.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |end: &str| self.folder.0.join(format!("{file}{end}"));
        let identity = Identity { certificate: path(".pem"), key: path("-key.pem") };
        write_anew(&identity.certificate, &certificate.pem());
        write_anew(&identity.key, &key.serialize_pem());
        identity
    }
}

/// As who exchanges certificates does it: all at once.
fn write_anew(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, path).expect("the same folder");
}

/// What a node is made of.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub listen: Vec<Transport>,
    /// Where; `None` for 127.0.0.1.
    pub at: Option<IpAddr>,
    pub tls: TlsConfig,
    pub limits: SipTransportConfig,
}

/// An endpoint on sockets. It answers every call at once.
pub struct Node {
    runtime: tokio::runtime::Runtime,
    pub handle: SipHandle<()>,
    task: tokio::task::JoinHandle<()>,
    events: Receiver<Event>,
}

struct Answering(Sender<Event>);

impl Handler for Answering {
    type Message = ();

    fn event(&mut self, _now: Instant, event: Event, commands: &mut Vec<Command>) {
        if let Event::Invite(invite) = &event {
            commands.push(Command::Respond {
                dialog: invite.dialog,
                status: 200,
                reason: None,
                sdp: Some(SDP.to_owned()),
                headers: Vec::new(),
            });
        }
        let _ = self.0.send(event); // The test may be over.
    }

    fn message(&mut self, _now: Instant, (): (), _commands: &mut Vec<Command>) {}

    fn second(&mut self, _now: Instant, _statistics: &EndpointStatistics, _commands: &mut Vec<Command>) {}
}

impl Node {
    pub fn start(setup: Setup) -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&SEED.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let guard = runtime.enter();
        let at = setup.at.unwrap_or(LOOPBACK);
        let listen: Vec<_> = setup.listen.iter().map(|t| (*t, SocketAddr::new(at, 0))).collect();
        let tls = Tls::load(setup.tls).expect("good files");
        let sockets = SipSockets::bind(&listen, tls).expect("loopback has ports");
        let (sender, events) = channel();
        let endpoint = Endpoint::new(EndpointConfig::default(), seed);
        let (handle, task) = sip_transport::start(sockets, endpoint, Answering(sender), setup.limits);
        drop(guard);
        Self { runtime, handle, task, events }
    }

    /// Where it listens.
    pub fn address(&self, transport: Transport) -> SocketAddr {
        let listening = self.handle.listening().iter().find(|l| l.transport == transport);
        listening.expect("asked for").address
    }

    /// Places a call and gives its name.
    pub fn call(&self, flow: Flow) -> DialogKey {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let dialog = DialogKey::outgoing(NEXT.fetch_add(1, Ordering::Relaxed));
        let uri = format!("sip:agent@{};transport={}", flow.remote, flow.transport.param());
        self.command(Command::Invite(OutgoingInvite::new(dialog, uri, "<sip:caller@127.0.0.1>", flow, SDP)));
        dialog
    }

    /// Places a call that must be answered.
    pub fn answered_call(&self, flow: Flow) -> DialogKey {
        let called = self.call(flow);
        self.event("an answer", |event| match event {
            Event::Answered { dialog, .. } if dialog == called => Some(()),
            Event::Failed { status, reason, .. } => panic!("{status} {reason}"),
            _ => None,
        });
        called
    }

    /// Places a call that must fail, and says how.
    pub fn failed_call(&self, flow: Flow) -> u16 {
        let called = self.call(flow);
        self.event("a failure", |event| match event {
            Event::Failed { dialog, status, .. } if dialog == called => Some(status),
            Event::Answered { .. } => panic!("it was answered"),
            _ => None,
        })
    }

    pub fn hang_up(&self, dialog: DialogKey) {
        self.command(Command::Bye { dialog, reason: None });
    }

    pub fn command(&self, command: Command) {
        self.runtime.block_on(self.handle.send(Request::Command(Box::new(command))));
    }

    /// The connection that a flow leads to.
    pub fn connect(&self, flow: Flow) -> io::Result<Flow> {
        self.runtime.block_on(self.handle.connect(flow))
    }

    /// The first of the coming events that is meant.
    pub fn event<T>(&self, what: &str, mut meant: impl FnMut(Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    if let Some(found) = meant(event) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {what}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the task ended"),
            }
        }
    }

    /// The call that comes in.
    pub fn arrival(&self) -> sip::IncomingInvite {
        self.event("a call", |event| match event {
            Event::Invite(invite) => Some(invite),
            _ => None,
        })
    }

    /// Waits until a dialog is over.
    pub fn ended(&self, over: DialogKey) {
        self.event("the end", |event| {
            (matches!(event, Event::Ended { dialog } if dialog == over)).then_some(())
        });
    }

    /// Ends the node. Its connections end with it.
    pub fn stop(self) {
        self.runtime.block_on(async {
            self.handle.send(Request::Stop).await;
            let _ = self.task.await;
        });
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// Reads a counter.
pub fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that mean nothing, the same in every run.
pub fn garbage(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
