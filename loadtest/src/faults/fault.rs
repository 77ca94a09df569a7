//! What can fail beside a call: how it is prepared, how it begins and how it ends.
//! Knows disks, databases, collectors and pipes. What callers notice of it is measured elsewhere.

use super::{
    collector::Collector,
    disk::{HangingDisk, SmallDisk},
};
use crate::{bench::Bench, postgres_server::PostgresServer, processes::Extras, report::Report};
use clap::ValueEnum;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tandem::{
    secret::Secret,
    store::{DatabaseUrl, PostgresUrl},
};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// Nothing: what the others are compared with.
    Nothing,
    /// The disk with the data directory is full.
    DiskFull,
    /// Whatever reaches for a file in the data directory waits.
    DiskHangs,
    /// The database server is ended as by a crash, and started again later.
    DatabaseStopped,
    /// The database server stands still: connections are there, and nothing answers.
    DatabaseHangs,
    /// The trace collector ends.
    CollectorDead,
    /// The trace collector takes requests and never answers.
    CollectorSilent,
    /// Nobody reads what the server logs.
    LogBlocked,
    /// The server is killed at random moments, and started again.
    Kill,
}

impl Fault {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::DiskFull,
        Self::DiskHangs,
        Self::DatabaseStopped,
        Self::DatabaseHangs,
        Self::CollectorDead,
        Self::CollectorSilent,
        Self::LogBlocked,
        Self::Kill,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Nothing => "Nothing fails",
            Self::DiskFull => "The disk is full",
            Self::DiskHangs => "The disk hangs",
            Self::DatabaseStopped => "The database is stopped",
            Self::DatabaseHangs => "The database hangs",
            Self::CollectorDead => "The trace collector is dead",
            Self::CollectorSilent => "The trace collector never answers",
            Self::LogBlocked => "The log's pipe is blocked",
            Self::Kill => "The server is killed (kill -9)",
        }
    }
}

/// A fault that can begin.
pub(super) enum Prepared {
    Nothing,
    Full(SmallDisk),
    Hangs(HangingDisk),
    Database { server: PostgresServer, hangs: bool },
    Collector { collector: Collector, dies: bool },
    Log(Arc<AtomicBool>),
}

impl Prepared {
    pub(super) fn new(fault: Fault, bench: &Bench) -> Result<Self, String> {
        let database = |hangs| {
            let server = PostgresServer::start("faults").ok_or("PostgreSQL is not installed")?;
            Ok(Self::Database { server, hangs })
        };
        match fault {
            Fault::Nothing | Fault::Kill => Ok(Self::Nothing),
            Fault::DiskFull => Ok(Self::Full(SmallDisk::mount(bench.folder.join("small-disk"))?)),
            Fault::DiskHangs => {
                let data = bench.folder.join("hanging-disk");
                Ok(Self::Hangs(HangingDisk::prepare(&bench.folder, data)?))
            }
            Fault::DatabaseStopped => database(false),
            Fault::DatabaseHangs => database(true),
            Fault::CollectorDead => Ok(Self::Collector { collector: Collector::start()?, dies: true }),
            Fault::CollectorSilent => Ok(Self::Collector { collector: Collector::start()?, dies: false }),
            Fault::LogBlocked => Ok(Self::Log(Arc::default())),
        }
    }

    /// What the server is to be started with. Its log is that of everyday; a blocked one has enough to say to block.
    pub(super) fn extras(&self) -> Extras {
        let log = Some(if matches!(self, Self::Log(_)) { "trace" } else { "info" });
        let extras = Extras { log, ..Extras::default() };
        match self {
            Self::Nothing => extras,
            Self::Full(disk) => Extras { data: Some(disk.folder.join("data")), ..extras },
            Self::Hangs(disk) => {
                Extras { data: Some(disk.below.clone()), environment: disk.environment(), ..extras }
            }
            Self::Database { server, .. } => {
                Extras { config: format!("[store]\ndatabase = \"{}\"\n", server.url()), ..extras }
            }
            Self::Collector { collector, .. } => Extras { config: collector.config(), ..extras },
            Self::Log(unread) => Extras { unread: Arc::clone(unread), ..extras },
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), String> {
        match self {
            Self::Nothing => {}
            Self::Full(disk) => disk.fill()?,
            Self::Hangs(disk) => disk.hang()?,
            Self::Database { server, hangs: true } => server.hang(),
            Self::Database { server, hangs: false } => server.stop(),
            Self::Collector { collector, .. } if collector.taken() == 0 => {
                return Err("the collector was told nothing even before it failed".to_owned());
            }
            Self::Collector { collector, dies: true } => collector.die(),
            Self::Collector { collector, dies: false } => collector.fall_silent(),
            Self::Log(unread) => unread.store(true, Ordering::Relaxed),
        }
        Ok(())
    }

    /// Things are as they were; a collector stays as it is.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self {
            Self::Nothing | Self::Collector { .. } => {}
            Self::Full(disk) => disk.relieve(),
            Self::Hangs(disk) => disk.go_on(),
            Self::Database { server, hangs: true } => server.go_on(),
            Self::Database { server, hangs: false } => server.run(),
            Self::Log(unread) => unread.store(false, Ordering::Relaxed),
        }
        Ok(())
    }

    /// Where the records are.
    pub(super) fn database(&self) -> Result<DatabaseUrl, String> {
        match self {
            Self::Database { server, .. } => {
                PostgresUrl::new(Secret::new(server.url())).map(DatabaseUrl::Postgres)
            }
            Self::Nothing | Self::Full(_) | Self::Hangs(_) | Self::Collector { .. } | Self::Log(_) => {
                Ok(DatabaseUrl::Sqlite)
            }
        }
    }

    /// What one must know to read the figures.
    pub(super) fn explain(&self, group: &str, report: &mut Report) {
        let note = match self {
            Self::Full(_) => "a file system of 160 MB in memory, filled to its last byte",
            Self::Hangs(_) => {
                "every write, sync, open and rename below the data directory waits, whichever thread asks"
            }
            Self::Log(_) => "the server logs at trace meanwhile, so that its pipe fills at once",
            Self::Nothing | Self::Database { .. } | Self::Collector { .. } => return,
        };
        report.note(format!("{group}: {note}."));
    }
}
