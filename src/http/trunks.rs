//! Trunks over HTTP: how each of them stands.
//! Knows JSON. What a trunk is and does is elsewhere.

use super::HttpState;
use crate::trunks::TrunkState;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

/// `GET /trunks`.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrunkList {
    /// All of them, by name.
    pub trunks: Vec<TrunkState>,
}

pub(super) async fn list(State(state): State<HttpState>) -> Json<TrunkList> {
    Json(TrunkList { trunks: state.trunks.as_ref().map(|trunks| trunks.snapshot()).unwrap_or_default() })
}
