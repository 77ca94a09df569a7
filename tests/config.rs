//! What a config file may say, and what its author is told when it says something else.
#![allow(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};
use tandem::config::{
    Config, ConfigError, LogFormat, Overrides, Problem, Secrets, TEMPLATE,
    target::{LlmTarget, SttTarget},
};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tandem-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(text: &str) -> Result<Config, Vec<Problem>> {
    let folder = Folder::new();
    let file = folder.write("t.toml", text);
    match Config::load(Some(&file), &Overrides::default()) {
        Ok(config) => Ok(config),
        Err(ConfigError::Wrong(problems)) => Err(problems),
        Err(unreadable @ ConfigError::Unreadable { .. }) => panic!("{unreadable}"),
    }
}

/// The problems of a text without the path of its file: `line:column: …`.
fn problems(text: &str) -> Vec<String> {
    let problems = load(text).map_or_else(|problems| problems, |config| config.warnings);
    problems.iter().map(|problem| problem.to_string().rsplit("/t.toml:").next().unwrap().to_owned()).collect()
}

fn defaults() -> Config {
    Config::load(None, &Overrides::default()).expect("the defaults are valid")
}

/// The template with every setting switched on.
fn uncommented() -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    TEMPLATE.lines().map(|line| switched_on(line) + "\n").collect()
}

#[test]
fn a_typo_is_told_with_its_place_and_the_key_that_was_meant() {
    assert_eq!(problems("[server]\nprots = 50\n"), ["2:1: unknown key `prots`; did you mean `ports`?"]);
    assert_eq!(
        problems("[conversatoin]\n"),
        ["1:2: unknown key `conversatoin`; did you mean `conversation`?"]
    );
}

#[test]
fn one_look_tells_everything_that_is_wrong() {
    let found = problems(
        r#"
colour = "blue"

[server]
ports = "fifty"
drain_seconds = -1
external_ip = "tandem.example"

[sip]
listen = ["udp:0.0.0.0:5060", "sctp:0.0.0.0:5060"]

[rtp]
ports = "29999-20000"

[[trunk]]
name = "one"
profil = "generic"
sources = ["carrier.example"]
called = ["all numbers"]

[[trunk]]
profile = "genric"

[routes.llm.default]
targets = ["flaw"]

[agent]
file = "nowhere.toml"

[log]
format = "jsno"
"#,
    );
    for expected in [
        "2:1: unknown key `colour`; known here: server, sip, ",
        "5:9: invalid type: string \"fifty\"; write a whole number",
        "6:17: -1 is out of range; write a number from 0 to 86400",
        "7:15: `tandem.example` is not an IP address; write one",
        "10:31: `sctp:0.0.0.0:5060` does not begin with udp:, tcp:, tls:, ws: or wss:; write",
        "13:9: `29999-20000` ends below its start; write 20000-29999",
        "17:1: unknown key `profil`; did you mean `profile`?",
        "18:12: `carrier.example` is not an address or a network; write",
        "19:11: no called number begins with `all numbers`; write",
        "21:1: this trunk has no name; write",
        "21:1: warning: anybody may call over this trunk; name sources or users",
        "22:11: unknown profile `genric`; did you mean `generic`?",
        "25:12: there is no target [llm.flaw]; did you mean `flow`?",
        "28:8: the agent file `nowhere.toml` cannot be read: ",
        "31:10: `jsno` is not a choice; did you mean `json`?",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{expected}\nis not in\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), 15, "{}", found.join("\n"));
    let line = |problem: &String| problem.split(':').next().and_then(|line| line.parse::<u32>().ok());
    assert!(found.iter().map(line).is_sorted(), "in the order of the file: {}", found.join("\n"));
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let found = problems("[server\nports = 50\n[http]\nlisten = \n");
    assert!(found.len() >= 2 && found[0].starts_with("1:8: not TOML: "), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("4:")), "{found:?}");
}

#[test]
fn nothing_that_can_be_in_a_file_makes_the_reader_panic() {
    for text in [
        "",
        "\u{feff}",
        "[[server]]",
        "trunk = 1",
        "trunk = [1]",
        "stt = \"x\"",
        "[stt]\nx = 1",
        "a.b.c = [[[]]]",
    ] {
        let _ = load(text);
    }
    let text = uncommented();
    for cut in (0..text.len()).step_by(151).filter(|cut| text.is_char_boundary(*cut)) {
        let _ = load(&text[..cut]);
    }
}

