//! Every network provider against its simulator: as it should be, and with every fault the simulator can play.
//! Waits for events, never for times; the limits here only end a test that hangs.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on has failed, whatever came instead"
)]

use ::ai_gateway::{Route, TargetId};
use call::{CallId, LlmEvent, SttEvent, TtsEvent};
use conversation::{LlmRequest, Message, ToolSpec, TurnId};
use loadtest::providers::{Fault, FaultKind, Provider, Simulators, SimulatorsConfig};
use media::{Frame, SampleRate, tone};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tandem::{
    ai_gateway::AiGateway,
    knowledge::{Knowledge, Library, Searcher},
    providers::{
        CallInfo, Events, LanguageModel, ProviderEvent, SpeechToText, SttCommand, SttStream, TextToSpeech,
        TtsCommand, TtsStream,
        deepgram::{Deepgram, DeepgramConfig},
        elevenlabs::{ElevenLabs, ElevenLabsConfig},
        embeddings::{Embeddings, EmbeddingsConfig, Without},
        openai::{OpenAi, OpenAiConfig},
    },
    secret::Secret,
    telemetry::metrics::{Metrics, MetricsConfig},
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{sleep, timeout},
};

const HANG: Duration = Duration::from_secs(20);
const KEY: &str = "sk-test-secret";

async fn simulators() -> Simulators {
    let config = SimulatorsConfig {
        stt_final: Duration::from_millis(20),
        llm_first_token: Duration::from_millis(20),
        llm_token: Duration::from_millis(2),
        tts_first_audio: Duration::from_millis(10),
        tts_speed: 50.0,
        phrases: vec!["Two seats please.".into(), "Yes.".into()],
        api_key: Some(KEY.into()),
        ..SimulatorsConfig::default()
    };
    Simulators::start("127.0.0.1:0".parse().unwrap(), config).await.unwrap()
}

fn call(rate: SampleRate) -> CallInfo {
    CallInfo { call: CallId(7), rate, language: "en-US".into(), turn: None, may_hedge: false }
}

/// A call's inbox, read with a limit.
struct Inbox(mpsc::Receiver<ProviderEvent>);

impl Inbox {
    fn new() -> (Events, Self) {
        let (events, inbox) = Events::channel(Arc::new(|| {}));
        (events, Self(inbox))
    }

    async fn next(&mut self) -> ProviderEvent {
        timeout(HANG, self.0.recv()).await.expect("an event in time").expect("the provider is still there")
    }
}

/// Waits for something that will come about.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, wait).await.expect("it comes about");
}

// Speech-to-text.

/// Less audio waits for more of it.
const MESSAGE_MS: u32 = 80;

struct Stt {
    stream: SttStream,
    inbox: Inbox,
    seed: u64,
}

impl Stt {
    fn start(simulators: &Simulators, rate: SampleRate, adjust: impl Fn(&mut DeepgramConfig)) -> Self {
        let mut config = DeepgramConfig::new(Secret::new(KEY), "sim");
        config.base_url = simulators.url("ws");
        config.connect_timeout = HANG;
        config.finalize_timeout = HANG;
        adjust(&mut config);
        let (events, inbox) = Inbox::new();
        Self { stream: Deepgram::new(config).start(&call(rate), events), inbox, seed: 1 }
    }

