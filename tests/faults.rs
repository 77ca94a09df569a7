//! Providers that refuse, stall, break off or talk nonsense, against the real program: the call goes on or ends
//! honestly, the caller hears something every time, and trace and metrics say what happened.
//! The providers are the simulators of `loadtest`. Waiting is by the call's own patience, made short in the config.

mod live;

use live::{
    ASK, Called, Folder, LISTEN, Live, TROUBLE, WAIT_FOR_THE_END, files_with, patient_questions, questions,
    run, tandem,
};
use loadtest::providers::{Fault, FaultKind, Provider, Simulators, SimulatorsConfig};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Keys that must never be seen again.
const KEYS: [(&str, &str); 3] = [
    ("TANDEM_TEST_STT_KEY", "stt-key-9f31c7aa"),
    ("TANDEM_TEST_LLM_KEY", "llm-key-40be22d1"),
    ("TANDEM_TEST_TTS_KEY", "tts-key-77d05e6c"),
];

/// Simulators on a port of their own.
struct Vendors {
    simulators: Simulators,
    _runtime: Runtime,
}

impl Vendors {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = SimulatorsConfig {
            stt_final: Duration::from_millis(50),
            phrases: vec!["What are your opening hours?".into()],
            llm_first_token: Duration::from_millis(50),
            llm_token: Duration::from_millis(5),
            replies: vec![(
                "hours".into(),
                "We are open. Come by from nine to five, thank you for asking us.".into(),
            )],
            tts_first_audio: Duration::from_millis(30),
            ..SimulatorsConfig::default()
        };
        let listen = ([127, 0, 0, 1], 0).into();
        let simulators = runtime.block_on(Simulators::start(listen, config)).expect("a free port");
        Self { simulators, _runtime: runtime }
    }

    /// The targets `dg`, `gpt` and `el`, and routes of the test's choice.
    fn config(&self, stt: &str, llm: &str, tts: &str) -> String {
        let (ws, http) = (self.simulators.url("ws"), self.simulators.url("http"));
        format!(
            r#"
[timeouts_ms]
stt_connect = 400
tts_first_audio = 900
reply = 4000
[stt.dg]
provider = "deepgram"
api_key = "env:TANDEM_TEST_STT_KEY"
model = "sim"
base_url = "{ws}"
[llm.gpt]
provider = "openai"
api_key = "env:TANDEM_TEST_LLM_KEY"
model = "sim"
base_url = "{http}/v1"
[tts.el]
provider = "elevenlabs"
api_key = "env:TANDEM_TEST_TTS_KEY"
model = "sim"
voice = "sim"
base_url = "{ws}"
[routes.stt.default]
targets = [{stt}]
[routes.llm.default]
targets = [{llm}]
first_speakable_ms = 500
stall_ms = 400
rounds = 1
[routes.tts.default]
targets = [{tts}]
"#
        )
    }

    /// A server in front of them. Faults come after the start: what is broken at the start is a test of its own.
    fn server(&self, stt: &str, llm: &str, tts: &str) -> Live {
        Live::start_in(Folder::new(), &self.config(stt, llm, tts), &KEYS)
    }

    fn fault(&self, provider: Provider, kind: FaultKind) {
        self.simulators.fault(Fault::new(provider, kind));
    }
}

