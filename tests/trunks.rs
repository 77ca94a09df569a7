//! Trunks as their operator has them: registered, reachable, refused, passed over, full, and drained.
//! Two servers of ours speak with each other over loopback, as an office and its PBX would.

mod live;

use call::{
    CallId, Stamped,
    admission::PoolConfig,
    cdr::{Cause, Cdr},
};
use live::{Folder, LISTEN, Live, RawPhone, eventually, run, tandem};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::UdpSocket,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tandem::{
    call_actor::TraceSink,
    config::{Config, Overrides},
    server::{
        BuiltCall, CallBuilder, CallStart, NewCall, RecordSink, Refusal, Server, ServerConfig, Services,
    },
    trunks::{CallRequest, DialError, TrunkStates, Trunks},
};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 34998 RTP/AVP 0\r\n";
const PASSWORD: (&str, &str) = ("TANDEM_TEST_TRUNK_PASSWORD", "correct horse");
const WRONG: (&str, &str) = ("TANDEM_TEST_TRUNK_PASSWORD", "incorrect horse");

/// A server whose users register with it.
fn pbx() -> Live {
    let config = "[[trunk]]\nname = \"office\"\n[trunk.auth]\nregistrar = true\n\
                  users = [{ username = \"branch\", password = \"env:TANDEM_TEST_TRUNK_PASSWORD\" }]\n";
    Live::start_in(Folder::new(), config, &[PASSWORD])
}

/// The trunk of a server that registers with that one.
fn to_pbx(pbx: &Live) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\nprofile = \"asterisk\"\n[trunk.signalling]\noutbound = [\"sip:{}\"]\n\
         [trunk.auth]\nusername = \"branch\"\npassword = \"env:TANDEM_TEST_TRUNK_PASSWORD\"\n\
         [trunk.timers]\noptions_ping_seconds = 1\n",
        pbx.sip
    )
}

/// A server with more settings in `[sip]` than its address.
fn with_sip(sip: &str, rest: &str) -> Live {
    let folder = Folder::new();
    let file = folder.write_config(rest);
    let text = std::fs::read_to_string(&file).expect("its config");
    let file = folder.write("tandem.toml", &text.replace("[sip]\n", &format!("[sip]\n{sip}\n")));
    Live::start_with(folder, &file, &[])
}

fn trunk(live: &Live, name: &str) -> Value {
    let (status, body) = live.get("/trunks");
    assert_eq!(status, 200);
    let list: Value = serde_json::from_str(&body).expect("JSON");
    let found = list["trunks"].as_array().into_iter().flatten().find(|trunk| trunk["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {body}")).clone()
}

/// Waits until a trunk is as it should be.
fn until(live: &Live, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(trunk(live, name)).filter(|trunk| is(trunk)))
}

#[test]
fn a_server_registers_with_another_calls_it_by_digest_and_leaves_it() {
    let pbx = pbx();
    let mut branch = Live::start_in(Folder::new(), &to_pbx(&pbx), &[PASSWORD]);
    until(&branch, "pbx", "it is registered", |trunk| trunk["registration"]["state"] == "registered");
    until(&branch, "pbx", "it is reachable", |trunk| trunk["reachable"] == true && trunk["rtt_ms"].is_f64());
    until(&pbx, "office", "the other side knows", |trunk| trunk["bindings"] == 1);
    assert!(branch.figure("tandem_trunk_registered{trunk=\"pbx\"}") > 0.5, "{}", branch.metrics());
    let (code, table) = run(&mut tandem(&["trunks", "--api", &format!("http://{}", branch.http)]));
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("pbx") && table.contains("asterisk") && table.contains("until "), "{table}");

    let config = branch.folder.0.join("tandem.toml").display().to_string();
    let script = branch.folder.write("script.toml", &format!("steps = [{LISTEN}, {{ hang_up = true }}]"));
    let script = script.display().to_string();
    let arguments =
        ["call", "100", "--trunk", "pbx", "--config", &config, "--script", &script, "--limit", "60"];
    let (code, text) = run(tandem(&arguments).env(PASSWORD.0, PASSWORD.1));
    assert_eq!(code, 0, "{text}");
    let record = pbx.last_record();
    assert_eq!(
        (&record["trunk"], &record["end_cause"]),
        (&"office".into(), &"caller_hung_up".into()),
        "{record}"
    );
    let (code, text) = run(tandem(&arguments).env(WRONG.0, WRONG.1));
    assert_ne!(code, 0);
    assert!(text.contains("pbx by udp:") && !text.contains("horse"), "{text}");

    branch.signal(Signal::TERM);
    assert_eq!(branch.ended().code(), Some(0));
    until(&pbx, "office", "it has un-registered", |trunk| trunk["bindings"] == 0);
}

