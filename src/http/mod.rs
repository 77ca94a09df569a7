//! The HTTP interface: health, calls, traces, metrics, and hanging up.
//! Knows handles, given by the server, and says no secret. Meant for loopback: whoever reaches it may read every call.

mod access;
mod calls;
mod error;
mod follow;
mod ladder;
mod trunks;

pub use access::{Role, Token};
pub use trunks::TrunkList;

use crate::sip_transport::Ladders;
use crate::store::Reader;
use crate::telemetry::{LiveEvents, Metrics};
use crate::trunks::TrunkStates;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use call::CallId;
use error::ApiError;
use serde::Serialize;
use std::{future::Future, io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// Requests in hand at once; beyond that they are refused with 503.
pub const HTTP_REQUESTS: usize = 64;
/// Bytes of a request's body; nothing here needs one.
const BODY: usize = 64 << 10;
/// How long running requests may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// What callers can expect.
    pub status: Status,
    /// The program's version.
    pub version: String,
    /// Since the start, in seconds.
    pub uptime_s: f64,
    /// The port slots.
    pub slots: Slots,
    /// Why it is not simply ready, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What callers can expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// An answer.
    Ready,
    /// An answer, and somebody should look: the reasons say at what.
    Degraded,
    /// A refusal, because the server is stopping; running calls go on.
    Draining,
}

/// The port slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// How many there are.
    pub cap: usize,
    /// How many are in use.
    pub busy: usize,
}

/// Says how the server is.
pub trait Health: Send + Sync {
    /// Now.
    fn health(&self) -> HealthReport;
}

/// Reaches running calls.
pub trait CallControl: Send + Sync {
    /// Tells a call to end; false when no such call is running.
    fn hang_up(&self, call: CallId) -> bool;
}

/// What the handlers work with.
#[derive(Clone)]
pub struct HttpState {
    /// The store.
    pub reader: Reader,
    /// The figures.
    pub metrics: Metrics,
    /// How the server is.
    pub health: Arc<dyn Health>,
    /// The running calls.
    pub control: Arc<dyn CallControl>,
    /// Their events.
    pub live: LiveEvents,
    /// Their SIP messages.
    pub ladders: Ladders,
    /// Who may ask; empty: everybody.
    pub tokens: Arc<[Token]>,
    /// How the trunks stand; absent where there are none, as in tests.
    pub trunks: Option<TrunkStates>,
}

/// Serves until `stop` is done.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    let (stopped, stopping) = tokio::sync::oneshot::channel();
    let serving = axum::serve(listener, router(state, loopback)).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopped.send(());
    });
    let farewell = async move {
        let _ = stopping.await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = farewell => Ok(()),
    }
}

/// All routes. `loopback`: refuse requests that name another host than this machine, which is how a web page would
/// reach a server on its reader's machine (DNS rebinding).
pub fn router(state: HttpState, loopback: bool) -> Router {
    let limit = Arc::new(Semaphore::new(HTTP_REQUESTS));
    let tokens = Arc::clone(&state.tokens);
    let router = Router::new()
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .route("/metrics", get(metrics))
        .route("/trunks", get(trunks::list))
        .route("/calls", get(calls::list))
        .route("/calls/{call}", get(calls::one).delete(calls::hang_up))
        .route("/calls/{call}/trace", get(calls::trace))
        .route("/calls/{call}/sip", get(ladder::ladder))
        .route("/calls/{call}/events", get(follow::events))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(state)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(tokens, access::check))
        .layer(middleware::from_fn_with_state(limit, in_hand));
    if loopback { router.layer(middleware::from_fn(own_name_only)) } else { router }
}

/// Ready or draining; a load balancer is told by the status code.
async fn health(State(state): State<HttpState>) -> Response {
    let report = state.health.health();
    let code = match report.status {
        Status::Ready | Status::Degraded => StatusCode::OK,
        Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(report)).into_response()
}

/// What there is to ask, for programs.
async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], include_str!("openapi.json")).into_response()
}

async fn metrics(State(state): State<HttpState>) -> Result<Response, ApiError> {
    let text = state.metrics.encode().map_err(|_| ApiError::ours("the figures cannot be written"))?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}", uri.path()),
        "/health, /openapi.json, /metrics, /trunks, /calls, /calls/ID, /calls/ID/trace, /calls/ID/events, /calls/ID/sip",
    )
}

async fn unknown_method(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this method means nothing at {}", uri.path()),
        "GET; DELETE /calls/ID hangs up",
    )
}

async fn in_hand(State(limit): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_place) = limit.try_acquire() else {
        let busy = format!("{HTTP_REQUESTS} requests are in hand");
        let mut refusal =
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, busy, "try again in a second").into_response();
        refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return refusal;
    };
    next.run(request).await
}

async fn own_name_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_none_or(is_own_name) {
        return next.run(request).await;
    }
    let what = "this server listens on loopback and does not go by that name";
    ApiError::new(StatusCode::FORBIDDEN, what, "use 127.0.0.1, [::1] or localhost").into_response()
}

fn is_own_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_cannot_reach_the_server_by_a_name_of_its_own() {
        for own in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "10.0.0.1"] {
            assert!(is_own_name(own), "{own}");
        }
        for strange in ["evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil.example", "a b"] {
            assert!(!is_own_name(strange), "{strange}");
        }
    }
}
