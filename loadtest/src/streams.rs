//! Many calls' RTP without callers that think: what they say is known beforehand, what comes back is only measured.
//! Knows packets and their times. So little work for each that a thousand calls do not disturb whom they measure.

use crate::wire::{self, Wire};
use media::{Codec, Frame, SampleRate, tone};
use nix::sys::{
    socket::{MsgFlags, SockaddrIn, recvmsg},
    time::TimeSpec,
};
use rustix::{
    event::epoll,
    thread::{ClockId, clock_nanosleep_absolute},
    time::{Timespec, clock_gettime},
};
use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::Range,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Calls that share a socket: few sockets are quickly looked after, many have room for all that comes at once.
const CALLS_OF_A_SOCKET: usize = 16;
/// Parts of a frame over which the sockets' calls are spread.
const PHASES: usize = 20;
/// Between two looks at the sockets.
const TICK_NS: i64 = 1_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// A packet of G.711 with its header.
const PACKET: usize = 12 + 160;
/// A line where nobody speaks is not digital silence.
const LINE_NOISE_DBFS: f32 = -65.0;
/// The magnitude of µ-law from which a sample is no noise of a quiet line, and how many of a packet must be so.
const LOUD: u8 = 0x30;
const LOUD_SAMPLES: usize = 8;
/// How far one caller's speech is from the next one's, in frames: no two of a few hundred speak at the same moment.
const STAGGER: usize = 37;

/// What every caller sends, over and over: G.711 µ-law, 20 ms each.
pub(crate) struct Speech(Vec<[u8; 160]>);

impl Speech {
    /// Speech, 8 kHz, and then a line's noise until the round is over.
    pub(crate) fn new(speech: &[i16], round: Duration) -> Self {
        let frames = (round.as_millis() / media::FRAME.as_millis()) as usize;
        let mut samples = tone::noise(1, LINE_NOISE_DBFS, frames * 160);
        for (sample, word) in samples.iter_mut().zip(speech) {
            *sample = sample.saturating_add(*word);
        }
        let encode = |chunk: &[i16]| {
            let (mut coded, mut payload) = (Vec::new(), [0; 160]);
            Codec::Pcmu.encode(&Frame::from_samples(SampleRate::Hz8000, chunk), &mut coded);
            payload.copy_from_slice(&coded);
            payload
        };
        Self(samples.chunks_exact(160).map(encode).collect())
    }

    fn frame(&self, number: usize) -> &[u8; 160] {
        &self.0[number % self.0.len()]
    }
}

/// One call's side of the wire.
struct Line {
    /// Where its packets go, once it is known.
    target: Option<SocketAddr>,
    sent: usize,
    wire: Wire,
    voiced: u64,
}

/// What came back on one line in the measured time.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) wire: Wire,
    /// Packets with more than silence or comfort noise.
    pub(crate) voiced: u64,
}

/// Everybody's sockets.
pub(crate) struct Streams {
    sockets: Vec<UdpSocket>,
    lines: Vec<Line>,
    epoll: OwnedFd,
}

/// What a run needs to know from outside.
pub(crate) struct Run<'a> {
    pub(crate) speech: &'a Speech,
    /// Lines that are up from now on, and where their packets go.
    pub(crate) answered: Receiver<(usize, SocketAddr)>,
    /// The time in which packets count, as soon as it is known.
    pub(crate) measured: &'a OnceLock<Range<SystemTime>>,
    pub(crate) stop: &'a AtomicBool,
    /// Counts what is received while it runs.
    pub(crate) packets: &'a AtomicU64,
}

impl Streams {
    /// Sockets for so many lines.
    pub(crate) fn open(address: IpAddr, lines: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sockets = Vec::new();
        for number in 0..lines.div_ceil(CALLS_OF_A_SOCKET) {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_nonblocking(true)?;
            wire::stamp(&socket)?;
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            sockets.push(socket);
        }
        let line = |_| Line { target: None, sent: 0, wire: Wire::default(), voiced: 0 };
        Ok(Self { sockets, lines: (0..lines).map(line).collect(), epoll })
    }

