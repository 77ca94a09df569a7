//! What the API answers when it cannot do what was asked: what is wrong, and what to do instead.
//! Knows status codes. Details that only an operator may see go to the log.

use crate::store::StoreError;
use axum::{
    Json,
    extract::rejection::QueryRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A refusal as JSON: `{"error": {"what": …, "instead": …}}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    what: String,
    instead: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { status, what: what.into(), instead: instead.into() }
    }

    /// A fault of ours.
    pub(super) fn ours(what: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, what, "the server's log says more")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "what": self.what, "instead": self.instead } })))
            .into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown { asked } => {
                let instead =
                    "GET /calls lists the calls; an id, its first digits, a SIP Call-ID or `last` names one";
                Self::new(StatusCode::NOT_FOUND, format!("no call {asked:?}"), instead)
            }
            StoreError::Ambiguous { asked, matches } => {
                let instead = format!("give more digits: {}", matches.join(", "));
                Self::new(StatusCode::CONFLICT, format!("{asked:?} names several calls"), instead)
            }
            error @ (StoreError::NotWritable { .. }
            | StoreError::InUse { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Newer { .. }
            | StoreError::Absent { .. }
            | StoreError::Unreachable { .. }
            | StoreError::Rejected { .. }
            | StoreError::Database { .. }
            | StoreError::Io(_)) => {
                tracing::error!(%error, "the store cannot be read");
                Self::ours("the store cannot be read")
            }
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text).to_owned();
        Self::new(StatusCode::BAD_REQUEST, "the query makes no sense", text)
    }
}
