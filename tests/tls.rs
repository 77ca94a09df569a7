//! SIP over TLS on loopback: whom we believe, whose connection is used for whom, and what strangers cannot do.
//! Certificates are made by the test. Nothing here depends on how fast anything is.

mod wire;

use sip::{Command, Event, Transport};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};
use tandem::sip_transport::{SipTransportConfig, Tls, TlsConfig, tls::Reload};
use wire::{Authority, LOOPBACK, Node, PATIENCE, Setup, count, eventually, garbage};

const CARRIER: &str = "carrier.example";

/// Answers over TLS as `names`.
fn server(authority: &Authority, names: &[&str]) -> Node {
    let tls = TlsConfig { server: Some(authority.issue("server", names)), ..TlsConfig::default() };
    Node::start(Setup { listen: vec![Transport::Udp, Transport::Tls], tls, ..Setup::default() })
}

/// Calls over TLS whom the authority has signed.
fn client(authority: &Authority) -> Node {
    let tls = TlsConfig { ca: Some(authority.ca()), ..TlsConfig::default() };
    Node::start(Setup { listen: vec![Transport::Udp], tls, ..Setup::default() })
}

fn flow_to(client: &Node, address: SocketAddr, name: &str) -> sip::Flow {
    client.handle.flow(Transport::Tls, address, Some(name)).expect("loopback can be reached")
}

#[test]
fn a_call_over_tls_begins_and_ends_like_any_other() {
    let authority = Authority::new();
    let (server, client) = (server(&authority, &[CARRIER]), client(&authority));
    let flow = flow_to(&client, server.address(Transport::Tls), CARRIER);
    let dialog = client.answered_call(flow);
    let arrival = server.arrival();
    assert_eq!(arrival.flow.transport, Transport::Tls);
    let via = arrival.headers.iter().find(|(name, _)| name == "Via").map(|(_, via)| via.clone());
    assert!(via.expect("a Via").starts_with("SIP/2.0/TLS "));
    client.hang_up(dialog);
    client.ended(dialog);
    server.ended(arrival.dialog);
    assert_eq!(count(&client.handle.counters().connections_out), 1, "all of it over one connection");
}

#[test]
fn the_server_hangs_up_over_the_callers_connection() {
    let authority = Authority::new();
    let (server, client) = (server(&authority, &[CARRIER]), client(&authority));
    let dialog = client.answered_call(flow_to(&client, server.address(Transport::Tls), CARRIER));
    let arrival = server.arrival();
    server.event("an ACK", |event| matches!(event, Event::Acked { .. }).then_some(()));
    server.hang_up(arrival.dialog);
    client.ended(dialog);
    server.ended(arrival.dialog);
}

#[test]
fn a_certificate_for_another_name_too_old_or_from_a_stranger_is_refused() {
    let authority = Authority::new();
    let caller = client(&authority);
    let listen = vec![Transport::Tls];
    let refused = |what: &str, identity| {
        let tls = TlsConfig { server: Some(identity), ..TlsConfig::default() };
        let server = Node::start(Setup { listen: listen.clone(), tls, ..Setup::default() });
        let flow = flow_to(&caller, server.address(Transport::Tls), CARRIER);
        let error = caller.connect(flow).expect_err(what).to_string();
        assert!(error.contains("certificate"), "{what}: {error}");
        assert_eq!(caller.failed_call(flow), 503, "{what}");
        let nameless = caller.handle.flow(Transport::Tls, server.address(Transport::Tls), None);
        assert!(caller.connect(nameless.expect("loopback")).is_err(), "{what}: nor for its address");
    };
    refused("another name", authority.issue("other", &["other.example"]));
    refused("too old", authority.issue_until("old", &[CARRIER], 2020));
    let stranger = Authority::new();
    refused("a stranger's", stranger.issue("stranger", &[CARRIER]));
}

#[test]
fn an_address_is_a_name_too_if_the_certificate_says_so() {
    let authority = Authority::new();
    let (server, client) = (server(&authority, &["127.0.0.1"]), client(&authority));
    let flow = client.handle.flow(Transport::Tls, server.address(Transport::Tls), None).expect("loopback");
    client.answered_call(flow);
}

