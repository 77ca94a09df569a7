//! Cuts a stream into SIP messages by Content-Length (RFC 3261 section 18.3, RFC 5626 keep-alives).
//! Knows framing only. Bounded: a message over the limit is an error, after which the stream must be closed.

use crate::message::BodyFault;
use crate::parser::{MAX_MESSAGE, content_length, leading_line_ends, parse_header_block};

/// What ends a stream: after it no message border can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message is larger than [`MAX_MESSAGE`].
    #[error("message too large")]
    TooLarge,
    /// Content-Length is missing, negative, not a number, or two of them differ.
    #[error("bad Content-Length")]
    BadContentLength,
    /// The header block has too many or too long fields.
    #[error("bad header block")]
    BadHeaders,
}

/// The bytes of one stream that are not yet a message.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: Vec<u8>,
    /// Bytes before this are known to hold no end of a header block.
    scanned: usize,
    pongs: usize,
    /// Pings of ours that have no answer yet.
    pinged: usize,
    answered: usize,
}

impl StreamFramer {
    /// A new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes as they came. Call [`Self::next`] until it says `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. An error is final: close the stream.
    #[expect(clippy::should_implement_trait, reason = "an error ends the stream, so this is no iterator")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        self.skip_keep_alives();
        if !self.is_mid_message() {
            return Ok(None);
        }
        let Some(head) = self.find_head_end() else {
            return if self.buffer.len() > MAX_MESSAGE { Err(FrameError::TooLarge) } else { Ok(None) };
        };
        let headers = parse_header_block(&self.buffer[..head]).map_err(|_| FrameError::BadHeaders)?;
        let length = match content_length(&headers) {
            Ok(Some(length)) => length,
            // RFC 3261 section 20.14 requires it on streams; without it only an empty body is safe to assume.
            Ok(None) => 0,
            Err(BodyFault::BadLength | BodyFault::DifferingLengths | BodyFault::Truncated) => {
                return Err(FrameError::BadContentLength);
            }
        };
        if length > MAX_MESSAGE || head + length > MAX_MESSAGE {
            return Err(FrameError::TooLarge);
        }
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(head + length);
        self.scanned = 0;
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    /// How many CRLF pongs to send since the previous call (RFC 5626 section 3.5.1: one per CRLF CRLF).
    pub fn take_pongs(&mut self) -> usize {
        std::mem::take(&mut self.pongs)
    }

    /// We have sent a ping: the next lone CRLF between messages is its answer.
    pub fn pinged(&mut self) {
        self.pinged += 1;
    }

    /// How many of our pings were answered since the previous call.
    pub fn take_answers(&mut self) -> usize {
        std::mem::take(&mut self.answered)
    }

    /// A message has begun but is not whole: the owner should close a stream that stays so for 32 s.
    pub fn is_mid_message(&self) -> bool {
        self.buffer.len() > leading_line_ends(&self.buffer)
    }

    /// Drops line ends before a message; two of them are a ping.
    fn skip_keep_alives(&mut self) {
        while self.pinged > 0 && self.buffer.starts_with(b"\r\n") {
            self.buffer.drain(..2);
            self.pinged -= 1;
            self.answered += 1;
        }
        let end = leading_line_ends(&self.buffer);
        if end == 0 {
            return;
        }
        // A lone CR LF at the end of what has come may be the first half of a ping: it waits.
        let whole = end < self.buffer.len();
        let pings = self.buffer[..end].windows(4).step_by(4).filter(|four| *four == b"\r\n\r\n").count();
        let take = if whole { end } else { pings * 4 };
        self.pongs += pings;
        self.buffer.drain(..take);
        if !whole && self.buffer.len() > 4 {
            self.buffer.clear();
        }
        self.scanned = 0;
    }

    /// Where the header block ends, its empty line included.
    fn find_head_end(&mut self) -> Option<usize> {
        let from = self.scanned.saturating_sub(3);
        for at in from..self.buffer.len() {
            if self.buffer[at] != b'\n' {
                continue;
            }
            let next = &self.buffer[at + 1..];
            if next.first() == Some(&b'\n') {
                return Some(at + 2);
            }
            if next.starts_with(b"\r\n") {
                return Some(at + 3);
            }
        }
        self.scanned = self.buffer.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 3\r\n\r\nabc";

    fn all(framer: &mut StreamFramer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| framer.next().expect("well framed")).collect()
    }

    #[test]
    fn messages_are_cut_wherever_the_segments_fall() {
        let stream = [OPTIONS, b"\r\n\r\n", OPTIONS].concat();
        for size in 1..stream.len() {
            let mut framer = StreamFramer::new();
            let mut messages = Vec::new();
            for segment in stream.chunks(size) {
                framer.push(segment);
                messages.extend(all(&mut framer));
            }
            assert_eq!(messages, [OPTIONS, OPTIONS], "segments of {size}");
            assert_eq!(framer.take_pongs(), 1, "segments of {size}");
            assert!(!framer.is_mid_message());
        }
    }

    #[test]
    fn an_answer_to_our_ping_is_not_half_a_ping_of_the_peer() {
        let mut framer = StreamFramer::new();
        for _ in 0..3 {
            framer.pinged();
            framer.push(b"\r\n");
            assert_eq!(all(&mut framer).len(), 0);
            assert_eq!((framer.take_answers(), framer.take_pongs()), (1, 0));
        }
        framer.push(b"\r\n\r\n");
        assert_eq!(all(&mut framer).len(), 0);
        assert_eq!((framer.take_answers(), framer.take_pongs()), (0, 1));
    }

    #[test]
    fn line_ends_before_a_message_are_no_message_wherever_the_segments_fall() {
        for prefix in ["\n\r\n", "\r\n\n", "\n\n\n", "\r\n\r\n\n\n", "\0\n\n\0"] {
            let mut framer = StreamFramer::new();
            let mut messages = Vec::new();
            for byte in [prefix.as_bytes(), OPTIONS].concat() {
                framer.push(&[byte]);
                messages.extend(all(&mut framer));
            }
            assert_eq!(messages, [OPTIONS], "after {prefix:?}");
        }
    }

    #[test]
    fn a_negative_or_ambiguous_length_ends_the_stream() {
        for lengths in ["Content-Length: -1\r\n", "l: x\r\n", "l: 1\r\nContent-Length: 2\r\n"] {
            let mut framer = StreamFramer::new();
            framer.push(format!("OPTIONS sip:a SIP/2.0\r\n{lengths}\r\nabc").as_bytes());
            assert_eq!(framer.next(), Err(FrameError::BadContentLength), "{lengths}");
        }
    }

    #[test]
    fn a_message_without_end_is_bounded() {
        let mut framer = StreamFramer::new();
        framer.push(b"OPTIONS sip:a SIP/2.0\r\n");
        framer.push(&vec![b'x'; MAX_MESSAGE]);
        assert_eq!(framer.next(), Err(FrameError::TooLarge));
        let mut framer = StreamFramer::new();
        framer.push(b"OPTIONS sip:a SIP/2.0\r\nl: 99999999\r\n\r\n");
        assert_eq!(framer.next(), Err(FrameError::TooLarge));
    }
}
