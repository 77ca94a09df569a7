//! Digest access authentication: challenges, responses and their arithmetic (RFC 7616, RFC 8760, RFC 2617).
//! Knows the header values. Does not know who may call, which realm is trusted or when to answer.

mod client;
pub(crate) mod server;

pub use client::{AuthRefusal, AuthSession, ChallengedBy};

use crate::headers::{quotes_balanced, split_list};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// The most challenges read from one message.
const MAX_CHALLENGES: usize = 8;

/// The hash of a challenge (RFC 7616 section 3.3). Session variants are not used with SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// `MD5`, also meant when none is named. What almost every carrier still asks for.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl DigestAlgorithm {
    /// As written in a header.
    pub fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The algorithm named by `token` in any case.
    pub fn from_token(token: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|known| token.eq_ignore_ascii_case(known.token()))
    }

    /// The hash of `parts` joined by colons, as lower-case hexadecimal.
    fn hash(self, parts: &[&str]) -> String {
        match self {
            Self::Md5 => hash_with(Md5::new(), parts),
            Self::Sha256 => hash_with(Sha256::new(), parts),
        }
    }
}

fn hash_with<H: Digest>(mut hash: H, parts: &[&str]) -> String {
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    let mut text = String::with_capacity(64);
    for byte in hash.finalize().as_slice() {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text
}

/// A password. Neither `Debug` nor anything else here prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself: for hashing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who we are for a trunk, or who a trunk is for us.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The only realm these are for; `None` = the realm of the first challenge by that trunk's peer.
    pub realm: Option<String>,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(realm {:?})", self.realm)
    }
}

/// One challenge of a WWW-Authenticate or Proxy-Authenticate header.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestChallenge {
    /// Whose users are asked for.
    pub realm: String,
    /// The server's number used once.
    pub nonce: String,
    /// Given back as it came.
    pub opaque: Option<String>,
    /// The hash to use.
    pub algorithm: DigestAlgorithm,
    /// `qop` offers `auth`; false = the server knows RFC 2069 only.
    pub qop_auth: bool,
    /// The last response was right, but its nonce is too old.
    pub stale: bool,
}

impl DigestChallenge {
    /// The first Digest challenge of a header value that we can answer.
    pub fn parse(value: &str) -> Option<Self> {
        Self::parse_all([value]).into_iter().next()
    }

    /// All Digest challenges that we can answer, of one or more header values, in order. Other schemes, other
    /// algorithms and challenges that offer `auth-int` alone are left out.
    pub fn parse_all<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut challenges = Vec::new();
        for value in values {
            if !quotes_balanced(value) {
                continue;
            }
            let mut current: Option<Draft> = None;
            for element in split_list(value) {
                let element = match starts_scheme(element) {
                    Some((scheme, first)) => {
                        challenges.extend(current.take().and_then(Draft::finish));
                        current = scheme.eq_ignore_ascii_case("Digest").then(Draft::default);
                        first
                    }
                    None => element,
                };
                if let Some(draft) = &mut current {
                    draft.take(element);
                }
            }
            challenges.extend(current.and_then(Draft::finish));
        }
        challenges.truncate(MAX_CHALLENGES);
        challenges
    }
}

impl fmt::Debug for DigestChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestChallenge({:?}, {}, stale {})", self.realm, self.algorithm.token(), self.stale)
    }
}

/// `Digest realm="x"` begins a new challenge, `nonce="y"` continues one.
fn starts_scheme(element: &str) -> Option<(&str, &str)> {
    let name_end = element.find('=').unwrap_or(element.len());
    let name = element[..name_end].trim_end();
    let Some(space) = name.find([' ', '\t']) else {
        return (name_end == element.len()).then_some((name, ""));
    };
    Some((&element[..space], element[space..].trim_start()))
}

/// A challenge as far as it has been read.
#[derive(Default)]
struct Draft {
    realm: Option<String>,
    nonce: Option<String>,
    opaque: Option<String>,
    algorithm: Option<String>,
    qop: Option<String>,
    stale: bool,
}

impl Draft {
    fn take(&mut self, element: &str) {
        let Some((name, value)) = name_and_value(element) else { return };
        let slot = match () {
            () if name.eq_ignore_ascii_case("realm") => &mut self.realm,
            () if name.eq_ignore_ascii_case("nonce") => &mut self.nonce,
            () if name.eq_ignore_ascii_case("opaque") => &mut self.opaque,
            () if name.eq_ignore_ascii_case("algorithm") => &mut self.algorithm,
            () if name.eq_ignore_ascii_case("qop") => &mut self.qop,
            () if name.eq_ignore_ascii_case("stale") => {
                self.stale = value.eq_ignore_ascii_case("true");
                return;
            }
            () => return,
        };
        slot.get_or_insert(value.into_owned());
    }

