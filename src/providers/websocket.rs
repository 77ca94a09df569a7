//! What the providers on WebSockets have in common: connecting, sending, and why a connection ended.
//! Knows RFC 6455, no vendor's messages.

use ai_gateway::{Failure, FailureClass};
use futures_util::SinkExt;
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, Response},
        protocol::{CloseFrame, WebSocketConfig},
    },
};

/// A connection to a provider.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// No provider's message is larger; whatever is, is not for us.
const LARGEST_MESSAGE: usize = 10 << 20;
/// Bytes asked of the connection at once. The library zeroes them before every read and keeps them for as long as the
/// connection lasts: its default of 128 KiB was a sixth of a call's work and half of its memory. Larger messages take
/// more reads.
const READ_AT_ONCE: usize = 8 << 10;
/// A provider that does not take what we send for this long is as good as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// As much of a provider's explanation as an operator will read.
const LONGEST_REASON: usize = 300;

/// Why no connection came about.
pub(super) struct Refused {
    /// What kind of trouble.
    pub(super) failure: Failure,
    /// The HTTP status, if the provider got as far as answering.
    pub(super) status: Option<u16>,
}

impl Refused {
    fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { failure: Failure::new(class, reason), status: None }
    }
}

/// Opens a connection, or says why it cannot be opened within `limit`.
pub(super) async fn connect(
    url: String,
    headers: Vec<(&'static str, String)>,
    limit: Duration,
) -> Result<Socket, Refused> {
    let mut request = url
        .into_client_request()
        .map_err(|error| Refused::new(FailureClass::BadRequest, format!("not a WebSocket URL: {error}")))?;
    for (name, value) in headers {
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| Refused::new(FailureClass::Auth, format!("{name} does not fit into a header")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_AT_ONCE)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    match timeout(limit, connect_async_tls_with_config(request, Some(config), true, None)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => Err(refusal(&response)),
        Ok(Err(error)) => Err(Refused::new(FailureClass::Network, format!("cannot connect: {error}"))),
        Err(_) => Err(Refused::new(FailureClass::Timeout, format!("no connection within {limit:?}"))),
    }
}

/// Sends one message; fails when the provider does not take it.
pub(super) async fn send(socket: &mut Socket, message: Message) -> Result<(), Failure> {
    match timeout(SEND_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(Failure::new(FailureClass::Network, "the provider takes no more data")),
    }
}

/// What a broken connection is reported as.
pub(super) fn broken(error: &Error) -> Failure {
    Failure::new(FailureClass::Network, format!("the connection broke: {error}"))
}

/// What a close frame means (RFC 6455 section 7.4.1, and what vendors write into its reason).
pub(super) fn closed(frame: Option<&CloseFrame>) -> Failure {
    let Some(frame) = frame else {
        return Failure::new(FailureClass::Network, "closed without a reason");
    };
    let code = u16::from(frame.code);
    let class = match code {
        1000 | 1001 => FailureClass::SessionExpired,
        1003 | 1007 => FailureClass::AudioFormat,
        1008 if frame.reason.contains("DATA-") => FailureClass::AudioFormat,
        1008 => FailureClass::BadRequest,
        1011 if frame.reason.contains("NET-0001") => FailureClass::IdleTimeout,
        1012 | 1013 => FailureClass::Overloaded,
        _ => FailureClass::Internal,
    };
    Failure::new(class, format!("closed with {code} {}", cut(&frame.reason)))
}

fn refusal(response: &Response<Option<Vec<u8>>>) -> Refused {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let explanation = header("dg-error").unwrap_or(&body).trim();
    let retry_after =
        header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let reason = format!("HTTP {status} {}", cut(explanation));
    let failure = Failure { class: FailureClass::of_http_status(status), retry_after, reason };
    Refused { failure, status: Some(status) }
}

/// The beginning of a text that came from outside.
pub(super) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

/// How long to wait before the next connection: twice as long after each failure, and never all callers at once.
pub(super) fn back_off(failures: u32) -> Duration {
    const FIRST_MS: u64 = 100;
    const LONGEST_MS: u64 = 3_000;
    let full = (FIRST_MS << failures.saturating_sub(1).min(10)).min(LONGEST_MS);
    let jitter = RandomState::new().hash_one(failures) % (full / 2);
    Duration::from_millis(full - jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_say_whether_coming_back_helps() {
        let close = |code: u16, reason: &str| {
            closed(Some(&CloseFrame { code: code.into(), reason: reason.to_owned().into() })).class
        };
        assert_eq!(close(1011, "NET-0001 no audio"), FailureClass::IdleTimeout);
        assert_eq!(close(1011, "NET-0000"), FailureClass::Internal);
        assert_eq!(close(1008, "DATA-0000"), FailureClass::AudioFormat);
        assert_eq!(close(1013, ""), FailureClass::Overloaded);
        assert_eq!(closed(None).class, FailureClass::Network);
    }

    #[test]
    fn waiting_grows_and_has_a_limit() {
        for failures in 1..100 {
            let wait = back_off(failures);
            assert!(wait >= Duration::from_millis(50) && wait <= Duration::from_secs(3), "{wait:?}");
        }
        assert!(back_off(1) <= Duration::from_millis(100));
    }
}
