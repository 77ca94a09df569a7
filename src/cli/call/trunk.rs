//! `tandem call --trunk`: one call over a trunk of the config, target after target, as the server would place it.
//! Knows the trunk's policy from `trunks`. Speaks UDP and TCP; other targets are told and passed over.

use super::{Args, Outcome, Said, dial, place, seed};
use crate::{
    caller::{engine, phone::Extras},
    config::{Config, Overrides, Secrets, trunk::Trunk},
    trunks::{AttemptFailure, Placement, Resolver, rules, trunks_of},
};
use sip::{
    failover::{Advice, Failover, FailoverPolicy, Hunt, Outcome as Shown},
    locate::Target,
};
use std::time::Instant;

/// Calls the number over the trunk or group of that name.
pub(super) fn call(args: &Args, name: &str, said: &Said) -> Result<Outcome, String> {
    if said.script.needs_words() {
        return Err(
            "a script that expects words needs the server's HTTP API, which a trunk has not".to_owned()
        );
    }
    // The keys of providers are of no interest here; the trunk's own password is.
    let config = Config::load_with(Some(&args.config), &Overrides::default(), Secrets::Noted)
        .map_err(|error| error.to_string())?;
    let trunks = trunks_of(&config, name).map_err(|error| error.to_string())?;
    let missing =
        |trunk: &&Trunk| trunk.login.as_ref().is_some_and(|login| login.password.expose().is_empty());
    if let Some(trunk) = trunks.iter().copied().find(missing) {
        return Err(format!(
            "the password of the trunk `{}` is not there: tandem check says why",
            trunk.name
        ));
    }
    let mut failures = Vec::new();
    for trunk in trunks {
        if let Some(outcome) = over_trunk(args, trunk, said, &mut failures)? {
            return Ok(outcome);
        }
    }
    let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(format!("nobody took the call\n  {}", told.join("\n  ")))
}

/// Every target of one trunk. `None`: the next trunk may have more luck.
fn over_trunk(
    args: &Args,
    trunk: &Trunk,
    said: &Said,
    failures: &mut Vec<AttemptFailure>,
) -> Result<Option<Outcome>, String> {
    let signalling = &trunk.profile.signalling;
    let mut failover = Failover::new(FailoverPolicy {
        codes: signalling.failover_codes.clone(),
        ..FailoverPolicy::default()
    });
    for outbound in &signalling.outbound {
        let placement = Placement::new(
            trunk,
            outbound,
            &args.uri,
            Some(&args.from).filter(|from| *from != "caller").map(String::as_str),
        )?;
        let mut hunt = match targets(trunk, outbound) {
            Ok(targets) => Hunt::new(targets),
            Err(reason) => {
                tell(failures, failure(trunk, None, (None, reason)));
                continue;
            }
        };
        while let Some((target, _)) = failover.next(Instant::now(), &mut hunt) {
            let attempt = attempt(args, (trunk, &placement), &target, said);
            let (outcome, status, reason) = match attempt {
                Ok(outcome) if outcome.is_answered() => return Ok(Some(outcome)),
                Ok(outcome) => match outcome.status() {
                    Some(status) => (Shown::Status(status, None), Some(status), "was its answer".to_owned()),
                    None => (Shown::Timeout, None, "no answer".to_owned()),
                },
                Err(reason) => (Shown::TransportFailed, None, reason),
            };
            tell(failures, failure(trunk, Some(&target), (status, reason)));
            if failover.report(Instant::now(), &target, outcome) == Advice::Stop {
                let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
                return Err(format!("the call was refused\n  {}", told.join("\n  ")));
            }
        }
    }
    Ok(None)
}

/// Said at once, because the next attempt may take its time.
fn tell(failures: &mut Vec<AttemptFailure>, failure: AttemptFailure) {
    eprintln!("tandem call: {failure}");
    failures.push(failure);
}

fn failure(trunk: &Trunk, target: Option<&Target>, what: (Option<u16>, String)) -> AttemptFailure {
    let (status, reason) = what;
    let target =
        target.map_or_else(String::new, |target| format!("{}:{}", target.transport.param(), target.address));
    AttemptFailure { trunk: trunk.name.clone(), target, status, reason }
}

fn targets(trunk: &Trunk, outbound: &str) -> Result<Vec<Target>, String> {
    let signalling = &trunk.profile.signalling;
    let uri = signalling.outbound_proxy.as_deref().unwrap_or(outbound);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async { Resolver::system().targets(uri, &signalling.transport, seed()).await })
}

fn attempt(
    args: &Args,
    (trunk, placement): (&Trunk, &Placement),
    target: &Target,
    said: &Said,
) -> Result<Outcome, String> {
    let sockets = engine::open(target.address, target.transport)
        .map_err(|error| format!("`tandem call` cannot reach it: {error}"))?;
    let mut dial = dial(args, &sockets, said.clone())?;
    dial.uri.clone_from(&placement.uri);
    dial.from.clone_from(&placement.from);
    dial.extras = Extras {
        headers: placement.headers.clone(),
        credentials: trunk.login.as_ref().map(rules::credentials),
        route: placement.route.clone(),
        policy: trunk.profile.timers.policy.clone(),
        first_response: Some(trunk.profile.signalling.first_response),
    };
    place(args, sockets, dial, None)
}
