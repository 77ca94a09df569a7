//! Where call records are written down first: lines with checksums, appended to files of bounded size and made durable.
//! Knows files and lines. What reads them, and which database gets them, is not its business.

use super::{CRASHED, CallRecord, farewell::Farewell};
use call::CallId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// The folder in the data directory.
pub const JOURNAL_FOLDER: &str = "journal";
/// Where lines go that cannot be read, for a person to look at.
const DAMAGED_FILE: &str = "damaged.log";
/// Lines kept in memory when the files cannot be written; beyond that the oldest is lost, and counted.
const HELD: usize = 4_096;
/// Hexadecimal digits of a line's checksum.
const CHECKSUM: usize = 8;

/// A place in the journal: which file, and how many of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) byte: u64,
}

/// What stands in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A call has begun, or what is known of a running one has changed.
    Begin { record: Box<CallRecord>, dialog: Option<Box<Farewell>> },
    /// A call is over, or was refused.
    End { record: Box<CallRecord> },
    /// Calls are running: their server lives.
    Alive { at_us: i64 },
    /// The peer of a call whose server died has been told.
    Told {
        #[serde(with = "super::call_id")]
        call: CallId,
    },
}

/// A call whose server died, as the journal remembers it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Orphan {
    pub(super) record: CallRecord,
    pub(super) dialog: Option<Farewell>,
}

/// What an earlier process left behind.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Calls without an end. They get one now.
    pub(super) crashed: Vec<Orphan>,
    /// Calls that were given an end by an earlier start, and whose peers may not know yet.
    pub(super) untold: Vec<Orphan>,
    /// When the dead process was last seen alive.
    pub(super) last_us: i64,
    /// Lines that were cut short or are damaged.
    pub(super) unreadable: usize,
}

/// What became of lines given to the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Appended {
    /// They are on the disk. Otherwise they wait in memory.
    pub(super) durable: bool,
    /// Lines that had to be given up.
    pub(super) lost: u64,
}

/// The journal, open for writing. One thread has it.
pub(super) struct Journal {
    folder: PathBuf,
    file: File,
    end: Position,
    limits: Limits,
    /// The first lines of calls that run, and of calls whose peers are yet to be told: a new file begins with them.
    open: BTreeMap<CallId, String>,
    held: VecDeque<String>,
}

/// How large files may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// One file. So much is reserved ahead, so that a full disk loses nothing.
    pub(super) segment: u64,
    /// All of them together: so much waits for a database that is down.
    pub(super) total: u64,
}

impl Journal {
    /// Opens the folder, reads what is in it, and begins a new file.
    pub(super) fn open(directory: &Path, limits: Limits) -> io::Result<(Self, Recovered)> {
        let folder = directory.join(JOURNAL_FOLDER);
        fs::create_dir_all(&folder)?;
        let segments = segments(&folder)?;
        let mut memory = Memory::default();
        for (index, segment) in segments.iter().enumerate() {
            memory.read(&folder, *segment, index + 1 == segments.len())?;
        }
        // A journal that somebody deleted goes on with numbers that no database has seen: milliseconds are never used up.
        let fresh = super::unix_us().unsigned_abs() / 1_000;
        let last = segments.last().copied().unwrap_or(fresh);
        let (number, file) = match begin_segment(&folder, last + 1, limits.segment, segments.is_empty()) {
            Ok(file) => (last + 1, file),
            // A full disk may not even hold a new name; what was reserved for the last one is still there.
            Err(_) if !segments.is_empty() => (last, open_segment(&folder, last)?),
            Err(error) => return Err(error),
        };
        let end = Position { segment: number, byte: file.metadata()?.len() };
        let recovered = memory.recovered();
        let mut journal = Self { folder, file, end, limits, open: BTreeMap::new(), held: VecDeque::new() };
        let untold = recovered.untold.iter().map(|orphan| Entry::Begin {
            record: Box::new(orphan.record.clone()),
            dialog: orphan.dialog.clone().map(Box::new),
        });
        for entry in untold.collect::<Vec<_>>() {
            journal.append(&[entry]);
        }
        Ok((journal, recovered))
    }

    /// Where the next line goes; everything before is on the disk.
    pub(super) const fn end(&self) -> Position {
        self.end
    }

