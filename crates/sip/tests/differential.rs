//! Every message of the corpora, every variant and many mutants through our parser and two published ones: where they
//! and we differ, `rivals/disagreements.csv` says who is right and by which RFC. A new difference fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap, and read their data")]

mod leniency;
mod mutants;
mod rivals;

use leniency::variants;
use mutants::{Chance, mutate};
use rivals::{FIELDS, View};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

type Rival = (&'static str, fn(&[u8]) -> Option<View>);

const RIVALS: [Rival; 2] = [("sipx", rivals::sipx), ("rsipstack", rivals::rsipstack)];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The messages of RFC 4475 and RFC 5118, by name.
fn corpora() -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    for set in ["rfc4475", "rfc5118"] {
        let files = std::fs::read_dir(folder().join("torture").join(set)).unwrap().flatten();
        let files = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "dat"));
        messages.extend(files.map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        }));
    }
    assert_eq!(messages.len(), 49 + 12);
    messages
}

/// What differs: `frame` when only one side takes the bytes for a message, else the fields.
fn differing(ours: Option<&View>, theirs: Option<&View>) -> Vec<&'static str> {
    match (ours, theirs) {
        (None, None) => Vec::new(),
        (Some(_), None) | (None, Some(_)) => vec!["frame"],
        (Some(ours), Some(theirs)) => {
            let fields = FIELDS.iter().zip(ours.iter().zip(theirs));
            fields.filter(|(_, (ours, theirs))| ours != theirs).map(|(field, _)| *field).collect()
        }
    }
}

/// The table: who is right about a field of a message.
fn known() -> BTreeMap<[String; 3], (String, String)> {
    let table = std::fs::read_to_string(folder().join("rivals/disagreements.csv")).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.splitn(5, ',').collect();
        let [message, rival, field, right, why] = columns[..] else { panic!("five columns: {line}") };
        ([message, rival, field].map(str::to_owned), (right.to_owned(), why.to_owned()))
    };
    table.lines().skip(1).map(row).collect()
}

#[test]
fn where_other_parsers_differ_from_ours_the_table_says_who_is_right() {
    let known = known();
    let mut found = BTreeSet::new();
    for (name, bytes) in corpora().into_iter().chain(variants()) {
        let ours = rivals::ours(&bytes);
        for (rival, read) in RIVALS {
            for field in differing(ours.as_ref(), read(&bytes).as_ref()) {
                found.insert([name.clone(), rival.to_owned(), field.to_owned()]);
            }
        }
    }
    let new: Vec<_> = found.iter().filter(|row| !known.contains_key(*row)).collect();
    assert!(new.is_empty(), "say in rivals/disagreements.csv who is right: {new:#?}");
    let gone: Vec<_> = known.keys().filter(|row| !found.contains(*row)).collect();
    assert!(gone.is_empty(), "no difference any more: {gone:#?}");
}

#[test]
fn the_table_names_its_reasons_and_no_row_says_that_we_are_wrong() {
    for (row, (right, why)) in known() {
        assert!(right == "us" || right == "both", "{row:?}: {right}: then it is we who have to change");
        assert!(why.contains("RFC"), "{row:?} names no RFC");
    }
}

/// A field, and what it must say.
type Change = (&'static str, Option<&'static str>);

