//! Keys for SRTP in the description: `a=crypto` lines read and written (SDES, RFC 4568, RFC 7714, RFC 8643).
//! Knows suites and keys. Encrypts nothing.

use super::{LocalMedia, OfferError};
use crate::sdp;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use sdp_types::Media;
use std::fmt;

/// More `a=crypto` lines than this on one audio line are not read.
const MAX_LINES: usize = 16;
/// Longer ones are not either: the longest that we could use has about 120 characters.
const MAX_LINE: usize = 512;
/// RFC 4568 section 9.2: a tag has at most nine digits.
const MAX_TAG: u32 = 999_999_999;
/// The longest lifetime there is, in packets (RFC 3711 section 9.2).
const MAX_LIFETIME: u64 = 1 << 48;

/// Whether media is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpMode {
    /// Never. An offer of RTP/SAVP only is refused; `a=crypto` on RTP/AVP is not answered.
    #[default]
    Off,
    /// When the peer can. We offer RTP/AVP with `a=crypto` (RFC 8643: a peer that does not know it ignores it), and
    /// answer RTP/SAVP, or RTP/AVP with `a=crypto`, encrypted under the profile that was offered.
    Optional,
    /// Always. We offer RTP/SAVP; an offer without a key that we can use is refused, and so is an answer.
    Required,
}

/// A way to encrypt and authenticate (RFC 4568 section 6.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpSuite {
    /// AES-128 in counter mode, tag of 80 bits: what everybody has.
    AesCm128HmacSha1_80,
    /// The same with an RTP tag of 32 bits.
    AesCm128HmacSha1_32,
    /// AES-128-GCM, tag of 128 bits.
    AeadAes128Gcm,
}

impl SrtpSuite {
    /// All, in the order that our offers have them: the first is understood by every peer, and the last has a short tag.
    pub const ALL: [Self; 3] = [Self::AesCm128HmacSha1_80, Self::AeadAes128Gcm, Self::AesCm128HmacSha1_32];

    /// Its name in SDP and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
        }
    }

    /// The suite of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of master key and master salt together.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16 + 14,
            Self::AeadAes128Gcm => 16 + 12,
        }
    }
}

/// A master key with its salt behind it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Vec<u8>);

impl MasterKey {
    /// Key and salt: 16 bytes, then the suite's salt.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What both sides encrypt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The suite, for both directions.
    pub suite: SrtpSuite,
    /// What we send with.
    pub local: MasterKey,
    /// What the peer sends with.
    pub remote: MasterKey,
}

/// Where our keys come from: secret randomness, one for each call, and how often the keys have been changed since.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SrtpSeed {
    seed: Option<[u8; 32]>,
    generation: u32,
}

impl SrtpSeed {
    /// From 32 bytes that nobody else knows. The default has none: with it nothing is ever encrypted, and where
    /// encryption is required every description is refused.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { seed: Some(secret), generation: 0 }
    }

    /// From now on other keys.
    pub(crate) const fn change(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Our key for a suite: the same until [`Self::change`], so that what is repeated in a re-INVITE stays the same.
    fn key(&self, suite: SrtpSuite) -> Option<MasterKey> {
        let mut rng = ChaCha20Rng::from_seed(self.seed?);
        let number = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => 0,
            SrtpSuite::AesCm128HmacSha1_32 => 1,
            SrtpSuite::AeadAes128Gcm => 2,
        };
        rng.set_stream(u64::from(self.generation) << 8 | number);
        let mut key = vec![0; suite.key_length()];
        rng.fill_bytes(&mut key);
        Some(MasterKey(key))
    }
}

impl fmt::Debug for SrtpSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSeed").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// One usable `a=crypto` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypto {
    pub(super) tag: u32,
    pub(super) suite: SrtpSuite,
    pub(super) key: MasterKey,
}

impl Crypto {
    /// The line as we write it: a key, no lifetime and no MKI.
    pub(super) fn line(&self) -> String {
        format!("a=crypto:{} {} inline:{}\r\n", self.tag, self.suite.name(), BASE64.encode(self.key.bytes()))
    }
}

/// What an agreement on a line's encryption is: the keys, and our line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secured {
    pub(super) keys: SrtpKeys,
    pub(super) ours: Crypto,
}

/// The lines of our offer.
pub(super) fn offered(local: &LocalMedia) -> Vec<Crypto> {
    let suites = local.srtp_suites.iter().filter(|_| local.srtp != SrtpMode::Off);
    suites
        .zip(1..)
        .filter_map(|(suite, tag)| Some(Crypto { tag, suite: *suite, key: local.srtp_seed.key(*suite)? }))
        .collect()
}

