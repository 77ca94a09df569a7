//! Kills the real server at random moments under load and asks what is left: every call that was answered has one record,
//! and every peer that is still connected gets a BYE. Prints the figures; `TANDEM_CRASH_ROUNDS=50` makes it a long run:
//! `cargo test --release --test durability -- --nocapture`.

mod live;

use live::{Folder, Live};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tandem::store::{CRASHED, CallFilter, CallRecord, Reader};

/// Calls that are up or being set up at any time.
const AT_ONCE: usize = 12;
/// The promise, in seconds.
const DURATION_ERROR_S: i64 = 5;

/// What one caller knows of its call.
struct Caller {
    branch: String,
    begun: Instant,
    /// Our 200 was heard: its To value.
    answered: Option<String>,
    /// When it hangs up.
    ends: Duration,
    hung_up: bool,
}

/// Many callers on one socket.
struct Callers {
    socket: UdpSocket,
    server: SocketAddr,
    chance: u64,
    number: u64,
    live: BTreeMap<String, Caller>,
    /// Calls whose 200 was heard, ever.
    answered: BTreeSet<String>,
    /// Of those, calls that we ended and whose BYE was answered.
    ended: BTreeSet<String>,
    /// BYEs of the server: which call, when, and the Reason.
    byes: Vec<(String, Instant, String)>,
    setup: Vec<Duration>,
}

impl Callers {
    fn new(server: SocketAddr, seed: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a time");
        Self {
            socket,
            server,
            chance: seed,
            number: 0,
            live: BTreeMap::new(),
            answered: BTreeSet::new(),
            ended: BTreeSet::new(),
            byes: Vec::new(),
            setup: Vec::new(),
        }
    }

    /// Chance, repeatable (xorshift).
    fn below(&mut self, end: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % end
    }

    fn send(&self, text: &str) {
        // A server that was killed leaves nobody there: that is the point.
        let _ = self.socket.send_to(text.as_bytes(), self.server);
    }

    fn request(&self, method: &str, call: &str, to: &str, cseq: u32, branch: &str, body: &str) {
        let port = self.socket.local_addr().expect("bound").port();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.send(&format!(
            "{method} sip:agent@{} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:crash@127.0.0.1>;tag=f{call}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:crash@127.0.0.1:{port}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.server,
            body.len()
        ));
    }

    fn dial(&mut self) {
        self.number += 1;
        let chance = self.below(1 << 40);
        let call = format!("{}-{chance}", self.number);
        let branch = format!("z9hG4bK{call}");
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 9 RTP/AVP 0\r\n";
        self.request("INVITE", &call, "<sip:agent@127.0.0.1>", 1, &branch, offer);
        let ends = Duration::from_millis(300 + self.below(2_500));
        let caller = Caller { branch, begun: Instant::now(), answered: None, ends, hung_up: false };
        self.live.insert(call, caller);
    }

    /// Reads what has come, for a few milliseconds.
    fn listen(&mut self) {
        let mut buffer = [0; 4_096];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let header = |name: &str| {
                let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
                line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
            };
            let (call, cseq) = (header("call-id:"), header("cseq:"));
            if text.starts_with("BYE ") {
                let copied = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| {
                    format!("{name}: {}\r\n", header(&format!("{}:", name.to_ascii_lowercase())))
                });
                self.send(&format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", copied.concat()));
                if self.live.remove(&call).is_some() {
                    self.byes.push((call, Instant::now(), header("reason:")));
                }
                continue;
            }
            let to = header("to:");
            if text.starts_with("SIP/2.0 200") && cseq.ends_with("INVITE") {
                let Some(caller) = self.live.get_mut(&call) else { continue };
                if caller.answered.replace(to.clone()).is_none() {
                    self.setup.push(caller.begun.elapsed());
                }
                let branch = format!("{}a", caller.branch);
                self.answered.insert(call.clone());
                self.request("ACK", &call, &to, 1, &branch, "");
            } else if text.starts_with("SIP/2.0 200") && cseq.ends_with("BYE") {
                self.live.remove(&call);
                self.ended.insert(call);
            }
        }
    }

    /// Callers whose time has come hang up; others take their place.
    fn act(&mut self) {
        let due = |caller: &Caller| {
            caller.answered.is_some() && !caller.hung_up && caller.begun.elapsed() >= caller.ends
        };
        let due: Vec<_> =
            self.live.iter().filter(|(_, caller)| due(caller)).map(|(call, _)| call.clone()).collect();
        for call in due {
            let Some(caller) = self.live.get_mut(&call) else { continue };
            caller.hung_up = true;
            let (to, branch) = (caller.answered.clone().unwrap_or_default(), format!("{}b", caller.branch));
            self.request("BYE", &call, &to, 2, &branch, "");
        }
        if self.live.len() < AT_ONCE {
            self.dial();
        }
    }

    fn run(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.act();
            self.listen();
        }
    }
}

fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("not that far")
}

/// A port for the server that is the same in every round: its peers send there.
fn port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback").port()
}

fn start(folder: Folder, port: u16) -> Live {
    let file = folder.write_config("");
    let config = std::fs::read_to_string(&file).expect("it was written");
    let fixed = config
        .replace("listen = [\"udp:127.0.0.1:0\"]", &format!("listen = [\"udp:127.0.0.1:{port}\"]"))
        .replace("ports = 20\n", "ports = 100\n");
    assert_ne!(config, fixed);
    std::fs::write(&file, fixed).expect("writable");
    Live::start_with(folder, &file, &[])
}

#[test]
fn killed_at_any_moment_no_answered_call_is_missing_or_doubled_and_every_peer_hears_of_it() {
    let rounds =
        std::env::var("TANDEM_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let port = port();
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let mut callers = Callers::new(server, 0x5eed_cafe);
    let mut live = start(Folder::new(), port);
    let (mut slowest_bye, mut worst_error_us, mut orphans) = (Duration::ZERO, 0, 0);
    for round in 1..=rounds {
        let time = Duration::from_millis(1_000 + callers.below(2_000));
        callers.run(time);
        let folder = live.into_folder(); // kill -9
        let died_us = unix_us();
        callers.listen();
        let connected: BTreeSet<String> = callers
            .live
            .iter()
            .filter(|(_, caller)| caller.answered.is_some() && !caller.hung_up)
            .map(|(call, _)| call.clone())
            .collect();
        callers.live.retain(|call, _| connected.contains(call));
        let restarted = Instant::now();
        live = start(folder, port);
        let ready = restarted.elapsed();
        let patience = Instant::now();
        while !callers.live.is_empty() && patience.elapsed() < Duration::from_secs(30) {
            callers.listen();
        }
        assert!(callers.live.is_empty(), "round {round}: {} peers were never told", callers.live.len());
        for (call, at, reason) in callers.byes.drain(..).filter(|(call, ..)| connected.contains(call)) {
            assert!(reason.contains(CRASHED), "{call}: {reason}");
            // What the server needs to load until it is ready is the machine's affair, and printed beside it.
            slowest_bye = slowest_bye.max(at.saturating_duration_since(restarted + ready));
        }
        orphans += connected.len();
        let records = records(&live, callers.answered.len());
        let by_call =
            |call: &str| records.iter().filter(|record| record.sip_call_id == *call).collect::<Vec<_>>();
        for call in &callers.answered {
            let found = by_call(call);
            assert_eq!(found.len(), 1, "round {round}: {call} has {} records", found.len());
            assert!(found[0].end_us.is_some(), "round {round}: {call} never ends");
        }
        for call in &connected {
            let record = by_call(call)[0];
            assert_eq!(record.end_cause.as_deref(), Some(CRASHED), "{record:?}");
            let error = record.end_us.map_or(i64::MAX, |end| (end - died_us).abs());
            worst_error_us = worst_error_us.max(error);
        }
        println!(
            "round {round}: {} calls answered so far, {} up at the kill, ready again after {ready:.1?}",
            callers.answered.len(),
            connected.len()
        );
    }
    callers.setup.sort_unstable();
    let share =
        |share: usize| callers.setup.get((callers.setup.len() * share / 100).min(callers.setup.len() - 1));
    println!(
        "kill -9, {rounds} rounds: {} answered calls, 0 without a record, 0 doubled",
        callers.answered.len()
    );
    println!("ended calls whose BYE was answered before the kill: {}", callers.ended.len());
    println!("calls up when killed: {orphans}, all told; slowest BYE {slowest_bye:.1?} after the start");
    println!("worst duration error of a call in progress: {:.1} s", worst_error_us as f64 / 1e6);
    println!("INVITE to 200: p50 {:.1?}, p99 {:.1?}", share(50), share(99));
    assert!(worst_error_us <= DURATION_ERROR_S * 1_000_000, "{worst_error_us}");
}

/// All records, once there are enough.
fn records(live: &Live, at_least: usize) -> Vec<CallRecord> {
    live::eventually("every answered call has its record", || {
        let reader = Reader::open(&live.data()).ok()?;
        let mut records = Vec::new();
        let every = |page: Vec<CallRecord>| -> Result<(), tandem::store::StoreError> {
            records.extend(page);
            Ok(())
        };
        reader.each(&CallFilter::default(), every).ok()?;
        let answered = records.iter().filter(|record| record.answer_us.is_some() || record.end_us.is_some());
        (answered.count() >= at_least).then_some(records)
    })
}
