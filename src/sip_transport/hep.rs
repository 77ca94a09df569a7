//! Copies of SIP messages for a capture server, in HEP version 3 over UDP. Off unless an address is given.
//! Knows the envelope. Never waits: what the kernel will not take at once is counted and lost.

use super::SipCounters;
use sip::{Flow, Transport};
use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HepConfig {
    /// The capture server.
    pub to: SocketAddr,
    /// Which of its agents we are.
    pub capture_id: u32,
}

impl HepConfig {
    /// The number of an agent that has been given none.
    pub const CAPTURE_ID: u32 = 2001;
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To us.
    In,
    /// From us.
    Out,
}

/// Sends copies.
pub(super) struct Hep {
    socket: UdpSocket,
    capture_id: u32,
    packet: Vec<u8>,
}

impl Hep {
    pub(super) fn open(config: &HepConfig) -> io::Result<Self> {
        let any: IpAddr = if config.to.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(config.to)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, capture_id: config.capture_id, packet: Vec::new() })
    }

    /// Sends a copy of a message, from which the secrets have been taken.
    pub(super) fn copy(
        &mut self,
        counters: &SipCounters,
        (flow, way): (&Flow, Way),
        call_id: &str,
        message: &[u8],
    ) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = (u32::try_from(since.as_secs()).unwrap_or(u32::MAX), since.subsec_micros());
        self.packet.clear();
        let fits = encode(&mut self.packet, (flow, way), time, self.capture_id, (call_id, message));
        let sent = fits && self.socket.send(&self.packet).is_ok();
        SipCounters::count(if sent { &counters.hep_sent } else { &counters.hep_dropped });
    }
}

/// The vendor of the chunks that everybody knows.
const GENERIC: [u8; 2] = [0, 0];
/// The protocol type for SIP.
const SIP: u8 = 1;

/// Writes one packet; false if the message is too large for one.
fn encode(
    out: &mut Vec<u8>,
    (flow, way): (&Flow, Way),
    (seconds, micros): (u32, u32),
    capture_id: u32,
    (call_id, message): (&str, &[u8]),
) -> bool {
    let (source, destination) = match way {
        Way::In => (flow.remote, flow.local),
        Way::Out => (flow.local, flow.remote),
    };
    out.extend_from_slice(b"HEP3\0\0");
    // Addresses of two families cannot stand in one packet; a flow has only one.
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(out, 0x0001, &[2]);
            chunk(out, 0x0003, &from.octets());
            chunk(out, 0x0004, &to.octets());
        }
        (from, to) => {
            chunk(out, 0x0001, &[10]);
            chunk(out, 0x0005, &v6(from));
            chunk(out, 0x0006, &v6(to));
        }
    }
    chunk(out, 0x0002, &[if flow.transport == Transport::Udp { 17 } else { 6 }]);
    chunk(out, 0x0007, &source.port().to_be_bytes());
    chunk(out, 0x0008, &destination.port().to_be_bytes());
    chunk(out, 0x0009, &seconds.to_be_bytes());
    chunk(out, 0x000a, &micros.to_be_bytes());
    chunk(out, 0x000b, &[SIP]);
    chunk(out, 0x000c, &capture_id.to_be_bytes());
    let room = usize::from(u16::MAX) - 2 * 6;
    if out.len() + call_id.len() + message.len() > room {
        return false;
    }
    chunk(out, 0x0011, call_id.as_bytes());
    chunk(out, 0x000f, message);
    let Ok(length) = u16::try_from(out.len()) else { return false };
    out[4..6].copy_from_slice(&length.to_be_bytes());
    true
}

fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 6).unwrap_or(u16::MAX);
    out.extend_from_slice(&GENERIC);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of a packet by number.
    fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(&packet[..4], b"HEP3");
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
        let mut rest = &packet[6..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            found.push((u16::from_be_bytes([rest[2], rest[3]]), rest[6..length].to_vec()));
            rest = &rest[length..];
        }
        found
    }

    fn flow(local: &str, remote: &str) -> Flow {
        let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
        Flow { transport: Transport::Tcp, local, remote, connection: 1 }
    }

    #[test]
    fn a_packet_says_who_sent_what_when_and_to_which_call_it_belongs() {
        let mut packet = Vec::new();
        let flow = flow("192.0.2.1:5060", "198.51.100.2:5070");
        assert!(encode(&mut packet, (&flow, Way::In), (7, 8), 2001, ("a@b", b"OPTIONS")));
        let chunks = chunks(&packet);
        let expected: [(u16, &[u8]); 12] = [
            (1, &[2]),
            (3, &[198, 51, 100, 2]),
            (4, &[192, 0, 2, 1]),
            (2, &[6]),
            (7, &5070_u16.to_be_bytes()),
            (8, &5060_u16.to_be_bytes()),
            (9, &[0, 0, 0, 7]),
            (10, &[0, 0, 0, 8]),
            (11, &[1]),
            (12, &2001_u32.to_be_bytes()),
            (17, b"a@b"),
            (15, b"OPTIONS"),
        ];
        let found: Vec<_> = chunks.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ipv6_has_its_own_chunks_and_what_does_not_fit_is_not_sent() {
        let mut packet = Vec::new();
        let flow = flow("[2001:db8::1]:5060", "[2001:db8::2]:5060");
        assert!(encode(&mut packet, (&flow, Way::Out), (7, 8), 1, ("a", b"x")));
        assert_eq!(chunks(&packet)[1].0, 5);
        assert!(!encode(&mut Vec::new(), (&flow, Way::Out), (7, 8), 1, ("a", &[b'x'; 65_500])));
    }
}