#[test]
fn ipv6_is_as_good_as_ipv4() {
    let at = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("not tried: this machine has no IPv6");
        return;
    }
    let authority = Authority::new();
    let tls = TlsConfig {
        server: Some(authority.issue("server", &["::1"])),
        ca: Some(authority.ca()),
        ..TlsConfig::default()
    };
    let listen = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
    let node = || Node::start(Setup { listen: listen.clone(), at, tls: tls.clone(), ..Setup::default() });
    let (server, client) = (node(), node());
    for transport in listen.clone() {
        let flow = client.handle.flow(transport, server.address(transport), None).expect("loopback");
        let dialog = client.answered_call(flow);
        let arrival = server.arrival();
        let contact =
            arrival.headers.iter().find(|(name, _)| name == "Contact").map(|(_, value)| value.clone());
        assert!(contact.expect("a Contact").starts_with("<sip:[::1]:"));
        client.hang_up(dialog);
        server.ended(arrival.dialog);
    }
}

#[test]
fn where_clients_need_a_certificate_only_those_who_have_one_can_call() {
    let authority = Authority::new();
    let tls = TlsConfig {
        server: Some(authority.issue("server", &[CARRIER])),
        client_ca: Some(authority.ca()),
        ..TlsConfig::default()
    };
    let server = Node::start(Setup { listen: vec![Transport::Tls], tls, ..Setup::default() });
    let without = client(&authority);
    assert_eq!(without.failed_call(flow_to(&without, server.address(Transport::Tls), CARRIER)), 503);
    let tls = TlsConfig {
        ca: Some(authority.ca()),
        client: Some(authority.issue("client", &["pbx.example"])),
        ..TlsConfig::default()
    };
    let with = Node::start(Setup { listen: vec![Transport::Udp], tls, ..Setup::default() });
    with.answered_call(flow_to(&with, server.address(Transport::Tls), CARRIER));
    assert_eq!(count(&server.handle.counters().handshakes_failed), 1);
}

#[test]
fn one_name_has_one_connection_and_two_names_at_an_address_have_two() {
    let authority = Authority::new();
    let server = server(&authority, &["one.example", "two.example"]);
    let client = client(&authority);
    let address = server.address(Transport::Tls);
    let one = client.connect(flow_to(&client, address, "one.example")).expect("a connection");
    let again = client.connect(flow_to(&client, address, "ONE.example")).expect("the same connection");
    let two = client.connect(flow_to(&client, address, "two.example")).expect("another connection");
    assert_eq!(one, again);
    assert_ne!(one.connection, two.connection);
    assert_eq!(count(&client.handle.counters().connections_out), 2);
    let stranger = client.connect(flow_to(&client, address, "three.example"));
    assert!(stranger.is_err(), "an open connection to that address proves nothing of a third name");
}

#[test]
fn new_certificates_are_used_while_a_connection_stays() {
    let authority = Authority::new();
    let server = server(&authority, &["old.example"]);
    let client = client(&authority);
    let address = server.address(Transport::Tls);
    let dialog = client.answered_call(flow_to(&client, address, "old.example"));
    let arrival = server.arrival();
    // A file that is no certificate changes nothing but a counter.
    let file = authority.folder.0.join("server.pem");
    std::fs::write(&file, "nonsense").expect("a file");
    eventually("the nonsense is seen", || {
        (count(&server.handle.counters().certificates_refused) > 0).then_some(())
    });
    // The certificate from before still serves those who connect now.
    let other = self::client(&authority);
    other.answered_call(flow_to(&other, address, "old.example"));
    authority.issue("server", &["new.example"]);
    eventually("the new certificate is shown", || {
        client.connect(flow_to(&client, address, "new.example")).ok()
    });
    assert!(other_client_is_refused(&authority, address, "old.example"));
    client.hang_up(dialog);
    client.ended(dialog);
    server.ended(arrival.dialog);
}

fn other_client_is_refused(authority: &Authority, address: SocketAddr, name: &str) -> bool {
    let client = client(authority);
    client.connect(flow_to(&client, address, name)).is_err()
}

