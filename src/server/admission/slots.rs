//! Port slots: taken for calls that come and for those that we place, given back, and looked after.
//! Knows pools, trunks' limits and the machine. Knows no SIP and no audio.

use super::{Admission, ArrivalTrunk, Denied, Refusal};
use crate::server::{
    lease::{Granted, Holder, NoLease},
    trunk_loads::{Limit, Place},
};
use call::{
    CallId,
    admission::{Admitted, Ask, Denied as NoSlot, Kind, MachineLimits},
    cdr::Cause,
    port_slots::{Grant, PortSlot},
};
use std::{collections::HashSet, sync::Arc, time::Instant};

impl Admission {
    /// A slot for a call of the trunk: a regular one, or one of its overflow slots when a limit is reached.
    pub(super) fn slot(&mut self, now: Instant, trunk: &ArrivalTrunk) -> Result<(Admitted, Place), Denied> {
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
    pub(super) fn lease(&mut self, now: Instant, pool: usize) -> Result<Granted, NoLease> {
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
    pub(super) fn end_leases(&mut self, now: Instant) {
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

    pub(super) fn release(&mut self, now: Instant, slot: PortSlot) {
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

    pub(super) fn count_pools(&mut self, now: Instant) {
        self.status.pools = Arc::new(self.pools.figures(now));
        self.status.permits = Arc::new(self.pools.permits().to_vec());
    }

    /// Slots whose calls are gone come back, and are an error of ours.
    pub(super) fn reclaim(&mut self, now: Instant) {
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
    pub(super) fn measure(&mut self) {
        let limits = self.config.machine;
        if limits == MachineLimits::default() {
            return;
        }
        let lag = self.threads.iter().map(|thread| thread.counters().lateness.take_worst_for_admission());
        let machine = self.processors.measure(lag.max().unwrap_or_default());
        self.pools.strained(limits.short_of(&machine));
    }
}
