//! Who gets a port slot: pools with exact caps, reservations, levels with hysteresis, overflow, and what else may be short.
//! Knows numbers and time. It has one owner, so nothing here is shared; what a refused caller hears is the trunk's policy.

use crate::forecast::Forecast;
use crate::port_slots::{Full, Grant, LoadBand, PortSlot, PortSlots};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A slot whose call is gone is taken back when it is still held this long after that was first seen.
const LEAKED_AFTER: Duration = Duration::from_secs(5);

/// What a pool is told at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// As it stands in metrics, records and alerts.
    pub name: String,
    /// Calls at once, exactly.
    pub cap: u32,
    /// The pool that takes new calls from 95 % on, by its place.
    pub overflow: Option<usize>,
    /// Slots that outgoing calls leave to incoming ones.
    pub inbound_min: u32,
    /// Outgoing calls at once, at most.
    pub outbound_max: Option<u32>,
    /// Slots that only transfers may take.
    pub transfer_reserve: u32,
    /// Slots that only priority numbers may take.
    pub priority_reserve: u32,
}

impl PoolConfig {
    /// A pool without reservations or overflow.
    pub fn new(name: impl Into<String>, cap: u32) -> Self {
        Self {
            name: name.into(),
            cap,
            overflow: None,
            inbound_min: 0,
            outbound_max: None,
            transfer_reserve: 0,
            priority_reserve: 0,
        }
    }
}

/// How full a pool is. It rises at once and falls only when there is some room below the threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing to do.
    #[default]
    Normal,
    /// 70 %: worth knowing.
    Warn,
    /// 85 %: no speculation, campaigns stop.
    Alert,
    /// 95 %: new calls go to the overflow pool.
    Overflow,
    /// 100 %: the trunk's policy answers.
    Full,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [Self::Normal, Self::Warn, Self::Alert, Self::Overflow, Self::Full];
    /// How far below a threshold a pool must fall before its level does, in points of a hundred.
    pub const HYSTERESIS: u32 = 5;

    /// As a metric label, in records and in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warn => "warn",
            Self::Alert => "alert",
            Self::Overflow => "overflow",
            Self::Full => "full",
        }
    }

    /// The share of the cap from which it holds, of a hundred.
    pub const fn threshold(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Warn => 70,
            Self::Alert => 85,
            Self::Overflow => 95,
            Self::Full => 100,
        }
    }

    /// What an operator can do about a pool at this level.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Normal => "Nothing to do.",
            Self::Warn => "Look at the forecast, or raise its ports.",
            Self::Alert => "Add ports now, or ask the carrier and the providers for more.",
            Self::Overflow => "New calls go to its overflow pool, if it has one; add ports.",
            Self::Full => "The trunk's at_cap answers; add ports or a server.",
        }
    }

    /// Whether work may be done that may turn out to be for nothing.
    pub fn allows_speculation(self) -> bool {
        self < Self::Alert
    }

    /// The level after this one when `busy` of `cap` slots are in use. A pool without slots is always full.
    fn next(self, busy: u32, cap: u32) -> Self {
        let share = u64::from(busy) * 100;
        let reached = |level: Self| cap == 0 || share >= u64::from(level.threshold()) * u64::from(cap);
        let kept = |level: Self| {
            // Fullness is exact: one free slot ends it.
            let room = if level == Self::Full { 0 } else { Self::HYSTERESIS };
            let below = level.threshold().saturating_sub(room);
            cap == 0 || share > u64::from(below) * u64::from(cap) || reached(level)
        };
        let up = Self::ALL.into_iter().rfind(|level| reached(*level)).unwrap_or_default();
        let held = Self::ALL.into_iter().rfind(|level| *level <= self && kept(*level)).unwrap_or_default();
        up.max(held)
    }
}

/// What a call is to the reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody calls us.
    Inbound,
    /// We call somebody, for a campaign or a callback.
    Outbound,
    /// A second leg for a call that is up.
    Transfer,
}

/// A wish for a slot.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The pool, by its place.
    pub pool: usize,
    /// What kind of call.
    pub kind: Kind,
    /// Whether its number is a priority number.
    pub priority: bool,
    /// The permits that it needs in each pool that might take it, by their places: that of its own pool first.
    pub needs: &'a [usize],
}

