//! The loop: take the earliest thing that can happen, move the clock there, step the machine, play the outside's part.
//! Knows all machines and both ends; decides nothing that the product decides.

use crate::{
    Scenario,
    caller::{Caller, Doing},
    link::Draw as _,
    providers::{CLIP_VOICE, Providers, Report, voice, whose},
    timeline,
};
use call::{
    Call, CallConfig, CallContext, CallId, CallSetup, Clip, Clips, Event, HangUp, Input, Localised, Output,
    SipInput, SipOutput, Stamped,
    cdr::{Arrival, Cause, Cdr},
    port_slots::PortSlots,
};
use conversation::{Agent, Checkpoint, TurnId, Variables};
use media::{RtpPacket, SampleRate, tone::Chance};
use sip::{CodecSpec, Command, DialogKey, Endpoint, EndpointConfig, Flow, LocalMedia, Transport};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// A packet of ours, as it left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// After the INVITE arrived.
    pub at: Duration,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The turn whose voice it carried; `None` is silence.
    pub voice: Option<TurnId>,
    /// Whether it carried a prepared sentence other than the greeting.
    pub clip: bool,
    /// Whether it went where the caller said it listens.
    pub to_caller: bool,
    /// How loud it was.
    pub dbfs: f32,
}

/// A frame of the caller, as speech-to-text got it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// After the INVITE arrived.
    pub at: Duration,
    /// Its rate.
    pub rate: SampleRate,
    /// How loud it was.
    pub dbfs: f32,
    /// How often its samples change their sign: twice the tone's frequency times 20 ms.
    pub crossings: u32,
}

/// What text-to-speech was told about a turn, and what it told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To speak a sentence.
    Speak,
    /// It has spoken a sentence.
    Spoken,
    /// That no more sentences come.
    Finish,
    /// That the turn is not wanted any more.
    Cancel,
}

/// What is on its way.
enum Coming {
    ToServer(u32, Vec<u8>),
    ToCaller(u32, Vec<u8>),
    Rtp(u32, Vec<u8>),
    Provider(u32, Report),
    Dial(u32),
    Drain,
}

/// One caller and, if it was admitted, its call.
struct Line {
    caller: Caller,
    caller_wake: Option<Instant>,
    scenario: Scenario,
    chance: Chance,
    dialog: Option<DialogKey>,
    call: Option<(Call, Option<Instant>)>,
    slot: Option<call::port_slots::PortSlot>,
    providers: Providers,
    invited: Instant,
    told: Told,
}

/// What could be observed of one call.
#[derive(Default)]
struct Told {
    trace: Vec<Stamped>,
    sent: Vec<Sent>,
    spoken: Vec<(TurnId, String)>,
    heard: Vec<Heard>,
    requests: Vec<conversation::LlmRequest>,
    ran: Vec<(conversation::ToolCall, Variables)>,
    kept: Vec<Option<Checkpoint>>,
    cdr: Option<Cdr>,
    cdrs: u32,
    over: bool,
    afterwards: Vec<String>,
    orders: Vec<(TurnId, Order)>,
    holds: Vec<(Duration, Duration)>,
    languages: Vec<(Duration, String)>,
}

/// Runs scenarios against the machines and keeps what could be observed from outside.
pub struct World {
    start: Instant,
    now: Instant,
    chance: Chance,
    server: Endpoint,
    server_wake: Option<Instant>,
    slots: PortSlots,
    agent: Arc<Agent>,
    config: CallConfig,
    lines: Vec<Line>,
    arrivals: BTreeMap<(Instant, u64), Coming>,
    counted: u64,
    /// Most calls that held a slot at once.
    pub busiest: u32,
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 5_060);
const STRANGER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9)), 9_999);
const PORTS: u16 = 20_000;

impl World {
    /// A world with one caller.
    pub fn new(start: Instant, seed: u64, agent: Arc<Agent>, scenario: Scenario) -> Self {
        Self::with_callers(start, seed, agent, vec![(Duration::ZERO, scenario)])
    }

