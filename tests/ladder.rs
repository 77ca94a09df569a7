//! The SIP messages of a call as its operator sees them: over HTTP, drawn in the terminal, copied to a capture server.
//! The real program on loopback, called over TLS by the built-in caller.

mod live;
mod wire;

use live::{Folder, Live, RawPhone, eventually, run, tandem};
use serde_json::Value;
use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};
use wire::Authority;

/// A server that listens for SIP where `sip` says.
fn serve(rest: &str, sip: &str) -> Live {
    let folder = Folder::new();
    let file = folder.write_config(rest);
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, text.replace("listen = [\"udp:127.0.0.1:0\"]\n", sip)).expect("a config");
    Live::start_with(folder, &file, &[])
}

const UDP: &str = "listen = [\"udp:127.0.0.1:0\"]\n";

/// A server that listens on UDP and TLS and copies its messages to `hep`.
fn serve_tls(authority: &Authority, hep: SocketAddr) -> Live {
    let identity = authority.issue("server", &["127.0.0.1"]);
    let listen = format!(
        "listen = [\"udp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\nhep = \"udp:{hep}\"\nhep_capture_id = 7\n\
         [sip.tls]\ncertificate = {:?}\nkey = {:?}\n",
        identity.certificate, identity.key
    );
    serve("", &listen)
}

fn tls_port(live: &Live) -> u16 {
    let log = live.log();
    let address = log.split("tls:").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.and_then(|address| address.parse::<SocketAddr>().ok()).expect("it listens").port()
}

#[test]
fn a_call_over_tls_can_be_seen_message_by_message() {
    let authority = Authority::new();
    let capture = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    capture.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let live = serve_tls(&authority, capture.local_addr().expect("it is bound"));
    let uri = format!("sip:agent@127.0.0.1:{};transport=tls", tls_port(&live));
    let api = format!("http://{}", live.http);
    let ca = authority.ca().display().to_string();
    let dial = ["call", &uri, "--tls-ca", &ca, "--api", &api, "--say", "goodbye", "--limit", "60"];
    let (code, text) = run(tandem(&dial).current_dir(&live.folder.0));
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&mut tandem(&["call", &uri, "--api", "none", "--say", "goodbye"]));
    assert_eq!(code, 2, "nobody has signed this certificate for the system: {text}");
    assert!(text.contains("certificate"), "{text}");

    let record = live.last_record();
    let (status, ladder) = live.get("/calls/last/sip");
    assert_eq!(status, 200, "{ladder}");
    let ladder: Value = serde_json::from_str(&ladder).expect("JSON");
    assert_eq!(ladder["sip_call_id"], record["sip_call_id"]);
    let messages = ladder["messages"].as_array().expect("a list");
    let text = |message: &Value| message["text"].as_str().expect("text").to_owned();
    let begins = |word: &str| messages.iter().any(|message| text(message).starts_with(word));
    for word in ["INVITE ", "SIP/2.0 100 ", "SIP/2.0 200 ", "ACK ", "BYE "] {
        assert!(begins(word), "{word} in {ladder:#}");
    }
    assert!(messages.iter().all(|message| message["transport"] == "tls"));

    let call_id = record["sip_call_id"].as_str().expect("a name");
    for name in ["last", call_id, record["call"].as_str().expect("a name")] {
        let (code, drawn) = run(&mut tandem(&["trace", name, "--sip", "--api", &api]));
        assert_eq!(code, 0, "{drawn}");
        assert!(
            drawn.contains("── INVITE ─") && drawn.contains("─ 200 OK ──") && drawn.contains("PCMU"),
            "{drawn}"
        );
    }
    let (_, full) = run(&mut tandem(&["trace", "last", "--sip", "--full", "--api", &api]));
    assert!(full.contains("Via: SIP/2.0/TLS "), "{full}");
    let (code, unknown) = run(&mut tandem(&["trace", "nobody", "--sip", "--api", &api]));
    assert!(code == 1 && unknown.contains("no call"), "{unknown}");
    let (code, nowhere) = run(&mut tandem(&["trace", "last", "--sip", "--api", "http://127.0.0.1:1"]));
    assert!(code == 1 && nowhere.contains("--api"), "{nowhere}");

    copied(&capture, call_id);
    counted(&live);
}