    async fn next(&mut self) -> SttEvent {
        match self.inbox.next().await {
            ProviderEvent::Stt(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// The next settled words.
    async fn settled(&mut self) -> String {
        loop {
            match self.next().await {
                SttEvent::Final { text, .. } | SttEvent::End { text, .. } => return text,
                SttEvent::Ready
                | SttEvent::Interim { .. }
                | SttEvent::EagerEnd { .. }
                | SttEvent::Resumed
                | SttEvent::Language { .. } => {}
                SttEvent::Failed { reason } => panic!("{reason}"),
            }
        }
    }

    async fn failure(&mut self) -> String {
        loop {
            if let SttEvent::Failed { reason } = self.next().await {
                return reason;
            }
        }
    }

    async fn send(&self, command: SttCommand) {
        let mut command = Some(command);
        while let Some(next) = command.take() {
            let again = match &next {
                SttCommand::Audio(frame) => Some(SttCommand::Audio(frame.clone())),
                SttCommand::Finalize => Some(SttCommand::Finalize),
                SttCommand::Expect(hint) => Some(SttCommand::Expect(*hint)),
            };
            if !self.stream.send(next) {
                sleep(Duration::from_millis(5)).await;
                command = again;
            }
        }
    }

    /// Sends this much speech, or silence, faster than real time.
    async fn hear(&mut self, rate: SampleRate, ms: u32, dbfs: Option<f32>) {
        let count = rate.hz() as usize * ms as usize / 1_000;
        self.seed += 1;
        let samples = dbfs.map_or(vec![0; count], |dbfs| tone::noise(self.seed, dbfs, count));
        for frame in samples.chunks(rate.frame_samples()) {
            self.send(SttCommand::Audio(Frame::from_samples(rate, frame))).await;
        }
    }
}

const LOUD: Option<f32> = Some(-20.0);

#[tokio::test]
async fn deepgram_hears_an_utterance_and_settles_it() {
    let simulators = simulators().await;
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
        let mut stt = Stt::start(&simulators, rate, |_| {});
        assert!(matches!(stt.next().await, SttEvent::Ready));
        stt.hear(rate, 1_000, LOUD).await;
        let SttEvent::Interim { text } = stt.next().await else { panic!("no interim") };
        assert_eq!(text, "Two");
        stt.hear(rate, 400, None).await;
        assert_eq!(stt.settled().await, "Two seats please.");
    }
}

#[tokio::test]
async fn deepgram_answers_finalize_with_and_without_words() {
    let simulators = simulators().await;
    let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |config| config.endpointing = None);
    stt.hear(SampleRate::Hz8000, 600, LOUD).await;
    stt.send(SttCommand::Finalize).await;
    assert_eq!(stt.settled().await, "Two seats please.");
    stt.send(SttCommand::Finalize).await;
    assert_eq!(stt.settled().await, "");
}

#[tokio::test]
async fn deepgram_is_told_that_the_call_has_ended() {
    let simulators = simulators().await;
    let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
    assert!(matches!(stt.next().await, SttEvent::Ready));
    let Stt { stream, mut inbox, .. } = stt;
    drop(stream);
    assert!(timeout(HANG, inbox.0.recv()).await.unwrap().is_none(), "the task ends by itself");
    assert_eq!(simulators.statistics().stt_goodbyes, 1);
}

#[tokio::test]
async fn deepgram_is_kept_awake_while_the_caller_is_silent() {
    let simulators = simulators().await;
    let mut stt =
        Stt::start(&simulators, SampleRate::Hz8000, |config| config.keep_alive = Duration::from_millis(10));
    assert!(matches!(stt.next().await, SttEvent::Ready));
    until(|| simulators.statistics().stt_keep_alives >= 3).await;
}

#[tokio::test]
async fn deepgram_comes_back_after_every_loss_of_connection() {
    for kind in [FaultKind::Close(1011), FaultKind::Reset, FaultKind::Close(1012)] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::Deepgram, kind).times(2));
        let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
        assert!(matches!(stt.next().await, SttEvent::Ready));
        // The first audio on each of the first two connections breaks it.
        for streams in 2..4 {
            stt.hear(SampleRate::Hz8000, MESSAGE_MS, None).await;
            until(|| simulators.statistics().stt_streams >= streams).await;
        }
        stt.hear(SampleRate::Hz8000, 800, LOUD).await;
        stt.hear(SampleRate::Hz8000, 400, None).await;
        assert_eq!(stt.settled().await, "Two seats please.", "{kind:?}");
        assert!(simulators.statistics().stt_streams >= 2, "{kind:?}");
    }
}

#[tokio::test]
async fn deepgram_that_refuses_is_given_up_with_a_reason() {
    for (status, class) in [(401, "auth"), (402, "quota"), (429, "rate_limited"), (400, "bad_request")] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::Deepgram, FaultKind::Http(status)));
        let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
        let reason = stt.failure().await;
        assert!(reason.starts_with(&format!("{class}: HTTP {status} ")), "{reason}");
        assert!(!reason.contains(KEY), "{reason}");
        assert_eq!(simulators.statistics().faults, 1, "asked once");
    }
}

