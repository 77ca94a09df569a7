//! Who may ask what: bearer tokens with a role. Without any token in the config everybody may, which is for loopback only.
//! Knows methods and tokens. Never says whether a token is almost right.

use super::error::ApiError;
use crate::secret::Secret;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::sync::Arc;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looking.
    Read,
    /// Looking and acting.
    Operate,
}

impl Role {
    /// As they are written in the config.
    pub const NAMES: [&'static str; 2] = ["read", "operate"];

    /// The role of that name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::Read),
            "operate" => Some(Self::Operate),
            _ => None,
        }
    }
}

/// A token and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// Its role.
    pub role: Role,
}

/// What a load balancer and a reader of the document need before they have a token.
const OPEN: [&str; 2] = ["/health", "/openapi.json"];

/// Lets a request through whose token has the role that its method needs.
pub(super) async fn check(State(tokens): State<Arc<[Token]>>, request: Request, next: Next) -> Response {
    if tokens.is_empty() || OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = header.and_then(|value| value.split_once(' '));
    let given =
        given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let Some(role) = given.and_then(|given| role_of(&tokens, given)) else {
        let what = "a token of the config is needed, and this is none";
        let refusal = ApiError::new(StatusCode::UNAUTHORIZED, what, "send authorization: Bearer TOKEN");
        let mut refusal = refusal.into_response();
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    };
    let looks_only = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !looks_only && role != Role::Operate {
        let what = "this token may look and not act";
        return ApiError::new(StatusCode::FORBIDDEN, what, "use one with role = \"operate\"").into_response();
    }
    next.run(request).await
}

/// Compares with every token in full, so that the time it takes tells nothing about any of them.
fn role_of(tokens: &[Token], given: &str) -> Option<Role> {
    let mut role = None;
    for token in tokens {
        if same(token.secret.expose().as_bytes(), given.as_bytes()) {
            role = role.max(Some(token.role));
        }
    }
    role
}

fn same(kept: &[u8], given: &[u8]) -> bool {
    let differs = kept.iter().enumerate().fold(kept.len() ^ given.len(), |differs, (place, byte)| {
        differs | usize::from(byte ^ given.get(place).copied().unwrap_or_default())
    });
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_whole_or_not_at_all() {
        let token = |secret: &str, role| Token { secret: Secret::new(secret), role };
        let tokens = [token("look", Role::Read), token("act", Role::Operate)];
        assert_eq!(role_of(&tokens, "look"), Some(Role::Read));
        assert_eq!(role_of(&tokens, "act"), Some(Role::Operate));
        for wrong in ["", "l", "loo", "looks", "LOOK", "look\0", "ac"] {
            assert_eq!(role_of(&tokens, wrong), None, "{wrong:?}");
        }
    }
}