#[test]
fn certificates_are_read_again_when_told_to_even_if_their_files_look_the_same() {
    let authority = Authority::new();
    let config = TlsConfig { server: Some(authority.issue("server", &[CARRIER])), ..TlsConfig::default() };
    let tls = Tls::load(config.clone()).expect("good files");
    assert!(matches!(tls.reload(false), Reload::Unchanged));
    assert!(matches!(tls.reload(true), Reload::Done));
    std::fs::remove_file(authority.folder.0.join("server-key.pem")).expect("it is there");
    assert!(matches!(tls.reload(false), Reload::Refused(_)));
    assert!(tls.can_accept());
    let error = Tls::load(config).err().expect("no key").to_string();
    assert!(error.contains("server-key.pem"), "{error}");
}

#[test]
fn a_goodbye_finds_its_way_after_the_connection_was_lost() {
    let authority = Authority::new();
    let server = server(&authority, &[CARRIER]);
    let relay = Relay::to(server.address(Transport::Tls));
    let client = client(&authority);
    let dialog = client.answered_call(flow_to(&client, relay.address, CARRIER));
    let arrival = server.arrival();
    server.event("an ACK", |event| matches!(event, Event::Acked { .. }).then_some(()));
    relay.cut();
    eventually("the loss is noticed", || {
        (count(&client.handle.counters().connections_open) == 0).then_some(())
    });
    client.hang_up(dialog);
    server.event("BYE", |event| matches!(event, Event::Bye { .. }).then_some(()));
    server.ended(arrival.dialog);
    client.ended(dialog);
    assert_eq!(count(&client.handle.counters().connections_out), 2);
}