#[test]
fn the_defaults_take_every_call_with_the_demo_agent_and_the_embedded_engines() {
    let config = defaults();
    assert_eq!(decided(&config, "198.51.100.9", "anything"), Ok("open".to_owned()));
    let trunk = &config.trunks[0];
    assert_eq!((trunk.profile.media.codecs[0], trunk.profile.at_cap.status), ("PCMU", 503));
    assert_eq!(trunk.profile.at_cap.retry_after_seconds, None, "a carrier takes its next route at once");
    assert!(config.agents.contains_key(&trunk.agent));
    assert!(matches!(
        config.stt[&config.routes.stt["default"].targets[0]],
        SttTarget::Embedded { model_dir: None }
    ));
    assert!(matches!(config.llm[&config.routes.llm["default"].targets[0].0], LlmTarget::Flow));
    assert!(config.tts.contains_key(&config.routes.tts["default"].targets[0]));
    assert!(config.http.listen.ip().is_loopback() && config.warnings.is_empty());
    assert!(config.rtp.ports.pairs() >= usize::from(config.server.ports));
}

#[test]
fn with_a_trunk_strangers_are_refused_and_unknown_numbers_too() {
    let config = load(
        "[[trunk]]\nname = \"a\"\nsources = [\"192.0.2.0/24\"]\ncalled = [\"+49\"]\n[[trunk]]\nname = \"b\"\nsources = [\"192.0.2.7\"]\n",
    )
    .expect("valid");
    let name = |source, called| decided(&config, source, called);
    assert_eq!(name("192.0.2.1", "+4930123"), Ok("a".to_owned()));
    assert_eq!(name("192.0.2.1", "+1800"), Err("unknown_number".to_owned()));
    assert_eq!(name("192.0.2.7", "+1800"), Ok("b".to_owned()));
    assert_eq!(name("198.51.100.1", "+4930123"), Err("unknown_source".to_owned()));
}

/// The trunk that the gate finds for a call, or its reason to find none.
fn decided(config: &Config, source: &str, called: &str) -> Result<String, String> {
    let gate = sip::Gate::new(tandem::trunks::rules::gate(config), [0; 32]);
    let uri = format!("sip:{called}@tandem.example");
    let source: IpAddr = source.parse().unwrap();
    let facts = sip::Facts::new((source, 5060).into(), sip::Transport::Udp, "INVITE", &uri);
    match gate.decide(&facts) {
        sip::gate::Decision::Admit { trunk } => Ok(gate.config().trunks[trunk].name.to_string()),
        sip::gate::Decision::Digest { trunks } => Err(format!("digest of {trunks:?}")),
        sip::gate::Decision::Unmatched { reason } => Err(reason.name().to_owned()),
    }
}

#[test]
fn a_trunk_behind_one_that_takes_everything_is_pointed_out() {
    let found = problems("[[trunk]]\nname = \"all\"\n[[trunk]]\nname = \"late\"\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("1:1: warning: anybody may call over this trunk"), "{found:?}");
    assert!(found[1].starts_with("3:1: warning: no call reaches this trunk: `all` above"), "{found:?}");
}

#[test]
fn a_profile_may_be_a_file_of_ones_own_and_its_typos_are_told() {
    let folder = Folder::new();
    folder.write("pbx.toml", "[media]\ncodecs = [\"PCMA\"]\n[at_cap]\nstatus = 486\nretry_after = 3\n");
    let file = folder
        .write("t.toml", "[[trunk]]\nname = \"pbx\"\nsources = [\"192.0.2.7\"]\nprofile = \"pbx.toml\"\n");
    let Err(ConfigError::Wrong(found)) = Config::load(Some(&file), &Overrides::default()) else {
        panic!("not refused")
    };
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        found[1].contains("pbx.toml:5:1: unknown key `retry_after`; did you mean `retry_after_seconds`?"),
        "{found:?}"
    );
    assert!(found[0].contains("pbx.toml:4:10: warning: 486 is not among failover_codes"), "{found:?}");
}

