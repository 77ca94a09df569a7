//! Ugly but real: variants of one INVITE that phones, PBXs and trunks send, each with the reason it is among them.
//! Knows bytes. What must be read from them is said where this is used.
#![allow(unreachable_pub, dead_code, reason = "shared by tests, each of which uses its part")]

/// What all variants are made of.
pub const PLAIN: &str = "INVITE sip:+15550100@192.0.2.1:5060 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKplain;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Ann\" <sip:ann@example.org>;tag=peer\r\n\
    To: <sip:+15550100@192.0.2.1>\r\n\
    Call-ID: plain@192.0.2.7\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:ann@192.0.2.7:5060>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\r\nv=0\r\n";

const COMPACT: &str = "INVITE sip:+15550100@192.0.2.1:5060 SIP/2.0\r\n\
    v: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKplain;rport\r\n\
    Max-Forwards: 70\r\n\
    f: \"Ann\" <sip:ann@example.org>;tag=peer\r\n\
    t: <sip:+15550100@192.0.2.1>\r\n\
    i: plain@192.0.2.7\r\n\
    CSeq: 1 INVITE\r\n\
    m: <sip:ann@192.0.2.7:5060>\r\n\
    c: application/sdp\r\n\
    l: 5\r\n\r\nv=0\r\n";

const RINGING: &str = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKplain;rport\r\n\
    From: \"Ann\" <sip:ann@example.org>;tag=peer\r\nTo: <sip:+15550100@192.0.2.1>;tag=ours\r\n\
    Call-ID: plain@192.0.2.7\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

