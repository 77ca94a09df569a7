//! A caller's endpoint and a callee's endpoint over a link that loses, doubles and reorders, from one seed.
//! The promises hold for every seed. `SIM_SEED` replays one, `SIM_SEEDS` says how many.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap, and read SIM_SEED")]

mod kit;

use kit::{ANSWER, OFFER, zero};
use sip::message::{HeaderName, StartLine};
use sip::parser::parse;
use sip::{
    Command, DialogKey, Endpoint, EndpointConfig, Event, Flow, Input, OutgoingInvite, Output, Transport,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[expect(clippy::large_enum_variant, reason = "a few at a time")]
enum Happening {
    Arrival(usize, Vec<u8>),
    Command(usize, Command),
}

/// What the users of both sides have seen of one dialog.
#[derive(Default, Debug)]
struct Seen {
    finals: u32,
    acked: u32,
    ended: u32,
    after_end: u32,
}

struct Link {
    endpoints: [Endpoint; 2],
    wakes: [Option<Instant>; 2],
    begin: Instant,
    now: Instant,
    chance: Chance,
    loss: u64,
    double: u64,
    schedule: BTreeMap<(Instant, u64), Happening>,
    serial: u64,
    seen: [BTreeMap<DialogKey, Seen>; 2],
    /// Highest CSeq per side and Call-ID, and the branches that were seen with it.
    cseqs: BTreeMap<(usize, String), (u32, Vec<String>)>,
    last_ended: Instant,
}

const CALLER: usize = 0;
const CALLEE: usize = 1;

fn flow(side: usize) -> Flow {
    let addresses = ["192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap()];
    Flow { transport: Transport::Udp, local: addresses[side], remote: addresses[1 - side], connection: 0 }
}

impl Link {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let begin = zero();
        let endpoint = |byte: u8, chance: &mut Chance| {
            Endpoint::new(EndpointConfig::default(), [byte.wrapping_add(chance.below(256) as u8); 32])
        };
        Self {
            endpoints: [endpoint(1, &mut chance), endpoint(2, &mut chance)],
            wakes: [None, None],
            begin,
            now: begin,
            loss: chance.below(4) * 12,
            double: chance.below(3) * 10,
            chance,
            schedule: BTreeMap::new(),
            serial: 0,
            seen: [BTreeMap::new(), BTreeMap::new()],
            cseqs: BTreeMap::new(),
            last_ended: begin,
        }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.serial += 1;
        self.schedule.insert((self.now + Duration::from_millis(ms), self.serial), happening);
    }

    fn place_calls(&mut self, calls: u64) {
        for number in 0..calls {
            let dialog = DialogKey::outgoing(number);
            let invite = OutgoingInvite::new(
                dialog,
                format!("sip:{number}@192.0.2.2"),
                "sip:agent@192.0.2.1",
                flow(CALLER),
                OFFER,
            );
            let start = number * 700 + self.chance.below(500);
            self.after(start, Happening::Command(CALLER, Command::Invite(invite)));
            if self.chance.percent(25) {
                let at = start + self.chance.below(4000);
                self.after(at, Happening::Command(CALLER, Command::Cancel { dialog }));
            }
        }
    }

    /// Runs until nothing is left to do; returns when that was.
    fn run(&mut self) {
        for _ in 0..200_000 {
            let arrival = self.schedule.keys().next().map(|(at, _)| *at);
            let wake = self.wakes.iter().copied().flatten().min();
            let Some(next) = arrival.into_iter().chain(wake).min() else { return };
            self.now = next.max(self.now);
            if arrival == Some(next) {
                let (_, happening) = self.schedule.pop_first().unwrap();
                match happening {
                    Happening::Arrival(side, bytes) => {
                        self.step(side, Input::Message { flow: flow(side), bytes: &bytes });
                    }
                    Happening::Command(side, command) => self.step(side, Input::Command(command)),
                }
            } else {
                let side = usize::from(self.wakes[0] != Some(next));
                self.step(side, Input::Timeout);
                assert_ne!(self.wakes[side], Some(next), "a timeout that changes nothing");
            }
            assert!(self.now - self.begin < Duration::from_secs(3600), "it never ends");
        }
        panic!("it never rests");
    }

    fn step(&mut self, side: usize, input: Input<'_>) {
        let mut out = Vec::new();
        self.wakes[side] = self.endpoints[side].step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Send { bytes, .. } => self.send(side, bytes),
                Output::Event(event) => self.user(side, &event),
                Output::CloseFlow { .. } => {}
            }
        }
    }

    fn send(&mut self, side: usize, bytes: Vec<u8>) {
        self.check_cseq(side, &bytes);
        let copies = if self.chance.percent(self.loss) {
            0
        } else if self.chance.percent(self.double) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let late = if self.chance.percent(10) { 900 } else { 80 };
            let delay = 5 + self.chance.below(late);
            self.after(delay, Happening::Arrival(1 - side, bytes.clone()));
        }
    }

    /// A new request (by its branch) has a higher CSeq than all before it in its dialog.
    fn check_cseq(&mut self, side: usize, bytes: &[u8]) {
        let message = parse(bytes).expect("we write what we can read");
        let StartLine::Request { method, .. } = &message.start else { return };
        if matches!(method.name(), "ACK" | "CANCEL") {
            return;
        }
        let cseq: u32 = message.value(&HeaderName::CSeq).unwrap().split(' ').next().unwrap().parse().unwrap();
        let call_id = message.value(&HeaderName::CallId).unwrap().to_owned();
        let via = message.value(&HeaderName::Via).unwrap().to_owned();
        let (highest, branches) = self.cseqs.entry((side, call_id)).or_default();
        if branches.contains(&via) {
            return;
        }
        assert!(cseq > *highest, "CSeq went back: {cseq} after {highest}");
        *highest = cseq;
        branches.push(via);
    }

    fn user(&mut self, side: usize, event: &Event) {
        let Some(dialog) = event.dialog() else { return };
        let seen = self.seen[side].entry(dialog).or_default();
        seen.after_end += u32::from(seen.ended > 0);
        match event {
            Event::Invite(_) => self.callee_answers(dialog),
            Event::Reinvite { .. } => {
                let status = if self.chance.percent(80) { 200 } else { 488 };
                let delay = self.chance.below(300);
                self.after(delay, Happening::Command(side, respond(dialog, status)));
            }
            Event::Acked { .. } => {
                seen.acked += 1;
                if seen.acked == 1 {
                    self.talk(side, dialog);
                }
            }
            Event::Answered { .. } if side == CALLER => {
                // A re-INVITE is answered too: only the first is the call's final answer.
                if seen.finals == 0 {
                    seen.finals = 1;
                    self.talk(side, dialog);
                }
            }
            Event::Failed { .. } if seen.finals == 0 => seen.finals = 1,
            Event::Ended { .. } => {
                seen.ended += 1;
                self.last_ended = self.now;
            }
            Event::Cancelled { .. }
            | Event::AckTimeout { .. }
            | Event::Bye { .. }
            | Event::Info { .. }
            | Event::Refer { .. }
            | Event::Referred { .. }
            | Event::Notify { .. }
            | Event::SessionExpired { .. }
            | Event::Progress { .. }
            | Event::Answered { .. }
            | Event::Failed { .. }
            | Event::Registered { .. }
            | Event::Unregistered { .. }
            | Event::Refused { .. }
            | Event::Response { .. } => {}
        }
    }

    fn callee_answers(&mut self, dialog: DialogKey) {
        if self.chance.percent(70) {
            let delay = self.chance.below(400);
            self.after(delay, Happening::Command(CALLEE, respond(dialog, 180)));
        }
        let status = [200, 200, 200, 200, 486, 302][self.chance.below(6) as usize];
        let delay = self.chance.below(5000);
        self.after(delay, Happening::Command(CALLEE, respond(dialog, status)));
    }

    /// A talk: perhaps some re-INVITEs and an INFO, then a hang-up, by either side or both.
    fn talk(&mut self, side: usize, dialog: DialogKey) {
        for _ in 0..self.chance.below(3) {
            let at = self.chance.below(3000);
            self.after(at, Happening::Command(side, Command::Reinvite { dialog, sdp: OFFER.into() }));
        }
        let at = self.chance.below(3000);
        let info = Command::Info { dialog, content_type: "text/plain".into(), body: "x".into() };
        self.after(at, Happening::Command(side, info));
        let at = 500 + self.chance.below(8000);
        self.after(at, Happening::Command(side, Command::Bye { dialog, reason: None }));
    }
}