/// Runs the cases beside each other: calls spend their time waiting.
fn each<C: Send>(cases: impl IntoIterator<Item = C>, check: impl Fn(C) + Sync) {
    std::thread::scope(|scope| {
        let check = &check;
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

/// Both questions of `questions(2)` were followed by something to hear.
fn both_answered(called: &Called) -> bool {
    called.is_good() && called.answers() == 2
}

#[test]
fn a_route_in_the_config_is_all_it_takes_to_put_network_providers_behind_the_demo_agent() {
    let vendors = Vendors::new();
    let folder = Folder::new();
    let config = vendors.config(r#""dg""#, r#""gpt", "flow""#, r#""el""#) + "[log]\nlevel = \"trace\"\n";
    let file = folder.write_config(&config);
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("file = \"agent.toml\"", "")).expect("it can be written");
    let live = Live::start_with(folder, &file, &KEYS);
    let called = live.call(&questions(1));
    assert!(called.is_good() && called.answers() == 1, "{called:?}");
    assert!(called.0.to_string().contains("embedded default"), "not the demo agent: {called:?}");
    let said = called.events("sentence").concat();
    assert!(said.contains("Tandem demo") && said.contains("by from nine to five"), "{said}");
    let attempts = called.events("llm_attempt").concat();
    assert!(attempts.contains("gpt") && !attempts.contains("flow"), "{attempts}");
    let seen = vendors.simulators.statistics();
    assert!(seen.stt_streams > 0 && seen.llm_requests > 0 && seen.tts_flushes > 0, "{seen:?}");
    no_key_is_seen(&live, &called);
}

/// Searches everything that the server has written or answers.
fn no_key_is_seen(live: &Live, called: &Called) {
    let call = live.last_record()["call"].as_str().expect("its name").to_owned();
    let answers = ["/health", "/metrics", "/calls", &format!("/calls/{call}/trace"), "/nothing"];
    let answers: String = answers.iter().map(|path| live.get(path).1).collect();
    for (name, key) in KEYS {
        assert!(!live.log().contains(key), "{name} is in the log");
        assert!(!answers.contains(key), "{name} is in an answer");
        assert!(!called.0.to_string().contains(key), "{name} is in the trace");
        assert_eq!(files_with(&live.data(), key), Vec::<std::path::PathBuf>::new(), "{name} is on disk");
    }
}

#[test]
fn a_key_is_never_quoted_by_an_error_about_it_or_beside_it() {
    let vendors = Vendors::new();
    let folder = Folder::new();
    let config = vendors.config(r#""dg", "nowhere""#, r#""gpt""#, r#""el""#);
    let file = folder.write_config(&config).display().to_string();
    let (code, text) = run(tandem(&["serve", "--config", &file]).envs(KEYS));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("nowhere"), "{text}");
    assert!(KEYS.iter().all(|(_, key)| !text.contains(key)), "{text}");
    let (code, text) = run(tandem(&["serve", "--config", &file]).env(KEYS[0].0, KEYS[0].1));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("TANDEM_TEST_LLM_KEY") && !text.contains(KEYS[0].1), "{text}");
}

#[test]
fn when_the_model_fails_before_its_first_word_the_flow_answers() {
    let faults =
        [FaultKind::Http(401), FaultKind::Http(500), FaultKind::Stall, FaultKind::Reset, FaultKind::Garbage];
    each(faults, |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""gpt", "flow""#, r#""embedded""#);
        vendors.fault(Provider::OpenAi, fault);
        let called = live.call(&questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        let attempts = called.events("llm_attempt").concat();
        assert!(attempts.contains("\"fallback\""), "{fault:?}: {attempts}");
        let failed = called.events("provider_failed").concat();
        assert!(failed.contains("gpt: ") && failed.contains("flow is asked"), "{fault:?}: {failed}");
        assert_eq!(called.events("fallback"), Vec::<String>::new(), "{fault:?}: no turn had to be saved");
        assert!(live.figure("tandem_provider_failures_total{stage=\"llm\"}") >= 2.0);
        assert!(live.figure("tandem_llm_attempts_total{target=\"flow\",role=\"fallback\"}") >= 2.0);
        assert_eq!(live.last_record()["end_cause"], "caller_hung_up");
    });
}

#[test]
fn beside_a_late_model_the_next_one_is_asked_and_answers() {
    let (late, quick) = (Vendors::new(), Vendors::new());
    let second = format!(
        "[llm.second]\nprovider = \"openai\"\napi_key = \"env:TANDEM_TEST_LLM_KEY\"\nmodel = \"sim\"\n\
         base_url = \"{}/v1\"\n",
        quick.simulators.url("http")
    );
    let config = late.config(r#""dg""#, r#""gpt", "second", "flow""#, r#""embedded""#);
    let patient = "first_speakable_ms = 3000\nhedge_percent = 100";
    let live = Live::start_in(
        Folder::new(),
        &(config.replace("first_speakable_ms = 500", patient) + &second),
        &KEYS,
    );
    late.fault(Provider::OpenAi, FaultKind::Stall);
    let called = live.call(&questions(2));
    assert!(both_answered(&called), "{called:?}");
    let attempts = called.events("llm_attempt").concat();
    assert!(attempts.contains("\"hedge\"") && !attempts.contains("flow"), "{attempts}");
    let lost = called.events("hedge_lost");
    assert!(lost.len() == 2 && lost.concat().contains("gpt"), "{lost:?}");
    assert!(called.events("sentence").concat().contains("by from nine to five"), "{called:?}");
    assert_eq!(called.events("fallback"), Vec::<String>::new(), "no turn had to be saved");
    assert!(live.figure("tandem_gw_hedge_total{result=\"won\"}") >= 2.0);
    assert_eq!(live.figure("tandem_gw_passed_over{target=\"gpt\"}"), 0.0, "two are too few to tell");
}

#[test]
fn when_no_model_answers_the_prepared_sentence_is_spoken_and_the_call_goes_on() {
    each([FaultKind::Http(500), FaultKind::Stall, FaultKind::Reset, FaultKind::Garbage], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""gpt""#, r#""embedded""#);
        vendors.fault(Provider::OpenAi, fault);
        let called = live.call(&questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        assert_eq!(called.events("fallback").len(), 2, "{fault:?}: {called:?}");
        assert!(called.events("sentence").concat().contains(TROUBLE), "{called:?}");
        assert!(live.figure("tandem_fallback_total{stage=\"llm\"}") >= 2.0);
        assert!(live.figure("tandem_provider_failures_total{stage=\"llm\"}") >= 2.0);
        // And when the provider is back, so is the agent.
        vendors.fault(Provider::OpenAi, FaultKind::None);
        let called = live.call(&questions(1));
        assert!(called.is_good() && called.events("fallback").is_empty(), "{called:?}");
    });
}

#[test]
fn a_reply_that_breaks_off_is_spoken_as_far_as_it_came_and_the_call_goes_on() {
    each([FaultKind::StallMidway, FaultKind::ResetMidway, FaultKind::ErrorMidway], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""gpt""#, r#""embedded""#);
        vendors.fault(Provider::OpenAi, fault);
        let called = live.call(&questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        assert!(called.events("sentence").concat().contains("We are open"), "{fault:?}: {called:?}");
        let failures = live.figure("tandem_provider_failures_total{stage=\"llm\"}");
        assert!(failures >= 2.0 && called.events("fallback").len() == 2, "{fault:?}: {called:?}");
        assert_eq!(live.last_record()["end_cause"], "caller_hung_up");
    });
}

#[test]
fn when_the_voice_fails_the_one_on_this_machine_goes_on() {
    let faults = [
        FaultKind::Http(401),
        FaultKind::Http(503),
        FaultKind::Stall,
        FaultKind::StallMidway,
        FaultKind::Reset,
        FaultKind::ErrorMidway,
    ];
    each(faults, |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""gpt""#, r#""el", "embedded""#);
        vendors.fault(Provider::ElevenLabs, fault);
        let called = live.call(&patient_questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        let failed = called.events("provider_failed").concat();
        assert!(failed.contains("el: ") && failed.contains("embedded takes over"), "{fault:?}: {called:?}");
        assert_eq!(called.events("fallback"), Vec::<String>::new(), "{fault:?}: {called:?}");
        assert!(live.figure("tandem_provider_failures_total{stage=\"tts\"}") >= 1.0, "{fault:?}");
    });
}

#[test]
fn when_no_voice_answers_the_prepared_sentence_is_spoken_and_the_call_goes_on() {
    each([FaultKind::Http(503), FaultKind::Stall, FaultKind::StallMidway, FaultKind::Reset], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""gpt""#, r#""el""#);
        vendors.fault(Provider::ElevenLabs, fault);
        let called = live.call(&patient_questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        let saved = called.events("fallback").concat();
        assert!(saved.contains("\"tts\"") && !saved.contains("\"llm\""), "{fault:?}: {called:?}");
        assert!(live.figure("tandem_fallback_total{stage=\"tts\"}") >= 2.0, "{fault:?}: {called:?}");
        assert_eq!(live.last_record()["end_cause"], "caller_hung_up", "{fault:?}");
    });
}

#[test]
fn a_voice_that_sends_garbage_beside_its_audio_is_understood() {
    let vendors = Vendors::new();
    let live = vendors.server(r#""dg""#, r#""gpt""#, r#""el""#);
    vendors.fault(Provider::ElevenLabs, FaultKind::Garbage);
    let called = live.call(&questions(2));
    assert!(both_answered(&called) && called.events("fallback").is_empty(), "{called:?}");
}

#[test]
fn when_the_ears_fail_those_on_this_machine_go_on() {
    each([FaultKind::Http(401), FaultKind::Http(503), FaultKind::Reset], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg", "embedded""#, r#""flow""#, r#""embedded""#);
        vendors.fault(Provider::Deepgram, fault);
        let called = live.call(&questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        let failed = called.events("provider_failed").concat();
        assert!(failed.contains("dg: ") && failed.contains("embedded takes over"), "{fault:?}: {called:?}");
        assert!(called.events("heard").concat().contains("hours"), "{fault:?}: {called:?}");
        assert!(live.figure("tandem_provider_failures_total{stage=\"stt\"}") >= 1.0);
    });
}

#[test]
fn when_nobody_can_hear_the_caller_the_agent_says_goodbye_and_hangs_up() {
    each([FaultKind::Http(401), FaultKind::Http(503), FaultKind::Reset], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""flow""#, r#""embedded""#);
        vendors.fault(Provider::Deepgram, fault);
        let called = live.call(&format!("{LISTEN}, {ASK}, {WAIT_FOR_THE_END}"));
        // The phone may have been hung up on before it could say a word: then it has heard the goodbye alone.
        assert_eq!(called.0["status"], 200, "{fault:?}: {called:?}");
        assert!(called.0["greeting_ms"].is_number(), "{fault:?}: nothing was heard: {called:?}");
        assert!(called.events("sentence").concat().contains("Goodbye"), "{fault:?}: {called:?}");
        assert_eq!(live.last_record()["end_cause"], "stt_failed", "{fault:?}: {called:?}");
        assert!(live.figure("tandem_calls_total{direction=\"inbound\",end_cause=\"stt_failed\"}") >= 1.0);
        vendors.fault(Provider::Deepgram, FaultKind::None);
        let called = live.call(&questions(1));
        assert!(called.is_good(), "{fault:?}: the next call: {called:?}");
    });
}

#[test]
fn ears_that_never_answer_cost_turns_and_never_the_call() {
    each([FaultKind::Stall, FaultKind::Deaf, FaultKind::Garbage], |fault| {
        let vendors = Vendors::new();
        let live = vendors.server(r#""dg""#, r#""flow""#, r#""embedded""#);
        vendors.fault(Provider::Deepgram, fault);
        let called = live.call(&questions(2));
        assert!(both_answered(&called), "{fault:?}: {called:?}");
        assert_eq!(live.last_record()["end_cause"], "caller_hung_up", "{fault:?}");
    });
}

#[test]
fn a_voice_that_is_down_at_the_start_does_not_keep_the_server_from_starting() {
    each([FaultKind::Http(401), FaultKind::Stall], |fault| {
        let vendors = Vendors::new();
        vendors.fault(Provider::ElevenLabs, fault);
        let live = vendors.server(r#""dg""#, r#""gpt""#, r#""el""#);
        assert!(live.log().contains("spoken by the embedded one"), "{}", live.log());
        let called = live.call(&questions(1));
        assert!(called.is_good() && called.0["greeting_ms"].is_number(), "{fault:?}: {called:?}");
    });
}
