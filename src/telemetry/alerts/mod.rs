//! Alerts for those who run no Prometheus: a pool that stays full for a while is told to a webhook, and so is its end.
//! Knows how pools stand. A webhook that is slow or dead costs alerts, which are counted, and nothing else.

use super::Metrics;
use crate::secret::Secret;
use call::admission::{Level, PoolFigures};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, Sender};

/// Alerts that wait for the webhook; beyond that they are dropped, and counted.
pub const ALERT_QUEUE: usize = 64;
/// How long the webhook may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Times an alert is sent, and how long after a failure again.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(2);

/// Where alerts go besides the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Gets each as a JSON document by POST.
    pub webhook: String,
    /// Sent as a bearer token, where it wants one.
    pub token: Option<Secret>,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub state: &'static str,
    /// The threshold: `warn`, `alert`, `overflow` or `full`.
    pub level: &'static str,
    /// The pool.
    pub pool: String,
    /// Its slots in use.
    pub busy: u32,
    /// Its slots.
    pub cap: u32,
    /// What is short.
    pub binding_stage: &'static str,
    /// In words, with what to do.
    pub text: String,
}

/// Decides when a threshold is worth an alert: once when it has been passed for its time, once when it is over.
#[derive(Debug, Default)]
pub struct AlertRules {
    since: BTreeMap<(String, Level), Instant>,
    firing: BTreeSet<(String, Level)>,
}

impl AlertRules {
    /// How long a level must hold before it is told: 70 % for a minute, 85 % for half of one, the rest at once.
    const fn hold(level: Level) -> Duration {
        match level {
            Level::Normal | Level::Warn => Duration::from_secs(60),
            Level::Alert => Duration::from_secs(30),
            Level::Overflow | Level::Full => Duration::ZERO,
        }
    }

    /// Looks at the pools; asked once a second.
    pub fn look(&mut self, now: Instant, pools: &[PoolFigures]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for pool in pools {
            for level in Level::ALL.into_iter().filter(|level| *level > Level::Normal) {
                let key = (pool.name.clone(), level);
                if pool.level < level {
                    self.since.remove(&key);
                    if self.firing.remove(&key) {
                        alerts.push(alert("resolved", level, pool));
                    }
                    continue;
                }
                let since = *self.since.entry(key.clone()).or_insert(now);
                let held = now.saturating_duration_since(since) >= Self::hold(level);
                if held && self.firing.insert(key) {
                    alerts.push(alert("firing", level, pool));
                }
            }
        }
        alerts
    }
}

fn alert(state: &'static str, level: Level, pool: &PoolFigures) -> Alert {
    let share = u64::from(pool.busy) * 100 / u64::from(pool.cap.max(1));
    let (name, busy, cap) = (&pool.name, pool.busy, pool.cap);
    let text = match state {
        "resolved" => format!("Pool {name} is below {} % again: {busy} of {cap} ports.", level.threshold()),
        _ => format!("Pool {name} is {share} % full: {busy} of {cap} ports. {}", level.remedy()),
    };
    Alert { state, level: level.name(), pool: name.clone(), busy, cap, binding_stage: "ports", text }
}

/// Sends alerts. Needs a tokio runtime; ends when it is dropped and what waits is gone.
pub struct Webhook {
    queue: Sender<Alert>,
    metrics: Metrics,
}

impl Webhook {
    /// Starts sending.
    ///
    /// # Errors
    /// When there is no HTTP client to be had, with the reason.
    pub fn start(config: AlertsConfig, metrics: Metrics) -> Result<Self, String> {
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

async fn deliver(client: &reqwest::Client, config: &AlertsConfig, alert: &Alert) {
    for attempt in 1..=TRIES {
        let mut post = client.post(&config.webhook).json(alert);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(busy: u32, level: Level) -> PoolFigures {
        PoolFigures { name: "main".into(), cap: 250, busy, level, ..PoolFigures::default() }
    }

    #[test]
    fn each_threshold_is_told_once_when_it_has_held_and_once_when_it_is_over() {
        let (mut rules, start) = (AlertRules::default(), Instant::now());
        let mut told = Vec::new();
        let ramp = [
            (180, Level::Warn, 90),
            (215, Level::Alert, 60),
            (240, Level::Overflow, 60),
            (100, Level::Normal, 60),
        ];
        let mut second = 0;
        for (busy, level, seconds) in ramp {
            for _ in 0..seconds {
                second += 1;
                let alerts = rules.look(start + Duration::from_secs(second), &[pool(busy, level)]);
                told.extend(alerts.into_iter().map(|alert| (second, alert.state, alert.level)));
            }
        }
        assert_eq!(
            told,
            [
                (61, "firing", "warn"),
                (121, "firing", "alert"),
                (151, "firing", "overflow"),
                (211, "resolved", "warn"),
                (211, "resolved", "alert"),
                (211, "resolved", "overflow"),
            ]
        );
    }

    #[test]
    fn a_peak_that_is_over_at_once_is_no_alert_but_overflow_is() {
        let (mut rules, start) = (AlertRules::default(), Instant::now());
        assert!(rules.look(start, &[pool(180, Level::Warn)]).is_empty());
        assert!(rules.look(start + Duration::from_secs(59), &[pool(100, Level::Normal)]).is_empty());
        let told = rules.look(start + Duration::from_secs(60), &[pool(240, Level::Overflow)]);
        assert_eq!(told.len(), 1);
        assert!(told[0].text.starts_with("Pool main is 96 % full: 240 of 250 ports. "), "{}", told[0].text);
    }
}
