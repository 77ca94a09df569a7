//! The server: SIP and media put together, from the first INVITE to the last record.
//! Knows how the parts are joined. Decides nothing about a call.

mod admission;
mod agent_calls;
mod chance;
mod lease;
mod link;
mod machine;
mod refusal_log;
mod trunk_loads;

pub use admission::{
    ArrivalTrunk, BuiltCall, CallBuilder, CallFacts, CallStart, ContextAnswer, ContextQuestion, NewCall,
    RecordSink, Refusal,
};
pub use agent_calls::{AgentCalls, SrtpPolicy};
pub use lease::{NoLease, PortLease};
pub use link::{OutgoingEvents, SipLink};
pub use trunk_loads::{AtCap, Limit, TrunkCalls, TrunkLimits};

use crate::{
    call_actor::{ActorCounters, TraceSink},
    media_threads::{MediaPriority, MediaThread, MediaThreads, Uplink},
    recorder::Recorder,
    rtp_socket::{PortsStatistics, RtpPortsConfig},
    sip_transport::{
        self, Ladders, Listening, Request, SipCounters, SipHandle, SipSockets, SipTransportConfig, Tls,
    },
    turn_pool::{TurnCounters, TurnPool},
    vad_pool::{VadCounters, VadPool},
};
use admission::{Admission, Message};
use call::{
    CallId,
    admission::{MachineLimits, Permit, PoolConfig, PoolFigures},
    cdr::Cause,
};
use chance::Chance;
use sip::{EndpointConfig, EndpointStatistics, Transport};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// How long calls that are broken off may take to be gone.
const BREAK_OFF_DEADLINE: Duration = Duration::from_secs(2);

/// How long the answers to our last BYEs are waited for: one that was lost is sent again after 500 ms (RFC 3261
/// timer E).
const GOODBYE_DEADLINE: Duration = Duration::from_millis(1_200);

/// What a server is told about its surroundings. Checked values: reading them is the config's business.
pub struct ServerConfig {
    /// Where to listen. Port 0 lets the kernel choose.
    pub sip: Vec<(Transport, SocketAddr)>,
    /// Certificates, for TLS.
    pub tls: Arc<Tls>,
    /// Limits of the SIP sockets.
    pub transport: SipTransportConfig,
    /// The endpoint's own settings.
    pub endpoint: EndpointConfig,
    /// Where RTP is received.
    pub rtp: RtpPortsConfig,
    /// The cap: calls at once, exactly.
    pub ports: u32,
    /// The same slots in pools; empty: one pool of all of them.
    pub pools: Vec<PoolConfig>,
    /// What the stages of calls can do at once.
    pub permits: Vec<Permit>,
    /// When the machine takes no more calls.
    pub machine: MachineLimits,
    /// Slots beyond the cap, for the overflow of trunks that have one.
    pub overflow_ports: u32,
    /// The status that refuses calls over the cap.
    pub full_status: u16,
    /// Seconds of the Retry-After of a 503, chosen at random so that those refused do not come back together.
    pub retry_after: RangeInclusive<u32>,
    /// The name under which calls that no trunk claims are recorded.
    pub trunk: String,
    /// Media threads; `None` for one less than cores.
    pub media_threads: Option<usize>,
    /// What the kernel is asked for on their behalf.
    pub media_priority: MediaPriority,
    /// What writes down what is said in every call, if anything does.
    pub recorder: Option<Arc<Recorder>>,
    /// What judges the frames of all calls together; the calls' config must say so, too.
    pub vad: Option<Arc<VadPool>>,
    /// The model that listens if callers sound finished, where there is one.
    pub listener: Option<Arc<TurnPool>>,
    /// Makes tags, branches and the chance inside calls repeatable. Calls are named at random in any case.
    pub seed: Option<u64>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            sip: vec![(Transport::Udp, SocketAddr::from(([0, 0, 0, 0], 5060)))],
            tls: Arc::default(),
            transport: SipTransportConfig::default(),
            endpoint: EndpointConfig::default(),
            rtp: RtpPortsConfig::default(),
            ports: 100,
            pools: Vec::new(),
            permits: Vec::new(),
            machine: MachineLimits::default(),
            overflow_ports: 0,
            full_status: 503,
            retry_after: 5..=30,
            trunk: "any".to_owned(),
            media_threads: None,
            media_priority: MediaPriority::default(),
            recorder: None,
            vad: None,
            listener: None,
            seed: None,
        }
    }
}

