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
/// The port that it takes calls on.
fn configure(folder: &Path, question: &Path, account: &str) -> u16 {
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
    ports.start
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

/// The strongest frequency of a stretch, to 5 Hz, and its level as that of the whole stretch.
fn pitch_and_level(samples: &[i16], rate: usize) -> (usize, f64) {
    let strength = |hz: usize| {
        let turn = std::f64::consts::TAU * hz as f64 / rate as f64;
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            sine += f64::from(*sample) * (turn * n as f64).sin();
            cosine += f64::from(*sample) * (turn * n as f64).cos();
        }
        f64::hypot(sine, cosine)
    };
    let strongest = (200..=1_600).step_by(5).max_by(|a, b| strength(*a).total_cmp(&strength(*b)));
    (strongest.expect("some frequency"), level_dbfs(samples))
}

/// The loudest half second.
fn loud_half(samples: &[i16], rate: usize) -> &[i16] {
    let halves = samples.windows(rate / 2).step_by(rate / 20);
    halves.max_by(|a, b| level_dbfs(a).total_cmp(&level_dbfs(b))).expect("half a second at least")
}

/// A tone, and silence behind it.
fn write_tone(path: &Path, rate: u32, hz: f32, dbfs: f32, silence_s: u32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).expect("a file");
    let tone = media::tone::sine(rate, hz, dbfs, 2 * rate as usize);
    let silence = std::iter::repeat_n(0, (silence_s * rate) as usize);
    tone.into_iter().chain(silence).for_each(|sample| writer.write_sample(sample).expect("room"));
    writer.finalize().expect("a WAV file");
}

/// The built-in caller calls baresip, which plays a tone; then it plays one. Both ends write down what they hear.
fn a_tone_goes_both_ways(codec: &str, parameters: &str, account: &str, rate: usize) {
    if !have_baresip() {
        return;
    }
    const THEIRS: (f32, f32) = (1_000.0, -20.0);
    const OURS: (f32, f32) = (700.0, -16.0);
    let folder = served::folder();
    std::fs::create_dir_all(folder.join("phone")).expect("a folder");
    let wav_rate = if rate > 8_000 { 16_000 } else { 8_000 };
    write_tone(&folder.join("theirs.wav"), wav_rate, THEIRS.0, THEIRS.1, 8);
    write_tone(&folder.join("ours.wav"), wav_rate, OURS.0, OURS.1, 0);
    let port =
        configure(&folder.join("phone"), &folder.join("theirs.wav"), &format!(";answermode=auto{account}"));
    let mut baresip = Command::new("baresip");
    baresip.args(["-4", "-f"]).arg(folder.join("phone")).args(["-t", "40"]);
    let baresip = baresip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut baresip = baresip.expect("baresip starts");
    wait_for("baresip to listen", || std::net::UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(()));

    let script = "steps = [{ wait_for = \"agent\" }, { wav = \"ours.wav\" }, { hang_up = true }]";
    std::fs::write(folder.join("tone.toml"), script).expect("a file");
    let mut call = Command::new(env!("CARGO_BIN_EXE_tandem"));
    call.current_dir(&folder).args(["call", &format!("sip:phone@127.0.0.1:{port}"), "--api", "none"]);
    call.args(["--codec", codec, "--script", "tone.toml", "--out", "call.wav"]);
    let called = call.args(parameters.split_whitespace()).output().expect("it runs");
    let _may_have_ended = baresip.kill();
    wait_for("the end of baresip", || baresip.try_wait().expect("it is ours"));
    assert!(called.status.success(), "{called:?}");

    let mut wav = hound::WavReader::open(folder.join("call.wav")).expect("a WAV file");
    let heard_rate = wav.spec().sample_rate as usize;
    let stereo: Vec<i16> = wav.samples().map_while(Result::ok).collect();
    let here: Vec<i16> = stereo.into_iter().skip(1).step_by(2).collect();
    let (there, there_rate) = dump(&folder.join("phone"));
    assert_eq!(there_rate, rate);
    for (end, samples, rate, (hz, dbfs)) in
        [("here", &here, heard_rate, THEIRS), ("there", &there, there_rate, OURS)]
    {
        let (pitch, level) = pitch_and_level(loud_half(samples, rate), rate);
        assert!((pitch as f32 - hz).abs() <= 5.0, "{codec}, heard {end}: {pitch} Hz for {hz}");
        assert!((level as f32 - dbfs).abs() < 1.5, "{codec}, heard {end}: {level:.1} dBFS for {dbfs}");
    }
    let _a_leftover_in_the_temporary_folder = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_tone_keeps_its_pitch_and_its_loudness_in_either_law() {
    a_tone_goes_both_ways("pcmu", "", ";audio_codecs=PCMU", 8_000);
    a_tone_goes_both_ways("pcma", "", ";audio_codecs=PCMA", 8_000);
}

#[test]
fn a_tone_keeps_its_pitch_and_its_loudness_in_wide_band() {
    a_tone_goes_both_ways("g722", "", ";audio_codecs=G722/16000/1", 16_000);
    a_tone_goes_both_ways("opus", "", ";audio_codecs=opus/48000/1", 48_000);
}

#[test]
fn a_tone_keeps_its_pitch_and_its_loudness_encrypted() {
    a_tone_goes_both_ways("pcmu", "--srtp required", ";audio_codecs=PCMU;mediaenc=srtp-mand", 8_000);
}
