//! The encryption of a leg's packets: with keys they are sealed and opened, without they pass as they are.
//! Knows what was negotiated. Knows nothing of who sent a packet.

use media::{Srtp, SrtpCounts, SrtpProfile};
use sip::{SrtpKeys, SrtpSuite};
use std::borrow::Cow;

/// What stands between a leg's media and the network.
pub struct Protection {
    srtp: Option<Srtp>,
    /// Whether packets go in clear: without that and without keys, nothing goes.
    clear: bool,
    /// What earlier keys refused, from before encryption was negotiated away.
    earlier: SrtpCounts,
}

impl Protection {
    /// As negotiated; `None` if the keys do not fit their suite.
    pub fn new(keys: Option<&SrtpKeys>) -> Option<Self> {
        let srtp = keys.map(open).transpose().ok()?;
        Some(Self { srtp, clear: keys.is_none(), earlier: SrtpCounts::default() })
    }

    /// As re-negotiated. Keys that stay are not touched; keys that do not fit are not taken, and nothing goes in clear.
    pub fn renegotiate(&mut self, keys: Option<&SrtpKeys>) {
        self.clear = keys.is_none();
        match (&mut self.srtp, keys) {
            (Some(srtp), Some(keys)) => {
                let _the_old_ones_stay = srtp.rekey(profile(keys), keys.local.bytes(), keys.remote.bytes());
            }
            (None, Some(keys)) => self.srtp = open(keys).ok(),
            (Some(_), None) => {
                self.earlier = self.counts();
                self.srtp = None;
            }
            (None, None) => {}
        }
    }

    /// The RTP packet in a datagram, if it is authentic and new.
    pub fn open_rtp<'a>(&mut self, datagram: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match &mut self.srtp {
            Some(srtp) => srtp.open_rtp(datagram).ok().map(Cow::Owned),
            None => self.clear.then_some(Cow::Borrowed(datagram)),
        }
    }

    /// The RTCP packet in a datagram, if it is authentic and new.
    pub fn open_rtcp<'a>(&mut self, datagram: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match &mut self.srtp {
            Some(srtp) => srtp.open_rtcp(datagram).ok().map(Cow::Owned),
            None => self.clear.then_some(Cow::Borrowed(datagram)),
        }
    }

    /// An RTP packet as it may leave.
    pub fn seal_rtp(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.srtp {
            Some(srtp) => srtp.seal_rtp(&packet),
            None => self.clear.then_some(packet),
        }
    }

    /// An RTCP packet as it may leave.
    pub fn seal_rtcp(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.srtp {
            Some(srtp) => srtp.seal_rtcp(&packet),
            None => self.clear.then_some(packet),
        }
    }

    /// Packets refused in this call.
    pub fn counts(&self) -> SrtpCounts {
        let now = self.srtp.as_ref().map(Srtp::counts).unwrap_or_default();
        SrtpCounts {
            malformed: self.earlier.malformed + now.malformed,
            auth_failed: self.earlier.auth_failed + now.auth_failed,
            replayed: self.earlier.replayed + now.replayed,
        }
    }
}

fn open(keys: &SrtpKeys) -> Result<Srtp, media::SrtpKeyError> {
    Srtp::new(profile(keys), keys.local.bytes(), keys.remote.bytes())
}

const fn profile(keys: &SrtpKeys) -> SrtpProfile {
    match keys.suite {
        SrtpSuite::AesCm128HmacSha1_80 => SrtpProfile::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => SrtpProfile::AesCm128HmacSha1_32,
        SrtpSuite::AeadAes128Gcm => SrtpProfile::AeadAes128Gcm,
    }
}
