//! Whether a trunk lives: one OPTIONS to each of its targets every so often (RFC 3261 section 11).
//! Any answer but 503 counts as life. What a trunk that is down means for calls is the dialer's business.

use super::{
    outgoing::{host, route},
    runtime::{Shared, address},
};
use crate::config::trunk::Trunk;
use futures_util::future::join_all;
use sip::{OutgoingRequest, RequestKey, failover::Outcome, locate::Target, uri::Uri};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The most targets of one trunk that are asked.
const TARGETS: usize = 16;

/// The URIs that are asked: where calls go, else where we register.
pub(super) fn asked(trunk: &Trunk) -> &[String] {
    let outbound = &trunk.profile.signalling.outbound;
    if outbound.is_empty() { trunk.registrars() } else { outbound }
}

/// Asks until the server ends.
pub(super) async fn run(shared: Arc<Shared>, trunk: Arc<Trunk>) {
    let pause = trunk.profile.timers.ping;
    loop {
        let started = Instant::now();
        round(&shared, &trunk).await;
        // Spread over a tenth, so that all trunks of all servers do not ask in the same second.
        let tenth = u64::try_from(pause.as_millis() / 10).unwrap_or(0).max(1);
        let late = Duration::from_millis(u64::from(shared.seed()[0]) * tenth / 256);
        tokio::time::sleep((pause + late).saturating_sub(started.elapsed())).await;
    }
}

async fn round(shared: &Shared, trunk: &Trunk) {
    let mut targets: Vec<(String, Target)> = Vec::new();
    for uri in asked(trunk) {
        match shared.targets(trunk, uri).await {
            Ok(found) => {
                for target in found {
                    if targets.len() < TARGETS
                        && !targets.iter().any(|(_, known)| address(known) == address(&target))
                    {
                        targets.push((uri.clone(), target));
                    }
                }
            }
            Err(reason) => shared.states.failed(&trunk.name, &reason),
        }
    }
    let addresses: Vec<String> = targets.iter().map(|(_, target)| address(target)).collect();
    shared.states.note(&trunk.name, |state| state.retarget(&addresses));
    join_all(targets.iter().map(|(uri, target)| ping(shared, trunk, uri, target))).await;
}

async fn ping(shared: &Shared, trunk: &Trunk, uri: &str, target: &Target) {
    let asked = Instant::now();
    let outcome = match shared.flow(target) {
        Err(reason) => Err(reason),
        Ok(flow) => {
            let identity = &trunk.profile.identity;
            let user =
                identity.from_user.clone().or(trunk.login.as_ref().map(|login| login.username.clone()));
            let domain = identity.from_host.clone().or(Uri::parse(uri).ok().map(|uri| host(uri.host)));
            let user = user.map_or_else(String::new, |user| format!("{user}@"));
            let from = format!("<sip:{user}{}>", domain.unwrap_or_default());
            let headers = route(trunk).into_iter().map(|route| ("Route".to_owned(), route)).collect();
            let request = OutgoingRequest {
                headers,
                ..OutgoingRequest::new(RequestKey(0), "OPTIONS", uri.to_owned(), from, flow)
            };
            match shared.request(request, trunk.profile.signalling.first_response).await {
                Some(answer) if answer.status == 503 && !answer.is_silence() => {
                    Err("503 to OPTIONS".to_owned())
                }
                Some(answer) if !answer.is_silence() => Ok(asked.elapsed()),
                Some(_) | None => Err("no answer to OPTIONS".to_owned()),
            }
        }
    };
    let misses = trunk.profile.timers.ping_misses;
    let was = shared.states.is_down(&trunk.name);
    shared
        .states
        .note(&trunk.name, |state| state.pinged(&address(target), outcome.as_ref().ok().copied(), misses));
    let report = if outcome.is_ok() { Outcome::Answered } else { Outcome::Timeout };
    shared.failover(trunk, |failover| failover.report(Instant::now(), target, report));
    if let Err(reason) = outcome {
        shared.states.failed(&trunk.name, &format!("{}: {reason}", address(target)));
    }
    match (was, shared.states.is_down(&trunk.name)) {
        (false, true) => tracing::warn!(trunk = trunk.name, "the trunk is down: no target answers"),
        (true, false) => tracing::info!(trunk = trunk.name, "the trunk is up again"),
        (true, true) | (false, false) => {}
    }
}
