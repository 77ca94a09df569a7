//! A call of ours from the wish to its record: it holds its port slot, remembers each attempt, and is written down once.
//! Knows the record. Whom to ask next, and what is said in the call, are others' business.

use super::{
    dialer::{AttemptFailure, DialError},
    runtime::Shared,
};
use crate::{
    config::trunk::Trunk,
    server::{NoLease, PortLease, RecordSink},
};
use call::{
    CallId,
    admission::Denied,
    cdr::{Arrival, Cause, Cdr},
    other_leg::{OtherLeg, Purpose},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

/// Attempts that one record keeps.
const MOST: usize = 20;

/// One call of ours. Whatever becomes of it, dropping it writes its record and gives its slot back.
pub(super) struct Placed {
    cdr: Cdr,
    started: Instant,
    records: Arc<dyn RecordSink>,
    /// The far end has said goodbye.
    hung_up: Arc<AtomicBool>,
    attempt_began: Instant,
    /// Given back after the record has been written.
    _port: Option<PortLease>,
}

impl Placed {
    /// Takes a slot of the trunk's pool and begins the record.
    ///
    /// # Errors
    /// [`DialError::NoPort`] or [`DialError::Draining`]; a call without a slot has its record too.
    pub(super) async fn begin(
        shared: &Shared,
        trunk: &Trunk,
        number: &str,
        caller: Option<&str>,
    ) -> Result<Self, DialError> {
        let started = Instant::now();
        let lease = shared.link().lease(trunk.pool.unwrap_or(0)).await;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let arrival = Arrival {
            call: lease.as_ref().map_or_else(|_| CallId(shared.number_by_chance()), |lease| lease.call),
            sip_call_id: String::new(),
            invited_at_us: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
            trunk: trunk.name.clone(),
            caller: caller.unwrap_or_default().to_owned(),
            called: number.to_owned(),
        };
        let cdr = Cdr { is_outbound: true, ..Cdr::new(arrival) };
        let records = shared.link().records();
        let hung_up = Arc::default();
        let mut placed = Self { cdr, started, records, hung_up, attempt_began: started, _port: None };
        match lease {
            Ok(lease) => {
                placed.hold(lease);
                Ok(placed)
            }
            Err(NoLease::Draining) => {
                placed.cdr.cause = Some(Cause::Draining.name().to_owned());
                Err(DialError::Draining)
            }
            Err(no) => {
                let cause = match no {
                    NoLease::Denied(Denied::Stage(_)) => Cause::StageFull,
                    NoLease::Denied(Denied::Machine(_)) => Cause::MachineBusy,
                    NoLease::Denied(Denied::Full | Denied::Reserved | Denied::CampaignsStopped)
                    | NoLease::Draining => Cause::PortsFull,
                };
                placed.cdr.cause = Some(cause.name().to_owned());
                Err(DialError::NoPort(no.to_string()))
            }
        }
    }

    fn hold(&mut self, lease: PortLease) {
        self.cdr.port_slot = Some(lease.grant.slot.0);
        self.cdr.concurrency = Some(lease.grant.concurrency);
        self.cdr.capacity = Some(lease.load.0);
        self.cdr.load = Some(lease.load);
        self.cdr.level = Some(lease.level);
        self.cdr.pool = Some(lease.pool.clone());
        self.records.begin_outgoing(&self.cdr);
        self._port = Some(lease);
    }

    /// Is to be set when the far end says goodbye.
    pub(super) fn hung_up(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.hung_up)
    }

    /// The next attempt leaves.
    pub(super) fn attempt(&mut self) {
        self.attempt_began = Instant::now();
    }

    /// It came to nothing.
    pub(super) fn attempt_failed(&mut self, failure: &AttemptFailure) {
        self.cdr.sip_status = failure.status;
        if self.cdr.other_legs.len() >= MOST {
            return;
        }
        self.cdr.other_legs.push(OtherLeg {
            purpose: Purpose::Attempt,
            trunk: Some(failure.trunk.clone()),
            peer: failure.target.clone(),
            began_after_us: self.after_us(self.attempt_began),
            answered_after_us: None,
            ended_after_us: Some(self.after_us(Instant::now())),
            status: failure.status,
        });
    }

    /// The call is answered, over that trunk.
    pub(super) fn answered(&mut self, trunk: &str) {
        trunk.clone_into(&mut self.cdr.arrival.trunk);
        self.cdr.answered_after_us = Some(self.after_us(Instant::now()));
        self.cdr.sip_status = Some(200);
    }

    /// Nobody is left to ask, or the server stops.
    pub(super) fn failed(&mut self, cause: Cause) {
        self.cdr.cause = Some(cause.name().to_owned());
    }

    /// It rings there.
    pub(super) fn rings(&mut self) {
        let after_us = self.after_us(Instant::now());
        self.cdr.rang_after_us.get_or_insert(after_us);
    }

    fn after_us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let cause = match (self.cdr.answered_after_us, self.hung_up.load(Ordering::Relaxed)) {
            (None, _) => Cause::CallerCancelled,
            (Some(_), true) => Cause::CallerHungUp,
            (Some(_), false) => Cause::AgentEnded,
        };
        self.cdr.cause.get_or_insert_with(|| cause.name().to_owned());
        self.cdr.ended_after_us = Some(self.after_us(Instant::now()));
        self.records.end(&self.cdr);
    }
}
