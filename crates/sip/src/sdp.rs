//! SDP as we need it: one session description read leniently, its audio lines, formats and directions
//! (RFC 8866, RFC 3551). Knows the format. What to answer is decided in `offer_answer`.

use sdp_types::{Attribute, Media, Session};
use std::net::{IpAddr, SocketAddr};

/// Which way media flows, seen from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// We only send.
    SendOnly,
    /// We only receive.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// As an attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same direction seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::SendRecv | Self::Inactive => self,
        }
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sends = |way| matches!(way, Self::SendRecv | Self::SendOnly);
        let receives = |way| matches!(way, Self::SendRecv | Self::RecvOnly);
        match (sends(self) && sends(other), receives(self) && receives(other)) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.name() == name)
    }
}

/// One format of an audio line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) payload_type: u8,
    /// Encoding name, upper-case when it was read.
    pub(crate) name: String,
    pub(crate) clock: u32,
    pub(crate) channels: u8,
    /// Our parameters; those of a peer are [`fmtp`].
    pub(crate) fmtp: Option<&'static str>,
}

/// Reads a session description. Blanks at line ends, doubled blanks and a broken origin are forgiven.
pub(crate) fn parse(text: &str) -> Option<Session> {
    let mut clean = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.trim_end();
        if line.starts_with("o=") && !origin_ok(line) {
            // The origin identifies the session, which we do not need: a broken one costs no call.
            clean.push_str("o=- 0 0 IN IP4 0.0.0.0");
        } else if line.starts_with("m=") || line.starts_with("c=") {
            let mut words = line.split_ascii_whitespace();
            clean.push_str(words.next().unwrap_or_default());
            words.for_each(|word| {
                clean.push(' ');
                clean.push_str(word);
            });
        } else {
            clean.push_str(line);
        }
        clean.push_str("\r\n");
    }
    Session::parse(clean.as_bytes()).ok()
}

fn origin_ok(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    words.len() == 6 && words[2].parse::<u64>().is_ok() && words[3] == "IN"
}

/// The formats of a line in the sender's order of preference. Static payload types need no rtpmap (RFC 3551).
pub(crate) fn formats(media: &Media) -> Vec<Format> {
    media
        .fmt
        .split_ascii_whitespace()
        .filter_map(|fmt| fmt.parse::<u8>().ok().filter(|payload_type| *payload_type < 128))
        .filter_map(|payload_type| {
            let mapped = values(&media.attributes, "rtpmap").find_map(|value| rtpmap(value, payload_type));
            mapped.or_else(|| static_format(payload_type))
        })
        .collect()
}

fn rtpmap(value: &str, wanted: u8) -> Option<Format> {
    let (payload_type, encoding) = value.trim().split_once([' ', '\t'])?;
    if payload_type.parse() != Ok(wanted) {
        return None;
    }
    let mut parts = encoding.trim().split('/');
    let name = parts.next()?.trim().to_ascii_uppercase();
    let clock = parts.next().and_then(|clock| clock.trim().parse().ok()).unwrap_or(8000);
    let channels = parts.next().map_or(Some(1), |channels| channels.trim().parse().ok())?;
    Some(Format { payload_type: wanted, name, clock, channels, fmtp: None })
}

fn static_format(payload_type: u8) -> Option<Format> {
    let name = match payload_type {
        0 => "PCMU",
        8 => "PCMA",
        9 => "G722",
        13 => "CN",
        _ => return None,
    };
    Some(Format { payload_type, name: name.to_owned(), clock: 8000, channels: 1, fmtp: None })
}

/// The values of all attributes of that name.
pub(crate) fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
}

/// Whether there is an attribute of that name.
pub(crate) fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.attribute == name)
}

/// The sender's parameters for a payload type.
pub(crate) fn fmtp(media: &Media, payload_type: u8) -> Option<&str> {
    values(&media.attributes, "fmtp").find_map(|value| {
        let (number, parameters) = value.trim().split_once([' ', '\t'])?;
        (number.parse() == Ok(payload_type)).then_some(parameters.trim())
    })
}

/// The sender's direction of a line: its own attribute, else the session's, else both ways.
pub(crate) fn direction(session: &Session, media: &Media) -> Direction {
    let of = |attributes: &[Attribute]| {
        attributes.iter().find_map(|attribute| Direction::from_name(&attribute.attribute))
    };
    of(&media.attributes).or_else(|| of(&session.attributes)).unwrap_or(Direction::SendRecv)
}

/// Where the sender of this description wants RTP; `None` if that is not an IP address.
pub(crate) fn rtp_address(session: &Session, media: &Media) -> Option<SocketAddr> {
    let connection = media.connections.first().or(session.connection.as_ref())?;
    Some(SocketAddr::new(ip(&connection.connection_address)?, media.port))
}

/// Where it wants RTCP: `a=rtcp` (RFC 3605), else the next port.
pub(crate) fn rtcp_address(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let next = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Some(value) = values(&media.attributes, "rtcp").next() else { return next };
    let mut words = value.split_ascii_whitespace();
    let Some(port) = words.next().and_then(|port| port.parse().ok()) else { return next };
    let address = words.nth(2).and_then(ip).unwrap_or(rtp.ip());
    SocketAddr::new(address, port)
}

fn ip(text: &str) -> Option<IpAddr> {
    // A TTL after `/` belongs to multicast and is of no use here.
    text.split('/').next()?.trim().parse().ok()
}
