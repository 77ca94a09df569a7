//! What somebody else says about a call before it is answered, and agents that change while the server runs: the real
//! program, a webhook on loopback that answers, refuses, hangs and talks nonsense, and a phone made by hand.

mod served;

use serde_json::{Value, json};
use served::Served;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

const BILLING: &str = r#"
[agent]
name = "billing"
greeting = "Hello {first_name}, this is billing."
[variables]
first_name = "there"
customer_id = ""
"#;

/// A server that is asked about calls. What it says may change; without anything to say it never answers.
struct Webhook {
    address: SocketAddr,
    says: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn start(says: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let says = Arc::new(Mutex::new(Some(says.to_string())));
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let (answers, questions) = (Arc::clone(&says), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, questions) = (Arc::clone(&answers), Arc::clone(&questions));
                std::thread::spawn(move || answer(stream, &answers, &questions));
            }
        });
        Self { address, says, asked }
    }

    fn say(&self, says: Option<&str>) {
        *self.says.lock().expect("not poisoned") = says.map(str::to_owned);
    }
}

fn answer(stream: TcpStream, says: &Mutex<Option<String>>, asked: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        length =
            lower.strip_prefix("content-length:").map_or(length, |rest| rest.trim().parse().unwrap_or(0));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.lock().expect("not poisoned").push(serde_json::from_slice(&body).ok()?);
    let Some(says) = says.lock().expect("not poisoned").clone() else {
        // Holds the connection for as long as the test runs, and says nothing.
        std::thread::sleep(PATIENCE);
        return None;
    };
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", says.len());
    reader.get_mut().write_all(format!("{head}{says}").as_bytes()).ok()
}

/// A phone that shows what it gets.
struct Phone {
    socket: UdpSocket,
    server: SocketAddr,
    call: u32,
}

