//! What a person sees when the server is ready: where it listens, who answers, and how to call.
//! Knows words only.

use crate::{config::Config, server::Server, services::Vocabulary};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) fn print(config: &Config, server: &Server, http: SocketAddr, vocabulary: &[Vocabulary]) {
    let listening: Vec<String> = server.listening().iter().map(ToString::to_string).collect();
    eprintln!("Tandem {} is ready.", env!("CARGO_PKG_VERSION"));
    eprintln!("  SIP        {}", listening.join("  "));
    eprintln!("  RTP        {}:{}-{}", config.rtp.address, config.rtp.ports.first, config.rtp.ports.last);
    eprintln!("  HTTP       http://{http}   (health, calls, traces, metrics)");
    eprintln!("  Data       {}", config.server.data_dir.display());
    eprintln!("  Ports      {} calls at the same time", config.server.ports);
    for trunk in &config.trunks {
        let agent = config.agents.get(&trunk.agent);
        let name = agent.map_or_else(String::new, |a| format!("{} {}", a.name(), a.version()));
        eprintln!("  Trunk      {}: answered by the agent \"{name}\"", trunk.name);
    }
    for Vocabulary { agent, words } in vocabulary {
        eprintln!(
            "  Hearing    \"{agent}\" uses the embedded recogniser: it knows {words} words. For open speech, configure a provider."
        );
    }
    if let Some(first) = server.listening().first() {
        let port = first.address.port();
        eprintln!("  Call it    tandem call sip:agent@{}", call_address(first.address));
        eprintln!("             or dial sip:agent@<this machine>:{port} from any soft phone");
    }
}

/// An address that a caller on this machine can use.
fn call_address(bound: SocketAddr) -> SocketAddr {
    let host = if bound.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound.ip() };
    SocketAddr::new(host, bound.port())
}
