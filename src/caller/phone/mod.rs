//! One scripted caller as a machine: its dialog, its voice, its ears and its stopwatch.
//! Knows SIP and RTP as any phone does. Knows no socket, and nothing of the server but what comes over the wire.

mod ears;
mod line;
mod mouth;

use super::script::{Keypad, Player, Script, Situation, Todo};
use call::Stamped;
use ears::Ears;
use line::Line;
use media::{FRAME, SampleRate};
use mouth::Mouth;
use sip::digest::Credentials;
use sip::{
    Command, DialogKey, DialogPolicy, Direction, Endpoint, EndpointConfig, Event, Flow, LocalMedia,
    MediaSession, OutgoingInvite,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// A packet is voiced above this level.
const VOICED_DBFS: f32 = -45.0;
/// What was sent before the agent knew that it is on hold may arrive for so long.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// How long a finished call stays to answer repeated requests: two retransmissions of a BYE.
const LINGER: Duration = Duration::from_millis(1_600);

/// Where and how to call.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Whom to call.
    pub uri: String,
    /// Who calls.
    pub from: String,
    /// The flow that SIP goes over.
    pub flow: Flow,
    /// Our media address.
    pub local: LocalMedia,
    /// For identifiers and stream numbers.
    pub seed: [u8; 32],
    /// The rate of what is said and recorded; the codec may have another.
    pub rate: SampleRate,
    /// How far the phone's clock is off, in parts per million: above zero it sends more than 50 packets a second.
    pub clock_ppm: i32,
    /// Speech of every text of the script.
    pub speech: Arc<BTreeMap<String, Vec<i16>>>,
    /// Audio of every file of the script.
    pub files: Arc<BTreeMap<PathBuf, Vec<i16>>>,
    /// What to do.
    pub script: Script,
    /// Whether to keep the audio of both sides.
    pub record: bool,
    /// What a trunk adds to the call.
    pub extras: Extras,
}

/// What a trunk adds to a call. `Default`: nothing.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// More header fields of the INVITE.
    pub headers: Vec<(String, String)>,
    /// Who we are when the peer asks.
    pub credentials: Option<Credentials>,
    /// The Route set: an outbound proxy.
    pub route: Vec<String>,
    /// How the dialog behaves.
    pub policy: DialogPolicy,
    /// Without any response for so long the call has failed; `None`: as long as SIP waits (32 s).
    pub first_response: Option<Duration>,
}

