//! `loadtest floor`: a bare program that sends every datagram back to where it came from, and does nothing else.
//! What it costs is what any server of the same packets on the same sockets must pay to the kernel.

use rustix::event::epoll;
use std::{
    io::{self, Write as _},
    mem::MaybeUninit,
    net::{IpAddr, UdpSocket},
};

/// Sends datagrams back: what a media server cannot do with less.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The address of the sockets.
    #[arg(long)]
    address: IpAddr,
    /// The first port; each call has this one and the next.
    #[arg(long)]
    port: u16,
    /// Calls.
    #[arg(long)]
    calls: u16,
}

/// Runs until it is ended.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    serve(args).map_err(|error| error.to_string())
}

fn serve(args: &Args) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::new();
    for port in args.port..args.port + 2 * args.calls {
        let socket = UdpSocket::bind((args.address, port))?;
        socket.set_nonblocking(true)?;
        let name = epoll::EventData::new_u64(sockets.len() as u64);
        epoll::add(&epoll, &socket, name, epoll::EventFlags::IN)?;
        sockets.push(socket);
    }
    let mut out = io::stdout();
    writeln!(out, "listening on {} sockets", sockets.len())?;
    out.flush()?;
    let (mut events, mut buffer) = ([MaybeUninit::uninit(); 256], [0; 2_048]);
    loop {
        let ready = match epoll::wait(&epoll, &mut events[..], None) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in ready.iter() {
            let socket = &sockets[event.data.u64() as usize];
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _what_the_kernel_has_no_room_for_is_lost = socket.send_to(&buffer[..length], from);
            }
        }
    }
}
