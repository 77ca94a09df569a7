//! A queue into a thread that never waits for who puts something in.
//! Knows nothing of what it carries.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, TryLockError},
};

/// Many put, one takes. The queues of the standard library have the taker spin while somebody is in the middle of putting,
/// and a thread before all others of its core spins for ever: who it waits for does not run. Here it comes back later.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    waiting: Mutex<VecDeque<T>>,
    room: usize,
}

impl<T> Mailbox<T> {
    /// An empty one with room for so many.
    pub(super) const fn new(room: usize) -> Self {
        Self { waiting: Mutex::new(VecDeque::new()), room }
    }

    /// Puts something in; it is returned when there is no room. May wait for another one who puts. Wake the taker
    /// afterwards.
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.room {
            return Err(item);
        }
        waiting.push_back(item);
        Ok(())
    }

    /// Takes all that is in it, behind what `into` holds. Finds nothing while somebody is putting, who wakes the taker
    /// once more when it is done.
    pub(super) fn take(&self, into: &mut VecDeque<T>) {
        let mut waiting = match self.waiting.try_lock() {
            Ok(waiting) => waiting,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if into.is_empty() {
            std::mem::swap(&mut *waiting, into); // Both keep their memory.
        } else {
            into.append(&mut waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_in_order_and_what_has_no_room_goes_back() {
        let mailbox = Mailbox::new(3);
        assert!((0..3).all(|n| mailbox.put(n).is_ok()));
        assert_eq!(mailbox.put(3), Err(3));
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert_eq!(mailbox.put(3), Ok(()));
        mailbox.take(&mut taken);
        assert_eq!(taken, [0, 1, 2, 3]);
        mailbox.take(&mut taken);
        assert_eq!(taken.len(), 4);
    }

    #[test]
    fn who_stops_in_the_middle_of_putting_does_not_hold_up_who_takes() {
        let mailbox = Mailbox::new(2);
        let putting = mailbox.waiting.lock().expect("nobody panicked");
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert!(taken.is_empty());
        drop(putting);
        mailbox.put(7).expect("there is room");
        mailbox.take(&mut taken);
        assert_eq!(taken, [7]);
    }
}
