//! The one place where it is decided that a call begins, and the table of calls that have.
//! Lives on the SIP task. Knows slots, ports and threads. What a call does is the machine's business.

use super::{
    ServerConfig, Services, Status,
    chance::Chance,
    lease::{Granted, Holder, NoLease},
    link::OutgoingSink,
    machine::Processors,
    refusal_log::RefusalLog,
    trunk_loads::{AtCap, Limit, Place, TrunkLimits, TrunkLoads},
};
use crate::{
    call_actor::{ActorCounters, CallActor, CallParts, Finished, Keeper, Machine, Providers, sip_input},
    media_threads::{Command, MediaThread},
    providers::CallInfo,
    rtp_socket::{PortsError, RtpPorts, RtpSockets, local_address_towards},
    sip_transport::{Handler, Request, SipHandle},
};
use call::{
    CallId, HangUp,
    admission::{Admitted, Ask, Denied as NoSlot, Kind, Level, MachineLimits, Pools},
    cdr::{Arrival, Cause, Cdr},
    port_slots::{Grant, PortSlot, PortSlots},
};
use conversation::{Checkpoint, Variables};
use sip::{Address, DialogKey, EndpointStatistics, Event, Flow, IncomingInvite};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{oneshot, watch};

mod waiting;

use waiting::Waiting;

/// Commands for media threads that wait for room. A thread that is this far behind has stopped.
const UNDELIVERED: usize = 4_096;

/// Keeps call records. Called on the SIP task: it must not wait.
pub trait RecordSink: Send + Sync {
    /// A call has its slot and begins.
    fn begin(&self, cdr: &Cdr, start: CallStart);
    /// A call that we place has its slot and is about to be tried.
    fn begin_outgoing(&self, _cdr: &Cdr) {}
    /// A call is over, or was refused: then this is the first that is heard of it.
    fn end(&self, cdr: &Cdr);
}

/// What somebody else knows of a call before it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFacts {
    /// Who is to answer, by the key in the config; the trunk's agent where absent.
    pub agent: Option<String>,
    /// Where the same caller's last conversation stood, if it was cut off.
    pub resumed: Option<Arc<Checkpoint>>,
    /// What is known of the caller.
    pub variables: Variables,
}

/// What somebody else says about a call before it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextAnswer {
    /// It is taken.
    Take(CallFacts),
    /// It is not.
    Refuse {
        /// The final status.
        status: u16,
        /// The reason phrase; the status's own where absent.
        reason: Option<String>,
        /// Where the caller is to try instead, with a 3xx.
        redirect: Option<String>,
    },
}

/// A question to somebody else. It runs beside the calls; its answer comes when it comes, but always.
pub type ContextQuestion = Pin<Box<dyn Future<Output = ContextAnswer> + Send>>;

/// What goes with the record of a call that begins.
pub struct CallStart {
    /// What another process needs to end the call, should this one die.
    pub dialog: sip::SavedDialog,
    /// To be told when both are on the disk: the call's answer waits for it, for a while.
    pub recorded: Box<dyn FnOnce() + Send>,
}

/// Makes a call out of an INVITE. Called on the SIP task: it must not wait.
pub trait CallBuilder: Send + Sync {
    /// The trunk that a call comes over, before anything is spent on it; `None`: whatever the server's config says.
    ///
    /// # Errors
    /// [`Refusal`] when no trunk claims it.
    fn trunk(&self, _invite: &IncomingInvite) -> Result<Option<ArrivalTrunk>, Refusal> {
        Ok(None)
    }

    /// The prices that hold for a call of this trunk and place, of which this is known, if there are any.
    fn rates(
        &self,
        _invite: &IncomingInvite,
        _overflow: bool,
        _facts: &CallFacts,
    ) -> Option<Arc<ai_gateway::Rates>> {
        None
    }