impl Phone {
    fn new(server: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
        Self { socket, server, call: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    fn send(&self, method: &str, branch: &str, tag: &str) {
        let (me, server, call) = (self.socket.local_addr().expect("it is bound"), self.server, self.call);
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let (content, body) =
            if method == "INVITE" { ("Content-Type: application/sdp\r\n", sdp) } else { ("", "") };
        let text = format!(
            "{method} sip:desk@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKc{call}{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ann@{me}>;tag=f{call}\r\nTo: <sip:desk@{server}>{tag}\r\n\
             Call-ID: context{call}-{}\r\nCSeq: {} {method}\r\nContact: <sip:ann@{me}>\r\nX-Customer-Id: 4711\r\n\
             X-Secret: hush\r\n{content}Content-Length: {}\r\n\r\n{body}",
            me.port(),
            if method == "BYE" { 2 } else { 1 },
            body.len()
        );
        self.socket.send_to(text.as_bytes(), server).expect("it is sent");
    }

    fn read(&self) -> Option<String> {
        let mut buffer = vec![0; 65_536];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The next message that begins like this.
    fn wait(&self, start: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.read() {
                Some(text) if text.starts_with(start) => return text,
                _ => assert!(Instant::now() < until, "no {start}"),
            }
        }
    }

    /// Calls and stays. Returns what further requests have in To.
    fn answer(&self) -> String {
        self.send("INVITE", "", "");
        let answer = self.wait("SIP/2.0 200");
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
        let tag = to.split_once(";tag=").map_or_else(String::new, |(_, tag)| format!(";tag={tag}"));
        self.send("ACK", "ack", &tag);
        tag
    }

    /// Presses a key, by INFO.
    fn press(&self, tag: &str, key: &str) {
        let (me, server, call) = (self.socket.local_addr().expect("it is bound"), self.server, self.call);
        let number = 10 + key.parse::<u32>().expect("a digit");
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        let text = format!(
            "INFO sip:desk@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKc{call}i{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ann@{me}>;tag=f{call}\r\nTo: <sip:desk@{server}>{tag}\r\n\
             Call-ID: context{call}-{}\r\nCSeq: {number} INFO\r\nContent-Type: application/dtmf-relay\r\n\
             Content-Length: {}\r\n\r\n{body}",
            me.port(),
            body.len()
        );
        self.socket.send_to(text.as_bytes(), server).expect("it is sent");
        self.wait("SIP/2.0 200");
    }

    /// Calls until there is a final response, acknowledges it and, if it was a 200, hangs up at once.
    fn call(&self) -> String {
        self.send("INVITE", "", "");
        let until = Instant::now() + PATIENCE;
        let last = loop {
            match self.read().filter(|text| text.starts_with("SIP/2.0") && !text.starts_with("SIP/2.0 1")) {
                Some(text) => break text,
                None => assert!(Instant::now() < until, "no final response"),
            }
        };
        let to = last.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
        let tag = to.split_once(";tag=").map_or_else(String::new, |(_, tag)| format!(";tag={tag}"));
        if last.starts_with("SIP/2.0 200") {
            self.send("ACK", "ack", &tag);
            std::thread::sleep(Duration::from_millis(300)); // The greeting's text stands in the trace by then.
            self.send("BYE", "bye", &tag);
            self.wait("SIP/2.0 200");
        } else {
            self.send("ACK", "", &tag);
        }
        last
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tandem-context-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("billing.toml"), BILLING).expect("a file");
        Self(folder)
    }

    fn billing(&self) -> String {
        self.0.join("billing.toml").display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(folder: &Folder, webhook: &Webhook, more: &str) -> String {
    format!(
        "[agent]\nmore = [{:?}]\n[call_context]\nurl = \"http://{}/incoming\"\ntimeout_ms = 700\n\
         headers_in = {{ X-Customer-Id = \"customer_id\" }}\nheaders_out = {{ X-Customer-Id = \"customer_id\" }}\n{more}",
        folder.billing(),
        webhook.address
    )
}

/// Waits for a record that fits: records are written beside the calls.
fn record(served: &Served, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = served.records().into_iter().find(|record| fits(record)) {
            return found;
        }
        assert!(Instant::now() < until, "{what} is not among {:?}", served.records());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the agent of a call said first.
fn greeting(served: &Served, record: &Value) -> String {
    let id = record["id"].as_str().or(record["call"].as_str()).expect("a name").to_owned();
    let until = Instant::now() + PATIENCE;
    loop {
        let trace = served.trace(&[&id]);
        if let Some(said) = trace["turns"][0]["sentences"][0].as_str() {
            return said.to_owned();
        }
        assert!(Instant::now() < until, "nothing was said in {trace}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn by_billing(record: &Value) -> bool {
    record["agent"].as_str().is_some_and(|agent| agent.starts_with("billing "))
}

#[test]
fn a_webhook_chooses_the_agent_and_says_who_calls() {
    let folder = Folder::new("chooses");
    let agent = folder.billing();
    let says = json!({ "agent": agent, "variables": { "first_name": "Ann", "undeclared": "x" } });
    let webhook = Webhook::start(&says);
    let served = Served::start(2, &config(&folder, &webhook, ""));
    let answer = Phone::new(served.udp).call();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(answer.contains("X-Customer-Id: 4711"), "{answer}");
    let record = record(&served, "the call", by_billing);
    assert_eq!(greeting(&served, &record), "Hello Ann, this is billing.");
    let asked = webhook.asked.lock().expect("not poisoned")[0].clone();
    assert_eq!((asked["caller"].as_str(), asked["called"].as_str()), (Some("ann"), Some("desk")));
    assert_eq!(asked["variables"], json!({ "customer_id": "4711" }), "no other header is read");
}

#[test]
fn a_webhook_refuses_and_redirects() {
    let folder = Folder::new("refuses");
    let webhook = Webhook::start(&json!({ "action": "reject", "status": 486, "reason": "Not Now" }));
    let served = Served::start(1, &config(&folder, &webhook, ""));
    let answer = Phone::new(served.udp).call();
    assert!(answer.starts_with("SIP/2.0 486 Not Now"), "{answer}");
    webhook.say(Some(r#"{"action":"redirect","to":"sip:night@pbx.example"}"#));
    let answer = Phone::new(served.udp).call();
    assert!(answer.starts_with("SIP/2.0 302") && answer.contains("<sip:night@pbx.example>"), "{answer}");
    // The only slot has come back each time.
    webhook.say(Some("{}"));
    assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 200"));
    record(&served, "the refusal", |record| {
        record["end_cause"] == "context_refused" && record["sip_status"] == 486
    });
}

#[test]
fn without_an_answer_the_last_one_counts_and_else_the_trunks_agent_answers() {
    let folder = Folder::new("fallback");
    let webhook = Webhook::start(&json!({ "agent": "no such agent" }));
    let served = Served::start(4, &config(&folder, &webhook, ""));
    for nonsense in [Some("<html>"), Some("[]"), Some(r#"{"action":"explode"}"#), None] {
        webhook.say(nonsense);
        let phone = Phone::new(served.udp);
        assert!(phone.call().starts_with("SIP/2.0 200"), "{nonsense:?}");
    }
    assert!(!served.records().iter().any(by_billing));
    webhook.say(Some(&json!({ "agent": folder.billing() }).to_string()));
    assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 200"));
    webhook.say(None);
    assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 200"));
    let until = Instant::now() + PATIENCE;
    while served.records().iter().filter(|record| by_billing(record)).count() < 2 {
        assert!(Instant::now() < until, "{:?}", served.records());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_deployment_may_refuse_what_nobody_knows() {
    let folder = Folder::new("strict");
    let webhook = Webhook::start(&json!({}));
    webhook.say(None);
    let served = Served::start(1, &config(&folder, &webhook, "on_failure = \"reject\"\n"));
    assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 503"));
}

#[test]
fn a_caller_who_gives_up_while_somebody_is_asked_leaves_nothing_behind() {
    let folder = Folder::new("cancel");
    let webhook = Webhook::start(&json!({}));
    webhook.say(None);
    let slow = config(&folder, &webhook, "").replace("timeout_ms = 700", "timeout_ms = 10000");
    let served = Served::start(1, &slow);
    let phone = Phone::new(served.udp);
    phone.send("INVITE", "", "");
    phone.wait("SIP/2.0 100");
    // The task that all calls need does not wait for the webhook.
    let other = Phone::new(served.udp);
    assert!(other.call().starts_with("SIP/2.0 503"), "the one slot is held");
    phone.send("CANCEL", "", "");
    phone.wait("SIP/2.0 487");
    record(&served, "the cancelled call", |record| record["end_cause"] == "caller_cancelled");
    webhook.say(Some("{}"));
    assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 200"), "the slot has come back");
}

#[test]
fn an_agent_that_changes_is_heard_by_new_calls_and_a_mistake_changes_nothing() {
    let folder = Folder::new("reload");
    let webhook = Webhook::start(&json!({ "agent": folder.billing() }));
    let served = Served::start(4, &config(&folder, &webhook, ""));
    let said = || {
        let before = served.records().len();
        assert!(Phone::new(served.udp).call().starts_with("SIP/2.0 200"));
        let until = Instant::now() + PATIENCE;
        while served.records().len() <= before {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(50));
        }
        let record = served.records().pop().expect("the call");
        (greeting(&served, &record), record["agent"].as_str().unwrap_or_default().to_owned())
    };
    let (first, first_version) = said();
    assert_eq!(first, "Hello there, this is billing.");
    let wait = |word: &str| {
        let until = Instant::now() + PATIENCE;
        while !served.log().contains(word) {
            assert!(Instant::now() < until, "{word} is not in {}", served.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::fs::write(folder.billing(), BILLING.replace("greeting", "greting")).expect("a file");
    wait("agents stay as they were");
    let log = served.log();
    assert!(log.contains("billing.toml:4:1") && log.contains("`greeting`"), "{log}");
    assert_eq!(said(), (first, first_version.clone()));
    std::fs::write(folder.billing(), BILLING.replace("this is billing", "welcome to billing"))
        .expect("a file");
    wait("agents are read again");
    let (second, second_version) = said();
    assert_eq!(second, "Hello there, welcome to billing.");
    assert_ne!(first_version, second_version, "the record tells which text it was");
}

/// The same directory, another process: the one before was killed in the middle of the call.
#[test]
fn a_conversation_outlives_the_process_it_was_held_in() {
    let folder = Folder::new("killed");
    std::fs::write(
        folder.0.join("billing.toml"),
        "[agent]\nname = \"billing\"\ngreeting = \"Hello.\"\nwelcome_back = \"Let us go on.\"\n\
         [[slot]]\nname = \"pin\"\nkind = \"digits\"\nlength = 4\nprivate = true\nask = \"The PIN?\"\n\
         [[node]]\nname = \"pin\"\ncollect = [\"pin\"]\n[[node.exit]]\nto = \"known\"\nwhen = \"pin\"\n\
         [[node]]\nname = \"known\"\nsay = \"Thank you.\"\notherwise = \"Pardon?\"\n[[node.exit]]\nto = \"pin\"\nanswer = \"no\"\n",
    )
    .expect("a file");
    std::fs::write(folder.0.join("secret"), "a key of ours").expect("a file");
    let config = format!(
        "[agent]\nfile = {:?}\n[resume]\nminutes = 5\nsecret = \"file:{}\"\n",
        folder.billing(),
        folder.0.join("secret").display()
    );
    let served = Served::start(2, &config);
    let phone = Phone::new(served.udp);
    let tag = phone.answer();
    for key in ["1", "2", "3", "4"] {
        phone.press(&tag, key);
    }
    let sentence = |served: &Served, wanted: &str| {
        let until = Instant::now() + PATIENCE;
        while !served.trace(&["last"]).to_string().contains(wanted) {
            assert!(Instant::now() < until, "no {wanted} in {}", served.trace(&["last"]));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    sentence(&served, "Thank you.");
    // It is put away once it was heard.
    std::thread::sleep(Duration::from_secs(3));
    let data = served.kill(); // kill -9
    let database = std::fs::read(data.join("data/tandem.sqlite-wal")).unwrap_or_default();
    let kept = String::from_utf8_lossy(&database).into_owned();
    assert!(!kept.contains("1 2 3 4") && !kept.contains("\"pin\":\"1234\""), "a PIN is not kept");
    let served = Served::start_in(data, 2, &config);
    let again = Phone::new(served.udp);
    again.answer();
    sentence(&served, "Let us go on.");
    let trace = served.trace(&["last"]).to_string();
    assert!(
        trace.contains("Thank you.") && trace.contains("continued"),
        "it stands at the second node: {trace}"
    );
}