impl ServerConfig {
    /// The pools, at least one.
    fn pools(&self) -> Vec<PoolConfig> {
        let only = self.pools.is_empty().then(|| PoolConfig::new("default", self.ports));
        self.pools.iter().cloned().chain(only).collect()
    }

    /// Slots in all pools.
    fn slots(&self) -> u32 {
        if self.pools.is_empty() { self.ports } else { self.pools.iter().map(|pool| pool.cap).sum() }
    }
}

/// What a server works with.
#[derive(Clone)]
pub struct Services {
    /// Makes calls out of INVITEs.
    pub calls: Arc<dyn CallBuilder>,
    /// Keeps call records.
    pub records: Arc<dyn RecordSink>,
    /// Keeps events.
    pub trace: Arc<dyn TraceSink>,
}

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Calls that hold a slot.
    pub calls: u32,
    /// Most calls at once since the start.
    pub busiest: u32,
    /// The cap.
    pub cap: u32,
    /// Dialogs that are not over yet; a call's may outlive it until the answer to its BYE.
    pub dialogs: usize,
    /// Whether new calls are refused because the server stops.
    pub draining: bool,
    /// INVITEs that reached admission or were refused before it.
    pub invites: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// Commands for media threads that wait because a thread's queue is full.
    pub undelivered: usize,
    /// Commands for media threads that were lost because too many waited.
    pub lost_commands: u64,
    /// How the pools stand.
    pub pools: Arc<Vec<PoolFigures>>,
    /// What the stages can do at once, and how much of it is in use.
    pub permits: Arc<Vec<Permit>>,
    /// Slots that had to be taken back because their calls were gone.
    pub leaked: u64,
    /// The calls of each trunk that has had any.
    pub trunks: Arc<BTreeMap<String, TrunkCalls>>,
    /// The RTP ports.
    pub ports: PortsStatistics,
    /// What has passed through the endpoint, up to a second ago.
    pub sip: Arc<EndpointStatistics>,
}

/// What became of the calls when a server drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Calls there were.
    pub calls: u32,
    /// Those of them that had to be broken off at the deadline.
    pub broken_off: u32,
}

/// A running server.
pub struct Server {
    sip: SipHandle<Message>,
    task: JoinHandle<()>,
    threads: MediaThreads,
    status: watch::Receiver<Status>,
    counters: Arc<ActorCounters>,
    outgoing: Mutex<Option<OutgoingEvents>>,
    listener: Option<Arc<TurnPool>>,
    vad: Option<Arc<VadPool>>,
    records: Arc<dyn RecordSink>,
}

impl Server {
    /// Binds the sockets and begins to answer calls. Needs a tokio runtime, on which providers run as well.
    ///
    /// # Errors
    /// What the kernel says, with the address it is about.
    pub fn start(config: ServerConfig, services: Services) -> io::Result<Self> {
        let mut chance = Chance::new(config.seed)?;
        let sockets = SipSockets::bind(&config.sip, Arc::clone(&config.tls))?;
        let (sip, requests) = sip_transport::handle(&sockets);
        let threads = config.media_threads.unwrap_or_else(MediaThreads::default_count);
        let runtime = tokio::runtime::Handle::current();
        let threads = MediaThreads::start(threads, config.media_priority, &runtime, &uplink(sip.clone()))?;
        let counters = Arc::new(ActorCounters::default());
        let endpoint = sip::Endpoint::new(config.endpoint.clone(), chance.seed());
        let (publish, status) = watch::channel(Status { cap: config.slots(), ..Status::default() });
        let transport = config.transport.clone();
        let (outgoing, outgoing_events) = link::outgoing();
        let vad = config.vad.clone();
        let listener = config.listener.clone();
        let records = Arc::clone(&services.records);
        let admission = Admission::new(
            config,
            (services, outgoing, sip.clone()),
            threads.threads().to_vec(),
            chance,
            Arc::clone(&counters),
            publish,
        );
        let task = sip_transport::run(sockets, endpoint, admission, transport, (sip.clone(), requests));
        let outgoing = Mutex::new(Some(outgoing_events));
        Ok(Self { sip, task, threads, status, counters, outgoing, vad, listener, records })
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listening] {
        self.sip.listening()
    }

