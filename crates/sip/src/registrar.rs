//! The registrar's limits.
//! Knows bindings.

/// Limits of the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarLimits {
    /// Most contacts of one address of record; another one takes the place of the one that ends soonest.
    pub contacts_per_user: usize,
    /// Most contacts in all; a new one beyond gets 503.
    pub contacts: usize,
    /// The shortest registration, in seconds; a shorter one gets 423 (RFC 3261 section 10.3 step 7).
    pub min_expires_s: u32,
    /// The longest registration, in seconds; a longer one is shortened.
    pub max_expires_s: u32,
    /// How long a registration lasts that names no time, in seconds.
    pub default_expires_s: u32,
}

impl Default for RegistrarLimits {
    /// An hour as RFC 3261 section 10.2.1.1 has it; a minute at least, as phones behind a NAT refresh often.
    fn default() -> Self {
        Self {
            contacts_per_user: 10,
            contacts: 10_000,
            min_expires_s: 60,
            max_expires_s: 7200,
            default_expires_s: 3600,
        }
    }
}
