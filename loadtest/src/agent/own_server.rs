//! A server of our own with simulated providers, for a load that needs nothing else.
//! Knows how to start them. What is asked of them is the load's business.

use super::{Args, Over};
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
    over: Option<Over>,
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
        tls: (args.transport == Some(Over::Tls)).then(|| port(15_061)),
    };
    let bench = Bench::new(program, addresses, &[])?;
    let config = further_config(args, &bench)?;
    let seed = args.seed.to_string();
    let further: Vec<&str> = PROVIDERS.into_iter().chain(["--seed", &seed]).collect();
    let world = bench.start_configured(Engines::Simulated, HEARD, &further, &config)?;
    Ok(OwnServer { world, bench, over: args.transport })
}

/// A certificate for calls over TLS, and leave to encrypt.
fn further_config(args: &Args, bench: &Bench) -> Result<String, String> {
    let mut config = String::new();
    if args.transport == Some(Over::Tls) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .map_err(|error| format!("a certificate: {error}"))?;
        let (certificate, key) = (bench.folder.join("certificate.pem"), bench.folder.join("key.pem"));
        for (path, text) in [(&certificate, made.cert.pem()), (&key, made.signing_key.serialize_pem())] {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let (certificate, key) = (certificate.display(), key.display());
        config = format!("[sip.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    }
    Ok(config + "[[trunk]]\nname = \"load\"\n[trunk.media]\nsrtp = \"optional\"\n")
}

impl OwnServer {
    pub(super) fn pid(&self) -> u32 {
        self.world.server.pid()
    }

    pub(super) fn uri(&self) -> String {
        let Addresses { sip, tls, .. } = &self.bench.addresses;
        match self.over {
            Some(over) => format!("sip:load@{};transport={}", tls.unwrap_or(*sip), over.name()),
            None => format!("sip:load@{sip}"),
        }
    }

    pub(super) fn api(&self) -> String {
        format!("http://{}", self.bench.addresses.http)
    }
}
