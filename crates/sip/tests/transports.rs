//! What the transport of a call changes in its messages and ways: Via, Contact, and who a new connection must lead to.
//! Knows the endpoint from outside only.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{ANSWER, Bench, OFFER, invite, response, tcp, udp, value};
use sip::{
    Command, DialogKey, EndpointConfig, ExternalAddress, ExternalAddresses, Flow, Input, OutgoingInvite,
    Transport,
};

const KEY: DialogKey = DialogKey(1 << 63 | 5);

/// Whom the connection was opened to: the second name there is.
const NAME: u64 = 2 << 48;

fn tls(connection: u64) -> Flow {
    Flow { transport: Transport::Tls, connection, remote: "192.0.2.7:5061".parse().unwrap(), ..udp() }
}

/// A call of ours to a name over TLS whose answer came on connection 9.
fn answered(bench: &mut Bench, contact: &str) {
    let call = OutgoingInvite::new(KEY, "sips:b@carrier.example", "<sip:a@192.0.2.1>", tls(NAME), OFFER);
    bench.command(Command::Invite(call));
    let sent = bench.take_sent();
    let extra = format!("Contact: <{contact}>\r\nContent-Type: application/sdp\r\n");
    let ok = response(&sent[0], 200, "them", &extra, ANSWER);
    bench.step(Input::Message { flow: tls(NAME | 9), bytes: ok.as_bytes() });
    assert_eq!(bench.take_event_names(), "Answered");
    assert_eq!(bench.take_sent_kinds(), "ACK");
}

#[test]
fn every_transport_is_named_in_via_and_contact() {
    for transport in Transport::ALL {
        let flow = Flow { transport, connection: u64::from(transport.is_reliable()) * 7, ..udp() };
        let mut bench = Bench::new(flow);
        bench.receive(&invite("call", "z9hG4bK1"));
        let dialog = bench.last_dialog();
        bench.respond(dialog, 200);
        let param = format!(";transport={}", transport.param());
        let contact =
            format!("<sip:192.0.2.1:5060{}>", if transport == Transport::Udp { "" } else { &param });
        assert_eq!(value(&bench.sent.last().unwrap().1, "Contact"), contact);
        bench.command(Command::Invite(OutgoingInvite::new(KEY, "sip:b@x", "<sip:a@x>", flow, OFFER)));
        let via = value(&bench.sent.last().unwrap().1, "Via").to_owned();
        assert!(via.starts_with(&format!("SIP/2.0/{} 192.0.2.1:5060;rport", transport.name())), "{via}");
    }
}

#[test]
fn a_call_to_sips_has_a_sips_contact_and_so_has_its_answer() {
    let mut bench = Bench::new(tls(7));
    bench.receive(&invite("call", "z9hG4bK1").replace("Contact: <sip:ann", "Contact: <sips:ann"));
    let dialog = bench.last_dialog();
    bench.respond(dialog, 200);
    assert_eq!(value(&bench.sent.last().unwrap().1, "Contact"), "<sips:192.0.2.1:5060>");
    let call = OutgoingInvite::new(KEY, "sips:b@carrier.example", "<sip:a@x>", tls(NAME), OFFER);
    bench.command(Command::Invite(call));
    assert_eq!(value(&bench.sent.last().unwrap().1, "Contact"), "<sips:192.0.2.1:5060>");
}

#[test]
fn a_new_connection_of_a_call_leads_to_the_same_name() {
    let mut bench = Bench::new(tls(NAME));
    answered(&mut bench, "sips:b@192.0.2.8:5071");
    bench.step(Input::FlowClosed { flow: tls(NAME | 9) });
    bench.command(Command::Bye { dialog: KEY, reason: None });
    let flow = *bench.sent_flows.last().unwrap();
    assert_eq!(flow, Flow { remote: "192.0.2.8:5071".parse().unwrap(), ..tls(NAME) });
}

#[test]
fn a_connection_to_another_name_may_close_without_harm() {
    let mut bench = Bench::new(tls(NAME));
    let call = OutgoingInvite::new(KEY, "sip:b@carrier.example", "<sip:a@192.0.2.1>", tls(NAME), OFFER);
    bench.command(Command::Invite(call));
    for other in [tls(0), tls(8), tls((3 << 48) | 8), Flow { connection: 8, ..tcp() }] {
        bench.step(Input::FlowClosed { flow: other });
    }
    assert_eq!(bench.take_event_names(), "");
    bench.step(Input::FlowClosed { flow: tls(NAME) });
    assert_eq!(bench.take_event_names(), "Failed Ended");
}

#[test]
fn via_and_contact_name_the_address_that_the_peer_can_reach() {
    let external = ExternalAddresses(vec![ExternalAddress::new("203.0.113.9".parse().unwrap())]);
    let config = EndpointConfig { external, ..EndpointConfig::default() };
    for (remote, seen) in [("192.0.2.7:5060", "203.0.113.9"), ("10.0.0.7:5060", "192.0.2.1")] {
        let mut bench = Bench::with(config.clone(), Flow { remote: remote.parse().unwrap(), ..udp() });
        let (dialog, _) = bench.established();
        bench.command(Command::Bye { dialog, reason: None });
        let via = value(&bench.sent[0].1, "Via").to_owned();
        assert!(via.starts_with(&format!("SIP/2.0/UDP {seen}:5060;")), "{via}");
    }
}
