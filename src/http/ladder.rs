//! A call's SIP messages over HTTP, as long as they are remembered.
//! Knows how a call is named. The messages are as the transport kept them.

use super::{HttpState, calls::read, error::ApiError};
use crate::sip_transport::ladder::{ENDED, REFUSED, SipLadder};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

/// `GET /calls/ID/sip`: the ladder.
pub(super) async fn ladder(
    State(state): State<HttpState>,
    Path(asked): Path<String>,
) -> Result<Json<SipLadder>, ApiError> {
    // A call whose record is not written yet can be named by its Call-ID.
    let known = state.ladders.ladder(&asked);
    if let Some(ladder) = known {
        return Ok(Json(ladder));
    }
    let record = read(&state, move |reader| reader.call(&asked)).await?;
    let ladder = state.ladders.ladder(&record.sip_call_id);
    ladder.map(Json).ok_or_else(|| {
        let what = format!("the SIP messages of call {} are not remembered any more", record.call);
        let instead = format!(
            "they are kept of running calls, of the last {ENDED} and of the last {REFUSED} refused ones"
        );
        ApiError::new(StatusCode::NOT_FOUND, what, instead)
    })
}
