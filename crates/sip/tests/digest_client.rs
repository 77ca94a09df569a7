//! Digest: the RFCs' own examples, what is read of a challenge, and which challenge is never answered.
//! Knows header values only; the endpoint's part is in `authentication`.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::digest::{
    AuthRefusal, AuthSession, ChallengedBy, Credentials, DigestAlgorithm, DigestChallenge, DigestResponse,
    Password, digest_response,
};

/// RFC 7616 section 3.9.1, both answers, with the line breaks taken out.
const RFC_7616: [(&str, &str); 2] = [
    ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
];

fn rfc_7616(algorithm: &str, response: &str) -> String {
    format!(
        "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
         algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
         cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
         opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
    )
}

fn credentials(realm: Option<&str>) -> Credentials {
    Credentials {
        realm: realm.map(str::to_owned),
        username: "Mufasa".into(),
        password: Password::new("Circle of Life"),
    }
}

#[test]
fn the_examples_of_rfc_7616_come_out() {
    for (algorithm, expected) in RFC_7616 {
        let value = rfc_7616(algorithm, expected);
        let parsed = DigestResponse::parse(&value).expect("valid");
        assert_eq!(parsed.algorithm.token(), algorithm);
        assert_eq!(parsed.nonce_count(), Some(1));
        assert_eq!(digest_response(&parsed, &Password::new("Circle of Life"), "GET"), expected);
        assert_ne!(digest_response(&parsed, &Password::new("circle of Life"), "GET"), expected);
        let written = parsed.header_value();
        assert_eq!(DigestResponse::parse(&written), Some(parsed.clone()), "what we write we read");
    }
}

#[test]
fn the_example_of_rfc_2617_comes_out_and_so_does_the_form_without_qop() {
    let value = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
         cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", \
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let mut parsed = DigestResponse::parse(value).expect("valid");
    let password = Password::new("Circle Of Life");
    assert_eq!(digest_response(&parsed, &password, "GET"), "6629fae49393a05397450978507c4ef1");
    parsed.qop = None;
    assert_eq!(digest_response(&parsed, &password, "GET"), "670fd8c2df070c60b045671b8b24ff02");
}

#[test]
fn several_challenges_are_read_from_one_or_more_headers() {
    let one = "Basic realm=\"b\", Digest realm=\"a, b \\\"c\\\"\", nonce=\"n1\", qop=\"auth-int , auth\", \
               algorithm=SHA-256, digest Realm = \"a\" , NONCE=n2, stale=TRUE, Negotiate";
    let two = "Digest realm=\"d\", nonce=\"n3\", opaque=\"\", qop=\"\"";
    let all = DigestChallenge::parse_all([one, two]);
    let nonces: Vec<_> = all.iter().map(|challenge| challenge.nonce.as_str()).collect();
    assert_eq!(nonces, ["n1", "n2", "n3"]);
    assert_eq!(all[0].realm, "a, b \"c\"");
    assert!(all[0].qop_auth && !all[1].qop_auth && !all[2].qop_auth);
    assert_eq!(all[0].algorithm, DigestAlgorithm::Sha256);
    assert!(all[1].stale && !all[0].stale);
    assert_eq!((all[2].opaque.as_deref(), all[1].opaque.as_deref()), (Some(""), None));
}

#[test]
fn what_cannot_be_answered_is_left_out() {
    for bad in [
        "",
        "Digest",
        "Basic realm=\"x\"",
        "Digest realm=\"x\"",
        "Digest nonce=\"x\"",
        "Digest realm=\"x\", nonce=\"\"",
        "Digest realm=\"x, nonce=\"y\"",
        "Digest realm=\"x\", nonce=\"y\", algorithm=MD5-sess",
        "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-512-256",
        "Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\"",
        "Digest realm=\"x\", nonce=\"a\u{1}b\"",
    ] {
        assert_eq!(DigestChallenge::parse(bad), None, "{bad}");
    }
    let many = "Digest realm=\"x\", nonce=\"y\", ".repeat(1_000);
    assert_eq!(DigestChallenge::parse_all([many.as_str()]).len(), 8, "bounded");
}

#[test]
fn a_response_that_lacks_a_part_or_says_one_twice_is_none() {
    let good = rfc_7616("MD5", "00");
    assert!(DigestResponse::parse(&good).is_some());
    for bad in [
        good.replace("username=\"Mufasa\", ", ""),
        good.replace("nc=00000001, ", ""),
        good.replace("algorithm=MD5", "algorithm=MD4"),
        good.replace("Digest ", "Basic "),
        format!("{good}, username=\"Scar\""),
    ] {
        assert_eq!(DigestResponse::parse(&bad), None, "{bad}");
    }
    let odd = good.replace("nc=00000001", "nc=+0000001");
    assert_eq!(DigestResponse::parse(&odd).unwrap().nonce_count(), None);
}