/// The variants whose meaning is clear: what must be read from each is what is read from the plain one, but for these.
const CHANGED: &[(&str, &[Change])] = &[
    ("tel-request-uri", &[("uri", Some("tel:+15550100@"))]),
    ("tel-with-context", &[("uri", Some("tel:0100@"))]),
    ("star-and-hash-user", &[("uri", Some("sip:*67#5550100@192.0.2.1:5060"))]),
    ("visual-separators", &[("uri", Some("sip:+1-(555)-0100@192.0.2.1:5060"))]),
    ("semicolon-in-user", &[("uri", Some("sip:+15550100;npdi;rn=+1555@192.0.2.1:5060"))]),
    ("escaped-user", &[("uri", Some("sip:%2B15550100@192.0.2.1:5060"))]),
    ("no-user", &[("uri", Some("sip:@192.0.2.1:5060"))]),
    ("ipv6-request-uri", &[("uri", Some("sip:+15550100@2001:db8::1:5060"))]),
    ("ipv6-via", &[("via-host", Some("2001:db8::7"))]),
    ("underscore-in-host", &[("uri", Some("sip:+15550100@my_pbx.example.org"))]),
    ("host-with-final-dot", &[("uri", Some("sip:+15550100@pbx.example.org."))]),
    ("upper-case-host", &[("uri", Some("sip:+15550100@pbx.example.org"))]),
    ("no-from-tag", &[("from-tag", None)]),
    ("empty-tag", &[("from-tag", None)]),
    ("long-tag", &[("from-tag", Some(LONG_TAG))]),
    ("no-branch", &[("via-branch", None)]),
    ("branch-without-cookie", &[("via-branch", Some("1-2-3"))]),
    ("branch-with-quotes", &[("via-branch", Some("\"z9hG4bKplain\""))]),
    ("largest-cseq", &[("cseq", Some("2147483647 INVITE"))]),
    ("cseq-over-31-bits", &[("cseq", None)]),
    ("cseq-over-32-bits", &[("cseq", None)]),
    ("cseq-with-a-name-behind", &[("cseq", None)]),
    ("content-length-of-zero", &[("body", Some("0"))]),
    ("content-length-with-sign", &[("body", None)]),
    ("body-shorter-than-said", &[("body", None)]),
    ("bytes-behind-the-body", &[]),
    ("call-id-with-odd-marks", &[("call-id", Some("p{l}a[i]n<\"\\>?/@192.0.2.7"))]),
    ("call-id-with-blank", &[("call-id", Some("pl ain@192.0.2.7"))]),
    ("call-id-with-two-ats", &[("call-id", Some("plain@a@b"))]),
    ("unknown-method", &[("start", Some("NEWMETHOD"))]),
    ("lower-case-method", &[("start", Some("invite"))]),
    ("lf-only", &[("body", Some("4"))]),
];

const LONG_TAG: &str =
    "peer-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is no message at all, and why nobody has to answer it.
const NO_MESSAGE: [&str; 5] =
    ["status-of-four-digits", "status-below-hundred", "status-above-range", "keep-alive-only", "nothing"];

#[test]
fn every_ugly_but_real_variant_is_read_for_what_it_means() {
    let plain = rivals::ours(leniency::PLAIN.as_bytes()).unwrap();
    let variants = variants();
    assert!(variants.len() >= 33, "{} variants", variants.len());
    for (name, bytes) in &variants {
        let read = rivals::ours(bytes);
        if NO_MESSAGE.contains(&name.as_str()) {
            assert_eq!(read, None, "{name}");
            continue;
        }
        let read = read.unwrap_or_else(|| panic!("{name} is not read"));
        if read[0].as_deref() == Some("180") {
            assert_eq!(
                (read[3].as_deref(), read[7].as_deref()),
                (Some("ours"), Some("z9hG4bKplain")),
                "{name}"
            );
            continue;
        }
        let changes = CHANGED.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, changes)| changes);
        for (index, field) in FIELDS.iter().enumerate() {
            let change = changes.iter().find(|(changed, _)| changed == field);
            let expected = change.map_or(plain[index].as_deref(), |(_, value)| *value);
            assert_eq!(read[index].as_deref(), expected, "{field} of {name}");
        }
    }
}

/// A difference in a mutant that no row can name: what both sides say about one field, and the whole message.
struct Differing<'a> {
    rival: &'static str,
    field: &'static str,
    ours: Option<&'a str>,
    theirs: Option<&'a str>,
    bytes: &'a [u8],
}