#[tokio::test]
async fn deepgram_that_is_down_is_given_up_after_some_attempts() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::Deepgram, FaultKind::Http(503)));
    let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |config| config.reconnects = 2);
    assert!(stt.failure().await.starts_with("overloaded: "));
    assert_eq!(simulators.statistics().faults, 3);
}

#[tokio::test]
async fn deepgram_that_cannot_read_the_audio_is_given_up() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::Deepgram, FaultKind::Close(1008)));
    let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
    stt.hear(SampleRate::Hz8000, 100, LOUD).await;
    assert!(stt.failure().await.starts_with("audio_format: "));
}

#[tokio::test]
async fn deepgram_may_talk_nonsense_in_between() {
    for kind in [FaultKind::Garbage, FaultKind::Unknown, FaultKind::ErrorMidway, FaultKind::Slow] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::Deepgram, kind));
        let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
        stt.hear(SampleRate::Hz8000, 800, LOUD).await;
        stt.hear(SampleRate::Hz8000, 400, None).await;
        assert_eq!(stt.settled().await, "Two seats please.", "{kind:?}");
    }
}

#[tokio::test]
async fn deepgram_that_does_not_answer_finalize_holds_nobody_up() {
    for kind in [FaultKind::Deaf, FaultKind::Stall] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::Deepgram, kind));
        let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |config| {
            config.finalize_timeout = Duration::from_millis(50);
        });
        stt.hear(SampleRate::Hz8000, 40, None).await;
        for _ in 0..2 {
            stt.send(SttCommand::Finalize).await;
            assert_eq!(stt.settled().await, "", "{kind:?}");
        }
        // Twice without a word: the connection is replaced.
        simulators.fault(Fault::new(Provider::Deepgram, FaultKind::None));
        stt.hear(SampleRate::Hz8000, 800, LOUD).await;
        stt.hear(SampleRate::Hz8000, 400, None).await;
        assert_eq!(stt.settled().await, "Two seats please.", "{kind:?}");
        assert!(simulators.statistics().stt_streams >= 2, "{kind:?}");
    }
}

#[tokio::test]
async fn deepgram_answers_a_finalize_that_a_lost_connection_swallowed() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::Deepgram, FaultKind::Deaf).times(1));
    let mut stt = Stt::start(&simulators, SampleRate::Hz8000, |_| {});
    assert!(matches!(stt.next().await, SttEvent::Ready));
    stt.send(SttCommand::Finalize).await;
    until(|| simulators.statistics().faults == 1).await;
    simulators.fault(Fault::new(Provider::Deepgram, FaultKind::Close(1011)).times(1));
    stt.hear(SampleRate::Hz8000, MESSAGE_MS, None).await;
    assert_eq!(stt.settled().await, "");
    assert_eq!(simulators.statistics().stt_streams, 2);
}

// Embeddings.

fn embeddings(simulators: &Simulators, key: &str) -> Embeddings {
    let base_url = format!("{}/v1", simulators.url("http"));
    let (api_key, timeout) = (Some(Secret::new(key)), HANG);
    Embeddings::new(EmbeddingsConfig { base_url, api_key, model: "sim".into(), timeout }).unwrap()
}

#[tokio::test]
async fn texts_become_vectors_and_a_wrong_key_is_told_without_it() {
    let simulators = simulators().await;
    let texts = ["parking cars".to_owned(), "the park".to_owned(), "haircut".to_owned()];
    let vectors = embeddings(&simulators, KEY).embed(&texts, HANG).await.unwrap();
    let alike = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f32>();
    assert!(vectors.len() == 3 && alike(0, 1) > 0.0 && alike(0, 2) == 0.0, "{vectors:?}");
    let refused = embeddings(&simulators, "sk-wrong").embed(&texts, HANG).await.unwrap_err();
    assert!(refused.contains("401") && !refused.contains("sk-wrong"), "{refused}");
}

