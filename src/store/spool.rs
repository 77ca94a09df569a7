//! Where call records wait while the database cannot take them: one JSON line each, appended to a file.
//! Knows files and lines. Knows nothing of the database; replaying is idempotent because a record names its call.

use super::CallRecord;
use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Lines kept in memory when even the file cannot be written; beyond that the oldest is lost, and counted.
const UNWRITTEN: usize = 4_096;

/// The file's name in the data directory.
pub const SPOOL_FILE: &str = "cdr-spool.jsonl";

/// What became of a record given to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spooled {
    /// On disk.
    Written,
    /// In memory only; the next replay takes it.
    Held,
    /// In memory, at the price of the oldest one, which is lost.
    HeldLosingOne,
}

/// The spool file, opened once. Room for it is reserved ahead so that it still works on a full disk.
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    reserve: u64,
    unwritten: VecDeque<String>,
}

impl Spool {
    /// Opens or creates the file in `directory` and reserves `reserve` bytes for it.
    pub(super) fn open(directory: &Path, reserve: u64) -> io::Result<Self> {
        let path = directory.join(SPOOL_FILE);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        end_torn_line(&mut file)?;
        let spool = Self { path, file, reserve, unwritten: VecDeque::new() };
        spool.reserve();
        Ok(spool)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.file.metadata().map(|meta| meta.len() == 0).unwrap_or(false)
    }

    /// Records that are only in memory.
    pub(super) fn held(&self) -> usize {
        self.unwritten.len()
    }

    /// Appends a record and makes it durable.
    pub(super) fn append(&mut self, record: &CallRecord) -> Spooled {
        let Ok(mut line) = serde_json::to_string(record) else { return Spooled::Held };
        line.push('\n');
        if self.write(&line).is_ok() {
            return Spooled::Written;
        }
        self.unwritten.push_back(line);
        if self.unwritten.len() > UNWRITTEN {
            self.unwritten.pop_front();
            return Spooled::HeldLosingOne;
        }
        Spooled::Held
    }

    /// Gives every waiting record to `take`, then forgets them. When `take` fails, all of them go on waiting.
    pub(super) fn replay<E: From<io::Error>>(
        &mut self,
        take: impl FnOnce(&mut dyn Iterator<Item = CallRecord>) -> Result<(), E>,
    ) -> Result<Replayed, E> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut replayed = Replayed::default();
        let mut unreadable = Vec::new();
        let lines = BufReader::new(&self.file).split(b'\n').map_while(Result::ok);
        let held = self.unwritten.iter().map(|line| line.trim_end().as_bytes().to_vec());
        let mut records =
            lines.chain(held).filter(|line| !line.is_empty()).filter_map(
                |line| match serde_json::from_slice(&line) {
                    Ok(record) => {
                        replayed.records += 1;
                        Some(record)
                    }
                    Err(_) => {
                        unreadable.push(line);
                        None
                    }
                },
            );
        take(&mut records)?;
        drop(records);
        replayed.unreadable = unreadable.len();
        self.keep_unreadable(&unreadable)?;
        self.clear()?;
        Ok(replayed)
    }

    /// Lines that are not records are put aside, for a person to look at, instead of being lost or read for ever.
    fn keep_unreadable(&self, lines: &[Vec<u8>]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let aside = self.path.with_extension("unreadable");
        let mut file = OpenOptions::new().append(true).create(true).open(aside)?;
        for line in lines {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_data()?;
        self.unwritten.clear();
        self.reserve();
        Ok(())
    }

    /// A line is written whole or not at all: what a full disk cut short is taken back.
    fn write(&mut self, line: &str) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // If even that fails, the torn line is recognised as unreadable at replay.
            let _ = self.file.set_len(before);
        }
        written
    }

    /// Blocks beyond the end of the file, which appending then fills. A file system that cannot do it is no reason to
    /// stop: the spool then needs free space like everything else.
    fn reserve(&self) {
        if self.reserve == 0 {
            return;
        }
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        if let Err(error) = rustix::fs::fallocate(&self.file, flags, 0, self.reserve) {
            tracing::warn!(bytes = self.reserve, %error, "no room could be reserved for {SPOOL_FILE}");
        }
    }
}

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    /// Records given back.
    pub(super) records: usize,
    /// Lines put aside.
    pub(super) unreadable: usize,
}

/// A process that died while writing leaves a line without its end; the next record must not be glued to it.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}
