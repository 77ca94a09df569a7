//! What goes on for the trunks beside the calls: registrations, OPTIONS, and the events of everything that we began.
//! One task for each trunk, so that one that cannot resolve or register does not stop the others.

use super::{dialer::Dialer, dns::Resolver, pinging, registering, states::TrunkStates};
use crate::{
    config::{Config, trunk::Trunk},
    server::{OutgoingEvents, SipLink},
};
use sip::{
    Command, DialogKey, Event, Flow, OutgoingRequest, RequestKey,
    failover::{Failover, FailoverPolicy},
    locate::Target,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Events of one outgoing call that wait to be read.
const CALL_EVENTS: usize = 64;

/// How long un-registering may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The most that a held-down target is left alone.
const HOLD_DOWN_MAX: Duration = Duration::from_secs(600);

/// Everything that trunks do by themselves.
pub struct Trunks {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    registrations: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// What the tasks of all trunks share.
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) states: TrunkStates,
    pub(super) resolver: Resolver,
    pub(super) stopping: watch::Receiver<bool>,
    link: SipLink,
    waiting: Mutex<Waiting>,
    failover: Mutex<HashMap<String, Failover>>,
    last_number: AtomicU64,
}

/// Who waits for what. Bounded by the requests and calls that we began.
#[derive(Default)]
struct Waiting {
    requests: HashMap<RequestKey, oneshot::Sender<Answer>>,
    calls: HashMap<DialogKey, Caller>,
}

/// Who hears of a call that we placed.
struct Caller {
    events: mpsc::Sender<Event>,
    /// Is set when the far end says goodbye.
    hung_up: Arc<AtomicBool>,
}

/// The response to a request of ours.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Answer {
    /// Whether it was made up here, because no response came.
    pub(super) fn is_silence(&self) -> bool {
        self.headers.is_empty() && matches!(self.status, 408 | 503)
    }
}