#[tokio::test]
async fn documents_are_found_by_their_meaning_and_by_their_words_where_that_is_late() {
    let simulators = simulators().await;
    let library = Library::BuiltIn(vec![(
        "a.md".into(),
        "# Garage\nThe parkhaus is free.\n\n# Pets\nDogs may come.".into(),
    )]);
    let searcher = Searcher::start(Metrics::new(MetricsConfig::default())).unwrap();
    let by_meaning = Some(Arc::new(embeddings(&simulators, KEY)));
    let knowledge = Knowledge::start("a", library, searcher, by_meaning, Handle::current()).unwrap();
    while !knowledge.current().has_vectors() {
        sleep(Duration::from_millis(5)).await;
    }
    let look_up = async |words: &str| {
        let (events, mut inbox) = Inbox::new();
        knowledge.for_call().look_up(1, words.to_owned(), 1, events);
        loop {
            match timeout(HANG, inbox.0.recv()).await.unwrap().unwrap() {
                ProviderEvent::Found(1, found) => return found.unwrap().pop().map(|found| found.title),
                ProviderEvent::Failed { stage, .. } => assert_eq!(stage, "knowledge"),
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(look_up("parking").await.as_deref(), Some("Garage"), "no word of it stands there");
    drop(simulators);
    assert_eq!(look_up("dogs").await.as_deref(), Some("Pets"));
}

#[tokio::test]
async fn an_endpoint_for_vectors_that_fails_is_left_alone_and_one_that_is_silent_not_waited_for() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::OpenAi, FaultKind::Http(503)).times(10));
    let broken = embeddings(&simulators, KEY);
    for _ in 0..3 {
        let answer = broken.question("dogs").await;
        assert!(matches!(&answer, Err(Without::Failed(reason)) if reason.contains("503")), "{answer:?}");
    }
    assert_eq!(broken.question("dogs").await, Err(Without::Resting));
    assert_eq!(simulators.statistics().faults, 3, "asked three times");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", silent.local_addr().unwrap());
    let timeout = Duration::from_millis(20);
    let config = EmbeddingsConfig { base_url, api_key: None, model: "sim".into(), timeout };
    let answer = Embeddings::new(config).unwrap().question("dogs").await;
    assert_eq!(answer, Err(Without::Failed("no embeddings within 20 ms".into())));
}

// Language model.

fn request(said: &str) -> LlmRequest {
    let parameters = serde_json::json!({"type": "object", "properties": {"gate": {"type": "string"}}});
    let tool = ToolSpec { name: "gate_status".into(), description: "Is it open?".into(), parameters };
    LlmRequest {
        system: "Be brief.".into(),
        messages: vec![Message::User { text: said.into() }],
        tools: vec![tool],
        today: jiff::civil::date(2026, 11, 20),
        variables: Default::default(),
        looked_up: Vec::new(),
        acted: false,
    }
}

fn openai(simulators: &Simulators, key: &str) -> OpenAi {
    let url = format!("{}/v1", simulators.url("http"));
    OpenAi::new(OpenAiConfig::new(url, Some(Secret::new(key)), "sim")).unwrap()
}

/// A whole reply: its text, its tool calls as `name arguments`, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Reply {
    text: String,
    calls: Vec<String>,
    failure: Option<String>,
    output_tokens: Option<u32>,
    attempts: Vec<String>,
}

impl Reply {
    /// True when this was the last event.
    fn add(&mut self, event: LlmEvent) -> bool {
        match event {
            LlmEvent::HedgeLost { .. } => panic!("nobody is asked beside it"),
            LlmEvent::Delta(text) => self.text.push_str(&text),
            LlmEvent::ToolCall(call) => self.calls.push(format!("{} {}", call.name, call.arguments)),
            LlmEvent::Attempt { target, role } => self.attempts.push(format!("{role} {target}")),
            LlmEvent::Expect(_) => {}
            LlmEvent::Done { output_tokens, .. } => {
                self.output_tokens = output_tokens;
                return true;
            }
            LlmEvent::Failed { reason } => {
                self.failure = Some(reason);
                return true;
            }
        }
        false
    }
}

async fn ask(model: &OpenAi, said: &str) -> Reply {
    let (sink, mut events) = mpsc::channel(64);
    let _request = model.ask(&call(SampleRate::Hz8000), request(said), sink);
    let mut reply = Reply::default();
    while !reply.add(timeout(HANG, events.recv()).await.expect("an event in time").expect("an end")) {}
    reply
}

