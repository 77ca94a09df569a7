//! Takes out of a SIP message what nobody may read again: credentials, media keys, digits that were dialled.
//! Knows where they stand. Any bytes will do: what is no SIP message stays as it is.

/// What stands in a secret's place.
const MASK: &str = "***";

/// The Call-ID of a message, if it has one.
pub(super) fn call_id(message: &[u8]) -> Option<&str> {
    let head = message.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    for line in message[head..].split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            return std::str::from_utf8(line[colon + 1..].trim_ascii()).ok();
        }
    }
    None
}

/// Where the reading of a message is.
enum Place {
    Start,
    /// In the header field of credentials, `true`: of the Digest scheme.
    Credentials(bool),
    Header,
    /// `true`: of digits.
    Body(bool),
}

/// The message without its secrets.
pub(super) fn masked(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let mut out = String::with_capacity(text.len());
    let mut place = Place::Start;
    let mut digits = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        if content.is_empty() {
            if !matches!(place, Place::Start | Place::Body(_)) {
                place = Place::Body(digits);
            }
            out.push_str(line);
            continue;
        }
        if !matches!(place, Place::Body(_)) {
            place = header_place(&place, content);
            digits |= is_digits(content);
        }
        match place {
            Place::Start | Place::Header => out.push_str(content),
            Place::Credentials(digest) => credentials(&mut out, content, digest),
            Place::Body(true) => out.push_str(MASK),
            Place::Body(false) => body_line(&mut out, content),
        }
        out.push_str(&line[content.len()..]);
    }
    out
}

fn header_place(before: &Place, line: &str) -> Place {
    if line.starts_with([' ', '\t']) {
        // The field of the line before goes on; what it begins with has been seen.
        return match before {
            Place::Credentials(digest) => Place::Credentials(*digest),
            Place::Start | Place::Header | Place::Body(_) => Place::Header,
        };
    }
    let (name, value) = line.split_once(':').unwrap_or_default();
    let name = name.trim();
    if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("proxy-authorization") {
        let scheme = value.split_whitespace().next().unwrap_or_default();
        return Place::Credentials(scheme.eq_ignore_ascii_case("digest"));
    }
    Place::Header
}

/// Whether a header line says that the body is digits (RFC 6086 packages, and what came before them).
fn is_digits(line: &str) -> bool {
    let (name, value) = line.split_once(':').unwrap_or_default();
    let name = name.trim();
    let is_type = name.eq_ignore_ascii_case("content-type") || name.eq_ignore_ascii_case("c");
    is_type && value.to_ascii_lowercase().contains("dtmf")
}

/// A line of credentials: of Digest only the response is secret, of everything else all of it.
fn credentials(out: &mut String, line: &str, digest: bool) {
    if !digest {
        let name = line.split_once(':').map(|(name, _)| name).filter(|_| !line.starts_with([' ', '\t']));
        out.push_str(name.unwrap_or_default());
        out.push_str(if name.is_some() { ": " } else { " " });
        return out.push_str(MASK);
    }
    let mut rest = line;
    while let Some(at) = find_ignoring_case(rest, "response") {
        let after = &rest[at + "response".len()..];
        let value = after.trim_start();
        let Some(value) = value.strip_prefix('=') else {
            out.push_str(&rest[..rest.len() - after.len()]);
            rest = after;
            continue;
        };
        out.push_str(&rest[..rest.len() - value.len()]);
        out.push_str(MASK);
        let value = value.trim_start();
        let end = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|end| end + 2),
            None => value.find([',', ' ', '\t']),
        };
        rest = &value[end.unwrap_or(value.len())..];
    }
    out.push_str(rest);
}

/// A line of a body: SDP's keys (RFC 4568, RFC 4567, RFC 8866 section 5.12).
fn body_line(out: &mut String, line: &str) {
    let secret = [("a=crypto:", Some("inline:")), ("a=key-mgmt:", None), ("k=", None)]
        .into_iter()
        .find(|(prefix, _)| line.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)));
    let Some((prefix, marker)) = secret else { return out.push_str(line) };
    let kept = marker.and_then(|marker| Some(find_ignoring_case(line, marker)? + marker.len()));
    out.push_str(&line[..kept.unwrap_or(prefix.len())]);
    out.push_str(MASK);
}

fn find_ignoring_case(text: &str, word: &str) -> Option<usize> {
    text.as_bytes().windows(word.len()).position(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_id_is_found_in_both_forms_and_not_in_the_body() {
        assert_eq!(call_id(b"\r\nINVITE sip:a SIP/2.0\r\ncall-id : x@y \r\n\r\n"), Some("x@y"));
        assert_eq!(call_id(b"SIP/2.0 200 OK\ni:z\n\n"), Some("z"));
        assert_eq!(call_id(b"INVITE sip:a SIP/2.0\r\n\r\nCall-ID: body\r\n"), None);
        assert_eq!(call_id(b"\r\n\r\n"), None);
    }

    #[test]
    fn no_secret_remains_and_everything_else_does() {
        let message = "\r\nINVITE sip:a SIP/2.0\r\n\
            Authorization: Digest username=\"u\", response=\"SECRET1\", nonce=\"n\"\r\n\
            proxy-authorization : DIGEST realm=\"response\",\r\n\trESPONSE = SECRET2, uri=\"sip:a\"\r\n\
            Authorization: Basic SECRET3\r\n SECRET4\r\n\
            Content-Type: application/sdp\r\n\r\n\
            v=0\r\nk=clear:SECRET5\r\nm=audio 1 RTP/SAVP 0\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET6|2^20\r\na=key-mgmt:mikey SECRET7\r\na=sendrecv\r\n";
        let masked = masked(message.as_bytes());
        assert!(!masked.contains("SECRET"), "{masked}");
        for kept in [
            "username=\"u\", response=***, nonce=\"n\"",
            "rESPONSE =***, uri=\"sip:a\"",
            "realm=\"response\"",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***",
            "a=sendrecv",
        ] {
            assert!(masked.contains(kept), "{kept} in {masked}");
        }
        assert_eq!(masked.lines().count(), message.lines().count());
    }

    #[test]
    fn digits_that_a_caller_dialled_are_not_kept() {
        let info = "INFO sip:a SIP/2.0\r\nc: application/dtmf-relay\r\n\r\nSignal=4\r\nDuration=160\r\n";
        assert_eq!(masked(info.as_bytes()).split("\r\n\r\n").nth(1), Some("***\r\n***\r\n"));
    }

    #[test]
    fn any_bytes_will_do() {
        let mut state = 7_u64;
        for length in 0..600 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                b"\r\n \t:=,\"arespon\xff\xc3"[(state >> 33) as usize % 17]
            };
            let mut bytes = b"X\nAuthorization: Digest response".to_vec();
            bytes.extend((0..length).map(|_| next()));
            masked(&bytes);
            call_id(&bytes);
        }
    }
}
