//! The asked side of digest: which challenge is answered, with what, and which never is (RFC 7616 section 3.4).
//! Knows the credentials of one trunk. Knows no messages, transactions or dialogs.

use super::{Credentials, DigestChallenge, DigestResponse, digest_response};
use std::borrow::Cow;
use std::fmt;

/// Who challenges: the two have their own headers, and one request may need to satisfy both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengedBy {
    /// 401: the user agent or registrar at the end.
    Server,
    /// 407: a proxy on the way.
    Proxy,
}

impl ChallengedBy {
    /// The header that challenges.
    pub fn challenge_header(self) -> &'static str {
        match self {
            Self::Server => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }

    /// The header that answers.
    pub fn response_header(self) -> &'static str {
        match self {
            Self::Server => "Authorization",
            Self::Proxy => "Proxy-Authorization",
        }
    }
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRefusal {
    /// No Digest challenge with an algorithm we know.
    NothingUsable,
    /// It asks for the users of another realm: answering would show our hash to a stranger.
    OtherRealm,
    /// It is the very challenge just answered and not called stale: the credentials are wrong.
    Rejected,
}

/// A challenge that has been met and how often its nonce was used.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    challenge: DigestChallenge,
    count: u32,
}

/// The credentials of one dialog or registration, with the nonces learnt so far.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthSession {
    credentials: Credentials,
    server: Option<Known>,
    proxy: Option<Known>,
}

impl AuthSession {
    /// Nothing asked yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, server: None, proxy: None }
    }

    /// The realm these credentials are for, as configured or learnt.
    pub fn realm(&self) -> Option<&str> {
        self.credentials.realm.as_deref()
    }

    /// Whether there is a nonce to use.
    pub fn is_challenged(&self) -> bool {
        self.server.is_some() || self.proxy.is_some()
    }

    /// Takes the challenges of a 401 or 407. `used` says that the request already carried a response: then the same
    /// nonce again, not stale, means that the credentials are wrong.
    pub fn challenged(
        &mut self,
        by: ChallengedBy,
        challenges: &[DigestChallenge],
        used: bool,
    ) -> Result<(), AuthRefusal> {
        if challenges.is_empty() {
            return Err(AuthRefusal::NothingUsable);
        }
        let realm = self.credentials.realm.as_deref();
        // SHA-256 before MD5 (RFC 8760 section 2.4 lets the client choose among those offered).
        let best = challenges
            .iter()
            .filter(|challenge| realm.is_none_or(|realm| challenge.realm == realm))
            .fold(None, |best: Option<&DigestChallenge>, one| match best {
                Some(best) if best.algorithm >= one.algorithm => Some(best),
                Some(_) | None => Some(one),
            })
            .ok_or(AuthRefusal::OtherRealm)?;
        let slot = match by {
            ChallengedBy::Server => &mut self.server,
            ChallengedBy::Proxy => &mut self.proxy,
        };
        let again = slot.as_ref().is_some_and(|known| known.challenge.nonce == best.nonce);
        if used && again && !best.stale {
            return Err(AuthRefusal::Rejected);
        }
        // From now on for no other realm: a later challenge may come from somebody else.
        self.credentials.realm.get_or_insert_with(|| best.realm.clone());
        if !again {
            *slot = Some(Known { challenge: best.clone(), count: 0 });
        }
        Ok(())
    }

    /// The header fields for one request, for every challenge met so far; each call uses the nonces once more.
    pub fn authorize(&mut self, method: &str, uri: &str, cnonce: &str) -> Vec<(&'static str, String)> {
        let Self { credentials, server, proxy } = self;
        [(ChallengedBy::Server, server), (ChallengedBy::Proxy, proxy)]
            .into_iter()
            .filter_map(|(by, known)| {
                let value = respond(credentials, known.as_mut()?, (method, uri), cnonce);
                Some((by.response_header(), value))
            })
            .collect()
    }
}

impl fmt::Debug for AuthSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthSession(realm {:?})", self.credentials.realm)
    }
}

fn respond(
    credentials: &Credentials,
    known: &mut Known,
    (method, uri): (&str, &str),
    cnonce: &str,
) -> String {
    known.count = known.count.saturating_add(1);
    let challenge = &known.challenge;
    let qop = challenge.qop_auth;
    let mut response = DigestResponse {
        username: Cow::Borrowed(&credentials.username),
        realm: Cow::Borrowed(&challenge.realm),
        nonce: Cow::Borrowed(&challenge.nonce),
        uri: Cow::Borrowed(uri),
        response: Cow::Borrowed(""),
        algorithm: challenge.algorithm,
        qop: qop.then_some(Cow::Borrowed("auth")),
        nc: qop.then(|| Cow::Owned(format!("{:08x}", known.count))),
        cnonce: qop.then_some(Cow::Borrowed(cnonce)),
        opaque: challenge.opaque.as_deref().map(Cow::Borrowed),
    };
    response.response = Cow::Owned(digest_response(&response, &credentials.password, method));
    response.header_value()
}