#[test]
fn a_wrong_password_is_told_and_stops_nothing_else() {
    let pbx = pbx();
    let broken = "[[trunk]]\nname = \"lost\"\n[trunk.signalling]\noutbound = [\"sip:nowhere.invalid\"]\n\
                  [trunk.timers]\noptions_ping_seconds = 1\n";
    let config = format!("{}{broken}", to_pbx(&pbx));
    let branch = Live::start_in(Folder::new(), &config, &[WRONG]);
    let failed = |trunk: &Value| trunk["registration"]["state"] == "failed";
    let pbx_trunk = until(&branch, "pbx", "the registration fails", failed);
    let reason = pbx_trunk["last_failure"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("REGISTER") && !reason.contains("horse"), "{reason}");
    assert!(pbx_trunk["registration"]["retry_at"].is_string(), "{pbx_trunk}");
    until(&branch, "lost", "the name is not found", |trunk| {
        trunk["last_failure"]["reason"].as_str().is_some_and(|reason| reason.contains("nowhere.invalid"))
    });
    assert!(branch.call(&format!("{LISTEN}, {{ hang_up = true }}")).is_good(), "the others work");
}

/// A place that answers every INVITE with this status, or not at all.
fn refuser(status: Option<u16>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = socket.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (Some(status), true) = (status, text.starts_with("INVITE ")) else { continue };
            let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let lines = text.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
            let tagged =
                |line: &str| if line.starts_with("To:") { format!("{line};tag=r") } else { line.to_owned() };
            let head = format!("SIP/2.0 {status} No\r\n");
            let answer =
                lines.fold(head, |text, line| text + &tagged(line) + "\r\n") + "Content-Length: 0\r\n\r\n";
            let _nobody_may_listen = socket.send_to(answer.as_bytes(), peer);
        }
    });
    port
}

#[test]
fn a_call_goes_on_to_the_next_target_when_one_refuses_and_one_is_silent() {
    let live = Live::start("");
    let (busy, silent) = (refuser(Some(503)), refuser(None));
    let outbound = |port: u16| format!("sip:127.0.0.1:{port};transport=udp");
    let config = format!(
        "[[trunk]]\nname = \"carrier\"\nsources = [\"192.0.2.1\"]\n[trunk.signalling]\nfirst_response_ms = 800\n\
         outbound = [{:?}, {:?}, {:?}]\n",
        outbound(busy),
        outbound(silent),
        outbound(live.sip.port())
    );
    let config = live.folder.write("trunk.toml", &config).display().to_string();
    let script = live.folder.write("script.toml", &format!("steps = [{LISTEN}, {{ hang_up = true }}]"));
    let script = script.display().to_string();
    let call = |number: &str| {
        run(&mut tandem(&["call", number, "--trunk", "carrier", "--config", &config, "--script", &script]))
    };
    let (code, text) = call("+4930123456");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("carrier by udp:127.0.0.1:{busy}: 503")), "{text}");
    assert!(text.contains(&format!("carrier by udp:127.0.0.1:{silent}: 408")), "{text}");

    let final_answer = format!(
        "[[trunk]]\nname = \"carrier\"\nsources = [\"192.0.2.1\"]\n[trunk.signalling]\noutbound = [{:?}, {:?}]\n",
        outbound(refuser(Some(486))),
        outbound(live.sip.port())
    );
    live.folder.write("trunk.toml", &final_answer);
    let (code, text) = call("+4930123456");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("486") && text.contains("refused"), "busy is busy everywhere: {text}");
    let (code, text) = run(&mut tandem(&["call", "1", "--trunk", "carier", "--config", &config]));
    assert_eq!(code, 2);
    assert!(text.contains("there is no trunk `carier`; there are: carrier"), "{text}");
}