/// Why such a difference is right, by RFC section; `None` if nobody has thought about it.
fn excuse(case: &Differing<'_>) -> Option<&'static str> {
    match (case.rival, case.field, case.ours, case.theirs) {
        ("sipx", "via-host" | "via-branch", None, Some(_)) if !via_is_sip_and_token(case.bytes) => {
            Some("RFC 3261 25.1: protocol-name is SIP here, and transport is a token")
        }
        ("sipx", "uri", None, Some(theirs))
            if !theirs.starts_with(|first: char| first.is_ascii_alphabetic()) =>
        {
            Some("RFC 3261 25.1: a scheme begins with a letter")
        }
        ("sipx", "uri", Some(ours), Some(_)) if ours.contains(":::") => {
            Some("RFC 5118 4.10: the third colon is tolerated; they repair the text, we keep it")
        }
        ("sipx", "via-branch", Some(ours), Some(theirs)) if ours.trim_matches('"') == theirs => {
            Some("RFC 3261 25.1: a branch is a token; compared as written")
        }
        ("sipx", _, Some(_), None) => Some("what we read and they do not is checked where it is used"),
        _ => None,
    }
}

fn via_is_sip_and_token(bytes: &[u8]) -> bool {
    let Ok(message) = sip::parser::parse(bytes) else { return false };
    let value = message.value(&sip::message::HeaderName::Via).unwrap_or_default().to_owned();
    let mut parts = value.splitn(3, '/');
    let is_sip = parts.next().is_some_and(|name| name.trim().eq_ignore_ascii_case("SIP"));
    let transport = parts.nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let is_token =
        transport.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte));
    is_sip && is_token && !transport.is_empty()
}

#[test]
fn no_mutant_means_something_to_a_careful_parser_that_it_does_not_mean_to_us() {
    let mut seeds: Vec<Vec<u8>> = variants().into_iter().map(|(_, bytes)| bytes).collect();
    seeds.retain(|bytes| bytes.len() < 3_000);
    seeds.extend(corpora().into_iter().map(|(_, bytes)| bytes));
    let mut chance = Chance(0x5eed_0bad_cafe_f00d);
    let (mut compared, mut read_by_both) = (0, 0);
    for number in 0..20_000 {
        let mutant = mutate(&mut chance, &seeds);
        let (ours, theirs) = (rivals::ours(&mutant), rivals::sipx(&mutant));
        compared += 1;
        let Some(theirs) = theirs else { continue };
        let Some(ours) = ours else {
            let shown = String::from_utf8_lossy(&mutant);
            assert!(!is_status_or_request(&mutant), "mutant {number}: they read it, we do not:\n{shown}");
            continue;
        };
        read_by_both += 1;
        for (field, (ours, theirs)) in FIELDS.iter().zip(ours.iter().zip(&theirs)) {
            let case = Differing {
                rival: "sipx",
                field,
                ours: ours.as_deref(),
                theirs: theirs.as_deref(),
                bytes: &mutant,
            };
            let shown = String::from_utf8_lossy(&mutant);
            let fine = ours == theirs || excuse(&case).is_some();
            assert!(fine, "mutant {number}, {field}: {ours:?}, they say {theirs:?}\n{shown}");
        }
    }
    assert!(read_by_both * 10 > compared, "{read_by_both} of {compared} were read by both");
}

/// Whether the first line is one that a message may have.
fn is_status_or_request(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let first = words.next().unwrap_or_default();
    if first.eq_ignore_ascii_case("SIP/2.0") {
        return words
            .next()
            .is_some_and(|code| code.len() == 3 && code.parse().is_ok_and(|c: u16| (100..700).contains(&c)));
    }
    words.next_back().is_some_and(|version| version.eq_ignore_ascii_case("SIP/2.0"))
}

#[test]
fn where_two_other_parsers_agree_about_a_mutant_we_agree_too() {
    let seeds: Vec<Vec<u8>> =
        variants().into_iter().map(|(_, bytes)| bytes).filter(|b| b.len() < 3_000).collect();
    let mut chance = Chance(0xd1ff_e7e9_71a1_0001);
    let mut agreed = 0;
    for number in 0..20_000 {
        let mutant = mutate(&mut chance, &seeds);
        let (Some(first), Some(second)) = (rivals::sipx(&mutant), rivals::rsipstack(&mutant)) else {
            continue;
        };
        let Some(ours) = rivals::ours(&mutant) else { continue };
        for (index, field) in FIELDS.iter().enumerate() {
            if first[index].is_none() || first[index] != second[index] {
                continue;
            }
            agreed += 1;
            let (ours, theirs) = (ours[index].as_deref(), first[index].as_deref());
            let case = Differing { rival: "sipx", field, ours, theirs, bytes: &mutant };
            let shown = String::from_utf8_lossy(&mutant);
            let fine = ours == theirs || excuse(&case).is_some();
            assert!(fine, "mutant {number}, {field}: {ours:?}, both say {theirs:?}\n{shown}");
        }
    }
    assert!(agreed > 10_000, "{agreed} fields compared");
}
