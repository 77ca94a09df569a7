//! The simulators as a command: `simulators`, and `loadtest simulators`.
//! Knows arguments only.

use crate::providers::{Fault, Simulators, SimulatorsConfig};
use clap::Args;
use std::{io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

/// Simulates Deepgram, OpenAI and ElevenLabs on one port. Faults are switched on at run time with
/// `POST /fault {"provider": "openai", "kind": "stall"}`; `GET /statistics` says what came in.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// What all jitter comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Delays vary by up to this part of themselves.
    #[arg(long, default_value_t = 0.1)]
    jitter: f32,
    /// From the end of speech to the final transcript.
    #[arg(long, default_value_t = 150)]
    stt_final_ms: u64,
    /// Silence without audio after which Deepgram closes.
    #[arg(long, default_value_t = 10_000)]
    stt_idle_ms: u64,
    /// What callers say, one phrase a line.
    #[arg(long)]
    script: Option<PathBuf>,
    /// From the request to the first token.
    #[arg(long, default_value_t = 250)]
    llm_first_token_ms: u64,
    /// From one token to the next.
    #[arg(long, default_value_t = 15)]
    llm_token_ms: u64,
    /// From one token to the next once the first sentence is complete; without it, as before.
    #[arg(long)]
    llm_later_token_ms: Option<u64>,
    /// `NEEDLE=REPLY`: what to answer when the user's words hold NEEDLE. May be given several times.
    #[arg(long = "reply", value_parser = reply)]
    replies: Vec<(String, String)>,
    /// From a flush to the first audio.
    #[arg(long, default_value_t = 120)]
    tts_first_audio_ms: u64,
    /// How many times faster than real time speech is made.
    #[arg(long, default_value_t = 8.0)]
    tts_speed: f32,
    /// The key that is asked for; without it, any key will do.
    #[arg(long)]
    api_key: Option<String>,
    /// How much they are preferred to other processes, where that is allowed: -20 to 19.
    #[arg(long, allow_negative_numbers = true)]
    niceness: Option<i32>,
    /// `PROVIDER:KIND` or `PROVIDER:KIND:COUNT`: a fault from the start. May be given several times.
    #[arg(long = "fault")]
    faults: Vec<Fault>,
}

fn reply(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("a reply is written NEEDLE=REPLY")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Arguments {
    fn config(&self) -> std::io::Result<SimulatorsConfig> {
        let mut config = SimulatorsConfig {
            seed: self.seed,
            jitter: self.jitter,
            stt_final: Duration::from_millis(self.stt_final_ms),
            stt_idle: Duration::from_millis(self.stt_idle_ms),
            llm_first_token: Duration::from_millis(self.llm_first_token_ms),
            llm_token: Duration::from_millis(self.llm_token_ms),
            llm_later_token: self.llm_later_token_ms.map(Duration::from_millis),
            replies: self.replies.clone(),
            tts_first_audio: Duration::from_millis(self.tts_first_audio_ms),
            tts_speed: self.tts_speed,
            api_key: self.api_key.clone(),
            ..SimulatorsConfig::default()
        };
        if let Some(path) = &self.script {
            let text = std::fs::read_to_string(path)?;
            config.phrases = text.lines().filter(|line| !line.trim().is_empty()).map(String::from).collect();
        }
        Ok(config)
    }
}

/// Runs the simulators until they are interrupted. Says where they listen once they do.
///
/// # Errors
/// When the port cannot be opened or the script cannot be read.
pub fn run(arguments: Arguments) -> std::io::Result<()> {
    if let Some(niceness) = arguments.niceness {
        // Not allowed to everybody: then they run as everything else does.
        let _ = rustix::process::setpriority_process(None, niceness);
    }
    // After that: its threads inherit what was set.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> std::io::Result<()> {
    let simulators = Simulators::start(arguments.listen, arguments.config()?).await?;
    for fault in arguments.faults {
        simulators.fault(fault);
    }
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", simulators.address())?;
    out.flush()?;
    tokio::select! {
        () = simulators.run() => Ok(()),
        stopped = tokio::signal::ctrl_c() => stopped,
    }
}
