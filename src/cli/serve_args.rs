//! What `tandem serve` may be told on its command line, and the config that comes of it.
//! Does not know how to serve.

use super::Exit;
use crate::config::{Config, ConfigError, Listen, LogFormat, Overrides, RtpBind, machine};
use std::{net::SocketAddr, path::PathBuf};

/// Take calls. Without a config file everything runs on this machine: no key, no account.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// Config file; `tandem init` writes one. Each flag below wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to await SIP, such as udp:0.0.0.0:5060 or tcp:[::]:5060; may be given more than once.
    #[arg(long, value_name = "TRANSPORT:ADDR:PORT")]
    sip: Vec<Listen>,
    /// Where to await RTP: two ports for each call.
    #[arg(long, value_name = "ADDR:LO-HI")]
    rtp: Option<RtpBind>,
    /// Where to serve health, calls, traces and metrics.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Where the database lives.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The cap: calls at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    ports: Option<u16>,
    /// Makes everything that is left to chance repeatable; for tests.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT")]
    log: Option<Log>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Log {
    /// For people.
    Pretty,
    /// One JSON object in each line.
    Json,
}

impl ServeArgs {
    /// The config to serve with, compared with this machine. Everything that is wrong is printed to standard error.
    ///
    /// # Errors
    /// The exit code.
    pub fn load(&self) -> Result<Config, Exit> {
        let config = Config::load(self.config.as_deref(), &self.overrides()).map_err(|error| {
            eprintln!("{error}");
            if let ConfigError::Wrong(_) = error {
                eprintln!("Nothing was started.");
            }
            Exit::Usage
        })?;
        let limits = machine::limits(&config);
        for problem in config.warnings.iter().chain(&limits) {
            eprintln!("{problem}");
        }
        if let Some(problem) = machine::data_dir(&config) {
            eprintln!("{problem}");
            return Err(Exit::DataDir);
        }
        if limits.iter().any(crate::config::Problem::is_error) { Err(Exit::Usage) } else { Ok(config) }
    }

    /// The config as it is now, while the server runs on an older one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn again(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), &self.overrides())
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            sip: self.sip.clone(),
            rtp: self.rtp,
            http: self.http,
            data_dir: self.data_dir.clone(),
            ports: self.ports,
            seed: self.seed,
            log: self.log.map(|log| match log {
                Log::Pretty => LogFormat::Pretty,
                Log::Json => LogFormat::Json,
            }),
        }
    }
}