    /// What has to be known before the call is built; `None`: it can be built at once. The caller hears nothing but
    /// 100 Trying meanwhile, and its slot is held.
    fn ask(&self, _invite: &IncomingInvite, _arrival: &Arrival) -> Option<ContextQuestion> {
        None
    }

    /// The machine of a new call and whom it works with.
    ///
    /// # Errors
    /// [`Refusal`] when nobody here takes such a call.
    fn build(&self, now: Instant, call: NewCall<'_>) -> Result<BuiltCall, Refusal>;
}

/// What the trunk of a new call decides before the call is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalTrunk {
    /// Its name, for the record.
    pub name: String,
    /// Who calls, where the trunk says it elsewhere than in From.
    pub caller: Option<String>,
    /// Who was called, where the trunk says it elsewhere than in the Request-URI.
    pub called: Option<String>,
    /// The answer to calls over the cap.
    pub at_cap: AtCap,
    /// What it may bring.
    pub limits: TrunkLimits,
    /// The pool of this call, by its place.
    pub pool: usize,
    /// Whether the called number is a priority number there.
    pub priority: bool,
    /// The permits of the stages that it needs, by their places.
    pub needs: Vec<usize>,
}

/// A call that has its slot and its sockets.
pub struct NewCall<'a> {
    /// Its name.
    pub call: CallId,
    /// The INVITE.
    pub invite: &'a IncomingInvite,
    /// Its slot.
    pub grant: Grant,
    /// The cap was reached: the slot is one of the trunk's overflow slots.
    pub overflow: bool,
    /// The pool that the slot is of, by its place.
    pub pool: usize,
    /// How full that pool is with this call.
    pub level: Level,
    /// Who calls, as the trunk tells it.
    pub caller: &'a str,
    /// Who was called, as the trunk tells it.
    pub called: &'a str,
    /// What somebody else knows of it.
    pub facts: &'a CallFacts,
    /// Where the caller is to send its RTP.
    pub media: SocketAddr,
    /// For SSRC and first sequence numbers.
    pub seed: u64,
    /// Wall clock of the INVITE, in microseconds since 1970.
    pub started_at_us: u64,
}

/// What a call is made of, as far as the server does not know it.
pub struct BuiltCall {
    /// The decisions.
    pub machine: Box<dyn Machine>,
    /// What providers may know.
    pub info: CallInfo,
    /// Whom it works with.
    pub providers: Providers,
    /// Whom agents work with that may take over, by the agent's name.
    pub team: BTreeMap<String, Providers>,
    /// Where its conversation is kept, if it is.
    pub keeper: Option<Arc<dyn Keeper>>,
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The final status.
    pub status: u16,
    /// For the record.
    pub cause: Cause,
}

/// Why a call does not begin.
enum Denied {
    /// A cap is reached: the trunk's policy answers.
    Full,
    /// Anything else.
    Refused(Refusal),
}

/// What others tell admission.
pub(super) enum Message {
    /// What somebody else says about a call that waits for it.
    Context {
        /// The call.
        dialog: DialogKey,
        /// What is said.
        answer: ContextAnswer,
    },
    /// A call is over.
    Finished(Box<Finished>),
    /// The server stops: no new calls. Says how many there are.
    Drain { reply: oneshot::Sender<u32> },
    /// The calls that are left say goodbye.
    Goodbye,
    /// The calls that are left end now.
    BreakOff(Cause),
    /// An operator ends a call.
    HangUp { call: CallId, reply: oneshot::Sender<bool> },
    /// A slot of that pool for a call that we place.
    Lease { pool: usize, reply: oneshot::Sender<Result<Granted, NoLease>> },
    /// Somebody has let go of a slot.
    LeaseEnded,
}

/// A dialog that has or had a call.
struct Dialog {
    call: CallId,
    thread: usize,
    trunk: String,
    place: Place,
    slot: PortSlot,
    /// The call has not ended.
    live: bool,
    /// The dialog has.
    over: bool,
}

