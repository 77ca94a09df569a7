//! SIP over WebSocket (RFC 7118) against an independent client: plain and over TLS, text and binary.
//! There is no registration and no media; the calls are written out by hand.

mod wire;

use futures_util::{SinkExt as _, StreamExt as _};
use sip::{Event, Transport};
use std::{io::Write as _, net::TcpStream, sync::Arc, time::Duration};
use tandem::sip_transport::{SipTransportConfig, TlsConfig, tls::client_config};
use tokio::{net::TcpStream as Stream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    },
};
use wire::{Authority, Node, PATIENCE, Setup, count, eventually};

type Socket = WebSocketStream<MaybeTlsStream<Stream>>;

const NAME: &str = "phone.example";

fn server(authority: &Authority, limits: SipTransportConfig) -> Node {
    let tls = TlsConfig { server: Some(authority.issue("server", &[NAME])), ..TlsConfig::default() };
    Node::start(Setup { listen: vec![Transport::Udp, Transport::Ws, Transport::Wss], tls, limits, at: None })
}

/// Connects as a browser does, offering these subprotocols.
async fn connect(
    server: &Node,
    authority: &Authority,
    (transport, offers): (Transport, Option<&'static str>),
) -> Result<Socket, Error> {
    let address = server.address(transport);
    let stream = Stream::connect(address).await.expect("it listens");
    let mut request = format!("{}://{NAME}:{}/", transport.param(), address.port())
        .into_client_request()
        .expect("a request");
    if let Some(offers) = offers {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offers));
    }
    let config = TlsConfig { ca: Some(authority.ca()), ..TlsConfig::default() };
    let connector = Connector::Rustls(Arc::clone(&client_config(&config).expect("good files")));
    let (socket, response) = client_async_tls_with_config(request, stream, None, Some(connector)).await?;
    assert_eq!(response.headers().get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes), Some(&b"sip"[..]));
    Ok(socket)
}

/// A request of a phone in a browser: it has no address, and says so (RFC 7118 section 8).
fn request(method: &str, cseq: u32, (to_tag, transport): (&str, Transport), body: &str) -> String {
    let (name, param) = (transport.name(), transport.param());
    let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:agent@{NAME} SIP/2.0\r\nVia: SIP/2.0/{name} df7jal23ls0d.invalid;branch=z9hG4bK{param}{cseq}{method}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@{NAME}>;tag=a\r\nTo: <sip:agent@{NAME}>{to_tag}\r\n\
         Call-ID: in-a-browser-{param}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:alice@df7jal23ls0d.invalid;transport={param}>\r\n{content}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The next SIP message.
async fn read(socket: &mut Socket) -> String {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("sound") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("not text: {other:?}")
            }
        }
    }
}

/// Calls until the call is answered: the server's tag.
async fn answered(socket: &mut Socket, transport: Transport) -> String {
    socket.send(Message::text(request("INVITE", 1, ("", transport), OFFER))).await.expect("open");
    let answer = loop {
        let response = read(socket).await;
        if response.starts_with("SIP/2.0 200 ") {
            break response;
        }
        assert!(response.starts_with("SIP/2.0 1"), "{response}");
    };
    assert!(answer.contains(&format!(";transport={}>", transport.param())), "{answer}");
    let to = answer.lines().find(|line| line.starts_with("To:")).expect("a To");
    to.split("tag=").nth(1).expect("a tag").trim().to_owned()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0\r\n";

#[test]
fn a_call_from_a_browser_is_a_call_with_and_without_tls() {
    let authority = Authority::new();
    let server = server(&authority, SipTransportConfig::default());
    for transport in [Transport::Ws, Transport::Wss] {
        run(async {
            let mut socket =
                connect(&server, &authority, (transport, Some("foo, sip"))).await.expect("welcome");
            let tag = answered(&mut socket, transport).await;
            // Binary frames are as good as text (RFC 7118 section 4.2).
            socket
                .send(Message::binary(request("ACK", 1, (&tag, transport), "").into_bytes()))
                .await
                .expect("open");
            socket
                .send(Message::binary(request("BYE", 2, (&tag, transport), "").into_bytes()))
                .await
                .expect("open");
            assert!(read(&mut socket).await.starts_with("SIP/2.0 200 "));
        });
        let arrival = server.arrival();
        assert_eq!(arrival.flow.transport, transport);
        server.ended(arrival.dialog);
    }
}

#[test]
fn the_server_hangs_up_on_a_browser_over_its_own_connection() {
    let authority = Authority::new();
    let server = server(&authority, SipTransportConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut socket = runtime.block_on(async {
        let mut socket = connect(&server, &authority, (Transport::Ws, Some("sip"))).await.expect("welcome");
        socket.send(Message::text("\r\n\r\n")).await.expect("open");
        assert_eq!(read(&mut socket).await, "\r\n", "a keep-alive is answered");
        let tag = answered(&mut socket, Transport::Ws).await;
        socket.send(Message::text(request("ACK", 1, (&tag, Transport::Ws), ""))).await.expect("open");
        socket
    });
    let arrival = server.arrival();
    server.event("an ACK", |event| matches!(event, Event::Acked { .. }).then_some(()));
    server.hang_up(arrival.dialog);
    let bye = runtime.block_on(read(&mut socket));
    assert!(bye.starts_with("BYE ") && bye.contains("Via: SIP/2.0/WS "), "{bye}");
    drop(socket);
    server.ended(arrival.dialog);
}

#[test]
fn who_does_not_speak_sip_is_sent_away() {
    let authority = Authority::new();
    let server = server(&authority, SipTransportConfig::default());
    for offers in [None, Some("chat, xmpp")] {
        let refused = run(connect(&server, &authority, (Transport::Ws, offers))).expect_err("no SIP");
        let Error::Http(response) = refused else { panic!("{refused}") };
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    eventually("it is counted", || (count(&server.handle.counters().handshakes_failed) == 2).then_some(()));
}

#[test]
fn what_is_too_large_or_makes_no_sense_ends_its_connection_only() {
    let authority = Authority::new();
    let server = server(&authority, SipTransportConfig::default());
    run(async {
        for bad in [
            Message::text("x".repeat(70_000)),
            Message::text("this is not SIP at all"),
            Message::binary(vec![1; 9]),
        ] {
            let mut socket =
                connect(&server, &authority, (Transport::Ws, Some("sip"))).await.expect("welcome");
            let _ = socket.send(bad).await; // It may be cut while it is sent.
            let end = timeout(PATIENCE, async {
                while let Some(Ok(message)) = socket.next().await {
                    assert!(!message.is_text() && !message.is_binary(), "no answer");
                }
            });
            end.await.expect("it is cut");
        }
    });
    let caller = Node::start(Setup { listen: vec![Transport::Udp], ..Setup::default() });
    caller.answered_call(caller.handle.udp_flow(server.address(Transport::Udp)).expect("loopback"));
    assert_eq!(count(&server.handle.counters().panics), 0);
}

#[test]
fn an_opening_handshake_that_never_ends_is_cut() {
    let authority = Authority::new();
    let limits = SipTransportConfig {
        handshake_deadline: Duration::from_millis(300),
        ..SipTransportConfig::default()
    };
    let server = server(&authority, limits);
    let mut held = Vec::new();
    for transport in [Transport::Ws, Transport::Wss] {
        let mut stream = TcpStream::connect(server.address(transport)).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").expect("it reads");
        held.push(stream);
    }
    eventually("both are cut", || (count(&server.handle.counters().handshakes_failed) == 2).then_some(()));
    assert_eq!(count(&server.handle.counters().connections_open), 0);
}
