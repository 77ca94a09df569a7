//! Bounded queues between threads, for where a media thread is at one of the ends.
//! Knows nothing of what they carry.
//!
//! The queues of the standard library have whoever puts or takes spin while the other one is in the middle of it, and a
//! real-time thread spins for ever: who it waits for does not get the core. Here it sleeps until the other one is done, a
//! few instructions later; [`Receiver::take_all`] does not even do that.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError},
    },
    time::{Duration, Instant},
};

/// A queue with room for so many.
pub fn bounded<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), senders: 1, is_read: true, takers: 0, putters: 0 };
    let queue =
        Arc::new(Queue { state: Mutex::new(state), came: Condvar::new(), left: Condvar::new(), room });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

/// Puts things in. Clones put into the same queue.
pub struct Sender<T>(Arc<Queue<T>>);

/// Takes them out. Several threads may, each thing once.
pub struct Receiver<T>(Arc<Queue<T>>);

struct Queue<T> {
    state: Mutex<State<T>>,
    came: Condvar,
    left: Condvar,
    room: usize,
}

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    is_read: bool,
    /// Who sleeps until something comes, and who until something leaves: nobody is woken in vain.
    takers: usize,
    putters: usize,
}

impl<T> Queue<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, item: T) {
        state.items.push_back(item);
        let is_awaited = state.takers > 0;
        drop(state);
        if is_awaited {
            self.came.notify_one();
        }
    }

    fn next(&self, state: &mut State<T>) -> Result<T, TryRecvError> {
        let item = state.items.pop_front();
        if item.is_some() && state.putters > 0 {
            self.left.notify_one();
        }
        item.ok_or(if state.senders > 0 { TryRecvError::Empty } else { TryRecvError::Disconnected })
    }
}

impl<T> Sender<T> {
    /// Puts something in, if there is room. Sleeps at most as long as another one puts or takes.
    ///
    /// # Errors
    /// Gives it back when there is no room, or nobody to take it.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let state = self.0.state();
        if !state.is_read {
            return Err(TrySendError::Disconnected(item));
        }
        if state.items.len() >= self.0.room {
            return Err(TrySendError::Full(item));
        }
        self.0.put(state, item);
        Ok(())
    }

    /// Puts something in; sleeps until there is room.
    ///
    /// # Errors
    /// Gives it back when there is nobody to take it.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state();
        while state.is_read && state.items.len() >= self.0.room {
            state.putters += 1;
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.putters -= 1;
        }
        if !state.is_read {
            return Err(SendError(item));
        }
        self.0.put(state, item);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.came.notify_all();
        }
    }
}

impl<T> Receiver<T> {
    /// The next thing; sleeps until there is one.
    ///
    /// # Errors
    /// When nothing is left and nobody can put anything in any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state();
        loop {
            match self.0.next(&mut state) {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => {
                    state.takers += 1;
                    state = self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.takers -= 1;
                }
            }
        }
    }

    /// The same, for so long at most.
    ///
    /// # Errors
    /// When nothing came in this time; or when nothing is left and nobody can put anything in any more.
    pub fn recv_timeout(&self, patience: Duration) -> Result<T, RecvTimeoutError> {
        let until = Instant::now() + patience;
        let mut state = self.0.state();
        loop {
            match self.0.next(&mut state) {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            state.takers += 1;
            state = self.0.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.takers -= 1;
        }
    }

    /// The next thing, if there is one now.
    ///
    /// # Errors
    /// When there is none; and whether there may be one later.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.next(&mut self.0.state())
    }

    /// Takes all there is, behind what `into` holds. Never sleeps: finds nothing while somebody is putting, who is to
    /// wake this thread when that is done.
    pub fn take_all(&self, into: &mut VecDeque<T>) {
        let mut state = match self.0.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if into.is_empty() {
            std::mem::swap(&mut state.items, into); // Both keep their memory.
        } else {
            into.append(&mut state.items);
        }
        if state.putters > 0 {
            self.0.left.notify_all();
        }
    }

    /// All things that come, until nobody can put anything in any more.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_read = false;
        let items = std::mem::take(&mut state.items);
        self.0.left.notify_all();
        drop(state);
        drop(items); // What they do when they end is not done under the lock.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn everything_comes_out_once_in_order_and_what_has_no_room_goes_back() {
        let (sender, receiver) = bounded(3);
        assert!((0..3).all(|n| sender.try_send(n).is_ok()));
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!((receiver.recv(), receiver.try_recv()), (Ok(0), Ok(1)));
        sender.try_send(4).expect("there is room");
        let mut taken = VecDeque::from([9]);
        receiver.take_all(&mut taken);
        assert_eq!(taken, [9, 2, 4]);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    }

    #[test]
    fn who_stops_in_the_middle_of_putting_does_not_hold_up_who_takes_all() {
        let (sender, receiver) = bounded(2);
        let putting = sender.0.state.lock().expect("nobody panicked");
        let mut taken = VecDeque::new();
        receiver.take_all(&mut taken);
        assert!(taken.is_empty());
        drop(putting);
        sender.try_send(7).expect("there is room");
        receiver.take_all(&mut taken);
        assert_eq!(taken, [7]);
    }

    #[test]
    fn an_end_that_is_gone_is_told_at_the_other_after_what_was_left() {
        let (sender, receiver) = bounded(2);
        let other = sender.clone();
        sender.try_send(1).expect("there is room");
        drop(sender);
        assert_eq!((receiver.recv(), receiver.try_recv()), (Ok(1), Err(TryRecvError::Empty)));
        let waiting =
            thread::spawn(move || (receiver.recv(), receiver.recv_timeout(Duration::from_secs(60))));
        drop(other);
        assert_eq!(waiting.join().expect("it ends"), (Err(RecvError), Err(RecvTimeoutError::Disconnected)));

        let (sender, receiver) = bounded(1);
        sender.try_send(1).expect("there is room");
        let waiting = thread::spawn(move || (sender.send(2), sender.try_send(3)));
        drop(receiver);
        assert_eq!(waiting.join().expect("it ends"), (Err(SendError(2)), Err(TrySendError::Disconnected(3))));
    }

    #[test]
    fn many_who_put_and_several_who_take_lose_nothing() {
        let (sender, receiver) = bounded(5);
        let receiver = Arc::new(receiver);
        let taking: Vec<_> = (0..3)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                thread::spawn(move || receiver.iter().collect::<Vec<u32>>())
            })
            .collect();
        let putting: Vec<_> = (0..4)
            .map(|part| {
                let sender = sender.clone();
                thread::spawn(move || (0..1_000).all(|n| sender.send(part * 1_000 + n).is_ok()))
            })
            .collect();
        drop(sender);
        assert!(putting.into_iter().all(|thread| thread.join().expect("it ends")));
        let mut taken: Vec<u32> =
            taking.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..4_000));
    }
}
