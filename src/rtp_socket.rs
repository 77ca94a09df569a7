//! A leg's RTP and RTCP sockets, and the pool of port pairs they come from.
//! Knows datagrams and port numbers. Knows neither calls nor what the datagrams say.

use rustix::io::Errno;
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// What the kernel holds for one socket until its media thread reads it: more than a second of packets, so that a
/// stalled thread loses nothing, and little enough that a flood costs no memory.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Expedited forwarding (RFC 3246), as RFC 4594 section 4.1 recommends for telephony.
const TRAFFIC_CLASS: u32 = 46 << 2;

/// Datagrams thrown away from one cooling socket in one visit. A stream that sends more is far from quiet anyway.
const DRAIN_AT_ONCE: usize = 256;

/// Ports that are tried beyond the first when other processes hold them. A bind that fails takes microseconds; without an
/// end, a range that another program fills would keep everybody's SIP waiting.
const ALTERNATES: usize = 63;
/// An alternate is this part of the range away from the port that was taken.
const LEAP: usize = 64;

/// Tries to find an even port whose neighbour is free too, where the kernel chooses.
const ANY_PORT_TRIES: usize = 64;

/// The bound sockets of one leg: RTP on an even port and RTCP on the next (RFC 3550 section 11), or both on the even one
/// (RFC 5761).
#[derive(Debug)]
pub struct RtpSockets {
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    address: SocketAddr,
    announced: bool,
}