#[tokio::test]
async fn openai_replies_in_every_dialect() {
    let kinds = [
        FaultKind::None,
        FaultKind::Split,
        FaultKind::Crlf,
        FaultKind::Comments,
        FaultKind::NoDone,
        FaultKind::Unknown,
        FaultKind::Slow,
    ];
    let simulators = simulators().await;
    let model = openai(&simulators, KEY);
    for kind in kinds {
        simulators.fault(Fault::new(Provider::OpenAi, kind));
        let reply = ask(&model, "Grüße aus Łódź!").await;
        assert_eq!((&*reply.text, &reply.failure), ("You said Grüße aus Łódź.", &None), "{kind:?}");
        assert_eq!(reply.output_tokens.is_some(), kind != FaultKind::NoDone);
    }
}

#[tokio::test]
async fn openai_calls_tools_in_every_dialect() {
    let simulators = simulators().await;
    let model = openai(&simulators, KEY);
    let kinds = [FaultKind::None, FaultKind::ToolWhole, FaultKind::ToolBare, FaultKind::ToolParallel];
    for kind in kinds {
        simulators.fault(Fault::new(Provider::OpenAi, kind));
        let reply = ask(&model, "What is the gate status of B").await;
        let times = if kind == FaultKind::ToolParallel { 2 } else { 1 };
        assert_eq!(reply.calls, vec![r#"gate_status {"gate":"B"}"#; times], "{kind:?}");
        assert_eq!((&*reply.text, reply.failure), ("", None));
    }
    simulators.fault(Fault::new(Provider::OpenAi, FaultKind::ToolMalformed));
    let reply = ask(&model, "What is the gate status of B").await;
    assert!(reply.failure.unwrap().starts_with("internal: "));
    assert!(reply.calls.is_empty(), "half a call is none");
}

#[tokio::test]
async fn openai_says_what_kind_of_trouble_it_is() {
    let simulators = simulators().await;
    let model = openai(&simulators, KEY);
    let quota = Fault { code: Some("insufficient_quota".into()), ..http(429) };
    let soon = Fault { retry_after_ms: Some(300), ..http(429) };
    let faults = [
        (http(400), "bad_request: HTTP 400 "),
        (http(402), "quota: HTTP 402 "),
        (http(404), "bad_request: HTTP 404 "),
        (http(429), "rate_limited: HTTP 429 "),
        (quota, "quota: HTTP 429 "),
        (soon, "rate_limited[300ms]: HTTP 429 "),
        (http(500), "internal: HTTP 500 "),
        (http(503), "overloaded: HTTP 503 "),
        (Fault::new(Provider::OpenAi, FaultKind::Reset), "network: "),
        (Fault::new(Provider::OpenAi, FaultKind::ResetMidway), "network: "),
        (Fault::new(Provider::OpenAi, FaultKind::ErrorMidway), "internal: "),
        (Fault::new(Provider::OpenAi, FaultKind::Garbage), "internal: "),
    ];
    for (fault, class) in faults {
        simulators.fault(fault.clone());
        let reason = ask(&model, "Hello out there").await.failure.unwrap_or_default();
        assert!(reason.starts_with(class), "{:?}: {reason}", fault.kind);
    }
    let reason = ask(&openai(&simulators, "wrong"), "Hello").await.failure.unwrap();
    assert!(!reason.contains("wrong"), "{reason}");
}

fn http(status: u16) -> Fault {
    Fault::new(Provider::OpenAi, FaultKind::Http(status))
}

#[tokio::test]
async fn openai_that_is_not_there_is_a_network_failure() {
    let simulators = simulators().await;
    let model = openai(&simulators, KEY);
    drop(simulators);
    // The port stays open until the server's task is gone.
    timeout(HANG, async {
        while !ask(&model, "Hello").await.failure.is_some_and(|reason| reason.starts_with("network: ")) {}
    })
    .await
    .expect("a network failure");
}

#[tokio::test]
async fn openai_is_hung_up_on_when_the_request_is_dropped() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::OpenAi, FaultKind::StallMidway));
    let (sink, mut events) = mpsc::channel(64);
    let asked = openai(&simulators, KEY).ask(&call(SampleRate::Hz8000), request("One two three four"), sink);
    while let LlmEvent::Delta(text) = timeout(HANG, events.recv()).await.unwrap().unwrap() {
        if !text.is_empty() {
            break;
        }
    }
    drop(asked);
    until(|| simulators.statistics().llm_cancelled > 0).await;
}

