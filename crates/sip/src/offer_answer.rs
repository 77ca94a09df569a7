//! Offer and answer for one audio stream of G.711 with telephone-event (RFC 3264, RFC 4733).
//! Knows SDP. Knows nothing of dialogs: who sends what when is decided elsewhere.

use crate::sdp::{self, Direction, Format};
use sdp_types::{Media, Session};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Our payload type for telephone-event in offers; in answers the offer's number is used.
const TELEPHONE_EVENT: u8 = 101;
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
    /// `PCMU` and `PCMA`, preferred first in offers; in answers the offer's order decides.
    pub codecs: Vec<&'static str>,
    /// Whether DTMF events are understood.
    pub telephone_event: bool,
    /// `sess-id` of our origin line, constant in a dialog.
    pub session_id: u64,
    /// `sess-version`: one more whenever our description changes.
    pub version: u64,
}

/// What offer and answer agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where to send RTP.
    pub remote: SocketAddr,
    /// Where to send RTCP.
    pub remote_rtcp: SocketAddr,
    /// `PCMU` or `PCMA`.
    pub codec: String,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone-event, if both sides have it.
    pub telephone_event: Option<u8>,
    /// Payload type of comfort noise, if the peer may send it.
    pub comfort_noise: Option<u8>,
    /// The packet length the peer asks for, in milliseconds.
    pub ptime_ms: u32,
    /// Ours.
    pub direction: Direction,
}

/// Why there is no agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP.
    #[error("unreadable session description")]
    Unreadable,
    /// No usable audio line: none at all, or only rejected, encrypted or unknown ones.
    #[error("no usable audio stream")]
    NoAudio,
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
            Self::NoAudio | Self::NoCodec | Self::Address => 488,
        }
    }
}

/// Our offer: all our codecs, both ways.
pub fn make_offer(local: &LocalMedia) -> String {
    let mut formats: Vec<Format> = local.codecs.iter().filter_map(|codec| static_codec(codec)).collect();
    if local.telephone_event {
        let name = "TELEPHONE-EVENT".to_owned();
        formats.push(Format { payload_type: TELEPHONE_EVENT, name, clock: 8000 });
    }
    let mut text = head(local, "0 0");
    write_audio(&mut text, local, ("RTP/AVP", &formats), Direction::SendRecv);
    text
}

/// Our answer to `offer`, and what it means for the media.
pub fn make_answer(offer: &str, local: &LocalMedia) -> Result<(String, Negotiated), OfferError> {
    let session = read(offer)?;
    let (chosen, negotiated) = choose(&session, local)?;
    let times = session.times.first().map_or_else(
        || "0 0".to_owned(),
        // RFC 3264 section 6: the answer repeats the offer's time line.
        |time| format!("{} {}", time.start_time, time.stop_time),
    );
    let mut text = head(local, &times);
    for (index, media) in session.medias.iter().enumerate() {
        if index == chosen {
            let formats = answer_formats(media, &negotiated);
            write_audio(&mut text, local, (&media.proto, &formats), negotiated.direction);
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
    choose(&session, offer_local).map(|(_, negotiated)| negotiated)
}

fn read(text: &str) -> Result<Session, OfferError> {
    sdp::parse(text).filter(|session| session.medias.len() <= MAX_MEDIA).ok_or(OfferError::Unreadable)
}

/// The first audio line that works; the error of the most promising one otherwise.
fn choose(session: &Session, local: &LocalMedia) -> Result<(usize, Negotiated), OfferError> {
    let mut error = OfferError::NoAudio;
    for (index, media) in session.medias.iter().enumerate() {
        if !is_usable_audio(media) {
            continue;
        }
        match negotiate(session, media, local) {
            Ok(negotiated) => return Ok((index, negotiated)),
            Err(found) if error == OfferError::NoAudio => error = found,
            Err(_) => {}
        }
    }
    Err(error)
}

fn is_usable_audio(media: &Media) -> bool {
    media.media.eq_ignore_ascii_case("audio")
        && media.port != 0
        && ["RTP/AVP", "RTP/AVPF"].iter().any(|proto| media.proto.eq_ignore_ascii_case(proto))
}

fn negotiate(session: &Session, media: &Media, local: &LocalMedia) -> Result<Negotiated, OfferError> {
    let formats = sdp::formats(media);
    let codec = formats
        .iter()
        .find(|format| format.clock == 8000 && local.codecs.contains(&format.name.as_str()))
        .ok_or(OfferError::NoCodec)?;
    let remote = sdp::rtp_address(session, media).ok_or(OfferError::Address)?;
    let held = remote.ip().is_unspecified();
    if (!held && remote.is_ipv4() != local.address.is_ipv4()) || remote.ip().is_multicast() {
        return Err(OfferError::Address);
    }
    let event = |name: &str| {
        formats.iter().find(|format| format.name == name && format.clock == 8000).map(|f| f.payload_type)
    };
    // An address of zeros is hold as RFC 2543 had it (RFC 3264 section 8.4): nothing can be sent there.
    let direction = if held { Direction::Inactive } else { sdp::direction(session, media).reversed() };
    Ok(Negotiated {
        remote,
        remote_rtcp: sdp::rtcp_address(media, remote),
        codec: codec.name.clone(),
        payload_type: codec.payload_type,
        telephone_event: event("TELEPHONE-EVENT").filter(|_| local.telephone_event),
        comfort_noise: event("CN"),
        ptime_ms: ptime(media),
        direction,
    })
}

fn ptime(media: &Media) -> u32 {
    let value = sdp::values(&media.attributes, "ptime").next().and_then(|value| value.trim().parse().ok());
    value.filter(|ptime| (10..=200).contains(ptime)).unwrap_or(PTIME_MS)
}

/// One codec, so that there is nothing to guess; and events under the offer's payload type.
fn answer_formats(media: &Media, negotiated: &Negotiated) -> Vec<Format> {
    let wanted = [Some(negotiated.payload_type), negotiated.telephone_event];
    let formats = sdp::formats(media);
    wanted
        .into_iter()
        .flatten()
        .filter_map(|payload_type| formats.iter().find(|format| format.payload_type == payload_type).cloned())
        .collect()
}

fn static_codec(name: &str) -> Option<Format> {
    let payload_type = match name {
        "PCMU" => 0,
        "PCMA" => 8,
        _ => return None,
    };
    Some(Format { payload_type, name: name.to_owned(), clock: 8000 })
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

fn write_audio(
    text: &mut String,
    local: &LocalMedia,
    (proto, formats): (&str, &[Format]),
    direction: Direction,
) {
    let _ = write!(text, "m=audio {} {proto}", local.port);
    for format in formats {
        let _ = write!(text, " {}", format.payload_type);
    }
    text.push_str("\r\n");
    for format in formats {
        let is_event = format.name == "TELEPHONE-EVENT";
        let name = if is_event { "telephone-event" } else { &format.name };
        let _ = write!(text, "a=rtpmap:{} {name}/{}\r\n", format.payload_type, format.clock);
        if is_event {
            let _ = write!(text, "a=fmtp:{} 0-15\r\n", format.payload_type);
        }
    }
    let _ = write!(text, "a=ptime:{PTIME_MS}\r\na={}\r\n", direction.name());
}