fn respond(dialog: DialogKey, status: u16) -> Command {
    let sdp = (status == 200).then(|| ANSWER.to_owned());
    Command::Respond { dialog, status, reason: None, sdp, headers: vec![] }
}

fn check(seed: u64) {
    let mut link = Link::new(seed);
    let calls = 8;
    link.place_calls(calls);
    link.run();
    assert_eq!(link.seen[CALLER].len(), calls as usize);
    for (dialog, seen) in &link.seen[CALLER] {
        assert_eq!(seen.finals, 1, "every INVITE gets exactly one final answer: {dialog:?} {seen:?}");
    }
    for (dialog, seen) in link.seen.iter().flatten() {
        assert_eq!(seen.ended, 1, "every dialog ends exactly once: {dialog:?} {seen:?}");
        assert_eq!(seen.after_end, 0, "nothing is told about a dialog that has ended: {dialog:?}");
    }
    for endpoint in &link.endpoints {
        let statistics = endpoint.statistics();
        assert_eq!((statistics.transactions, statistics.dialogs), (0, 0), "nothing leaks");
    }
    let rest = link.now - link.last_ended;
    assert!(rest <= Duration::from_secs(97), "transactions outlive their timers: {rest:?}");
}

#[test]
fn promises_hold_over_lossy_doubling_reordering_links() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return check(seed);
    }
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| check(seed));
        if let Err(panic) = outcome {
            eprintln!("failing seed: SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