/// Asks a route of two targets: the first simulators', then the second's.
async fn ask_route(first: &Simulators, second: &Simulators) -> Reply {
    let mut route = Route::new("default", ["first", "second"].map(|name| TargetId(name.into())));
    route.first_speakable_timeout = Duration::from_secs(2);
    route.stall_timeout = Duration::from_secs(2);
    let model = |simulators| Arc::new(openai(simulators, KEY)) as Arc<dyn LanguageModel>;
    let targets = BTreeMap::from([("first".into(), model(first)), ("second".into(), model(second))]);
    let gateway = AiGateway::new([route], targets).unwrap();
    gateway.warm("default");
    let (events, mut inbox) = Inbox::new();
    let _request =
        gateway.ask("default", &call(SampleRate::Hz8000), TurnId(3), request("One two three four"), events);
    let mut reply = Reply::default();
    loop {
        let event = inbox.next().await;
        if let ProviderEvent::Failed { stage, reason } = &event {
            assert!(*stage == "llm" && reason.contains(" is asked"), "{reason}");
            continue;
        }
        let ProviderEvent::Llm(TurnId(3), event) = event else { panic!("another turn") };
        if reply.add(event) {
            return reply;
        }
    }
}

#[tokio::test]
async fn the_gateway_falls_back_before_anything_was_heard() {
    let (first, second) = (simulators().await, simulators().await);
    for kind in
        [FaultKind::Http(500), FaultKind::Http(401), FaultKind::Stall, FaultKind::Reset, FaultKind::Garbage]
    {
        first.fault(Fault::new(Provider::OpenAi, kind));
        let reply = ask_route(&first, &second).await;
        assert_eq!(reply.attempts, ["primary first", "fallback second"], "{kind:?}");
        assert_eq!((&*reply.text, reply.failure), ("You said One two three four.", None), "{kind:?}");
    }
    until(|| first.statistics().llm_model_lists > 0).await;
}

#[tokio::test]
async fn the_gateway_never_begins_an_answer_again() {
    let (first, second) = (simulators().await, simulators().await);
    for kind in [FaultKind::StallMidway, FaultKind::ErrorMidway] {
        first.fault(Fault::new(Provider::OpenAi, kind));
        let reply = ask_route(&first, &second).await;
        assert_eq!(reply.attempts, ["primary first"], "{kind:?}");
        assert!("You said One two three four.".starts_with(&reply.text), "{kind:?}: {}", reply.text);
        assert!(reply.failure.unwrap().starts_with("the reply broke off "), "{kind:?}");
    }
    assert_eq!(second.statistics().llm_requests, 0);
}

#[tokio::test]
async fn the_gateway_tells_every_reason_when_nobody_answers() {
    let simulators = simulators().await;
    simulators.fault(http(401));
    let reply = ask_route(&simulators, &simulators).await;
    let reason = reply.failure.unwrap();
    assert!(
        reason.contains("first: auth: HTTP 401") && reason.contains("second: auth: HTTP 401"),
        "{reason}"
    );
    assert_eq!(reply.attempts.len(), 2, "a refused key is not tried again");
}

// Text-to-speech.

struct Tts {
    stream: TtsStream,
    inbox: Inbox,
}

/// Turn, sentence, and what came of it.
#[derive(Debug, PartialEq)]
enum Spoken {
    Done { turn: u32, sentence: u32, samples: usize },
    Failed { turn: u32, sentence: u32, reason: String },
}

impl Tts {
    fn open(simulators: &Simulators, rate: SampleRate, adjust: impl Fn(&mut ElevenLabsConfig)) -> Self {
        let mut config = ElevenLabsConfig::new(Secret::new(KEY), "voice", "sim");
        config.base_url = simulators.url("ws");
        config.connect_timeout = HANG;
        config.first_audio_timeout = HANG;
        config.stall_timeout = HANG;
        adjust(&mut config);
        let (events, inbox) = Inbox::new();
        Self { stream: ElevenLabs::new(config).open(&call(rate), events), inbox }
    }

