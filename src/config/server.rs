//! The part of a config that the server's sockets and admission are built with.
//! Does not know providers, agents or routes.

use super::Config;
use crate::{rtp_socket::RtpPortsConfig, server::ServerConfig};
use sip::EndpointConfig;

impl Config {
    /// What [`crate::server`] is started with.
    pub fn server_config(&self) -> ServerConfig {
        let first = &self.trunks[0];
        let endpoint = EndpointConfig::default();
        ServerConfig {
            sip: self.sip.listen.iter().map(|listen| (listen.transport, listen.address)).collect(),
            endpoint: EndpointConfig {
                product: self.sip.user_agent.clone(),
                // A dialog outlives its call until the answer to its BYE.
                max_dialogs: endpoint.max_dialogs.max(2 * usize::from(self.server.ports)),
                ..endpoint
            },
            rtp: RtpPortsConfig {
                address: self.rtp.address,
                low: self.rtp.ports.first,
                high: self.rtp.ports.last,
                quiet: self.rtp.cooling,
                ..RtpPortsConfig::default()
            },
            external_ip: self.server.external_ip,
            ports: u32::from(self.server.ports),
            full_status: first.profile.at_cap.status,
            retry_after: first.profile.at_cap.retry_after_seconds.clone(),
            trunk: first.name.clone(),
            media_threads: self.media.threads,
            seed: self.server.seed,
            ..ServerConfig::default()
        }
    }
}