/// A slot that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The slot, and how many are in use in its pool.
    pub grant: Grant,
    /// The pool it is of, by its place.
    pub pool: usize,
    /// The pool that was too full for it.
    pub overflowed_from: Option<usize>,
}

/// Why no slot was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// As many calls are up as the cap allows.
    Full,
    /// What is free is kept for others.
    Reserved,
    /// The pool is too full for calls that can wait.
    CampaignsStopped,
    /// A stage of the call has no room: the permit's place.
    Stage(usize),
    /// The machine has no room: what of it.
    Machine(&'static str),
}

impl Denied {
    /// As a metric label and in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "busy",
            Self::Reserved => "reserved",
            Self::CampaignsStopped => "campaigns_stopped",
            Self::Stage(_) => "stage_capacity",
            Self::Machine(_) => "machine",
        }
    }

    /// All names, so that each can be counted from zero.
    pub const NAMES: [&'static str; 5] =
        ["busy", "reserved", "campaigns_stopped", "stage_capacity", "machine"];
}

/// A pool has reached another level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// The pool, by its place.
    pub pool: usize,
    /// The level it had.
    pub from: Level,
    /// The level it has.
    pub to: Level,
    /// Slots in use at that moment.
    pub busy: u32,
}

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Its name.
    pub name: String,
    /// Its cap.
    pub cap: u32,
    /// Slots in use.
    pub busy: u32,
    /// Most slots in use at once in this second and the one before.
    pub peak: u32,
    /// How full it counts as.
    pub level: Level,
    /// The sum of the time that every slot was in use.
    pub busy_for: Duration,
    /// The time spent in each load band, in the order of [`LoadBand::ALL`].
    pub in_band: [Duration; 5],
    /// Calls that it took for fuller pools.
    pub taken_over: u64,
    /// How likely it is to be full in [`crate::forecast::HORIZON_SECONDS`], of 1,000.
    pub saturation_permille: u32,
}

/// What a stage can do at once, over all pools: streams of a provider, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// As it is told to the operator, such as `stt default`.
    pub name: String,
    /// How many calls may have it at once.
    pub cap: u32,
    /// How many have it.
    pub used: u32,
}

/// All pools. One owner asks it; nothing in it waits.
#[derive(Debug)]
pub struct Pools {
    pools: Vec<Pool>,
    permits: Vec<Permit>,
    held: BTreeMap<PortSlot, Held>,
    strain: Option<&'static str>,
    changes: Vec<LevelChange>,
}

#[derive(Debug)]
struct Pool {
    config: PoolConfig,
    slots: PortSlots,
    /// The number of its first slot: numbers are unique over all pools.
    base: u32,
    outbound: u32,
    level: Level,
    counted_until: Option<Instant>,
    busy_for: Duration,
    in_band: [Duration; 5],
    taken_over: u64,
    peaks: [u32; 2],
    forecast: Forecast,
}

#[derive(Debug)]
struct Held {
    pool: usize,
    kind: Kind,
    needs: Vec<usize>,
    /// Since when its call has been missing.
    missing: Option<Instant>,
}

impl Pools {
    /// Pools with all slots free. `permits` are named by their place.
    pub fn new(
        pools: impl IntoIterator<Item = PoolConfig>,
        permits: impl IntoIterator<Item = Permit>,
    ) -> Self {
        let mut base = 0;
        let pools = pools.into_iter().map(|config| {
            // Ports cool down where their sockets are; a slot is only a number.
            let pool = Pool::new(base, config);
            base += pool.config.cap;
            pool
        });
        Self {
            pools: pools.collect(),
            permits: permits.into_iter().collect(),
            held: BTreeMap::new(),
            strain: None,
            changes: Vec::new(),
        }
    }