    /// A world with callers that dial at their times. The first one's cap counts.
    pub fn with_callers(
        start: Instant,
        seed: u64,
        agent: Arc<Agent>,
        callers: Vec<(Duration, Scenario)>,
    ) -> Self {
        let cap = callers.first().map_or(0, |(_, scenario)| scenario.cap);
        let mut world = Self {
            start,
            now: start,
            chance: Chance::new(seed),
            server: Endpoint::new(EndpointConfig::default(), [3; 32]),
            server_wake: None,
            slots: PortSlots::new(cap, cap, Duration::from_secs(30)),
            agent,
            config: CallConfig::default(),
            lines: Vec::new(),
            arrivals: BTreeMap::new(),
            counted: 0,
            busiest: 0,
        };
        for (number, (dials, scenario)) in callers.into_iter().enumerate() {
            let number = number as u32;
            let line_seed = seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number));
            world.lines.push(Line {
                caller: Caller::new(number, scenario.clone(), SERVER, line_seed),
                caller_wake: None,
                providers: Providers::new(scenario.clone()),
                scenario,
                chance: Chance::new(line_seed),
                dialog: None,
                call: None,
                slot: None,
                invited: start,
                told: Told::default(),
            });
            world.arrive(start + dials, Coming::Dial(number));
        }
        world
    }

    /// Changes how calls behave.
    pub fn configure(mut self, change: impl FnOnce(&mut CallConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// The server is told to stop at this time.
    pub fn drain_at(mut self, at: Duration) -> Self {
        self.arrive(self.start + at, Coming::Drain);
        self
    }

    /// Runs to the end of the longest scenario, jumping from event to event.
    pub fn run(mut self) -> Self {
        let end = self.lines.iter().map(|line| line.scenario.length).max().unwrap_or_default();
        let end = self.start + end;
        while let Some((at, next)) = self.next() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.happen(next);
        }
        self
    }

    fn next(&self) -> Option<(Instant, Next)> {
        let arrival = self.arrivals.first_key_value().map(|((at, _), _)| (*at, Next::Arrival));
        let server = self.server_wake.map(|at| (at, Next::Server));
        let lines = self.lines.iter().enumerate().flat_map(|(number, line)| {
            let call = line.call.as_ref().and_then(|(_, wake)| wake.map(|at| (at, Next::Call(number))));
            let frame = line.caller.next_frame().map(|at| (at, Next::CallerFrame(number)));
            let timer = line.caller_wake.map(|at| (at, Next::CallerTimer(number)));
            call.into_iter().chain(frame).chain(timer)
        });
        arrival.into_iter().chain(server).chain(lines).min_by_key(|(at, _)| *at)
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Arrival => {
                if let Some((_, arrival)) = self.arrivals.pop_first() {
                    self.deliver(arrival);
                }
            }
            Next::Server => {
                let before = self.now;
                self.step_server(sip::Input::Timeout);
                assert!(self.server_wake.is_none_or(|at| at > before), "a SIP timer that changes nothing");
            }
            Next::Call(number) => {
                let late = self.lines[number].scenario.wake_late;
                self.now += self.chance.up_to(late);
                self.step_call(number, Input::Timeout);
                let wake = self.lines[number].call.as_ref().and_then(|(_, wake)| *wake);
                assert!(
                    wake.is_none_or(|at| at > self.now),
                    "a timeout that changes nothing comes back for ever"
                );
            }
            Next::CallerFrame(number) => {
                let doing = self.lines[number].caller.act(self.now);
                for doing in doing {
                    self.do_for(number, doing);
                }
            }
            Next::CallerTimer(number) => {
                let (sends, wake) = self.lines[number].caller.input(self.now, sip::Input::Timeout);
                self.caller_sends(number, sends, wake);
            }
        }
    }

    fn do_for(&mut self, number: usize, doing: Doing) {
        match doing {
            Doing::Rtp(wait, to, datagram) => {
                assert_eq!(to.ip(), SERVER.ip(), "the caller sends where our answer said");
                let line = &mut self.lines[number];
                for delay in line.scenario.link.deliver(&mut line.chance) {
                    self.arrive(self.now + wait + delay, Coming::Rtp(number as u32, datagram.clone()));
                }
            }
            Doing::Sip(sends) => {
                let (more, wake) = self.lines[number].caller.input(self.now, sip::Input::Timeout);
                self.caller_sends(number, sends.into_iter().chain(more).collect(), wake);
            }
        }
    }

    fn caller_sends(&mut self, number: usize, sends: Vec<sip::Output>, wake: Option<Instant>) {
        self.lines[number].caller_wake = wake;
        for send in sends {
            if let sip::Output::Send { bytes, .. } = send {
                let line = &mut self.lines[number];
                for delay in line.scenario.link.deliver(&mut line.chance) {
                    self.arrive(self.now + delay, Coming::ToServer(number as u32, bytes.clone()));
                }
            }
        }
    }

    fn arrive(&mut self, at: Instant, arrival: Coming) {
        self.counted += 1;
        self.arrivals.insert((at, self.counted), arrival);
    }

    fn deliver(&mut self, arrival: Coming) {
        match arrival {
            Coming::Dial(number) => {
                let number = number as usize;
                let (sends, wake) = self.lines[number].caller.dial(self.now);
                self.caller_sends(number, sends, wake);
            }
            Coming::ToServer(number, bytes) => {
                let remote = self.lines[number as usize].caller.address();
                let flow = Flow { transport: Transport::Udp, local: SERVER, remote, connection: 0 };
                self.step_server(sip::Input::Message { flow, bytes: &bytes });
            }
            Coming::ToCaller(number, bytes) => {
                let number = number as usize;
                let caller = &mut self.lines[number].caller;
                let flow = Flow {
                    transport: Transport::Udp,
                    local: caller.address(),
                    remote: SERVER,
                    connection: 0,
                };
                let (sends, wake) = caller.input(self.now, sip::Input::Message { flow, bytes: &bytes });
                if let Some(answered) = caller.answered.filter(|at| *at == self.now) {
                    self.lines[number].providers.caller_starts(answered);
                }
                self.caller_sends(number, sends, wake);
            }
            Coming::Rtp(number, datagram) => {
                if self.lines[number as usize].scenario.stranger {
                    self.strange_packet(number as usize, &datagram);
                }
                let from = self.lines[number as usize].caller.media_address();
                self.step_call(number as usize, Input::Rtp { from, datagram: &datagram });
            }
            Coming::Provider(number, report) => {
                if let Report::Tts(turn, call::TtsEvent::SentenceDone { .. }) = &report {
                    self.lines[number as usize].told.orders.push((*turn, Order::Spoken));
                }
                self.step_call(
                    number as usize,
                    match report {
                        Report::Stt(event) => Input::Stt(event),
                        Report::Llm(turn, event) => Input::Llm(turn, event),
                        Report::Tts(turn, event) => Input::Tts(turn, event),
                        Report::Tool(turn, result) => Input::Tool(turn, result),
                        Report::Found(number, result) => Input::Found { number, result },
                        Report::TurnJudged(pause, probability) => Input::TurnJudged { pause, probability },
                    },
                )
            }
            Coming::Drain => {
                self.step_server(sip::Input::Command(Command::Drain(true)));
                for number in 0..self.lines.len() {
                    self.step_call(number, Input::HangUp(HangUp::Drain));
                }
            }
        }
    }

    /// Somebody else's packet: as loud as can be, and with numbers that would fit the caller's stream.
    fn strange_packet(&mut self, number: usize, like: &[u8]) {
        let Ok(packet) = RtpPacket::parse(like) else { return };
        let mut datagram = Vec::new();
        let payload: Vec<u8> = (0..160).map(|n| if n % 8 < 4 { 0x00 } else { 0x80 }).collect();
        RtpPacket { sequence: packet.sequence.wrapping_add(1), payload: &payload, ..packet }
            .write(&mut datagram);
        self.step_call(number, Input::Rtp { from: STRANGER, datagram: &datagram });
    }

    fn step_server(&mut self, input: sip::Input<'_>) {
        let mut out = Vec::new();
        self.server_wake = self.server.step(self.now, input, &mut out);
        for output in out {
            match output {
                sip::Output::Send { flow, bytes } => self.server_sends(flow, &bytes),
                sip::Output::Event(event) => self.server_event(event),
                sip::Output::CloseFlow { .. } => {}
            }
        }
    }

    fn server_sends(&mut self, flow: Flow, bytes: &[u8]) {
        let number = self.lines.iter().position(|line| line.caller.address() == flow.remote);
        let Some(number) = number else { return };
        let line = &mut self.lines[number];
        for delay in line.scenario.link.deliver(&mut line.chance) {
            self.arrive(self.now + delay, Coming::ToCaller(number as u32, bytes.to_vec()));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "events of the client role do not occur here")]
    fn server_event(&mut self, event: sip::Event) {
        match event {
            sip::Event::Invite(invite) => self.admit(invite),
            sip::Event::Refused { flow, .. } => {
                let number = self.lines.iter().position(|line| line.caller.address() == flow.remote);
                if let Some(number) = number {
                    self.record_refusal(number, Cause::Draining, 503);
                }
            }
            sip::Event::Acked { dialog, sdp } => self.tell(dialog, SipInput::Acked { sdp }),
            sip::Event::Cancelled { dialog } => self.tell(dialog, SipInput::Cancelled),
            sip::Event::Bye { dialog, reason } => self.tell(dialog, SipInput::Bye { reason }),
            sip::Event::AckTimeout { dialog } => self.tell(dialog, SipInput::AckTimeout),
            sip::Event::SessionExpired { dialog } => self.tell(dialog, SipInput::SessionExpired),
            sip::Event::Reinvite { dialog, offer } => self.tell(dialog, SipInput::Reoffer { sdp: offer }),
            sip::Event::Referred { dialog, status } => self.tell(dialog, SipInput::Referred { status }),
            sip::Event::Notify { dialog, body, .. } => self.tell(dialog, SipInput::Notify { body }),
            _ => {}
        }
    }

    fn tell(&mut self, dialog: DialogKey, input: SipInput) {
        if let Some(number) = self.lines.iter().position(|line| line.dialog == Some(dialog)) {
            self.step_call(number, Input::Sip(input));
        }
    }

    /// What the server does with a new call: a slot first, then the call.
    fn admit(&mut self, invite: sip::IncomingInvite) {
        let Some(number) = self.lines.iter().position(|line| line.caller.address() == invite.flow.remote)
        else {
            return;
        };
        self.lines[number].invited = self.now;
        let Ok(grant) = self.slots.acquire(self.now) else {
            self.record_refusal(number, Cause::PortsFull, 503);
            let respond = Command::Respond {
                dialog: invite.dialog,
                status: 503,
                reason: None,
                sdp: None,
                headers: Vec::new(),
            };
            return self.step_server(sip::Input::Command(respond));
        };
        self.busiest = self.busiest.max(self.slots.busy());
        let setup = CallSetup {
            id: CallId(number as u64),
            agent: Arc::clone(&self.agent),
            clips: Arc::new(clips(&self.agent, self.lines[number].scenario.clips)),
            grant,
            offer: invite.offer,
            local: LocalMedia {
                codecs: vec![CodecSpec::PCMU, CodecSpec::PCMA, CodecSpec::G722, CodecSpec::OPUS],
                session_id: number as u64,
                ..LocalMedia::new(SERVER.ip(), PORTS + grant.slot.0 as u16 * 2)
            },
            seed: number as u64,
            started_at_us: 0,
            today: jiff::civil::date(2026, 11, 20),
            context: CallContext {
                languages: Arc::new(localised(&self.agent, self.lines[number].scenario.clips)),
                ..self.lines[number].scenario.context.clone()
            },
        };
        let line = &mut self.lines[number];
        line.slot = Some(grant.slot);
        line.dialog = Some(invite.dialog);
        line.told.cdr = Some(Cdr::new(arrival(number)));
        let config = CallConfig { turn_model: !line.scenario.by_ear.is_empty(), ..self.config.clone() };
        line.call = Some((Call::new(self.now, config, setup), None));
        self.step_call(number, Input::Timeout);
    }

    fn record_refusal(&mut self, number: usize, cause: Cause, status: u16) {
        let told = &mut self.lines[number].told;
        told.cdr = Some(Cdr::refused(arrival(number), cause, status, 0));
        told.cdrs += 1;
    }

    fn step_call(&mut self, number: usize, input: Input<'_>) {
        let line = &mut self.lines[number];
        let Some((call, wake)) = &mut line.call else { return };
        let mut out = Vec::new();
        let next = call.step(self.now, input, &mut out);
        *wake = next;
        if next.is_none() {
            line.call = None;
            if let Some(slot) = line.slot.take() {
                assert!(self.slots.release(self.now, slot), "a slot came back twice");
            }
        }
        for output in out {
            self.carry_out(number, output);
        }
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        let now = self.now;
        let line = &mut self.lines[number];
        if line.told.over {
            line.told.afterwards.push(format!("{output:?}"));
        }
        let later = match output {
            Output::SendRtp { to, datagram } => {
                let to_caller = to == line.caller.media_address();
                return line.told.sent.extend(sent(now - line.invited, &datagram, to_caller));
            }
            Output::Hear(frame) => {
                let (at, rate, dbfs) = (now - line.invited, frame.rate(), frame.level_dbfs());
                let signs = frame.samples().windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0));
                line.told.heard.push(Heard { at, rate, dbfs, crossings: signs.count() as u32 });
                line.providers.hear(now)
            }
            // Nobody records here, ports cost nothing, and voices speak at any rate.
            Output::Record { .. } | Output::RtcpMux(_) | Output::Rate(_) | Output::Judge { .. } => return,
            Output::FinalizeStt => line.providers.finalize(now),
            Output::JudgeTurn { pause } => line.providers.judge_turn(now, pause),
            Output::LookUp { number, words, passages } => {
                line.providers.look_up(now, number, &words, passages)
            }
            Output::Ask { turn, request } => {
                line.told.requests.push(request);
                line.providers.ask(now, turn, &mut line.chance)
            }
            Output::Speak { turn, sentence, text } => {
                let rate = line.call.as_ref().map_or(SampleRate::Hz8000, |(call, _)| call.rate());
                let later = line.providers.speak(now, turn, sentence, &text, rate);
                line.told.spoken.push((turn, text));
                line.told.orders.push((turn, Order::Speak));
                later
            }
            Output::RunTool { turn, call, variables } => {
                line.told.ran.push((call.clone(), variables));
                line.providers.run(now, turn, &call)
            }
            Output::HandOver { .. } => return,
            Output::Checkpoint(kept) => return line.told.kept.push(kept.map(|kept| *kept)),
            Output::Event(event) => return self.note(number, event),
            Output::Sip(output) => return self.signal(number, output),
            Output::FinishSpeech { turn } => return line.told.orders.push((turn, Order::Finish)),
            Output::Cancel { turn } => return line.told.orders.push((turn, Order::Cancel)),
            Output::SetLanguage { language } => {
                return line.told.languages.push((now - line.invited, language));
            }
            Output::SendRtcp { .. } | Output::Expect(_) => return,
        };
        for (at, report) in later {
            self.arrive(at, Coming::Provider(number as u32, report));
        }
    }

    fn note(&mut self, number: usize, event: Event) {
        let line = &mut self.lines[number];
        let at_us = (self.now - line.invited).as_micros() as u64;
        let stamped = Stamped { at_us, event };
        if let Some(cdr) = &mut line.told.cdr {
            cdr.observe(&stamped);
        }
        if matches!(stamped.event, Event::Ended { .. }) {
            line.told.cdrs += 1;
            line.told.over = true;
        }
        line.told.trace.push(stamped);
    }

    /// Notes from which answer of ours to which the caller does not want to hear us.
    fn note_hold(&mut self, number: usize, sdp: &str) {
        let line = &mut self.lines[number];
        let now = self.now - line.invited;
        let held = !sdp.contains("a=sendrecv");
        match line.told.holds.last_mut().filter(|(_, until)| *until == Duration::MAX) {
            Some((_, until)) if !held => *until = now,
            None if held => line.told.holds.push((now, Duration::MAX)),
            Some(_) | None => {}
        }
    }

    fn signal(&mut self, number: usize, output: SipOutput) {
        if let SipOutput::Answer { sdp } = &output {
            self.note_hold(number, sdp);
        }
        let Some(dialog) = self.lines[number].dialog else { return };
        let respond =
            |status, reason, sdp| Command::Respond { dialog, status, reason, sdp, headers: Vec::new() };
        let command = match output {
            SipOutput::Ring => respond(180, None, None),
            SipOutput::Answer { sdp } => respond(200, None, Some(sdp)),
            SipOutput::Headers(headers) => Command::AddToBye { dialog, headers },
            SipOutput::Reject { status, reason } => respond(status, Some(reason), None),
            SipOutput::Refer { refer_to, headers } => {
                Command::Refer { dialog, refer_to, referred_by: None, headers }
            }
            SipOutput::Info { content_type, body } => Command::Info { dialog, content_type, body },
            SipOutput::Bye { reason } => Command::Bye { dialog, reason },
        };
        self.step_server(sip::Input::Command(command));
    }

    /// What happened in the first call, with the machine's times since its INVITE.
    pub fn trace(&self) -> &[Stamped] {
        self.trace_of(0)
    }

    /// What happened in a caller's call.
    pub fn trace_of(&self, number: usize) -> &[Stamped] {
        &self.lines[number].told.trace
    }

    /// Every packet that we sent to the first caller.
    pub fn sent(&self) -> &[Sent] {
        &self.lines[0].told.sent
    }

    /// Every sentence that went to text-to-speech in the first call.
    pub fn spoken(&self) -> &[(TurnId, String)] {
        &self.lines[0].told.spoken
    }

    /// What text-to-speech was told in the first call, and what it told us, in order.
    pub fn orders(&self) -> &[(TurnId, Order)] {
        &self.lines[0].told.orders
    }

    /// What the model was given to say, by turn.
    pub fn given(&self) -> &[(TurnId, String)] {
        &self.lines[0].providers.given
    }

    /// Every question to the model in the first call.
    pub fn requests(&self) -> &[conversation::LlmRequest] {
        &self.lines[0].told.requests
    }

    /// How often a tool was run in the first call.
    pub fn ran(&self, name: &str) -> usize {
        self.lines[0].told.ran.iter().filter(|(ran, _)| ran.name == name).count()
    }

    /// The tools that were run in the first call, with their arguments as they got them.
    pub fn tool_calls(&self) -> impl Iterator<Item = &conversation::ToolCall> {
        self.lines[0].told.ran.iter().map(|(call, _)| call)
    }

    /// What was kept of the first call, in order; nothing: it was forgotten.
    pub fn kept(&self) -> &[Option<Checkpoint>] {
        &self.lines[0].told.kept
    }

    /// What was known of the first call when a tool was run for the first time.
    pub fn known_to(&self, name: &str) -> Option<&Variables> {
        self.lines[0].told.ran.iter().find(|(ran, _)| ran.name == name).map(|(_, known)| known)
    }

    /// Whom the first caller's side was asked to call instead.
    pub fn referred(&self) -> &[String] {
        &self.lines[0].caller.referred_to
    }

    /// Frames that speech-to-text was given in the first call.
    pub fn heard_frames(&self) -> u64 {
        self.lines[0].told.heard.len() as u64
    }

    /// Those frames, in order.
    pub fn heard(&self) -> &[Heard] {
        &self.lines[0].told.heard
    }

    /// The caller's record, and how many records were finished for it: one is right.
    pub fn cdr_of(&self, number: usize) -> (Option<&Cdr>, u32) {
        (self.lines[number].told.cdr.as_ref(), self.lines[number].told.cdrs)
    }

    /// The final status that a caller's INVITE got.
    pub fn status_of(&self, number: usize) -> Option<u16> {
        self.lines[number].caller.status
    }

    /// Whether a caller's dialog is over.
    pub fn hung_up(&self, number: usize) -> bool {
        self.lines[number].caller.over
    }

    /// Slots in use at the end.
    pub fn busy(&self) -> u32 {
        self.slots.busy()
    }

    /// Dialogs that the server still knows.
    pub fn dialogs(&self) -> usize {
        self.server.statistics().dialogs
    }

    /// What the first call still wanted after it had said that it was over: nothing is right.
    pub fn afterwards(&self) -> &[String] {
        &self.lines[0].told.afterwards
    }

    /// When the first caller had put us on hold, by our own answers.
    pub fn holds(&self) -> &[(Duration, Duration)] {
        &self.lines[0].told.holds
    }

    /// When the first call changed its language, and into which.
    pub fn languages(&self) -> &[(Duration, String)] {
        &self.lines[0].told.languages
    }

    /// The first call as text, one line per event: what the caller does and what comes of it.
    pub fn timeline(&self) -> String {
        let line = &self.lines[0];
        let acts = line.caller.done.iter().map(|(at, act)| {
            let at_us = at.saturating_duration_since(line.invited).as_micros() as u64;
            (at_us, format!("        caller {act}"))
        });
        timeline::write(acts, self.trace())
    }
}

