//! The SIP messages of each call, for people who look for a fault: kept in memory, bounded, without secrets.
//! Knows Call-IDs and when a call begins and ends. Judges nothing.

use super::{hep::Way, masked::masked};
use serde::{Deserialize, Serialize};
use sip::{DialogKey, Flow};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Messages kept of one call; the oldest fall off. A call has about ten, one of hours with session timers hundreds.
const MESSAGES: usize = 64;
/// Bytes kept of one message: all of an INVITE with a rich offer.
const TEXT: usize = 4 * 1024;
/// Calls remembered after their end; the oldest are forgotten first.
pub const ENDED: usize = 500;
/// Refused calls remembered. They are apart, so that a scanner cannot make us forget a call.
pub const REFUSED: usize = 64;
/// Bytes of all texts together.
const BYTES: usize = 32 * 1024 * 1024;
/// What a message costs besides its text.
const OVERHEAD: usize = 128;

/// One call's messages as they came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipLadder {
    /// The Call-ID header.
    pub sip_call_id: String,
    /// When its first message was seen, in microseconds since the Unix epoch.
    pub began_us: i64,
    /// In order.
    pub messages: VecDeque<SipMessage>,
    /// Older messages that are not kept any more.
    pub fallen_off: u64,
    /// Whether the call is over.
    pub ended: bool,
}

/// A message that went by. Credentials, keys and digits are masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipMessage {
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
    /// To us.
    pub incoming: bool,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// Our address and port.
    pub local: String,
    /// The peer's.
    pub remote: String,
    /// The message, or its beginning.
    pub text: String,
    /// The text is not whole.
    pub cut: bool,
}

impl std::fmt::Debug for SipMessage {
    /// Without the text, which is the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SipMessage({} bytes, {})", self.text.len(), self.remote)
    }
}

/// The ladders of the process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Ladders(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<String, Kept>,
    dialogs: HashMap<DialogKey, String>,
    ended: VecDeque<String>,
    refused: VecDeque<String>,
    bytes: usize,
    fallen_off: u64,
}

#[derive(Debug, Default)]
struct Kept {
    ladder: SipLadder,
    /// Dialogs that are not over.
    dialogs: usize,
}

impl Ladders {
    /// What is remembered of a call.
    pub fn ladder(&self, sip_call_id: &str) -> Option<SipLadder> {
        self.lock().calls.get(sip_call_id).map(|kept| kept.ladder.clone())
    }

    /// Messages that fell off, of all calls.
    pub fn fallen_off(&self) -> u64 {
        self.lock().fallen_off
    }

    /// A call begins.
    pub(super) fn begin(&self, dialog: DialogKey, call_id: &str) {
        let mut table = self.lock();
        if table.dialogs.insert(dialog, call_id.to_owned()).is_none() {
            let kept = table.kept(call_id);
            kept.dialogs += 1;
            kept.ladder.ended = false;
            table.ended.retain(|ended| ended != call_id);
            table.refused.retain(|refused| refused != call_id);
        }
    }

    /// A call was refused without a dialog.
    pub(super) fn refused(&self, call_id: &str) {
        let mut table = self.lock();
        if table.calls.contains_key(call_id) {
            return;
        }
        table.kept(call_id).ladder.ended = true;
        table.refused.push_back(call_id.to_owned());
        if table.refused.len() > REFUSED
            && let Some(oldest) = table.refused.pop_front()
        {
            table.forget(&oldest);
        }
    }

    /// A dialog is over; its call is when no other has the same Call-ID.
    pub(super) fn end(&self, dialog: DialogKey) {
        let mut table = self.lock();
        let Some(call_id) = table.dialogs.remove(&dialog) else { return };
        let Some(kept) = table.calls.get_mut(&call_id) else { return };
        kept.dialogs = kept.dialogs.saturating_sub(1);
        if kept.dialogs > 0 {
            return;
        }
        kept.ladder.ended = true;
        table.ended.push_back(call_id);
        if table.ended.len() > ENDED
            && let Some(oldest) = table.ended.pop_front()
        {
            table.forget(&oldest);
        }
    }

