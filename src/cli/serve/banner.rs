//! What a person sees when the server is ready: where it listens, who answers, and how to call.
//! Knows words only.

use crate::{config::Config, server::Server, services::Vocabulary};
use sip::Transport;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub(super) fn print(config: &Config, server: &Server, http: SocketAddr, vocabulary: &[Vocabulary]) {
    let mut text = String::new();
    // Writing into a string cannot fail, and whoever started us may have closed standard error.
    let _ = write(&mut text, config, server, http, vocabulary);
    let _ = io::stderr().write_all(text.as_bytes());
}

fn write(
    out: &mut String,
    config: &Config,
    server: &Server,
    http: SocketAddr,
    vocabulary: &[Vocabulary],
) -> std::fmt::Result {
    let listening: Vec<String> = server.listening().iter().map(ToString::to_string).collect();
    writeln!(out, "Tandem {} is ready.", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  SIP        {}", listening.join("  "))?;
    writeln!(
        out,
        "  RTP        {}:{}-{}",
        config.rtp.address, config.rtp.ports.first, config.rtp.ports.last
    )?;
    writeln!(out, "  HTTP       http://{http}   (health, calls, traces, metrics)")?;
    writeln!(out, "  Data       {}", config.server.data_dir.display())?;
    writeln!(out, "  Ports      {} calls at the same time", config.server.ports)?;
    for trunk in &config.trunks {
        let agent = config.agents.get(&trunk.agent);
        let name = agent.map_or_else(String::new, |a| format!("{} {}", a.name(), a.version()));
        writeln!(out, "  Trunk      {}: answered by the agent \"{name}\"", trunk.name)?;
    }
    for Vocabulary { agent, words } in vocabulary {
        writeln!(
            out,
            "  Hearing    \"{agent}\" uses the embedded recogniser: it knows {words} words. For open speech, configure a provider."
        )?;
    }
    if let Some(first) = server.listening().first() {
        let port = first.address.port();
        // UDP needs no word; a semicolon needs quotes.
        let uri = match first.transport {
            Transport::Udp => format!("sip:agent@{}", call_address(first.address)),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                format!("\"sip:agent@{};transport={}\"", call_address(first.address), first.transport.param())
            }
        };
        writeln!(out, "  Call it    tandem call {uri}")?;
        writeln!(out, "             or dial sip:agent@<this machine>:{port} from any soft phone")?;
    }
    Ok(())
}

/// An address that a caller on this machine can use.
fn call_address(bound: SocketAddr) -> SocketAddr {
    let host = if bound.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound.ip() };
    SocketAddr::new(host, bound.port())
}
