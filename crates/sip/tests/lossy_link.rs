//! A caller's endpoint and a callee's endpoint over a link that loses, doubles and reorders, from one seed.
//! The promises hold for every seed. `SIM_SEED` replays one, `SIM_SEEDS` says how many.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap, and read SIM_SEED")]

mod kit;

use kit::{ANSWER, OFFER, zero};
use sip::message::{HeaderName, StartLine};
use sip::parser::parse;
use sip::{
    Command, DialogKey, DialogPolicy, Endpoint, EndpointConfig, Event, Flow, Input, OutgoingInvite, Output,
    Refresher, Reliable, SessionTimer, SessionTimerMode, Transport,
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

/// What both sides do, beside what chance adds.
#[derive(Clone, Copy)]
enum Plan {
    /// Everything, at any time, over links of any quality.
    Chaos,
    /// Calls that ring with early media and are answered, over fair links.
    EarlyMedia,
    /// Calls that last for half an hour with a timer of 90 s, over fair links.
    Long,
}

struct Link {
    plan: Plan,
    policies: [DialogPolicy; 2],
    answered: u32,
    expired: u32,
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
    /// When an endpoint was last woken by a timer of its own.
    last_woken: Instant,
}

const CALLER: usize = 0;
const CALLEE: usize = 1;

fn flow(side: usize) -> Flow {
    let addresses = ["192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap()];
    Flow { transport: Transport::Udp, local: addresses[side], remote: addresses[1 - side], connection: 0 }
}

impl Link {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut chance = Chance(seed);
        let begin = zero();
        let policies = [policy(plan, &mut chance), policy(plan, &mut chance)];
        let endpoint = |side: usize, chance: &mut Chance| {
            let default_policy = policies[side].clone();
            let config = EndpointConfig { default_policy, ..EndpointConfig::default() };
            Endpoint::new(config, [(side as u8).wrapping_add(chance.below(256) as u8); 32])
        };
        Self {
            plan,
            answered: 0,
            expired: 0,
            endpoints: [endpoint(CALLER, &mut chance), endpoint(CALLEE, &mut chance)],
            policies: policies.clone(),
            wakes: [None, None],
            begin,
            now: begin,
            loss: if matches!(plan, Plan::Chaos) { chance.below(4) * 12 } else { chance.below(11) },
            double: chance.below(3) * 10,
            chance,
            schedule: BTreeMap::new(),
            serial: 0,
            seen: [BTreeMap::new(), BTreeMap::new()],
            cseqs: BTreeMap::new(),
            last_ended: begin,
            last_woken: begin,
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
            let invite = OutgoingInvite { policy: self.policies[CALLER].clone(), ..invite };
            let start = number * 700 + self.chance.below(500);
            self.after(start, Happening::Command(CALLER, Command::Invite(invite)));
            if matches!(self.plan, Plan::Chaos) && self.chance.percent(25) {
                let at = start + self.chance.below(4000);
                self.after(at, Happening::Command(CALLER, Command::Cancel { dialog }));
            }
        }
    }

    /// Runs until nothing is left to do; returns when that was.
    fn run(&mut self) {
        for _ in 0..400_000 {
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
                self.last_woken = self.now;
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
                if side == CALLEE && seen.acked == 1 {
                    self.talk(side, dialog);
                }
            }
            Event::Answered { .. } if side == CALLER => {
                // A re-INVITE is answered too: only the first is the call's final answer.
                if seen.finals == 0 {
                    seen.finals = 1;
                    self.answered += 1;
                    self.talk(side, dialog);
                }
            }
            Event::Failed { .. } if seen.finals == 0 => seen.finals = 1,
            Event::Ended { .. } => {
                seen.ended += 1;
                self.last_ended = self.now;
            }
            Event::Refer { .. } => {
                let status = [202, 603][self.chance.below(2) as usize];
                self.after(50, Happening::Command(side, Command::RespondRefer { dialog, status }));
                self.after(600, Happening::Command(side, referred(dialog)));
            }
            Event::SessionExpired { .. } => self.expired += 1,
            Event::Cancelled { .. }
            | Event::AckTimeout { .. }
            | Event::Bye { .. }
            | Event::Info { .. }
            | Event::Referred { .. }
            | Event::Notify { .. }
            | Event::Trying { .. }
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
        for _ in 0..self.chance.below(3) {
            let delay = self.chance.below(400);
            let status = [180, 183][self.chance.below(2) as usize];
            self.after(delay, Happening::Command(CALLEE, respond(dialog, status)));
        }
        let status = match self.plan {
            Plan::Chaos => [200, 200, 200, 200, 486, 302][self.chance.below(6) as usize],
            Plan::EarlyMedia | Plan::Long => 200,
        };
        let delay = self.chance.below(5000);
        self.after(delay, Happening::Command(CALLEE, respond(dialog, status)));
    }

    /// A talk: perhaps some re-INVITEs and an INFO, then a hang-up, by either side or both.
    fn talk(&mut self, side: usize, dialog: DialogKey) {
        let length = if matches!(self.plan, Plan::Long) { 1_800_000 } else { 3000 };
        for _ in 0..self.chance.below(3) {
            let at = self.chance.below(length);
            self.after(at, Happening::Command(side, Command::Reinvite { dialog, sdp: OFFER.into() }));
        }
        for _ in 0..self.chance.below(3) {
            let at = self.chance.below(length);
            let sdp = self.chance.percent(50).then(|| OFFER.to_owned());
            self.after(at, Happening::Command(side, Command::Update { dialog, sdp }));
        }
        if self.chance.percent(30) {
            let refer_to = "sip:carol@192.0.2.9".to_owned();
            let at = self.chance.below(length);
            self.after(
                at,
                Happening::Command(
                    side,
                    Command::Refer { dialog, refer_to, referred_by: None, headers: Vec::new() },
                ),
            );
        }
        let at = self.chance.below(3000);
        let info = Command::Info { dialog, content_type: "text/plain".into(), body: "x".into() };
        self.after(at, Happening::Command(side, info));
        let at = if length > 3000 { length } else { 500 + self.chance.below(8000) };
        self.after(at, Happening::Command(side, Command::Bye { dialog, reason: None }));
    }
}

fn respond(dialog: DialogKey, status: u16) -> Command {
    let sdp = matches!(status, 183 | 200).then(|| ANSWER.to_owned());
    Command::Respond { dialog, status, reason: None, sdp, headers: vec![] }
}

/// The last word about a referral.
fn referred(dialog: DialogKey) -> Command {
    Command::Notify {
        dialog,
        event: "refer".into(),
        state: "terminated;reason=noresource".into(),
        content_type: "message/sipfrag".into(),
        body: "SIP/2.0 200 OK\r\n".into(),
    }
}

fn policy(plan: Plan, chance: &mut Chance) -> DialogPolicy {
    let modes = [SessionTimerMode::Off, SessionTimerMode::Accept, SessionTimerMode::Offer];
    let mode =
        if matches!(plan, Plan::Long) { SessionTimerMode::Offer } else { modes[chance.below(3) as usize] };
    let refresher = [Refresher::Us, Refresher::Peer, Refresher::Any][chance.below(3) as usize];
    let reliable = match plan {
        Plan::Chaos => [Reliable::Off, Reliable::Supported, Reliable::Supported][chance.below(3) as usize],
        Plan::EarlyMedia | Plan::Long => [Reliable::Supported, Reliable::Required][chance.below(2) as usize],
    };
    let session_timer = SessionTimer { mode, expires_s: 90, min_se_s: 90, refresher };
    DialogPolicy { session_timer, reliable, early_media: true }
}

/// A whole run; what holds for every one of them is asserted here.
fn check(seed: u64, plan: Plan) -> Link {
    let mut link = Link::new(seed, plan);
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
    let rest = link.last_woken.saturating_duration_since(link.last_ended);
    assert!(rest <= Duration::from_secs(97), "transactions outlive their timers: {rest:?}");
    link
}

/// Runs many seeds; `SIM_SEED` replays one.
fn over_seeds(seeds: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(seeds);
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            eprintln!("failing seed: SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn promises_hold_over_lossy_doubling_reordering_links() {
    over_seeds(300, |seed| {
        check(seed, Plan::Chaos);
    });
}

#[test]
fn no_prack_is_lost_over_a_lossy_link() {
    over_seeds(150, |seed| {
        let link = check(seed, Plan::EarlyMedia);
        assert_eq!(
            link.answered, 8,
            "every call is answered: no reliable response was left without its PRACK"
        );
        let (sent, heard) = (link.endpoints[CALLEE].statistics(), link.endpoints[CALLER].statistics());
        let ringing = [180, 183].iter().any(|status| sent.responses_out.contains_key(status));
        assert_eq!(ringing, heard.requests_out["PRACK"] > 0, "provisional responses are reliable here");
        assert!(!sent.responses_out.contains_key(&504), "none was given up");
    });
}

#[test]
fn session_timers_keep_refreshing_over_a_lossy_link() {
    over_seeds(40, |seed| {
        let link = check(seed, Plan::Long);
        assert_eq!((link.answered, link.expired), (8, 0), "nobody is given up");
        let refreshes =
            link.endpoints.iter().map(|endpoint| endpoint.statistics().requests_in["UPDATE"]).sum::<u64>();
        assert!(refreshes >= 8 * 30, "half an hour of refreshes: {refreshes}");
    });
}