    fn finish(self) -> Option<DigestChallenge> {
        let algorithm = match self.algorithm.as_deref() {
            Some(token) => DigestAlgorithm::from_token(token)?,
            None => DigestAlgorithm::Md5,
        };
        let qop = self.qop.filter(|qop| !qop.trim().is_empty());
        let qop_auth =
            qop.as_ref().is_some_and(|qop| split_list(qop).any(|one| one.eq_ignore_ascii_case("auth")));
        if qop.is_some() && !qop_auth {
            return None;
        }
        let nonce = self.nonce.filter(|nonce| !nonce.is_empty())?;
        Some(DigestChallenge {
            realm: self.realm?,
            nonce,
            opaque: self.opaque,
            algorithm,
            qop_auth,
            stale: self.stale,
        })
    }
}

/// `name = value` or `name = "value"` with its escapes undone.
fn name_and_value(element: &str) -> Option<(&str, Cow<'_, str>)> {
    let (name, value) = element.split_once('=')?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = match quoted {
        Some(inner) if inner.contains('\\') => Cow::Owned(unescaped(inner)),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(value),
    };
    (!value.chars().any(char::is_control)).then_some((name.trim(), value))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

/// As a quoted-string (RFC 3261 section 25.1); control characters, which may not be in one, are left out.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The value of an Authorization or Proxy-Authorization header.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestResponse<'a> {
    /// Who asks.
    pub username: Cow<'a, str>,
    /// For which realm.
    pub realm: Cow<'a, str>,
    /// The server's nonce.
    pub nonce: Cow<'a, str>,
    /// The Request-URI as the sender hashed it.
    pub uri: Cow<'a, str>,
    /// The proof, in hexadecimal.
    pub response: Cow<'a, str>,
    /// The hash that was used.
    pub algorithm: DigestAlgorithm,
    /// `auth`; absent in the RFC 2069 form.
    pub qop: Option<Cow<'a, str>>,
    /// How often the nonce has been used, eight hexadecimal digits.
    pub nc: Option<Cow<'a, str>>,
    /// The client's number used once.
    pub cnonce: Option<Cow<'a, str>>,
    /// The server's `opaque`, given back.
    pub opaque: Option<Cow<'a, str>>,
}

impl<'a> DigestResponse<'a> {
    /// Reads a header value. `None` if it is another scheme, lacks a part, names an unknown algorithm, has `qop`
    /// without `nc` and `cnonce`, or says anything twice.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") || !quotes_balanced(rest) {
            return None;
        }
        let mut parts: [Option<Cow<'a, str>>; PARTS.len()] = Default::default();
        for element in split_list(rest) {
            let (name, value) = name_and_value(element)?;
            let Some(number) = PARTS.iter().position(|known| name.eq_ignore_ascii_case(known)) else {
                continue;
            };
            if parts[number].replace(value).is_some() {
                return None;
            }
        }
        let [username, realm, nonce, uri, response, algorithm, qop, nc, cnonce, opaque] = parts;
        let algorithm = match algorithm {
            Some(token) => DigestAlgorithm::from_token(&token)?,
            None => DigestAlgorithm::Md5,
        };
        if qop.is_some() && (nc.is_none() || cnonce.is_none()) {
            return None;
        }
        Some(Self {
            username: username?,
            realm: realm?,
            nonce: nonce?,
            uri: uri?,
            response: response?,
            algorithm,
            qop,
            nc,
            cnonce,
            opaque,
        })
    }

    /// The use counter as a number; `None` unless it is eight hexadecimal digits.
    pub fn nonce_count(&self) -> Option<u32> {
        let nc = self.nc.as_deref().filter(|nc| nc.len() == 8)?;
        nc.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(nc, 16).ok())?
    }

    /// As a header value. `algorithm`, `qop` and `nc` go without quotes (RFC 7616 section 3.4).
    pub fn header_value(&self) -> String {
        let mut text = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response={}, algorithm={}",
            quoted(&self.username),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(&self.uri),
            quoted(&self.response),
            self.algorithm.token()
        );
        if let (Some(qop), Some(nc), Some(cnonce)) = (&self.qop, &self.nc, &self.cnonce) {
            text += &format!(", qop={qop}, nc={nc}, cnonce={}", quoted(cnonce));
        }
        if let Some(opaque) = &self.opaque {
            text += &format!(", opaque={}", quoted(opaque));
        }
        text
    }
}

impl fmt::Debug for DigestResponse<'_> {
    /// Without name, URI and proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestResponse(realm {:?}, {})", self.realm, self.algorithm.token())
    }
}

/// What of a response is read, in the order of the fields of [`DigestResponse`].
const PARTS: [&str; 10] =
    ["username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce", "opaque"];

/// The proof that belongs to everything else in `of` (RFC 7616 section 3.4.1; without `qop` RFC 2617 section 3.2.2.1).
/// `of.response` is not read: a client fills it with the result, a server compares it.
pub fn digest_response(of: &DigestResponse<'_>, password: &Password, method: &str) -> String {
    let algorithm = of.algorithm;
    let secret = algorithm.hash(&[&of.username, &of.realm, password.expose()]);
    let request = algorithm.hash(&[method, &of.uri]);
    match (&of.qop, &of.nc, &of.cnonce) {
        (Some(qop), Some(nc), Some(cnonce)) => {
            algorithm.hash(&[&secret, &of.nonce, nc, cnonce, qop, &request])
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => algorithm.hash(&[&secret, &of.nonce, &request]),
    }
}