    /// Takes a slot, of the pool that was asked for or of the one that takes its overflow.
    ///
    /// # Errors
    /// [`Denied`] says why there is none. Nothing is taken then.
    pub fn ask(&mut self, now: Instant, ask: Ask<'_>) -> Result<Admitted, Denied> {
        let Some(first) = self.pools.get(ask.pool) else { return Err(Denied::Full) };
        if let (Some(what), false) = (self.strain, ask.priority) {
            return Err(Denied::Machine(what));
        }
        let overflow = first.config.overflow.filter(|_| ask.kind == Kind::Inbound && !ask.priority);
        let elsewhere = overflow.filter(|_| first.level >= Level::Overflow);
        if let Some(pool) = elsewhere
            && let Ok(admitted) = self.take(now, pool, ask)
        {
            self.pools[pool].taken_over += 1;
            return Ok(Admitted { overflowed_from: Some(ask.pool), ..admitted });
        }
        self.take(now, ask.pool, ask)
    }

    fn take(&mut self, now: Instant, place: usize, ask: Ask<'_>) -> Result<Admitted, Denied> {
        let Some(pool) = self.pools.get_mut(place) else { return Err(Denied::Full) };
        pool.room(ask)?;
        let used = |need: &&usize| self.permits.get(**need).is_some_and(|permit| permit.used >= permit.cap);
        if let Some(short) = ask.needs.iter().find(used) {
            return Err(Denied::Stage(*short));
        }
        pool.count(now);
        let grant = pool.slots.acquire(now).map_err(|_: Full| Denied::Full)?;
        pool.peaks[1] = pool.peaks[1].max(grant.concurrency);
        pool.outbound += u32::from(ask.kind == Kind::Outbound);
        pool.forecast.came();
        let slot = PortSlot(pool.base + grant.slot.0);
        for need in ask.needs {
            if let Some(permit) = self.permits.get_mut(*need) {
                permit.used += 1;
            }
        }
        self.held
            .insert(slot, Held { pool: place, kind: ask.kind, needs: ask.needs.to_vec(), missing: None });
        self.note_level(place);
        let grant = Grant { slot, concurrency: grant.concurrency, busy: grant.busy };
        Ok(Admitted { grant, pool: place, overflowed_from: None })
    }

    /// Gives a slot back. One that is not held is left alone: the answer is false.
    pub fn release(&mut self, now: Instant, slot: PortSlot) -> bool {
        let Some(held) = self.held.remove(&slot) else { return false };
        for need in held.needs {
            if let Some(permit) = self.permits.get_mut(need) {
                permit.used = permit.used.saturating_sub(1);
            }
        }
        let Some(pool) = self.pools.get_mut(held.pool) else { return false };
        pool.count(now);
        pool.outbound -= u32::from(held.kind == Kind::Outbound);
        pool.forecast.went();
        let released = pool.slots.release(now, PortSlot(slot.0 - pool.base));
        self.note_level(held.pool);
        released
    }

    /// What the machine is short of, as it was last measured: until it is `None` again only priority numbers are taken.
    pub const fn strained(&mut self, by: Option<&'static str>) {
        self.strain = by;
    }

    /// Takes back the slots whose calls have been gone for a while: there is a mistake somewhere, and it must not cost
    /// capacity for ever. `is_alive` says whether a slot's call is there.
    pub fn reclaim(&mut self, now: Instant, is_alive: impl Fn(PortSlot) -> bool) -> Vec<PortSlot> {
        let mut leaked = Vec::new();
        for (slot, held) in &mut self.held {
            if is_alive(*slot) {
                held.missing = None;
                continue;
            }
            let since = *held.missing.get_or_insert(now);
            if now.saturating_duration_since(since) >= LEAKED_AFTER {
                leaked.push(*slot);
            }
        }
        leaked.retain(|slot| self.release(now, *slot));
        leaked
    }

    /// Level changes since this was last asked, in order.
    pub fn changes(&mut self) -> Vec<LevelChange> {
        std::mem::take(&mut self.changes)
    }

    /// The level of a pool.
    pub fn level(&self, pool: usize) -> Level {
        self.pools.get(pool).map_or(Level::Full, |pool| pool.level)
    }

    /// The name of a pool.
    pub fn name(&self, pool: usize) -> &str {
        self.pools.get(pool).map_or("", |pool| &pool.config.name)
    }

    /// The cap of a pool, and its load band.
    pub fn load(&self, pool: usize) -> (u32, LoadBand) {
        let figures = self.pools.get(pool).map_or((0, 0), |pool| (pool.config.cap, pool.slots.busy()));
        (figures.0, LoadBand::of(figures.1, figures.0))
    }

