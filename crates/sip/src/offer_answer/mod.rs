//! Offer and answer for one audio stream with telephone-event, plain or encrypted (RFC 3264, RFC 4733, RFC 4568).
//! Knows SDP. Knows nothing of dialogs: who sends what when is decided elsewhere.

mod codec;
mod session;
mod srtp;

pub use codec::CodecSpec;
pub use session::MediaSession;
pub use srtp::{MasterKey, SrtpKeys, SrtpMode, SrtpSeed, SrtpSuite};

use crate::sdp::{self, Direction, Format};
use sdp_types::{Media, Session};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Our payload type for telephone-event in offers, and for the one on a second clock; in answers the offer's number is
/// used.
const TELEPHONE_EVENT: [u8; 2] = [101, 102];
/// The packet length we ask for and send, in milliseconds.
const PTIME_MS: u32 = 20;
/// More lines than this make an offer nobody means.
const MAX_MEDIA: usize = 32;

/// What we offer or accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// Address for RTP.
    pub address: IpAddr,
    /// RTP port; RTCP is the next one.
    pub port: u16,
    /// Preferred first in offers; in answers the offer's order decides.
    pub codecs: Vec<CodecSpec>,
    /// Whether DTMF events are understood.
    pub telephone_event: bool,
    /// `sess-id` of our origin line, constant in a dialog.
    pub session_id: u64,
    /// `sess-version`: one more whenever our description changes; [`MediaSession`] sees to it.
    pub version: u64,
    /// Which way we want media to flow; an answer never allows more than the offer.
    pub direction: Direction,
    /// Whether it is encrypted.
    pub srtp: SrtpMode,
    /// The ways to encrypt, preferred first in offers; in answers the offer's order decides.
    pub srtp_suites: Vec<SrtpSuite>,
    /// Where our keys come from.
    pub srtp_seed: SrtpSeed,
}

impl LocalMedia {
    /// G.711 both ways with telephone-event, not encrypted.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            codecs: vec![CodecSpec::PCMU, CodecSpec::PCMA],
            telephone_event: true,
            session_id: 1,
            version: 1,
            direction: Direction::SendRecv,
            srtp: SrtpMode::Off,
            srtp_suites: SrtpSuite::ALL.to_vec(),
            srtp_seed: SrtpSeed::default(),
        }
    }
}

/// What offer and answer agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where to send RTP.
    pub remote: SocketAddr,
    /// Where to send RTCP.
    pub remote_rtcp: SocketAddr,
    /// Whether RTCP shares the port of RTP, in both directions (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec's name, as [`CodecSpec`] has it.
    pub codec: String,
    /// Its payload type.
    pub payload_type: u8,
    /// Its RTP clock in Hz.
    pub clock: u32,
    /// The peer's `a=fmtp` parameters for it.
    pub fmtp: Option<String>,
    /// Payload type of telephone-event, if both sides have it: on the codec's clock, or on 8 kHz where there is no such.
    pub telephone_event: Option<u8>,
    /// Payload type of comfort noise, if the peer may send it.
    pub comfort_noise: Option<u8>,
    /// The packet length the peer asks for, in milliseconds.
    pub ptime_ms: u32,
    /// Ours.
    pub direction: Direction,
    /// Suite and keys; `None` is plain RTP.
    pub srtp: Option<SrtpKeys>,
}

/// Why there is no agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP.
    #[error("unreadable session description")]
    Unreadable,
    /// No usable audio line: none at all, or only rejected or unknown ones.
    #[error("no usable audio stream")]
    NoAudio,
    /// Encrypted where we do not encrypt, not encrypted where we must, or without a key that we can use.
    #[error("no agreement on encryption")]
    Encryption,
    /// No codec in common.
    #[error("no codec in common")]
    NoCodec,
    /// The address is a name, or of another family than ours.
    #[error("media address cannot be reached")]
    Address,
}

impl OfferError {
    /// The status that rejects such an offer.
    pub fn status(self) -> u16 {
        match self {
            Self::Unreadable => 400,
            Self::NoAudio | Self::Encryption | Self::NoCodec | Self::Address => 488,
        }
    }
}

/// Our offer: all our codecs. With encryption required it is RTP/SAVP; optional is RTP/AVP with keys (RFC 8643), which
/// a peer without encryption answers as if they were not there.
pub fn make_offer(local: &LocalMedia) -> String {
    let mut formats: Vec<Format> = local.codecs.iter().map(Format::ours).collect();
    if local.telephone_event {
        let mut clocks: Vec<u32> = formats.iter().map(|format| format.clock).collect();
        clocks.sort_unstable();
        clocks.dedup();
        let events = clocks.into_iter().zip(TELEPHONE_EVENT);
        formats.extend(events.map(|(clock, payload_type)| Format::event(payload_type, clock)));
    }
    let crypto = srtp::offered(local);
    let proto = if local.srtp == SrtpMode::Required { "RTP/SAVP" } else { "RTP/AVP" };
    let mut text = head(local, "0 0");
    let line =
        AudioLine { proto, formats: &formats, crypto: &crypto, rtcp_mux: false, direction: local.direction };
    line.write(local, &mut text);
    text
}