    /// Whether calls run, as far as the journal knows.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Lines that are in memory only.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Appends lines and makes them durable together, with those that have been waiting.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Appended {
        for entry in entries {
            let Ok(line) = encode(entry) else { continue };
            self.remember(entry, &line);
            self.held.push_back(line);
        }
        if self.held.is_empty() {
            return Appended { durable: true, lost: 0 };
        }
        let durable = self.write_held().is_ok();
        let lost = self.held.len().saturating_sub(HELD);
        self.held.drain(..lost);
        Appended { durable, lost: lost as u64 }
    }

    fn remember(&mut self, entry: &Entry, line: &str) {
        match entry {
            Entry::Begin { record, .. } => drop(self.open.insert(record.call, line.to_owned())),
            // Its peer is to be told, whatever happens.
            Entry::End { record } if record.end_cause.as_deref() == Some(CRASHED) => {}
            Entry::End { record } => drop(self.open.remove(&record.call)),
            Entry::Told { call } => drop(self.open.remove(call)),
            Entry::Alive { .. } => {}
        }
    }

    /// Lines are written whole or not at all: what a full disk cut short is taken back.
    fn write_held(&mut self) -> io::Result<()> {
        if self.end.byte >= self.limits.segment {
            // Where that is impossible, the old file grows on.
            let _ = self.rotate();
        }
        if self.size() >= self.limits.total {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let text: String = self.held.iter().map(String::as_str).collect();
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // If even that fails, the torn line is recognised by its checksum.
            let _ = self.file.set_len(self.end.byte);
            return written;
        }
        self.end.byte += text.len() as u64;
        self.held.clear();
        Ok(())
    }

    /// Begins a new file with what is still needed of the old ones.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let number = self.end.segment + 1;
        let mut file = begin_segment(&self.folder, number, self.limits.segment, false)?;
        let text: String = self.open.values().map(String::as_str).collect();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            let _ = fs::remove_file(path_of(&self.folder, number));
            return Err(error);
        }
        self.file = file;
        self.end = Position { segment: number, byte: text.len() as u64 };
        Ok(())
    }

    /// Deletes the files before this one; a new one is begun if this one is half full and holds nothing that is needed.
    pub(super) fn forget(&mut self, applied: Position) {
        if applied == self.end && self.end.byte > self.limits.segment / 2 && self.rotate().is_err() {
            return;
        }
        for segment in segments(&self.folder).unwrap_or_default() {
            if segment < applied.segment && segment < self.end.segment {
                let _ = fs::remove_file(path_of(&self.folder, segment));
            }
        }
    }

    /// Bytes of all files.
    fn size(&self) -> u64 {
        let size = |segment| fs::metadata(path_of(&self.folder, segment)).map_or(0, |meta| meta.len());
        segments(&self.folder).unwrap_or_default().into_iter().map(size).sum()
    }
}

/// What one learns by reading the files in order.
#[derive(Default)]
struct Memory {
    calls: BTreeMap<CallId, Remembered>,
    last_us: i64,
    unreadable: usize,
}

struct Remembered {
    orphan: Orphan,
    /// It has an end, given by an earlier start.
    closed: bool,
}

impl Memory {
    fn read(&mut self, folder: &Path, segment: u64, is_last: bool) -> io::Result<()> {
        let bytes = fs::read(path_of(folder, segment))?;
        let mut damaged = Vec::new();
        let mut sound = 0;
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            match decode(line) {
                Some(entry) => {
                    sound = at;
                    self.note(entry);
                }
                None => damaged.push(line),
            }
        }
        self.unreadable += damaged.len();
        put_aside(folder, &damaged)?;
        if is_last && sound < bytes.len() {
            // A process that died while writing leaves a line without its end.
            open_segment(folder, segment)?.set_len(sound as u64)?;
        }
        Ok(())
    }

    fn note(&mut self, entry: Entry) {
        let seen = match &entry {
            Entry::Begin { record, .. } => record.invite_us,
            Entry::End { record } => record.end_us.unwrap_or_default(),
            Entry::Alive { at_us } => *at_us,
            Entry::Told { .. } => 0,
        };
        self.last_us = self.last_us.max(seen);
        match entry {
            Entry::Begin { record, dialog } => {
                let closed = record.end_us.is_some();
                let orphan = Orphan { record: *record, dialog: dialog.map(|dialog| *dialog) };
                self.calls.insert(orphan.record.call, Remembered { orphan, closed });
            }
            Entry::End { record } if record.end_cause.as_deref() == Some(CRASHED) => {
                if let Some(known) = self.calls.get_mut(&record.call) {
                    (known.orphan.record, known.closed) = (*record, true);
                }
            }
            Entry::End { record } => drop(self.calls.remove(&record.call)),
            Entry::Told { call } => drop(self.calls.remove(&call)),
            Entry::Alive { .. } => {}
        }
    }

    fn recovered(self) -> Recovered {
        let (untold, crashed): (Vec<_>, Vec<_>) = self.calls.into_values().partition(|call| call.closed);
        let orphans = |calls: Vec<Remembered>| calls.into_iter().map(|call| call.orphan).collect();
        Recovered {
            crashed: orphans(crashed),
            untold: orphans(untold),
            last_us: self.last_us,
            unreadable: self.unreadable,
        }
    }
}