#[derive(Clone, Copy)]
enum Next {
    Arrival,
    Server,
    Call(usize),
    CallerFrame(usize),
    CallerTimer(usize),
}

fn arrival(number: usize) -> Arrival {
    Arrival {
        call: CallId(number as u64),
        sip_call_id: format!("simulated-{number}"),
        invited_at_us: 0,
        trunk: "simulated".into(),
        caller: "caller".into(),
        called: "agent".into(),
    }
}

/// Prepared sentences whose samples say what they are.
fn clips(agent: &Agent, rendered: bool) -> Clips {
    let clip = |text: &str, value: i16| Clip {
        text: text.to_owned(),
        samples: if rendered { vec![value; text.len() * 480] } else { Vec::new() },
        wide: Vec::new(),
    };
    let fallbacks = agent.fallback();
    Clips {
        ambience: call::Ambience::default(),
        greeting: Clip {
            text: "Hello, how can I help?".into(),
            samples: if rendered {
                voice(TurnId::default(), SampleRate::Hz8000).repeat(50)
            } else {
                Vec::new()
            },
            wide: Vec::new(),
        },
        trouble: clip(&fallbacks.trouble, CLIP_VOICE),
        not_heard: clip(&fallbacks.not_heard, CLIP_VOICE),
        still_there: clip(&fallbacks.still_there, CLIP_VOICE),
        goodbye: clip(&fallbacks.goodbye, CLIP_VOICE),
        acknowledge: fallbacks.acknowledge.iter().map(|text| clip(text, CLIP_VOICE)).collect(),
        one_moment: fallbacks.one_moment.iter().map(|text| clip(text, CLIP_VOICE)).collect(),
        ending_soon: clip(&fallbacks.ending_soon, CLIP_VOICE),
        menu: clip(agent.menu().map_or("", |menu| &menu.prompt), CLIP_VOICE),
        menu_options: agent
            .menu()
            .into_iter()
            .flat_map(|menu| &menu.options)
            .map(|option| clip(&option.say, CLIP_VOICE))
            .collect(),
    }
}

