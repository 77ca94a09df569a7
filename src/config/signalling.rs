//! How SIP travels: `[sip.tls]`, copies for a capture server, limits of connections, and the addresses that peers outside see.
//! Knows keys and files' names. Reads none of the files; `machine.rs` does.

use super::{
    Config, Network, Problem,
    checker::Checker,
    raw::{Key, RawExternal, RawServer, RawSip},
    value::Listen,
};
use crate::sip_transport::{SipTransportConfig, Tls, TlsConfig, hep::HepConfig, tls::Identity};
use sip::{ExternalAddress, ExternalAddresses};
use std::{net::IpAddr, path::PathBuf};
use toml::Spanned;

impl Checker<'_> {
    /// Limits of connections, and where copies go.
    pub(super) fn transport(&mut self, raw: &RawSip) -> SipTransportConfig {
        let default = SipTransportConfig::default();
        let keep_alive = default.keep_alive.unwrap_or_default();
        let keep_alive = self.seconds(&raw.keep_alive_seconds, keep_alive, 0..=3_600);
        SipTransportConfig {
            max_connections: self.number(&raw.max_connections, default.max_connections, 8..=100_000),
            max_connections_per_address: self.number(
                &raw.max_connections_per_address,
                default.max_connections_per_address,
                1..=100_000,
            ),
            hep: self.hep(raw),
            keep_alive: Some(keep_alive).filter(|every| !every.is_zero()),
            ..default
        }
    }

    /// `[sip.tls]`, which listeners may need.
    pub(super) fn tls(&mut self, raw: &RawSip, listen: &[Listen]) -> TlsConfig {
        let tls = &raw.tls;
        let server = self.certified(&tls.certificate, &tls.key, ["certificate", "key"]);
        let client =
            self.certified(&tls.client_certificate, &tls.client_key, ["client_certificate", "client_key"]);
        if let (Some(key), None, true) = (&raw.listen, &server, tls.certificate.is_none())
            && listen.iter().any(|listen| listen.transport.is_secure())
        {
            let help = "write certificate and key under [sip.tls]";
            self.error(key, "tls: and wss: need a certificate, and there is none", help);
        }
        let verify = tls.verify.as_ref().is_none_or(|key| *key.get_ref());
        if let (Some(key), false) = (&tls.verify, verify) {
            let message = "anybody on the way can read every call over TLS and take its credentials";
            self.warn(key, message, "leave it on, and name the peer's authority in sip.tls.ca");
        }
        if let (Some(key), None) = (&tls.client_ca, &server) {
            self.error(key, "nobody can connect without a certificate of ours", "write certificate and key");
        }
        TlsConfig { server, client_ca: self.file(&tls.client_ca), client, ca: self.file(&tls.ca), verify }
    }

    fn certified(
        &mut self,
        certificate: &Key<String>,
        key: &Key<String>,
        names: [&str; 2],
    ) -> Option<Identity> {
        match (certificate, key) {
            (Some(_), Some(_)) => {
                Some(Identity { certificate: self.file(certificate)?, key: self.file(key)? })
            }
            (Some(one), None) | (None, Some(one)) => {
                let [certificate, key] = names;
                let message = "a certificate is of no use without its key, nor a key without its certificate";
                self.error(one, message, format!("write both {certificate} and {key}"));
                None
            }
            (None, None) => None,
        }
    }

    fn file(&self, key: &Key<String>) -> Option<PathBuf> {
        key.as_ref().map(|key| self.folder.join(key.get_ref()))
    }

    /// Where copies of messages go.
    fn hep(&mut self, raw: &RawSip) -> Option<HepConfig> {
        let capture_id = self.number(&raw.hep_capture_id, HepConfig::CAPTURE_ID, 0..=i64::from(u32::MAX));
        let to = raw.hep.as_ref()?;
        let address = to.get_ref().strip_prefix("udp:").and_then(|address| address.parse().ok());
        if address.is_none() {
            let message = format!("`{}` is not where HEP can be sent", to.get_ref());
            self.error(to, message, "write udp:, an IP address and a port, such as udp:127.0.0.1:9060");
        }
        Some(HepConfig { to: address?, capture_id })
    }

    /// `external_ip` and `[[server.external]]`: rules first, then what holds for everything else.
    pub(super) fn external(&mut self, raw: &RawServer) -> ExternalAddresses {
        let mut rules: Vec<ExternalAddress> =
            raw.external.iter().filter_map(|rule| self.external_rule(rule)).collect();
        let everywhere = raw.external_ip.as_ref().and_then(|key| self.ip(key));
        rules.extend(everywhere.map(ExternalAddress::new));
        ExternalAddresses(rules)
    }

    fn external_rule(&mut self, raw: &Spanned<RawExternal>) -> Option<ExternalAddress> {
        let rule = raw.get_ref();
        let network =
            |text: &str| text.parse::<Network>().map(|network| (network.address(), network.prefix()));
        let local = rule.local.as_ref().map(|key| self.parsed(&Some(key.clone()), "0.0.0.0/0", network));
        let except = rule.except.as_ref().map(|_| self.each(&rule.except, &[], network));
        let Some(ip) = &rule.ip else {
            self.error(raw, "a rule for an interface needs an address", "write ip = \"203.0.113.9\"");
            return None;
        };
        Some(ExternalAddress { address: self.ip(ip)?, local, except })
    }

    fn ip(&mut self, key: &Spanned<String>) -> Option<IpAddr> {
        let ip = key.get_ref().parse().ok();
        if ip.is_none() {
            let message = format!("`{}` is not an IP address", key.get_ref());
            self.error(key, message, "write one, such as 203.0.113.9");
        }
        ip
    }
}

impl Config {
    /// Why the files of `[sip.tls]` cannot be used, if so. A warning: they may be on another machine. Without them the
    /// server does not start.
    pub fn tls_problem(&self) -> Option<Problem> {
        let error = Tls::load(self.sip.tls.clone()).err()?;
        Some(Problem::warning("", error.to_string(), "name files that this user can read under [sip.tls]"))
    }
}
