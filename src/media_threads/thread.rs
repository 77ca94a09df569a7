//! The loop of one media thread: sleep, read what has arrived, wake whose time has come.
//! Nothing it owns is shared or locked, and nothing it does waits, except for the clock.

use super::{
    Command, DATAGRAMS_PER_STEP, ThreadCounters, Uplink,
    bell::Bell,
    departures::Departures,
    phases::Phases,
    poller::Poller,
    ticks::{TICK, Ticks},
};
use crate::{
    call_actor::{CallActor, Note, Progress},
    queue::Receiver,
    rtp_socket::{Received, receive},
};
use call::{Input, cdr::Cause};
use media::FRAME;
use sip::DialogKey;
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// With more calls than this the thread wakes every [`TICK`] for all of them together; with fewer, for each event.
const HANDFUL: usize = 4;

/// Datagrams read from one socket before timers and commands get their turn.
const ROUNDS: usize = 64;

/// Ticks from one such thorough reading to the next. Between them every socket is read once: a stream has a packet in
/// 20 ms, and asking again whether there is a second one costs as much as a part of reading it.
const THOROUGH_EVERY: u32 = 4;

/// Into a tick so far, what providers report may be worked on. What is left waits for the next tick, because the packets
/// of that one must not.
const INBOX_TIME: Duration = Duration::from_micros(600);

/// Commands carried out before calls get their turn.
const COMMANDS_AT_ONCE: usize = 64;

/// The largest datagram we look at; G.711 needs 172 bytes, a compound RTCP packet some hundreds.
const DATAGRAM: usize = 2_048;

/// The poller's name for the bell.
const BELL: u64 = u64::MAX;

/// The thread's ends of its channels.
pub(super) struct Ends {
    pub(super) commands: Receiver<Command>,
    pub(super) knocks: Receiver<DialogKey>,
    pub(super) uplink: Uplink,
}

/// A call and what the thread keeps about it.
struct Resident {
    actor: Box<CallActor>,
    /// When it was last given a fresh allowance of datagrams.
    allowance_since: Instant,
    /// Datagrams it may still take from its peer, and from strangers: their flood must not take the peer's place.
    allowance: [u32; 2],
    /// The part of a frame in which its heartbeat falls.
    phase: usize,
}

pub(super) struct Thread {
    ends: Ends,
    /// What was taken from its queues and waits for its turn.
    commands: VecDeque<Command>,
    knocks: VecDeque<DialogKey>,
    bell: Arc<Bell>,
    counters: Arc<ThreadCounters>,
    poller: Poller,
    names: Vec<u64>,
    /// Where datagrams are read to. As a local variable it would be zeroed for each of them.
    buffer: Vec<u8>,
    /// Calls by place; a place is named to the poller and is used again after its call.
    calls: Vec<Option<Resident>>,
    /// When each place wants to be woken. Beside the calls, so that looking for due ones reads little memory: with
    /// some hundreds of places this is cheaper than keeping a heap in order on every step.
    wakes: Vec<Option<Instant>>,
    /// The first of them, or an earlier time.
    due: Option<Instant>,
    free: Vec<usize>,
    phases: Phases,
    departures: Departures,
    ticks: Ticks,
    /// The tick whose calls were woken last.
    served: Instant,
    /// Readings until the next thorough one.
    cursory: u32,
    places: HashMap<DialogKey, usize>,
    notes: VecDeque<Note>,
    stopping: bool,
}