/// The capture server got the INVITE, under the Call-ID and from this agent.
fn copied(capture: &UdpSocket, call_id: &str) {
    let mut packet = [0; 65_536];
    loop {
        let length = capture.recv(&mut packet).expect("a copy of the INVITE");
        let chunks = chunks(&packet[..length]);
        let chunk =
            |wanted: u16| chunks.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| value.as_slice());
        if !chunk(0x0f).expect("a payload").starts_with(b"INVITE ") {
            continue;
        }
        assert_eq!(chunk(0x11), Some(call_id.as_bytes()));
        assert_eq!(chunk(0x0c), Some(&7_u32.to_be_bytes()[..]));
        assert_eq!(
            (chunk(0x0b), chunk(0x02), chunk(0x03)),
            (Some(&[1][..]), Some(&[6][..]), Some(&[127, 0, 0, 1][..]))
        );
        return;
    }
}

/// The chunks of a HEP packet by number.
fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
    let (mut rest, mut found) = (&packet[6..], Vec::new());
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        found.push((u16::from_be_bytes([rest[2], rest[3]]), rest[6..length].to_vec()));
        rest = &rest[length..];
    }
    found
}

/// The figures know the transport, the codes and the connections, and name what has never happened at zero.
fn counted(live: &Live) {
    let figure = |series: &str| live.figure(&format!("tandem_sip_{series}"));
    eventually("the figures are published", || {
        (figure("transport_messages_total{direction=\"in\",transport=\"tls\"}") >= 3.0).then_some(())
    });
    assert!(figure("responses_total{direction=\"out\",code=\"200\"}") >= 1.0);
    assert!(figure("connections_total{event=\"accepted\"}") >= 1.0);
    assert!(figure("copies_total{result=\"sent\"}") >= 3.0);
    let metrics = live.metrics();
    for zero in [
        "transport_messages_total{direction=\"in\",transport=\"wss\"} 0",
        "responses_total{direction=\"out\",code=\"488\"} 0",
        "connections_total{event=\"keep_alive_unanswered\"} 0",
        "certificates_total{result=\"refused\"} 0",
    ] {
        assert!(metrics.contains(&format!("tandem_sip_{zero}\n")), "{zero} in\n{metrics}");
    }
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n\
                     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\n";

#[test]
fn a_refused_call_can_be_seen_too_and_keys_in_no_call() {
    let live = serve("[[trunk]]\nname = \"carrier\"\ncalled = [\"+49\"]\n", UDP);
    let mut phone = RawPhone::new(live.sip);
    let status = phone.request_to("nobody", "INVITE", Some(OFFER));
    assert!(status >= 400, "{}", phone.answer);
    let call_id = phone.answer.lines().find_map(|line| line.strip_prefix("Call-ID: ")).expect("a Call-ID");
    let (found, ladder) = live.get(&format!("/calls/{call_id}/sip"));
    assert_eq!(found, 200, "{ladder}");
    assert!(
        ladder.contains("INVITE sip:nobody") && ladder.contains(&format!("SIP/2.0 {status} ")),
        "{ladder}"
    );
    assert!(ladder.contains("inline:***") && !ladder.contains("c2VjcmV0"), "{ladder}");
    assert_eq!(live.get("/calls/nobody-called-this/sip").0, 404);
}

#[test]
fn a_peer_outside_is_told_the_external_address_in_contact_and_sdp() {
    let rule = "[[server.external]]\nip = \"203.0.113.9\"\nlocal = \"127.0.0.0/8\"\nexcept = []\n";
    let live = serve(rule, UDP);
    let mut phone = RawPhone::new(live.sip);
    assert_eq!(phone.request("INVITE", Some(OFFER)), 200);
    let port = live.sip.port();
    for told in [format!("Contact: <sip:203.0.113.9:{port}>"), "c=IN IP4 203.0.113.9\r\n".to_owned()] {
        assert!(phone.answer.contains(&told), "{told} in {}", phone.answer);
    }
}