    /// Slots in use, over all pools.
    pub fn busy(&self) -> u32 {
        self.held.len() as u32
    }

    /// What the stages can do, and how much of it is in use.
    pub fn permits(&self) -> &[Permit] {
        &self.permits
    }

    /// A second has passed: the peaks of the one before the last are forgotten.
    pub fn second(&mut self) {
        for pool in &mut self.pools {
            pool.peaks = [pool.peaks[1], pool.slots.busy()];
            pool.forecast.second(pool.slots.busy());
        }
    }

    /// How the pools stand.
    pub fn figures(&mut self, now: Instant) -> Vec<PoolFigures> {
        self.pools.iter_mut().map(|pool| pool.figures(now)).collect()
    }

    fn note_level(&mut self, place: usize) {
        let Some(pool) = self.pools.get_mut(place) else { return };
        let (from, busy) = (pool.level, pool.slots.busy());
        pool.level = from.next(busy, pool.config.cap);
        if pool.level != from {
            self.changes.push(LevelChange { pool: place, from, to: pool.level, busy });
        }
    }
}

impl Pool {
    fn new(base: u32, config: PoolConfig) -> Self {
        Self {
            slots: PortSlots::new(config.cap, 0, Duration::ZERO),
            base,
            outbound: 0,
            level: Level::Normal.next(0, config.cap),
            counted_until: None,
            busy_for: Duration::ZERO,
            in_band: [Duration::ZERO; 5],
            taken_over: 0,
            peaks: [0; 2],
            forecast: Forecast::default(),
            config,
        }
    }

    /// Whether the reservations leave a slot for such a call.
    fn room(&self, ask: Ask<'_>) -> Result<(), Denied> {
        let (cap, busy) = (self.config.cap, self.slots.busy());
        if busy >= cap {
            return Err(Denied::Full);
        }
        let for_transfers = if ask.kind == Kind::Transfer { 0 } else { self.config.transfer_reserve };
        let for_priority = if ask.priority { 0 } else { self.config.priority_reserve };
        if busy + 1 > cap.saturating_sub(for_transfers).saturating_sub(for_priority) {
            return Err(Denied::Reserved);
        }
        if ask.kind != Kind::Outbound {
            return Ok(());
        }
        if self.level >= Level::Alert && !ask.priority {
            return Err(Denied::CampaignsStopped);
        }
        let most = cap.saturating_sub(self.config.inbound_min);
        let most = self.config.outbound_max.map_or(most, |limit| limit.min(most));
        if self.outbound < most { Ok(()) } else { Err(Denied::Reserved) }
    }

    /// Adds up the time that has passed under the present load; comes before every change.
    fn count(&mut self, now: Instant) {
        let passed = self.counted_until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        let busy = self.slots.busy();
        self.busy_for += passed * busy;
        self.in_band[LoadBand::of(busy, self.config.cap) as usize] += passed;
        self.counted_until = Some(self.counted_until.map_or(now, |until| until.max(now)));
    }

    fn figures(&mut self, now: Instant) -> PoolFigures {
        self.count(now);
        PoolFigures {
            name: self.config.name.clone(),
            cap: self.config.cap,
            busy: self.slots.busy(),
            peak: self.peaks[0].max(self.peaks[1]),
            level: self.level,
            busy_for: self.busy_for,
            in_band: self.in_band,
            taken_over: self.taken_over,
            saturation_permille: (self.forecast.saturation(self.slots.busy(), self.config.cap) * 1_000.0)
                as u32,
        }
    }
}

/// What the machine had to give in the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Of all its processors, of a hundred.
    pub cpu_percent: f32,
    /// How late the latest media thread woke.
    pub lag: Duration,
    /// Memory that could still be given out, of a hundred.
    pub memory_free_percent: f32,
}

/// When the machine counts as short; `None` never asks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineLimits {
    /// Processors busier than this.
    pub cpu_percent: Option<f32>,
    /// Media threads later than this.
    pub lag: Option<Duration>,
    /// Less memory left than this.
    pub memory_free_percent: Option<f32>,
}