/// The agent in each of its languages, if it has several.
fn localised(agent: &Arc<Agent>, rendered: bool) -> BTreeMap<String, Localised> {
    let others = agent.languages().iter().map(|other| (Arc::clone(other), false));
    let all = std::iter::once((Arc::clone(agent), true)).chain(others);
    let spoken = all.map(|(agent, first)| {
        let mut clips = clips(&agent, rendered);
        clips.greeting.text = agent.greeting(agent.variables());
        (agent.language().to_owned(), Localised { clips: Arc::new(clips), agent, first })
    });
    if agent.languages().is_empty() { BTreeMap::new() } else { spoken.collect() }
}

/// Reads back from a packet whose voice it carries.
fn sent(at: Duration, datagram: &[u8], to_caller: bool) -> Option<Sent> {
    let packet = RtpPacket::parse(datagram).ok()?;
    let mut samples = Vec::new();
    let codec = if packet.payload_type == 8 { media::Codec::Pcma } else { media::Codec::Pcmu };
    codec.decode(packet.payload, &mut samples);
    // A prepared sentence never swings; the other voices do.
    let quietest = samples.iter().rev().take(40).min().copied().unwrap_or(0);
    Some(Sent {
        at,
        sequence: packet.sequence,
        timestamp: packet.timestamp,
        voice: whose(&samples),
        clip: quietest > 60,
        to_caller,
        dbfs: media::Frame::from_samples(SampleRate::Hz8000, &samples).level_dbfs(),
    })
}
