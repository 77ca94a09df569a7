//! The lenient frame parser: bytes to start line, header fields and body (RFC 3261 section 7).
//! Accepts what real trunks send. Knows nothing of what a value means; hard limits keep it cheap.

use crate::message::{BodyFault, Header, HeaderName, Message, Method, StartLine};

/// The largest message we read, in bytes (the largest UDP datagram).
pub const MAX_MESSAGE: usize = 65_536;
/// The most header fields a message may have.
pub const MAX_HEADERS: usize = 200;
/// The longest single header field, in bytes after unfolding.
pub const MAX_HEADER_VALUE: usize = 16_384;

/// Why a datagram is not a SIP message at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ParseError {
    /// Only CR and LF: a keep-alive (RFC 5626 section 3.5.1).
    #[error("empty")]
    Empty,
    /// Longer than [`MAX_MESSAGE`].
    #[error("too_large")]
    TooLarge,
    /// More than [`MAX_HEADERS`] fields or one longer than [`MAX_HEADER_VALUE`].
    #[error("too_many_headers")]
    TooManyHeaders,
    /// Neither a request line nor a status line.
    #[error("bad_start_line")]
    BadStartLine,
    /// A status code outside 100 to 699.
    #[error("bad_status")]
    BadStatus,
}

/// Parses one datagram, or one message cut from a stream.
pub fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ParseError::TooLarge);
    }
    let mut rest = &bytes[leading_line_ends(bytes)..];
    if rest.is_empty() {
        return Err(ParseError::Empty);
    }
    let start = parse_start_line(next_line(&mut rest))?;
    let mut headers = Vec::with_capacity(24);
    let skipped_lines = parse_headers(&mut rest, &mut headers)?;
    let (body, body_fault) = cut_body(rest, &headers);
    Ok(Message { start, headers, body: body.to_vec(), body_fault, skipped_lines })
}

/// The fields of a header block that begins with a start line, for framing.
pub(crate) fn parse_header_block(bytes: &[u8]) -> Result<Vec<Header>, ParseError> {
    let mut rest = bytes;
    next_line(&mut rest);
    let mut headers = Vec::with_capacity(24);
    parse_headers(&mut rest, &mut headers)?;
    Ok(headers)
}

/// How many bytes of CR, LF and NUL stand before the message; some trunks prefix keep-alives.
pub(crate) fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0)).count()
}

/// Takes the next line without its line end, which may be CRLF or LF.
fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (line, after) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &rest[rest.len()..]),
    };
    *rest = after;
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn parse_start_line(line: &[u8]) -> Result<StartLine, ParseError> {
    let (text, _) = decode(line);
    let text = text.trim();
    if text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("SIP/")) {
        return parse_status_line(text);
    }
    let (method, rest) = text.split_once(' ').ok_or(ParseError::BadStartLine)?;
    let (uri, version) = rest.trim().rsplit_once([' ', '\t']).ok_or(ParseError::BadStartLine)?;
    let is_sip = version.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("SIP/"));
    let version_supported = version.eq_ignore_ascii_case("SIP/2.0");
    if !is_sip || !is_token(method) {
        return Err(ParseError::BadStartLine);
    }
    let uri = uri.trim();
    let uri = uri.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(uri);
    Ok(StartLine::Request { method: Method::from_token(method), uri: uri.to_owned(), version_supported })
}

fn parse_status_line(text: &str) -> Result<StartLine, ParseError> {
    let (_version, rest) = text.split_once(' ').ok_or(ParseError::BadStatus)?;
    let rest = rest.trim_start();
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    match code.parse::<u16>() {
        Ok(status @ 100..=699) if code.len() == 3 => {
            Ok(StartLine::Response { status, reason: reason.to_owned() })
        }
        Ok(_) | Err(_) => Err(ParseError::BadStatus),
    }
}

/// Reads fields up to the empty line; returns how many lines were not fields.
fn parse_headers(rest: &mut &[u8], headers: &mut Vec<Header>) -> Result<usize, ParseError> {
    let mut skipped = 0;
    let mut last_was_field = false;
    while !rest.is_empty() {
        let line = next_line(rest);
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') {
            match headers.last_mut() {
                Some(header) if last_was_field => unfold(header, line)?,
                Some(_) | None => skipped += 1,
            }
            continue;
        }
        match parse_field(line) {
            Some(header) if header.value.len() > MAX_HEADER_VALUE || headers.len() == MAX_HEADERS => {
                return Err(ParseError::TooManyHeaders);
            }
            Some(header) => {
                headers.push(header);
                last_was_field = true;
            }
            None => {
                skipped += 1;
                last_was_field = false;
            }
        }
        if skipped > MAX_HEADERS {
            return Err(ParseError::TooManyHeaders);
        }
    }
    Ok(skipped)
}

fn unfold(header: &mut Header, line: &[u8]) -> Result<(), ParseError> {
    let (text, latin1) = decode(line);
    if header.value.len() + text.len() > MAX_HEADER_VALUE {
        return Err(ParseError::TooManyHeaders);
    }
    // UTF-8 and Latin-1 mixed in one value: it is kept as characters and echoed as UTF-8.
    let before = header.latin1 || header.value.is_ascii();
    let after = latin1 || text.is_ascii();
    header.latin1 = before && after && (header.latin1 || latin1);
    if !header.value.is_empty() {
        header.value.push(' ');
    }
    header.value.push_str(text.trim());
    Ok(())
}