/// What reaches a phone.
pub enum Input<'a> {
    /// A SIP message.
    Sip(&'a [u8]),
    /// The flow broke.
    FlowClosed,
    /// A datagram on the RTP port, and when it came: not later than now.
    Rtp(Instant, &'a [u8]),
    /// A datagram on the RTCP port, in the same way.
    Rtcp(Instant, &'a [u8]),
    /// An event of the server's trace of this call.
    Server(&'a Stamped),
    /// The user wants to stop.
    Stop,
    /// The instant asked for has come.
    Timeout,
}

/// What a phone wants done.
pub enum Output {
    /// Send a SIP message over the flow.
    Sip(Vec<u8>),
    /// Send from the RTP port.
    Rtp(SocketAddr, Vec<u8>),
    /// Send from the RTCP port.
    Rtcp(SocketAddr, Vec<u8>),
    /// Tell the user.
    Tell(Happening),
}

/// What is worth telling, with the phone's own clock.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A provisional response.
    Progress(u16),
    /// The call was answered, so long after the INVITE.
    Answered(Duration),
    /// The call failed with this status.
    Failed(u16, String),
    /// We begin to speak.
    Saying(String),
    /// We press keys.
    Pressing(String),
    /// The agent was put on hold, or taken back.
    Held(bool),
    /// The agent's sound began or ended.
    Agent(bool),
    /// An expectation was met.
    Met(String),
    /// One was not.
    Unmet(String),
    /// The dialog is over; true when the other side ended it.
    Over(bool),
}

/// What the phone measured by its own clock.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// INVITE to first provisional response.
    pub provisional: Option<Duration>,
    /// INVITE to 200.
    pub answered: Option<Duration>,
    /// INVITE to the first voiced packet.
    pub greeting: Option<Duration>,
    /// End of our speech to the first voiced packet of the answer, one for each utterance that got one.
    pub answers: Vec<Duration>,
    /// When the speech that each of them answers ended, since the INVITE.
    pub asked: Vec<Duration>,
    /// Utterances that got no answer before we went on or the call ended.
    pub unanswered: u32,
    /// Our first packet of speech over the agent's voice to its last voiced packet.
    pub silences: Vec<Duration>,
    /// Between consecutive packets, in microseconds.
    pub gaps_us: Vec<u32>,
    /// Packets of audio received.
    pub received: u64,
    /// Those with a voice in them.
    pub voiced: u64,
    /// Those that came while the agent was on hold.
    pub on_hold: u64,
    /// Packets that the sequence numbers say are missing.
    pub missing: u64,
    /// Final status of the INVITE.
    pub status: Option<u16>,
    /// INVITE to the end of the call.
    pub ended: Option<Duration>,
    /// Expectations that were not met.
    pub unmet: Vec<String>,
    /// What the media were like, once there have been some.
    pub media: Option<MediaMeasures>,
}

/// What RTP and RTCP say of a call.
#[derive(Clone, Debug)]
pub struct MediaMeasures {
    /// The codec's name.
    pub codec: String,
    /// Whether it was SRTP.
    pub encrypted: bool,
    /// Packets that we sent.
    pub sent: u32,
    /// Packets that the other side's sequence numbers say it sent.
    pub expected: u64,
    /// Those that never came.
    pub lost: u64,
    /// Those that came after a listener had to do without them.
    pub late: u64,
    /// Those that came again.
    pub duplicates: u64,
    /// Those that came after a later one.
    pub reordered: u64,
    /// Frames that a listener had to make up.
    pub concealed: u64,
    /// Datagrams that were no RTP.
    pub malformed: u64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// RTCP packets that came.
    pub rtcp_received: u64,
    /// There and back, from RTCP.
    pub rtt: Option<Duration>,
    /// Packets of ours that the other side misses.
    pub they_lost: Option<i32>,
    /// Whether the other side hears us; `None` if it sends no reports.
    pub they_hear: Option<bool>,
    /// Mean opinion score of what we hear, 1 to 4.5.
    pub mos: Option<f32>,
    /// Of what the other side hears, by its reports.
    pub they_mos: Option<f32>,
}

/// One scripted caller.
pub struct Phone {
    dial: Dial,
    endpoint: Endpoint,
    sip_wake: Option<Instant>,
    invited: Option<Instant>,
    /// When the call has failed unless something comes.
    silent_until: Option<Instant>,
    answered: Option<Instant>,
    /// Our descriptions, one after the other.
    description: MediaSession,
    line: Option<Line>,
    /// What an offer of ours that waits for its answer is to bring about: hold, or its end.
    offered: Option<bool>,
    /// The agent is on hold since.
    held: Option<Instant>,
    player: Player,
    mouth: Mouth,
    ears: Ears,
    words: String,
    next_frame: Option<Instant>,
    /// Both sides, sample by sample, from the answer on.
    pub recording: (Vec<i16>, Vec<i16>),
    /// The stopwatch.
    pub measures: Measures,
    over: bool,
    over_since: Option<Instant>,
    hanging_up: bool,
}

impl Phone {
    /// A phone that dials at its first step.
    pub fn new(dial: Dial) -> Self {
        Self {
            endpoint: Endpoint::new(
                EndpointConfig { large_to_tcp: false, ..EndpointConfig::default() },
                dial.seed,
            ),
            player: Player::new(dial.script.clone()),
            description: MediaSession::new(dial.local.clone()),
            mouth: Mouth::new(dial.rate),
            dial,
            sip_wake: None,
            invited: None,
            silent_until: None,
            answered: None,
            line: None,
            offered: None,
            held: None,
            ears: Ears::default(),
            words: String::new(),
            next_frame: None,
            recording: Default::default(),
            measures: Measures::default(),
            over: false,
            over_since: None,
            hanging_up: false,
        }
    }

    /// Takes one input, appends what to do, and returns when to come back; `None` when the call is over.
    pub fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        if self.invited.is_none() {
            self.invited = Some(now);
            self.silent_until = self.dial.extras.first_response.map(|patience| now + patience);
            let invite = self.invite();
            self.command(now, Command::Invite(invite), out);
        }
        match input {
            Input::Sip(bytes) => {
                let flow = self.dial.flow;
                self.sip(now, sip::Input::Message { flow, bytes }, out);
            }
            Input::FlowClosed => self.sip(now, sip::Input::FlowClosed { flow: self.dial.flow }, out),
            Input::Rtp(at, datagram) => self.hear(at, datagram, out),
            Input::Rtcp(at, datagram) => {
                if let Some(line) = &mut self.line {
                    line.control(at, datagram);
                }
            }
            Input::Server(stamped) => self.read(stamped),
            Input::Stop => self.hang_up(now, out),
            Input::Timeout => self.timeout(now, out),
        }
        if self.over && self.over_since.is_none() {
            self.over_since = Some(now);
            self.ears.forget_answer(&mut self.measures);
            self.measures.ended = self.invited.map(|at| now - at);
            self.measures.media = self.line.as_mut().map(Line::measures);
        }
        let linger = self.over_since.map(|over| over + LINGER);
        if self.over && (self.sip_wake.is_none() || linger.is_some_and(|until| now >= until)) {
            return None;
        }
        // The endpoint's own timers run for half a minute after a BYE: nobody waits for that.
        let wakes = [self.sip_wake, self.next_frame.filter(|_| !self.over), linger, self.silent_until];
        Some(wakes.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(1)))
    }

    /// The Call-ID of the call, once it has been dialled.
    pub fn call_id(&self) -> Option<&str> {
        self.endpoint.sip_call_id(self.key())
    }

    /// Whether the dialog is over.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    fn key(&self) -> DialogKey {
        DialogKey::outgoing(1)
    }

    fn invite(&mut self) -> OutgoingInvite {
        let offer = self.description.offer();
        let Dial { uri, from, flow, extras, .. } = &self.dial;
        OutgoingInvite {
            headers: extras.headers.clone(),
            credentials: extras.credentials.clone(),
            route: extras.route.clone(),
            policy: extras.policy.clone(),
            ..OutgoingInvite::new(self.key(), uri, from, *flow, offer)
        }
    }

    fn command(&mut self, now: Instant, command: Command, out: &mut Vec<Output>) {
        self.sip(now, sip::Input::Command(command), out);
    }

    fn sip(&mut self, now: Instant, input: sip::Input<'_>, out: &mut Vec<Output>) {
        let mut done = Vec::new();
        self.sip_wake = self.endpoint.step(now, input, &mut done);
        for output in done {
            match output {
                sip::Output::Send { bytes, .. } => out.push(Output::Sip(bytes)),
                sip::Output::Event(event) => self.note(now, event, out),
                sip::Output::CloseFlow { .. } => {}
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a phone ignores what it does not use")]
    fn note(&mut self, now: Instant, event: Event, out: &mut Vec<Output>) {
        let took = self.invited.map_or(Duration::ZERO, |at| now - at);
        self.silent_until = None;
        match event {
            Event::Progress { status, .. } => {
                self.measures.provisional.get_or_insert(took);
                out.push(Output::Tell(Happening::Progress(status)));
            }
            Event::Answered { sdp, .. } => {
                let answer = sdp.as_deref().unwrap_or_default();
                if self.answered.is_some() {
                    self.note_agreement(now, answer, out);
                } else {
                    self.note_answer(now, took, answer, out);
                }
            }
            Event::Failed { status, .. } if self.answered.is_some() => {
                if let Some(hold) = self.offered.take() {
                    let what = if hold { "hold" } else { "the end of hold" };
                    self.unmet(format!("{what} was refused with {status}"), out);
                }
            }
            Event::Failed { status, reason, .. } => {
                self.measures.status.get_or_insert(status);
                self.over = true;
                out.push(Output::Tell(Happening::Failed(status, reason)));
            }
            Event::Reinvite { dialog, offer } => {
                let (status, sdp) = self.renegotiate(offer.as_deref());
                let respond = Command::Respond { dialog, status, reason: None, sdp, headers: Vec::new() };
                self.command(now, respond, out);
            }
            Event::Bye { .. } => self.finish(true, out),
            Event::Ended { .. } => self.finish(!self.hanging_up, out),
            _ => {}
        }
    }

    fn note_answer(&mut self, now: Instant, took: Duration, answer: &str, out: &mut Vec<Output>) {
        self.measures.status = Some(200);
        self.measures.answered = Some(took);
        self.answered = Some(now);
        let [a, b, c, d, ..] = self.dial.seed;
        let agreed = self.description.accept(answer).ok();
        self.line = agreed
            .and_then(|agreed| Line::new(now, agreed, u32::from_le_bytes([a, b, c, d]), self.dial.rate));
        if self.line.is_none() {
            self.measures.unmet.push("the answer's session description cannot be used".into());
            return self.hang_up(now, out);
        }
        self.next_frame = Some(now + FRAME);
        self.ears.open(now);
        out.push(Output::Tell(Happening::Answered(took)));
    }

    /// The answer to a later offer of ours.
    fn note_agreement(&mut self, now: Instant, answer: &str, out: &mut Vec<Output>) {
        let Some(hold) = self.offered.take() else { return };
        match (self.description.accept(answer), &mut self.line) {
            (Ok(agreed), Some(line)) => line.renegotiate(agreed),
            (Ok(_), None) => {}
            (Err(error), _) => return self.unmet(format!("the answer to our re-INVITE: {error}"), out),
        }
        self.held = hold.then_some(now);
        self.ears.pause();
        out.push(Output::Tell(Happening::Held(hold)));
    }

    /// Our answer to a re-INVITE; without an offer in it, our offer.
    fn renegotiate(&mut self, offer: Option<&str>) -> (u16, Option<String>) {
        let Some(offer) = offer else { return (200, Some(self.description.offer())) };
        let (sdp, agreed) = match self.description.answer(offer) {
            Ok(answer) => answer,
            Err(error) => return (error.status(), None),
        };
        if let Some(line) = &mut self.line {
            line.renegotiate(agreed);
        }
        self.ears.pause();
        (200, Some(sdp))
    }

    fn unmet(&mut self, what: String, out: &mut Vec<Output>) {
        self.measures.unmet.push(what.clone());
        out.push(Output::Tell(Happening::Unmet(what)));
    }

    fn finish(&mut self, by_them: bool, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.over, true) {
            out.push(Output::Tell(Happening::Over(by_them)));
        }
    }

    fn hang_up(&mut self, now: Instant, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.hanging_up, true) {
            return;
        }
        let dialog = self.key();
        let command = match self.answered {
            Some(_) => Command::Bye { dialog, reason: None },
            None => Command::Cancel { dialog },
        };
        self.leave(out);
        self.command(now, command, out);
        self.next_frame = None;
    }

    /// A packet of the agent: the stopwatch reads arrival times, not what a jitter buffer makes of them.
    fn hear(&mut self, at: Instant, datagram: &[u8], out: &mut Vec<Output>) {
        let (Some(line), Some(invited)) = (&mut self.line, self.invited) else { return };
        let Some(packet) = line.hear(at, datagram) else { return };
        if self.held.is_some_and(|since| at > since + UNDER_WAY) {
            self.measures.on_hold += 1;
        }
        self.ears.packet(at, packet.sequence, &mut self.measures);
        if packet.voiced && self.ears.voice(at, invited, &mut self.measures) {
            out.push(Output::Tell(Happening::Agent(true)));
        }
    }

    fn read(&mut self, stamped: &Stamped) {
        if let call::Event::Sentence { text, .. } = &stamped.event {
            self.words.push_str(&text.to_lowercase());
            self.words.push(' ');
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.sip_wake.is_some_and(|at| at <= now) {
            self.sip(now, sip::Input::Timeout, out);
        }
        if self.silent_until.take_if(|until| *until <= now).is_some() && !self.over {
            self.measures.status.get_or_insert(408);
            self.over = true;
            out.push(Output::Tell(Happening::Failed(408, "no response".to_owned())));
            self.command(now, Command::Cancel { dialog: self.key() }, out);
        }
        let Some(due) = self.next_frame.filter(|at| *at <= now && !self.over) else { return };
        let period = period(self.dial.clock_ppm);
        self.next_frame = Some(if due + period * 5 < now { now + period } else { due + period });
        if self.ears.notice_silence(now, &mut self.measures) {
            out.push(Output::Tell(Happening::Agent(false)));
        }
        self.play(now, out);
        self.send_frame(now, out);
    }

    /// The script's next steps, as far as they can be taken now.
    fn play(&mut self, now: Instant, out: &mut Vec<Output>) {
        for _ in 0..8 {
            let words = std::mem::take(&mut self.words);
            let todo = self.player.next(&self.situation(now, &words));
            self.words = words;
            match todo {
                Todo::Wait => return,
                Todo::Say(text) => {
                    self.begin_step(now, self.dial.speech.clone().get(&text).map_or(&[], Vec::as_slice));
                    out.push(Output::Tell(Happening::Saying(text)));
                }
                Todo::Play(path) => {
                    self.begin_step(now, self.dial.files.clone().get(&path).map_or(&[], Vec::as_slice));
                    out.push(Output::Tell(Happening::Saying(path.display().to_string())));
                }
                Todo::Press(keys, by) => {
                    self.begin_step(now, &[]);
                    self.mouth.press(now, &keys, by);
                    out.push(Output::Tell(Happening::Pressing(keys)));
                }
                Todo::Hold(hold) => self.hold(now, hold, out),
                Todo::Met(what) => out.push(Output::Tell(Happening::Met(what))),
                Todo::Failed(what) => self.unmet(what, out),
                Todo::HangUp => return self.hang_up(now, out),
            }
        }
    }

    fn begin_step(&mut self, now: Instant, samples: &[i16]) {
        self.mouth.say(samples);
        self.words.clear();
        self.ears.own_step(now, !samples.is_empty(), &mut self.measures);
    }

    fn hold(&mut self, now: Instant, hold: bool, out: &mut Vec<Output>) {
        self.ears.own_step(now, false, &mut self.measures);
        self.offered = Some(hold);
        if !hold {
            // From here on audio is welcome, whatever has become of it before the answer comes.
            self.held = None;
        }
        self.description.local_mut().direction = if hold { Direction::SendOnly } else { Direction::SendRecv };
        let sdp = self.description.offer();
        self.command(now, Command::Reinvite { dialog: self.key(), sdp }, out);
    }

    fn situation<'a>(&self, now: Instant, words: &'a str) -> Situation<'a> {
        let zero = self.answered.unwrap_or(now);
        Situation {
            at: now - zero,
            agent: self.ears.sound(zero),
            busy: self.mouth.is_busy() || self.offered.is_some(),
            words,
            last_answer: self.ears.last_answer,
            last_silence: self.ears.last_silence,
            over: self.over,
        }
    }

    fn send_frame(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(line) = &mut self.line else { return };
        let record = self.dial.record;
        line.listen(now, record.then_some(&mut self.recording.1));
        let key = self.mouth.key(now);
        if let Some((key, by)) = key.filter(|(_, by)| *by != Keypad::Info) {
            line.press(key, mouth::KEY, by == Keypad::Tone);
        }
        let (frame, starts) = self.mouth.frame(now);
        // On hold a phone may play music; this one says nothing.
        let packet = line.speak(&frame, starts, self.held.is_some());
        out.extend(packet.map(|packet| Output::Rtp(line.agreed().remote, packet)));
        let report = line.report(now);
        out.extend(report.map(|packet| control(line, packet)));
        if record {
            self.recording.0.extend_from_slice(frame.samples());
        }
        if let Some(at) = self.mouth.ended() {
            self.ears.own_end(at);
        }
        if let Some((key, Keypad::Info)) = key {
            let dialog = self.key();
            let content_type = "application/dtmf-relay".to_owned();
            let body = format!("Signal={key}\r\nDuration={}\r\n", mouth::KEY.as_millis());
            self.command(now, Command::Info { dialog, content_type, body }, out);
        }
    }

    /// The goodbye on the media's side.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let Some(line) = &mut self.line else { return };
        let goodbye = line.goodbye();
        out.extend(goodbye.map(|packet| control(line, packet)));
    }
}

/// RTCP goes where it was agreed to go.
fn control(line: &Line, packet: Vec<u8>) -> Output {
    match line.agreed() {
        agreed if agreed.rtcp_mux => Output::Rtp(agreed.remote, packet),
        agreed => Output::Rtcp(agreed.remote_rtcp, packet),
    }
}

/// 20 ms on a clock that is so far off.
fn period(clock_ppm: i32) -> Duration {
    FRAME.div_f64(1.0 + f64::from(clock_ppm) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_fast_has_shorter_periods() {
        assert_eq!(period(0), FRAME);
        let in_a_minute = |ppm| period(ppm) * 3_000;
        let off = |ppm| in_a_minute(ppm).as_secs_f64() - 60.0;
        assert!((off(500) + 0.030).abs() < 1e-3 && (off(-500) - 0.030).abs() < 1e-3);
    }
}