pub(super) struct Admission {
    config: ServerConfig,
    services: Services,
    outgoing: OutgoingSink,
    refusals: RefusalLog,
    threads: Vec<MediaThread>,
    /// Calls on each thread.
    loads: Vec<u32>,
    chance: Chance,
    counters: Arc<ActorCounters>,
    pools: Pools,
    /// Busy and idle time of the processors, a second ago.
    processors: Processors,
    /// Slots beyond the cap, of all trunks together; their numbers follow those of the others.
    overflow: PortSlots,
    loads_of_trunks: TrunkLoads,
    ports: RtpPorts,
    dialogs: HashMap<DialogKey, Dialog>,
    /// Not more than there are slots: each holds one.
    waiting: HashMap<DialogKey, Waiting>,
    /// For answers to come back to this task.
    sip: SipHandle<Message>,
    /// Slots of calls that we place, with who holds them.
    leased: HashMap<PortSlot, Holder>,
    undelivered: VecDeque<(usize, Command)>,
    status: Status,
    publish: watch::Sender<Status>,
}

impl Handler for Admission {
    type Message = Message;

    fn event(&mut self, now: Instant, event: Event, commands: &mut Vec<sip::Command>) {
        if event.dialog().is_some_and(DialogKey::is_outgoing) {
            return self.outgoing.tell(event);
        }
        match event {
            Event::Invite(invite) => self.invite(now, invite, commands),
            // No call yet that could hear of it.
            Event::Cancelled { dialog } | Event::Ended { dialog } if self.waiting.contains_key(&dialog) => {
                self.gave_up(now, dialog);
            }
            Event::Refused { flow, sip_call_id, from, user, status, reason, .. } => {
                let arrival = self.arrival(sip_call_id, &from, user);
                let cause = match reason {
                    "draining" => Cause::Draining,
                    "full" => Cause::PortsFull,
                    _ => {
                        self.refusals.log(now, flow.remote.ip(), status, reason);
                        Cause::NoTrunk
                    }
                };
                self.count_refused(arrival, Refusal { status, cause }, Duration::ZERO);
            }
            // Whom a call is passed on to is not for the caller to say.
            Event::Refer { dialog, .. } => {
                commands.push(sip::Command::RespondRefer { dialog, status: 603 });
            }
            event @ (Event::Registered { .. } | Event::Unregistered { .. } | Event::Response { .. }) => {
                self.outgoing.tell(event);
            }
            event @ (Event::Cancelled { .. }
            | Event::Acked { .. }
            | Event::AckTimeout { .. }
            | Event::Bye { .. }
            | Event::Reinvite { .. }
            | Event::Info { .. }
            | Event::Referred { .. }
            | Event::Notify { .. }
            | Event::SessionExpired { .. }
            | Event::Trying { .. }
            | Event::Progress { .. }
            | Event::Answered { .. }
            | Event::Failed { .. }
            | Event::Ended { .. }) => self.route(event),
        }
        self.publish();
    }

    fn message(&mut self, now: Instant, message: Message, commands: &mut Vec<sip::Command>) {
        match message {
            Message::Context { dialog, answer } => self.answered(now, dialog, answer, commands),
            Message::Finished(finished) => self.finished(now, *finished),
            Message::Drain { reply } => {
                self.status.draining = true;
                let _ = reply.send(self.pools.busy() + self.overflow.busy()); // Who asked may have gone.
                commands.push(sip::Command::Drain(true));
            }
            Message::Goodbye => self.tell_all(|dialog| Command::HangUp(dialog, HangUp::Drain)),
            Message::BreakOff(cause) => {
                for thread in 0..self.threads.len() {
                    self.tell(thread, Command::BreakOff(cause));
                }
            }
            Message::HangUp { call, reply } => {
                let found = self.dialogs.iter().find(|(_, dialog)| dialog.live && dialog.call == call);
                let found = found.map(|(key, dialog)| (*key, dialog.thread));
                if let Some((key, thread)) = found {
                    self.tell(thread, Command::HangUp(key, HangUp::Admin));
                }
                let _ = reply.send(found.is_some()); // Who asked may have gone.
            }
            // Who asked may have gone: then the slot is back with the next look.
            Message::Lease { pool, reply } => drop(reply.send(self.lease(now, pool))),
            Message::LeaseEnded => self.end_leases(now),
        }
        self.publish();
    }

