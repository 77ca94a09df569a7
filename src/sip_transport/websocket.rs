//! SIP over WebSocket, as a server (RFC 7118): the subprotocol "sip", one message in each frame.
//! Knows frames. Browsers connect to us; we connect to nobody this way.

use super::{
    connections::{End, Inbound},
    patience::Patience,
    stream::{Line, WRITE_DEADLINE},
};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use sip::{Flow, parser::MAX_MESSAGE};
use std::io;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Error, Message,
        handshake::server::{Callback, ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

/// A WebSocket whose peer speaks SIP.
pub(super) type Socket<S> = WebSocketStream<S>;

/// The subprotocol (RFC 7118 section 4.1).
const SIP: &str = "sip";

/// Does the opening handshake.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<Socket<S>> {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 8 * 1024;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 2 * MAX_MESSAGE;
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    accept_hdr_async_with_config(stream, SipOnly, Some(config)).await.map_err(io::Error::other)
}

/// Takes who offers the subprotocol; who does not would not understand us (RFC 7118 section 4.2).
struct SipOnly;

impl Callback for SipOnly {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
        if offers.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(SIP)) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SIP));
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some("offer the WebSocket subprotocol \"sip\"".to_owned()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        Err(refusal)
    }
}

/// Reads and writes until it is over.
pub(super) async fn run<S>(socket: Socket<S>, line: Line, flow: Flow)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Line { config, inbound, pong, messages, closed, .. } = line;
    let (sink, mut frames) = socket.split();
    tokio::spawn(write(sink, messages));
    let read = async {
        let mut patience = Patience::new(&config, Instant::now(), false);
        loop {
            let message = match timeout_at(patience.deadline, frames.next()).await {
                Ok(None) => return End::Left,
                Ok(Some(Err(error))) => return end(&error),
                Ok(Some(Ok(message))) => message,
                Err(_) => return End::Cut,
            };
            let bytes: Vec<u8> = match message {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Close(_) => return End::Left,
                // The library answers pings. They keep a proven connection, and prove nothing of a new one.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    patience.read(&config, Instant::now(), false, false);
                    continue;
                }
            };
            // A keep-alive of RFC 5626 in a frame: some user agents know no other.
            if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                patience.read(&config, Instant::now(), false, false);
                if let (true, Some(queue)) = (bytes.len() >= 4, pong.upgrade()) {
                    let _ = queue.try_send(b"\r\n".to_vec()); // A peer that does not read needs no pong.
                }
                continue;
            }
            patience.read(&config, Instant::now(), true, false);
            if inbound.send(Inbound::Message(flow, bytes)).await.is_err() {
                return End::Left;
            }
        }
    };
    let end = tokio::select! {
        end = read => end,
        _ = closed => return,
    };
    let _ = inbound.send(Inbound::Closed(flow, end)).await; // The task may be gone.
}

/// Whether a peer that broke the protocol did so by leaving.
fn end(error: &Error) -> End {
    match error {
        Error::Capacity(_) | Error::Utf8(_) | Error::AttackAttempt => End::Cut,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::WriteBufferFull(_)
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => End::Left,
    }
}

/// One message in each frame: text where it is text, as browsers' libraries expect.
async fn write<S>(mut sink: SplitSink<Socket<S>, Message>, mut messages: mpsc::Receiver<Vec<u8>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(bytes) = messages.recv().await {
        let message = match String::from_utf8(bytes) {
            Ok(text) => Message::text(text),
            Err(not_text) => Message::binary(not_text.into_bytes()),
        };
        match timeout(WRITE_DEADLINE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return, // The full queue tells the task.
        }
    }
    let _ = timeout(WRITE_DEADLINE, sink.close()).await;
}
