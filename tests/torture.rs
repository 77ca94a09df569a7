//! RFC 4475 and RFC 5118 over real sockets, mutants of their messages, and noise at RTP ports: the running server
//! answers as the tables say, and is there afterwards.
//! The messages get branches and Call-IDs of their own, and over UDP an `rport`, so that each can be followed.

mod served;

#[path = "../crates/sip/tests/mutants/mod.rs"]
mod mutants;

use mutants::{Chance, mutate};
use served::{PATIENCE, Served, heard, repository};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// After the server has answered something later: how long an unwanted reply may still be under way.
const AFTERWARDS: Duration = Duration::from_millis(100);

struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Final statuses, and `none` where no reply is right too.
    allowed: Vec<String>,
}

fn cases(set: &str) -> Vec<Case> {
    let folder = repository("crates/sip/tests/torture").join(set);
    let table = std::fs::read_to_string(folder.join("expected.csv")).expect("a table");
    let case = |line: &str| {
        let columns: Vec<&str> = line.split(',').collect();
        let name = columns[0].to_owned();
        let bytes = std::fs::read(folder.join(format!("{name}.dat"))).expect("a message");
        Case {
            bytes: distinct(&bytes, &name),
            name,
            allowed: columns[4].split('|').map(str::to_owned).collect(),
        }
    };
    table.lines().skip(1).map(case).collect()
}

/// A message with its name in branch and Call-ID. Some share both, and to one server they would be one request that was
/// repeated or came by two ways. A branch that is nothing but the cookie stays what it is.
fn distinct(bytes: &[u8], name: &str) -> Vec<u8> {
    let bare = bytes.windows(8).any(|window| window == b"z9hG4bK;" || window == b"z9hG4bK\r");
    let cookie = format!("z9hG4bK{}", if bare { "" } else { name });
    let bytes = replace(bytes, b"z9hG4bK", cookie.as_bytes());
    replace(&bytes, b"Call-ID: ", format!("Call-ID: {name}.").as_bytes())
}