    /// A message goes by: kept if its call is one of ours.
    pub(super) fn note(&self, (flow, way): (&Flow, Way), call_id: &str, bytes: &[u8]) {
        let mut table = self.lock();
        if table.calls.contains_key(call_id) {
            table.note(call_id, message(flow, way, bytes));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn kept(&mut self, call_id: &str) -> &mut Kept {
        self.calls.entry(call_id.to_owned()).or_insert_with(|| {
            let ladder = SipLadder { sip_call_id: call_id.to_owned(), ..SipLadder::default() };
            Kept { ladder, dialogs: 0 }
        })
    }

    fn note(&mut self, call_id: &str, message: SipMessage) {
        self.bytes += cost(&message);
        while self.bytes > BYTES {
            let Some(oldest) = self.refused.pop_front().or_else(|| self.ended.pop_front()) else { break };
            self.forget(&oldest);
        }
        let over = self.bytes > BYTES;
        let Some(Kept { ladder, .. }) = self.calls.get_mut(call_id) else {
            self.bytes -= cost(&message); // It was the oldest.
            return;
        };
        if ladder.messages.is_empty() && ladder.fallen_off == 0 {
            ladder.began_us = message.at_us;
        }
        ladder.messages.push_back(message);
        // Where running calls alone fill the memory, each keeps what is newest.
        if (ladder.messages.len() > MESSAGES || over)
            && let Some(oldest) = ladder.messages.pop_front()
        {
            self.bytes -= cost(&oldest);
            ladder.fallen_off += 1;
            self.fallen_off += 1;
        }
    }

    fn forget(&mut self, call_id: &str) {
        if let Some(kept) = self.calls.remove(call_id) {
            self.bytes -= kept.ladder.messages.iter().map(cost).sum::<usize>();
        }
    }
}

fn cost(message: &SipMessage) -> usize {
    message.text.len() + OVERHEAD
}

fn message(flow: &Flow, way: Way, bytes: &[u8]) -> SipMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = masked(bytes);
    let cut = text.len() > TEXT;
    if cut {
        let border = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(border);
        text.shrink_to_fit();
    }
    SipMessage {
        at_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        incoming: way == Way::In,
        transport: flow.transport.param().to_owned(),
        local: flow.local.to_string(),
        remote: flow.remote.to_string(),
        text,
        cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Transport;

    fn flow() -> Flow {
        let address = ([127, 0, 0, 1], 5060).into();
        Flow { transport: Transport::Udp, local: address, remote: address, connection: 0 }
    }

    fn note(ladders: &Ladders, call_id: &str, text: &str) {
        ladders.note((&flow(), Way::In), call_id, text.as_bytes());
    }

    #[test]
    fn a_call_keeps_its_newest_messages_and_says_how_many_fell_off() {
        let ladders = Ladders::default();
        ladders.begin(DialogKey(1), "a");
        for number in 0..MESSAGES + 3 {
            note(&ladders, "a", &format!("INFO {number}\r\n\r\n"));
        }
        let ladder = ladders.ladder("a").expect("it runs");
        assert_eq!((ladder.messages.len(), ladder.fallen_off, ladder.ended), (MESSAGES, 3, false));
        assert!(ladder.messages[0].text.starts_with("INFO 3"));
        assert_eq!(ladders.fallen_off(), 3);
    }

    #[test]
    fn scanners_never_make_us_forget_a_call() {
        let ladders = Ladders::default();
        ladders.begin(DialogKey(1), "running");
        ladders.begin(DialogKey(2), "ended");
        note(&ladders, "running", "INVITE");
        note(&ladders, "ended", "INVITE");
        ladders.end(DialogKey(2));
        for scanner in 0..10_000 {
            let call_id = format!("scanner-{scanner}");
            note(&ladders, &call_id, "OPTIONS"); // Nobody's call.
            ladders.refused(&call_id);
            note(&ladders, &call_id, "INVITE");
        }
        assert!(ladders.ladder("running").is_some_and(|ladder| !ladder.ended));
        assert!(ladders.ladder("ended").is_some_and(|ladder| ladder.ended));
        let remembered = (0..10_000).filter(|n| ladders.ladder(&format!("scanner-{n}")).is_some()).count();
        assert_eq!(remembered, REFUSED);
        assert_eq!(ladders.lock().calls.len(), REFUSED + 2);
    }

    #[test]
    fn the_oldest_ended_call_is_forgotten_first_and_its_bytes_with_it() {
        let ladders = Ladders::default();
        for number in 0..2 * ENDED as u64 {
            ladders.begin(DialogKey(number), &number.to_string());
            note(&ladders, &number.to_string(), "INVITE");
            ladders.end(DialogKey(number));
        }
        assert!(
            ladders.ladder(&(ENDED - 1).to_string()).is_none()
                && ladders.ladder(&ENDED.to_string()).is_some()
        );
        let table = ladders.lock();
        assert_eq!((table.calls.len(), table.dialogs.len()), (ENDED, 0));
        assert_eq!(table.bytes, ENDED * (OVERHEAD + "INVITE".len()));
    }

    #[test]
    fn all_texts_together_have_a_bound_and_running_calls_keep_what_is_newest() {
        let ladders = Ladders::default();
        let long = "x".repeat(2 * TEXT);
        for call in 0..300_u64 {
            ladders.begin(DialogKey(call), &call.to_string());
            for _ in 0..MESSAGES {
                note(&ladders, &call.to_string(), &long);
            }
            assert!(ladders.lock().bytes <= BYTES);
        }
        let first = ladders.ladder("0").expect("it runs");
        assert!(first.messages.iter().all(|message| message.cut && message.text.len() == TEXT));
    }
}
