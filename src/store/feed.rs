//! The journal for others who must hear of every call: each reads at its own pace, and nothing is deleted before it has.
//! Knows positions. What a reader does with a call is its own business.

use super::{
    CallRecord,
    journal::{Entry, Position, Tail},
    recorder::Progress,
};
use std::{io, sync::Arc};

/// Entries of one reading.
const AT_ONCE: usize = 256;

/// What the journal says of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// It has begun.
    Began(Box<CallRecord>),
    /// It is over, or was refused.
    Ended(Box<CallRecord>),
}

/// A place in the journal, for a reader to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The file's number.
    pub segment: u64,
    /// Bytes of it.
    pub byte: u64,
}

/// One reader of the journal.
pub struct Feed {
    name: String,
    tail: Tail,
    progress: Arc<Progress>,
}

impl Feed {
    pub(super) fn new(name: String, tail: Tail, progress: Arc<Progress>) -> Self {
        progress.applied(&name, tail.position);
        Self { name, tail, progress }
    }

    /// What has come since the last [`Feed::done`], and the mark after it. Damaged lines are left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(&self) -> io::Result<(Vec<CallEvent>, Mark)> {
        let (entries, position) = self.tail.read(self.progress.end(), AT_ONCE)?;
        let events = entries.into_iter().filter_map(|entry| match entry {
            Entry::Begin { record, .. } => Some(CallEvent::Began(record)),
            Entry::End { record } => Some(CallEvent::Ended(record)),
            Entry::Alive { .. } | Entry::Told { .. } => None,
        });
        Ok((events.collect(), Mark { segment: position.segment, byte: position.byte }))
    }

    /// Where it is.
    pub fn mark(&self) -> Mark {
        Mark { segment: self.tail.position.segment, byte: self.tail.position.byte }
    }

    /// Everything before the mark has been taken care of, for good.
    pub fn done(&mut self, mark: Mark) {
        self.tail.position = Position { segment: mark.segment, byte: mark.byte };
        self.progress.applied(&self.name, self.tail.position);
    }
}