    fn second(&mut self, now: Instant, statistics: &EndpointStatistics, _: &mut Vec<sip::Command>) {
        self.ports.cool(now);
        self.deliver();
        self.measure();
        self.end_leases(now);
        self.reclaim(now);
        self.pools.second();
        self.count_pools(now);
        self.status.sip = Arc::new(statistics.clone());
        self.publish();
    }
}

impl Admission {
    pub(super) fn new(
        config: ServerConfig,
        (services, outgoing, sip): (Services, OutgoingSink, SipHandle<Message>),
        threads: Vec<MediaThread>,
        mut chance: Chance,
        counters: Arc<ActorCounters>,
        publish: watch::Sender<Status>,
    ) -> Self {
        let status = publish.borrow().clone();
        let mut ports = RtpPorts::new(config.rtp.clone());
        ports.begin_at(chance.name());
        Self {
            pools: Pools::new(config.pools(), config.permits.clone()),
            processors: Processors::default(),
            overflow: PortSlots::new(config.overflow_ports, 0, Duration::ZERO),
            loads_of_trunks: TrunkLoads::default(),
            ports,
            loads: vec![0; threads.len()],
            status,
            dialogs: HashMap::new(),
            waiting: HashMap::new(),
            sip,
            leased: HashMap::new(),
            undelivered: VecDeque::new(),
            config,
            services,
            outgoing,
            refusals: RefusalLog::default(),
            threads,
            chance,
            counters,
            publish,
        }
    }

    fn invite(&mut self, now: Instant, invite: IncomingInvite, commands: &mut Vec<sip::Command>) {
        let mut arrival = self.arrival(invite.sip_call_id.clone(), &invite.from, invite.user.clone());
        let builder = Arc::clone(&self.services.calls);
        let trunk = builder.trunk(&invite).map(|trunk| trunk.unwrap_or_else(|| self.own_trunk()));
        let (denied, at_cap) = match trunk {
            Ok(mut trunk) => {
                arrival.trunk.clone_from(&trunk.name);
                arrival.caller = trunk.caller.take().unwrap_or(arrival.caller);
                arrival.called = trunk.called.take().unwrap_or(arrival.called);
                let at_cap = trunk.at_cap.clone();
                match self.admit(now, &trunk) {
                    Ok(held) => return self.ask_or_start(now, invite, arrival, at_cap, held, commands),
                    Err(denied) => (denied, Some(at_cap)),
                }
            }
            Err(refusal) => (Denied::Refused(refusal), None),
        };
        self.deny((invite.dialog, arrival), denied, at_cap, now.elapsed(), commands);
    }

    fn deny(
        &mut self,
        (dialog, arrival): (DialogKey, Arrival),
        denied: Denied,
        at_cap: Option<AtCap>,
        after: Duration,
        commands: &mut Vec<sip::Command>,
    ) {
        let (refusal, headers) = self.answer(denied, at_cap);
        let status = refusal.status;
        commands.push(sip::Command::Respond { dialog, status, reason: None, sdp: None, headers });
        self.count_refused(arrival, refusal, after);
    }

    fn own_trunk(&self) -> ArrivalTrunk {
        ArrivalTrunk {
            name: self.config.trunk.clone(),
            caller: None,
            called: None,
            at_cap: AtCap {
                status: self.config.full_status,
                retry_after: Some(self.config.retry_after.clone()),
                redirect: None,
                overflow_slots: 0,
            },
            limits: TrunkLimits::default(),
            pool: 0,
            priority: false,
            needs: Vec::new(),
        }
    }

