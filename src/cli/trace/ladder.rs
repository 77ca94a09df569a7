//! A call's SIP messages as a ladder: the peer on the left, we on the right, an arrow for each message.
//! Knows what a message's first lines say; takes a ladder and gives text.

use super::safe;
use crate::sip_transport::ladder::{SipLadder, SipMessage};
use std::fmt::Write as _;

/// From one pole to the other, at the least and at the most.
const ARROW: std::ops::RangeInclusive<usize> = 24..=44;
/// What a line has beside its arrow: the time, the poles and some words.
const BESIDE: usize = 56;

/// The whole ladder as text, `width` characters wide. `full`: every message in full below its arrow.
pub fn render_ladder(ladder: &SipLadder, width: usize, full: bool) -> String {
    let arrow = width.saturating_sub(BESIDE).clamp(*ARROW.start(), *ARROW.end());
    let mut out = String::new();
    head(&mut out, ladder);
    let mut poles = None;
    for message in &ladder.messages {
        let now = (&message.remote, &message.local, &message.transport);
        if poles != Some(now) {
            poles = Some(now);
            draw_poles(&mut out, message, arrow);
        }
        draw(&mut out, message, (ladder.began_us, arrow));
        if full {
            for line in message.text.lines() {
                let _ = writeln!(out, "      {}", safe(line));
            }
            if message.cut {
                out.push_str("      … (cut)\n");
            }
            out.push('\n');
        }
    }
    if ladder.messages.is_empty() {
        out.push_str("No message is remembered.\n");
    }
    out
}

fn head(out: &mut String, ladder: &SipLadder) {
    let state = if ladder.ended { "ended" } else { "running" };
    let _ = write!(out, "Call-ID {}  {state}, {} messages", safe(&ladder.sip_call_id), ladder.messages.len());
    if ladder.fallen_off > 0 {
        let _ = write!(out, " ({} older ones are not kept any more)", ladder.fallen_off);
    }
    out.push('\n');
}

fn draw_poles(out: &mut String, message: &SipMessage, arrow: usize) {
    let left = format!("{} ({})", safe(&message.remote), safe(&message.transport));
    let right = format!("us, {}", safe(&message.local));
    let room = (arrow + 14).max(left.chars().count() + 2);
    let _ = writeln!(out, "\n    {left:<room$}{right}");
}

fn draw(out: &mut String, message: &SipMessage, (began_us, arrow): (i64, usize)) {
    let after = message.at_us.saturating_sub(began_us).max(0);
    let time = format!("{}.{:03} s", after / 1_000_000, after / 1_000 % 1_000);
    let mut label: String = safe(&name(&message.text));
    if label.chars().count() > arrow - 6 {
        label = label.chars().take(arrow - 7).chain(['…']).collect();
    }
    let line = "─".repeat(arrow - label.chars().count() - 5);
    let arrow = if message.incoming {
        format!("── {label} {line}▶")
    } else {
        format!("◀{line} {label} ──")
    };
    let note = note(&message.text);
    let _ = writeln!(out, "{time:>12}  │{arrow}│  {}", safe(&note));
    if note.is_empty() {
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
}

/// A request's method, or a response's status, reason and method.
fn name(text: &str) -> String {
    let first = text.trim_start_matches(['\r', '\n']).lines().next().unwrap_or_default();
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => {
            let method = header(text, "cseq", None).and_then(|cseq| cseq.split_whitespace().nth(1));
            match method {
                Some("INVITE") | None => status.trim().to_owned(),
                Some(method) => format!("{} ({method})", status.trim()),
            }
        }
        None => first.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// What is worth knowing besides: the media that SDP asks for, and why something ended.
fn note(text: &str) -> String {
    let mut notes = Vec::new();
    if let Some(sdp) =
        text.split_once("\r\n\r\n").map(|(_, body)| body).filter(|body| body.starts_with("v=0"))
    {
        notes.push(media(sdp));
    }
    for (name, short) in
        [("reason", None), ("warning", None), ("retry-after", None), ("session-expires", Some("x"))]
    {
        if let Some(value) = header(text, name, short) {
            notes.push(format!("{name}: {value}"));
        }
    }
    if let Some(target) = header(text, "refer-to", Some("r")) {
        notes.push(format!("to {target}"));
    }
    let challenge = ["www-authenticate", "proxy-authenticate"];
    if challenge.into_iter().any(|name| header(text, name, None).is_some()) {
        notes.push("asks for credentials".to_owned());
    }
    let credentials = ["authorization", "proxy-authorization"];
    if credentials.into_iter().any(|name| header(text, name, None).is_some()) {
        notes.push("with credentials".to_owned());
    }
    notes.join("; ")
}

/// Direction, codecs and address of the first audio stream.
fn media(sdp: &str) -> String {
    let line = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix));
    let direction = ["sendrecv", "sendonly", "recvonly", "inactive"]
        .into_iter()
        .find(|direction| sdp.lines().any(|line| line.strip_prefix("a=") == Some(direction)));
    let Some(audio) = line("m=audio ") else { return "SDP without audio".to_owned() };
    let mut fields = audio.split_whitespace();
    let (port, protocol) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let codecs: Vec<String> = fields.map(|payload| codec(sdp, payload)).collect();
    let host = line("c=IN IP4 ").or_else(|| line("c=IN IP6 ")).unwrap_or_default();
    let secure = if protocol.contains("SAVP") { " SRTP" } else { "" };
    format!("{} {}{secure} {host}:{port}", direction.unwrap_or("sendrecv"), codecs.join(","))
}

