//! A call's events as they happen, by long polling.
//! The store is the truth; live events only say when to look again, so a follower that was too slow misses nothing.

use super::{HttpState, calls::read, error::ApiError};
use crate::store::Events;
use crate::telemetry::{LiveEvent, NumberedEvent};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use call::CallId;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until, timeout_at},
};

/// The longest anybody is kept waiting, in seconds.
const LONGEST_S: u64 = 10;
/// Events of one answer.
const SOME: u32 = 1_000;
/// From a live event until it can be read: a little more than the store's writer gathers for.
const WRITTEN: Duration = Duration::from_millis(40);
/// Between two looks when nothing is heard.
const LOOK: Duration = Duration::from_secs(1);

/// What may stand behind `/calls/ID/events?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FollowQuery {
    after: Option<u64>,
    wait_s: Option<u64>,
}

/// An answer; `next` is what to give as `after` next time. Nothing more comes once `ended` is true and `events` is empty.
#[derive(Debug, Serialize)]
pub(super) struct Followed {
    call: String,
    events: Vec<NumberedEvent>,
    next: u64,
    ended: bool,
}

/// `GET /calls/ID/events?after=SEQ`: what came after that event; waits for it if there is nothing yet.
pub(super) async fn events(
    State(state): State<HttpState>,
    Path(asked): Path<String>,
    query: Result<Query<FollowQuery>, QueryRejection>,
) -> Result<Json<Followed>, ApiError> {
    let Query(query) = query?;
    let after = query.after.unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(query.wait_s.unwrap_or(LONGEST_S).min(LONGEST_S));
    // Before the first look, so that nothing falls between the two.
    let mut live = state.live.subscribe();
    let call = read(&state, move |reader| reader.call(&asked)).await?.call;
    let mut expected = false;
    loop {
        let followed = look(&state, call, after).await?;
        if !followed.events.is_empty() || followed.ended || Instant::now() >= until {
            return Ok(Json(followed));
        }
        if expected {
            sleep_until(until.min(Instant::now() + WRITTEN)).await;
        } else {
            expected = heard(&mut live, &state, call, until.min(Instant::now() + LOOK)).await;
        }
    }
}

async fn look(state: &HttpState, call: CallId, after: u64) -> Result<Followed, ApiError> {
    let (record, events) = read(state, move |reader| {
        // The record first: if it has an end, the events that follow it are complete.
        let record = reader.call(&call.to_string())?;
        let Events { events, .. } = reader.events(call, after, SOME)?;
        Ok((record, events))
    })
    .await?;
    let next = events.last().map_or(after, |event| event.seq);
    Ok(Followed { call: call.to_string(), events, next, ended: record.end_us.is_some() })
}

/// Waits for an event of the call; false when none came in time.
async fn heard(live: &mut Receiver<LiveEvent>, state: &HttpState, call: CallId, until: Instant) -> bool {
    loop {
        match timeout_at(until, live.recv()).await {
            Ok(Ok(event)) if event.call == call => return true,
            Ok(Ok(_)) => {}
            Ok(Err(RecvError::Lagged(missed))) => {
                state.metrics.queue_dropped("live", missed);
                return true;
            }
            Ok(Err(RecvError::Closed)) => {
                sleep_until(until).await;
                return false;
            }
            Err(_) => return false,
        }
    }
}
