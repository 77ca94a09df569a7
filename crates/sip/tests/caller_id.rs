//! Who calls: what we send for each policy, and whom we believe.
//! Knows header values only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::caller_id::{
    Caller, CallerIdIn, CallerIdOut, CallerIdPolicy, Country, NumberFormat, incoming_caller,
};
use sip::headers::NameAddr;
use sip::uri::Uri;

fn policy(out: CallerIdOut) -> CallerIdPolicy {
    CallerIdPolicy {
        format: NumberFormat::E164Plus,
        country: None,
        from_user: None,
        from_host: "trunk.example".into(),
        out,
        privacy: false,
    }
}

fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn numbers_are_written_as_the_trunk_wants_them() {
    let germany = Country { code: "49".into(), trunk_prefix: "0".into(), international_prefix: "00".into() };
    let cases = [
        ("+49 30 123456", "+4930123456", "4930123456", "030123456"),
        ("0049-30-123456", "+4930123456", "4930123456", "030123456"),
        ("(030) 123456", "+4930123456", "4930123456", "030123456"),
        ("+43 1 5551234", "+4315551234", "4315551234", "004315551234"),
        ("112", "112", "112", "112"),
        ("*67", "*67", "*67", "*67"),
        ("agent", "agent", "agent", "agent"),
        ("", "", "", ""),
    ];
    for (given, plus, bare, national) in cases {
        let as_format = |format| {
            let policy =
                CallerIdPolicy { format, country: Some(germany.clone()), ..policy(CallerIdOut::From) };
            policy.number(given).into_owned()
        };
        assert_eq!(as_format(NumberFormat::E164Plus), plus, "{given}");
        assert_eq!(as_format(NumberFormat::E164), bare, "{given}");
        assert_eq!(as_format(NumberFormat::National), national, "{given}");
        assert_eq!(as_format(NumberFormat::AsWritten), given.trim());
    }
    let nowhere = policy(CallerIdOut::From);
    assert_eq!(nowhere.number("15550100123"), "+15550100123");
    assert_eq!(nowhere.number("030123456"), "030123456", "of which country nobody knows");
}

#[test]
fn each_policy_says_who_calls_in_its_headers() {
    let from = "\"Ann\" <sip:+15550100123@trunk.example>";
    let sent = policy(CallerIdOut::From).outgoing("15550100123", Some("Ann"));
    assert_eq!((sent.from.as_str(), sent.headers), (from, vec![]));
    let sent = policy(CallerIdOut::Both).outgoing("15550100123", Some("Ann"));
    assert_eq!(sent.headers, fields(&[("P-Asserted-Identity", from)]));
    let account = CallerIdPolicy { from_user: Some("acct7".into()), ..policy(CallerIdOut::RemoteParty) };
    let sent = account.outgoing("15550100123", None);
    assert_eq!(sent.from, "<sip:acct7@trunk.example>");
    let rpid = "<sip:+15550100123@trunk.example>;party=calling;screen=yes;privacy=off";
    assert_eq!(sent.headers, fields(&[("Remote-Party-ID", rpid)]));
}

#[test]
fn a_hidden_caller_is_told_to_the_trunk_only() {
    let hidden = CallerIdPolicy { privacy: true, ..policy(CallerIdOut::Asserted) };
    let sent = hidden.outgoing("+15550100123", Some("Ann"));
    assert_eq!(sent.from, "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    assert_eq!(sent.headers[0].0, "P-Asserted-Identity");
    assert_eq!(sent.headers[1], ("Privacy".into(), "id".into()));
    let in_from = CallerIdPolicy { privacy: true, ..policy(CallerIdOut::From) };
    let sent = in_from.outgoing("+15550100123", Some("Ann"));
    assert!(!format!("{} {:?}", sent.from, sent.headers).contains("5550100"));
    let account = CallerIdPolicy { from_user: Some("acct7".into()), ..in_from };
    assert_eq!(account.outgoing("+1555", None).from, "\"Anonymous\" <sip:acct7@trunk.example>");
    assert_eq!(policy(CallerIdOut::Both).outgoing("", None).headers, vec![]);
}

#[test]
fn nothing_can_be_smuggled_into_a_header() {
    let evil = "+1\r\nRoute: <sip:evil>;x=\"<>@?:";
    let hostile = CallerIdPolicy { format: NumberFormat::AsWritten, ..policy(CallerIdOut::Both) };
    let sent = hostile.outgoing(evil, Some("a\r\nVia: x \"b\\\" <sip:c@d>"));
    for value in [&sent.from, &sent.headers[0].1] {
        assert!(!value.contains(['\r', '\n']), "{value}");
        let addr = NameAddr::parse(value).expect("one name-addr");
        let uri = Uri::parse(addr.uri).expect("one URI");
        assert_eq!((uri.host, uri.params, addr.params), ("trunk.example", "", ""));
    }
    let broken = CallerIdPolicy { from_host: "x\r\n>;,y".into(), ..hostile };
    assert_eq!(broken.outgoing("1", None).from, "<sip:1@xy>");
}

#[test]
fn a_trusted_trunk_is_believed_in_order_and_a_stranger_in_from_only() {
    let headers = fields(&[
        ("From", "\"Ann\" <sip:anonymous@anonymous.invalid>;tag=1"),
        ("remote-party-id", "<sip:22@carrier>;privacy=full"),
        ("P-Asserted-Identity", "\"B \\\"x\\\"\" <sip:+15550100123;npdi@carrier>, <tel:+15550100123>"),
    ]);
    let caller = incoming_caller(&headers, &CallerIdIn::ALL, true);
    let expected = Caller {
        number: "+15550100123".into(),
        display: Some("B \"x\"".into()),
        source: CallerIdIn::Asserted,
        private: false,
    };
    assert!(caller == expected);
    let caller = incoming_caller(&headers[..2], &CallerIdIn::ALL, true);
    assert!(caller.number == "22" && caller.private && caller.source == CallerIdIn::RemoteParty);
    let caller = incoming_caller(&headers, &CallerIdIn::ALL, false);
    assert!(caller.number.is_empty() && caller.source == CallerIdIn::From);
    let caller = incoming_caller(&headers[..1], &CallerIdIn::ALL, true);
    assert!(caller.number.is_empty());
}

#[test]
fn privacy_is_noticed_and_odd_users_are_read() {
    let headers = fields(&[("From", "<sip:%2B1555%0A@x>"), ("Privacy", "critical; ID")]);
    let caller = incoming_caller(&headers, &CallerIdIn::ALL, true);
    assert_eq!(caller.number, "+1555%0A", "a line end stays escaped");
    assert!(caller.private);
    let tel = fields(&[("From", "tel:+15550100123;phone-context=x"), ("Privacy", "none")]);
    let caller = incoming_caller(&tel, &CallerIdIn::ALL, true);
    assert!(caller.number == "+15550100123" && !caller.private);
    for bad in ["", "nonsense", "<sip:@x>", "\"<sip:a@b>"] {
        let caller = incoming_caller(&fields(&[("From", bad)]), &CallerIdIn::ALL, true);
        assert!(caller.number.is_empty(), "{bad}");
    }
}
