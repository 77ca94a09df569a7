//! Alerts for those who run no Prometheus: what stays wrong for a while is told to a webhook and by mail, and so is its end.
//! Knows how alerts look and where they go. A way that is slow or dead costs alerts, which are counted, and nothing else.

mod mail;
mod rules;
mod webhook;

pub use mail::{Mail, MailConfig, Security};
pub use rules::{AlertRules, Signs};
pub use webhook::{Webhook, WebhookConfig};

use super::Metrics;
use serde::Serialize;
use std::time::Duration;

/// Alerts that wait for one way out; beyond that they are dropped, and counted.
pub const ALERT_QUEUE: usize = 64;
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Times an alert is sent, and how long after a failure again; the second pause is twice as long.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(2);

/// Where alerts go besides the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Something that takes them as JSON.
    pub webhook: Option<WebhookConfig>,
    /// People.
    pub mail: Option<MailConfig>,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub state: &'static str,
    /// What it is about: `pool`, `provider_failing`, `provider_down`, `budget`, `records_lost`, `records_waiting`,
    /// `price_unknown` or `media_late`.
    pub about: &'static str,
    /// Of a pool the threshold: `warn`, `alert`, `overflow` or `full`. Of the rest `warn`, or `alert` where callers notice.
    pub level: &'static str,
    /// The pool, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Slots in use: of the pool, else of all.
    pub busy: u32,
    /// Slots there are.
    pub cap: u32,
    /// What was measured, with its unit.
    pub figure: String,
    /// What is short, or to blame: `ports`, a stage, or a part of the server.
    pub binding_stage: String,
    /// In words, with what to do.
    pub text: String,
}

/// Every way that alerts go.
#[derive(Default)]
pub struct Alerts {
    webhook: Option<Webhook>,
    mail: Option<Mail>,
}

impl Alerts {
    /// Opens the ways that are configured; one that cannot be opened is told to the log. Needs a tokio runtime.
    pub fn start(config: &AlertsConfig, metrics: &Metrics) -> Self {
        let webhook = config.webhook.clone().map(|config| Webhook::start(config, metrics.clone()));
        let mail = config.mail.clone().map(|config| Mail::start(config, metrics.clone()));
        let fail = |reason: String| tracing::error!(reason, "alerts cannot be sent");
        Self {
            webhook: webhook.and_then(|webhook| webhook.map_err(fail).ok()),
            mail: mail.and_then(|mail| mail.map_err(fail).ok()),
        }
    }

    /// Hands an alert to every way. Never waits.
    pub fn send(&self, alert: &Alert) {
        if let Some(webhook) = &self.webhook {
            webhook.send(alert.clone());
        }
        if let Some(mail) = &self.mail {
            mail.send(alert.clone());
        }
    }
}
