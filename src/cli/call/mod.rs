//! `tandem call`: a phone call from the terminal, with its words, its waterfalls and its recording.
//! Knows the caller's machine and the server's HTTP API; how either works is their business.

mod follow;
mod report;
mod trunk;

use super::audio;
use crate::sip_transport::tls::{self, TlsConfig};
use crate::{
    caller::{
        engine::{self, News, Sockets},
        phone::{Dial, Phone},
        script::Script,
    },
    server::SrtpPolicy,
};
use clap::Args as ClapArgs;
use follow::Follower;
use media::{Codec, SampleRate};
use report::{Outcome, Screen};
use rustls::pki_types::ServerName;
use sip::{CodecSpec, LocalMedia, SrtpMode, SrtpSuite, Transport, uri::Uri};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

/// Call a SIP address and talk to whoever answers.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Whom to call, for example sip:agent@127.0.0.1:5060 or "sip:agent@host;transport=tcp" (or tls); with --trunk, a number.
    pub uri: String,
    /// Call over this trunk, or group of trunks, of the config, with its login, numbers and failover.
    #[arg(long, value_name = "NAME")]
    pub trunk: Option<String>,
    /// The config file that describes the trunk.
    #[arg(long, value_name = "FILE", default_value = "tandem.toml")]
    pub config: PathBuf,
    /// Say this (repeatable): each one waits until the agent has finished.
    #[arg(long, value_name = "TEXT")]
    pub say: Vec<String>,
    /// Play this WAV file instead (repeatable).
    #[arg(long, value_name = "FILE", conflicts_with = "say")]
    pub wav: Vec<PathBuf>,
    /// Follow a script: see `loadtest/scripts/` for examples.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["say", "wav"])]
    pub script: Option<PathBuf>,
    /// Write what both sides said: caller left, agent right.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON document at the end instead of a picture.
    #[arg(long)]
    pub json: bool,
    /// The server's HTTP API, for the words of both sides and the waterfalls; `none` does without.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// For transport=tls: a PEM file of whom to trust, instead of those whom this system trusts.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// For transport=tls: take any certificate.
    #[arg(long, conflicts_with = "tls_ca")]
    pub tls_insecure: bool,
    /// Who calls.
    #[arg(long, value_name = "USER", default_value = "caller")]
    pub from: String,
    /// Offer these codecs, preferred first: pcmu, pcma (both is either), g722, opus. With a wide-band one, --out has
    /// 16 kHz.
    #[arg(long, value_name = "CODEC", default_value = "both")]
    pub codec: String,
    /// Encrypt what is said: off, optional (when the other side can) or required.
    #[arg(long, value_name = "MODE", default_value = "off")]
    pub srtp: String,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub limit: u64,
}

/// Runs the command. The exit code is 0 when the call was answered and every expectation was met, 1 when not, and 2
/// when it could not even be tried.
pub fn run(args: &Args) -> ExitCode {
    match call(args) {
        Ok(outcome) if outcome.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(message) => {
            eprintln!("tandem call: {message}");
            ExitCode::from(2)
        }
    }
}

fn call(args: &Args) -> Result<Outcome, String> {
    let script = script(args)?;
    let rate = rate_of(&codecs(&args.codec)?);
    let speech = audio::render(script.spoken(), rate)?;
    let files = audio::read_files(script.files(), rate)?;
    if let Some(name) = &args.trunk {
        return trunk::call(args, name, &Said { script, speech, files });
    }
    let (server, transport) = resolve(&args.uri)?;
    let follower = Follower::connect(&args.api);
    if script.needs_words() && follower.is_none() {
        return Err(format!(
            "the script expects words of the agent, which need the server's HTTP API: nothing answers at {}",
            args.api
        ));
    }
    let trust = (transport == Transport::Tls).then(|| trust(args)).transpose()?;
    let sockets = engine::open_with(server, transport, trust)
        .map_err(|error| format!("cannot reach {server}: {error}"))?;
    let dial = dial(args, &sockets, Said { script, speech, files })?;
    place(args, sockets, dial, follower)
}

