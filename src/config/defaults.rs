//! What holds when the config file says nothing. `tandem.toml` beside this file repeats each value with its reason;
//! a test compares the two.

use std::{ops::RangeInclusive, time::Duration};

pub(super) const DATA_DIR: &str = "data";
/// Calls at the same time. Enough for a team to try, and within a usual limit of 1,024 open files.
pub(super) const PORTS: u16 = 50;
pub(super) const PORTS_RANGE: RangeInclusive<i64> = 1..=20_000;
/// Longer than most sentences, shorter than the 90 s in which service managers lose patience.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// Every interface, so that any soft phone on the network can call.
pub(super) const SIP_LISTEN: [&str; 2] = ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"];
pub(super) const USER_AGENT: &str = concat!("Tandem/", env!("CARGO_PKG_VERSION"));

pub(super) const RTP_ADDRESS: &str = "0.0.0.0";
/// Below 32768, where Linux begins to hand out ports by itself.
pub(super) const RTP_PORTS: &str = "20000-29999";
/// A packet still under way to a closed call is on time for two seconds at most.
pub(super) const COOLING: Duration = Duration::from_secs(2);

/// Loopback: there is no login.
pub(super) const HTTP_LISTEN: &str = "127.0.0.1:8080";

pub(super) const JITTER_MIN: Duration = Duration::from_millis(20);
pub(super) const JITTER_MAX: Duration = Duration::from_millis(120);

pub(super) const COMPLETE: Duration = Duration::from_millis(250);
pub(super) const UNSURE: Duration = Duration::from_millis(450);
pub(super) const INCOMPLETE: Duration = Duration::from_millis(900);
pub(super) const NUMBER_SHORT: Duration = Duration::from_millis(2000);
pub(super) const BARGE_IN_SPEECH: Duration = Duration::from_millis(160);
pub(super) const NO_INPUT: Duration = Duration::from_secs(8);
pub(super) const NO_INPUT_LIMIT: u32 = 2;
pub(super) const MAX_DURATION_MINUTES: u32 = 30;

pub(super) const STT_CONNECT: Duration = Duration::from_millis(1500);
pub(super) const LLM_FIRST_TOKEN: Duration = Duration::from_millis(2500);
pub(super) const TTS_FIRST_AUDIO: Duration = Duration::from_millis(1500);
pub(super) const TOOL: Duration = Duration::from_millis(8000);

/// The whole response gap: 740 ms of work, which callers already call slow, after 450 ms of waiting to be sure.
pub(super) const BUDGET_TOTAL: Duration = Duration::from_millis(1190);

/// The budget of one stage. The work of capture (40), speech-to-text (120), language model (250), tool (150) and
/// text-to-speech (180) adds up to 740 ms; the model's and the voice's shares are split where we measure them in two.
pub(super) const fn budget(stage: call::latency::Stage) -> Duration {
    use call::latency::Stage;
    Duration::from_millis(match stage {
        Stage::Jitter => 40,
        Stage::EndOfTurn => 450,
        Stage::SttFinal => 120,
        Stage::LlmFirstToken => 200,
        Stage::Tool => 150,
        Stage::FirstSentence => 50,
        Stage::TtsFirstAudio => 160,
        Stage::Pacing => 20,
        Stage::Other => 0,
    })
}

pub(super) const DEEPGRAM_URL: &str = "wss://api.deepgram.com";
pub(super) const OPENAI_URL: &str = "https://api.openai.com/v1";
pub(super) const ELEVENLABS_URL: &str = "wss://api.elevenlabs.io";

/// The agent that answers when the config names none.
pub(super) const DEMO_AGENT: &str = "[agent]\nname = \"demo\"\ngreeting = \"Hello, this is Tandem.\"\n";