/// `PLAIN` with one piece replaced.
const REPLACED: &[(&str, &str, &str)] = &[
    // Numbers and users.
    ("tel-request-uri", "sip:+15550100@192.0.2.1:5060 SIP", "tel:+15550100 SIP"),
    ("tel-with-context", "sip:+15550100@192.0.2.1:5060 SIP", "tel:0100;phone-context=+1555 SIP"),
    ("tel-in-from", "<sip:ann@example.org>", "<tel:+15550111>"),
    ("tel-in-from-bare", "\"Ann\" <sip:ann@example.org>", "tel:+15550111"),
    ("star-and-hash-user", "INVITE sip:+15550100@", "INVITE sip:*67#5550100@"),
    ("visual-separators", "INVITE sip:+15550100@", "INVITE sip:+1-(555)-0100@"),
    ("semicolon-in-user", "INVITE sip:+15550100@", "INVITE sip:+15550100;npdi;rn=+1555@"),
    ("escaped-user", "INVITE sip:+15550100@", "INVITE sip:%2B15550100@"),
    ("password-in-uri", "INVITE sip:+15550100@", "INVITE sip:+15550100:secret@"),
    ("no-user", "INVITE sip:+15550100@", "INVITE sip:"),
    ("anonymous-from", "\"Ann\" <sip:ann@example.org>", "\"Anonymous\" <sip:anonymous@anonymous.invalid>"),
    // Hosts.
    ("ipv6-request-uri", "192.0.2.1:5060 SIP", "[2001:db8::1]:5060 SIP"),
    ("ipv6-via", "UDP 192.0.2.7:5060", "UDP [2001:db8::7]:5060"),
    ("underscore-in-host", "@192.0.2.1:5060 SIP", "@my_pbx.example.org SIP"),
    ("host-with-final-dot", "@192.0.2.1:5060 SIP", "@pbx.example.org. SIP"),
    ("upper-case-host", "@192.0.2.1:5060 SIP", "@PBX.Example.ORG SIP"),
    ("upper-case-scheme", "INVITE sip:", "INVITE SIP:"),
    ("transport-parameter", ":5060 SIP", ":5060;transport=udp;user=phone SIP"),
    // The start line.
    ("doubled-blank-in-request-line", " SIP/2.0\r\nVia", "  SIP/2.0\r\nVia"),
    ("blank-at-end-of-request-line", "SIP/2.0\r\nVia", "SIP/2.0 \r\nVia"),
    ("brackets-around-request-uri", "sip:+15550100@192.0.2.1:5060 SIP", "<sip:+15550100@192.0.2.1:5060> SIP"),
    ("lower-case-version", "SIP/2.0\r\nVia", "sip/2.0\r\nVia"),
    // Field names and folding.
    ("blank-before-colon", "From:", "From :"),
    ("tab-before-colon", "To:", "To\t:"),
    ("no-blank-after-colon", "From: ", "From:"),
    ("lower-case-names", "Call-ID:", "call-id:"),
    ("folded-from", " <sip:ann@example.org>;tag", "\r\n <sip:ann@example.org>\r\n\t;tag"),
    ("field-without-value", "Contact:", "Subject:\r\nContact:"),
    ("line-without-colon", "Contact:", "this is no field\r\nContact:"),
    ("field-with-bare-cr", "Contact:", "X-Odd: a\rb\r\nContact:"),
    ("to-before-via", "Via: SIP", "X-First: 1\r\nVia: SIP"),
    // Names.
    ("unquoted-display-name", "\"Ann\"", "Ann of the Exchange"),
    ("comma-in-quoted-name", "\"Ann\"", "\"Bell, Ann <Sales>\""),
    ("escaped-quotes-in-name", "\"Ann\"", "\"Ann \\\"A\\\" Bell\""),
    ("utf8-name", "\"Ann\"", "\"Änne Größe\""),
    ("no-blank-before-bracket", "\"Ann\" <", "\"Ann\"<"),
    ("no-brackets", "\"Ann\" <sip:ann@example.org>", "sip:ann@example.org"),
    ("empty-name", "\"Ann\" ", "\"\" "),
    // Parameters.
    ("doubled-semicolon", ">;tag=", ">;;tag="),
    ("semicolon-at-end", "tag=peer", "tag=peer;"),
    ("blanks-around-equals", ";tag=peer", " ; tag = peer"),
    ("upper-case-tag", ";tag=", ";TAG="),
    ("no-from-tag", ";tag=peer", ""),
    ("empty-tag", "tag=peer", "tag="),
    (
        "long-tag",
        "tag=peer",
        "tag=peer-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    // Via.
    ("blanks-in-via", "SIP/2.0/UDP 192", "SIP / 2.0 / UDP  192"),
    ("lower-case-transport", "/UDP", "/udp"),
    ("unknown-transport", "/UDP", "/SCTP"),
    ("two-vias-in-one-field", ";rport", ";rport, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKother"),
    ("received-without-brackets", ";rport", ";rport;received=2001:db8::7"),
    ("rport-with-value", ";rport", ";rport=40000"),
    ("no-branch", ";branch=z9hG4bKplain", ""),
    ("branch-without-cookie", "z9hG4bKplain", "1-2-3"),
    ("branch-with-quotes", "z9hG4bKplain", "\"z9hG4bKplain\""),
    ("blank-before-via-port", "192.0.2.7:5060;branch", "192.0.2.7 :5060 ;branch"),
    // Numbers.
    ("zeros-before-cseq", "CSeq: 1 ", "CSeq: 0001 "),
    ("blanks-in-cseq", "CSeq: 1 INVITE", "CSeq:   1    INVITE"),
    ("tab-in-cseq", "CSeq: 1 INVITE", "CSeq: 1\tINVITE"),
    ("largest-cseq", "CSeq: 1 ", "CSeq: 2147483647 "),
    ("cseq-over-31-bits", "CSeq: 1 ", "CSeq: 2147483648 "),
    ("cseq-over-32-bits", "CSeq: 1 ", "CSeq: 4294967296 "),
    ("cseq-with-a-name-behind", "CSeq: 1 INVITE", "CSeq: 1 INVITE x"),
    ("no-content-length", "Content-Length: 5\r\n", ""),
    ("content-length-of-zero", "Content-Length: 5", "Content-Length: 0"),
    ("zeros-before-content-length", "Content-Length: 5", "Content-Length: 0005"),
    ("content-length-twice-the-same", "Content-Length: 5\r\n", "Content-Length: 5\r\nl: 5\r\n"),
    ("content-length-with-sign", "Content-Length: 5", "Content-Length: +5"),
    // Call-IDs.
    ("call-id-with-odd-marks", "plain@192.0.2.7", "p{l}a[i]n<\"\\>?/@192.0.2.7"),
    ("call-id-with-blank", "plain@192.0.2.7", "pl ain@192.0.2.7"),
    ("call-id-with-two-ats", "plain@192.0.2.7", "plain@a@b"),
    // Methods.
    ("unknown-method", "INVITE sip", "NEWMETHOD sip"),
    ("lower-case-method", "INVITE sip", "invite sip"),
];

/// `RINGING` with one piece replaced.
const REPLIES: &[(&str, &str, &str)] = &[
    ("plain-response", "180 Ringing", "180 Ringing"),
    ("response-without-reason", "180 Ringing", "180 "),
    ("response-ending-at-the-code", "180 Ringing", "180"),
    ("reason-in-utf8", "180 Ringing", "180 Es läutet"),
    ("doubled-blank-in-status-line", "180 Ringing", " 180 Ringing"),
    ("status-of-four-digits", "180 Ringing", "1800 Ringing"),
    ("status-below-hundred", "180 Ringing", "099 Odd"),
    ("status-above-range", "180 Ringing", "700 Odd"),
    ("lower-case-status-version", "SIP/2.0 180", "sip/2.0 180"),
];

/// All variants with their names.
pub fn variants() -> Vec<(String, Vec<u8>)> {
    let replaced = |plain: &str, what: &str, with: &str| {
        assert!(plain.contains(what), "{what} is not there");
        plain.replacen(what, with, 1).into_bytes()
    };
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| all.push((name.to_owned(), bytes));
    add("plain", PLAIN.into());
    add("compact-names", COMPACT.into());
    for (name, what, with) in REPLACED {
        add(name, replaced(PLAIN, what, with));
    }
    for (name, what, with) in REPLIES {
        add(name, replaced(RINGING, what, with));
    }
    add("lf-only", PLAIN.replace("\r\n", "\n").replace("Length: 5", "Length: 4").into_bytes());
    add("lf-in-fields-only", PLAIN.replacen("\r\nMax", "\nMax", 1).into_bytes());
    let latin1 = PLAIN.replace("Ann", "J\u{fc}rgen").chars().map(|c| c as u32 as u8).collect();
    add("latin1-name", latin1);
    add("leading-crlf", format!("\r\n{PLAIN}").into_bytes());
    add("leading-crlf-crlf", format!("\r\n\r\n{PLAIN}").into_bytes());
    add("leading-nuls", format!("\0\0\0\0{PLAIN}").into_bytes());
    add("bytes-behind-the-body", format!("{PLAIN}\r\n\r\n\0\0").into_bytes());
    let field = |length: usize| format!("X-Long: {}\r\nContact:", "x".repeat(length));
    add("field-of-8-kib", PLAIN.replacen("Contact:", &field(8_100), 1).into_bytes());
    add("field-of-12-kib", PLAIN.replacen("Contact:", &field(12_288), 1).into_bytes());
    let many: String = (0..150).map(|number| format!("X-{number}: {number}\r\n")).collect();
    add("hundred-and-sixty-fields", PLAIN.replacen("Contact:", &format!("{many}Contact:"), 1).into_bytes());
    add("body-shorter-than-said", PLAIN.replacen("Length: 5", "Length: 50", 1).into_bytes());
    add("keep-alive-only", b"\r\n\r\n".to_vec());
    add("nothing", Vec::new());
    all
}
