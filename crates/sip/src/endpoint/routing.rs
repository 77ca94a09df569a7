//! Where messages go: which addresses are never sent to, the next hop of a request, our Via and Contact.
//! Knows addresses. Resolves no names: a host that is not an IP address is reached by the dialog's flow.

use super::Endpoint;
use super::io::{Flow, Transport};
use crate::dialog::Dialog;
use crate::external::is_private;
use crate::headers::NameAddr;
use crate::uri::{Uri, bracketed};
use std::net::{IpAddr, SocketAddr};

/// Never to a broadcast, multicast or unspecified address, nor to port 0 (RFC 4475 section 3.3.10).
pub(super) fn may_send_to(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !broadcast && !ip.is_multicast() && !ip.is_unspecified()
}

/// The flow of a request inside a dialog: the route set or remote target says it where that is an IP address
/// and the peer is not behind a NAT; everything else follows the flow the peer was last heard on.
pub(super) fn next_hop(dialog: &Dialog) -> Flow {
    let reliable = dialog.flow.transport.is_reliable();
    // A new stream, or one that stands to the same address; over TLS, to the same name.
    let lost = reliable && dialog.flow_closed;
    let dialog_flow = if lost { dialog.flow.any_stream() } else { dialog.flow };
    if dialog.behind_nat || (reliable && !lost) {
        return dialog_flow;
    }
    let route = dialog.route_set.first().and_then(|first| NameAddr::parse(first)).map(|addr| addr.uri);
    let Ok(uri) = Uri::parse(route.unwrap_or(&dialog.remote_target)) else {
        return dialog_flow;
    };
    let transport = dialog_flow.transport;
    let wants_other_transport = if is_sips(&uri) {
        !transport.is_secure()
    } else {
        uri.param("transport").is_some_and(|name| !name.eq_ignore_ascii_case(transport.name()))
    };
    match uri.socket_address(transport.default_port()) {
        Some(remote)
            if !wants_other_transport
                && may_send_to(remote)
                && same_reach(remote.ip(), dialog.flow.remote.ip()) =>
        {
            Flow { remote, ..dialog_flow }
        }
        Some(_) | None => dialog_flow,
    }
}

/// A private address named by a public peer is not reachable from here, and the families must agree.
fn same_reach(named: IpAddr, heard: IpAddr) -> bool {
    named.is_ipv4() == heard.is_ipv4() && is_private(named) == is_private(heard)
}

fn is_sips(uri: &Uri<'_>) -> bool {
    uri.scheme.eq_ignore_ascii_case("sips")
}

impl Endpoint {
    /// Our `host:port` on a flow.
    fn sent_by(&self, flow: &Flow) -> String {
        let host = match &self.config.advertised_host {
            Some(host) => bracketed(host),
            None => bracketed(&self.config.external.address(flow.local.ip(), flow.remote.ip()).to_string()),
        };
        format!("{host}:{}", self.config.advertised_port.unwrap_or(flow.local.port()))
    }

    /// Our Via on a flow.
    pub(super) fn via(&self, flow: &Flow, branch: &str) -> String {
        format!("SIP/2.0/{} {};rport;branch={branch}", flow.transport.name(), self.sent_by(flow))
    }

    /// Our Contact in a dialog: sips if the peer's is (RFC 3261 sections 8.1.1.8 and 12.1.1), so that nothing of the
    /// call leaves TLS.
    pub(super) fn contact_in(&self, flow: &Flow, dialog: Option<&Dialog>) -> String {
        let asked =
            dialog.is_some_and(|dialog| Uri::parse(&dialog.remote_target).is_ok_and(|uri| is_sips(&uri)));
        match flow.transport {
            Transport::Tls if asked => format!("<sips:{}>", self.sent_by(flow)),
            Transport::Wss if asked => format!("<sips:{};transport=ws>", self.sent_by(flow)),
            Transport::Udp | Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.contact(flow)
            }
        }
    }

    /// Our Contact on a flow.
    pub(super) fn contact(&self, flow: &Flow) -> String {
        match flow.transport {
            Transport::Udp => format!("<sip:{}>", self.sent_by(flow)),
            // What carriers write, though RFC 3261 section 26.2.2 would rather have sips: that asks for TLS on every hop.
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                format!("<sip:{};transport={}>", self.sent_by(flow), flow.transport.param())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_multicast_and_port_zero_are_never_sent_to() {
        for bad in
            ["255.255.255.255:5060", "224.0.1.75:5060", "0.0.0.0:5060", "192.0.2.1:0", "[ff02::1]:5060"]
        {
            assert!(!may_send_to(bad.parse().expect("address")), "{bad}");
        }
        assert!(may_send_to("192.0.2.1:5060".parse().expect("address")));
    }
}