/// Passes streams on until it cuts those that are open.
struct Relay {
    address: SocketAddr,
    open: std::sync::Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let open = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let streams = std::sync::Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(target).expect("it listens");
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                streams.lock().expect("not poisoned").extend([clone(&near), clone(&far)]);
                let (mut from, mut to) = (clone(&near), clone(&far));
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let (mut from, mut to) = (far, near);
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        });
        Self { address, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn a_failed_connection_ends_the_call_at_once_and_not_after_its_timers() {
    let authority = Authority::new();
    let client = client(&authority);
    let nobody = TcpListener::bind((LOOPBACK, 0)).and_then(|listener| listener.local_addr()).expect("a port");
    for transport in [Transport::Tls, Transport::Tcp] {
        let flow = client.handle.flow(transport, nobody, None).expect("loopback");
        assert_eq!(client.failed_call(flow), 503);
    }
    assert_eq!(count(&client.handle.counters().connections_failed), 2);
    let flow = client.handle.flow(Transport::Wss, nobody, None).expect("loopback");
    assert_eq!(client.failed_call(flow), 503, "nobody is called over WebSocket");
}

#[test]
fn handshakes_that_never_end_are_cut_and_hurt_nobody() {
    let authority = Authority::new();
    let tls = TlsConfig { server: Some(authority.issue("server", &[CARRIER])), ..TlsConfig::default() };
    let limits = SipTransportConfig {
        handshake_deadline: Duration::from_millis(500),
        max_connections_per_address: 40,
        ..SipTransportConfig::default()
    };
    let server = Node::start(Setup { listen: vec![Transport::Udp, Transport::Tls], tls, limits, at: None });
    let address = server.address(Transport::Tls);
    let mut half_open: Vec<TcpStream> =
        (0..32).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    // Half of them drip: the first bytes of a ClientHello, one by one, until they are cut.
    let dripping: Vec<_> = half_open
        .drain(16..)
        .map(|mut stream| {
            std::thread::spawn(move || {
                let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
                for byte in hello.chunks(1).cycle() {
                    if stream.write_all(byte).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        })
        .collect();
    let client = client(&authority);
    client.answered_call(flow_to(&client, address, CARRIER));
    for mut stream in half_open {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        assert!(
            !matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
    }
    dripping.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(count(&server.handle.counters().handshakes_failed), 32);
}

#[test]
fn idle_connections_do_not_stop_calls_over_udp_nor_those_that_we_open() {
    let (soft, _) = limit_of_files();
    let idle = usize::try_from(soft.saturating_sub(300) / 2).unwrap_or(0).min(2_000);
    let limits = SipTransportConfig {
        max_connections: idle,
        max_connections_per_address: idle,
        ..SipTransportConfig::default()
    };
    let listen = vec![Transport::Udp, Transport::Tcp];
    let server = Node::start(Setup { listen, limits, ..Setup::default() });
    let address = server.address(Transport::Tcp);
    let held: Vec<TcpStream> = (0..idle).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let counters = server.handle.counters();
    eventually("all have been seen", || {
        let seen = count(&counters.connections_in) + count(&counters.connections_refused);
        (seen == idle as u64).then_some(())
    });
    assert_eq!(count(&counters.connections_refused), (idle / 8) as u64, "an eighth is kept for ours");
    let caller = Node::start(Setup { listen: vec![Transport::Udp, Transport::Tcp], ..Setup::default() });
    let to_server = caller.handle.udp_flow(server.address(Transport::Udp)).expect("loopback");
    caller.answered_call(to_server);
    let to_caller =
        server.handle.flow(Transport::Tcp, caller.address(Transport::Tcp), None).expect("loopback");
    server.answered_call(to_caller);
    drop(held);
}

/// Open files that are allowed: soft and hard.
fn limit_of_files() -> (u64, u64) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

#[test]
fn garbage_on_any_listener_ends_nothing() {
    let authority = Authority::new();
    let tls = TlsConfig { server: Some(authority.issue("server", &[CARRIER])), ..TlsConfig::default() };
    // Connections that were cut may not be closed yet when the call comes: there must be room for all of them.
    let limits = SipTransportConfig { max_connections_per_address: 1_024, ..SipTransportConfig::default() };
    let server = Node::start(Setup { listen: Transport::ALL.to_vec(), tls, limits, ..Setup::default() });
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
    let begin = [
        "",
        "INVITE sip:a SIP/2.0\r\n",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\n",
        "\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ];
    for round in 0..60_u64 {
        let mut bytes = begin[round as usize % begin.len()].as_bytes().to_vec();
        bytes.extend(garbage(round as usize * 37 % 1_300, round));
        socket.send_to(&bytes, server.address(Transport::Udp)).expect("loopback");
        for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
            let mut stream = TcpStream::connect(server.address(transport)).expect("it listens");
            let _ = stream.write_all(&bytes); // It may have been cut already.
        }
    }
    let client = client(&authority);
    client.answered_call(flow_to(&client, server.address(Transport::Tls), CARRIER));
    client.answered_call(client.handle.udp_flow(server.address(Transport::Udp)).expect("loopback"));
    assert_eq!(count(&server.handle.counters().panics), 0);
}

#[test]
fn we_ping_on_connections_that_we_open_and_leave_a_peer_that_stops_answering() {
    let limits =
        SipTransportConfig { keep_alive: Some(Duration::from_millis(100)), ..SipTransportConfig::default() };
    let client = Node::start(Setup { listen: vec![Transport::Tcp], limits, ..Setup::default() });
    let peer = TcpListener::bind((LOOPBACK, 0)).expect("loopback has ports");
    let flow = client.handle.flow(Transport::Tcp, peer.local_addr().expect("bound"), None).expect("loopback");
    client.connect(flow).expect("it listens");
    let (mut stream, _) = peer.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut ping = [0; 4];
    // Three pings without an answer: many peers never answer, and their connections stay.
    for _ in 0..3 {
        stream.read_exact(&mut ping).expect("a ping");
        assert_eq!(&ping, b"\r\n\r\n");
    }
    stream.write_all(b"\r\n").expect("it reads");
    // Now it is known to answer, and does no more: the connection ends.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end");
    assert!(rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')));
    eventually("it is counted", || {
        (count(&client.handle.counters().keep_alives_unanswered) == 1).then_some(())
    });
}

#[test]
fn a_bye_on_a_new_connection_ends_the_call() {
    let server = Node::start(Setup { listen: vec![Transport::Tcp], ..Setup::default() });
    let client = Node::start(Setup { listen: vec![Transport::Tcp], ..Setup::default() });
    let relay = Relay::to(server.address(Transport::Tcp));
    let dialog =
        client.answered_call(client.handle.flow(Transport::Tcp, relay.address, None).expect("loopback"));
    let arrival = server.arrival();
    server.event("an ACK", |event| matches!(event, Event::Acked { .. }).then_some(()));
    relay.cut();
    eventually("the loss is noticed", || {
        (count(&client.handle.counters().connections_open) == 0).then_some(())
    });
    client.command(Command::Bye { dialog, reason: None });
    server.event("BYE", |event| matches!(event, Event::Bye { .. }).then_some(()));
    server.ended(arrival.dialog);
    client.ended(dialog);
}
