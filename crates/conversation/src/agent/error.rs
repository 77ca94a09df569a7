//! What is wrong with an agent file, where, and what to write instead.
//! Knows lines and columns. Knows nothing of what agents mean.

/// The first fault of an agent file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}{}", if help.is_empty() { String::new() } else { format!(" ({help})") })]
pub struct AgentError {
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub help: String,
}

impl AgentError {
    /// At a byte of the text.
    pub(super) fn at(text: &str, offset: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            help: help.into(),
        }
    }

    /// From the TOML reader, with a suggestion for a misspelt key.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let mut quoted = message.split('`').skip(1).step_by(2);
        let is_list = message.starts_with("unknown field") || message.starts_with("unknown variant");
        let help = match quoted.next() {
            Some(wrong) if is_list => {
                let known: Vec<&str> = quoted.collect();
                did_you_mean(wrong, known.iter().copied())
            }
            Some(_) | None => String::new(),
        };
        let message =
            if is_list { message.split(", expected").next().unwrap_or(&message).to_owned() } else { message };
        Self::at(text, offset, message, help)
    }
}

/// The known word nearest to a wrong one, or all of them.
pub(super) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = |word: &str| {
        strsim::normalized_damerau_levenshtein(wrong, word).max(strsim::jaro_winkler(wrong, word) - 0.25)
    };
    let scored = known.clone().map(|word| (near(word), word));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, word)) if score >= 0.6 => format!("did you mean `{word}`?"),
        Some(_) => format!("known: {}", known.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
        None => "none is defined".to_owned(),
    }
}
