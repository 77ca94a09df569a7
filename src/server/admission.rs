//! The one place where it is decided that a call begins, and the table of calls that have.
//! Lives on the SIP task. Knows slots, ports and threads. What a call does is the machine's business.

use super::{
    ServerConfig, Services, Status,
    chance::Chance,
    lease::{Granted, Holder, NoLease},
    link::OutgoingSink,
    machine::Processors,
    refusal_log::RefusalLog,
    trunk_loads::{AtCap, Place, TrunkLimits, TrunkLoads},
};
use crate::{
    call_actor::{ActorCounters, Finished},
    media_threads::{Command, MediaThread},
    rtp_socket::{PortsError, RtpPorts},
    sip_transport::{Handler, Request, SipHandle},
};
use call::{
    CallId, HangUp,
    admission::{Admitted, Pools},
    cdr::{Arrival, Cause, Cdr},
    port_slots::{PortSlot, PortSlots},
};
use sip::{Address, DialogKey, EndpointStatistics, Event, IncomingInvite};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{oneshot, watch};

mod beginning;
mod builder;
mod slots;
mod threads;
mod waiting;

pub use builder::{
    ArrivalTrunk, BuiltCall, CallBuilder, CallFacts, CallStart, ContextAnswer, ContextQuestion, NewCall,
    RecordSink, Refusal,
};
use waiting::Waiting;

/// Commands for media threads that wait for room. A thread that is this far behind has stopped.
const UNDELIVERED: usize = 4_096;

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