fn parse_field(line: &[u8]) -> Option<Header> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    // Only space and tab may stand before the colon: a control character there once let a field pass one parser
    // under a name that another did not see.
    let name = std::str::from_utf8(&line[..colon]).ok()?.trim_end_matches([' ', '\t']);
    if !is_token(name) {
        return None;
    }
    let (value, latin1) = decode(trim(&line[colon + 1..]));
    Some(Header { name: HeaderName::from_text(name), value, latin1 })
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Text of a line: UTF-8, else Latin-1. A bare CR inside a line must never reach an answer as a line end.
fn decode(bytes: &[u8]) -> (String, bool) {
    let (mut text, latin1) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (bytes.iter().map(|byte| char::from(*byte)).collect(), true),
    };
    if text.contains('\r') {
        text = text.replace('\r', " ");
    }
    (text, latin1)
}

/// A token (RFC 3261 section 25.1).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| TOKEN_BYTE[usize::from(byte)])
}

const TOKEN_BYTE: [bool; 256] = {
    let marks = b"-.!%*_+`'~";
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};

fn cut_body<'a>(rest: &'a [u8], headers: &[Header]) -> (&'a [u8], Option<BodyFault>) {
    match content_length(headers) {
        Ok(None) => (rest, None),
        Ok(Some(length)) if length <= rest.len() => (&rest[..length], None),
        Ok(Some(_)) => (rest, Some(BodyFault::Truncated)),
        Err(fault) => (rest, Some(fault)),
    }
}

/// What the Content-Length fields say together.
pub(crate) fn content_length(headers: &[Header]) -> Result<Option<usize>, BodyFault> {
    let mut length = None;
    for header in headers.iter().filter(|header| header.name == HeaderName::ContentLength) {
        let value = header.value.as_str();
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BodyFault::BadLength);
        }
        let this = value.parse::<usize>().map_err(|_| BodyFault::BadLength)?;
        if length.is_some_and(|other| other != this) {
            return Err(BodyFault::DifferingLengths);
        }
        length = Some(this);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Message {
        parse(text.as_bytes()).expect("parses")
    }

    #[test]
    fn lf_only_lines_and_leading_line_ends_are_accepted() {
        let message = parsed("\r\n\r\nOPTIONS sip:a@b SIP/2.0\nVia: SIP/2.0/UDP h\nCall-ID: 1\n\nrest");
        assert_eq!(message.value(&HeaderName::CallId), Some("1"));
        assert_eq!(message.body, b"rest");
    }

    #[test]
    fn a_folded_value_is_one_line() {
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nSubject: one\r\n  two\r\n\tthree\r\n\r\n");
        assert_eq!(message.headers[0].value, "one two three");
    }

    #[test]
    fn a_latin1_name_is_echoed_byte_for_byte() {
        let message =
            parse(b"OPTIONS sip:a SIP/2.0\r\nFrom: \"J\xfcrgen\" <sip:j@x>;tag=1\r\n\r\n").expect("parses");
        assert_eq!(message.headers[0].value, "\"J\u{fc}rgen\" <sip:j@x>;tag=1");
        assert_eq!(&*message.headers[0].wire_value(), b"\"J\xfcrgen\" <sip:j@x>;tag=1");
    }

    #[test]
    fn a_bare_carriage_return_cannot_become_a_header_of_ours() {
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nCall-ID: a\rEvil: b\r\n\r\n");
        assert_eq!(message.value(&HeaderName::CallId), Some("a Evil: b"));
    }

    #[test]
    fn only_space_and_tab_may_stand_before_the_colon() {
        let message = parsed(
            "OPTIONS sip:a SIP/2.0\r\nCall-ID \t: a\r\nTo\u{b}: <sip:b>;tag=x\r\nTo\u{c}: c\r\nTo\u{85}: d\r\n\r\n",
        );
        assert_eq!(message.value(&HeaderName::CallId), Some("a"));
        assert_eq!((message.value(&HeaderName::To), message.skipped_lines), (None, 3));
    }

    #[test]
    fn sizes_are_limited() {
        assert_eq!(parse(&vec![b'x'; MAX_MESSAGE + 1]), Err(ParseError::TooLarge));
        let many = format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(parse(many.as_bytes()), Err(ParseError::TooManyHeaders));
        let long = format!("OPTIONS sip:a SIP/2.0\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEADER_VALUE + 1));
        assert_eq!(parse(long.as_bytes()), Err(ParseError::TooManyHeaders));
    }

    #[test]
    fn the_body_ends_where_content_length_says() {
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nabcdef");
        assert_eq!((message.body.as_slice(), message.body_fault), (&b"abc"[..], None));
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nl: 30\r\n\r\nabc");
        assert_eq!(message.body_fault, Some(BodyFault::Truncated));
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\nabc");
        assert_eq!(message.body_fault, Some(BodyFault::BadLength));
        let message = parsed("OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\nabc");
        assert_eq!(message.body_fault, Some(BodyFault::DifferingLengths));
    }

    #[test]
    fn a_status_code_does_not_wrap() {
        assert_eq!(parse(b"SIP/2.0 4294967301 x\r\n\r\n"), Err(ParseError::BadStatus));
        assert_eq!(parse(b"SIP/2.0 99 x\r\n\r\n"), Err(ParseError::BadStatus));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Err(ParseError::BadStartLine));
    }
}