    /// The final response to a call that is not taken: over the cap as its trunk wants it; when it is our own trouble,
    /// 503 with a Retry-After that spreads those who come back.
    fn answer(&mut self, denied: Denied, at_cap: Option<AtCap>) -> (Refusal, Vec<(String, String)>) {
        let (refusal, retry_after, contact) = match (denied, at_cap) {
            (Denied::Full, Some(AtCap { status, retry_after, redirect, .. })) => {
                let contact = redirect.filter(|_| (300..400).contains(&status));
                (Refusal { status, cause: Cause::PortsFull }, retry_after, contact)
            }
            (Denied::Full, None) => (Refusal { status: 503, cause: Cause::PortsFull }, None, None),
            (Denied::Refused(refusal), _) => (refusal, Some(self.config.retry_after.clone()), None),
        };
        let mut headers = Vec::new();
        if let (503, Some(seconds)) = (refusal.status, retry_after) {
            headers.push(("Retry-After".to_owned(), self.chance.within(&seconds).to_string()));
        }
        headers.extend(contact.map(|uri| ("Contact".to_owned(), format!("<{uri}>"))));
        (refusal, headers)
    }

    /// Takes a slot before anything rings, or anybody is asked.
    fn admit(&mut self, now: Instant, trunk: &ArrivalTrunk) -> Result<(Admitted, Place), Denied> {
        if self.status.draining {
            return Err(Denied::Refused(Refusal { status: 503, cause: Cause::Draining }));
        }
        if !self.undelivered.is_empty() {
            // A thread is a thousand commands behind: one more call would hurt those that are up.
            return Err(Denied::Refused(Refusal { status: 503, cause: Cause::PortsFull }));
        }
        self.slot(now, trunk)
    }

    /// A slot for a call of the trunk: a regular one, or one of its overflow slots when a limit is reached.
    fn slot(&mut self, now: Instant, trunk: &ArrivalTrunk) -> Result<(Admitted, Place), Denied> {
        let ask =
            Ask { pool: trunk.pool, kind: Kind::Inbound, priority: trunk.priority, needs: &trunk.needs };
        let room = self.loads_of_trunks.room(now, &trunk.name, trunk.limits);
        let limit = match room.map(|()| self.pools.ask(now, ask)) {
            Ok(Ok(admitted)) => {
                self.tell_levels();
                self.count_pools(now);
                return Ok((admitted, Place::Regular));
            }
            Ok(Err(why @ (NoSlot::Stage(_) | NoSlot::Machine(_)))) => return Err(self.short(why)),
            Ok(Err(NoSlot::Full | NoSlot::Reserved | NoSlot::CampaignsStopped)) => Limit::Ports,
            Err(limit) => limit,
        };
        self.loads_of_trunks.refused(&trunk.name, limit);
        if self.loads_of_trunks.overflow(&trunk.name) >= trunk.at_cap.overflow_slots {
            return Err(Denied::Full);
        }
        let grant = self.overflow.acquire(now).map_err(|_| Denied::Full)?;
        let slot = PortSlot(grant.slot.0 + self.config.slots());
        let grant = Grant { slot, concurrency: self.pools.busy() + grant.concurrency, busy: true };
        Ok((Admitted { grant, pool: trunk.pool, overflowed_from: None }, Place::Overflow))
    }

    /// A slot for a call of ours, as far as the reservations leave one.
    fn lease(&mut self, now: Instant, pool: usize) -> Result<Granted, NoLease> {
        if self.status.draining {
            return Err(NoLease::Draining);
        }
        let ask = Ask { pool, kind: Kind::Outbound, priority: false, needs: &[] };
        let admitted = self.pools.ask(now, ask).map_err(NoLease::Denied)?;
        self.tell_levels();
        self.count_pools(now);
        let held = Arc::new(());
        self.leased.insert(admitted.grant.slot, Holder::of(&held));
        Ok(Granted {
            call: CallId(self.chance.name()),
            grant: admitted.grant,
            pool: self.pools.name(admitted.pool).to_owned(),
            load: self.pools.load(admitted.pool),
            level: self.pools.level(admitted.pool),
            held,
        })
    }

