//! What the server's records say of calls, beside what their callers know.
//! Knows the store. Which calls there were is told by the callers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};
use tandem::store::{CallFilter, CallRecord, DatabaseUrl, Reader, StoreError};

/// How long records may take to be in the database after the fault is over.
const WRITTEN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How many records are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Answered calls.
    pub(super) answered: usize,
    /// Of those, without a record.
    pub(super) lost: usize,
    /// With more than one.
    pub(super) doubled: usize,
    /// Whose record never ends.
    pub(super) endless: usize,
}

/// Waits until every answered call has a record with an end, in vain at most for a while, and returns all of them.
pub(super) fn read(
    data: &Path,
    url: &DatabaseUrl,
    answered: &[String],
) -> Result<(Tally, Vec<CallRecord>), String> {
    let patience = Instant::now() + WRITTEN;
    loop {
        let records = all(data, url).map_err(|error| error.to_string())?;
        let tally = compare(answered, &records);
        if (tally.lost, tally.endless) == (0, 0) || Instant::now() > patience {
            return Ok((tally, records));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn all(data: &Path, url: &DatabaseUrl) -> Result<Vec<CallRecord>, StoreError> {
    let mut records = Vec::new();
    let every = |page: Vec<CallRecord>| -> Result<(), StoreError> {
        records.extend(page);
        Ok(())
    };
    Reader::of(data, url)?.each(&CallFilter::default(), every)?;
    Ok(records)
}

fn compare(answered: &[String], records: &[CallRecord]) -> Tally {
    let (mut count, mut ends) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for record in records {
        *count.entry(&record.sip_call_id).or_default() += 1;
        if record.end_us.is_some() {
            ends.insert(record.sip_call_id.as_str());
        }
    }
    let mut tally = Tally { answered: answered.len(), ..Tally::default() };
    for call in answered.iter().map(String::as_str) {
        let count = count.get(call).copied().unwrap_or_default();
        tally.lost += usize::from(count == 0);
        tally.doubled += usize::from(count > 1);
        tally.endless += usize::from(count > 0 && !ends.contains(call));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::{
        CallId,
        cdr::{Arrival, Cdr},
    };

    fn record(number: u64, sip_call_id: &str, ends: bool) -> CallRecord {
        let arrival = Arrival {
            call: CallId(number),
            sip_call_id: sip_call_id.to_owned(),
            invited_at_us: 1,
            trunk: String::new(),
            caller: String::new(),
            called: String::new(),
        };
        let mut record = CallRecord::from(&Cdr::new(arrival));
        record.end_us = ends.then_some(2);
        record
    }

    #[test]
    fn every_way_in_which_a_record_can_be_wrong_is_counted() {
        let answered = ["a", "b", "c", "d"].map(str::to_owned);
        let records =
            [record(1, "a", true), record(2, "b", true), record(3, "b", true), record(4, "c", false)];
        let tally = compare(&answered, &records);
        assert_eq!(tally, Tally { answered: 4, lost: 1, doubled: 1, endless: 1 });
    }
}