#[test]
fn an_agent_file_is_understood_with_its_knowledge_before_the_first_call() {
    let folder = Folder::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = std::fs::read_to_string(root.join("agents/demo.toml")).unwrap();
    let text = demo.replace("demo-hours.md", "hours.md").replace("stt = \"default\"", "stt = \"defualt\"");
    folder.write("mine.toml", &text);
    let file = folder.write("t.toml", "[agent]\nfile = \"mine.toml\"\n");
    let told = || match Config::load(Some(&file), &Overrides::default()) {
        Err(ConfigError::Wrong(problems)) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        other => panic!("{other:?}"),
    };
    assert!(told().contains("mine.toml: its knowledge file `hours.md` cannot be read"), "{}", told());
    folder.write("hours.md", "# Hours\n\nWe are open from nine to five.\n");
    assert!(told().contains("there is no route [routes.stt.defualt]; did you mean `default`?"), "{}", told());
    folder.write("mine.toml", &text.replace("[agent]", "[agnet]"));
    assert!(told().contains("mine.toml:4:2: "), "{}", told());
}

#[test]
fn a_missing_secret_is_named_and_a_present_one_is_never_shown() {
    let target = "[llm.gpt]\nprovider = \"openai\"\nmodel = \"m\"\n";
    let route = "[routes.llm.default]\ntargets = [\"gpt\", \"flow\"]\n";
    let found = problems(&format!("{target}api_key = \"env:TANDEM_NO_SUCH_KEY\"\n{route}"));
    assert_eq!(
        found,
        ["4:11: environment variable TANDEM_NO_SUCH_KEY is not set; provide it before the start"]
    );

    let found = problems(&format!("{target}api_key = \"sk-verysecret\"\n{route}"));
    assert!(
        found[0].starts_with("4:11: a secret is written as env:NAME or file:PATH")
            && !found[0].contains("verysecret")
    );

    let folder = Folder::new();
    folder.write("key", "sk-verysecret\n");
    let file = folder.write("t.toml", &format!("{target}api_key = \"file:key\"\n{route}"));
    let config = Config::load(Some(&file), &Overrides::default()).expect("the key is there");
    let LlmTarget::OpenAi(target) = &config.llm["gpt"] else { panic!("not openai") };
    assert_eq!(target.api_key.as_ref().map(|key| key.expose()), Some("sk-verysecret"));
    assert!(!format!("{config:?}").contains("verysecret"));
}