    /// Takes back what nobody holds any more.
    fn end_leases(&mut self, now: Instant) {
        let gone = self.leased.iter().filter(|(_, holder)| holder.is_gone()).map(|(slot, _)| *slot);
        for slot in gone.collect::<Vec<_>>() {
            self.leased.remove(&slot);
            self.release(now, slot);
        }
    }

    /// A slot is free and of no use: the next machine may do better, so it is 503.
    fn short(&self, why: NoSlot) -> Denied {
        let cause = match why {
            NoSlot::Stage(permit) => {
                let stage = self.pools.permits().get(permit).map_or("", |permit| &permit.name);
                tracing::warn!(stage, "a call is refused although a port is free: the stage has no room");
                Cause::StageFull
            }
            NoSlot::Machine(short_of) => {
                tracing::warn!(
                    short_of,
                    "a call is refused although a port is free: the machine has no room"
                );
                Cause::MachineBusy
            }
            NoSlot::Full | NoSlot::Reserved | NoSlot::CampaignsStopped => Cause::PortsFull,
        };
        Denied::Refused(Refusal { status: 503, cause })
    }

    fn release(&mut self, now: Instant, slot: PortSlot) {
        match slot.0.checked_sub(self.config.slots()) {
            Some(beyond) => drop(self.overflow.release(now, PortSlot(beyond))),
            None => {
                self.pools.release(now, slot);
                self.tell_levels();
                self.count_pools(now);
            }
        };
    }

    /// A line for each threshold that a pool has passed, with what to do about it.
    fn tell_levels(&mut self) {
        for change in self.pools.changes() {
            let (pool, busy) = (self.pools.name(change.pool), change.busy);
            let (from, to) = (change.from.name(), change.to.name());
            if change.to > change.from {
                tracing::warn!(pool, busy, from, to, "a pool fills up: {}", change.to.remedy());
            } else {
                tracing::info!(pool, busy, from, to, "a pool has room again");
            }
        }
    }

    fn count_pools(&mut self, now: Instant) {
        self.status.pools = Arc::new(self.pools.figures(now));
        self.status.permits = Arc::new(self.pools.permits().to_vec());
    }

    /// Slots whose calls are gone come back, and are an error of ours.
    fn reclaim(&mut self, now: Instant) {
        let live = self.dialogs.values().filter(|dialog| dialog.live).map(|dialog| dialog.slot);
        let alive: HashSet<PortSlot> =
            live.chain(self.waiting.values().map(|waiting| waiting.held.0.grant.slot)).collect();
        // Of a lease its holder is the life.
        let alive: HashSet<PortSlot> = alive.into_iter().chain(self.leased.keys().copied()).collect();
        for slot in self.pools.reclaim(now, |slot| alive.contains(&slot)) {
            self.status.leaked += 1;
            tracing::error!(
                slot = slot.0,
                "a port slot had no call any more and was taken back; please report this"
            );
        }
    }

    /// Looks at the machine, if anything depends on it.
    fn measure(&mut self) {
        let limits = self.config.machine;
        if limits == MachineLimits::default() {
            return;
        }
        let lag = self.threads.iter().map(|thread| thread.counters().lateness.take_worst_for_admission());
        let machine = self.processors.measure(lag.max().unwrap_or_default());
        self.pools.strained(limits.short_of(&machine));
    }

