//! Why the gate decided as it did: one word for logs and metrics, from a closed list.
//! Knows words only.

/// The decisive reason of a verdict, or of an answer that was withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateReason {
    /// No trunk names the address that the request came from.
    UnknownSource,
    /// A trunk names the source, but not over this transport.
    TransportNotAllowed,
    /// A trunk names the source, but not the host of the Request-URI.
    UnknownHost,
    /// A trunk names the source, but not the number that was called.
    UnknownNumber,
    /// Digest is needed and the request carries none for our realm: it is challenged.
    NoCredentials,
    /// The Authorization header cannot be read, or answers another question than ours.
    MalformedCredentials,
    /// The nonce is not ours, not for this peer, or too old: it is challenged again.
    StaleNonce,
    /// The nonce count was used before: it is challenged again.
    ReplayedNonce,
    /// No trunk that this request could reach has that user. Answered like a wrong password.
    UnknownUser,
    /// The password is wrong.
    WrongCredentials,
    /// A user wants to register the address of another.
    ForeignAddress,
    /// The source failed too often and is ignored for a time.
    Banned,
    /// A request of a dialog that does not exist here, from a stranger: no answer.
    UnknownDialog,
    /// The answer to a stranger would have been much larger than the request: it was withheld.
    Amplification,
}

impl GateReason {
    /// Every reason, so that each can be counted from zero.
    pub const ALL: [Self; 14] = [
        Self::UnknownSource,
        Self::TransportNotAllowed,
        Self::UnknownHost,
        Self::UnknownNumber,
        Self::NoCredentials,
        Self::MalformedCredentials,
        Self::StaleNonce,
        Self::ReplayedNonce,
        Self::UnknownUser,
        Self::WrongCredentials,
        Self::ForeignAddress,
        Self::Banned,
        Self::UnknownDialog,
        Self::Amplification,
    ];

    /// As a metric label and in a log line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::TransportNotAllowed => "transport_not_allowed",
            Self::UnknownHost => "unknown_host",
            Self::UnknownNumber => "unknown_number",
            Self::NoCredentials => "no_credentials",
            Self::MalformedCredentials => "malformed_credentials",
            Self::StaleNonce => "stale_nonce",
            Self::ReplayedNonce => "replayed_nonce",
            Self::UnknownUser => "unknown_user",
            Self::WrongCredentials => "wrong_credentials",
            Self::ForeignAddress => "foreign_address",
            Self::Banned => "banned",
            Self::UnknownDialog => "unknown_dialog",
            Self::Amplification => "amplification",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GateReason;

    #[test]
    fn every_reason_is_in_the_list_once() {
        let names: std::collections::BTreeSet<_> =
            GateReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), GateReason::ALL.len());
        for (at, reason) in GateReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{} stands where it is declared", reason.name());
        }
    }
}
