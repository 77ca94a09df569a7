//! Packets of the peer under one key: whose they are, whether they came before, what is in them.
//! Keeps state only for SSRCs of authentic packets, and for few of those.

use super::{
    Keying, SrtpKeyError, SrtpRefusal, header,
    window::{Stream, index_near},
};
use rtc_srtp::context::Context;

/// SSRCs of the peer under one key that are remembered, for RTP and for RTCP each; the one unheard longest is forgotten.
/// A peer has one, and another after each transfer at its end.
const MAX_STREAMS: usize = 16;

/// Packets of unknown SSRCs that one trial context judges before it is thrown away with all they left in it.
const TRIALS: u32 = 64;

/// How often a first packet is tried under another roll-over counter than zero. Forged ones use this up as well.
const HUNTS: u32 = 32;

/// The library's own guess of the roll-over counter needs steps of less than half the sequence numbers.
const STEP: u64 = 0x7000;

/// Beyond this the counter is not followed over a change of keys: a stream would have lasted 58 hours.
const MAX_CARRIED: u64 = 160 << 16;

/// One direction under one key.
pub(super) struct Opener {
    key: Keying,
    /// Knows authentic SSRCs only.
    context: Context,
    /// Judges the others.
    trial: Context,
    trials: u32,
    hunts: u32,
    rtp: Vec<Stream>,
    rtcp: Vec<Stream>,
    /// Where streams were under the key before: some peers keep their roll-over counter when they change the key.
    carried: Vec<(u32, u64)>,
    /// Authentic packets so far.
    packets: u64,
}

impl Opener {
    pub(super) fn new(key: Keying) -> Result<Self, SrtpKeyError> {
        Ok(Self {
            context: key.context()?,
            trial: key.context()?,
            key,
            trials: 0,
            hunts: HUNTS,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            carried: Vec::new(),
            packets: 0,
        })
    }

    /// The next key of the same peer.
    pub(super) fn follow(&self, key: Keying) -> Result<Self, SrtpKeyError> {
        let carried = self.rtp.iter().map(|stream| (stream.ssrc, stream.highest));
        let carried = carried.filter(|(_, highest)| (1 << 16..MAX_CARRIED).contains(highest)).collect();
        Ok(Self { carried, ..Self::new(key)? })
    }

    pub(super) const fn key(&self) -> &Keying {
        &self.key
    }

    pub(super) fn open_rtp(&mut self, datagram: &[u8]) -> Result<Vec<u8>, SrtpRefusal> {
        let (ssrc, sequence) = header::rtp(datagram).ok_or(SrtpRefusal::Malformed)?;
        let Some(stream) = self.rtp.iter_mut().find(|stream| stream.ssrc == ssrc) else {
            return self.first_rtp(datagram, ssrc, sequence);
        };
        let index = index_near(stream.highest, sequence);
        if stream.is_replay(index) {
            return Err(SrtpRefusal::Replayed);
        }
        let packet = self.context.decrypt_rtp(datagram).map_err(|_| SrtpRefusal::AuthFailed)?;
        self.packets += 1;
        stream.used = self.packets;
        stream.accept(index);
        Ok(packet.into())
    }

    pub(super) fn open_rtcp(&mut self, datagram: &[u8]) -> Result<Vec<u8>, SrtpRefusal> {
        let (ssrc, index, encrypted) =
            header::rtcp(datagram, self.key.profile).ok_or(SrtpRefusal::Malformed)?;
        if !encrypted {
            // We never agree to unencrypted SRTCP, and the library would not check its tag.
            return Err(SrtpRefusal::AuthFailed);
        }
        let index = u64::from(index);
        let Some(stream) = self.rtcp.iter_mut().find(|stream| stream.ssrc == ssrc) else {
            return self.first_rtcp(datagram, ssrc, index);
        };
        if stream.is_replay(index) {
            return Err(SrtpRefusal::Replayed);
        }
        let packet = self.context.decrypt_rtcp(datagram).map_err(|_| SrtpRefusal::AuthFailed)?;
        self.packets += 1;
        stream.used = self.packets;
        stream.accept(index);
        Ok(packet.into())
    }