impl MachineLimits {
    /// What the machine is short of, worst for calls first: late threads are heard at once.
    pub fn short_of(&self, machine: &Machine) -> Option<&'static str> {
        let lag = self.lag.is_some_and(|most| machine.lag > most);
        let cpu = self.cpu_percent.is_some_and(|most| machine.cpu_percent > most);
        let memory = self.memory_free_percent.is_some_and(|least| machine.memory_free_percent < least);
        [("media_lag", lag), ("cpu", cpu), ("memory", memory)]
            .into_iter()
            .find(|(_, short)| *short)
            .map(|(what, _)| what)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
mod tests {
    use super::*;

    fn inbound(pool: usize) -> Ask<'static> {
        Ask { pool, kind: Kind::Inbound, priority: false, needs: &[] }
    }

    /// The bank of the ramp: 250 ports, a second pool of 50 for what comes from 95 % on.
    fn bank() -> Pools {
        let main = PoolConfig { overflow: Some(1), ..PoolConfig::new("main", 250) };
        Pools::new([main, PoolConfig::new("backup", 50)], [])
    }

    #[test]
    fn a_ramp_passes_each_threshold_once_each_way() {
        let (mut pools, now) = (bank(), Instant::now());
        let mut slots = Vec::new();
        for _ in 0..260 {
            slots.push(pools.ask(now, inbound(0)).expect("there is room in both"));
        }
        let up: Vec<(u32, Level)> =
            pools.changes().iter().filter(|c| c.pool == 0).map(|c| (c.busy, c.to)).collect();
        // 95 % of 250 is 237.5: the 238th call is the last one here.
        assert_eq!(up, [(175, Level::Warn), (213, Level::Alert), (238, Level::Overflow)]);
        assert_eq!(slots.iter().filter(|admitted| admitted.overflowed_from == Some(0)).count(), 22);
        assert!(slots[238..].iter().all(|admitted| admitted.pool == 1));
        for admitted in slots.iter().rev() {
            assert!(pools.release(now, admitted.grant.slot));
        }
        let down: Vec<(u32, Level)> =
            pools.changes().iter().filter(|c| c.pool == 0).map(|c| (c.busy, c.to)).collect();
        assert_eq!(down, [(225, Level::Alert), (200, Level::Warn), (162, Level::Normal)]);
    }

    #[test]
    fn a_call_that_comes_and_goes_at_a_threshold_changes_the_level_once() {
        let (mut pools, now) = (Pools::new([PoolConfig::new("p", 100)], []), Instant::now());
        assert!((0..69).all(|_| pools.ask(now, inbound(0)).is_ok()));
        for _ in 0..20 {
            let slot = pools.ask(now, inbound(0)).expect("there is room").grant.slot;
            pools.release(now, slot);
        }
        assert_eq!(pools.changes().len(), 1);
    }

    #[test]
    fn without_room_elsewhere_a_pool_fills_to_its_cap_and_no_further() {
        let main = PoolConfig { overflow: Some(1), ..PoolConfig::new("main", 20) };
        let mut pools = Pools::new([main, PoolConfig::new("backup", 1)], []);
        let now = Instant::now();
        let admitted = (0..60).filter(|_| pools.ask(now, inbound(0)).is_ok()).count();
        assert_eq!((admitted, pools.busy()), (21, 21));
        assert_eq!(pools.ask(now, inbound(0)), Err(Denied::Full));
    }

    #[test]
    fn reservations_keep_slots_for_those_they_are_for() {
        let config = PoolConfig {
            inbound_min: 4,
            outbound_max: Some(5),
            transfer_reserve: 1,
            priority_reserve: 1,
            ..PoolConfig::new("p", 10)
        };
        let (mut pools, now) = (Pools::new([config], []), Instant::now());
        let ask = |kind, priority| Ask { pool: 0, kind, priority, needs: &[] };
        let outbound: Vec<Admitted> =
            (0..10).filter_map(|_| pools.ask(now, ask(Kind::Outbound, false)).ok()).collect();
        assert_eq!(outbound.len(), 5);
        pools.release(now, outbound[0].grant.slot);
        assert!(pools.ask(now, ask(Kind::Outbound, false)).is_ok(), "one that has ended makes room");
        assert_eq!(pools.ask(now, ask(Kind::Outbound, false)), Err(Denied::Reserved));
        let incoming = (0..10).filter(|_| pools.ask(now, inbound(0)).is_ok()).count();
        assert_eq!(incoming, 3, "one is left to transfers, one to priority numbers");
        assert_eq!(pools.ask(now, inbound(0)), Err(Denied::Reserved));
        assert!(pools.ask(now, ask(Kind::Inbound, true)).is_ok());
        assert_eq!(pools.ask(now, ask(Kind::Inbound, true)), Err(Denied::Reserved));
        assert!(pools.ask(now, ask(Kind::Transfer, true)).is_ok());
        assert_eq!(pools.ask(now, ask(Kind::Transfer, true)), Err(Denied::Full));
    }

