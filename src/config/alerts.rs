//! `[alerts]`: whom to tell of what goes wrong, besides the log.
//! Knows keys and addresses. Sends nothing.

use super::{
    checker::Checker,
    otlp::address,
    raw::{RawAlertMail, RawAlerts},
};
use crate::telemetry::alerts::{AlertsConfig, MailConfig, Security, WebhookConfig};
use lettre::message::Mailbox;

impl Checker<'_> {
    pub(super) fn alerts(&mut self, raw: &RawAlerts) -> AlertsConfig {
        let url = self.parsed_or_none(&raw.webhook, address);
        let token = raw.token.as_ref().and_then(|key| self.secret(key));
        AlertsConfig {
            webhook: url.map(|url| WebhookConfig { url, token }),
            mail: self.alert_mail(&raw.mail),
        }
    }

    fn alert_mail(&mut self, raw: &RawAlertMail) -> Option<MailConfig> {
        let server = raw.server.as_ref()?;
        let security = self.choice(&raw.security, Security::NAMES[0], &Security::NAMES);
        let (security, usual_port) = Security::of(&security);
        let port = self.number(&raw.port, usual_port, 1..=65_535);
        let from = self.parsed_or_none(&raw.from, mailbox);
        let to = self.each(&raw.to, &[], mailbox);
        if raw.from.is_none() || raw.to.as_ref().is_none_or(|to| to.get_ref().is_empty()) {
            let help = "write from = \"tandem@example.com\" and to = [\"ops@example.com\"]";
            self.error(server, "mail needs a sender and somebody to read it", help);
        }
        let password = raw.password.as_ref().and_then(|key| self.secret(key));
        if raw.username.is_some() != raw.password.is_some() {
            self.error(server, "a login is a username and a password", "write both, or neither");
        }
        let name = server.get_ref().trim().to_owned();
        let is_local = name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if let (Some(key), Security::None, false) = (&raw.password, security, is_local) {
            let help = "write security = \"tls\" or \"starttls\"";
            self.warn(key, "the password goes to the mail server in the clear", help);
        }
        let username = raw.username.as_ref().map(|key| key.get_ref().clone());
        Some(MailConfig { server: name, port, security, login: username.zip(password), from: from?, to })
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("`{text}` is no mail address; write one such as ops@example.com"))
}