    fn speak(&self, turn: u32, sentence: u32, text: &str) {
        let command = TtsCommand::Speak { turn: TurnId(turn), sentence, text: text.into() };
        assert!(self.stream.send(command));
    }

    /// What becomes of the next sentence; its audio must come in one piece, without another's in between.
    async fn spoken(&mut self) -> Spoken {
        let (mut samples, mut current) = (0, None);
        loop {
            let ProviderEvent::Tts(TurnId(turn), event) = self.inbox.next().await else {
                panic!("no speech")
            };
            let number = match &event {
                TtsEvent::Audio { sentence, .. }
                | TtsEvent::SentenceDone { sentence }
                | TtsEvent::Words { sentence, .. }
                | TtsEvent::Failed { sentence, .. } => *sentence,
            };
            assert_eq!(*current.get_or_insert((turn, number)), (turn, number), "sentences are mixed up");
            match event {
                TtsEvent::Audio { samples: audio, .. } => samples += audio.len(),
                TtsEvent::Words { .. } => {}
                TtsEvent::SentenceDone { sentence } => return Spoken::Done { turn, sentence, samples },
                TtsEvent::Failed { sentence, reason } => return Spoken::Failed { turn, sentence, reason },
            }
        }
    }
}

/// The simulator takes 60 ms for a character.
fn samples(rate: SampleRate, text: &str) -> usize {
    rate.hz() as usize * 60 / 1_000 * text.len()
}

const SENTENCES: [&str; 4] =
    ["Hello.", "Your table is ready, please come in.", "Yes.", "Anything else, perhaps?"];

#[tokio::test]
async fn elevenlabs_speaks_sentences_in_order_and_says_which_is_which() {
    let simulators = simulators().await;
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
        let mut tts = Tts::open(&simulators, rate, |_| {});
        for (sentence, text) in (0..).zip(SENTENCES) {
            tts.speak(3, sentence, text);
        }
        assert!(tts.stream.send(TtsCommand::Finish { turn: TurnId(3) }));
        for (sentence, text) in (0..).zip(SENTENCES) {
            let samples = samples(rate, text);
            assert_eq!(tts.spoken().await, Spoken::Done { turn: 3, sentence, samples });
        }
    }
}

#[tokio::test]
async fn elevenlabs_is_silent_about_a_cancelled_turn() {
    let simulators = simulators().await;
    let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |_| {});
    // More contexts than the provider allows at once, one turn after the other, and none of them ends soon.
    simulators.fault(Fault::new(Provider::ElevenLabs, FaultKind::Slow));
    for turn in 0..8 {
        (0..2).for_each(|sentence| tts.speak(turn, sentence, SENTENCES[1]));
        sleep(Duration::from_millis(30)).await;
        assert!(tts.stream.send(TtsCommand::Cancel { turn: TurnId(turn) }));
    }
    tts.speak(9, 0, "Yes.");
    timeout(HANG, async {
        loop {
            match tts.inbox.next().await {
                ProviderEvent::Tts(TurnId(9), TtsEvent::SentenceDone { sentence: 0 }) => break,
                // What was under way when the turn was cancelled may still be in the inbox.
                ProviderEvent::Tts(TurnId(turn), TtsEvent::Audio { .. }) if turn < 9 => {}
                ProviderEvent::Tts(TurnId(turn), TtsEvent::SentenceDone { .. }) if turn < 9 => {}
                ProviderEvent::Tts(TurnId(_), TtsEvent::Words { .. }) => {}
                ProviderEvent::Tts(TurnId(9), TtsEvent::Audio { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await
    .expect("the new turn is spoken");
    assert_eq!(simulators.statistics().tts_streams, 1, "never too many contexts");
}

#[tokio::test]
async fn elevenlabs_makes_one_lost_connection_good() {
    for kind in [FaultKind::Reset, FaultKind::Close(1011), FaultKind::Http(503), FaultKind::Stall] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::ElevenLabs, kind).times(1));
        let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |config| {
            if kind == FaultKind::Stall {
                config.first_audio_timeout = Duration::from_secs(2);
            }
        });
        for (sentence, text) in (0..).zip(SENTENCES) {
            tts.speak(3, sentence, text);
        }
        for (sentence, text) in (0..).zip(SENTENCES) {
            let samples = samples(SampleRate::Hz8000, text);
            assert_eq!(tts.spoken().await, Spoken::Done { turn: 3, sentence, samples }, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn elevenlabs_fails_a_sentence_that_was_half_heard_and_speaks_the_next() {
    for kind in [FaultKind::ResetMidway, FaultKind::ErrorMidway, FaultKind::StallMidway] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::ElevenLabs, kind).times(1));
        let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |config| {
            if kind == FaultKind::StallMidway {
                config.stall_timeout = Duration::from_secs(2);
            }
        });
        tts.speak(3, 0, SENTENCES[1]);
        tts.speak(3, 1, SENTENCES[2]);
        let first = tts.spoken().await;
        assert!(matches!(first, Spoken::Failed { turn: 3, sentence: 0, .. }), "{kind:?}: {first:?}");
        let samples = samples(SampleRate::Hz8000, SENTENCES[2]);
        assert_eq!(tts.spoken().await, Spoken::Done { turn: 3, sentence: 1, samples }, "{kind:?}");
    }
}

#[tokio::test]
async fn elevenlabs_that_refuses_fails_every_sentence_with_a_reason() {
    for (status, class) in [(401, "auth"), (402, "quota"), (404, "bad_request")] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::ElevenLabs, FaultKind::Http(status)));
        let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |_| {});
        for sentence in 0..3 {
            tts.speak(1, sentence, "Hello.");
            let Spoken::Failed { sentence: failed, reason, .. } = tts.spoken().await else {
                panic!("spoken")
            };
            assert_eq!(failed, sentence);
            assert!(reason.starts_with(&format!("{class}: HTTP {status} ")), "{reason}");
        }
        assert_eq!(simulators.statistics().faults, 1, "asked once");
    }
}

