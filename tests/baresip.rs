//! baresip, a phone with a SIP, an RTP and an SRTP of its own, calls over UDP and over TCP, plain and encrypted: the
//! server understands its question, and it hears the answer.

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
fn configure(folder: &Path, question: &Path, mediaenc: &str) {
    // The second one up is where it listens for TLS.
    let ports = free_ports(12);
    let modules = MODULES.iter().find(|path| Path::new(path).is_dir()).expect("baresip has modules");
    let mut config = format!("sip_listen 127.0.0.1:{}\nnet_interface 127.0.0.1\n", ports.start);
    let _ = writeln!(config, "rtp_ports {}-{}", ports.start + 4, ports.end - 1);
    let _ = writeln!(config, "audio_source aufile,{}", question.display());
    let _ = writeln!(config, "audio_player aubridge,sink\naudio_alert aubridge,sink");
    let _ = writeln!(config, "snd_path {}\nmodule_path {modules}", folder.display());
    // The accounts are read as their module is loaded, and must find the encryption that they name.
    for module in ["srtp", "account", "uuid", "g711", "aufile", "aubridge", "sndfile"] {
        let _ = writeln!(config, "module {module}.so");
    }
    config.push_str("module_app menu.so\n");
    let account = format!("<sip:phone@127.0.0.1:{}>;regint=0{mediaenc}\n", ports.start);
    for (name, text) in [("config", config), ("accounts", account), ("contacts", String::new())] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

/// What the phone heard: baresip calls it decoded.
fn dump(folder: &Path) -> Vec<i16> {
    let files = std::fs::read_dir(folder).expect("a folder").map_while(Result::ok).map(|file| file.path());
    let dumped = |path: &PathBuf| path.to_string_lossy().ends_with("-dec.wav");
    let path = files.into_iter().find(dumped).expect("a dump of what was heard");
    let mut wav = hound::WavReader::open(path).expect("a WAV file");
    assert_eq!(wav.spec().sample_rate, 8_000);
    wav.samples().map_while(Result::ok).collect()
}

/// How the trunk and baresip are to encrypt, and what comes of it in the record.
struct Encryption {
    trunk: &'static str,
    mediaenc: &'static str,
    codec: &'static str,
}

/// As without a word about it.
const PLAIN: Encryption = Encryption { trunk: "", mediaenc: "", codec: "PCMU" };

fn baresip_asks_for_the_hours(
    parameters: &str,
    encryption: &Encryption,
    address: impl Fn(&Served) -> std::net::SocketAddr,
) {
    if !have_baresip() {
        return;
    }
    let server =
        Served::start(2, &format!("[[trunk]]\nname = \"phone\"\n[trunk.media]\n{}\n", encryption.trunk));
    let pad = (QUESTION_AT_S * 1_000).to_string();
    let spoken =
        server.tandem(&["say", "What are your opening hours?", "--pad-ms", &pad, "--out", "question.wav"]);
    assert!(spoken.status.success(), "{spoken:?}");
    let folder = server.path("phone");
    std::fs::create_dir(&folder).expect("a folder");
    configure(&folder, &server.path("question.wav"), encryption.mediaenc);

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

    assert_eq!(
        (&record["end_cause"], &record["codec"]),
        (&"caller_hung_up".into(), &encryption.codec.into())
    );
    let trace = server.trace(&["last"]);
    assert!(heard(&trace).iter().any(|text| text.ends_with("opening hours")), "{:?}", heard(&trace));
    assert!(said(&trace).contains("from nine"), "{}", said(&trace));
    let sound = dump(&folder);
    let (greeting, answer) = sound.split_at(sound.len().min(8_000 * QUESTION_AT_S as usize));
    assert!(level_dbfs(greeting) > -35.0, "the greeting: {} dBFS", level_dbfs(greeting));
    let loudest = answer.chunks(1_600).map(level_dbfs).fold(-100.0, f64::max);
    assert!(loudest > -35.0, "the answer: {loudest} dBFS");
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
    let encryption =
        Encryption { trunk: "srtp = \"required\"", mediaenc: ";mediaenc=srtp-mand", codec: "PCMU srtp" };
    baresip_asks_for_the_hours("", &encryption, |server| server.udp);
}

/// RTP/AVP with keys, where neither does (RFC 8643).
#[test]
fn baresip_asks_encrypted_where_both_can() {
    let encryption =
        Encryption { trunk: "srtp = \"optional\"", mediaenc: ";mediaenc=srtp", codec: "PCMU srtp" };
    baresip_asks_for_the_hours("", &encryption, |server| server.udp);
}