impl Thread {
    pub(super) fn new(ends: Ends, bell: Arc<Bell>, counters: Arc<ThreadCounters>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&*bell, BELL)?;
        let ticks = Ticks::new();
        Ok(Self {
            ends,
            commands: VecDeque::new(),
            knocks: VecDeque::new(),
            bell,
            counters,
            poller,
            names: Vec::new(),
            buffer: vec![0; DATAGRAM],
            calls: Vec::new(),
            wakes: Vec::new(),
            due: None,
            free: Vec::new(),
            phases: Phases::new(ticks.epoch()),
            departures: Departures::default(),
            ticks,
            served: Instant::now(),
            cursory: 0,
            places: HashMap::new(),
            notes: VecDeque::new(),
            stopping: false,
        })
    }

    pub(super) fn run(mut self) {
        // The kernel may otherwise add 50 µs to every sleep to save power.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
        while !(self.stopping && self.places.is_empty() && self.notes.is_empty()) {
            let wanted = self.sleep();
            self.depart(Instant::now());
            let late = self.ticks.at(Instant::now()) > wanted;
            if self.is_busy() && !late {
                // Packets leave first: how many have come in differs from tick to tick, and they would be late by it. What
                // came within this tick is heard as if it had come in the next one.
                self.wake_due();
                self.read_sockets(false);
            } else {
                // Calls that catch up want to hear what has come meanwhile.
                self.read_sockets(late);
                self.wake_due();
            }
            if self.bell.take() {
                self.open_inboxes();
                self.obey();
            }
            self.send_notes();
        }
    }

    /// Whether the thread wakes at ticks.
    fn is_busy(&self) -> bool {
        self.places.len() > HANDFUL
    }

    /// Sleeps, and says which tick it was to wake at.
    fn sleep(&self) -> Instant {
        if self.is_busy() {
            let due = self.due.into_iter().chain(self.departures.due()).min();
            return self.ticks.sleep_after(self.served, due);
        }
        let mut timeout =
            self.wakes.iter().flatten().min().map(|wake| wake.saturating_duration_since(Instant::now()));
        if !self.notes.is_empty() {
            timeout = Some(timeout.map_or(TICK, |timeout| timeout.min(TICK)));
        }
        if self.bell.lie_down() {
            self.poller.sleep(timeout);
        }
        self.bell.get_up();
        self.ticks.at(Instant::now())
    }

    /// Reads one datagram from every socket that has one, again and again, so that nobody's flood is served before
    /// somebody else's packet.
    fn read_sockets(&mut self, late: bool) {
        let mut names = std::mem::take(&mut self.names); // Keeps its capacity.
        self.cursory = if self.is_busy() && !late { (self.cursory + 1) % THOROUGH_EVERY } else { 0 };
        let rounds = if self.cursory == 0 { ROUNDS } else { 1 };
        for _ in 0..rounds {
            names.clear();
            self.poller.ready(&mut names);
            for name in &names {
                match *name {
                    BELL => self.bell.silence(),
                    name => self.read_socket(name),
                }
            }
            if names.iter().all(|name| *name == BELL) {
                break;
            }
        }
        self.names = names;
    }

    fn read_socket(&mut self, name: u64) {
        let (place, is_rtcp) = place_of(name);
        let Some(Some(resident)) = self.calls.get_mut(place) else { return };
        let sockets = resident.actor.sockets();
        let Some(socket) = (if is_rtcp { sockets.rtcp() } else { Some(sockets.rtp()) }) else { return };
        let Received::Datagram { length, from } = receive(socket, &mut self.buffer) else { return };
        let now = Instant::now();
        if !resident.may_take_datagram(now, from.ip()) {
            self.counters.datagrams_over_rate.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counters.datagrams.fetch_add(1, Ordering::Relaxed);
        self.depart(now);
        let buffer = std::mem::take(&mut self.buffer);
        let datagram = &buffer[..length];
        let input = if is_rtcp { Input::Rtcp { from, datagram } } else { Input::Rtp { from, datagram } };
        self.step(place, now, input);
        self.buffer = buffer;
    }

    fn wake_due(&mut self) {
        let now = Instant::now();
        let tick = self.ticks.at(now);
        let due = if self.is_busy() { tick } else { now };
        self.served = tick;
        self.due = None;
        for place in 0..self.wakes.len() {
            let Some(wake) = self.wakes[place] else { continue };
            if wake > due {
                self.note_due(wake);
                continue;
            }
            let now = Instant::now();
            self.counters.lateness.add(now - wake);
            self.depart(now);
            self.beat(place, now, wake);
            // A machine that wants to be woken in the past again catches up at our pace, not in a busy loop.
            if let Some(wake) = &mut self.wakes[place] {
                *wake = (*wake).max(now + TICK / 4);
            }
        }
    }

    /// A call's own time has come. Its packets leave at the tick after the one that it was due at, or at once if that has
    /// passed.
    fn beat(&mut self, place: usize, now: Instant, wake: Instant) {
        let tick = self.ticks.at(wake - Duration::from_nanos(1)) + TICK;
        let held = (self.departures.wait() && now < tick + TICK).then_some(tick);
        self.act(place, held, |actor, notes| Some(actor.step(now, Input::Timeout, notes)));
    }

    /// Sends the packets whose tick has come. Asked before everything that takes time.
    fn depart(&mut self, now: Instant) {
        let Some(places) = self.departures.take(now) else { return };
        for place in &places {
            if let Some(Some(resident)) = self.calls.get_mut(*place) {
                resident.actor.send_leaving();
            }
        }
        self.departures.clear(places);
    }

    fn note_due(&mut self, wake: Instant) {
        self.due = Some(self.due.map_or(wake, |due| due.min(wake)));
    }

    fn open_inboxes(&mut self) {
        self.ends.knocks.take_all(&mut self.knocks);
        while let Some(dialog) = self.knocks.pop_front() {
            let Some(&place) = self.places.get(&dialog) else { continue };
            let now = Instant::now();
            self.depart(now);
            self.act(place, None, |actor, notes| actor.take_inbox(now, notes));
            if self.served.elapsed() >= INBOX_TIME && self.is_busy() {
                break;
            }
        }
        if !self.knocks.is_empty() {
            self.bell.ring();
        }
    }

    fn obey(&mut self) {
        if self.commands.is_empty() {
            self.ends.commands.take_all(&mut self.commands);
        }
        for _ in 0..COMMANDS_AT_ONCE {
            let Some(command) = self.commands.pop_front() else { return };
            self.depart(Instant::now());
            match command {
                Command::Start(actor) => self.start(actor),
                Command::Sip(dialog, input) => self.step_dialog(dialog, Input::Sip(input)),
                Command::Recorded(dialog) => self.step_dialog(dialog, Input::Recorded),
                Command::HangUp(dialog, hang_up) => self.step_dialog(dialog, Input::HangUp(hang_up)),
                Command::BreakOff(cause) => self.break_off_all(cause),
                Command::Stop => self.stopping = true,
            }
        }
        self.bell.ring(); // There may be more.
    }

    fn start(&mut self, mut actor: Box<CallActor>) {
        let now = Instant::now();
        let place = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.wakes.push(None);
            self.calls.len() - 1
        });
        let (phase, first_step) = self.phases.take(now);
        actor.keep_beat(first_step);
        let sockets = actor.sockets();
        let rtcp = || sockets.rtcp().map_or(Ok(()), |rtcp| self.poller.add(rtcp, name_of(place, true)));
        let registered = self.poller.add(sockets.rtp(), name_of(place, false)).and_then(|()| rtcp());
        self.places.insert(actor.dialog(), place);
        self.calls[place] =
            Some(Resident { actor, allowance_since: now, allowance: [DATAGRAMS_PER_STEP; 2], phase });
        self.count_calls();
        match registered {
            Ok(()) => {
                self.wakes[place] = Some(first_step);
                self.note_due(first_step);
                if first_step <= now {
                    self.step(place, now, Input::Timeout);
                }
                // Providers may have reported before the call was here: that knock has found nobody.
                self.act(place, None, |actor, _| actor.knock());
            }
            Err(_) => self.break_off(place, Cause::InternalError), // Out of descriptors or memory.
        }
    }

    fn count_calls(&mut self) {
        self.departures.resize(self.places.len());
        self.counters.calls.store(self.places.len(), Ordering::Relaxed);
    }

    fn step_dialog(&mut self, dialog: DialogKey, input: Input<'_>) {
        // A dialog that is not here any more: its call ended while this was under way.
        if let Some(&place) = self.places.get(&dialog) {
            self.step(place, Instant::now(), input);
        }
    }

    fn step(&mut self, place: usize, now: Instant, input: Input<'_>) {
        self.act(place, None, |actor, notes| Some(actor.step(now, input, notes)));
    }

    /// Lets a call work. A bug in it ends this call and no other. What it wants to send waits if it is `held` at a tick.
    fn act(
        &mut self,
        place: usize,
        held: Option<Instant>,
        work: impl FnOnce(&mut CallActor, &mut VecDeque<Note>) -> Option<Progress>,
    ) {
        let Some(Some(Resident { actor, .. })) = self.calls.get_mut(place) else { return };
        let notes = &mut self.notes;
        let done = catch_unwind(AssertUnwindSafe(|| work(actor, notes)));
        if actor.take_rtcp_opened()
            && let Some(rtcp) = actor.sockets().rtcp()
        {
            // Without it we would not hear the peer's reports; the call goes on.
            let _ = self.poller.add(rtcp, name_of(place, true));
        }
        match held {
            Some(tick) if actor.has_leaving() => self.departures.add(place, tick),
            _ => actor.send_leaving(),
        }
        match done {
            Ok(Some(Progress::Wake(wake))) => {
                self.wakes[place] = Some(wake);
                self.note_due(wake);
            }
            Ok(Some(Progress::Over)) => self.remove(place, CallActor::finish),
            Ok(None) => {}
            Err(_) => {
                self.counters.panics.fetch_add(1, Ordering::Relaxed);
                self.break_off(place, Cause::InternalError);
            }
        }
    }

    fn break_off(&mut self, place: usize, cause: Cause) {
        self.remove(place, |actor, now, notes| actor.break_off(now, cause, notes));
    }

    fn break_off_all(&mut self, cause: Cause) {
        for place in 0..self.calls.len() {
            self.break_off(place, cause);
        }
    }

    fn remove(&mut self, place: usize, end: impl FnOnce(CallActor, Instant, &mut VecDeque<Note>)) {
        let Some(resident) = self.calls.get_mut(place).and_then(Option::take) else { return };
        let sockets = resident.actor.sockets();
        self.poller.remove(sockets.rtp());
        if let Some(rtcp) = sockets.rtcp() {
            self.poller.remove(rtcp);
        }
        self.places.remove(&resident.actor.dialog());
        self.wakes[place] = None;
        self.free.push(place);
        self.phases.give_back(resident.phase);
        self.count_calls();
        let notes = &mut self.notes;
        // What a provider's stream does when it is dropped is not ours either.
        let ended = catch_unwind(AssertUnwindSafe(|| end(*resident.actor, Instant::now(), notes)));
        if ended.is_err() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send_notes(&mut self) {
        while let Some(note) = self.notes.pop_front() {
            if let Err(note) = (self.ends.uplink)(note) {
                self.notes.push_front(note);
                self.counters.uplink_full.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Resident {
    fn may_take_datagram(&mut self, now: Instant, from: IpAddr) -> bool {
        if now.saturating_duration_since(self.allowance_since) >= FRAME {
            (self.allowance_since, self.allowance) = (now, [DATAGRAMS_PER_STEP; 2]);
        }
        let stranger = self.actor.peer().is_some_and(|peer| peer.ip() != from);
        let allowance = &mut self.allowance[usize::from(stranger)];
        let may = *allowance > 0;
        *allowance = allowance.saturating_sub(1);
        may
    }
}

/// How a socket is called in the poller: its call's place, and whether it is the RTCP one.
const fn name_of(place: usize, is_rtcp: bool) -> u64 {
    (place as u64) << 1 | is_rtcp as u64
}

const fn place_of(name: u64) -> (usize, bool) {
    ((name >> 1) as usize, name & 1 == 1)
}
