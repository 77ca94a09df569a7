//! Encrypted calls over real sockets: the built-in caller, and baresip with an SRTP of its own.
//! Knows the server by its command line and its records only.

mod served;

use served::{Served, heard, said};

/// A trunk that anybody may use, with this in its media.
fn trunk(media: &str) -> String {
    format!("[[trunk]]\nname = \"secure\"\nsources = [\"127.0.0.0/8\"]\n[trunk.media]\n{media}\n")
}

/// A question and its answer between the built-in caller and a trunk; the caller's exit code and the codec.
fn ask(trunk_srtp: &str, caller_srtp: &str) -> (Option<i32>, Option<String>) {
    let server = Served::start(2, &trunk(&format!("srtp = \"{trunk_srtp}\"")));
    let mut call =
        server.call(&["--srtp", caller_srtp, "--say", "What are your opening hours?", "--say", "Goodbye."]);
    let output = call.output().expect("tandem starts");
    let record = server.closed_records(1).remove(0);
    let codec = record["codec"].as_str().map(str::to_owned);
    if output.status.success() {
        let trace = server.trace(&["last"]);
        assert!(heard(&trace).iter().any(|text| text.ends_with("opening hours")), "{:?}", heard(&trace));
        assert!(said(&trace).contains("from nine"), "{}", said(&trace));
    }
    (output.status.code(), codec)
}

#[test]
fn a_call_over_a_trunk_that_requires_srtp_is_understood_and_answered() {
    assert_eq!(ask("required", "required"), (Some(0), Some("PCMU srtp".into())));
}

#[test]
fn where_both_can_but_need_not_the_call_is_encrypted() {
    assert_eq!(ask("optional", "optional"), (Some(0), Some("PCMU srtp".into())));
}

#[test]
fn a_caller_that_need_not_encrypt_is_served_in_clear_where_that_is_off() {
    assert_eq!(ask("off", "optional"), (Some(0), Some("PCMU".into())));
}

#[test]
fn plain_media_is_refused_where_srtp_is_required_and_the_other_way_round() {
    for (trunk_srtp, caller_srtp) in [("required", "off"), ("off", "required")] {
        let server = Served::start(2, &trunk(&format!("srtp = \"{trunk_srtp}\"")));
        let output =
            server.call(&["--srtp", caller_srtp, "--say", "Hello."]).output().expect("tandem starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let record = server.closed_records(1).remove(0);
        assert_eq!(record["sip_status"], 488, "{record}");
    }
}