/// What is said in the call.
#[derive(Clone)]
struct Said {
    script: Script,
    speech: BTreeMap<String, Vec<i16>>,
    files: BTreeMap<PathBuf, Vec<i16>>,
}

fn script(args: &Args) -> Result<Script, String> {
    if let Some(path) = &args.script {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Script::parse(&text).map_err(|error| format!("{}: {error}", path.display()));
    }
    if !args.wav.is_empty() {
        return Ok(Script::recordings(&args.wav));
    }
    let default = ["when are you open?".to_owned(), "goodbye".to_owned()];
    Ok(Script::conversation(if args.say.is_empty() { &default } else { &args.say }))
}

/// Host, port and transport of a SIP URI. Names are looked up by the system.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn resolve(uri: &str) -> Result<(SocketAddr, Transport), String> {
    let parsed = parse(uri)?;
    let is_sips = parsed.scheme.eq_ignore_ascii_case("sips");
    let transport = match parsed.param("transport").map(str::to_ascii_lowercase).as_deref() {
        Some("tls") => Transport::Tls,
        Some("tcp") | None if is_sips => Transport::Tls,
        Some("tcp") => Transport::Tcp,
        Some("udp") | None if !is_sips => Transport::Udp,
        Some(_) | None => return Err(format!("{uri}: only udp, tcp and tls can be dialled")),
    };
    let (host, port) = (parsed.host, parsed.port.unwrap_or(transport.default_port()));
    let mut addresses = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let server = addresses.next().ok_or_else(|| format!("{host}: no address"))?;
    Ok((server, transport))
}

fn parse(uri: &str) -> Result<Uri<'_>, String> {
    let parsed = Uri::parse(uri).map_err(|_| format!("{uri}: no SIP address"))?;
    if parsed.host.is_empty() {
        return Err(format!("{uri}: a SIP address begins with `sip:` or `sips:`"));
    }
    Ok(parsed)
}

/// Whom a call over TLS trusts: the certificate must bear the name that was dialled.
fn trust(args: &Args) -> Result<engine::Trust, String> {
    let config = TlsConfig { ca: args.tls_ca.clone(), verify: !args.tls_insecure, ..TlsConfig::default() };
    let config = tls::client_config(&config).map_err(|error| error.to_string())?;
    let host = parse(&args.uri)?.host.to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
    Ok(engine::Trust { config, name })
}

fn dial(args: &Args, sockets: &Sockets, said: Said) -> Result<Dial, String> {
    let codecs = codecs(&args.codec)?;
    let rate = rate_of(&codecs);
    let srtp = srtp(&args.srtp)?;
    let seed = seed();
    Ok(Dial {
        uri: args.uri.clone(),
        from: format!("<sip:{}@{}>", args.from, sockets.flow.local),
        flow: sockets.flow,
        local: LocalMedia {
            codecs,
            session_id: u64::from_le_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], 0, 0]),
            srtp: srtp.mode,
            srtp_seed: srtp.seed(),
            srtp_suites: srtp.suites,
            ..LocalMedia::new(sockets.flow.local.ip(), sockets.rtp_port)
        },
        seed,
        rate,
        clock_ppm: 0,
        speech: said.speech.into(),
        files: said.files.into(),
        script: said.script,
        record: args.out.is_some(),
        extras: Default::default(),
    })
}

/// What is offered.
fn codecs(names: &str) -> Result<Vec<CodecSpec>, String> {
    let mut codecs = Vec::new();
    for name in names.split(',').map(str::trim) {
        if name.eq_ignore_ascii_case("both") {
            codecs.extend([CodecSpec::PCMU, CodecSpec::PCMA]);
            continue;
        }
        let known = CodecSpec::named(name);
        let known = known.ok_or_else(|| format!("--codec {name}: use pcmu, pcma, both, g722 or opus"))?;
        codecs.push(known);
    }
    Ok(codecs)
}

