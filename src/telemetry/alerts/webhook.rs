//! Alerts to an endpoint that takes JSON by POST.
//! Knows HTTP. Nobody waits for it.

use super::{AGAIN, ALERT_QUEUE, Alert, PATIENCE, TRIES};
use crate::{secret::Secret, telemetry::Metrics};
use tokio::sync::mpsc::{self, Sender};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Gets each alert as a JSON document by POST.
    pub url: String,
    /// Sent as a bearer token, where it wants one.
    pub token: Option<Secret>,
}

/// Sends alerts. Ends when it is dropped and what waits is gone.
pub struct Webhook {
    queue: Sender<Alert>,
    metrics: Metrics,
}

impl Webhook {
    /// Starts sending. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no HTTP client to be had, with the reason.
    pub fn start(config: WebhookConfig, metrics: Metrics) -> Result<Self, String> {
        let client =
            reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| error.to_string())?;
        let (queue, mut alerts) = mpsc::channel::<Alert>(ALERT_QUEUE);
        tokio::spawn(async move {
            while let Some(alert) = alerts.recv().await {
                deliver(&client, &config, &alert).await;
            }
        });
        Ok(Self { queue, metrics })
    }

    /// Hands an alert over. Never waits.
    pub fn send(&self, alert: Alert) {
        if self.queue.try_send(alert).is_err() {
            self.metrics.queue_dropped("alerts", 1);
        }
    }
}

async fn deliver(client: &reqwest::Client, config: &WebhookConfig, alert: &Alert) {
    for attempt in 1..=TRIES {
        let mut post = client.post(&config.url).json(alert);
        if let Some(token) = &config.token {
            post = post.bearer_auth(token.expose());
        }
        let answer = post.send().await.and_then(reqwest::Response::error_for_status);
        match answer {
            Ok(_) => return,
            Err(error) if attempt == TRIES => {
                // A webhook's address may hold a key.
                tracing::warn!(error = %error.without_url(), "an alert could not be sent");
            }
            Err(_) => tokio::time::sleep(AGAIN * attempt).await,
        }
    }
}
