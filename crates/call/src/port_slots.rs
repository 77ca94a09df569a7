//! The concurrency cap: who holds a port slot, and in which order free ones are handed out.
//! Knows numbers and time. Knows no socket: whoever owns the sockets indexes them by slot.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// One unit of capacity, 0 to cap - 1. Stable for the whole call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSlot(pub u32);

/// A granted slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The slot.
    pub slot: PortSlot,
    /// Slots in use, this one included.
    pub concurrency: u32,
    /// At least 85 % of them are in use: calls do nothing that may be for nothing.
    pub busy: bool,
}

/// Why no slot was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many calls are up as the cap allows.
    Cap,
    /// Fewer calls are up, but every free slot still drains its last call's packets.
    Cooling,
}

/// The allocator: exact cap, longest-idle slot first, released slots rest before they are used again.
#[derive(Debug)]
pub struct PortSlots {
    cap: u32,
    cooling: Duration,
    held: BTreeMap<PortSlot, Instant>,
    /// Free slots with the instant from which they may be granted, longest idle first.
    free: VecDeque<(PortSlot, Option<Instant>)>,
    busiest: u32,
}

impl PortSlots {
    /// `cap` slots can be held at once. `spare` more exist so that slots may cool without costing capacity.
    pub fn new(cap: u32, spare: u32, cooling: Duration) -> Self {
        Self {
            cap,
            cooling,
            held: BTreeMap::new(),
            free: (0..cap.saturating_add(spare)).map(|n| (PortSlot(n), None)).collect(),
            busiest: 0,
        }
    }

    /// Takes the slot that has been idle longest.
    ///
    /// # Errors
    /// [`Full`] says why there is none.
    pub fn acquire(&mut self, now: Instant) -> Result<Grant, Full> {
        if self.busy() >= self.cap {
            return Err(Full::Cap);
        }
        let rested = |(_, from): &(PortSlot, Option<Instant>)| from.is_none_or(|from| from <= now);
        let position = self.free.iter().position(rested).ok_or(Full::Cooling)?;
        let (slot, _) = self.free.remove(position).ok_or(Full::Cooling)?;
        self.held.insert(slot, now);
        self.busiest = self.busiest.max(self.busy());
        let (concurrency, cap) = (self.busy(), self.cap);
        Ok(Grant { slot, concurrency, busy: u64::from(concurrency) * 100 >= u64::from(cap) * 85 })
    }

    /// Gives a slot back. A slot that is not held is left alone: the answer is false.
    pub fn release(&mut self, now: Instant, slot: PortSlot) -> bool {
        let held = self.held.remove(&slot).is_some();
        if held {
            self.free.push_back((slot, Some(now + self.cooling)));
        }
        held
    }

    /// Most calls at once.
    pub const fn cap(&self) -> u32 {
        self.cap
    }

    /// Calls up now.
    pub fn busy(&self) -> u32 {
        self.held.len() as u32
    }

    /// Slots that rest after a call.
    pub fn cooling(&self, now: Instant) -> u32 {
        self.free.iter().filter(|(_, from)| from.is_some_and(|from| from > now)).count() as u32
    }

    /// Most calls up at once since the start.
    pub const fn busiest(&self) -> u32 {
        self.busiest
    }
}

/// How busy the port slots were when a call began: a label with five values, where a count would have hundreds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum LoadBand {
    /// Below half of the cap.
    #[serde(rename = "<50")]
    Low,
    /// From there to 70 %.
    #[serde(rename = "50-70")]
    Half,
    /// From there to 85 %.
    #[serde(rename = "70-85")]
    Warn,
    /// From there to 95 %.
    #[serde(rename = "85-95")]
    Alert,
    /// The rest.
    #[serde(rename = "95+")]
    Full,
}

impl LoadBand {
    /// All bands, so that each can be counted from zero.
    pub const ALL: [Self; 5] = [Self::Low, Self::Half, Self::Warn, Self::Alert, Self::Full];

    /// The band of `busy` slots of `cap`.
    pub const fn of(busy: u32, cap: u32) -> Self {
        let (busy, cap) = (busy as u64 * 100, cap as u64);
        match () {
            () if cap == 0 || busy >= 95 * cap => Self::Full,
            () if busy >= 85 * cap => Self::Alert,
            () if busy >= 70 * cap => Self::Warn,
            () if busy >= 50 * cap => Self::Half,
            () => Self::Low,
        }
    }

    /// As a label says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "<50",
            Self::Half => "50-70",
            Self::Warn => "70-85",
            Self::Alert => "85-95",
            Self::Full => "95+",
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
mod tests {
    use super::*;

    const COOLING: Duration = Duration::from_secs(30);

    #[test]
    fn the_cap_is_exact_and_every_slot_comes_back() {
        let now = Instant::now();
        let mut slots = PortSlots::new(3, 3, COOLING);
        let granted: Vec<Grant> = (0..3).map(|_| slots.acquire(now).expect("below the cap")).collect();
        assert_eq!(granted.iter().map(|g| g.concurrency).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(slots.acquire(now), Err(Full::Cap));
        for grant in granted {
            assert!(slots.release(now, grant.slot));
            assert!(!slots.release(now, grant.slot), "a second release must not mint a slot");
        }
        assert_eq!((slots.busy(), slots.busiest()), (0, 3));
    }

    #[test]
    fn the_longest_idle_slot_is_next() {
        let now = Instant::now();
        let mut slots = PortSlots::new(2, 0, Duration::ZERO);
        let first = slots.acquire(now).expect("free").slot;
        slots.release(now, first);
        assert_ne!(slots.acquire(now).expect("free").slot, first);
    }

    #[test]
    fn a_slot_rests_before_the_next_call_gets_it() {
        let now = Instant::now();
        let mut slots = PortSlots::new(1, 0, COOLING);
        let slot = slots.acquire(now).expect("free").slot;
        slots.release(now, slot);
        assert_eq!(slots.acquire(now + COOLING / 2), Err(Full::Cooling));
        assert_eq!(slots.cooling(now + COOLING / 2), 1);
        assert_eq!(slots.acquire(now + COOLING).map(|g| g.slot), Ok(slot));
    }

    #[test]
    fn spare_slots_keep_the_cap_usable_while_others_rest() {
        let now = Instant::now();
        let mut slots = PortSlots::new(1, 1, COOLING);
        let slot = slots.acquire(now).expect("free").slot;
        slots.release(now, slot);
        let next = slots.acquire(now).expect("a spare slot");
        assert_ne!(next.slot, slot);
        assert_eq!(slots.acquire(now), Err(Full::Cap));
    }
}