/// Reads what the journal holds after a position, up to a position.
#[derive(Debug)]
pub(super) struct Tail {
    folder: PathBuf,
    pub(super) position: Position,
}

impl Tail {
    pub(super) fn new(directory: &Path, position: Position) -> Self {
        Self { folder: directory.join(JOURNAL_FOLDER), position }
    }

    /// The next entries, at most so many, and the position after them. Damaged lines are stepped over: they were put
    /// aside at the start.
    pub(super) fn read(&self, until: Position, most: usize) -> io::Result<(Vec<Entry>, Position)> {
        let mut position = self.position;
        if position.segment > until.segment {
            // The journal was deleted, and begins anew.
            position = Position::default();
        }
        let mut entries = Vec::new();
        let first = position.segment;
        for segment in segments(&self.folder)? {
            if segment < first || segment > until.segment || entries.len() >= most {
                continue;
            }
            if segment != position.segment {
                position = Position { segment, byte: 0 };
            }
            let end = if segment == until.segment { until.byte } else { u64::MAX };
            position.byte = self.read_segment(position, end, most, &mut entries)?;
        }
        Ok((entries, position))
    }

    fn read_segment(
        &self,
        from: Position,
        end: u64,
        most: usize,
        entries: &mut Vec<Entry>,
    ) -> io::Result<u64> {
        let mut file = File::open(path_of(&self.folder, from.segment))?;
        file.seek(SeekFrom::Start(from.byte))?;
        let mut lines = BufReader::new(file.take(end.saturating_sub(from.byte)));
        let (mut at, mut line) = (from.byte, Vec::new());
        while entries.len() < most {
            line.clear();
            let length = lines.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            at += length as u64;
            entries.extend(decode(&line));
        }
        Ok(at)
    }
}

/// A line: the first digits of the SHA-256 of what follows, a blank, JSON, the end of the line.
fn encode(entry: &Entry) -> serde_json::Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{} {json}\n", checksum(json.as_bytes())))
}

/// What a line says; `None` if it was cut short or changed.
fn decode(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(CHECKSUM)?;
    let json = json.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == sum).then(|| serde_json::from_slice(json).ok())?
}

fn checksum(bytes: &[u8]) -> String {
    crate::hex::hex(&Sha256::digest(bytes)[..CHECKSUM / 2])
}

fn put_aside(folder: &Path, lines: &[&[u8]]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join(DAMAGED_FILE))?;
    for line in lines {
        file.write_all(line.strip_suffix(b"\n").unwrap_or(line))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn path_of(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:013}.log"))
}

/// The numbers of the files there are, in order.
fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        numbers.extend::<Option<u64>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn open_segment(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).open(path_of(folder, number))
}