fn replace(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    match bytes.windows(what.len()).position(|window| window == what) {
        Some(at) => [&bytes[..at], with, &bytes[at + what.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

impl Case {
    /// The value of the Call-ID, which every reply repeats.
    fn call_id(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        let mut lines = text.lines().map(|line| line.split_once(':').unwrap_or((line, "")));
        let is_call_id = |name: &str| ["call-id", "i"].contains(&name.trim().to_ascii_lowercase().as_str());
        lines.find(|(name, _)| is_call_id(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The message with `;rport` as the first parameter of its topmost Via.
    fn with_rport(&self) -> Vec<u8> {
        let lower = self.bytes.to_ascii_lowercase();
        let via = ["\nvia", "\nv:", "\nv "].iter().filter_map(|name| find(&lower, name.as_bytes(), 0)).min();
        match via.and_then(|via| find(&lower, b";", via)) {
            Some(at) => [&self.bytes[..at], b";rport", &self.bytes[at..]].concat(),
            None => self.bytes.clone(),
        }
    }

    fn only_silence_is_right(&self) -> bool {
        self.allowed == ["none"]
    }

    fn judge(&self, statuses: &[u16]) -> Option<String> {
        let fits = self.allowed.iter().any(|allowed| match (allowed.as_str(), statuses) {
            ("none", []) => true,
            ("2xx", [status]) => (200..300).contains(status),
            (code, [status]) => code == status.to_string(),
            (_, []) | (_, [_, _, ..]) => false,
        });
        (!fits).then(|| format!("{}: {statuses:?}, allowed {}", self.name, self.allowed.join(", ")))
    }
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
}

fn options(number: u32, transport: &str, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:demo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bKalive{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alive@127.0.0.1>;tag=a{number}\r\nTo: <sip:demo@127.0.0.1>\r\n\
         Call-ID: alive{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The status of a final response to anything but ACK.
fn final_status(text: &str) -> Option<u16> {
    let status: u16 = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    (status >= 200).then_some(status)
}

/// Sends to the server from one port, and keeps what comes back.
struct Sender {
    socket: UdpSocket,
    replies: Vec<String>,
    asked: u32,
}

impl Sender {
    fn new(server: &Served) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        socket.connect(server.udp).expect("loopback");
        Self { socket, replies: Vec::new(), asked: 0 }
    }

    fn send(&self, bytes: &[u8]) {
        // What no datagram can hold is no message either.
        let _too_long_or_refused = self.socket.send(&bytes[..bytes.len().min(60_000)]);
    }

    /// Keeps the next datagram that comes before `until`.
    fn read(&mut self, until: Instant) -> bool {
        let mut buffer = vec![0; 65_535];
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).expect("a timeout");
        let Ok(length) = self.socket.recv(&mut buffer) else { return false };
        self.replies.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        true
    }

    /// Asks for life and waits for the answer. Asks again as a client would: a flood may have cost the first one.
    fn is_answered(&mut self) -> bool {
        // No two of them the same, whoever sends them: they would be taken for one request that came by two ways.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.asked = NEXT.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let mine = format!("Call-ID: alive{}\r\n", self.asked);
        while begun.elapsed() < PATIENCE {
            let request = options(self.asked, "UDP", self.socket.local_addr().expect("bound"));
            self.send(request.as_bytes());
            let until = Instant::now() + Duration::from_millis(500);
            while self.read(until) {
                if self.replies.last().is_some_and(|reply| reply.contains(&mine)) {
                    return self.replies.last().and_then(|reply| final_status(reply)) == Some(200);
                }
            }
        }
        false
    }

    /// The final statuses that came for a message, each once: repetitions of a 200 wait for an ACK that never comes.
    fn statuses(&mut self, case: &Case) -> Vec<u16> {
        let call_id = case.call_id().unwrap_or_default();
        let until =
            Instant::now() + if case.allowed.iter().any(|a| a == "none") { AFTERWARDS } else { PATIENCE };
        loop {
            let own = self.replies.iter().filter(|reply| !call_id.is_empty() && reply.contains(&call_id));
            let mut statuses: Vec<u16> = own.filter_map(|reply| final_status(reply)).collect();
            statuses.dedup();
            if !statuses.is_empty() || Instant::now() >= until {
                return statuses;
            }
            self.read(until);
        }
    }
}

fn over_udp(set: &str, count: usize) {
    let mut server = Served::start(50, "");
    let mut differences = Vec::new();
    let cases = cases(set);
    assert_eq!(cases.len(), count);
    for case in &cases {
        let mut sender = Sender::new(&server);
        sender.send(&case.with_rport());
        assert!(sender.is_answered() && server.is_alive(), "alive after {}", case.name);
        differences.extend(case.judge(&sender.statuses(case)));
    }
    assert_eq!(differences, [] as [String; 0]);
}

#[test]
fn every_rfc4475_message_over_udp_gets_the_answer_of_the_table() {
    over_udp("rfc4475", 49);
}

#[test]
fn every_rfc5118_message_over_udp_gets_the_answer_of_the_table() {
    over_udp("rfc5118", 12);
}

/// What came over a connection of a message's own: final statuses, and whether the server closed it.
fn over_tcp(server: &Served, case: &Case, answers: usize) -> (Vec<u16>, bool) {
    let mut stream = TcpStream::connect(server.tcp).expect("it listens");
    stream.write_all(&case.bytes).expect("it reads");
    let mut text = String::new();
    let mut buffer = [0; 8_192];
    let until = Instant::now() + if answers == 0 { AFTERWARDS * 3 } else { PATIENCE };
    loop {
        let mut statuses: Vec<u16> =
            text.split("SIP/2.0 ").filter_map(|rest| final_status(&format!("SIP/2.0 {rest}"))).collect();
        statuses.dedup();
        let wait = until.saturating_duration_since(Instant::now());
        if (answers > 0 && statuses.len() >= answers) || wait.is_zero() {
            return (statuses, false);
        }
        stream.set_read_timeout(Some(wait)).expect("a timeout");
        match stream.read(&mut buffer) {
            Ok(0) => return (statuses, true),
            Ok(length) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return (statuses, true),
            Err(_) => {}
        }
    }
}

#[test]
fn over_tcp_broken_framing_ends_the_connection_and_the_rest_is_answered_as_over_udp() {
    let mut server = Served::start(50, "");
    let mut sender = Sender::new(&server);
    let mut differences = Vec::new();
    for case in cases("rfc4475").iter().chain(&cases("rfc5118")) {
        let expected: Option<(&[u16], bool)> = match case.name.as_str() {
            // 3.1.2.3 and 3.3.9: no border of messages can be trusted any more.
            "ncl" | "mcl01" => Some((&[], true)),
            // 3.1.2.2 and 3.1.2.15, whose file has no empty line at its end: the stream waits for the rest.
            "clerr" | "baddn" => Some((&[], false)),
            // 3.1.1.8: on a stream these are two messages, and after the second one's Content-Length comes what is
            // no third one. The 400 to the second may or may not get out before that ends the connection.
            "dblreq" => Some((&[405], true)),
            _ => None,
        };
        let answers = match expected {
            // A close is awaited as an answer is.
            Some((statuses, closed)) => statuses.len() + if closed { 9 } else { 0 },
            None => usize::from(!case.only_silence_is_right()),
        };
        let (mut statuses, closed) = over_tcp(&server, case, answers);
        if case.name == "dblreq" {
            statuses.truncate(1);
        }
        match expected {
            Some(expected) if (statuses.as_slice(), closed) != expected => {
                differences.push(format!("{}: {statuses:?}, closed: {closed}", case.name));
            }
            Some(_) => {}
            None => differences.extend(case.judge(&statuses)),
        }
        assert!(sender.is_answered() && server.is_alive(), "alive after {}", case.name);
    }
    assert_eq!(differences, [] as [String; 0]);
}

#[test]
fn four_thousand_mutants_never_silence_the_server() {
    let mut server = Served::start(4, "");
    let mut seeds: Vec<Vec<u8>> = cases("rfc4475").into_iter().map(|case| case.bytes).collect();
    seeds.extend(cases("rfc5118").into_iter().map(|case| case.bytes));
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let mut sender = Sender::new(&server);
    for number in 0..4_000 {
        sender.send(&mutate(&mut chance, &seeds));
        if number % 50 == 0 {
            assert!(sender.is_answered() && server.is_alive(), "silent after mutant {number}");
            sender.replies.clear();
        }
    }
    let mut streams: Vec<TcpStream> = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(server.tcp).expect("it listens");
        let _may_be_closed_already = stream.write_all(&mutate(&mut chance, &seeds));
        streams.push(stream);
        if number % 50 == 0 {
            streams.clear();
            assert!(sender.is_answered() && server.is_alive(), "silent after stream {number}");
        }
    }
    assert!(!server.log().contains("panicked"));
}

#[test]
fn noise_at_the_rtp_ports_does_not_disturb_the_call() {
    let mut server = Served::start(2, "");
    let script = repository("loadtest/scripts/hours.toml");
    let mut call = server.call(&["--script", &script.to_string_lossy()]);
    let mut call = call.stdout(Stdio::piped()).spawn().expect("tandem starts");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let mut sent = 0_u32;
    while call.try_wait().expect("it is ours").is_none() {
        for port in server.rtp.clone() {
            // Half of it looks like RTP or RTCP at first sight.
            let mut noise: Vec<u8> = (0..chance.below(300)).map(|_| chance.below(256) as u8).collect();
            if let (Some(first), 0) = (noise.first_mut(), sent % 2) {
                *first = 0x80 | chance.below(64) as u8;
            }
            let _nobody_may_listen = socket.send_to(&noise, (Ipv4Addr::LOCALHOST, port));
            sent += 1;
        }
        // 800 datagrams a second.
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = call.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let trace = server.trace(&["last"]);
    assert!(heard(&trace).iter().any(|text| text.ends_with("opening hours")), "{:?}", heard(&trace));
    assert!(
        sent > 1_000 && trace["call"]["quality"]["foreign"].as_u64() > Some(0),
        "{}",
        trace["call"]["quality"]
    );
    assert!(Sender::new(&server).is_answered() && server.is_alive());
}

/// What the PROTOS suite and its like send: fields and lists of `size` bytes, and numbers beyond every type.
fn extremes(size: usize, name: &str) -> Vec<String> {
    let long = "x".repeat(size);
    let head = |method: &str, tag: &str, branch: &str, extra: &str| {
        format!(
            "{method} sip:demo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{name}{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@b>;tag={tag}\r\nTo: <sip:demo@127.0.0.1>\r\nCall-ID: {name}{size}{method:.9}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:a@127.0.0.1>\r\n{extra}"
        )
    };
    let bodied = |kind: &str, body: String| {
        let branch = format!("{}{}", body.len(), kind.len());
        let fields = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        head("INVITE", &branch, &branch, &fields)
    };
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    let m_lines = offer.to_owned() + &"m=audio 9 RTP/AVP 0\r\n".repeat(size / 21);
    let end = "Content-Length: 0\r\n\r\n";
    vec![
        head(&long, "1", "m", end),
        head("OPTIONS", &long, "t", end),
        head("OPTIONS", "1", &long, end),
        head("OPTIONS", "1", "a", &format!("Authorization: Digest {}\r\n{end}", "a=\"b\",".repeat(size / 6))),
        head("OPTIONS", "1", "r", &format!("Record-Route: {}\r\n{end}", "<sip:a;lr>,".repeat(size / 11))),
        head("OPTIONS", "1", "h", &format!("{}{end}", "a:b\r\n".repeat(size / 5))),
        bodied(&format!("multipart/mixed;boundary={long}"), long.clone()),
        bodied("multipart/mixed", "--\r\n".repeat(size / 4)),
        bodied("application/sdp", m_lines),
        bodied(
            "application/sdp",
            format!("{offer}m=audio 9 RTP/AVP {}\r\n", "4294967296 ".repeat(size / 11)),
        ),
        bodied(
            "application/sdp",
            format!("{offer}m=audio 9 RTP/AVP 0\r\n{}", "a=ptime:4294967296\r\n".repeat(size / 20)),
        ),
        bodied("application/sdp", offer.to_owned() + &long),
    ]
}

#[test]
fn long_fields_endless_lists_and_huge_numbers_do_not_disturb_the_server() {
    let mut server = Served::start(4, "");
    let mut sender = Sender::new(&server);
    for size in [2_000, 12_000, 59_000] {
        for (number, text) in extremes(size, &format!("e{size}")).into_iter().enumerate() {
            sender.send(text.as_bytes());
            assert!(
                sender.is_answered() && server.is_alive(),
                "silent after extreme {number} of {size} bytes"
            );
        }
        for (number, text) in extremes(size, &format!("s{size}")).into_iter().enumerate() {
            let mut stream = TcpStream::connect(server.tcp).expect("it listens");
            let _may_be_closed_before_its_end = stream.write_all(text.as_bytes());
            assert!(
                sender.is_answered() && server.is_alive(),
                "silent after stream {number} of {size} bytes"
            );
        }
        sender.replies.clear();
    }
    assert!(!server.log().contains("panicked"));
}
