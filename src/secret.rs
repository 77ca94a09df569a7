//! Keys and passwords: named in the config, read at start, never printed.
//! Does not know what they open.

use std::fmt;

/// A secret. `Debug` shows that there is one, nothing more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret could not be read. Never holds the secret itself.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The reference has neither form.
    #[error("a secret is written as env:NAME or file:PATH, not in the config itself")]
    Form,
    /// The environment does not hold it.
    #[error("environment variable {0} is not set")]
    Unset(String),
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    File(String, std::io::Error),
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
}

impl Secret {
    /// A secret that is already at hand.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Reads what a reference names: `env:NAME` from the environment, `file:PATH` from a file, whose trailing line
    /// break does not count.
    ///
    /// # Errors
    /// [`SecretError`] when the reference has another form, or names nothing.
    pub fn resolve(reference: &str) -> Result<Self, SecretError> {
        let value = match reference.split_once(':') {
            Some(("env", name)) => std::env::var(name).map_err(|_| SecretError::Unset(name.into()))?,
            Some(("file", path)) => {
                std::fs::read_to_string(path).map_err(|error| SecretError::File(path.into(), error))?
            }
            Some(_) | None => return Err(SecretError::Form),
        };
        match value.trim() {
            "" => Err(SecretError::Empty(reference.into())),
            value => Ok(Self(value.into())),
        }
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without the secret, should somebody have quoted it back to us.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.into() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("sk-very-secret");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.redact("bad key sk-very-secret!"), "bad key ***!");
    }

    #[test]
    fn a_reference_is_read_and_a_bare_key_is_refused() {
        let path = std::env::temp_dir().join(format!("tandem-secret-{}", std::process::id()));
        std::fs::write(&path, "from-file\n").expect("a file");
        let found = Secret::resolve(&format!("file:{}", path.display())).expect("the file is there");
        std::fs::remove_file(&path).expect("the file goes");
        assert_eq!(found.expose(), "from-file");
        assert!(!Secret::resolve("env:PATH").expect("PATH is always set").expose().is_empty());
        assert!(matches!(Secret::resolve("env:TANDEM_NO_SUCH_VARIABLE"), Err(SecretError::Unset(_))));
        assert!(matches!(Secret::resolve("file:/no/such/file"), Err(SecretError::File(..))));
        let error = Secret::resolve("sk-very-secret").expect_err("a key is not a reference");
        assert!(!error.to_string().contains("very"), "{error}");
    }
}