    /// Builds the call and hands it to a thread. Leaves the sockets where they are if that fails.
    fn start(
        &mut self,
        (now, invited): (Instant, Instant),
        invite: &IncomingInvite,
        arrival: &Arrival,
        facts: &CallFacts,
        (admitted, place): (Admitted, Place),
        sockets: &mut Option<RtpSockets>,
    ) -> Result<(), Refusal> {
        let grant = admitted.grant;
        let internal_error = Refusal { status: 500, cause: Cause::InternalError };
        let port = sockets.as_ref().map_or(0, RtpSockets::port);
        let new = NewCall {
            call: arrival.call,
            invite,
            grant,
            overflow: place == Place::Overflow,
            pool: admitted.pool,
            level: self.pools.level(admitted.pool),
            caller: &arrival.caller,
            called: &arrival.called,
            facts,
            media: SocketAddr::new(self.media_address(&invite.flow), port),
            seed: self.chance.number(),
            started_at_us: arrival.invited_at_us + u64::try_from((now - invited).as_micros()).unwrap_or(0),
        };
        let builder = Arc::clone(&self.services.calls);
        // A bug in building one call must not take the task with it that all calls need.
        let built = catch_unwind(AssertUnwindSafe(|| builder.build(now, new)));
        let BuiltCall { machine, info, providers, team, keeper } = built.unwrap_or(Err(internal_error))?;
        let thread = self.least_loaded();
        let Some(sockets) = sockets.take() else { return Err(internal_error) };
        let begun = Cdr {
            port_slot: Some(grant.slot.0),
            concurrency: Some(grant.concurrency),
            rates: builder.rates(invite, place == Place::Overflow, facts),
            capacity: Some(self.pools.load(admitted.pool).0),
            pool: Some(self.pools.name(admitted.pool).to_owned()),
            load: Some(self.pools.load(admitted.pool)),
            level: Some(self.pools.level(admitted.pool)),
            overflowed_from: admitted.overflowed_from.map(|pool| self.pools.name(pool).to_owned()),
            ..Cdr::new(arrival.clone())
        };
        let recorder = self.config.recorder.as_ref();
        let recording =
            recorder.and_then(|recorder| recorder.tap(arrival.call, arrival.invited_at_us, info.rate));
        let parts = CallParts {
            dialog: invite.dialog,
            invited,
            cdr: begun.clone(),
            slot: grant.slot,
            sockets,
            machine,
            info,
            providers,
            team,
            keeper,
            trace: Arc::clone(&self.services.trace),
            counters: Arc::clone(&self.counters),
            knocker: self.threads[thread].knocker(invite.dialog),
            recording,
            vad: self.config.vad.as_ref().map(|vad| vad.open()),
        };
        let actor = Box::new(CallActor::new(parts));
        self.status.invites += 1;
        self.loads[thread] += 1;
        self.loads_of_trunks.enter(&arrival.trunk, place);
        let trunk = arrival.trunk.clone();
        self.dialogs.insert(
            invite.dialog,
            Dialog { call: arrival.call, thread, trunk, place, slot: grant.slot, live: true, over: false },
        );
        self.services.trace.begin(&begun);
        self.tell(thread, Command::Start(actor));
        self.begin_record(&begun, invite, thread);
        Ok(())
    }

    /// After the call's thread knows it, so that the word of the disk finds it there. Without that word the call waits
    /// a moment and goes on.
    fn begin_record(&self, begun: &Cdr, invite: &IncomingInvite, thread: usize) {
        let (thread, dialog) = (self.threads[thread].clone(), invite.dialog);
        let recorded = Box::new(move || drop(thread.try_send(Command::Recorded(dialog))));
        self.services.records.begin(begun, CallStart { dialog: invite.saved.clone(), recorded });
    }

    fn finished(&mut self, now: Instant, finished: Finished) {
        let Finished { dialog, slot, sockets, cdr } = finished;
        self.ports.release(now, sockets);
        self.release(now, slot);
        if let Some(ended) = self.dialogs.get_mut(&dialog) {
            ended.live = false;
            self.loads_of_trunks.leave(&ended.trunk, ended.place);
            self.loads[ended.thread] = self.loads[ended.thread].saturating_sub(1);
            if ended.over {
                self.dialogs.remove(&dialog);
            }
        }
        self.services.records.end(&cdr);
    }