/// Our answer to `offer`, and what it means for the media.
pub fn make_answer(offer: &str, local: &LocalMedia) -> Result<(String, Negotiated), OfferError> {
    let session = read(offer)?;
    let Choice { line: chosen, negotiated, crypto } = choose(&session, local, Role::Answering)?;
    let times = session.times.first().map_or_else(
        || "0 0".to_owned(),
        // RFC 3264 section 6: the answer repeats the offer's time line.
        |time| format!("{} {}", time.start_time, time.stop_time),
    );
    let mut text = head(local, &times);
    for (index, media) in session.medias.iter().enumerate() {
        if index == chosen {
            let formats = answer_formats(media, &negotiated, local);
            let line = AudioLine {
                proto: &media.proto,
                formats: &formats,
                crypto: crypto.as_slice(),
                rtcp_mux: negotiated.rtcp_mux,
                direction: negotiated.direction,
            };
            line.write(local, &mut text);
        } else {
            // RFC 3264 section 6: a refused line keeps its place, with port 0.
            let _ = write!(text, "m={} 0 {} {}\r\n", media.media, media.proto, media.fmt);
        }
    }
    Ok((text, negotiated))
}

/// What the peer's answer to our offer means for the media.
pub fn accept_answer(offer_local: &LocalMedia, answer: &str) -> Result<Negotiated, OfferError> {
    let session = read(answer)?;
    choose(&session, offer_local, Role::Offering).map(|choice| choice.negotiated)
}

fn read(text: &str) -> Result<Session, OfferError> {
    sdp::parse(text).filter(|session| session.medias.len() <= MAX_MEDIA).ok_or(OfferError::Unreadable)
}

/// Which side of the exchange we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The description is the answer to our offer.
    Offering,
    /// It is an offer.
    Answering,
}

/// The line that will be used.
struct Choice {
    line: usize,
    negotiated: Negotiated,
    /// Our key for the answer.
    crypto: Option<srtp::Crypto>,
}

/// The first audio line that works, an encrypted one before a plain one; the error of the most promising otherwise.
fn choose(session: &Session, local: &LocalMedia, role: Role) -> Result<Choice, OfferError> {
    let mut error = OfferError::NoAudio;
    let mut plain = None;
    for (line, media) in session.medias.iter().enumerate().filter(|(_, media)| is_usable_audio(media)) {
        match negotiate(session, media, local, role) {
            Ok((negotiated, crypto)) => {
                let choice = Choice { line, negotiated, crypto };
                if choice.negotiated.srtp.is_some() || local.srtp == SrtpMode::Off {
                    return Ok(choice);
                }
                plain.get_or_insert(choice);
            }
            Err(found) if error == OfferError::NoAudio => error = found,
            Err(_) => {}
        }
    }
    plain.ok_or(error)
}

fn is_usable_audio(media: &Media) -> bool {
    media.media.eq_ignore_ascii_case("audio")
        && media.port != 0
        && (srtp::is_savp(media)
            || ["RTP/AVP", "RTP/AVPF"].iter().any(|proto| media.proto.eq_ignore_ascii_case(proto)))
}

fn negotiate(
    session: &Session,
    media: &Media,
    local: &LocalMedia,
    role: Role,
) -> Result<(Negotiated, Option<srtp::Crypto>), OfferError> {
    let formats = sdp::formats(media);
    let find = |format: &Format| local.codecs.iter().find(|codec| format.is(codec)).copied();
    let (codec, payload_type) = formats
        .iter()
        .find_map(|format| Some((find(format)?, format.payload_type)))
        .ok_or(OfferError::NoCodec)?;
    let secured = srtp::secure(media, local, role == Role::Offering)?;
    let (srtp, crypto) = secured.map(|secured| (secured.keys, secured.ours)).unzip();
    let remote = sdp::rtp_address(session, media).ok_or(OfferError::Address)?;
    let held = remote.ip().is_unspecified();
    if (!held && remote.is_ipv4() != local.address.is_ipv4()) || remote.ip().is_multicast() {
        return Err(OfferError::Address);
    }
    let on_clock = |name: &str, clock: u32| {
        formats.iter().find(|format| format.name == name && format.clock == clock).map(|f| f.payload_type)
    };
    let event = on_clock("TELEPHONE-EVENT", codec.clock).or_else(|| on_clock("TELEPHONE-EVENT", 8_000));
    // An address of zeros is hold as RFC 2543 had it (RFC 3264 section 8.4): nothing can be sent there.
    let direction = if held { Direction::Inactive } else { sdp::direction(session, media).reversed() };
    // We never offer to share the port, so only an offer can ask for it.
    let rtcp_mux = role == Role::Answering && sdp::has(&media.attributes, "rtcp-mux");
    let negotiated = Negotiated {
        remote,
        remote_rtcp: if rtcp_mux { remote } else { sdp::rtcp_address(media, remote) },
        rtcp_mux,
        codec: codec.name.to_owned(),
        payload_type,
        clock: codec.clock,
        fmtp: sdp::fmtp(media, payload_type).map(str::to_owned),
        telephone_event: event.filter(|_| local.telephone_event),
        comfort_noise: on_clock("CN", 8_000),
        ptime_ms: ptime(media),
        direction: direction.and(local.direction),
        srtp,
    };
    Ok((negotiated, crypto))
}

