//! Deepgram Flux (v2 listen), which has an opinion of the caller's turns: what it sends, as the call understands it.
//! Knows one connection's turn. Connecting, and what is sent when, is the same as for v1 and stands beside this file.

use call::SttEvent;
use serde::Deserialize;

/// Whether a model speaks this version: by its name, as the provider's documentation has it.
pub(super) fn is_flux(model: &str) -> bool {
    model.starts_with("flux-")
}

/// What Flux sends about a turn.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TurnInfo {
    event: String,
    transcript: String,
    end_of_turn_confidence: Option<f32>,
    trigger: Option<String>,
    /// With a model for several languages: what is spoken, most of it first.
    languages: Vec<String>,
}

impl TurnInfo {
    /// The language of a turn that is over, or probably, where Flux says it.
    pub(super) fn language(&self) -> Option<String> {
        let settled = matches!(self.event.as_str(), "EndOfTurn" | "EagerEndOfTurn");
        self.languages.first().filter(|_| settled).cloned()
    }
}

/// The turn under way on this connection.
#[derive(Debug, Default)]
pub(super) struct Turn {
    open: bool,
    text: String,
}

impl Turn {
    /// Whether the caller has begun a turn that is not over.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// What a message means for the call, and whether it changes the words or takes an end back.
    pub(super) fn take(&mut self, info: TurnInfo) -> (Option<SttEvent>, bool) {
        let text = info.transcript.trim().to_owned();
        let changed = !text.is_empty() && text != self.text;
        match info.event.as_str() {
            "StartOfTurn" | "Update" => {
                self.open = true;
                if !changed {
                    return (None, false);
                }
                self.text.clone_from(&text);
                (Some(SttEvent::Interim { text }), true)
            }
            "EagerEndOfTurn" => {
                self.text.clone_from(&text);
                (Some(SttEvent::EagerEnd { text }), false)
            }
            "TurnResumed" => (Some(SttEvent::Resumed), true),
            "EndOfTurn" => {
                *self = Self::default();
                let confidence = info.end_of_turn_confidence;
                // One that we asked for says nothing about the caller.
                let asked = info.trigger.as_deref() == Some("manual");
                let event = if asked {
                    SttEvent::Final { text, confidence: None }
                } else {
                    SttEvent::End { text, confidence }
                };
                (Some(event), true)
            }
            _ => (None, false),
        }
    }

    /// The connection is lost, or nobody answers: what there is must do.
    pub(super) fn settle(&mut self) -> SttEvent {
        SttEvent::Final { text: std::mem::take(self).text, confidence: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turn: &mut Turn, event: &str, transcript: &str) -> String {
        let json = serde_json::json!({"type": "TurnInfo", "request_id": "r1", "sequence_id": 3, "event": event,
            "turn_index": 0, "audio_window_start": 0.0, "audio_window_end": 0.96, "transcript": transcript,
            "words": [{"word": "Book", "confidence": 0.93}], "end_of_turn_confidence": 0.5});
        let (event, news) = turn.take(serde_json::from_value(json).expect("a message"));
        format!("{event:?} {news}")
    }

    #[test]
    fn a_turn_goes_from_words_over_an_eager_end_to_its_end() {
        let mut turn = Turn::default();
        assert_eq!(take(&mut turn, "StartOfTurn", ""), "None false");
        assert!(turn.is_open());
        assert_eq!(take(&mut turn, "Update", "Book it"), "Some(Interim { text: \"Book it\" }) true");
        assert_eq!(take(&mut turn, "Update", "Book it"), "None false");
        assert_eq!(
            take(&mut turn, "EagerEndOfTurn", "Book it."),
            "Some(EagerEnd { text: \"Book it.\" }) false"
        );
        assert_eq!(take(&mut turn, "TurnResumed", "Book it."), "Some(Resumed) true");
        let end = take(&mut turn, "EndOfTurn", "Book it now.");
        assert_eq!(end, "Some(End { text: \"Book it now.\", confidence: Some(0.5) }) true");
        assert!(!turn.is_open());
        assert_eq!(take(&mut turn, "OfTomorrow", "x"), "None false");
    }

    #[test]
    fn a_turn_that_is_over_has_a_language() {
        let info = |json| serde_json::from_value::<TurnInfo>(json).expect("a message").language();
        let of = |event: &str| serde_json::json!({"event": event, "languages": ["de", "en"]});
        assert_eq!((info(of("EndOfTurn")).as_deref(), info(of("Update"))), (Some("de"), None));
        assert_eq!(info(serde_json::json!({"event": "EndOfTurn"})), None);
    }

    #[test]
    fn an_end_that_we_asked_for_is_only_a_final() {
        let mut turn = Turn::default();
        take(&mut turn, "Update", "my name is");
        let info = TurnInfo {
            event: "EndOfTurn".into(),
            transcript: "my name is".into(),
            trigger: Some("manual".into()),
            ..TurnInfo::default()
        };
        assert!(matches!(turn.take(info).0, Some(SttEvent::Final { text, .. }) if text == "my name is"));
    }
}
