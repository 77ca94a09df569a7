//! How a receiver knows that an event is ours, and that nobody kept it to send it again later.
//! HMAC-SHA256 over the time and the body; the header is `t=SECONDS,v1=HEX`.

use crate::secret::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "Tandem-Signature";

/// The header's value for a body that leaves at `at_s`, in seconds since the Unix epoch.
pub fn sign(secret: &Secret, at_s: i64, body: &str) -> String {
    let hex = crate::hex::hex(&mac(secret, at_s, body));
    format!("t={at_s},v1={hex}")
}

/// Whether a header is right for a body and not older than `oldest_s`: what a receiver does, here for tests and as a
/// pattern.
pub fn verify(secret: &Secret, header: &str, body: &str, now_s: i64, oldest_s: i64) -> bool {
    let part = |name: &str| header.split(',').find_map(|part| part.trim().strip_prefix(name));
    let Some(at_s) = part("t=").and_then(|at| at.parse::<i64>().ok()) else { return false };
    let Some(hex) = part("v1=") else { return false };
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let expected = mac(secret, at_s, body);
    // Every byte is looked at, so that the time it takes tells nothing.
    let same = bytes.is_some_and(|bytes| {
        bytes.len() == expected.len()
            && bytes.iter().zip(&expected).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
    });
    same && (now_s - at_s).abs() <= oldest_s
}

fn mac(secret: &Secret, at_s: i64, body: &str) -> Vec<u8> {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac.chain_update(format!("{at_s}.")).chain_update(body).finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let header = sign(&Secret::new("secret"), 1_700_000_000, "{\"a\":1}");
        assert_eq!(
            header,
            "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }

    #[test]
    fn another_body_key_or_time_is_refused() {
        let (secret, body) = (Secret::new("secret"), "{}");
        let header = sign(&secret, 100, body);
        assert!(verify(&secret, &header, body, 130, 60));
        assert!(!verify(&secret, &header, "{ }", 130, 60), "another body");
        assert!(!verify(&Secret::new("other"), &header, body, 130, 60), "another key");
        assert!(!verify(&secret, &header, body, 161, 60), "too old");
        assert!(!verify(&secret, &header.replace("t=100", "t=130"), body, 130, 60), "made to look new");
        for odd in ["", "t=1", "v1=00", "t=x,v1=zz", "t=100,v1=\u{e9}"] {
            assert!(!verify(&secret, odd, body, 130, 60), "{odd}");
        }
    }
}
