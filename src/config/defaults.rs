//! What holds when the config file says nothing, where the machines in `crates/` have no default of their own.
//! `tandem.toml` beside this file repeats each value with its reason; a test compares the two.

use std::{ops::RangeInclusive, time::Duration};

pub(super) const DATA_DIR: &str = "data";
/// Within the data directory.
pub(super) const RECORDINGS: &str = "recordings";
/// Bytes of the reason to record: a few words in every record.
pub(super) const CONSENT: usize = 100;
/// Calls at the same time. Enough for a team to try, and within a usual limit of 1,024 open files.
pub(super) const PORTS: u16 = 50;
pub(super) const PORTS_RANGE: RangeInclusive<i64> = 1..=20_000;
/// As long as the longest call: a stop cuts nobody off. A second signal does not wait.
pub(super) const DRAIN: Duration = Duration::from_secs(1800);

/// Every interface, so that any soft phone on the network can call.
pub(super) const SIP_LISTEN: [&str; 2] = ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"];
pub(super) const USER_AGENT: &str = concat!("Tandem/", env!("CARGO_PKG_VERSION"));

pub(super) const RTP_ADDRESS: &str = "0.0.0.0";
/// Below 32768, where Linux begins to hand out ports by itself.
pub(super) const RTP_PORTS: &str = "20000-29999";

/// Loopback: there is no login.
pub(super) const HTTP_LISTEN: &str = "127.0.0.1:8080";

pub(super) const STT_CONNECT: Duration = Duration::from_millis(1500);

pub(super) const OPENAI_URL: &str = "https://api.openai.com/v1";