    /// How it stands, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// A way to the endpoint and to its ports, for who places calls and registers.
    pub fn sip_link(&self) -> SipLink {
        SipLink::new(self.sip.clone(), Arc::clone(&self.records))
    }

    /// What becomes of the calls and requests that we begin. There is one reader: whoever asks first.
    pub fn outgoing_events(&self) -> Option<OutgoingEvents> {
        self.outgoing.lock().ok()?.take()
    }

    /// What the calls count.
    pub fn actor_counters(&self) -> &ActorCounters {
        &self.counters
    }

    /// The SIP messages of calls.
    pub fn ladders(&self) -> &Ladders {
        self.sip.ladders()
    }

    /// What the SIP sockets count.
    pub fn sip_counters(&self) -> &SipCounters {
        self.sip.counters()
    }

    /// What the threads count that judge all calls' frames, if there are any.
    pub fn turn_counters(&self) -> Option<&TurnCounters> {
        self.listener.as_ref().map(|listener| &**listener.counters())
    }

    /// What the threads that judge frames count, where there are any.
    pub fn vad_counters(&self) -> Option<&VadCounters> {
        self.vad.as_ref().map(|vad| &**vad.counters())
    }

    /// What the media threads count.
    pub fn media_threads(&self) -> &[MediaThread] {
        self.threads.threads()
    }

    /// Ends a call; false if there is none of that name.
    pub async fn hang_up(&self, call: CallId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.sip.send(Request::Message(Message::HangUp { call, reply })).await;
        answer.await.unwrap_or(false)
    }

    /// Refuses new calls and lets the running ones go on for `running`, then say goodbye within `goodbye`. Those that
    /// have not ended by then are broken off with a BYE. Returns when every call has its record.
    pub async fn drain(&self, running: Duration, goodbye: Duration) -> Drained {
        let mut status = self.status.clone();
        let (reply, answer) = oneshot::channel();
        self.sip.send(Request::Message(Message::Drain { reply })).await;
        let calls = answer.await.unwrap_or(0); // A task that has ended has no calls.
        let _ = timeout(running, status.wait_for(|status| status.calls == 0)).await;
        if status.borrow().calls > 0 {
            self.sip.send(Request::Message(Message::Goodbye)).await;
            let _ = timeout(goodbye, status.wait_for(|status| status.calls == 0)).await;
        }
        let broken_off = status.borrow().calls;
        if broken_off > 0 {
            self.sip.send(Request::Message(Message::BreakOff(Cause::ServerStopping))).await;
            let _ = timeout(BREAK_OFF_DEADLINE, status.wait_for(|status| status.calls == 0)).await;
        }
        Drained { calls, broken_off }
    }

    /// Ends the server; [`Server::drain`] comes first. Waits a moment for the answers to our last BYEs.
    pub async fn stop(self) {
        let mut status = self.status.clone();
        let _ = timeout(GOODBYE_DEADLINE, status.wait_for(|status| status.dialogs == 0)).await;
        let threads = self.threads;
        // Threads wait for their last words to be taken: the task goes after them.
        let _ = timeout(BREAK_OFF_DEADLINE, tokio::task::spawn_blocking(move || threads.stop())).await;
        self.sip.send(Request::Stop).await;
        let _ = self.task.await;
    }
}

/// What media threads tell goes into the SIP task's queue, or back.
fn uplink(sip: SipHandle<Message>) -> Uplink {
    use crate::call_actor::Note;
    Arc::new(move |note| {
        let request = match note {
            Note::Sip(command) => Request::Command(command),
            Note::Finished(finished) => Request::Message(Message::Finished(finished)),
        };
        sip.try_send(request).map_err(|request| match request {
            Request::Command(command) => Note::Sip(command),
            Request::Message(Message::Finished(finished)) => Note::Finished(finished),
            Request::Message(_) | Request::Connect { .. } | Request::Stop => {
                unreachable!("a queue gives back what it was given")
            }
        })
    })
}