    #[test]
    fn campaigns_stop_while_callers_are_still_taken() {
        let (mut pools, now) = (Pools::new([PoolConfig::new("p", 20)], []), Instant::now());
        assert!((0..17).all(|_| pools.ask(now, inbound(0)).is_ok()));
        assert_eq!(pools.level(0), Level::Alert);
        assert!(!pools.level(0).allows_speculation());
        let outbound = Ask { kind: Kind::Outbound, ..inbound(0) };
        assert_eq!(pools.ask(now, outbound), Err(Denied::CampaignsStopped));
        assert!(pools.ask(now, inbound(0)).is_ok());
    }

    #[test]
    fn a_port_without_a_stage_is_refused_and_takes_nothing() {
        let permit = |name: &str, cap| Permit { name: name.into(), cap, used: 0 };
        let mut pools = Pools::new([PoolConfig::new("p", 10)], [permit("stt", 1), permit("tts", 5)]);
        let now = Instant::now();
        let ask = Ask { needs: &[0, 1], ..inbound(0) };
        let slot = pools.ask(now, ask).expect("there is room").grant.slot;
        assert_eq!(pools.ask(now, ask), Err(Denied::Stage(0)));
        assert_eq!(pools.permits().iter().map(|permit| permit.used).collect::<Vec<_>>(), [1, 1]);
        assert!(pools.ask(now, Ask { needs: &[1], ..inbound(0) }).is_ok(), "it hears with something else");
        pools.release(now, slot);
        assert!(pools.ask(now, ask).is_ok());
    }

    #[test]
    fn a_machine_that_is_short_takes_priority_numbers_only() {
        let (mut pools, now) = (Pools::new([PoolConfig::new("p", 10)], []), Instant::now());
        let limits = MachineLimits {
            cpu_percent: Some(90.0),
            lag: Some(Duration::from_millis(10)),
            ..Default::default()
        };
        let machine = Machine { cpu_percent: 95.0, lag: Duration::from_millis(2), memory_free_percent: 3.0 };
        assert_eq!(limits.short_of(&machine), Some("cpu"), "nobody asked about memory");
        pools.strained(limits.short_of(&machine));
        assert_eq!(pools.ask(now, inbound(0)), Err(Denied::Machine("cpu")));
        assert!(pools.ask(now, Ask { priority: true, ..inbound(0) }).is_ok());
        pools.strained(None);
        assert!(pools.ask(now, inbound(0)).is_ok());
    }

    #[test]
    fn a_slot_that_was_forgotten_comes_back_and_one_that_is_alive_stays() {
        let (mut pools, start) = (Pools::new([PoolConfig::new("p", 2)], []), Instant::now());
        let [kept, lost] = [(); 2].map(|()| pools.ask(start, inbound(0)).expect("room").grant.slot);
        let at = |s| start + Duration::from_secs(s);
        let alive = |slot| slot == kept;
        assert!(pools.reclaim(at(1), alive).is_empty());
        assert!(pools.reclaim(at(5), alive).is_empty(), "it may be on its way back");
        assert_eq!(pools.reclaim(at(6), alive), [lost]);
        assert_eq!(pools.busy(), 1);
        assert!(!pools.release(at(7), lost), "its call, should it end yet, mints no slot");
    }