    /// Where each line wants its packets.
    pub(crate) fn ports(&self) -> io::Result<Vec<u16>> {
        let socket = |line| &self.sockets[line / CALLS_OF_A_SOCKET];
        (0..self.lines.len()).map(|line| socket(line).local_addr().map(|address| address.port())).collect()
    }

    /// Sends and receives until it is stopped.
    pub(crate) fn run(mut self, run: &Run<'_>) -> io::Result<Vec<Heard>> {
        let _by_default_the_kernel_may_add_50_us =
            rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
        let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut by_source = HashMap::new();
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut next = clock_gettime(ClockId::Monotonic);
        let mut tick = 0;
        while !run.stop.load(Ordering::Relaxed) {
            for (line, target) in run.answered.try_iter() {
                self.lines[line].target = Some(target);
                by_source.insert(target, line);
            }
            let measured = run.measured.get().map(|times| since_epoch(times.start)..since_epoch(times.end));
            self.send(tick, run.speech);
            self.receive(&by_source, measured.as_ref(), &mut control, run.packets)?;
            tick += 1;
            next = after(next);
            let _interrupted_is_awake = clock_nanosleep_absolute(ClockId::Monotonic, &next);
        }
        Ok(self.lines.into_iter().map(|line| Heard { wire: line.wire, voiced: line.voiced }).collect())
    }

    /// A packet for every line whose time it is. A late tick is made up for by the next ones, which then do not sleep.
    fn send(&mut self, tick: usize, speech: &Speech) {
        let mut packet = [0; PACKET];
        for (number, socket) in self.sockets.iter().enumerate() {
            if number % PHASES != tick % PHASES {
                continue;
            }
            let lines = number * CALLS_OF_A_SOCKET..self.lines.len().min((number + 1) * CALLS_OF_A_SOCKET);
            for line in lines {
                let Some(target) = self.lines[line].target else { continue };
                let sent = self.lines[line].sent;
                self.lines[line].sent += 1;
                packet[0] = 0x80;
                packet[1] = if sent == 0 { 0x80 } else { 0 };
                packet[2..4].copy_from_slice(&(sent as u16).to_be_bytes());
                packet[4..8].copy_from_slice(&(sent as u32).wrapping_mul(160).to_be_bytes());
                packet[8..12].copy_from_slice(&(line as u32 + 1).to_be_bytes());
                packet[12..].copy_from_slice(speech.frame(sent + line * STAGGER));
                let _what_the_kernel_has_no_room_for_is_lost = socket.send_to(&packet, target);
            }
        }
    }

