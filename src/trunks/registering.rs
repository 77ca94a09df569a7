//! One trunk's registration: sends what the machine asks for and tells it what came back.
//! Knows where a registrar is and who we are there. When to register again is `sip::registration`'s decision.

use super::{
    outgoing::{host, route},
    rules::credentials,
    runtime::{Answer, Shared},
    states::{self, RegistrationState},
};
use crate::config::trunk::{Login, Trunk};
use jiff::{SignedDuration, Timestamp};
use sip::{
    OutgoingRequest, RequestKey,
    failover::{Hunt, Outcome},
    registration::{
        Registration, RegistrationConfig, RegistrationInput, RegistrationOutput,
        RegistrationState as MachineState,
    },
    uri::Uri,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep_until;

/// How long a REGISTER with its two rounds of authentication is waited for: three transactions of 32 s.
const PATIENCE: Duration = Duration::from_secs(100);

/// A REGISTER that the machine wants sent.
struct Asked {
    attempt: u64,
    uri: String,
    expires_s: u32,
    call_id: String,
    cseq: u32,
}

/// Registers and stays registered until the server stops.
pub(super) async fn run(shared: Arc<Shared>, trunk: Arc<Trunk>) {
    let Some(login) = trunk.login.clone() else { return };
    let config = RegistrationConfig {
        expires_s: trunk.profile.auth.expires_s,
        ..RegistrationConfig::new(trunk.registrars().to_vec())
    };
    let mut machine = Registration::new(config, shared.seed());
    let mut stopping = shared.stopping.clone();
    let mut out = Vec::new();
    let mut wake = machine.step(Instant::now(), RegistrationInput::Start, &mut out);
    let mut stopped = false;
    loop {
        while let Some(asked) = carry_out(&shared, &trunk, &mut out) {
            let attempt = asked.attempt;
            let answer = register(&shared, &trunk, &login, asked).await;
            let input = match &answer {
                Ok(answer) => RegistrationInput::Response {
                    attempt,
                    status: answer.status,
                    reason: &answer.reason,
                    headers: &answer.headers,
                },
                Err(_) => RegistrationInput::TransportFailed,
            };
            tell(&shared, &trunk, &answer);
            wake = machine.step(Instant::now(), input, &mut out);
        }
        if stopped {
            return;
        }
        let far = Instant::now() + Duration::from_secs(3_600);
        let input = tokio::select! {
            () = sleep_until(wake.unwrap_or(far).into()) => RegistrationInput::Timeout,
            _ = stopping.wait_for(|stop| *stop) => {
                stopped = true;
                RegistrationInput::Stop
            }
        };
        wake = machine.step(Instant::now(), input, &mut out);
    }
}

/// Notes what the machine says of itself, and returns the REGISTER that it wants, if any.
fn carry_out(shared: &Shared, trunk: &Trunk, out: &mut Vec<RegistrationOutput>) -> Option<Asked> {
    let mut asked = None;
    for output in out.drain(..) {
        match output {
            RegistrationOutput::Register { attempt, uri, expires_s, call_id, cseq, .. } => {
                shared.states.note(&trunk.name, |state| {
                    if let Some(registration) = &mut state.registration {
                        registration.registrar = Some(uri.clone());
                    }
                });
                asked = Some(Asked { attempt, uri, expires_s, call_id, cseq });
            }
            RegistrationOutput::State(state) => note(shared, trunk, &state),
        }
    }
    asked
}

fn note(shared: &Shared, trunk: &Trunk, state: &MachineState) {
    let (now, wall) = (Instant::now(), Timestamp::now());
    let clock = |at: Instant| {
        let ahead = SignedDuration::try_from(at.saturating_duration_since(now)).unwrap_or_default();
        wall.checked_add(ahead).ok()
    };
    let (new, until, retry_at) = match state {
        MachineState::Unregistered => (RegistrationState::Unregistered, None, None),
        MachineState::Registering => (RegistrationState::Registering, None, None),
        MachineState::Registered { until } => (RegistrationState::Registered, clock(*until), None),
        MachineState::Failed { reason, retry_at } => {
            shared.states.failed(&trunk.name, &format!("REGISTER: {reason}"));
            (RegistrationState::Failed, None, clock(*retry_at))
        }
    };
    tracing::info!(trunk = trunk.name, state = ?new, "registration");
    shared.states.note(&trunk.name, |state| {
        let registrar = state.registration.take().and_then(|registration| registration.registrar);
        state.registration = Some(states::Registration { state: new, registrar, until, retry_at });
    });
}

/// One REGISTER, to the target that is not known to be down.
async fn register(shared: &Shared, trunk: &Trunk, login: &Login, asked: Asked) -> Result<Answer, String> {
    let targets = shared.targets(trunk, &asked.uri).await?;
    let mut hunt = Hunt::new(targets);
    let chosen = shared.failover(trunk, |failover| failover.next(Instant::now(), &mut hunt));
    let (target, _) = chosen.ok_or_else(|| "no target is left".to_owned())?;
    let flow = shared.flow(&target)?;
    let registrar = Uri::parse(&asked.uri).map(|uri| host(uri.host)).unwrap_or_default();
    let identity = &trunk.profile.identity;
    let user = identity.from_user.as_ref().unwrap_or(&login.username);
    let ours = format!("<sip:{user}@{}>", identity.from_host.as_ref().unwrap_or(&registrar));
    let mut headers = vec![("Expires".to_owned(), asked.expires_s.to_string())];
    headers.extend(route(trunk).into_iter().map(|route| ("Route".to_owned(), route)));
    let request = OutgoingRequest {
        to: ours.clone(),
        headers,
        credentials: Some(credentials(login)),
        call_id: Some(asked.call_id),
        cseq: Some(asked.cseq),
        ..OutgoingRequest::new(RequestKey(0), "REGISTER", asked.uri, ours, flow)
    };
    let answer = shared.request(request, PATIENCE).await;
    let outcome = match &answer {
        None => Outcome::TransportFailed,
        Some(answer) if answer.is_silence() => Outcome::Timeout,
        // It lives, whatever it thinks of us.
        Some(_) => Outcome::Answered,
    };
    shared.failover(trunk, |failover| failover.report(Instant::now(), &target, outcome));
    answer.ok_or_else(|| "the REGISTER could not be sent".to_owned())
}

/// What went wrong, for who looks at the trunk.
fn tell(shared: &Shared, trunk: &Trunk, answer: &Result<Answer, String>) {
    match answer {
        Ok(answer) if answer.status < 300 => {}
        Ok(answer) if answer.is_silence() => shared.states.failed(&trunk.name, "REGISTER: no answer"),
        Ok(answer) => {
            shared.states.failed(&trunk.name, &format!("REGISTER: {} {}", answer.status, answer.reason));
        }
        Err(reason) => shared.states.failed(&trunk.name, &format!("REGISTER: {reason}")),
    }
}
