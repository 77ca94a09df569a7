//! The life of the real program: what keeps it from starting, how it stops, what it survives from outside.
//! Every message must say what is wrong, where, and what to do instead; every end leaves the records complete.

mod live;

use live::{
    ASK, Called, Folder, LISTEN, Live, RawPhone, WAIT_FOR_THE_END, eventually, questions, run, tandem,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};
use tandem::store::{CallFilter, Reader};

/// Tries to serve with a config; how it ends and what it says.
fn refused(folder: &Folder, config: &str, flags: &[&str]) -> (i32, String) {
    let file = folder.write_config(config).display().to_string();
    run(tandem(&["serve", "--config", &file]).args(flags))
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

// ---- what keeps it from starting ----

#[test]
fn an_address_that_is_taken_is_named_with_its_way_out() {
    let folder = Folder::new();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let udp = udp.local_addr().map(|address| (udp, address.to_string())).expect("it is bound");
    let tcp = tcp.local_addr().map(|address| (tcp, address.to_string())).expect("it is bound");
    for (flag, value, address) in [
        ("--sip", format!("udp:{}", udp.1), udp.1.as_str()),
        ("--sip", format!("tcp:{}", tcp.1), tcp.1.as_str()),
        ("--http", tcp.1.clone(), tcp.1.as_str()),
        // These are addresses of nobody (RFC 5737).
        ("--sip", "udp:192.0.2.1:5060".to_owned(), "192.0.2.1:5060"),
        ("--rtp", "192.0.2.1:20000-20999".to_owned(), "192.0.2.1"),
    ] {
        let (code, text) = refused(&folder, "", &[flag, &value]);
        assert_eq!(code, 3, "{flag} {value}: {text}");
        says(&text, &[address, flag, "choose another", "Nothing was started"]);
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named_with_its_way_out() {
    let folder = Folder::new();
    let file = folder.write("a-file", "not a folder").display().to_string();
    let corrupt = folder.0.join("corrupt");
    std::fs::create_dir_all(&corrupt).expect("a folder");
    std::fs::write(corrupt.join("tandem.sqlite"), "SQLite no more, ".repeat(500)).expect("a file");
    let corrupt = corrupt.display().to_string();
    // Nobody makes folders in /proc, not even root.
    for (directory, reason) in [
        (file.as_str(), "not a directory"),
        ("/proc/tandem-data", "cannot"),
        (&corrupt, "not a sound database"),
    ] {
        let (code, text) = refused(&folder, "", &["--data-dir", directory]);
        assert_eq!(code, 5, "{directory}: {text}");
        says(&text, &[directory, reason]);
    }
}

#[test]
fn two_servers_never_share_a_data_directory() {
    let live = Live::start("");
    let data = live.data().display().to_string();
    let (code, text) = refused(&Folder::new(), "", &["--data-dir", &data]);
    assert_eq!(code, 5, "{text}");
    says(&text, &["another Tandem", &data, "--data-dir"]);
}

#[test]
fn a_database_that_somebody_else_has_locked_is_said_so() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let other = rusqlite::Connection::open(data.join("tandem.sqlite")).expect("a database");
    other.execute_batch("CREATE TABLE theirs (x); BEGIN EXCLUSIVE;").expect("it is ours");
    let (code, text) = refused(&folder, "", &[]);
    assert_eq!(code, 5, "{text}");
    says(&text, &["tandem.sqlite", "locked"]);
}

#[test]
fn a_missing_recogniser_is_found_at_the_start_and_by_a_check() {
    let folder = Folder::new();
    let nowhere = "[stt.embedded]\nprovider = \"embedded\"\nmodel_dir = \"no-models\"\n";
    let (code, text) = refused(&folder, nowhere, &[]);
    assert_eq!(code, 4, "{text}");
    says(&text, &["recogniser", "no-models", "pocketsphinx-en-us", "Nothing was started"]);
    let file = folder.write_config(nowhere).display().to_string();
    let (code, text) = run(&mut tandem(&["check", &file]));
    assert_eq!(code, 1, "{text}");
    says(&text, &["recogniser", "no-models", "pocketsphinx-en-us", "1 error"]);
    let file = folder.write_config("").display().to_string();
    let (code, text) = run(&mut tandem(&["check", &file]));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_wrong_config_or_command_line_is_refused_with_its_place() {
    let folder = Folder::new();
    let (code, text) = refused(&folder, "[http2]\nx = 1\n", &[]);
    assert_eq!(code, 2, "{text}");
    let line = folder.write_config("[http2]").as_path().to_owned();
    let lines = std::fs::read_to_string(&line).expect("it is there").lines().count();
    says(&text, &[&format!("tandem.toml:{lines}"), "http2", "Nothing was started"]);
    let secret = "[llm.gpt]\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"env:TANDEM_TEST_UNSET\"\n\
                  [routes.llm.default]\ntargets = [\"gpt\"]\n";
    let (code, text) = refused(&folder, secret, &[]);
    assert_eq!(code, 2, "{text}");
    says(&text, &["TANDEM_TEST_UNSET", "not set", "tandem.toml:"]);
    for flags in [["--sipp", "udp:127.0.0.1:0"], ["--ports", "many"], ["--sip", "5060"], ["--log", "loud"]] {
        let (code, text) = run(tandem(&["serve"]).args(flags));
        assert_eq!(code, 2, "{flags:?}: {text}");
        says(&text, &[flags[0]]);
    }
    let (code, text) = run(&mut tandem(&["serve", "--config", "/nowhere/tandem.toml"]));
    assert_eq!(code, 2, "{text}");
    says(&text, &["/nowhere/tandem.toml"]);
}

// ---- how it stops ----

/// Records of a data directory without a server.
fn records(data: &Path) -> Vec<Value> {
    let reader = Reader::open(data).expect("a database");
    let calls = reader.calls(&CallFilter { limit: 100, ..CallFilter::default() }).expect("it can be read");
    calls.iter().map(|call| serde_json::to_value(call).expect("a record")).collect()
}

#[test]
fn told_to_stop_it_says_goodbye_refuses_new_calls_and_keeps_every_record() {
    let mut live = Live::start("");
    let call = live.dial(&format!("{LISTEN}, {WAIT_FOR_THE_END}"));
    live.running_call();
    std::thread::sleep(Duration::from_secs(2)); // The greeting is over: what is heard after it is the goodbye.
    live.signal(Signal::TERM);
    eventually("it drains", || (live.get("/health").0 == 503).then_some(()));
    let mut phone = RawPhone::new(live.sip);
    assert_eq!(phone.request("INVITE", Some(OFFER)), 503);
    assert_eq!(phone.request("OPTIONS", None), 503);
    let called = call.hung_up();
    assert!(called.is_good(), "no BYE came: {called:?}");
    assert!(called.voiced_after(Duration::from_secs(2)) > 25, "no goodbye was heard: {called:?}");
    assert_eq!(live.ended().code(), Some(0), "{}", live.log());
    let records = records(&live.data());
    let causes: BTreeSet<_> = records.iter().filter_map(|record| record["end_cause"].as_str()).collect();
    assert_eq!(causes, BTreeSet::from(["draining", "server_stopping"]), "{records:?}");
    says(&live.log(), &["call begins", "call ended", "stopped"]);
}

#[test]
fn told_to_stop_twice_it_does_not_wait_and_loses_no_record() {
    let mut live = Live::start("");
    let call = live.dial(&format!("{LISTEN}, {WAIT_FOR_THE_END}"));
    live.running_call();
    live.signal(Signal::TERM);
    eventually("it drains", || live.log().contains("told to stop").then_some(()));
    live.signal(Signal::INT);
    assert_eq!(live.ended().code(), Some(0), "{}", live.log());
    assert!(call.hung_up().is_good(), "no BYE came");
    let records = records(&live.data());
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["end_cause"], "server_stopping");
}

#[test]
fn killed_in_a_call_it_starts_again_and_closes_the_call() {
    let live = Live::start("");
    let call = live.dial(&format!("{LISTEN}, {{ pause_ms = 3000 }}, {{ hang_up = true }}"));
    let name = live.running_call();
    let folder = live.into_folder();
    let live = Live::start_in(folder, "", &[]);
    let record: Value = serde_json::from_str(&live.get(&format!("/calls/{name}")).1).expect("its record");
    assert_eq!(record["end_cause"], "server_crash", "{record}");
    assert!(record["end_us"].is_i64(), "{record}");
    let crashed = "tandem_calls_total{direction=\"inbound\",end_cause=\"server_crash\"}";
    assert!((live.figure(crashed) - 1.0).abs() < 0.1, "{}", live.metrics());
    drop(call.hung_up());
}

// ---- what it survives ----

#[test]
fn on_a_full_disk_calls_go_on_and_their_records_wait() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let Some(_disk) = SmallDisk::mount(&data) else { return };
    let live = Live::start_in(folder, "", &[]);
    let rubbish = data.join("rubbish");
    fill(&rubbish);
    let called = live.call(&format!("{LISTEN}, {ASK}, {LISTEN}, {{ hang_up = true }}"));
    assert_eq!((called.0["status"].as_u64(), called.answers()), (Some(200), 1), "{called:?}");
    // Long enough a call fills what the database had left; the record is spooled, or kept in memory.
    eventually("the record waits", || {
        let waiting = live.figure("tandem_cdr_spooled_total")
            + live.figure("tandem_queue_dropped_total{queue=\"store\"}");
        if waiting > 0.0 {
            return Some(());
        }
        fill(&rubbish);
        drop(live.call(&format!("{LISTEN}, {{ hang_up = true }}")));
        None
    });
    assert!(live.figure("tandem_cdr_lost_total") < 0.5, "{}", live.metrics());
    std::fs::remove_file(&rubbish).expect("it is ours");
    let count = |live: &Live| {
        let calls: Value = serde_json::from_str(&live.get("/calls?limit=100&running=false").1).ok()?;
        calls["calls"].as_array().map(Vec::len)
    };
    let ended = live.figure("tandem_calls_total");
    eventually("every record is stored", || (count(&live)? as f64 >= ended).then_some(()));
    drop(live);
}

/// A disk of two megabytes, gone when dropped. Only root may have one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at)
            .output();
        if !mount.is_ok_and(|mount| mount.status.success()) {
            println!("skipped: a small disk cannot be mounted here, which needs root");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Writes until nothing more fits.
fn fill(file: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::options().create(true).append(true).open(file).expect("a file");
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_call() {
    let mut live = Live::start_unread("");
    let mut phone = RawPhone::new(live.sip);
    let unspeakable = OFFER.replace("m=audio", "m=video");
    // Each of these is two lines of the log. Strangers, whom no trunk knows, could not write so many.
    eventually("the log is blocked", || {
        (0..100).for_each(|_| assert_eq!(phone.request("INVITE", Some(&unspeakable)), 488));
        (live.figure("tandem_queue_dropped_total{queue=\"log\"}") > 0.0).then_some(())
    });
    let called = live.call(&questions(2));
    assert!(called.is_good() && called.answers() == 2, "{called:?}");
    let record = live.last_record();
    live.signal(Signal::TERM);
    assert_eq!(live.ended().code(), Some(0));
    assert_eq!(record["end_cause"], "caller_hung_up");
    assert_eq!(records(&live.data())[0]["call"], record["call"], "the newest record is kept");
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 34998 RTP/AVP 0\r\n";

#[test]
fn an_offer_that_makes_no_sense_is_refused_and_recorded() {
    let live = Live::start("");
    let mut phone = RawPhone::new(live.sip);
    let huge = format!("{OFFER}{}", "a=x:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(900));
    let many = format!("{OFFER}{}", "m=audio 34998 RTP/AVP 0\r\n".repeat(200));
    let offers = [
        ("no audio", OFFER.replace("m=audio", "m=video"), 488),
        ("no media at all", OFFER.split("m=").next().expect("a head").to_owned(), 488),
        ("unknown codecs", OFFER.replace("AVP 0", "AVP 4 18 96"), 488),
        ("refused by its own port", OFFER.replace("34998", "0"), 488),
        ("IPv6 to an IPv4 server", OFFER.replace("IP4 127.0.0.1\r\nt", "IP6 ::1\r\nt"), 488),
        ("a name for an address", OFFER.replace("IP4 127.0.0.1\r\nt", "IP4 phone.invalid\r\nt"), 488),
        ("encrypted", OFFER.replace("RTP/AVP", "RTP/SAVP"), 488),
        ("garbage", "\u{1}\u{2} this is no session\r\n".to_owned(), 400),
        ("empty lines", "\r\n\r\n\r\n".to_owned(), 400),
        ("a port beyond all ports", OFFER.replace("34998", "349980"), 400),
        ("too many media", many, 400),
    ];
    for (what, offer, expected) in &offers {
        let status = phone.request("INVITE", Some(offer));
        assert_eq!(status, *expected, "{what}");
    }
    // So long that it may be refused as a message, or taken as an offer: an answer comes in any case.
    assert!([200, 400, 488, 513].contains(&phone.request("INVITE", Some(&huge))));
    eventually("every refusal has its record", || {
        let calls: Value = serde_json::from_str(&live.get("/calls?limit=100").1).ok()?;
        let refused = calls["calls"].as_array()?.iter().filter(|call| call["end_cause"] == "no_common_codec");
        (refused.count() >= offers.len()).then_some(())
    });
    let called = live.call(&questions(1));
    assert!(called.is_good(), "{called:?}");
}

/// UDP ports that a process holds, of those for RTP.
fn rtp_ports(pid: u32) -> Vec<u16> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it is ours");
    let inodes: BTreeSet<String> = fds
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/udp").expect("Linux");
    let ports = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.split_once(':')?.1, 16).ok()?;
        (inodes.contains(*fields.get(9)?) && (10_000..32_000).contains(&port)).then_some(port)
    });
    ports.collect()
}

#[test]
fn packets_of_strangers_do_not_disturb_a_call_and_are_counted() {
    let live = Live::start("");
    let call = live.dial(&questions(2));
    live.running_call();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let ports = rtp_ports(live.pid());
    assert!(!ports.is_empty(), "the call has its ports");
    for number in 0..1_600_u32 {
        let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9];
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet.extend(std::iter::repeat_n(number as u8, 160));
        let packet = match number % 4 {
            0 => &packet[..],
            1 => &packet[..(number % 12) as usize],
            2 => b"not RTP at all",
            _ => &[0xFF; 900],
        };
        for port in &ports {
            let _ = stranger.send_to(packet, SocketAddr::from(([127, 0, 0, 1], *port)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let called = call.hung_up();
    assert!(called.is_good() && called.answers() == 2, "{called:?}");
    live.last_record();
    assert!(live.figure("tandem_rtp_foreign_total") > 300.0, "{}", live.metrics());
}

#[test]
fn packets_without_sense_from_the_caller_are_counted_and_an_operator_can_end_the_call() {
    let live = Live::start("");
    let media = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    media.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let port = media.local_addr().expect("it is bound").port();
    let mut phone = RawPhone::new(live.sip);
    assert_eq!(phone.request("INVITE", Some(&OFFER.replace("34998", &port.to_string()))), 200);
    let line =
        phone.answer.lines().find(|line| line.starts_with("m=audio ")).expect("an audio line").to_owned();
    let theirs: u16 = line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let server = SocketAddr::from(([127, 0, 0, 1], theirs));
    let (mut heard, mut buffer) = (0, [0; 2_000]);
    for number in 0..600_u16 {
        let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        packet.extend([0xFF; 160]);
        let nonsense =
            [vec![], vec![0x80; 5], vec![0x40; 172], vec![0x80, 77, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5]];
        media.send_to(&packet, server).expect("it is sent");
        media.send_to(&nonsense[usize::from(number % 4)], server).expect("it is sent");
        heard += u32::from(media.recv_from(&mut buffer).is_ok());
        if heard > 200 {
            break;
        }
    }
    assert!(heard > 200, "audio stopped after {heard} packets");
    let call = live.running_call();
    assert_eq!(live.ask("DELETE", &format!("/calls/{call}")).0, 202);
    let bye = phone.is_hung_up_on();
    says(&bye, &["BYE "]);
    assert_eq!(live.last_record()["end_cause"], "admin");
    assert_eq!(live.ask("DELETE", &format!("/calls/{call}")).0, 409, "it is over");
    assert!(live.figure("tandem_rtp_malformed_total") > 50.0, "{}", live.metrics());
}

// ---- HTTP ----

/// Every family that may be asked for, with at least one series of it.
const FAMILIES: [&str; 26] = [
    "calls_total",
    "calls_active",
    "ports_cap",
    "ports_busy",
    "ports_busy_max",
    "port_acquire_total",
    "turn_seconds_count",
    "stage_seconds_count",
    "stage_over_budget_total",
    "barge_in_total",
    "barge_in_reaction_seconds_count",
    "sip_messages_total",
    "sip_dropped_total",
    "rtp_packets_total",
    "rtp_late_total",
    "rtp_lost_total",
    "rtp_concealed_total",
    "rtp_foreign_total",
    "rtp_malformed_total",
    "queue_dropped_total",
    "provider_failures_total",
    "fallback_total",
    "llm_attempts_total",
    "cdr_spooled_total",
    "cdr_lost_total",
    "media_thread_lag_seconds_count",
];

#[test]
fn every_figure_is_there_at_zero_from_the_start_and_moves_with_a_call() {
    let live = Live::start("");
    let metrics = live.metrics();
    for family in FAMILIES {
        let line = metrics.lines().find(|line| line.starts_with(&format!("tandem_{family}")));
        let line = line.unwrap_or_else(|| panic!("{family} is missing in\n{metrics}"));
        assert!(line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()), "{line}");
    }
    parses(&metrics);
    assert!(metrics.contains("end_cause=\"server_crash\"} 0"), "{metrics}");
    assert!(live.figure("tandem_calls_total") < 0.5);
    assert!((live.figure("tandem_ports_cap") - 20.0).abs() < 0.1);
    let called = live.call(&questions(1));
    assert!(called.is_good(), "{called:?}");
    live.last_record();
    eventually("the SIP messages are published", || {
        let byes = "tandem_sip_messages_total{direction=\"in\",method=\"BYE\",status=\"\"}";
        (live.figure(byes) > 0.5).then_some(())
    });
    let metrics = live.metrics();
    parses(&metrics);
    for (series, least) in [
        ("tandem_calls_total{direction=\"inbound\",end_cause=\"caller_hung_up\"}", 1.0),
        ("tandem_port_acquire_total{result=\"granted\"}", 1.0),
        ("tandem_rtp_packets_total{direction=\"in\"}", 100.0),
        ("tandem_rtp_packets_total{direction=\"out\"}", 100.0),
        ("tandem_turn_seconds_count", 1.0),
        ("tandem_llm_attempts_total{target=\"flow\",role=\"primary\"}", 1.0),
        ("tandem_sip_messages_total{direction=\"out\",method=\"\",status=\"2xx\"}", 1.0),
    ] {
        assert!(live.figure(series) >= least, "{series}:\n{metrics}");
    }
}

/// OpenMetrics: every line is a comment or a name, labels, and a number.
fn parses(metrics: &str) {
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        assert!(!series.contains('{') || series.ends_with('}'), "{line}");
    }
}

#[test]
fn no_request_whatever_ends_the_server() {
    let mut live = Live::start("");
    let paths = [
        "/",
        "/calls",
        "/calls/",
        "/calls/last",
        "/calls/last/trace",
        "/calls/last/events",
        "/health",
        "/metrics",
        "//",
        "/calls/%00",
        "/calls/%ff%fe",
        "/calls/../../etc/passwd",
        "/calls/'%20OR%201=1--",
        "/calls?limit=-1",
        "/calls?limit=99999999999",
        "/calls?before_us=x",
        "/calls?running=maybe",
        "/calls?nothing=1",
        "/calls/last/events?after=-1&wait_s=0",
        "/calls/0/trace",
        "/calls/last/events?wait_s=0",
        "*",
        "http://elsewhere.invalid/calls",
        "/calls?sip_call_id=%25%27%22",
        "/%2e%2e/%2e%2e",
    ];
    let long = format!("/calls/{}", "a".repeat(20_000));
    let mut asked = 0;
    for method in ["GET", "DELETE", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "BREW", "get", "\u{7f}"] {
        for path in paths.iter().copied().chain([long.as_str()]) {
            for body in ["", "{\"a\":", &"x".repeat(70_000)] {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
                let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                let answer = live.raw(request.as_bytes());
                assert!(!answer.starts_with("HTTP/1.1 500"), "{method} {path}: {answer}");
                asked += 1;
            }
        }
    }
    for nonsense in
        [&b"\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"GET", b"GET / HTTP/9.9\r\n\r\n", &[0xFF; 5_000]]
    {
        live.poke(nonsense);
        asked += 1;
    }
    assert!(asked > 500 && live.is_alive());
    assert_eq!(live.get("/health").0, 200);
    let log = live.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_call_leaves_no_word_and_no_number_in_the_log() {
    let live = Live::start("");
    let called: Called = live.call(&questions(1));
    assert!(called.is_good(), "{called:?}");
    let call = live.last_record()["call"].as_str().expect("its name").to_owned();
    let log = live.log();
    says(&log, &["call begins", "call ended", &call, "caller_hung_up"]);
    for caller_data in ["opening hours", "sip:caller", "caller@"] {
        assert!(!log.to_lowercase().contains(caller_data), "{caller_data}: {log}");
    }
}
