//! What callers receive, with the time at which the kernel took it from the network.
//! Knows RTP headers. The kernel's clock does not depend on how busy the caller is.

use nix::sys::{
    socket::{
        ControlMessageOwned, MsgFlags, recvmsg, setsockopt,
        sockopt::{RcvBuf, ReceiveTimestampns},
    },
    time::TimeSpec,
};
use std::{
    io::{self, IoSliceMut},
    net::UdpSocket,
    ops::Range,
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Room for packets while a caller's thread is not running.
const RECEIVE_BUFFER: usize = 256 << 10;
/// Payload types of G.711.
const AUDIO: [u8; 2] = [0, 8];

/// Asks the kernel to say when a datagram came.
pub(crate) fn stamp(socket: &UdpSocket) -> io::Result<()> {
    setsockopt(socket, ReceiveTimestampns, &true)?;
    Ok(setsockopt(socket, RcvBuf, &RECEIVE_BUFFER)?)
}

/// Reads one datagram, with the time at which the kernel took it from the network on this process's clock.
pub(crate) fn receive_at(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Instant)> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let (length, stamp) = (message.bytes, message.cmsgs()?.find_map(kernel_time));
    let (now, today) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let ago = stamp.map_or(Duration::ZERO, |stamp| today.saturating_sub(stamp));
    Ok((length, now.checked_sub(ago).unwrap_or(now)))
}

/// What came on one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// Between consecutive packets, in microseconds.
    pub(crate) gaps_us: Vec<u32>,
    /// Packets with audio.
    pub(crate) packets: u64,
    /// Packets that the sequence numbers say are missing.
    pub(crate) lost: u64,
    last: Option<(Duration, u16)>,
}

impl Wire {
    /// Takes a datagram. Only gaps that end in the measured time count.
    fn note(&mut self, at: Duration, datagram: &[u8], measured: bool) {
        let &[first, second, high, low, ..] = datagram else { return };
        if first >> 6 != 2 || !AUDIO.contains(&(second & 0x7f)) {
            return;
        }
        let sequence = u16::from_be_bytes([high, low]);
        if let Some((before, last)) = self.last.replace((at, sequence)).filter(|_| measured) {
            self.packets += 1;
            self.gaps_us.push(at.saturating_sub(before).as_micros() as u32);
            // What looks like thousands is one that was overtaken.
            let missing = sequence.wrapping_sub(last).wrapping_sub(1);
            self.lost += u64::from(if missing < 1_000 { missing } else { 0 });
        }
    }
}

/// Reads the lines' sockets and keeps what came.
pub(crate) struct Tap<'a> {
    measured: Range<Duration>,
    control: Vec<u8>,
    lines: Vec<Wire>,
    packets: &'a AtomicU64,
}

impl<'a> Tap<'a> {
    /// For so many lines. Without `measured`, everything counts. `packets` counts while it runs.
    pub(crate) fn new(lines: usize, measured: Option<Range<SystemTime>>, packets: &'a AtomicU64) -> Self {
        let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let measured = measured.map(|times| since_epoch(times.start)..since_epoch(times.end));
        Self {
            measured: measured.unwrap_or(Duration::ZERO..Duration::MAX),
            control: nix::cmsg_space!(TimeSpec),
            lines: vec![Wire::default(); lines],
            packets,
        }
    }

    /// Reads one datagram of a line, if there is one.
    pub(crate) fn receive(
        &mut self,
        line: usize,
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let (length, stamp) = {
            let mut parts = [IoSliceMut::new(buffer)];
            let message = recvmsg::<()>(
                socket.as_raw_fd(),
                &mut parts,
                Some(&mut self.control),
                MsgFlags::MSG_DONTWAIT,
            )?;
            (message.bytes, message.cmsgs()?.find_map(kernel_time))
        };
        let at = stamp.or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        if let Some(wire) = self.lines.get_mut(line) {
            wire.note(at, &buffer[..length], self.measured.contains(&at));
            self.packets.fetch_add(1, Ordering::Relaxed);
        }
        Ok(length)
    }

    /// What came on each line.
    pub(crate) fn finish(self) -> Vec<Wire> {
        self.lines
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only one kind was asked for")]
fn kernel_time(message: ControlMessageOwned) -> Option<Duration> {
    match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16) -> [u8; 12] {
        let [high, low] = sequence.to_be_bytes();
        [0x80, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn gaps_and_losses_are_counted_across_the_wrap_and_not_for_reports() {
        let mut wire = Wire::default();
        let at = Duration::from_millis;
        wire.note(at(0), &packet(65_534), true);
        wire.note(at(20), &packet(65_535), true);
        wire.note(at(25), &[0x80, 200, 0, 1, 0, 0, 0, 0], true);
        wire.note(at(41), &packet(2), true);
        wire.note(at(50), &packet(1), true);
        assert_eq!(wire.gaps_us, [20_000, 21_000, 9_000]);
        assert_eq!((wire.packets, wire.lost), (3, 2));
    }

    #[test]
    fn what_is_outside_the_measured_time_only_says_where_the_next_gap_begins() {
        let mut wire = Wire::default();
        wire.note(Duration::from_millis(0), &packet(1), false);
        wire.note(Duration::from_millis(20), &packet(2), false);
        wire.note(Duration::from_millis(41), &packet(3), true);
        assert_eq!((wire.gaps_us.as_slice(), wire.packets), (&[21_000][..], 1));
    }

    /// The gap between two datagrams sent 30 ms apart and read together, µs, as the tap has it.
    fn gap_of_two_read_at_once(here: &UdpSocket, there: &UdpSocket) -> u32 {
        let packets = AtomicU64::new(0);
        let mut tap = Tap::new(1, None, &packets);
        for sequence in 0..2 {
            there.send_to(&packet(sequence), here.local_addr().expect("bound")).expect("loopback");
            std::thread::sleep(Duration::from_millis(30));
        }
        let mut buffer = [0; 100];
        for _ in 0..2 {
            assert_eq!(tap.receive(0, here, &mut buffer).expect("it has come"), 12);
        }
        assert!(tap.receive(0, here, &mut buffer).is_err(), "nothing more has come");
        tap.finish()[0].gaps_us[0]
    }

    #[test]
    fn the_kernel_says_when_a_datagram_came() {
        let (here, there) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (here, there) = (here.expect("loopback has ports"), there.expect("loopback has ports"));
        stamp(&here).expect("the kernel can do this");
        // The kernel turns stamping on from a work queue: what comes before that has run bears the time of
        // its reading. So the promise is that stamps soon are those of the arrival, not that the first is.
        let stamped = (0..50).any(|_| gap_of_two_read_at_once(&here, &there) >= 29_000);
        assert!(stamped, "50 pairs of datagrams all bore the time at which they were read");
    }
}