/// Whether an audio line is, or can be, encrypted, and how. `None` means plain RTP.
pub(super) fn secure(
    media: &Media,
    local: &LocalMedia,
    is_answer: bool,
) -> Result<Option<Secured>, OfferError> {
    let found = match (local.srtp, is_answer) {
        (SrtpMode::Off, _) => None,
        (SrtpMode::Optional | SrtpMode::Required, false) => answer_to(media, local),
        (SrtpMode::Optional | SrtpMode::Required, true) => answered(media, local),
    };
    match found {
        Some(secured) => Ok(Some(secured)),
        None if is_savp(media) || local.srtp == SrtpMode::Required => Err(OfferError::Encryption),
        None => Ok(None),
    }
}

/// Whether the line's profile is one of SRTP.
pub(super) fn is_savp(media: &Media) -> bool {
    ["RTP/SAVP", "RTP/SAVPF"].iter().any(|proto| media.proto.eq_ignore_ascii_case(proto))
}

/// The first of the offer's lines that we can use (RFC 4568 section 5.1.2).
fn answer_to(media: &Media, local: &LocalMedia) -> Option<Secured> {
    let theirs = lines(media).find(|crypto| local.srtp_suites.contains(&crypto.suite))?;
    let (tag, suite) = (theirs.tag, theirs.suite);
    let key = local.srtp_seed.key(suite)?;
    let keys = SrtpKeys { suite, local: key.clone(), remote: theirs.key };
    Some(Secured { keys, ours: Crypto { tag, suite, key } })
}

/// What the answer took of our offer: the line with the tag and suite of one of ours (RFC 4568 section 5.1.3).
fn answered(media: &Media, local: &LocalMedia) -> Option<Secured> {
    let offered = offered(local);
    let same = |a: &Crypto, b: &Crypto| (a.tag, a.suite) == (b.tag, b.suite);
    let (ours, theirs) = lines(media)
        .find_map(|theirs| Some((offered.iter().find(|ours| same(ours, &theirs))?.clone(), theirs)))?;
    let keys = SrtpKeys { suite: ours.suite, local: ours.key.clone(), remote: theirs.key };
    Some(Secured { keys, ours })
}

fn lines(media: &Media) -> impl Iterator<Item = Crypto> {
    sdp::values(&media.attributes, "crypto").take(MAX_LINES).filter_map(read)
}

/// One line: tag, suite, one inline key, and no session parameter that would change how packets look.
fn read(value: &str) -> Option<Crypto> {
    if value.len() > MAX_LINE {
        return None;
    }
    let mut words = value.split_ascii_whitespace();
    let tag = words.next()?.parse().ok().filter(|tag| *tag <= MAX_TAG)?;
    let suite = SrtpSuite::named(words.next()?)?;
    let key = inline(words.next()?, suite)?;
    // RFC 4568 section 6.3.7: a line with a parameter that is not understood is not used. The window size is a hint,
    // and a key derivation rate of zero is the default.
    let known = |word: &str| word.starts_with("WSH=") || word == "KDR=0";
    words.all(known).then_some(Crypto { tag, suite, key })
}

/// `inline:KEY|LIFETIME`. More than one key needs an MKI, and with an MKI the packets look different: such a line is
/// skipped, and peers that send one have another without.
fn inline(parameters: &str, suite: SrtpSuite) -> Option<MasterKey> {
    let (method, info) = parameters.split_at_checked("inline:".len())?;
    if !method.eq_ignore_ascii_case("inline:") || info.contains(';') {
        return None;
    }
    let mut parts = info.split('|');
    let key = decode(parts.next()?).filter(|key| key.len() == suite.key_length())?;
    parts.all(is_lifetime).then_some(MasterKey(key))
}

/// Some peers leave the padding out.
fn decode(text: &str) -> Option<Vec<u8>> {
    let padded = format!("{:=<width$}", text.trim_end_matches('='), width = text.len().next_multiple_of(4));
    BASE64.decode(padded).ok()
}

/// `2^20` or a number of packets (RFC 4568 section 6.1). How long the peer's key lasts is the peer's business.
fn is_lifetime(text: &str) -> bool {
    let packets = match text.strip_prefix("2^") {
        Some(power) => power.parse().ok().and_then(|power| 1_u64.checked_shl(power)),
        None => text.parse().ok(),
    };
    packets.is_some_and(|packets| (1..=MAX_LIFETIME).contains(&packets))
}