    /// A packet of an SSRC that is new here: it is tried where it leaves nothing behind.
    fn first_rtp(&mut self, datagram: &[u8], ssrc: u32, sequence: u16) -> Result<Vec<u8>, SrtpRefusal> {
        let index = if self.trial()?.decrypt_rtp(datagram).is_ok() {
            u64::from(sequence)
        } else {
            self.hunt(datagram, ssrc, sequence).ok_or(SrtpRefusal::AuthFailed)?
        };
        self.make_room()?;
        if index >> 16 != 0 {
            lead(&mut self.context, &self.key, ssrc, index)?;
        }
        let packet = self.context.decrypt_rtp(datagram).map_err(|_| SrtpRefusal::AuthFailed)?;
        self.packets += 1;
        self.rtp.push(Stream::new(ssrc, index, self.packets));
        Ok(packet.into())
    }

    fn first_rtcp(&mut self, datagram: &[u8], ssrc: u32, index: u64) -> Result<Vec<u8>, SrtpRefusal> {
        let packet = self.trial()?.decrypt_rtcp(datagram).map_err(|_| SrtpRefusal::AuthFailed)?;
        self.make_room()?;
        self.packets += 1;
        self.rtcp.push(Stream::new(ssrc, index, self.packets));
        Ok(packet.into())
    }

    fn trial(&mut self) -> Result<&mut Context, SrtpRefusal> {
        self.trials += 1;
        if self.trials > TRIALS {
            self.trials = 1;
            self.trial = self.key.context().map_err(|_| SrtpRefusal::AuthFailed)?;
        }
        Ok(&mut self.trial)
    }

    /// The index of a first packet that is not in the first cycle of sequence numbers: its stream had a life under the
    /// key before, or began shortly before the end of a cycle and lost its first packets.
    fn hunt(&mut self, datagram: &[u8], ssrc: u32, sequence: u16) -> Option<u64> {
        let carried = self.carried.iter().find(|(carried, _)| *carried == ssrc);
        let carried = carried.map(|(_, highest)| index_near(*highest, sequence));
        let second = (sequence < 0x4000).then_some(1 << 16 | u64::from(sequence));
        for index in [carried, second].into_iter().flatten().filter(|index| index >> 16 != 0) {
            self.hunts = self.hunts.checked_sub(1)?;
            let mut context = self.key.context().ok()?;
            lead(&mut context, &self.key, ssrc, index).ok()?;
            if context.decrypt_rtp(datagram).is_ok() {
                return Some(index);
            }
        }
        None
    }

    /// Forgets the stream unheard longest when there are too many. A context cannot forget: a new one takes over those
    /// that stay.
    fn make_room(&mut self) -> Result<(), SrtpRefusal> {
        let is_full = |streams: &Vec<Stream>| streams.len() >= MAX_STREAMS;
        if !is_full(&self.rtp) && !is_full(&self.rtcp) {
            return Ok(());
        }
        for streams in [&mut self.rtp, &mut self.rtcp].into_iter().filter(|streams| is_full(streams)) {
            let oldest = streams.iter().enumerate().min_by_key(|(_, stream)| stream.used);
            if let Some(oldest) = oldest.map(|(at, _)| at) {
                streams.swap_remove(oldest);
            }
        }
        self.context = self.key.context().map_err(|_| SrtpRefusal::AuthFailed)?;
        for stream in &self.rtp {
            lead(&mut self.context, &self.key, stream.ssrc, stream.highest + 1)?;
        }
        Ok(())
    }
}

/// Brings a context to where `index` is the next packet of a stream it does not know. It only learns the roll-over
/// counter from packets, so it gets some, sealed with the same key and never sent.
fn lead(context: &mut Context, key: &Keying, ssrc: u32, index: u64) -> Result<(), SrtpRefusal> {
    let mut sealer = key.context().map_err(|_| SrtpRefusal::AuthFailed)?;
    let mut at = 0;
    while at < index {
        let mut packet = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        packet[2..4].copy_from_slice(&(at as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let sealed = sealer.encrypt_rtp(&packet).map_err(|_| SrtpRefusal::AuthFailed)?;
        context.decrypt_rtp(&sealed).map_err(|_| SrtpRefusal::AuthFailed)?;
        at = if at + 1 == index { index } else { (at + STEP).min(index - 1) };
    }
    Ok(())
}