impl RtpSockets {
    /// Binds a pair. `port` is even, or 0 to let the kernel choose.
    ///
    /// # Errors
    /// What the kernel says; `AddrInUse` if either port is taken.
    pub fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        if port != 0 {
            return Self::bind_pair(address, port);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ANY_PORT_TRIES {
            let chosen = UdpSocket::bind((address, 0))?.local_addr()?.port() & !1;
            match Self::bind_pair(address, chosen) {
                Ok(pair) => return Ok(pair),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_pair(address: IpAddr, port: u16) -> io::Result<Self> {
        let next = port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let rtp = bind(SocketAddr::new(address, port))?;
        let rtcp = Some(bind(SocketAddr::new(address, next))?);
        Ok(Self { rtp, rtcp, address: SocketAddr::new(address, port), announced: false })
    }

    /// Says that a peer has been told of these ports, so that it may send to them from now on.
    pub const fn announce(&mut self) {
        self.announced = true;
    }

    /// The RTP port; RTCP is the next one.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where RTP is received, as bound: possibly an unspecified address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The RTP socket, for a poller.
    pub const fn rtp(&self) -> &UdpSocket {
        &self.rtp
    }

    /// The RTCP socket, for a poller; `None` while reports share the RTP port.
    pub const fn rtcp(&self) -> Option<&UdpSocket> {
        self.rtcp.as_ref()
    }

    /// Closes the RTCP socket, because reports share the RTP port from now on. The pair stays ours as a whole: no other
    /// call of this server gets half of it.
    pub fn close_rtcp(&mut self) {
        self.rtcp = None;
    }

    /// Binds the RTCP socket again, if it is closed; true if it has just been bound.
    ///
    /// # Errors
    /// What the kernel says; `AddrInUse` if another process has taken the port meanwhile.
    pub fn open_rtcp(&mut self) -> io::Result<bool> {
        if self.rtcp.is_some() {
            return Ok(false);
        }
        self.rtcp = Some(bind(SocketAddr::new(self.address.ip(), self.address.port() + 1))?);
        Ok(true)
    }

    /// Throws away what has arrived and says whether there was anything.
    fn drain(&self) -> bool {
        let mut scrap = [0; 16];
        let mut heard = false;
        for socket in std::iter::once(&self.rtp).chain(&self.rtcp) {
            for _ in 0..DRAIN_AT_ONCE {
                match receive(socket, &mut scrap) {
                    Received::Datagram { .. } => heard = true,
                    Received::Refused => {}
                    Received::Nothing => break,
                }
            }
        }
        heard
    }
}

/// What reading a socket once gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram, cut to the buffer.
    Datagram {
        /// Its length in the buffer.
        length: usize,
        /// Who sent it.
        from: SocketAddr,
    },
    /// An error that belongs to one datagram, such as an earlier one that the peer's host refused.
    Refused,
    /// Nothing is waiting.
    Nothing,
}

/// Reads one datagram without waiting.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Received {
    match socket.recv_from(buffer) {
        Ok((length, from)) => Received::Datagram { length, from },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
        Err(_) => Received::Refused,
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // A network that ignores the mark, or a container that forbids it, still carries the call.
    let _ = match address {
        SocketAddr::V4(_) => socket.set_tos_v4(TRAFFIC_CLASS),
        SocketAddr::V6(_) => socket.set_tclass_v6(TRAFFIC_CLASS),
    };
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Where RTP is received and how long a port rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpPortsConfig {
    /// The address to bind.
    pub address: IpAddr,
    /// The lowest port. 0 lets the kernel choose every pair; `high` is then meaningless.
    pub low: u16,
    /// The highest port, included.
    pub high: u16,
    /// How long a released pair must have been quiet before it is handed out again.
    pub quiet: Duration,
    /// When a released pair is handed out again even if somebody still sends to it.
    pub longest_cooling: Duration,
}

impl Default for RtpPortsConfig {
    fn default() -> Self {
        Self {
            address: IpAddr::from([0, 0, 0, 0]),
            low: 16_384,
            high: 32_767,
            quiet: Duration::from_secs(30),
            longest_cooling: Duration::from_secs(600),
        }
    }
}

/// Why no pair could be had. Neither is the cap of calls: that is decided before.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// Every pair of the range serves a call, cools down or is held by another process.
    #[error("no RTP port free: {in_use} in use, {cooling} cooling, {taken} held by other processes")]
    Exhausted {
        /// Pairs that serve calls.
        in_use: usize,
        /// Pairs whose last call has ended too recently.
        cooling: usize,
        /// Pairs tried just now whose ports another process holds.
        taken: usize,
    },
    /// The kernel refuses for a reason that another port would not cure.
    #[error("cannot bind RTP sockets: {0}")]
    Socket(#[from] io::Error),
}

/// How the pool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortsStatistics {
    /// Pairs that serve calls.
    pub in_use: usize,
    /// Pairs that cool down.
    pub cooling: usize,
    /// Pairs that can be tried; 0 where the kernel chooses.
    pub idle: usize,
    /// How often a port turned out to be held by another process.
    pub taken_by_others: u64,
    /// How often a cooling pair was still being sent to.
    pub late_streams: u64,
}

struct Cooling {
    sockets: RtpSockets,
    released: Instant,
    quiet_since: Instant,
}

/// The port pairs of one address: handed out longest-idle first, kept bound and emptied for a while after release so
/// that no call hears the stream of the one before.
pub struct RtpPorts {
    config: RtpPortsConfig,
    idle: VecDeque<u16>,
    cooling: Vec<Cooling>,
    statistics: PortsStatistics,
}

impl RtpPorts {
    /// All pairs of the range, idle.
    pub fn new(config: RtpPortsConfig) -> Self {
        let idle =
            if config.low == 0 { VecDeque::new() } else { even_ports(config.low, config.high).collect() };
        Self { config, idle, cooling: Vec::new(), statistics: PortsStatistics::default() }
    }

    /// Hands ports out from this place of the range on, whatever number it is: after a restart the first calls then do not
    /// get the ports that callers of the old process may still send to, and servers that share a range stay apart.
    pub fn begin_at(&mut self, place: u64) {
        if let Some(pairs) = std::num::NonZeroU64::new(self.idle.len() as u64) {
            self.idle.rotate_left((place % pairs) as usize);
        }
    }

    /// The number of calls the range can carry at once; `None` where the kernel chooses.
    pub fn capacity(&self) -> Option<usize> {
        (self.config.low != 0).then(|| even_ports(self.config.low, self.config.high).count())
    }

    /// Binds the pair that has been idle longest, or one of a few alternates; one that another process holds goes to the
    /// end of the line.
    ///
    /// # Errors
    /// [`PortsError`] when no pair can be bound.
    pub fn acquire(&mut self) -> Result<RtpSockets, PortsError> {
        if self.config.low == 0 {
            let sockets = RtpSockets::bind(self.config.address, 0)?;
            self.statistics.in_use += 1;
            return Ok(sockets);
        }
        let mut taken = 0;
        for _ in 0..self.idle.len().min(1 + ALTERNATES) {
            let Some(port) = self.idle.pop_front() else { break };
            match RtpSockets::bind(self.config.address, port) {
                Ok(sockets) => {
                    self.statistics.in_use += 1;
                    return Ok(sockets);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    taken += 1;
                    self.statistics.taken_by_others += 1;
                    self.idle.push_back(port);
                    // Whoever holds it is likely to hold its neighbours as well.
                    self.idle.rotate_left(self.idle.len() / LEAP);
                }
                Err(error) => {
                    self.idle.push_front(port);
                    return Err(error.into());
                }
            }
        }
        // The leaps may come round to the same ports again and again.
        self.idle.rotate_left(usize::from(!self.idle.is_empty()));
        let PortsStatistics { in_use, .. } = self.statistics;
        Err(PortsError::Exhausted { in_use, cooling: self.cooling.len(), taken })
    }

    /// Takes a pair back. It stays bound until it has been quiet for long enough; one that no peer was told of is idle at
    /// once, so that calls that are refused cannot use the range up.
    pub fn release(&mut self, now: Instant, sockets: RtpSockets) {
        self.statistics.in_use = self.statistics.in_use.saturating_sub(1);
        if !sockets.announced {
            if self.config.low != 0 {
                self.idle.push_back(sockets.port());
            }
            return;
        }
        self.cooling.push(Cooling { sockets, released: now, quiet_since: now });
    }

    /// Empties the cooling sockets and frees those that have rested. To be called about once a second.
    pub fn cool(&mut self, now: Instant) {
        let Self { config, idle, cooling, statistics } = self;
        cooling.retain_mut(|pair| {
            if pair.sockets.drain() {
                pair.quiet_since = now;
                statistics.late_streams += 1;
            }
            let rested = now.saturating_duration_since(pair.quiet_since) >= config.quiet;
            let overdue = now.saturating_duration_since(pair.released) >= config.longest_cooling;
            if (rested || overdue) && config.low != 0 {
                idle.push_back(pair.sockets.port());
            }
            !rested && !overdue
        });
    }

    /// How the pool stands.
    pub fn statistics(&self) -> PortsStatistics {
        PortsStatistics { cooling: self.cooling.len(), idle: self.idle.len(), ..self.statistics }
    }
}

/// The even ports whose neighbour is in the range too.
fn even_ports(low: u16, high: u16) -> impl Iterator<Item = u16> {
    (low.saturating_add(low & 1)..high).step_by(2)
}

/// The address this machine would use towards `peer`, asked of the routing table; nothing is sent.
///
/// # Errors
/// What the kernel says when there is no route.
pub fn local_address_towards(peer: IpAddr) -> io::Result<IpAddr> {
    let unspecified: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect((peer, 9))?; // The discard port: connecting a datagram socket only looks the route up.
    Ok(socket.local_addr()?.ip())
}

/// Whether an error of sending says only that the kernel's buffer is full.
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A range of free ports that no other test of this process uses.
    fn announced(mut sockets: RtpSockets) -> RtpSockets {
        sockets.announce();
        sockets
    }

    fn pool(pairs: u16) -> RtpPorts {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(20_000);
        for _ in 0..1_000 {
            let low = NEXT.fetch_add(pairs * 2, std::sync::atomic::Ordering::Relaxed);
            let config = RtpPortsConfig {
                address: LOOPBACK,
                low,
                high: low + pairs * 2 - 1,
                quiet: Duration::from_secs(30),
                longest_cooling: Duration::from_secs(600),
            };
            let free: Vec<_> =
                even_ports(config.low, config.high).map(|p| RtpSockets::bind(LOOPBACK, p)).collect();
            if free.iter().all(Result::is_ok) {
                return RtpPorts::new(config);
            }
        }
        panic!("no free ports on this machine");
    }

    #[test]
    fn pairs_are_even_and_odd_and_inside_the_range() {
        assert_eq!(even_ports(10_000, 10_005).collect::<Vec<_>>(), [10_000, 10_002, 10_004]);
        assert_eq!(even_ports(10_001, 10_005).collect::<Vec<_>>(), [10_002, 10_004]);
        assert_eq!(even_ports(65_534, 65_535).collect::<Vec<_>>(), [65_534]);
        assert_eq!(even_ports(65_535, 65_535).count(), 0);
        let pair = RtpSockets::bind(LOOPBACK, 0).expect("loopback has ports");
        assert_eq!(pair.port() % 2, 0);
        let rtcp = pair.rtcp().and_then(|rtcp| rtcp.local_addr().ok());
        assert_eq!(rtcp.map(|address| address.port()), Some(pair.port() + 1));
    }

    #[test]
    fn any_place_of_the_range_will_do_to_begin_at_and_no_port_is_lost() {
        let range = RtpPortsConfig { low: 40_000, high: 40_009, ..RtpPortsConfig::default() };
        for (place, first) in [(0, 40_000), (3, 40_006), (5, 40_000), (u64::MAX, 40_000)] {
            let mut ports = RtpPorts::new(range.clone());
            ports.begin_at(place);
            assert_eq!((ports.idle[0], ports.idle.len()), (first, 5), "{place}");
        }
        RtpPorts::new(RtpPortsConfig { low: 0, ..range }).begin_at(7);
    }

    #[test]
    fn a_shared_port_frees_the_other_one_until_it_is_needed_again() {
        let mut pair = RtpSockets::bind(LOOPBACK, 0).expect("loopback has ports");
        let next = SocketAddr::new(LOOPBACK, pair.port() + 1);
        assert!(!pair.open_rtcp().expect("it is open"));
        pair.close_rtcp();
        assert!(pair.rtcp().is_none());
        let other = UdpSocket::bind(next).expect("nobody holds it any more");
        assert_eq!(pair.open_rtcp().map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
        drop(other);
        assert!(pair.open_rtcp().expect("it is free again"));
        assert_eq!(pair.rtcp().and_then(|rtcp| rtcp.local_addr().ok()), Some(next));
    }

    #[test]
    fn the_pair_idle_longest_goes_first() {
        let mut ports = pool(3);
        let start = Instant::now();
        let (first, second) = (ports.acquire().expect("free"), ports.acquire().expect("free"));
        let first_port = first.port();
        let [first, second] = [first, second].map(announced);
        ports.release(start, first);
        ports.release(start + Duration::from_secs(1), second);
        ports.cool(start + Duration::from_secs(40));
        let third = ports.acquire().expect("free");
        assert_eq!(third.port(), first_port + 4);
        let again = ports.acquire().expect("free");
        assert_eq!(again.port(), first_port);
    }

    #[test]
    fn a_port_held_by_another_is_stepped_over_and_counted() {
        let mut ports = pool(2);
        let low = ports.config.low;
        let _other = UdpSocket::bind((LOOPBACK, low + 1)).expect("was free a moment ago");
        assert_eq!(ports.acquire().expect("the second pair").port(), low + 2);
        assert_eq!(ports.statistics().taken_by_others, 1);
    }

    #[test]
    fn ports_that_others_hold_are_tried_so_many_at_a_time() {
        let mut ports = pool(80);
        let low = ports.config.low;
        let _others: Vec<_> = (0..79)
            .map(|pair| UdpSocket::bind((LOOPBACK, low + 2 * pair)).expect("was free a moment ago"))
            .collect();
        let (mut refused, mut last) = (0, None);
        while last.is_none() && refused < 80 {
            match ports.acquire() {
                Ok(sockets) => last = Some(sockets.port()),
                Err(PortsError::Exhausted { taken, .. }) => {
                    assert_eq!(taken, 64);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        // Each call goes on where the one before gave up.
        assert_eq!(last, Some(low + 158), "after {refused} calls");
    }

    #[test]
    fn ports_that_nobody_was_told_of_need_no_rest() {
        let mut ports = pool(1);
        let now = Instant::now();
        let sockets = ports.acquire().expect("free");
        ports.release(now, sockets);
        let sockets = announced(ports.acquire().expect("at once"));
        ports.release(now, sockets);
        assert!(matches!(ports.acquire(), Err(PortsError::Exhausted { cooling: 1, .. })));
    }

    #[test]
    fn what_was_sent_to_the_call_before_is_not_heard_by_the_next_one() {
        let mut ports = pool(1);
        let start = Instant::now();
        let pair = ports.acquire().expect("free");
        let address = pair.address();
        let late = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
        let send = |byte| late.send_to(&[byte; 172], address).expect("loopback");
        // Some are in the socket when the call ends, some come while it cools, some until the very end.
        (0..20).for_each(|_| _ = send(1));
        ports.release(start, announced(pair));
        (0..20).for_each(|_| _ = send(2));
        ports.cool(start + Duration::from_secs(1));
        (0..20).for_each(|_| _ = send(3));
        ports.cool(start + Duration::from_secs(601));
        let again = ports.acquire().expect("it has cooled for long enough");
        assert_eq!(again.address(), address);
        send(4);
        let mut buffer = [0; 200];
        let mut heard = Vec::new();
        while let Received::Datagram { .. } = receive(again.rtp(), &mut buffer) {
            heard.push(buffer[0]);
        }
        // What comes from now on is the call's to judge: it is not from its peer.
        assert_eq!(heard, [4]);
    }

    #[test]
    fn a_pair_that_is_still_sent_to_keeps_cooling() {
        let mut ports = pool(1);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pair = ports.acquire().expect("free");
        let address = pair.address();
        ports.release(start, announced(pair));
        let stranger = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
        stranger.send_to(&[0; 172], address).expect("loopback");
        ports.cool(at(29));
        ports.cool(at(31));
        assert!(matches!(ports.acquire(), Err(PortsError::Exhausted { in_use: 0, cooling: 1, taken: 0 })));
        ports.cool(at(59));
        assert_eq!(ports.acquire().expect("30 s of quiet").port(), address.port());
        assert_eq!(ports.statistics().late_streams, 1);
    }

    #[test]
    fn nobody_can_keep_a_pair_from_us_for_ever() {
        let mut ports = pool(1);
        let start = Instant::now();
        let pair = ports.acquire().expect("free");
        let address = pair.address();
        ports.release(start, announced(pair));
        let stranger = UdpSocket::bind((LOOPBACK, 0)).expect("loopback has ports");
        for second in (0..=600).step_by(20) {
            stranger.send_to(&[0; 172], address).expect("loopback");
            ports.cool(start + Duration::from_secs(second));
        }
        assert_eq!(ports.statistics(), PortsStatistics { idle: 1, late_streams: 31, ..Default::default() });
    }

    #[test]
    fn the_route_to_a_peer_names_our_address() {
        assert_eq!(local_address_towards(LOOPBACK).expect("loopback is routed"), LOOPBACK);
    }
}
