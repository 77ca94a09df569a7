//! baresip, a phone with a SIP, an RTP, codecs and an SRTP of its own, calls over UDP and over TCP, plain and encrypted:
//! the server understands its question, and it hears the answer as loud as it was said.

mod served;

use served::{Served, free_ports, heard, level_dbfs, missing, said, wait_for};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where the question begins in what baresip plays; the greeting is over by then.
const QUESTION_AT_S: u32 = 8;
/// How long baresip stays: the question takes under two seconds, and some of the answer is to be heard.
const CALL_S: u32 = 13;
/// What the agent says first.
const GREETING: &str =
    "Hello, this is the Tandem demo. Ask for our opening hours, your balance, or an appointment.";
/// Where distributions put baresip's modules.
const MODULES: [&str; 3] =
    ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules"];

/// Whether baresip can be used here; on a build server it must be.
fn have_baresip() -> bool {
    let missing = missing("baresip", "baresip-core");
    assert!(missing.is_none() || std::env::var_os("CI").is_none(), "{missing:?}");
    if let Some(missing) = &missing {
        eprintln!("not tried: {missing}");
    }
    missing.is_none()
}

/// A configuration with nothing but what a call needs: a file for the microphone, a file for each direction.
fn configure(folder: &Path, question: &Path, account: &str) {
    // The second one up is where it listens for TLS.
    let ports = free_ports(12);
    let modules = MODULES.iter().find(|path| Path::new(path).is_dir()).expect("baresip has modules");
    let mut config = format!("sip_listen 127.0.0.1:{}\nnet_interface 127.0.0.1\n", ports.start);
    let _ = writeln!(config, "rtp_ports {}-{}", ports.start + 4, ports.end - 1);
    let _ = writeln!(config, "audio_source aufile,{}", question.display());
    let _ = writeln!(config, "audio_player aubridge,sink\naudio_alert aubridge,sink");
    let rate = hound::WavReader::open(question).expect("a WAV file").spec().sample_rate;
    let _ = writeln!(config, "ausrc_srate {rate}\nausrc_channels 1\nopus_stereo no\nopus_sprop_stereo no");
    let _ = writeln!(config, "snd_path {}\nmodule_path {modules}", folder.display());
    // The accounts are read as their module is loaded, and must find the encryption and the codecs that they name.
    for module in ["srtp", "g711", "g722", "opus", "account", "uuid", "aufile", "aubridge", "sndfile"] {
        let _ = writeln!(config, "module {module}.so");
    }
    config.push_str("module_app menu.so\n");
    let account = format!("<sip:phone@127.0.0.1:{}>;regint=0{account}\n", ports.start);
    for (name, text) in [("config", config), ("accounts", account), ("contacts", String::new())] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

/// What the phone heard, and its rate: baresip calls it decoded. Of two channels the left one.
fn dump(folder: &Path) -> (Vec<i16>, usize) {
    let files = std::fs::read_dir(folder).expect("a folder").map_while(Result::ok).map(|file| file.path());
    let dumped = |path: &PathBuf| path.to_string_lossy().ends_with("-dec.wav");
    let path = files.into_iter().find(dumped).expect("a dump of what was heard");
    let mut wav = hound::WavReader::open(path).expect("a WAV file");
    let (channels, rate) = (usize::from(wav.spec().channels), wav.spec().sample_rate as usize);
    (wav.samples().map_while(Result::ok).step_by(channels).collect(), rate)
}

/// Makes a recording wide band: baresip's own way from 8 kHz to 16 leaves images that no recogniser understands.
fn widen(path: &Path) {
    let mut wav = hound::WavReader::open(path).expect("a WAV file");
    let spec = hound::WavSpec { sample_rate: 16_000, ..wav.spec() };
    let samples: Vec<i16> = wav.samples().map_while(Result::ok).collect();
    let mut wide = Vec::new();
    media::Resampler::new(8_000, 16_000).push(&samples, &mut wide);
    let mut writer = hound::WavWriter::create(path, spec).expect("a file");
    wide.into_iter().for_each(|sample| writer.write_sample(sample).expect("room"));
    writer.finalize().expect("a WAV file");
}

/// The loudest fifth of a second.
fn loudest(samples: &[i16], rate: usize) -> f64 {
    samples.chunks(rate / 5).map(level_dbfs).fold(-100.0, f64::max)
}

/// What the trunk and baresip are told, what comes of it in the record, and at which rate baresip hears.
struct Media {
    trunk: &'static str,
    account: &'static str,
    codec: &'static str,
    rate: usize,
}

/// As without a word about it.
const PLAIN: Media = Media { trunk: "", account: "", codec: "PCMU", rate: 8_000 };

fn baresip_asks_for_the_hours(
    parameters: &str,
    media: &Media,
    address: impl Fn(&Served) -> std::net::SocketAddr,
) {
    if !have_baresip() {
        return;
    }
    let server = Served::start(2, &format!("[[trunk]]\nname = \"phone\"\n[trunk.media]\n{}\n", media.trunk));
    let pad = (QUESTION_AT_S * 1_000).to_string();
    let spoken =
        server.tandem(&["say", "What are your opening hours?", "--pad-ms", &pad, "--out", "question.wav"]);
    assert!(spoken.status.success(), "{spoken:?}");
    if media.rate > 8_000 {
        widen(&server.path("question.wav"));
    }
    let folder = server.path("phone");
    std::fs::create_dir(&folder).expect("a folder");
    configure(&folder, &server.path("question.wav"), media.account);

    let dial = format!("/dial sip:demo@{}{parameters}", address(&server));
    let mut baresip = Command::new("baresip");
    baresip.args(["-4", "-f"]).arg(&folder).args(["-e", &dial, "-t", &CALL_S.to_string()]);
    let mut baresip = baresip
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("baresip starts");
    let record = server.closed_records(1).remove(0);
    // It has hung up, so it is ending; killing it does no harm to what is judged here.
    let _may_have_ended = baresip.kill();
    wait_for("the end of baresip", || baresip.try_wait().expect("it is ours"));

    assert_eq!((&record["end_cause"], &record["codec"]), (&"caller_hung_up".into(), &media.codec.into()));
    let trace = server.trace(&["last"]);
    assert!(heard(&trace).iter().any(|text| text.ends_with("opening hours")), "{:?}", heard(&trace));
    assert!(said(&trace).contains("from nine"), "{}", said(&trace));
    let (sound, rate) = dump(&folder);
    assert_eq!(rate, media.rate);
    let (greeting, answer) = sound.split_at(sound.len().min(rate * QUESTION_AT_S as usize));
    let answer = loudest(answer, rate);
    assert!(answer > -35.0, "the answer: {answer} dBFS");
    let said = server.tandem(&["say", GREETING, "--out", "greeting.wav"]);
    assert!(said.status.success(), "{said:?}");
    let mut wav = hound::WavReader::open(server.path("greeting.wav")).expect("a WAV file");
    let said: Vec<i16> = wav.samples().map_while(Result::ok).collect();
    let (heard, said) = (loudest(greeting, rate), loudest(&said, 8_000));
    assert!((heard - said).abs() < 3.0, "the greeting: said with {said} dBFS, heard with {heard}");
}

#[test]
fn baresip_asks_over_udp_and_hears_the_answer() {
    baresip_asks_for_the_hours("", &PLAIN, |server| server.udp);
}

#[test]
fn baresip_asks_over_tcp_and_hears_the_answer() {
    baresip_asks_for_the_hours(";transport=tcp", &PLAIN, |server| server.tcp);
}

/// RTP/SAVP, where both sides insist.
#[test]
fn baresip_asks_encrypted_where_that_is_required() {
    let media =
        Media { trunk: "srtp = \"required\"", account: ";mediaenc=srtp-mand", codec: "PCMU srtp", ..PLAIN };
    baresip_asks_for_the_hours("", &media, |server| server.udp);
}

/// RTP/AVP with keys, where neither does (RFC 8643).
#[test]
fn baresip_asks_encrypted_where_both_can() {
    let media =
        Media { trunk: "srtp = \"optional\"", account: ";mediaenc=srtp", codec: "PCMU srtp", ..PLAIN };
    baresip_asks_for_the_hours("", &media, |server| server.udp);
}

#[test]
fn baresip_asks_in_a_law() {
    let media = Media { account: ";audio_codecs=PCMA", codec: "PCMA", ..PLAIN };
    baresip_asks_for_the_hours("", &media, |server| server.udp);
}

#[test]
fn baresip_asks_in_g722() {
    let media = Media { account: ";audio_codecs=G722/16000/1", codec: "G722", rate: 16_000, ..PLAIN };
    baresip_asks_for_the_hours("", &media, |server| server.udp);
}

#[test]
fn baresip_asks_in_opus_and_encrypted() {
    let media = Media {
        trunk: "srtp = \"required\"",
        account: ";audio_codecs=opus/48000/1;mediaenc=srtp-mand",
        codec: "opus srtp",
        rate: 48_000,
    };
    baresip_asks_for_the_hours("", &media, |server| server.udp);
}