impl Trunks {
    /// Begins to register and to ask whether trunks live. Needs a tokio runtime.
    pub fn start(config: Arc<Config>, link: SipLink, events: OutgoingEvents, states: TrunkStates) -> Self {
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared {
            config: Arc::clone(&config),
            states,
            resolver: Resolver::system(),
            stopping,
            link,
            waiting: Mutex::default(),
            failover: Mutex::default(),
            // Where the numbers begin makes no difference.
            last_number: AtomicU64::new(0),
        });
        let mut others = vec![tokio::spawn(dispatch(Arc::clone(&shared), events))];
        let mut registrations = Vec::new();
        for trunk in &config.trunks {
            let trunk = Arc::new(trunk.clone());
            if !trunk.registrars().is_empty() && trunk.login.is_some() {
                registrations.push(tokio::spawn(registering::run(Arc::clone(&shared), Arc::clone(&trunk))));
            }
            if !trunk.profile.timers.ping.is_zero() && !pinging::asked(&trunk).is_empty() {
                others.push(tokio::spawn(pinging::run(Arc::clone(&shared), trunk)));
            }
        }
        Self { shared, stop, registrations, others }
    }

    /// Who places calls over them.
    pub fn dialer(&self) -> Dialer {
        Dialer::new(Arc::clone(&self.shared))
    }

    /// Places no more calls and un-registers. What was begun goes on to be heard of until [`Trunks`] is dropped.
    pub async fn stop(&mut self) {
        let _nobody_may_be_listening = self.stop.send(true);
        for registration in self.registrations.drain(..) {
            let abort = registration.abort_handle();
            if timeout(FAREWELL, registration).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Trunks {
    fn drop(&mut self) {
        self.registrations.iter().chain(&self.others).for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// Sends a request outside dialogs and waits for its response, which the endpoint promises. `None`: none within
    /// `patience`, or it could not be sent.
    pub(super) async fn request(&self, mut request: OutgoingRequest, patience: Duration) -> Option<Answer> {
        let key = RequestKey(self.number());
        request.request = key;
        let (reply, answer) = oneshot::channel();
        self.waiting().requests.insert(key, reply);
        let sent = self.link.command(Command::Request(request));
        let answer = if sent { timeout(patience, answer).await.ok().and_then(Result::ok) } else { None };
        self.waiting().requests.remove(&key);
        answer
    }

    /// A name for a call of ours, and what happens to it; `hung_up` is set when the far end says goodbye.
    pub(super) fn new_call(&self, hung_up: Arc<AtomicBool>) -> (DialogKey, mpsc::Receiver<Event>) {
        let dialog = DialogKey::outgoing(self.number());
        let (sender, events) = mpsc::channel(CALL_EVENTS);
        self.waiting().calls.insert(dialog, Caller { events: sender, hung_up });
        (dialog, events)
    }

    /// The way to the endpoint, the ports and the records.
    pub(super) const fn link(&self) -> &SipLink {
        &self.link
    }

    /// A name for a call that never got one.
    pub(super) fn number_by_chance(&self) -> u64 {
        let seed = self.seed();
        seed.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Nobody wants to hear of that call any more. If it is answered after all, it is ended.
    pub(super) fn forget_call(&self, dialog: DialogKey) {
        self.waiting().calls.remove(&dialog);
    }

    pub(super) fn command(&self, command: Command) -> bool {
        self.link.command(command)
    }

    pub(super) fn flow(&self, target: &Target) -> Result<Flow, String> {
        let flow = self.link.flow(target.transport, target.address, target.server_name.as_deref());
        flow.map_err(|error| format!("{}: {error}", address(target)))
    }

    /// Works with what is known of a trunk's targets.
    pub(super) fn failover<T>(&self, trunk: &Trunk, work: impl FnOnce(&mut Failover) -> T) -> T {
        let mut all = self.failover.lock().unwrap_or_else(PoisonError::into_inner);
        let signalling = &trunk.profile.signalling;
        let policy = || FailoverPolicy {
            codes: signalling.failover_codes.clone(),
            hold_down: signalling.hold_down,
            hold_down_max: HOLD_DOWN_MAX.max(signalling.hold_down),
            ..FailoverPolicy::default()
        };
        work(all.entry(trunk.name.clone()).or_insert_with(|| Failover::new(policy())))
    }

    /// Where requests of a trunk go for a URI: to its outbound proxy, if it has one.
    pub(super) async fn targets(&self, trunk: &Trunk, uri: &str) -> Result<Vec<Target>, String> {
        let signalling = &trunk.profile.signalling;
        let uri = signalling.outbound_proxy.as_deref().unwrap_or(uri);
        self.resolver.targets(uri, &signalling.transport, self.seed()).await
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Chance for names and choices: from the config's seed where there is one, from the system else.
    pub(super) fn seed(&self) -> [u8; 32] {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut seed = [0; 32];
        let number = self.number();
        for (part, bytes) in seed.chunks_mut(8).enumerate() {
            let random = match self.config.server.seed {
                Some(seed) => seed.rotate_left(u32::try_from(part).unwrap_or(0) * 16) ^ number,
                // Every RandomState is keyed from the operating system's randomness.
                None => std::collections::hash_map::RandomState::new().build_hasher().finish(),
            };
            bytes.copy_from_slice(&random.to_le_bytes());
        }
        seed
    }

    fn number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `udp:192.0.2.7:5060`.
pub(super) fn address(target: &Target) -> String {
    format!("{}:{}", target.transport.param(), target.address)
}

/// Hands each event to who waits for it, until the server has ended.
#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is about a call, or about none")]
async fn dispatch(shared: Arc<Shared>, mut events: OutgoingEvents) {
    let mut bound: HashMap<Arc<str>, HashSet<String>> = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Response { request, status, reason, headers, .. } => {
                let waiting = shared.waiting().requests.remove(&request);
                // Who asked may have lost patience.
                let _ = waiting.map(|reply| reply.send(Answer { status, reason, headers }));
            }
            Event::Registered { trunk, aor, .. } => {
                let users = bound.entry(Arc::clone(&trunk)).or_default();
                users.insert(aor);
                count_bound(&shared, &trunk, users);
            }
            Event::Unregistered { trunk, aor } => {
                let users = bound.entry(Arc::clone(&trunk)).or_default();
                users.remove(&aor);
                count_bound(&shared, &trunk, users);
            }
            event => dispatch_call(&shared, event),
        }
    }
}

/// The registrar limits how many there can be.
fn count_bound(shared: &Shared, trunk: &str, users: &HashSet<String>) {
    let count = u32::try_from(users.len()).unwrap_or(u32::MAX);
    shared.states.note(trunk, |state| state.bindings = count);
}

fn dispatch_call(shared: &Shared, event: Event) {
    let Some(dialog) = event.dialog() else { return };
    let ended = matches!(event, Event::Ended { .. });
    let answered = matches!(event, Event::Answered { .. });
    let caller = shared.waiting().calls.get(&dialog).map(|caller| {
        let said_goodbye = matches!(event, Event::Bye { .. });
        caller.hung_up.fetch_or(said_goodbye, Ordering::Relaxed);
        caller.events.clone()
    });
    match caller {
        // A reader this far behind has stopped; its call ends with the dialog.
        Some(events) => drop(events.try_send(event)),
        // Given up, and answered all the same: whoever picked up must not listen to silence.
        None if answered => drop(shared.command(Command::Bye { dialog, reason: None })),
        None => {}
    }
    if ended {
        shared.forget_call(dialog);
    }
}