#[tokio::test]
async fn elevenlabs_without_credit_in_the_middle_of_a_call_is_not_asked_again() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::ElevenLabs, FaultKind::Close(1008)));
    let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |_| {});
    tts.speak(1, 0, "Hello.");
    let Spoken::Failed { reason, .. } = tts.spoken().await else { panic!("spoken") };
    assert!(reason.starts_with("quota: "), "{reason}");
    assert_eq!(simulators.statistics().tts_streams, 1);
}

#[tokio::test]
async fn elevenlabs_that_is_down_fails_sentences_and_recovers_for_the_next_turn() {
    let simulators = simulators().await;
    simulators.fault(Fault::new(Provider::ElevenLabs, FaultKind::Http(503)));
    let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |_| {});
    tts.speak(1, 0, "Hello.");
    assert!(matches!(tts.spoken().await, Spoken::Failed { turn: 1, sentence: 0, .. }));
    simulators.fault(Fault::new(Provider::ElevenLabs, FaultKind::None));
    tts.speak(2, 0, "Hello.");
    let samples = samples(SampleRate::Hz8000, "Hello.");
    assert_eq!(tts.spoken().await, Spoken::Done { turn: 2, sentence: 0, samples });
}

#[tokio::test]
async fn elevenlabs_may_talk_nonsense_in_between() {
    for kind in [FaultKind::Garbage, FaultKind::Unknown, FaultKind::Slow] {
        let simulators = simulators().await;
        simulators.fault(Fault::new(Provider::ElevenLabs, kind));
        let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |_| {});
        tts.speak(1, 0, "Hello.");
        let samples = samples(SampleRate::Hz8000, "Hello.");
        assert_eq!(tts.spoken().await, Spoken::Done { turn: 1, sentence: 0, samples }, "{kind:?}");
    }
}

#[tokio::test]
async fn elevenlabs_is_kept_awake_between_turns() {
    let simulators = simulators().await;
    let mut tts = Tts::open(&simulators, SampleRate::Hz8000, |config| {
        config.keep_alive = Duration::from_millis(10);
    });
    until(|| simulators.statistics().tts_keep_alives >= 3).await;
    tts.speak(1, 0, "Hello.");
    assert!(matches!(tts.spoken().await, Spoken::Done { .. }));
    assert_eq!(simulators.statistics().tts_streams, 1);
}