#[test]
fn a_stranger_gets_what_the_operator_chose_and_the_log_says_why() {
    let closed = "[[trunk]]\nname = \"carrier\"\nsources = [\"192.0.2.0/24\"]\n";
    for (policy, status) in [("", 403), ("unmatched = \"403\"", 403), ("unmatched = \"404\"", 404)] {
        let live = with_sip(policy, closed);
        assert_eq!(RawPhone::new(live.sip).request("INVITE", Some(OFFER)), status, "{policy}");
        eventually("the log says why", || {
            let log = live.log();
            (log.contains("no trunk takes this call") && log.contains("unknown_source")).then_some(())
        });
        assert!(!live.log().contains("sip:raw"), "nobody's number is in the log");
    }
    let live = with_sip("unmatched = \"silent\"", closed);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let me = socket.local_addr().expect("it is bound");
    let invite = format!(
        "INVITE sip:x@{0} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKs1\r\nMax-Forwards: 70\r\n\
         From: <sip:s@{me}>;tag=1\r\nTo: <sip:x@{0}>\r\nCall-ID: s1@test\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:s@{me}>\r\nContent-Length: 0\r\n\r\n",
        live.sip
    );
    socket.send_to(invite.as_bytes(), live.sip).expect("it is sent");
    eventually("it was looked at", || live.log().contains("unknown_source").then_some(()));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    assert!(socket.recv_from(&mut [0; 2_000]).is_err(), "not a word");
}

