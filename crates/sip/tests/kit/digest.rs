//! Answers challenges for the tests, as a phone would, and as one would that cheats.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use sip::digest::{Credentials, DigestChallenge, DigestResponse, Password, digest_response};
use sip::message::Message;

pub fn user(name: &str, password: &str) -> Credentials {
    Credentials { realm: None, username: name.into(), password: Password::new(password) }
}

/// The challenges of a 401, in order.
pub fn challenges(answer: &Message) -> Vec<DigestChallenge> {
    let named =
        answer.headers.iter().filter(|field| field.name.text().eq_ignore_ascii_case("WWW-Authenticate"));
    DigestChallenge::parse_all(named.map(|field| field.value.as_str()))
}

/// One use of a nonce.
pub struct Answer<'a> {
    pub challenge: &'a DigestChallenge,
    pub user: &'a Credentials,
    pub method: &'a str,
    pub uri: &'a str,
    pub count: u32,
}

impl Answer<'_> {
    /// The Authorization value.
    pub fn value(&self) -> String {
        self.write(true)
    }

    /// Without `qop`, as RFC 2069 had it.
    pub fn value_without_qop(&self) -> String {
        self.write(false)
    }

    /// As a header line.
    pub fn line(&self) -> String {
        format!("Authorization: {}\r\n", self.value())
    }

    fn write(&self, qop: bool) -> String {
        let count = format!("{:08x}", self.count);
        let mut response = DigestResponse {
            username: self.user.username.as_str().into(),
            realm: self.challenge.realm.as_str().into(),
            nonce: self.challenge.nonce.as_str().into(),
            uri: self.uri.into(),
            response: "".into(),
            algorithm: self.challenge.algorithm,
            qop: qop.then(|| "auth".into()),
            nc: qop.then(|| count.as_str().into()),
            cnonce: qop.then(|| "c0ffee".into()),
            opaque: None,
        };
        response.response = digest_response(&response, &self.user.password, self.method).into();
        response.header_value()
    }
}
