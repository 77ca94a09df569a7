//! Calls over HTTP: the list, one, its trace, and its end.
//! Knows queries and JSON. A call is named by its id, the first digits of it, its SIP Call-ID, or `last`.

use super::{HttpState, error::ApiError};
use crate::store::{CallFilter, CallRecord, Direction, Reader, StoreError};
use crate::telemetry::CallTrace;
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Calls in a list when nothing else is asked for.
const SOME: u32 = 20;

/// What may stand behind `/calls?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    /// For the next page: the last call's `invite_us`.
    before_us: Option<i64>,
    /// Only calls since then.
    since_us: Option<i64>,
    sip_call_id: Option<String>,
    direction: Option<Direction>,
    agent: Option<String>,
    trunk: Option<String>,
    end_cause: Option<String>,
    running: Option<bool>,
}

#[derive(Serialize)]
struct List {
    calls: Vec<CallRecord>,
}

/// Asks the store without holding up the runtime.
pub(super) async fn read<T: Send + 'static>(
    state: &HttpState,
    ask: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let reader = state.reader.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&reader)).await;
    Ok(answer.map_err(|_| ApiError::ours("reading the store failed"))??)
}

/// `GET /calls`: newest first.
pub(super) async fn list(
    State(state): State<HttpState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let filter = CallFilter {
        limit: query.limit.unwrap_or(SOME),
        before_us: query.before_us,
        since_us: query.since_us,
        sip_call_id: query.sip_call_id,
        direction: query.direction,
        agent: query.agent,
        trunk: query.trunk,
        end_cause: query.end_cause,
        running: query.running,
    };
    let calls = read(&state, move |reader| reader.calls(&filter)).await?;
    Ok(Json(List { calls }).into_response())
}

/// `GET /calls/ID`: the call's record.
pub(super) async fn one(
    State(state): State<HttpState>,
    Path(asked): Path<String>,
) -> Result<Json<CallRecord>, ApiError> {
    Ok(Json(read(&state, move |reader| reader.call(&asked)).await?))
}

/// `GET /calls/ID/trace`: turn by turn, as `tandem trace --json` prints it.
pub(super) async fn trace(
    State(state): State<HttpState>,
    Path(asked): Path<String>,
) -> Result<Json<CallTrace>, ApiError> {
    Ok(Json(read(&state, move |reader| reader.trace(&asked)).await?))
}

/// `DELETE /calls/ID`: hangs up.
pub(super) async fn hang_up(
    State(state): State<HttpState>,
    Path(asked): Path<String>,
) -> Result<Response, ApiError> {
    let record = read(&state, move |reader| reader.call(&asked)).await?;
    if record.end_us.is_none() && state.control.hang_up(record.call) {
        let told = json!({ "call": record.call.to_string(), "status": "hanging_up" });
        return Ok((StatusCode::ACCEPTED, Json(told)).into_response());
    }
    let what = format!("call {} is not running", record.call);
    Err(ApiError::new(StatusCode::CONFLICT, what, "GET /calls?running=true lists the calls that are"))
}