    /// Passes what the endpoint reports to the call it is about.
    fn route(&mut self, event: Event) {
        let ended = matches!(event, Event::Ended { .. });
        let Some((key, input)) = sip_input(event) else { return };
        let Some(dialog) = self.dialogs.get_mut(&key) else { return };
        dialog.over |= ended;
        let (thread, live) = (dialog.thread, dialog.live);
        if live {
            // A call that outlives its dialog for a moment still holds its slot and its thread.
            self.tell(thread, Command::Sip(key, input));
        } else if ended {
            self.dialogs.remove(&key);
        }
    }

    fn tell_all(&mut self, command: impl Fn(DialogKey) -> Command) {
        let live = self.dialogs.iter().filter(|(_, dialog)| dialog.live);
        let live: Vec<_> = live.map(|(key, dialog)| (*key, dialog.thread)).collect();
        for (key, thread) in live {
            self.tell(thread, command(key));
        }
    }

    /// Commands for one thread arrive in order, however full its queue is.
    fn tell(&mut self, thread: usize, command: Command) {
        self.deliver();
        let behind = self.undelivered.iter().any(|(other, _)| *other == thread);
        let left = if behind { Some(command) } else { self.threads[thread].try_send(command).err() };
        if let Some(command) = left {
            if self.undelivered.len() >= UNDELIVERED {
                self.status.lost_commands += 1;
                return;
            }
            self.undelivered.push_back((thread, command));
        }
    }

    /// Tries again what waits; a thread that is full does not keep the others from theirs.
    fn deliver(&mut self) {
        let mut full = vec![false; if self.undelivered.is_empty() { 0 } else { self.threads.len() }];
        for _ in 0..self.undelivered.len() {
            let Some((thread, command)) = self.undelivered.pop_front() else { return };
            let left =
                if full[thread] { Some(command) } else { self.threads[thread].try_send(command).err() };
            if let Some(command) = left {
                full[thread] = true;
                self.undelivered.push_back((thread, command));
            }
        }
    }

    fn arrival(&mut self, sip_call_id: String, from: &Address, called: String) -> Arrival {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Arrival {
            call: CallId(self.chance.name()),
            sip_call_id,
            invited_at_us: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
            trunk: self.config.trunk.clone(),
            caller: from.user.clone(),
            called,
        }
    }

    fn count_refused(&mut self, arrival: Arrival, refusal: Refusal, after: Duration) {
        self.status.invites += 1;
        self.status.refused += 1;
        let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.services.records.end(&Cdr::refused(arrival, refusal.cause, refusal.status, after_us));
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().enumerate();
        loads.min_by_key(|(_, load)| **load).map_or(0, |(thread, _)| thread)
    }

    /// What our SDP says: as bound, as SIP was addressed, or as routed; and of that what the peer sees.
    fn media_address(&self, flow: &Flow) -> IpAddr {
        let bound = self.config.rtp.address;
        let specific = |ip: &IpAddr| !ip.is_unspecified();
        let addressed = flow.local.ip();
        let peer = flow.remote.ip();
        let seen = Some(addressed).filter(|ip| specific(ip) && ip.is_ipv4() == bound.is_ipv4());
        let local = Some(bound).filter(specific).or(seen).or_else(|| local_address_towards(peer).ok());
        self.config.endpoint.external.address(local.unwrap_or(addressed), peer)
    }

    fn publish(&mut self) {
        self.status.calls = self.pools.busy() + self.overflow.busy();
        self.status.trunks = self.loads_of_trunks.figures();
        self.status.busiest = self.status.busiest.max(self.pools.busy());
        self.status.dialogs = self.dialogs.len();
        self.status.undelivered = self.undelivered.len();
        self.status.ports = self.ports.statistics();
        let _ = self.publish.send_replace(self.status.clone());
    }
}

/// Ports run out only when others hold them or when the range is smaller than the cap and cooling takes the rest.
fn no_ports(error: &PortsError) -> Refusal {
    tracing::warn!(%error, "a call is refused although a slot is free");
    Refusal { status: 503, cause: Cause::PortsFull }
}