/// What is spoken and recorded at: nothing of a wide-band codec is lost.
fn rate_of(codecs: &[CodecSpec]) -> SampleRate {
    let known = codecs.iter().filter_map(|codec| Codec::from_name(codec.name));
    let wide = known.map(Codec::rate).any(|rate| rate == SampleRate::Hz16000);
    if wide { SampleRate::Hz16000 } else { SampleRate::Hz8000 }
}

fn srtp(mode: &str) -> Result<SrtpPolicy, String> {
    let mode = match mode.to_ascii_lowercase().as_str() {
        "off" => SrtpMode::Off,
        "optional" => SrtpMode::Optional,
        "required" => SrtpMode::Required,
        other => return Err(format!("--srtp {other}: use off, optional or required")),
    };
    Ok(SrtpPolicy { mode, suites: SrtpSuite::ALL.to_vec() })
}

/// Identifiers that no other call has: from the clock and the process, mixed.
fn seed() -> [u8; 32] {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        // Every RandomState is keyed from the operating system's randomness.
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        part.copy_from_slice(&random.to_le_bytes());
    }
    seed
}

fn place(args: &Args, sockets: Sockets, dial: Dial, follower: Option<Follower>) -> Result<Outcome, String> {
    let (sender, news) = mpsc::channel();
    stop_on_interrupt(&sender);
    let screen = Screen::new(args.json);
    screen.dialling(&dial.uri, follower.is_some() || args.trunk.is_some());
    let now = Instant::now();
    let mut lines = [sockets.line(dial, now)];
    let mut following = false;
    let mut follower = follower;
    let tell = |_number: usize, phone: &Phone, happening| {
        if !std::mem::replace(&mut following, true)
            && let (Some(follower), Some(call_id)) = (&mut follower, phone.call_id())
        {
            follower.follow(call_id, sender.clone(), screen.words());
        }
        screen.show(&happening);
    };
    let deadline = now + Duration::from_secs(args.limit);
    engine::run(&mut lines, &news, deadline, tell).map_err(|error| error.to_string())?;
    let [line] = lines;
    if let Some(path) = &args.out {
        audio::write_stereo(path, &line.phone.recording, rate_of(&codecs(&args.codec)?))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let trace = follower.and_then(|follower| follower.trace());
    let outcome = Outcome::new(&line.phone, trace, args.out.clone());
    screen.finish(&outcome);
    Ok(outcome)
}

/// The first interrupt hangs up; a second one ends the program.
fn stop_on_interrupt(news: &mpsc::Sender<News>) {
    let news = news.clone();
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _call_may_be_over = news.send(News::Stop);
        }
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            std::process::exit(130);
        }
    };
    let _without_it_an_interrupt_just_ends_the_program = std::thread::Builder::new().spawn(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_host_port_and_transport() {
        let resolved = |uri: &str| resolve(uri).map(|(server, transport)| (server.to_string(), transport));
        assert_eq!(resolved("sip:agent@127.0.0.1"), Ok(("127.0.0.1:5060".into(), Transport::Udp)));
        assert_eq!(
            resolved("sip:127.0.0.1:5070;transport=TCP"),
            Ok(("127.0.0.1:5070".into(), Transport::Tcp))
        );
        assert_eq!(resolved("sip:a@[::1]"), Ok(("[::1]:5060".into(), Transport::Udp)));
        let tls = Ok(("127.0.0.1:5061".into(), Transport::Tls));
        assert_eq!(
            (resolved("sip:a@127.0.0.1;transport=tls"), resolved("sips:a@127.0.0.1")),
            (tls.clone(), tls)
        );
        assert!(resolve("127.0.0.1").is_err() && resolve("tel:123").is_err());
        assert!(
            resolve("sip:a@127.0.0.1;transport=ws").is_err()
                && resolve("sips:a@[::1];transport=udp").is_err()
        );
    }
}