/// A new file, with room reserved beyond its end, which appending then fills; its name is on the disk too. A file system
/// that cannot reserve is no reason to stop, nor is a full one where there is no other file: the journal then needs free space
/// like everything else.
fn begin_segment(folder: &Path, number: u64, reserve: u64, only: bool) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create_new(true).open(path_of(folder, number))?;
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(&file, flags, 0, reserve)
        && error == rustix::io::Errno::NOSPC
        && !only
    {
        let _ = fs::remove_file(path_of(folder, number));
        return Err(error.into());
    }
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Direction;

    const LIMITS: Limits = Limits { segment: 4_096, total: 1 << 20 };

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn begin(call: u64) -> Entry {
        let record = CallRecord::new(CallId(call), Direction::Inbound, format!("{call}@x"), 1_000);
        Entry::Begin { record: Box::new(record), dialog: None }
    }

    fn end(call: u64) -> Entry {
        let mut record = CallRecord::new(CallId(call), Direction::Inbound, format!("{call}@x"), 1_000);
        (record.end_us, record.end_cause) = (Some(2_000), Some("caller_hung_up".into()));
        Entry::End { record: Box::new(record) }
    }

    fn everything(directory: &Path, until: Position) -> Vec<Entry> {
        Tail::new(directory, Position::default()).read(until, usize::MAX).expect("it is readable").0
    }

    #[test]
    fn every_cut_of_the_last_line_is_noticed_and_costs_that_line_alone() {
        let directory = directory("torn");
        let (mut journal, _) = Journal::open(&directory, LIMITS).expect("it opens");
        journal.append(&[begin(1), begin(2)]);
        let whole = journal.end();
        journal.append(&[end(1)]);
        let path = path_of(&directory.join(JOURNAL_FOLDER), whole.segment);
        let bytes = fs::read(&path).expect("it is there");
        drop(journal);
        for cut in whole.byte as usize..bytes.len() {
            for other in segments(&directory.join(JOURNAL_FOLDER)).expect("readable") {
                fs::remove_file(path_of(&directory.join(JOURNAL_FOLDER), other)).expect("ours");
            }
            fs::write(&path, &bytes[..cut]).expect("writable");
            let (journal, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
            assert_eq!(recovered.crashed.len(), 2, "cut at {cut}");
            assert_eq!(recovered.unreadable, usize::from(cut > whole.byte as usize), "cut at {cut}");
            assert_eq!(everything(&directory, journal.end()).len(), 2, "cut at {cut}");
        }
        fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn a_changed_byte_in_the_middle_costs_its_line_and_is_put_aside() {
        let directory = directory("changed");
        let (mut journal, _) = Journal::open(&directory, LIMITS).expect("it opens");
        journal.append(&[begin(1), begin(2), begin(3)]);
        let path = path_of(&directory.join(JOURNAL_FOLDER), journal.end().segment);
        let end = journal.end();
        drop(journal);
        let mut bytes = fs::read(&path).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("writable");
        assert_eq!(everything(&directory, end).len(), 2);
        let (_, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
        assert_eq!((recovered.crashed.len(), recovered.unreadable), (2, 1));
        let aside = fs::read_to_string(directory.join(JOURNAL_FOLDER).join(DAMAGED_FILE)).expect("put aside");
        assert_eq!(aside.lines().count(), 1);
        fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn files_are_deleted_when_they_are_read_and_running_calls_move_on() {
        let directory = directory("rotate");
        let (mut journal, _) = Journal::open(&directory, LIMITS).expect("it opens");
        journal.append(&[begin(1)]);
        for call in 2..100 {
            journal.append(&[begin(call), end(call)]);
            journal.forget(journal.end());
        }
        // The file before a new one goes once the new one has been looked at.
        journal.forget(journal.end());
        let folder = directory.join(JOURNAL_FOLDER);
        assert!(journal.end().segment > 5, "{:?}", journal.end());
        assert_eq!(segments(&folder).expect("readable").len(), 1);
        let end = journal.end();
        drop(journal);
        let (_, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
        let crashed: Vec<_> = recovered.crashed.iter().map(|orphan| orphan.record.call.0).collect();
        assert_eq!(crashed, [1], "{end:?}");
        fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn a_peer_that_was_not_told_before_the_next_crash_is_told_after_it() {
        let directory = directory("untold");
        let (mut journal, _) = Journal::open(&directory, LIMITS).expect("it opens");
        journal.append(&[begin(1)]);
        drop(journal);
        let (mut journal, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
        let mut record = recovered.crashed[0].record.clone();
        (record.end_us, record.end_cause) = (Some(5), Some(CRASHED.into()));
        journal.append(&[Entry::End { record: Box::new(record) }]);
        drop(journal);
        let (mut journal, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
        assert_eq!((recovered.crashed.len(), recovered.untold.len()), (0, 1));
        journal.append(&[Entry::Told { call: CallId(1) }]);
        drop(journal);
        let (_, recovered) = Journal::open(&directory, LIMITS).expect("it opens");
        assert_eq!((recovered.crashed.len(), recovered.untold.len()), (0, 0));
        fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn beyond_its_limit_the_journal_holds_and_then_gives_up_the_oldest() {
        let directory = directory("limit");
        let limits = Limits { segment: 1_024, total: 4_096 };
        let (mut journal, _) = Journal::open(&directory, limits).expect("it opens");
        let mut lost = 0;
        for call in 0..(HELD as u64 + 100) {
            lost += journal.append(&[end(call)]).lost;
        }
        assert_eq!(journal.held(), HELD);
        assert!(lost > 0 && lost < 100, "{lost}");
        journal.rotate().expect("there is room");
        journal.forget(Position { segment: journal.end().segment, byte: 0 });
        assert_eq!(journal.append(&[]), Appended { durable: true, lost: 0 });
        fs::remove_dir_all(directory).expect("ours");
    }
}