    #[test]
    fn busy_time_and_bands_add_up_to_what_has_passed() {
        let (mut pools, start) = (Pools::new([PoolConfig::new("p", 4)], []), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let slot = pools.ask(at(0), inbound(0)).expect("room").grant.slot;
        assert!(pools.ask(at(10), inbound(0)).is_ok());
        pools.release(at(20), slot);
        let figures = &pools.figures(at(30))[0];
        assert_eq!(figures.busy_for, Duration::from_secs(10 + 20 + 10));
        assert_eq!(figures.in_band.iter().sum::<Duration>(), Duration::from_secs(30));
        assert_eq!(figures.in_band[LoadBand::Half as usize], Duration::from_secs(10));
    }

    /// What no sequence of asks and releases may break.
    fn check(pools: &mut Pools, held: &[(PortSlot, usize)], now: Instant) {
        let figures = pools.figures(now);
        for (place, figures) in figures.iter().enumerate() {
            let mine = held.iter().filter(|(_, pool)| *pool == place).count() as u32;
            assert_eq!(figures.busy, mine, "{} counts what is held", figures.name);
            assert!(figures.busy <= figures.cap, "{} is over its cap", figures.name);
        }
        let mut slots: Vec<PortSlot> = held.iter().map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), held.len(), "nobody shares a slot");
        let used: Vec<u32> = pools.permits().iter().map(|permit| permit.used).collect();
        assert!(used.iter().zip(pools.permits()).all(|(used, permit)| *used <= permit.cap));
    }

    fn small() -> Pools {
        let main = PoolConfig {
            overflow: Some(1),
            transfer_reserve: 1,
            inbound_min: 1,
            ..PoolConfig::new("main", 3)
        };
        Pools::new([main, PoolConfig::new("backup", 1)], [Permit { name: "stt".into(), cap: 3, used: 0 }])
    }

    /// Does what `choice` says.
    fn act(pools: &mut Pools, held: &mut Vec<(PortSlot, usize)>, choice: u64, now: Instant) {
        let kind = [Kind::Inbound, Kind::Outbound, Kind::Transfer][(choice % 3) as usize];
        match choice % 6 {
            0..=3 => {
                let ask = Ask { pool: 0, kind, priority: choice % 6 == 3, needs: &[0] };
                if let Ok(admitted) = pools.ask(now, ask) {
                    held.push((admitted.grant.slot, admitted.pool));
                }
            }
            4 if !held.is_empty() => drop(pools.release(now, held.remove(0).0)),
            5 => drop(held.pop().map(|(slot, _)| pools.release(now, slot))),
            _ => {}
        }
    }

    /// Every sequence of six kinds of steps, seven steps long: the allocator has one owner, so this is all that can
    /// happen to a small one.
    #[test]
    fn no_sequence_of_steps_breaks_a_small_pool() {
        for sequence in 0..6_u64.pow(7) {
            let (mut pools, mut held, now) = (small(), Vec::new(), Instant::now());
            let mut rest = sequence;
            for _ in 0..7 {
                act(&mut pools, &mut held, rest % 6, now);
                rest /= 6;
            }
            check(&mut pools, &held, now);
            for (slot, _) in held.drain(..) {
                assert!(pools.release(now, slot), "{sequence}: every slot comes back");
            }
            assert_eq!(pools.busy(), 0);
            assert!(pools.permits().iter().all(|permit| permit.used == 0));
        }
    }

    #[test]
    fn over_many_seeds_no_cap_is_ever_broken_and_every_slot_comes_back() {
        for seed in 1..200_u64 {
            let mut chance = seed;
            let mut any = || {
                chance =
                    chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                chance >> 33
            };
            let main = PoolConfig { overflow: Some(1), ..PoolConfig::new("main", 10 + (any() % 40) as u32) };
            let permit = Permit { name: "stt".into(), cap: 30, used: 0 };
            let mut pools = Pools::new([main, PoolConfig::new("backup", (any() % 8) as u32)], [permit]);
            let (mut held, start) = (Vec::new(), Instant::now());
            for step in 0..1_000 {
                let now = start + Duration::from_millis(step);
                act(&mut pools, &mut held, any(), now);
                check(&mut pools, &held, now);
            }
            let now = start + Duration::from_secs(2);
            held.drain(..).for_each(|(slot, _)| assert!(pools.release(now, slot), "seed {seed}"));
            assert_eq!(pools.busy(), 0, "seed {seed}");
            assert_eq!(pools.level(0), Level::Normal, "seed {seed}");
        }
    }
}