#[test]
fn quotes_and_backslashes_survive_the_way_there_and_back() {
    let mut session = AuthSession::new(Credentials { username: "a\"b\\c".into(), ..credentials(None) });
    let challenge = DigestChallenge::parse(r#"Digest realm="r\"\\", nonce="n\"", qop="auth""#).unwrap();
    session.challenged(ChallengedBy::Server, &[challenge], false).unwrap();
    let fields = session.authorize("REGISTER", "sip:x", "c");
    let parsed = DigestResponse::parse(&fields[0].1).expect("well formed");
    assert_eq!((&*parsed.username, &*parsed.realm, &*parsed.nonce), ("a\"b\\c", "r\"\\", "n\""));
    assert_eq!(parsed.response, digest_response(&parsed, &Password::new("Circle of Life"), "REGISTER"));
}

#[test]
fn sha_256_is_preferred_to_md5() {
    let mut session = AuthSession::new(credentials(Some("r")));
    let all = DigestChallenge::parse_all([
        "Digest realm=\"r\", nonce=\"1\", algorithm=MD5",
        "Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256",
        "Digest realm=\"r\", nonce=\"3\", algorithm=SHA-256",
    ]);
    session.challenged(ChallengedBy::Proxy, &all, false).unwrap();
    let fields = session.authorize("INVITE", "sip:x", "c");
    assert_eq!(fields[0].0, "Proxy-Authorization");
    assert_eq!(DigestResponse::parse(&fields[0].1).unwrap().nonce, "2");
}

#[test]
fn credentials_are_never_shown_to_another_realm() {
    let ours = DigestChallenge::parse("Digest realm=\"r\", nonce=\"1\"").unwrap();
    let other = DigestChallenge::parse("Digest realm=\"R\", nonce=\"2\"").unwrap();
    let mut configured = AuthSession::new(credentials(Some("r")));
    let refused = configured.challenged(ChallengedBy::Server, std::slice::from_ref(&other), false);
    assert_eq!(refused, Err(AuthRefusal::OtherRealm));
    assert!(configured.authorize("BYE", "sip:x", "c").is_empty());
    let mut learnt = AuthSession::new(credentials(None));
    learnt.challenged(ChallengedBy::Server, &[ours], false).unwrap();
    assert_eq!(learnt.realm(), Some("r"));
    assert_eq!(learnt.challenged(ChallengedBy::Proxy, &[other], false), Err(AuthRefusal::OtherRealm));
}

#[test]
fn a_nonce_is_counted_and_a_stale_one_replaced() {
    let mut session = AuthSession::new(credentials(None));
    let first = DigestChallenge::parse("Digest realm=\"r\", nonce=\"1\", qop=\"auth\"").unwrap();
    session.challenged(ChallengedBy::Server, std::slice::from_ref(&first), false).unwrap();
    let count = |session: &mut AuthSession| {
        let fields = session.authorize("INVITE", "sip:x", "c");
        let parsed = DigestResponse::parse(&fields[0].1).unwrap();
        (parsed.nonce.into_owned(), u32::from_str_radix(&parsed.nc.unwrap(), 16).unwrap())
    };
    assert_eq!(count(&mut session), ("1".into(), 1));
    assert_eq!(count(&mut session), ("1".into(), 2));
    assert_eq!(session.challenged(ChallengedBy::Server, &[first], true), Err(AuthRefusal::Rejected));
    let stale = DigestChallenge::parse("Digest realm=\"r\", nonce=\"2\", qop=\"auth\", stale=true").unwrap();
    session.challenged(ChallengedBy::Server, &[stale], true).unwrap();
    assert_eq!(count(&mut session), ("2".into(), 1));
}

#[test]
fn nothing_prints_a_secret() {
    let mut session = AuthSession::new(credentials(Some("r")));
    let challenge = DigestChallenge::parse("Digest realm=\"r\", nonce=\"1\"").unwrap();
    session.challenged(ChallengedBy::Server, &[challenge], false).unwrap();
    let header = session.authorize("INVITE", "sip:x", "c").remove(0).1;
    let parsed = DigestResponse::parse(&header).unwrap();
    let printed = format!("{session:?} {:?} {parsed:?} {:?}", credentials(None), Password::new("hidden"));
    for secret in ["Circle", "Mufasa", "hidden", &*parsed.response] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
