//! The figures of the SIP sockets: messages by transport and code, connections, certificates, copies.
//! Knows what the transport counts. Everything is there at zero from the start.

use super::metrics::{Counters, Way, add};
use crate::sip_transport::{Ladders, SipCounters};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use sip::Transport;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The final and provisional codes of RFC 3261 and of the extensions that trunks use; the rest is `other`.
const CODES: [u16; 60] = [
    100, 180, 181, 182, 183, 199, 200, 202, 204, 300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405, 406,
    407, 408, 410, 412, 413, 414, 415, 416, 420, 421, 422, 423, 428, 433, 436, 437, 438, 480, 481, 482, 483,
    484, 485, 486, 487, 488, 489, 491, 493, 494, 500, 501, 502, 503, 504, 513, 600, 603, 604,
];

/// What happens to connections, as their label says it.
const CONNECTIONS: [&str; 7] =
    ["accepted", "refused", "opened", "failed", "cut", "handshake_failed", "keep_alive_unanswered"];

/// The figures. Clones share them.
#[derive(Clone)]
pub(super) struct SipFigures {
    messages: Counters<2>,
    responses: Counters<2>,
    connections: Counters<1>,
    open: Gauge,
    certificates: Counters<1>,
    copies: Counters<1>,
    fallen_off: Counter,
}

impl SipFigures {
    pub(super) fn register(of: &mut Registry) -> Self {
        let transport = "SIP messages by transport; a datagram counts as one";
        let figures = Self {
            messages: add(of, "sip_transport_messages", transport, Family::default()),
            responses: add(of, "sip_responses", "SIP responses by code", Family::default()),
            connections: add(of, "sip_connections", "What happened to SIP connections", Family::default()),
            open: add(of, "sip_connections_open", "SIP connections there are now", Gauge::default()),
            certificates: add(of, "sip_certificates", "Changed certificates by result", Family::default()),
            copies: add(of, "sip_copies", "Copies for the capture server by result", Family::default()),
            fallen_off: add(of, "sip_ladder_fallen_off", "Messages too old for ladders", Counter::default()),
        };
        figures.transport(&SipCounters::default(), &Ladders::default());
        for way in [Way::In, Way::Out] {
            CODES.into_iter().for_each(|code| figures.responses(way, code, 0));
            figures.responses(way, 0, 0);
        }
        figures
    }

    pub(super) fn responses(&self, way: Way, code: u16, count: u64) {
        let code = if CODES.contains(&code) { code.to_string() } else { "other".to_owned() };
        let labels = [("direction", way.name().to_owned()), ("code", code)];
        self.responses.get_or_create(&labels).inc_by(count);
    }

    pub(super) fn transport(&self, now: &SipCounters, ladders: &Ladders) {
        for (way, counts) in [(Way::In, &now.messages_in), (Way::Out, &now.messages_out)] {
            for (transport, count) in Transport::ALL.into_iter().zip(counts) {
                let labels =
                    [("direction", way.name().to_owned()), ("transport", transport.param().to_owned())];
                self.messages.get_or_create(&labels).inner().store(count.load(Relaxed), Relaxed);
            }
        }
        let connections = [
            &now.connections_in,
            &now.connections_refused,
            &now.connections_out,
            &now.connections_failed,
            &now.connections_cut,
            &now.handshakes_failed,
            &now.keep_alives_unanswered,
        ];
        set(&self.connections, "event", CONNECTIONS.into_iter().zip(connections));
        let certificates = [("reloaded", &now.certificates_reloaded), ("refused", &now.certificates_refused)];
        set(&self.certificates, "result", certificates.into_iter());
        set(&self.copies, "result", [("sent", &now.hep_sent), ("dropped", &now.hep_dropped)].into_iter());
        self.open.set(i64::try_from(now.connections_open.load(Relaxed)).unwrap_or(i64::MAX));
        self.fallen_off.inner().store(ladders.fallen_off(), Relaxed);
    }
}

fn set<'a>(
    family: &Counters<1>,
    label: &'static str,
    counts: impl Iterator<Item = (&'static str, &'a AtomicU64)>,
) {
    for (value, count) in counts {
        family.get_or_create(&[(label, value.to_owned())]).inner().store(count.load(Relaxed), Relaxed);
    }
}