    fn receive(
        &mut self,
        by_source: &HashMap<SocketAddr, usize>,
        measured: Option<&Range<Duration>>,
        control: &mut [u8],
        packets: &AtomicU64,
    ) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); 64];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready: Vec<usize> = match epoll::wait(&self.epoll, &mut events[..], Some(&now)) {
            Ok((ready, _)) => ready.iter().map(|event| event.data.u64() as usize).collect(),
            Err(_interrupted) => Vec::new(),
        };
        for number in ready {
            while let Some(datagram) = receive_one(&self.sockets[number], control)? {
                let Some(line) = by_source.get(&datagram.from).map(|line| &mut self.lines[*line]) else {
                    continue;
                };
                let counts = measured.is_some_and(|times| times.contains(&datagram.at));
                let before = line.wire.packets;
                line.wire.note(datagram.at, datagram.bytes(), counts);
                line.voiced += u64::from(line.wire.packets > before && is_voiced(datagram.bytes()));
                packets.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// One datagram.
struct Datagram {
    length: usize,
    from: SocketAddr,
    /// When it came, since 1970.
    at: Duration,
    buffer: [u8; 512],
}

impl Datagram {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

fn receive_one(socket: &UdpSocket, control: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut buffer = [0; 512];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let (length, from, at) = match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(control), flags)
    {
        Ok(message) => {
            let at = message.cmsgs()?.find_map(wire::kernel_time);
            let from = message.address.map(|from| SocketAddr::from((from.ip(), from.port())));
            (message.bytes, from, at)
        }
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        // A datagram of ours that the other side refused, before or after its call.
        Err(nix::errno::Errno::ECONNREFUSED) => (0, None, None),
        Err(error) => return Err(error.into()),
    };
    let from = from.unwrap_or(SocketAddr::from(([0; 4], 0)));
    Ok(Some(Datagram { length, from, at: at.unwrap_or_default(), buffer }))
}

/// Whether a packet of µ-law is louder than comfort noise: some samples are beyond 924 of 32,767, -31 dB.
fn is_voiced(packet: &[u8]) -> bool {
    let payload = packet.get(12..).unwrap_or_default();
    payload.iter().filter(|byte| !**byte & 0x7f >= LOUD).count() >= LOUD_SAMPLES
}

fn after(time: Timespec) -> Timespec {
    let tv_nsec = time.tv_nsec + TICK_NS;
    if tv_nsec >= SECOND_NS {
        Timespec { tv_sec: time.tv_sec + 1, tv_nsec: tv_nsec - SECOND_NS }
    } else {
        Timespec { tv_sec: time.tv_sec, tv_nsec }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Ipv4Addr, sync::mpsc};

    #[test]
    fn a_round_is_speech_and_then_a_quiet_line() {
        let speech = Speech::new(&tone::speech(8_000, 1, -20.0, 1_600), Duration::from_millis(400));
        let level = |number: usize| {
            let frame = speech.frame(number);
            let mut samples = Vec::new();
            media::Decoder::new(Codec::Pcmu).decode(frame, &mut samples);
            Frame::from_samples(SampleRate::Hz8000, &samples).level_dbfs()
        };
        assert!((0..8).any(|frame| level(frame) > -30.0));
        assert!((11..20).all(|frame| level(frame) < -55.0));
        assert_eq!(speech.frame(20), speech.frame(0));
    }

    #[test]
    fn what_an_echo_sends_back_is_told_by_line() {
        let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let target = echo.local_addr().expect("bound");
        echo.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let speech = Speech::new(&tone::speech(8_000, 1, -20.0, 8_000), Duration::from_secs(1));
        let streams = Streams::open(IpAddr::V4(Ipv4Addr::LOCALHOST), 3).expect("loopback has ports");
        let (sender, answered) = mpsc::channel();
        sender.send((1, target)).expect("somebody listens");
        let (stop, packets) = (AtomicBool::new(false), AtomicU64::new(0));
        let now = SystemTime::now();
        let measured = OnceLock::from(now - Duration::from_secs(60)..now + Duration::from_secs(60));
        let heard = std::thread::scope(|scope| {
            let run = Run { speech: &speech, answered, measured: &measured, stop: &stop, packets: &packets };
            let streams = scope.spawn(move || streams.run(&run));
            let mut buffer = [0; 512];
            for _ in 0..5 {
                let (length, from) = echo.recv_from(&mut buffer).expect("it sends");
                echo.send_to(&buffer[..length], from).expect("loopback");
            }
            while packets.load(Ordering::Relaxed) < 5 {
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
            streams.join().expect("it ends well").expect("its sockets work")
        });
        assert_eq!([heard[0].wire.packets, heard[1].wire.packets, heard[2].wire.packets], [0, 4, 0]);
        assert_eq!(heard[1].wire.lost, 0);
    }

    #[test]
    fn speech_is_told_from_comfort_noise() {
        let packet = |samples: &[i16]| {
            let mut packet = vec![0; 12];
            Codec::Pcmu.encode(&Frame::from_samples(SampleRate::Hz8000, samples), &mut packet);
            packet
        };
        assert!(!is_voiced(&packet(&[0; 160])));
        assert!(!is_voiced(&packet(&tone::noise(1, -50.0, 160))));
        assert!(is_voiced(&packet(&tone::noise(1, -25.0, 160))));
    }
}