#[test]
fn a_target_without_what_its_provider_needs_is_refused() {
    let found = problems(
        "[stt.dg]\nprovider = \"deepgran\"\n[tts.el]\nprovider = \"elevenlabs\"\nbase_url = \"https://x\"\n",
    );
    for expected in [
        "2:12: `deepgran` is not a choice; did you mean `deepgram`?",
        "3:6: the target `el` needs a model; write",
        "3:6: the target `el` needs a voice; write",
        "5:12: `https://x` is not an address of this provider; write wss:// or ws://HOST",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{expected}\nis not in\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn a_target_that_no_route_leads_to_is_pointed_out() {
    let found = problems(
        "[llm.local]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"http://127.0.0.1:8000/v1\"\n",
    );
    assert!(found[0].starts_with("1:6: warning: no route leads to the target `local`"), "{found:?}");
}

#[test]
fn a_cap_that_the_port_range_cannot_hold_is_refused() {
    let found = problems("[rtp]\nports = \"20000-20019\"\n");
    assert_eq!(
        found,
        [
            "2:9: 20000-20019 holds 10 calls (two ports each), but the cap allows 50; widen rtp.ports or lower server.ports"
        ]
    );
}

#[test]
fn flags_win_over_the_file() {
    let folder = Folder::new();
    let file = folder.write("t.toml", "[server]\nports = 10\n[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n");
    let overrides = Overrides {
        sip: vec!["tcp:127.0.0.1:5070".parse().unwrap()],
        rtp: Some("127.0.0.1:40000-40099".parse().unwrap()),
        http: Some("127.0.0.1:0".parse().unwrap()),
        data_dir: Some("elsewhere".into()),
        ports: Some(20),
        seed: Some(7),
        log: Some(LogFormat::Json),
    };
    let config = Config::load(Some(&file), &overrides).expect("valid");
    assert_eq!((config.server.ports, config.server.seed, config.log.format), (20, Some(7), LogFormat::Json));
    assert_eq!(config.sip.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp:127.0.0.1:5070"]);
    assert_eq!((config.rtp.ports.to_string().as_str(), config.http.listen.port()), ("40000-40099", 0));
    assert_eq!(config.server.data_dir, Path::new("elsewhere"));
}

#[test]
fn the_template_repeats_every_default_truthfully() {
    let folder = Folder::new();
    let mut text = uncommented().replace("seed = 1\n", "").replace("external_ip = \"203.0.113.9\"\n", "");
    // Files and addresses that have no default.
    let external = text.find("[[server.external]]").zip(text.find("[sip]")).expect("both are there");
    text.replace_range(external.0..external.1, "");
    let own = [
        "certificate",
        "key",
        "client_ca",
        "client_certificate",
        "client_key",
        "ca",
        "hep",
        "more",
        "turn_model",
    ];
    let has_none = |line: &str| own.iter().any(|name| line.starts_with(&format!("{name} = ")));
    text = text.lines().filter(|line| !has_none(line)).map(|line| format!("{line}\n")).collect();
    text = text
        .replace("threads = 2\n", "")
        .replace("Tandem/VERSION", concat!("Tandem/", env!("CARGO_PKG_VERSION")));
    let of_trunk = ["outbound = ", "from_user = ", "max_channels = ", "max_cps = ", "overflow_"];
    let text: String = text
        .lines()
        .filter(|line| !of_trunk.iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{}\n", line.replace("[\"my-carrier\"]", "[]")))
        .collect();
    let file = folder.write("t.toml", &text);
    let written = Config::load_with(Some(&file), &Overrides::default(), Secrets::Noted).expect("valid");
    let mut default = defaults();
    default.server.data_dir = folder.0.join(&default.server.data_dir);
    assert_eq!(written.server, default.server);
    assert_eq!((&written.sip, &written.rtp, &written.http), (&default.sip, &default.rtp, &default.http));
    assert_eq!(written.media, default.media);
    assert_eq!(format!("{:?}", written.call), format!("{:?}", default.call));
    assert_eq!((&written.routes, &written.log), (&default.routes, &default.log));
    assert!(written.agents.keys().eq(default.agents.keys()));
    assert_eq!(written.trunks[0].profile, default.trunks[0].profile);
}

/// The keys that are known at a place, as the reader itself lists them when it meets a key that it does not know.
fn known_keys(section: &str) -> BTreeSet<String> {
    let found = problems(&format!("{section}\nxxxxxxxxxxxxxxxxxxxx = 1\n"));
    let list = found.iter().find_map(|line| line.split_once("xxx`; known here: ")).expect("an unknown key").1;
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn one_budget_of_the_turn_is_read_by_conversation_and_gateway() {
    let read = |text: &str| {
        let config = load(text).expect("valid");
        let route = config.routes.llm["default"].first_speakable_timeout;
        [config.call.patience.filler, route].map(|time| time.as_millis())
    };
    assert_eq!(read(""), [1_200, 2_400]);
    assert_eq!(read("[budgets_ms]\ntotal = 800\n"), [800, 1_600]);
    assert_eq!(read("[budgets_ms]\ntotal = 0\n"), [1_200, 2_500], "no budget is no reason to hurry");
    let written = "[budgets_ms]\ntotal = 800\n[conversation]\nfiller_after_ms = 900\n\
                   [timeouts_ms]\nllm_first_token = 2000\n";
    assert_eq!(read(written), [900, 2_000]);
}

#[test]
fn the_flow_engine_is_a_last_resort_and_how_models_are_chosen_can_be_said() {
    let text = "[llm.gpt]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"http://127.0.0.1:1\"\n\
                [routes.llm.default]\ntargets = [\"gpt\", \"flow\"]\n";
    let route =
        |further: &str| load(&format!("{text}{further}")).expect("valid").routes.llm["default"].clone();
    let usual = route("");
    assert_eq!((usual.hedge_percent, usual.pass_over_slow), (5, true));
    assert_eq!(usual.last_resorts, [ai_gateway::TargetId("flow".into())]);
    assert_eq!(usual.models(), [ai_gateway::TargetId("gpt".into())]);
    let quiet = route("hedge_percent = 0\npass_over_slow = false\n");
    assert_eq!((quiet.hedge_percent, quiet.pass_over_slow), (0, false));
    assert!(load(&format!("{text}hedge_percent = 101\n")).is_err());
}

#[test]
fn the_template_holds_every_key_there_is() {
    let template: toml::Table = uncommented().parse().expect("the template is TOML");
    let sections: BTreeSet<String> = template.keys().cloned().collect();
    assert_eq!(sections, known_keys(""));
    let inner = |path: &[&str]| {
        let found = path.iter().fold(&template, |table, name| {
            let value = &table[*name];
            value.get(0).unwrap_or(value).as_table().expect("a table, or an array of them")
        });
        found.keys().cloned().collect::<BTreeSet<_>>()
    };
    for section in [
        "server",
        "sip",
        "rtp",
        "http",
        "media",
        "store",
        "recording",
        "conversation",
        "timeouts_ms",
        "budgets_ms",
        "agent",
        "admission",
        "alerts",
        "otlp",
        "log",
        "routes",
    ] {
        assert_eq!(inner(&[section]), known_keys(&format!("[{section}]")), "[{section}]");
    }
    assert_eq!(inner(&["sip", "tls"]), known_keys("[sip.tls]"));
    assert_eq!(inner(&["alerts", "mail"]), known_keys("[alerts.mail]"));
    assert_eq!(inner(&["server", "external"]), known_keys("[[server.external]]"));
    assert_eq!(inner(&["pool"]), known_keys("[[pool]]"));
    assert_eq!(inner(&["trunk"]), known_keys("[[trunk]]"));
    assert_eq!(inner(&["webhook"]), known_keys("[[webhook]]"));
    assert_eq!(inner(&["prices"]), known_keys("[prices]"));
    for (path, header) in [
        (&["llm", "gpt"][..], "[llm.x]"),
        (&["tts", "elevenlabs"], "[tts.x]"),
        (&["routes", "stt", "default"], "[routes.stt.x]"),
        (&["routes", "llm", "default"], "[routes.llm.x]"),
        (&["routes", "tts", "default"], "[routes.tts.x]"),
    ] {
        assert_eq!(inner(path), known_keys(header), "{header}");
    }
    // The engine on this machine has a key that no network provider has.
    let stt = &inner(&["stt", "deepgram"]) | &inner(&["stt", "embedded"]);
    assert_eq!(stt, known_keys("[stt.x]"));
}

fn tandem(arguments: &[&str], folder: &Folder) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem")).args(arguments).current_dir(&folder.0).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn init_writes_a_file_that_check_accepts_and_never_replaces_one_unasked() {
    let folder = Folder::new();
    assert_eq!(code(&tandem(&["init"], &folder)), Some(0));
    let checked = tandem(&["check", "tandem.toml"], &folder);
    assert_eq!(code(&checked), Some(0), "{checked:?}");
    folder.write("tandem.toml", "mine");
    assert_eq!(code(&tandem(&["init"], &folder)), Some(1));
    assert_eq!(std::fs::read_to_string(folder.0.join("tandem.toml")).unwrap(), "mine");
    assert_eq!(code(&tandem(&["init", "--force"], &folder)), Some(0));
    // Certificates and agents are looked for, and there are none here.
    let all: String = uncommented()
        .lines()
        .filter(|line| !line.contains(".pem\"") && !line.starts_with("more = "))
        .map(|line| format!("{line}\n"))
        .collect();
    folder.write("on.toml", &all);
    let checked = tandem(&["check", "on.toml"], &folder);
    assert_eq!(code(&checked), Some(0), "{checked:?}");
}

#[test]
fn check_exits_with_what_it_found() {
    let folder = Folder::new();
    folder.write("bad.toml", "[server]\nprots = 1\n[http]\nlisten = \"here\"\n");
    let checked = tandem(&["check", "bad.toml"], &folder);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(code(&checked), Some(1));
    assert!(text.contains("bad.toml:2:1: unknown key `prots`; did you mean `ports`?"), "{text}");
    assert!(
        text.contains("bad.toml:4:10: `here` is not") && text.contains("bad.toml: 2 errors, 0 warnings"),
        "{text}"
    );
    let checked = tandem(&["check", "absent.toml"], &folder);
    assert_eq!(code(&checked), Some(2), "{checked:?}");
    assert_eq!(code(&tandem(&["chekc"], &folder)), Some(2));
}

// ---- trunks ----

/// A config with one trunk, which says this.
fn trunk(text: &str) -> Config {
    load(&format!("[[trunk]]\nname = \"t\"\n{text}")).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn every_profile_is_understood_and_gives_its_reasons() {
    for (name, text) in tandem::config::profile::BUILT_IN {
        let config = format!("[[trunk]]\nname = \"t\"\nprofile = \"{name}\"\nsources = [\"192.0.2.1\"]\n");
        let register = "[trunk.signalling]\noutbound = [\"sip:pbx.example\"]\n[trunk.auth]\nusername = \"u\"\npassword = \"env:PATH\"\n";
        let config = load(&(config + register)).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert_eq!(config.trunks[0].profile.name, name);
        let told: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{name}: {told:?}");
        let mut reasoned = true;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let is_value = line.contains(" = ") && !line.starts_with(['#', ' ']);
            let follows = [
                "registrar = ",
                "prepend = ",
                "min_se",
                "refresher",
                "options_misses",
                "#from_host",
                "srtp_suites",
            ];
            let shares = follows.iter().any(|key| line.starts_with(key));
            let is_known = name == "generic" || line.starts_with("name") || line.starts_with("notes");
            assert!(!is_value || reasoned || shares || is_known, "{name}: `{line}` has no reason above it");
            reasoned = line.starts_with('#') || (reasoned && is_value);
        }
    }
}

#[test]
fn a_trunk_overrides_any_value_of_its_profile_and_keeps_the_others() {
    let config = trunk(
        "profile = \"telnyx\"\n[trunk.media]\nsrtp = \"required\"\n[trunk.signalling]\ntransport = [\"tls\"]\n\
         [trunk.timers]\nsession_timer = \"require\"\n[trunk.at_cap]\nretry_after_seconds = [5, 15]\n",
    );
    let profile = &config.trunks[0].profile;
    assert_eq!(profile.media.srtp, tandem::config::profile::Srtp::Required);
    assert_eq!(profile.signalling.outbound, ["sip:sip.telnyx.com"]);
    assert_eq!(profile.signalling.failover_codes, [408, 480, 503, 504]);
    assert_eq!(profile.timers.policy.session_timer.mode, sip::SessionTimerMode::Require);
    assert_eq!(profile.at_cap.retry_after_seconds, Some(5..=15));
    assert_eq!(config.trunks[0].sources.len(), 8, "the profile's own");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn contradictions_of_a_trunk_are_told() {
    for (text, expected) in [
        ("[trunk.auth]\nregister = true\n", "there is nowhere to register"),
        (
            "[trunk.signalling]\noutbound = [\"sip:x\"]\n[trunk.auth]\nregister = true\n",
            "registering needs a login",
        ),
        ("[trunk.auth]\nregistrar = true\n", "anybody could register"),
        ("[trunk.auth]\nusername = \"u\"\n", "this login has no password"),
        ("[trunk.auth]\npassword = \"env:PATH\"\n", "this login has no username"),
        ("[trunk.auth]\nusername = \"u\"\npassword = \"verysecret\"\n", "a secret is written as env:NAME"),
        ("[trunk.auth]\nusernme = \"u\"\n", "unknown key `usernme`; did you mean `username`?"),
        ("[trunk.media]\nsrtp = \"required\"\n", "SRTP keys may travel unencrypted"),
        ("[trunk.at_cap]\nstatus = 302\n", "a redirection needs an address"),
        ("[trunk.at_cap]\noverflow_slots = 3\n", "overflow needs both slots and an agent"),
        ("[trunk.signalling]\noutbound = [\"carrier.example\"]\n", "`carrier.example` is not a SIP address"),
        ("[trunk.signalling]\noutbound = [\"sip:carrier.example\"]\n", "this trunk takes no calls"),
        ("[trunk.identity]\nheaders = { \"X Y\" = \"z\" }\n", "`X Y` is not a header"),
        ("[trunk_groups]\nall = [\"tt\"]\n", "there is no trunk `tt`; did you mean `t`?"),
    ] {
        let found = problems(&format!("[[trunk]]\nname = \"t\"\n{text}"));
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}\nis not in\n{found:?}");
        assert!(!found.iter().any(|line| line.contains("verysecret")), "{found:?}");
    }
    let folder = Folder::new();
    folder.write("p.toml", "[auth]\nusername = \"u\"\n");
    let file = folder.write("t.toml", "[[trunk]]\nname = \"t\"\nprofile = \"p.toml\"\n");
    let Err(ConfigError::Wrong(found)) = Config::load(Some(&file), &Overrides::default()) else { panic!() };
    assert!(
        found.iter().any(|problem| problem.to_string().contains("a login belongs to a trunk")),
        "{found:?}"
    );
}

#[test]
fn a_trunk_for_our_own_calls_does_not_let_strangers_in() {
    let config = trunk("[trunk.signalling]\noutbound = [\"sip:192.0.2.7:5070\"]\n");
    assert_eq!(
        decided(&config, "192.0.2.7", "1"),
        Ok("t".to_owned()),
        "where our calls go, theirs come from"
    );
    assert_eq!(decided(&config, "192.0.2.8", "1"), Err("unknown_source".to_owned()));
    let config = trunk("[trunk.signalling]\noutbound = [\"sip:carrier.example\"]\n");
    assert!(!config.trunks[0].incoming && decided(&config, "192.0.2.7", "1").is_err());
    let login = "[trunk.auth]\nregister = true\nusername = \"u1\"\npassword = \"env:PATH\"\n";
    let config = trunk(&format!("[trunk.signalling]\noutbound = [\"sip:pbx.example\"]\n{login}"));
    assert_eq!(decided(&config, "192.0.2.7", "u1"), Ok("t".to_owned()), "the name that we registered");
    assert!(decided(&config, "192.0.2.7", "100").is_err());
}

// ---- transports ----

#[test]
fn tls_is_checked_before_anybody_calls() {
    let found = problems("[sip]\nlisten = [\"tls:0.0.0.0:5061\"]\n");
    assert!(found[0].contains("2:10: tls: and wss: need a certificate"), "{found:?}");
    let found = problems("[sip.tls]\nkey = \"k.pem\"\nclient_certificate = \"c.pem\"\nverify = false\n");
    assert!(found[0].contains("2:7: ") && found[0].contains("write both certificate and key"), "{found:?}");
    assert!(
        found[1].contains("3:22: ") && found[1].contains("client_certificate and client_key"),
        "{found:?}"
    );
    assert!(found[2].contains("4:10: ") && found[2].contains("can read every call"), "{found:?}");
    let found = problems("[sip]\nhep = \"tcp:127.0.0.1:9060\"\nmax_connections = 1\n");
    assert!(found.iter().any(|problem| problem.contains("write udp:")), "{found:?}");
    assert!(found.iter().any(|problem| problem.starts_with("3:19: 1 is out of range")), "{found:?}");
    let config =
        load("[sip]\nlisten = [\"tls:0.0.0.0:5061\"]\n[sip.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n");
    let config = config.expect("valid");
    assert!(config.tls_problem().expect("there are no such files").to_string().contains("c.pem"));
    assert!(defaults().tls_problem().is_none());
}

#[test]
fn each_interface_may_have_an_address_of_its_own() {
    let config = load(
        "[server]\nexternal_ip = \"203.0.113.9\"\n[[server.external]]\nip = \"203.0.113.2\"\nlocal = \"10.2.0.0/16\"\n\
         except = [\"198.51.100.0/24\"]\n",
    );
    let external = config.expect("valid").server.external;
    let seen =
        |local: &str, peer: &str| external.address(local.parse().unwrap(), peer.parse().unwrap()).to_string();
    assert_eq!(seen("10.2.0.1", "192.0.2.1"), "203.0.113.2");
    assert_eq!(seen("10.2.0.1", "198.51.100.1"), "203.0.113.9");
    assert_eq!(seen("10.3.0.1", "192.0.2.1"), "203.0.113.9");
    assert_eq!(seen("10.3.0.1", "10.3.0.2"), "10.3.0.1");
    let found = problems("[[server.external]]\nlocal = \"here\"\n");
    assert!(found.iter().any(|problem| problem.contains("needs an address")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("not an address or a network")), "{found:?}");
}

// ---- pools, tokens, collectors ----

#[test]
fn pools_share_out_the_ports_by_number_and_trunk() {
    let text = "[[pool]]\nname = \"main\"\nports = 40\noverflow = \"backup\"\n\
                [[pool]]\nname = \"backup\"\nports = 10\n\
                [[pool]]\nname = \"service\"\nports = 5\ncalled = [\"+4930\"]\npriority = [\"+4930911\"]\npriority_reserve = 1\n\
                [[trunk]]\nname = \"t\"\npool = \"backup\"\nsources = [\"192.0.2.1\"]\n";
    let config = load(text).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(config.server.ports, 55);
    assert_eq!(config.pools[0].slots.overflow, Some(1));
    let of = |called: &str| config.pool_of(&config.trunks[0], called);
    assert_eq!((of("+49401"), of("+49301"), of("+4930911")), ((1, false), (2, false), (2, true)));
    assert_eq!(defaults().pools.len(), 1);
    assert_eq!(defaults().pool_of(&defaults().trunks[0], "1"), (0, false));
}

#[test]
fn contradictions_of_pools_and_admission_are_told() {
    let main = "[[pool]]\nname = \"main\"\nports = 4\n";
    for (text, expected) in [
        ("[[pool]]\nports = 4\n".to_owned(), "this pool has no name"),
        ("[[pool]]\nname = \"main\"\n".to_owned(), "this pool has no ports"),
        (format!("{main}{main}"), "a second pool is called `main`"),
        (format!("{main}overflow = \"main\"\n"), "cannot take its own overflow"),
        (format!("{main}overflow = \"mian\"\n"), "there is no pool `mian`; did you mean `main`?"),
        (format!("{main}priority_reserve = 2\n"), "nobody could take these slots"),
        (format!("{main}llm_route = \"small\"\n"), "there is no route `small`"),
        (format!("[server]\nports = 5\n{main}"), "the pools hold 4 calls"),
        ("[admission]\nmax_streams = { \"stt.nobody\" = 1 }\n".to_owned(), "there is no target `stt.nobody`"),
        ("[otlp]\nendpoint = \"collector\"\n".to_owned(), "`collector` is no address to post to"),
        (
            "[http]\ntokens = [{ role = \"admin\", token = \"env:PATH\" }]\n".to_owned(),
            "`admin` is not a choice",
        ),
        (
            "[http]\ntokens = [{ role = \"read\", token = \"verysecret\" }]\n".to_owned(),
            "a secret is written as env:NAME",
        ),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}\nis not in\n{found:?}");
        assert!(!found.iter().any(|line| line.contains("verysecret")), "{found:?}");
    }
}

#[test]
fn a_stage_has_a_limit_only_when_every_target_of_its_route_has_one() {
    let text = "[admission]\nmax_streams = { \"stt.embedded\" = 3 }\n";
    let config = load(text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let permits: Vec<_> = config.permits().into_iter().map(|permit| (permit.name, permit.cap)).collect();
    assert_eq!(permits, [("stt default".to_owned(), 3)]);
    assert_eq!(config.needs("default", "default"), [0]);
    assert!(defaults().permits().is_empty() && defaults().needs("default", "default").is_empty());
}

#[test]
fn the_agent_in_three_languages_can_be_tried_without_an_account() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/try-languages.toml");
    let config = Config::load(Some(&file), &Overrides::default()).expect("it is valid");
    let tags: Vec<&str> =
        config.agents["languages.toml"].languages().iter().map(|agent| agent.language()).collect();
    assert_eq!((tags, config.warnings), (vec!["de-DE", "fr-FR"], vec![]));
}

#[test]
fn another_language_needs_a_provider_and_a_room_needs_a_file() {
    let folder = Folder::new();
    let agent = "[agent]\nname = \"a\"\ngreeting = \"Hello.\"\n[ambience]\nfile = \"rom.wav\"\n\
                 [[language]]\ntag = \"de\"\ngreeting = \"Hallo.\"\nvoice = \"klara\"\n\
                 [[intent]]\nname = \"hours\"\nphrases = [\"hours\"]\nsay = \"Nine.\"\n";
    folder.write("room.wav", "no WAV");
    folder.write("a.toml", agent);
    let file = folder.write("t.toml", "[agent]\nfile = \"a.toml\"\n");
    let Err(ConfigError::Wrong(problems)) = Config::load(Some(&file), &Overrides::default()) else {
        panic!("what is built in knows English only")
    };
    let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
    for (place, what) in [
        ("a.toml:7:7", "nothing of [routes.stt.default] understands `de`"),
        ("a.toml:7:7", "nothing of [routes.tts.default] speaks `de`"),
        ("a.toml:9:9", "no target of [routes.tts.default] has a voice `klara`"),
        ("a.toml:5:8", "is no ambience: it cannot be read"),
    ] {
        assert!(
            told.iter().any(|line| line.contains(place) && line.contains(what)),
            "{place} {what}: {told:#?}"
        );
    }
    assert!(told.iter().any(|line| line.contains("room.wav")), "a file that is meant is named: {told:#?}");
}

#[test]
fn vectors_need_a_model() {
    let found = problems("[embeddings]\nbase_url = \"https://e.example/v1\"\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("2:12: nothing is found by its meaning without a model"), "{found:?}");
    let found = problems("[embeddings]\nmodel = \"m\"\nbase_url = \"e.example\"\n");
    assert!(found[0].starts_with("3:12: `e.example` is not an address"), "{found:?}");
}
