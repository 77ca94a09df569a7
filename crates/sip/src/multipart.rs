//! The session description inside a multipart body (RFC 2046 section 5.1, RFC 5621): carriers send it beside ISUP or PIDF.
//! Looks at each byte once and at a limited number of parts. What the other parts say is of no interest here.

/// More parts than this are not looked at.
const MAX_PARTS: usize = 16;
/// RFC 2046 section 5.1.1: a boundary has 1 to 70 characters.
const MAX_BOUNDARY: usize = 70;

/// Why a multipart body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MultipartError {
    /// No boundary in the Content-Type, or none in the body.
    Boundary,
    /// The description has a transfer encoding that is not read here.
    Encoding,
}

/// Whether a Content-Type names a multipart body.
pub(crate) fn is_multipart(content_type: &str) -> bool {
    let kind = crate::headers::media_type(content_type);
    kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// The first `application/sdp` part; `None` if there is none.
pub(crate) fn session_description<'a>(
    content_type: &str,
    body: &'a [u8],
) -> Result<Option<&'a [u8]>, MultipartError> {
    let params = content_type.split_once(';').map_or("", |(_, params)| params);
    let boundary = crate::headers::param(params, "boundary").unwrap_or_default();
    let boundary = boundary.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(boundary);
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
        return Err(MultipartError::Boundary);
    }
    let delimiter = format!("--{boundary}");
    let mut parts = Parts { rest: body, delimiter: delimiter.as_bytes() };
    // What stands before the first delimiter is a preamble.
    parts.next_part().ok_or(MultipartError::Boundary)?;
    for _ in 0..MAX_PARTS {
        let Some(part) = parts.next_part() else { return Ok(None) };
        let (head, content) = split_head(part);
        let kind = field(head, "content-type").unwrap_or("text/plain");
        if !crate::headers::media_type(kind).eq_ignore_ascii_case("application/sdp") {
            continue;
        }
        let encoding = field(head, "content-transfer-encoding").unwrap_or("binary");
        let plain = ["binary", "8bit", "7bit"].iter().any(|known| encoding.eq_ignore_ascii_case(known));
        return if plain { Ok(Some(content)) } else { Err(MultipartError::Encoding) };
    }
    Ok(None)
}

/// The pieces between delimiter lines.
struct Parts<'a, 'b> {
    rest: &'a [u8],
    delimiter: &'b [u8],
}

impl<'a> Parts<'a, '_> {
    /// What stands before the next delimiter line; `None` when there is no further one, or the last was the end.
    fn next_part(&mut self) -> Option<&'a [u8]> {
        let mut at = 0;
        while at < self.rest.len() {
            let line_end = self.rest[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end + 1);
            let line = &self.rest[at..line_end.unwrap_or(self.rest.len())];
            if let Some(after) = line.strip_prefix(self.delimiter)
                && is_delimiter_end(after)
            {
                let part = trim_line_end(&self.rest[..at]);
                let closes = after.starts_with(b"--");
                self.rest = if closes { &[] } else { &self.rest[at + line.len()..] };
                return Some(part);
            }
            at = line_end?;
        }
        None
    }
}

/// After the delimiter: nothing, blanks, or the two dashes of the last one.
fn is_delimiter_end(after: &[u8]) -> bool {
    let after = after.strip_prefix(b"--").unwrap_or(after);
    after.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
fn trim_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

fn split_head(part: &[u8]) -> (&[u8], &[u8]) {
    if let Some(content) = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")) {
        return (&[], content);
    }
    for (blank, length) in [(&b"\r\n\r\n"[..], 4), (&b"\n\n"[..], 2)] {
        if let Some(at) = part.windows(length).position(|window| window == blank) {
            return (&part[..at], &part[at + length..]);
        }
    }
    (part, &[])
}

fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"preamble\r\n--b1\r\nContent-Type: application/isup;version=itu-t92+\r\n\
        Content-Disposition: signal;handling=optional\r\n\r\n\x01\x11\x00--b1 not a delimiter\r\n--b1\r\n\
        Content-Type: application/sdp\r\n\r\nv=0\r\no=x\r\n\r\n--b1--\r\nepilogue";

    #[test]
    fn the_description_is_found_beside_isup() {
        for kind in ["multipart/mixed;boundary=b1", "Multipart/Mixed; boundary=\"b1\""] {
            assert_eq!(session_description(kind, BODY), Ok(Some(&b"v=0\r\no=x\r\n"[..])), "{kind}");
        }
        assert!(
            is_multipart("multipart/related; x") && !is_multipart("application/sdp") && !is_multipart("é")
        );
    }

    #[test]
    fn without_its_boundary_nothing_can_be_read() {
        for kind in ["multipart/mixed", "multipart/mixed;boundary=", "multipart/mixed;boundary=b2"] {
            assert_eq!(session_description(kind, BODY), Err(MultipartError::Boundary), "{kind}");
        }
        let long = format!("multipart/mixed;boundary={}", "b".repeat(71));
        assert_eq!(session_description(&long, BODY), Err(MultipartError::Boundary));
    }

    #[test]
    fn a_body_without_description_has_none_and_an_encoded_one_is_not_guessed() {
        let kind = "multipart/mixed;boundary=b";
        assert_eq!(session_description(kind, b"--b\r\n\r\nhello\r\n--b--"), Ok(None));
        assert_eq!(
            session_description(kind, b"--b\nContent-Type:application/sdp\n\nv=0\n--b--"),
            Ok(Some(&b"v=0"[..]))
        );
        let encoded =
            b"--b\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w\r\n--b--";
        assert_eq!(session_description(kind, encoded), Err(MultipartError::Encoding));
        let many = b"--b\r\n\r\nx\r\n".repeat(100_000);
        assert_eq!(session_description(kind, &many), Ok(None));
    }
}
