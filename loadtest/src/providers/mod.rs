//! Simulators of the network providers: Deepgram, OpenAI and ElevenLabs on one port, told apart by path.
//! Know the vendors' wire formats and their known faults. Every delay comes from a seed.

mod deepgram;
mod elevenlabs;
mod fault;
mod openai;

pub use fault::{Fault, FaultKind, Provider};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use fault::Faults;
use media::tone::Chance;
use serde::Serialize;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

/// How the simulators behave as long as no fault is switched on.
#[derive(Clone, Debug)]
pub struct SimulatorsConfig {
    /// What all jitter comes from.
    pub seed: u64,
    /// Delays vary by this part of themselves: 0.2 means up to a fifth longer.
    pub jitter: f32,
    /// From the end of speech, or finalize, to the final transcript.
    pub stt_final: Duration,
    /// Silence without audio after which Deepgram closes.
    pub stt_idle: Duration,
    /// What callers say, one after the other, over and over.
    pub phrases: Vec<String>,
    /// From the request to the first token.
    pub llm_first_token: Duration,
    /// From one token to the next.
    pub llm_token: Duration,
    /// The same once the first sentence is complete, where it differs.
    pub llm_later_token: Option<Duration>,
    /// What to answer when the last words of the user hold the first text; else they are echoed. Where a tool is called
    /// too, it is said first.
    pub replies: Vec<(String, String)>,
    /// From a flush to the first audio.
    pub tts_first_audio: Duration,
    /// How many times faster than real time speech is made.
    pub tts_speed: f32,
    /// The key that is asked for; without one, any key will do.
    pub api_key: Option<String>,
}

impl Default for SimulatorsConfig {
    fn default() -> Self {
        let phrases =
            ["Hello.", "I would like to book a table for two.", "Tomorrow at seven please.", "Yes."];
        Self {
            seed: 1,
            jitter: 0.0,
            stt_final: Duration::from_millis(150),
            stt_idle: Duration::from_secs(10),
            phrases: phrases.map(String::from).to_vec(),
            llm_first_token: Duration::from_millis(250),
            llm_token: Duration::from_millis(15),
            llm_later_token: None,
            replies: Vec::new(),
            tts_first_audio: Duration::from_millis(120),
            tts_speed: 8.0,
            api_key: None,
        }
    }
}

/// What the simulators have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Deepgram streams opened.
    pub stt_streams: u64,
    /// Deepgram streams that ended with `CloseStream`.
    pub stt_goodbyes: u64,
    /// Utterances transcribed.
    pub stt_utterances: u64,
    /// Signs of life from clients without audio.
    pub stt_keep_alives: u64,
    /// Chat completions asked for.
    pub llm_requests: u64,
    /// Those whose client went away before the end.
    pub llm_cancelled: u64,
    /// Lists of models asked for.
    pub llm_model_lists: u64,
    /// ElevenLabs connections opened.
    pub tts_streams: u64,
    /// Messages that only keep a context alive.
    pub tts_keep_alives: u64,
    /// Pieces of text spoken.
    pub tts_flushes: u64,
    /// Faults played.
    pub faults: u64,
}

#[derive(Default)]
struct Counters {
    stt_streams: AtomicU64,
    stt_goodbyes: AtomicU64,
    stt_utterances: AtomicU64,
    stt_keep_alives: AtomicU64,
    llm_requests: AtomicU64,
    llm_cancelled: AtomicU64,
    llm_model_lists: AtomicU64,
    tts_streams: AtomicU64,
    tts_keep_alives: AtomicU64,
    tts_flushes: AtomicU64,
}

/// Counts one more and gives the number so far.
fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

/// What all connections share.
struct Shared {
    config: SimulatorsConfig,
    faults: Faults,
    counters: Counters,
}

type World = State<Arc<Shared>>;

impl Shared {
    fn statistics(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Statistics {
            stt_streams: read(&c.stt_streams),
            stt_goodbyes: read(&c.stt_goodbyes),
            stt_utterances: read(&c.stt_utterances),
            stt_keep_alives: read(&c.stt_keep_alives),
            llm_requests: read(&c.llm_requests),
            llm_cancelled: read(&c.llm_cancelled),
            llm_model_lists: read(&c.llm_model_lists),
            tts_streams: read(&c.tts_streams),
            tts_keep_alives: read(&c.tts_keep_alives),
            tts_flushes: read(&c.tts_flushes),
            faults: self.faults.played(),
        }
    }

    /// The jitter of the `ordinal`-th connection of a kind.
    fn jitter(&self, ordinal: u64) -> Jitter {
        let seed = self.config.seed ^ ordinal.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Jitter { chance: Chance::new(seed), part: self.config.jitter }
    }

    /// Whether a key that came is the one that is asked for.
    fn admits(&self, key: Option<&str>) -> bool {
        match (&self.config.api_key, key) {
            (_, None | Some("")) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(key)) => wanted == key,
        }
    }

    /// Plays a fault that belongs before the first answer; `None` lets the request through.
    async fn refuse(&self, provider: Provider) -> Option<Response> {
        let fault = self.faults.take(provider, |kind| kind.at_handshake())?;
        if let Some(delay) = fault.delay() {
            pause(delay).await;
        }
        let FaultKind::Http(status) = fault.kind else { return None };
        let mut response = match provider {
            Provider::Deepgram => deepgram::refusal(status),
            Provider::OpenAi => openai::refusal(status, fault.code.as_deref()),
            Provider::ElevenLabs => elevenlabs::refusal(status, fault.code.as_deref()),
        };
        if let Some(wait) = fault.retry_after_ms {
            response.headers_mut().insert("retry-after-ms", wait.into());
        }
        Some(response)
    }
}

/// Makes delays a little different from each other, the same way in every run.
struct Jitter {
    chance: Chance,
    part: f32,
}

impl Jitter {
    fn vary(&mut self, delay: Duration) -> Duration {
        delay.mul_f32(1.0 + self.part.max(0.0) * self.chance.unit())
    }
}

/// Waits, if there is anything to wait: the runtime's timers round up to a millisecond, and no delay is none.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Waits until `at`; for ever without one.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => pause(at.saturating_duration_since(Instant::now())).await,
        None => std::future::pending().await,
    }
}

/// Running simulators. Dropping them closes the port.
pub struct Simulators {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Simulators {
    /// Opens the port; port 0 lets the system choose one.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(listen: SocketAddr, config: SimulatorsConfig) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { config, faults: Faults::default(), counters: Counters::default() });
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = router(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// Where they listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `ws` and the address: what a client is given as its base URL.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Switches a fault on, as `POST /fault` does.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.set(fault);
    }

    /// What they have seen so far.
    pub fn statistics(&self) -> Statistics {
        self.shared.statistics()
    }

    /// Serves until the server fails.
    pub async fn run(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Simulators {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/listen", any(deepgram::listen))
        .route("/v2/listen", any(deepgram::listen_flux))
        .route("/v1/chat/completions", post(openai::complete))
        .route("/v1/embeddings", post(openai::embed))
        .route("/v1/models", get(openai::models))
        .route("/v1/text-to-speech/{voice}/multi-stream-input", any(elevenlabs::multi))
        .route("/v1/text-to-speech/{voice}/stream-input", any(elevenlabs::single))
        .route("/fault", post(set_fault))
        .route("/statistics", get(statistics))
        .with_state(shared)
}

async fn set_fault(State(shared): World, Json(fault): Json<Fault>) -> StatusCode {
    shared.faults.set(fault);
    StatusCode::NO_CONTENT
}

async fn statistics(State(shared): World) -> Response {
    Json(shared.statistics()).into_response()
}
