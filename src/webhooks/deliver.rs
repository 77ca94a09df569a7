//! Posts events to one endpoint, several at once, and says what came of each.
//! Knows HTTP. When to try again is the outbox's business.

use super::{Delivery, SIGNATURE_HEADER, Webhook, other, sign};
use crate::telemetry::{Metrics, otlp::traceparent};
use futures_util::future::join_all;
use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;

/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is kept of an answer that is no success.
const REASON_LENGTH: usize = 200;

/// What came of a delivery: why it failed, if it did.
pub(super) type Outcome = Result<(), String>;

/// The client of one endpoint, with a runtime of its own.
pub(super) struct Deliverer {
    hook: Webhook,
    runtime: Runtime,
    client: reqwest::Client,
    metrics: Metrics,
}

impl Deliverer {
    pub(super) fn new(hook: Webhook, metrics: Metrics) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            // An endpoint that moves says so to a person: what is signed for one address goes to no other.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| other(&error))?;
        Ok(Self { hook, runtime, client, metrics })
    }

    /// Posts all of them at once; they belong to different calls.
    pub(super) fn post(&self, due: Vec<Delivery>) -> Vec<(Delivery, Outcome)> {
        let begun = std::time::Instant::now();
        let done = self.runtime.block_on(join_all(due.into_iter().map(async |delivery| {
            let outcome = self.post_one(&delivery).await;
            (delivery, outcome)
        })));
        self.metrics.webhook_seconds(begun.elapsed());
        done
    }

    async fn post_one(&self, delivery: &Delivery) -> Outcome {
        let at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = sign(&self.hook.secret, i64::try_from(at_s).unwrap_or(0), &delivery.body);
        let request = self
            .client
            .post(&self.hook.url)
            .header("Content-Type", "application/json")
            .header("Tandem-Event-Id", &delivery.event)
            .header("Tandem-Attempt", (delivery.attempts + 1).to_string())
            .header(SIGNATURE_HEADER, signature);
        // What the endpoint does belongs to the call's trace.
        let call = delivery.event.split('.').next().and_then(|call| call.parse().ok());
        let request = match call {
            Some(call) => request.header("traceparent", traceparent(call, None)),
            None => request,
        };
        let answer = request
            .body(delivery.body.clone())
            .send()
            .await
            .map_err(|error| short(&error.without_url().to_string()))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

fn short(reason: &str) -> String {
    reason.chars().take(REASON_LENGTH).collect()
}