/// What the peer wants in one packet, and never more than it takes (RFC 8866 sections 6.4 and 6.5).
fn ptime(media: &Media) -> u32 {
    let number =
        |name| sdp::values(&media.attributes, name).next().and_then(|value| value.trim().parse().ok());
    let usable = |ptime: &u32| (10..=200).contains(ptime);
    let wanted = number("ptime").filter(usable).unwrap_or(PTIME_MS);
    number("maxptime").filter(usable).map_or(wanted, |most| wanted.min(most))
}

/// One codec, so that there is nothing to guess; and events under the offer's payload type.
fn answer_formats(media: &Media, negotiated: &Negotiated, local: &LocalMedia) -> Vec<Format> {
    let wanted = [Some(negotiated.payload_type), negotiated.telephone_event];
    let formats = sdp::formats(media);
    let offered = |payload_type| formats.iter().find(|format| format.payload_type == payload_type).cloned();
    wanted.into_iter().flatten().filter_map(offered).map(|format| format.answered(&local.codecs)).collect()
}

fn head(local: &LocalMedia, times: &str) -> String {
    let (family, address) = (family(local.address), local.address);
    let mut text = String::with_capacity(400);
    let (id, version) = (local.session_id, local.version);
    let _ = write!(
        text,
        "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt={times}\r\n"
    );
    text
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

/// An audio line of ours.
struct AudioLine<'a> {
    proto: &'a str,
    formats: &'a [Format],
    crypto: &'a [srtp::Crypto],
    rtcp_mux: bool,
    direction: Direction,
}

impl AudioLine<'_> {
    fn write(&self, local: &LocalMedia, text: &mut String) {
        let _ = write!(text, "m=audio {} {}", local.port, self.proto);
        for format in self.formats {
            let _ = write!(text, " {}", format.payload_type);
        }
        text.push_str("\r\n");
        for format in self.formats {
            format.write(text);
        }
        for crypto in self.crypto {
            text.push_str(&crypto.line());
        }
        if self.rtcp_mux {
            text.push_str("a=rtcp-mux\r\n");
        }
        let _ = write!(text, "a=ptime:{PTIME_MS}\r\na={}\r\n", self.direction.name());
    }
}

impl Format {
    fn ours(codec: &CodecSpec) -> Self {
        let CodecSpec { name, payload_type, clock, channels, fmtp } = *codec;
        Self { payload_type, name: name.to_owned(), clock, channels, fmtp }
    }

    /// Keys and hook flash are all that we know of the events.
    fn event(payload_type: u8, clock: u32) -> Self {
        let name = "telephone-event".to_owned();
        Self { payload_type, name, clock, channels: 1, fmtp: Some("0-15") }
    }

    fn is(&self, codec: &CodecSpec) -> bool {
        (self.clock, self.channels) == (codec.clock, codec.channels)
            && self.name.eq_ignore_ascii_case(codec.name)
    }

    /// A format of the offer as our answer names it.
    fn answered(self, codecs: &[CodecSpec]) -> Self {
        let payload_type = self.payload_type;
        match codecs.iter().find(|codec| self.is(codec)) {
            Some(codec) => Self { payload_type, ..Self::ours(codec) },
            None => Self::event(payload_type, self.clock),
        }
    }

    fn write(&self, text: &mut String) {
        let Self { payload_type, name, clock, channels, fmtp } = self;
        let _ = write!(text, "a=rtpmap:{payload_type} {name}/{clock}");
        if *channels > 1 {
            let _ = write!(text, "/{channels}");
        }
        text.push_str("\r\n");
        if let Some(fmtp) = fmtp {
            let _ = write!(text, "a=fmtp:{payload_type} {fmtp}\r\n");
        }
    }
}
