//! The way from the SIP task to the calls, each on its thread.
//! Knows the threads' queues. A thread that is behind holds up nobody but its own calls.

use super::{Admission, UNDELIVERED};
use crate::{call_actor::sip_input, media_threads::Command};
use sip::{DialogKey, Event};

impl Admission {
    /// Passes what the endpoint reports to the call it is about.
    pub(super) fn route(&mut self, event: Event) {
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

    pub(super) fn tell_all(&mut self, command: impl Fn(DialogKey) -> Command) {
        let live = self.dialogs.iter().filter(|(_, dialog)| dialog.live);
        let live: Vec<_> = live.map(|(key, dialog)| (*key, dialog.thread)).collect();
        for (key, thread) in live {
            self.tell(thread, command(key));
        }
    }

    /// Commands for one thread arrive in order, however full its queue is.
    pub(super) fn tell(&mut self, thread: usize, command: Command) {
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
    pub(super) fn deliver(&mut self) {
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
}