#[test]
fn route_test_says_which_trunk_and_agent_and_which_rule_decided() {
    let folder = Folder::new();
    let text = "[[trunk]]\nname = \"carrier\"\nprofile = \"twilio\"\ncalled = [\"+4930\"]\n\
                [[trunk]]\nname = \"office\"\nhosts = [\"pbx.example\"]\n[trunk.auth]\nregistrar = true\n\
                users = [{ username = \"u\", password = \"env:TANDEM_TEST_UNSET\" }]\n";
    let file = folder.write_config(text).display().to_string();
    let ask = |more: &[&str]| {
        let arguments = ["route-test", "--config", &file, "--from", "4917012345"];
        run(tandem(&arguments).args(more))
    };
    let (code, text) = ask(&["--to", "+4930123", "--source", "54.172.60.1"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("The trunk `carrier` takes it; the agent `agent.toml`"), "{text}");
    assert!(
        text.contains("54.172.60.0/30") && text.lines().any(|line| line.starts_with("  office: ")),
        "{text}"
    );
    let (code, text) = ask(&["--to", "100", "--source", "198.51.100.9:5070", "--host", "pbx.example"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("The trunk `office` takes it once its digest is right"), "{text}");
    let (code, text) = ask(&["--to", "+4940123", "--source", "54.172.60.1"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("unknown_number"), "{text}");
    let (code, text) = ask(&["--to", "100", "--source", "carrier.example"]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn over_its_channels_a_trunk_answers_as_it_says_and_overflows_to_another_agent() {
    let config = "[[trunk]]\nname = \"small\"\noverflow_agent = \"agent.toml\"\n\
                  [trunk.limits]\nmax_channels = 1\n[trunk.at_cap]\nstatus = 486\noverflow_slots = 1\n";
    let live = Live::start(config);
    let first = live.dial(&format!("{LISTEN}, {{ pause_ms = 15000 }}, {{ hang_up = true }}"));
    live.running_call();
    let second = live.dial(&format!("{LISTEN}, {{ pause_ms = 15000 }}, {{ hang_up = true }}"));
    until(&live, "small", "the second call overflows", |trunk| trunk["calls"] == 1 && trunk["overflow"] == 1);
    let mut phone = RawPhone::new(live.sip);
    assert_eq!(phone.request("INVITE", Some(OFFER)), 486);
    assert!(!phone.answer.contains("Retry-After"), "{}", phone.answer);
    assert!(first.hung_up().is_good() && second.hung_up().is_good());
    until(&live, "small", "all slots are free", |trunk| trunk["calls"] == 0 && trunk["overflow"] == 0);
    assert!(live.figure("tandem_trunk_refused_total{trunk=\"small\",limit=\"max_channels\"}") > 1.5);
}

#[test]
fn a_full_trunk_may_redirect() {
    let config = "[[trunk]]\nname = \"small\"\n[trunk.limits]\nmax_cps = 1\n\
                  [trunk.at_cap]\nstatus = 302\nredirect = \"sip:other.example\"\n";
    let live = Live::start(config);
    let mut phone = RawPhone::new(live.sip);
    let answers: BTreeSet<u16> = eventually("one call too many in a second", || {
        let answers: BTreeSet<u16> = (0..3).map(|_| phone.request("INVITE", Some(OFFER))).collect();
        answers.contains(&302).then_some(answers)
    });
    assert!(answers.is_subset(&BTreeSet::from([200, 302])), "{answers:?}");
    let mut last = || (phone.request("INVITE", Some(OFFER)), phone.answer.clone());
    let redirected = eventually("a redirection", || Some(last()).filter(|(status, _)| *status == 302));
    assert!(redirected.1.contains("Contact: <sip:other.example>"), "{}", redirected.1);
}

#[test]
fn told_to_stop_running_calls_go_on_to_their_own_end() {
    let folder = Folder::new();
    let file = folder.write_config("");
    let text = std::fs::read_to_string(&file).expect("its config");
    let file = folder.write("tandem.toml", &text.replace("drain_seconds = 0", "drain_seconds = 600"));
    let mut live = Live::start_with(folder, &file, &[]);
    let call = live.dial(&format!("{LISTEN}, {{ pause_ms = 4000 }}, {{ hang_up = true }}"));
    live.running_call();
    let told = Instant::now();
    live.signal(Signal::TERM);
    eventually("it drains", || (live.get("/health").0 == 503).then_some(()));
    let mut phone = RawPhone::new(live.sip);
    assert_eq!(phone.request("INVITE", Some(OFFER)), 503);
    assert!(phone.answer.contains("Retry-After:"), "{}", phone.answer);
    assert_eq!(phone.request("OPTIONS", None), 503);
    assert!(call.hung_up().is_good(), "the call was cut off");
    assert_eq!(live.ended().code(), Some(0), "{}", live.log());
    assert!(told.elapsed() < Duration::from_secs(300), "an empty server does not wait");
    let reader = tandem::store::Reader::open(&live.data()).expect("a database");
    let filter = tandem::store::CallFilter { limit: 10, ..Default::default() };
    let calls = reader.calls(&filter).expect("it can be read");
    let causes: BTreeSet<_> = calls.iter().filter_map(|call| call.end_cause.clone()).collect();
    assert_eq!(causes, BTreeSet::from(["caller_hung_up".to_owned(), "draining".to_owned()]));
}

// ---- calls of ours ----

/// A server that takes no calls and keeps nothing.
struct Nobody;

/// Keeps the records of ended calls.
#[derive(Default)]
struct Ended(Mutex<Vec<Cdr>>);

impl RecordSink for Ended {
    fn begin(&self, _: &Cdr, start: CallStart) {
        (start.recorded)();
    }
    fn end(&self, cdr: &Cdr) {
        self.0.lock().expect("nobody panicked").push(cdr.clone());
    }
}

impl CallBuilder for Nobody {
    fn build(&self, _: Instant, _: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        Err(Refusal { status: 480, cause: Cause::NoTrunk })
    }
}

impl RecordSink for Nobody {
    fn begin(&self, _: &Cdr, start: CallStart) {
        (start.recorded)();
    }
    fn end(&self, _: &Cdr) {}
}

impl TraceSink for Nobody {
    fn record(&self, _: CallId, _: Stamped) {}
}

fn outgoing_server() -> Server {
    pooled_server(Vec::new(), Arc::new(Nobody))
}

fn pooled_server(pools: Vec<PoolConfig>, records: Arc<dyn RecordSink>) -> Server {
    let nobody = Arc::new(Nobody);
    let services = Services { calls: nobody.clone(), records, trace: nobody };
    let address = "127.0.0.1:0".parse().expect("an address");
    let config = ServerConfig { sip: vec![(sip::Transport::Udp, address)], pools, ..ServerConfig::default() };
    Server::start(config, services).expect("loopback")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_of_ours_holds_exactly_one_port_and_gives_it_back() {
    let live = Live::start("");
    let trunk = |name: &str, port: u16| {
        format!(
            "[[trunk]]\nname = \"{name}\"\n[trunk.signalling]\nfirst_response_ms = 30000\n\
             outbound = [\"sip:127.0.0.1:{port};transport=udp\"]\n[trunk.timers]\noptions_ping_seconds = 0\n"
        )
    };
    let text = [
        trunk("full", refuser(Some(503))),
        trunk("good", live.sip.port()),
        trunk("silent", refuser(None)),
        "[trunk_groups]\nall = [\"full\", \"good\"]\n".to_owned(),
    ]
    .concat();
    let file = live.folder.write("ports.toml", &text);
    let config = Arc::new(Config::load(Some(&file), &Overrides::default()).expect("valid"));
    let records = Arc::new(Ended::default());
    let pool = PoolConfig { outbound_max: Some(1), ..PoolConfig::new("main", 10) };
    let server = pooled_server(vec![pool], records.clone());
    let events = server.outgoing_events().expect("nobody else has asked");
    let trunks = Trunks::start(Arc::clone(&config), server.sip_link(), events, TrunkStates::new(&config));
    let dialer = trunks.dialer();
    let offer = |flow: &sip::Flow| OFFER.replace("127.0.0.1", &flow.local.ip().to_string());
    let call = |to: &str| CallRequest { to: to.to_owned(), number: "100".to_owned(), caller: None };
    let mut status = server.status();

    // Two trunks are tried for one call: one port.
    let leg = dialer.call(&call("all"), &offer, &|_, _, _| {}).await.expect("the second takes it");
    assert_eq!(status.wait_for(|status| status.calls > 0).await.expect("it runs").calls, 1);
    let second = dialer.call(&call("good"), &offer, &|_, _, _| {}).await;
    let Err(DialError::NoPort(reason)) = second else { panic!("only one of ours at a time") };
    assert!(reason.contains("outbound_max"), "{reason}");
    server.sip_link().command(sip::Command::Bye { dialog: leg.dialog, reason: None });
    drop(leg);
    status.wait_for(|status| status.calls == 0).await.expect("it runs");

    // Whoever stops waiting for the answer gives the port back as well.
    let silent = call("silent");
    let given_up = dialer.call(&silent, &offer, &|_, _, _| {});
    let given_up = tokio::time::timeout(Duration::from_millis(300), given_up);
    assert!(given_up.await.is_err(), "nobody answers there");
    status.wait_for(|status| status.calls == 0).await.expect("it runs");
    let leg = dialer.call(&call("good"), &offer, &|_, _, _| {}).await.expect("there is room again");
    drop(leg);
    status.wait_for(|status| status.calls == 0).await.expect("it runs");
    assert_eq!((status.borrow().busiest, status.borrow().leaked), (1, 0));

    let ended = std::mem::take(&mut *records.0.lock().expect("nobody panicked"));
    let told: Vec<_> = ended
        .iter()
        .map(|cdr| {
            (cdr.cause.as_deref().unwrap_or(""), cdr.sip_status, cdr.other_legs.len(), cdr.is_outbound)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ports_full", None, 0, true),
            ("agent_ended", Some(200), 1, true),
            ("caller_cancelled", None, 0, true),
            ("agent_ended", Some(200), 0, true),
        ]
    );
    let first = &ended[1];
    assert_eq!((first.arrival.trunk.as_str(), first.pool.as_deref()), ("good", Some("main")));
    assert_eq!((first.other_legs[0].trunk.as_deref(), first.other_legs[0].status), (Some("full"), Some(503)));
    drop(trunks);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_calls_go_through_a_group_of_trunks_until_one_takes_them() {
    let live = Live::start("");
    let trunk = |name: &str, port: u16| {
        format!(
            "[[trunk]]\nname = \"{name}\"\n[trunk.signalling]\nfirst_response_ms = 800\n\
             outbound = [\"sip:127.0.0.1:{port};transport=udp\"]\n[trunk.timers]\noptions_ping_seconds = 0\n"
        )
    };
    let text = [
        trunk("full", refuser(Some(503))),
        trunk("silent", refuser(None)),
        trunk("good", live.sip.port()),
        trunk("busy", refuser(Some(486))),
        "[trunk_groups]\nall = [\"full\", \"silent\", \"good\"]\nended = [\"busy\", \"good\"]\n".to_owned(),
    ]
    .concat();
    let file = live.folder.write("outgoing.toml", &text);
    let config = Arc::new(Config::load(Some(&file), &Overrides::default()).expect("valid"));
    let server = outgoing_server();
    let states = TrunkStates::new(&config);
    let events = server.outgoing_events().expect("nobody else has asked");
    let mut trunks = Trunks::start(config, server.sip_link(), events, states.clone());
    let dialer = trunks.dialer();
    let offer = |flow: &sip::Flow| OFFER.replace("127.0.0.1", &flow.local.ip().to_string());
    let call = |to: &str| CallRequest { to: to.to_owned(), number: "100".to_owned(), caller: None };

    let mut leg = dialer.call(&call("all"), &offer, &|_, _, _| {}).await.expect("the third takes it");
    assert_eq!(leg.trunk, "good");
    assert!(leg.sdp.is_some_and(|sdp| sdp.contains("m=audio")));
    server.sip_link().command(sip::Command::Bye { dialog: leg.dialog, reason: None });
    while let Some(event) = leg.events.recv().await {
        if matches!(event, sip::Event::Ended { .. }) {
            break;
        }
    }
    let count = |trunk: &str, result: &str| states.get(trunk).expect("it is there").attempts[result];
    assert_eq!(
        (count("full", "failed_over"), count("silent", "no_answer"), count("good", "answered")),
        (1, 1, 1)
    );
    let reason = states.get("full").and_then(|state| state.last_failure).expect("it failed").reason;
    assert!(reason.contains("503"), "{reason}");

    let Err(DialError::Failed(attempts)) = dialer.call(&call("ended"), &offer, &|_, _, _| {}).await else {
        panic!("busy is busy, whoever is asked next")
    };
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(486)]);
    assert!(matches!(dialer.call(&call("nowhere"), &offer, &|_, _, _| {}).await, Err(DialError::NoTrunk(_))));
    trunks.stop().await;
    let refused = dialer.call(&call("good"), &offer, &|_, _, _| {}).await;
    assert_eq!(refused.err(), Some(DialError::Draining));
    drop(trunks);
    server.stop().await;
}
