//! What a standing call costs in memory, measured by the process's own size.
//! Knows the endpoint from outside only. `-- --nocapture` prints the figure.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may unwrap, and read their own size"
)]

mod kit;

use kit::{Bench, in_dialog, invite, tag_of, udp, with_headers};
use sip::message::HeaderName;

const CALLS: usize = 4_000;
/// The promise, in bytes for each idle dialog.
const MOST: usize = 64 * 1024;

/// Resident bytes of this process; `None` where the system does not say it this way.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn call(bench: &mut Bench, number: usize) {
    let id = format!("call-{number}-0123456789abcdef@pbx.example.org");
    let record_route =
        "Record-Route: <sip:192.0.2.50;lr;ftag=1234567890>, <sip:192.0.2.51;lr;ftag=1234567890>\r\n";
    let extra = format!("{record_route}Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n");
    bench.receive(&with_headers(&invite(&id, &format!("z9hG4bK{number}")), &extra));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    let tag = tag_of(&bench.take_sent().pop().unwrap(), &HeaderName::To);
    let ack = in_dialog("ACK", 1, &format!("z9hG4bKack{number}"), &tag);
    bench.receive(&ack.replace("Call-ID: call", &format!("Call-ID: {id}")));
    bench.take_events();
    bench.take_sent();
}

#[test]
fn an_idle_dialog_holds_less_than_64_kib() {
    let mut bench = Bench::new(udp());
    call(&mut bench, CALLS);
    bench.pass_ms(60_000);
    let before = resident();
    for number in 0..CALLS {
        call(&mut bench, number);
        // Transactions end while calls go on: 200 calls begin in a second.
        bench.pass_ms(5);
    }
    bench.pass_ms(60_000);
    let statistics = bench.endpoint.statistics();
    assert_eq!((statistics.dialogs, statistics.transactions), (CALLS + 1, 0), "only dialogs are left");
    let (Some(before), Some(after)) = (before, resident()) else { return };
    let each = after.saturating_sub(before) / CALLS;
    println!("{each} bytes for each idle dialog, transactions that have gone included");
    assert!(each <= MOST, "{each} bytes");
}