/// The name of a payload type, as the SDP or RFC 3551 has it.
fn codec(sdp: &str, payload: &str) -> String {
    let map = format!("a=rtpmap:{payload} ");
    let named = sdp.lines().find_map(|line| line.strip_prefix(&map)?.split('/').next());
    let fixed = match payload {
        "0" => "PCMU",
        "8" => "PCMA",
        "9" => "G722",
        other => other,
    };
    named.unwrap_or(fixed).to_owned()
}

/// The value of a header field, in its long or its short form.
fn header<'a>(text: &'a str, name: &str, short: Option<&str>) -> Option<&'a str> {
    let head = text.trim_start_matches(['\r', '\n']).split("\r\n\r\n").next().unwrap_or_default();
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        let field = field.trim();
        let same = field.eq_ignore_ascii_case(name) || short.is_some_and(|s| field.eq_ignore_ascii_case(s));
        same.then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_us: i64, incoming: bool, text: &str) -> SipMessage {
        let (local, remote) = ("192.0.2.1:5060".to_owned(), "198.51.100.2:5070".to_owned());
        let text = text.replace('\n', "\r\n");
        SipMessage { at_us, incoming, transport: "udp".to_owned(), local, remote, text, cut: false }
    }

    #[test]
    fn a_ladder_shows_who_said_what_when_and_why() {
        let sdp = "v=0\nc=IN IP4 198.51.100.2\nm=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n\
                   a=sendonly\n";
        let messages = [
            message(5_000_000, true, &format!("INVITE sip:a SIP/2.0\nCSeq: 1 INVITE\n\n{sdp}")),
            message(5_001_200, false, "SIP/2.0 100 Trying\nCSeq: 1 INVITE\n\n"),
            message(9_000_000, true, "BYE sip:a SIP/2.0\nReason: Q.850;cause=16\n\n"),
            message(9_000_900, false, "SIP/2.0 200 OK\nCSeq: 2 BYE\n\n"),
        ];
        let ladder = SipLadder {
            sip_call_id: "x@y".to_owned(),
            began_us: 5_000_000,
            messages: messages.into(),
            fallen_off: 2,
            ended: true,
        };
        let text = render_ladder(&ladder, 80, false);
        let expected = [
            "Call-ID x@y  ended, 4 messages (2 older ones are not kept any more)",
            "",
            "    198.51.100.2:5070 (udp)               us, 192.0.2.1:5060",
            "     0.000 s  │── INVITE ─────────────▶│  sendonly PCMA,telephone-event 198.51.100.2:4000",
            "     0.001 s  │◀───────── 100 Trying ──│",
            "     4.000 s  │── BYE ────────────────▶│  reason: Q.850;cause=16",
            "     4.000 s  │◀─────── 200 OK (BYE) ──│",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "\n{text}");
        assert!(render_ladder(&ladder, 80, true).contains("      Reason: Q.850;cause=16\n"));
    }

    #[test]
    fn whatever_a_peer_sends_moves_no_cursor() {
        let ladder = SipLadder {
            messages: [message(0, true, "\u{1b}[2J\nReason: \u{1b}[1m\n\n")].into(),
            ..SipLadder::default()
        };
        assert!(!render_ladder(&ladder, 20, true).contains('\u{1b}'));
    }
}
