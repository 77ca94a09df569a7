//! Incoming calls: what the peer sees and what the user is told.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{Bench, in_dialog, invite, tag_of, udp};
use sip::message::HeaderName;

#[test]
fn a_call_rings_is_answered_acknowledged_and_hung_up() {
    let mut bench = Bench::new(udp());
    bench.receive(&invite("call", "z9hG4bK1"));
    assert_eq!(bench.take_sent_kinds(), "100", "100 Trying at once");
    let dialog = bench.last_dialog();
    bench.respond(dialog, 180);
    bench.respond(dialog, 200);
    let sent = bench.take_sent();
    let tag = tag_of(&sent[1], &HeaderName::To);
    assert_eq!(tag, tag_of(&sent[0], &HeaderName::To), "180 and 200 carry the same tag");
    bench.receive(&in_dialog("ACK", 1, "z9hG4bK2", &tag));
    bench.receive(&in_dialog("BYE", 2, "z9hG4bK3", &tag));
    assert_eq!(bench.take_sent_kinds(), "200");
    assert_eq!(bench.take_event_names(), "Invite Acked Bye Ended");
    bench.pass_ms(60_000);
    let statistics = bench.endpoint.statistics();
    assert_eq!((statistics.transactions, statistics.dialogs), (0, 0), "nothing stays behind");
    assert_eq!(bench.wake, None);
}
