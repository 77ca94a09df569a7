//! SRTP and SRTCP of one leg: packets sealed on their way out, opened and checked on their way in (RFC 3711, RFC 7714).
//! Knows keys and packets. Does not know how the keys were agreed on, nor addresses.
//!
//! `rtc-srtp` does the cryptography. What it leaves to its user is done here: it keeps state for every SSRC it sees,
//! authentic or not; it takes replayed packets unless told otherwise, and poisons its replay window with forged ones;
//! with the counter-mode suites it takes SRTCP whose E bit is 0 without looking at the tag; and it measures some
//! header extensions wrongly. So only SSRCs of authentic packets reach the context that stays.

mod header;
mod opener;
mod window;

use opener::Opener;
use rtc_srtp::{
    context::Context,
    crypto::{RTCCryptoProvider as _, providers::AwsLcRsProvider},
    protection_profile::ProtectionProfile,
};
use std::fmt;
use thiserror::Error;

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AES-128 in counter mode, HMAC-SHA1 of 80 bits.
    AesCm128HmacSha1_80,
    /// The same with 32 bits for RTP; RTCP keeps 80 (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
    /// AES-128-GCM with a tag of 128 bits.
    AeadAes128Gcm,
}

impl SrtpProfile {
    const fn cipher(self) -> ProtectionProfile {
        match self {
            Self::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        }
    }

    /// Bytes that an SRTCP packet has behind its E bit and index.
    const fn rtcp_tag_behind_index(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm => 0,
        }
    }
}

/// The key has another length than its profile wants. A fault of ours: what was negotiated was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the master key does not fit the profile")]
pub struct SrtpKeyError;

/// Why a packet is not taken. Worth counting; never an error of the call, and nothing about its sender may be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrtpRefusal {
    /// Not a packet that could be SRTP.
    #[error("not an SRTP packet")]
    Malformed,
    /// Forged, damaged, or sealed with another key.
    #[error("authentication failed")]
    AuthFailed,
    /// Seen before, or too old to know.
    #[error("replayed")]
    Replayed,
}

/// Packets refused so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrtpCounts {
    /// That could not be SRTP.
    pub malformed: u64,
    /// Whose authentication failed.
    pub auth_failed: u64,
    /// That came before.
    pub replayed: u64,
}

/// A master key with its salt behind it, and what it is for.
#[derive(Clone, PartialEq, Eq)]
struct Keying {
    profile: SrtpProfile,
    bytes: Vec<u8>,
}

impl Keying {
    fn new(profile: SrtpProfile, bytes: &[u8]) -> Self {
        Self { profile, bytes: bytes.to_vec() }
    }

    /// A context without any stream in it.
    fn context(&self) -> Result<Context, SrtpKeyError> {
        let cipher = self.profile.cipher();
        let (key, salt) = self.bytes.split_at_checked(cipher.key_len()).ok_or(SrtpKeyError)?;
        // No replay protection here: ours counts what it refuses, and forged packets do not move it.
        Context::new(key, salt, cipher, None, None, AwsLcRsProvider::new().crypto()).map_err(|_| SrtpKeyError)
    }
}

/// Both directions of a leg.
pub struct Srtp {
    local: Keying,
    sealer: Context,
    opener: Opener,
    /// For packets that were on their way when the peer changed its key; until the first with the new one has come.
    previous: Option<Opener>,
    counts: SrtpCounts,
}

impl Srtp {
    /// With our master key and the peer's: 16 bytes of key, then the profile's salt (14 bytes, 12 with GCM).
    ///
    /// # Errors
    /// A key that does not fit the profile.
    pub fn new(profile: SrtpProfile, local: &[u8], remote: &[u8]) -> Result<Self, SrtpKeyError> {
        let local = Keying::new(profile, local);
        let sealer = local.context()?;
        let opener = Opener::new(Keying::new(profile, remote))?;
        Ok(Self { local, sealer, opener, previous: None, counts: SrtpCounts::default() })
    }

    /// Takes re-negotiated keys. What has not changed goes on as if nothing had happened.
    ///
    /// # Errors
    /// A key that does not fit the profile; the old ones stay.
    pub fn rekey(&mut self, profile: SrtpProfile, local: &[u8], remote: &[u8]) -> Result<(), SrtpKeyError> {
        let (local, remote) = (Keying::new(profile, local), Keying::new(profile, remote));
        if *self.opener.key() != remote {
            let next = self.opener.follow(remote)?;
            self.previous = Some(std::mem::replace(&mut self.opener, next));
        }
        if self.local != local {
            self.sealer = local.context()?;
            self.local = local;
        }
        Ok(())
    }

    /// An RTP packet of ours as it may leave; `None` if it cannot be sealed, and then it must not leave.
    pub fn seal_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sealer.encrypt_rtp(packet).ok().map(Vec::from)
    }

    /// The same for a compound RTCP packet.
    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sealer.encrypt_rtcp(packet).ok().map(Vec::from)
    }

    /// The RTP packet in a datagram.
    ///
    /// # Errors
    /// Why it is not taken; counted already.
    pub fn open_rtp(&mut self, datagram: &[u8]) -> Result<Vec<u8>, SrtpRefusal> {
        self.open(datagram, Opener::open_rtp)
    }

    /// The compound RTCP packet in a datagram.
    ///
    /// # Errors
    /// Why it is not taken; counted already.
    pub fn open_rtcp(&mut self, datagram: &[u8]) -> Result<Vec<u8>, SrtpRefusal> {
        self.open(datagram, Opener::open_rtcp)
    }

    /// Packets refused so far.
    pub const fn counts(&self) -> SrtpCounts {
        self.counts
    }

    fn open(
        &mut self,
        datagram: &[u8],
        with: impl Fn(&mut Opener, &[u8]) -> Result<Vec<u8>, SrtpRefusal>,
    ) -> Result<Vec<u8>, SrtpRefusal> {
        let refusal = match with(&mut self.opener, datagram) {
            Ok(packet) => {
                self.previous = None;
                return Ok(packet);
            }
            Err(refusal) => match self.previous.as_mut().map(|previous| with(previous, datagram)) {
                Some(Ok(packet)) => return Ok(packet),
                Some(Err(_)) | None => refusal,
            },
        };
        match refusal {
            SrtpRefusal::Malformed => self.counts.malformed += 1,
            SrtpRefusal::AuthFailed => self.counts.auth_failed += 1,
            SrtpRefusal::Replayed => self.counts.replayed += 1,
        }
        Err(refusal)
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp")
            .field("profile", &self.local.profile)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
