//! What a server answered, as a model may read it: short, as text or JSON, and never a web page.
//! Knows bytes and sizes. Knows nothing of whom was asked.

use serde_json::{Value, json};

/// Bytes read of any answer; the rest stays where it is.
pub(super) const MOST_READ: usize = 1 << 20;
/// Characters that a model is told of an error's explanation.
const EXPLANATION: usize = 300;

/// The body of an answer, or its beginning.
pub(super) struct Body {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) bytes: Vec<u8>,
    /// There was more.
    pub(super) cut: bool,
}

impl Body {
    /// What a model is told of a success, in at most about `most` bytes.
    ///
    /// # Errors
    /// When it is nothing that a model could use, in words for the model.
    pub(super) fn result(&self, most: usize) -> Result<String, String> {
        let Ok(text) = std::str::from_utf8(whole(&self.bytes, self.cut)) else {
            let (kind, length) = (self.kind(), self.bytes.len());
            return Err(format!("the service answered {length} bytes that are no text ({kind})"));
        };
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Ok(json!({ "status": self.status, "empty": true }).to_string());
        }
        if self.is_page(text) {
            return Err(format!(
                "the service answered with a web page instead of data (status {})",
                self.status
            ));
        }
        match serde_json::from_str::<Value>(text).map(|value| value.to_string()) {
            Ok(short) if short.len() <= most => Ok(short),
            Ok(long) => Ok(self.beginning(&long, most)),
            Err(_) if text.len() <= most && !self.cut => Ok(json!({ "text": text }).to_string()),
            Err(_) => Ok(self.beginning(text, most)),
        }
    }

    /// What a model is told of a refusal.
    pub(super) fn explanation(&self) -> String {
        let text = std::str::from_utf8(whole(&self.bytes, self.cut)).unwrap_or_default().trim();
        let status = self.status;
        if text.is_empty() || self.is_page(text) {
            return format!("the service refused with status {status}");
        }
        let short: String = text.chars().take(EXPLANATION).collect();
        format!("the service refused with status {status}: {short}")
    }

    /// The first part, and a note that there is more: half an answer must not be taken for all of it.
    fn beginning(&self, text: &str, most: usize) -> String {
        let length = text.len();
        let size = if self.cut { format!("more than {MOST_READ}") } else { length.to_string() };
        let note = format!("the answer is too long ({size} bytes); this is its beginning");
        let cut = |end: usize| {
            let end = (0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            json!({ "truncated": true, "note": note, "text": &text[..end] }).to_string()
        };
        // Quotes and controls take more room inside a JSON text than outside: the most that fits is searched for.
        let (mut fits, mut end) = (0, most.min(length));
        while fits < end {
            let middle = (fits + end).div_ceil(2);
            if cut(middle).len() <= most {
                fits = middle;
            } else {
                end = middle - 1;
            }
        }
        cut(fits)
    }

    fn is_page(&self, text: &str) -> bool {
        let start = text.get(..15).unwrap_or(text).to_ascii_lowercase();
        self.kind() == "text/html" || start.starts_with("<!doctype html") || start.starts_with("<html")
    }

    fn kind(&self) -> String {
        let kind = self.content_type.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }
}

/// Without the half of a character at the end of what was cut.
fn whole(bytes: &[u8], cut: bool) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if cut && error.error_len().is_none() => &bytes[..error.valid_up_to()],
        Ok(_) | Err(_) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content_type: &str, bytes: impl Into<Vec<u8>>) -> Body {
        Body { status: 200, content_type: content_type.into(), bytes: bytes.into(), cut: false }
    }

    #[test]
    fn json_is_passed_on_without_its_blanks() {
        let answer = body("application/json; charset=utf-8", "{ \"open\" : true }\n").result(8_192);
        assert_eq!(answer, Ok(r#"{"open":true}"#.into()));
        assert_eq!(body("text/plain", "two free").result(8_192), Ok(r#"{"text":"two free"}"#.into()));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(body("", " \r\n").result(8_192), Ok(r#"{"empty":true,"status":200}"#.into()));
    }

    #[test]
    fn a_page_is_no_answer() {
        for page in [body("text/html", "<p>hi"), body("application/json", "<!DOCTYPE HTML><html>")] {
            let error = page.result(8_192).expect_err("a page");
            assert!(error.contains("web page"), "{error}");
            assert_eq!(page.explanation(), "the service refused with status 200");
        }
        let error = body("image/png", [0x89, 0x50, 0xff]).result(8_192).expect_err("no text");
        assert!(error.contains("image/png"), "{error}");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        for text in ["ä\"\n".repeat(50_000), "\u{1}".repeat(9_000), "x".repeat(8_193)] {
            let mut long = body("text/plain", text);
            for cut in [false, true] {
                long.cut = cut;
                let answer = long.result(8_192).expect("its beginning");
                assert!(answer.len() <= 8_192, "{}", answer.len());
                assert!(answer.len() > 4_000, "{}", answer.len());
                let value: Value = serde_json::from_str(&answer).expect("JSON");
                assert_eq!(value["truncated"], true);
            }
        }
        let mut half = body("text/plain", "aä".as_bytes()[..2].to_vec());
        half.cut = true;
        assert!(half.result(8_192).expect("text").contains("\"a\""));
    }
}
