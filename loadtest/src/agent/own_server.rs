//! A server of our own with simulated providers, for a load that needs nothing else.
//! Knows how to start them. What is asked of them is the load's business.

use super::Args;
use crate::{
    bench::{Bench, World},
    figures,
    processes::{Addresses, Engines},
};
use std::{net::SocketAddr, path::PathBuf};

/// What the simulated speech-to-text understands, whatever is said, and what the model then answers.
const HEARD: &str = "When are you open?";
const REPLY: &str = "open=We are open from nine to five, Monday to Friday, and on Saturday until noon.";

/// A running server and its simulators; they end with it. The world goes before the folder that it works in.
pub(super) struct OwnServer {
    world: World,
    bench: Bench,
}

/// Providers as one meets them: none of it is instant, all of it varies, and all of it comes from the seed.
const PROVIDERS: [&str; 14] = [
    "--stt-final-ms",
    "150",
    "--llm-first-token-ms",
    "250",
    "--llm-token-ms",
    "15",
    "--tts-first-audio-ms",
    "120",
    "--tts-speed",
    "8",
    "--jitter",
    "0.3",
    "--reply",
    REPLY,
];

/// Starts both on loopback.
pub(super) fn start(args: &Args) -> Result<OwnServer, String> {
    let program = args.server.clone().map_or_else(figures::build, Ok::<PathBuf, String>)?;
    let port = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = Addresses {
        sip: port(15_060),
        http: port(15_100),
        simulators: port(15_130),
        rtp: "20000-29999".to_owned(),
    };
    let bench = Bench::new(program, addresses, &[])?;
    let seed = args.seed.to_string();
    let further: Vec<&str> = PROVIDERS.into_iter().chain(["--seed", &seed]).collect();
    let world = bench.start(Engines::Simulated, HEARD, &further)?;
    Ok(OwnServer { world, bench })
}

impl OwnServer {
    pub(super) fn pid(&self) -> u32 {
        self.world.server.pid()
    }

    pub(super) fn uri(&self) -> String {
        format!("sip:load@{}", self.bench.addresses.sip)
    }

    pub(super) fn api(&self) -> String {
        format!("http://{}", self.bench.addresses.http)
    }
}
