//! The call: the 20 ms heartbeat, and where each input goes.
//! Turn-taking effects are in `turns.rs`, the dialog in `signalling.rs`; this file is the map of both.

use crate::{
    CallConfig, CallSetup, Event, HangUp, Input, KeysBy, Output, Side, SipInput, SipOutput,
    cdr::Cause,
    codec::conversation_rate,
    knowledge::Searches,
    language::Speaking,
    leg::{Leg, Listened, Wall},
    menu::MenuState,
    pressing::info_body,
    reply::{Reply, RunningTool},
    secrets::Secrets,
    silence::{Ladder, is_filler},
    speculation::Speculation,
    transfer::Passing,
};
use conversation::{Context, Floor, FloorConfig, Holder, LoopWatch, Position, Sound, TurnId};
use media::{Digit, EchoGuard, FRAME, Frame, Pitch, SampleRate};
use sip::MediaSession;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Where a call is in its life.
pub(crate) enum Phase {
    /// The first step has yet to deal with the INVITE.
    Arrived,
    /// 180 is out; this is the answer, to be sent at `next_frame`, which is sooner once the start is on disk.
    Ringing {
        /// Our session description.
        sdp: String,
    },
    /// Our 200 is out; the greeting waits for the ACK or for the caller's first packet.
    Answered,
    /// The conversation.
    Talking,
    /// Only the farewell is left to be heard.
    Leaving,
    /// Nothing more happens.
    Over,
}

/// One call.
pub struct Call {
    pub(crate) config: CallConfig,
    pub(crate) setup: CallSetup,
    /// Our descriptions, one after the other.
    pub(crate) description: MediaSession,
    pub(crate) phase: Phase,
    pub(crate) started: Instant,
    pub(crate) wall: Wall,
    pub(crate) leg: Option<Leg>,
    /// Of the frames it hears and the samples it is given to speak.
    pub(crate) rate: SampleRate,
    /// When the dialog last showed life.
    last_dialog: Instant,
    pub(crate) floor: Floor,
    pub(crate) context: Context,
    pub(crate) turn: TurnId,
    pub(crate) reply: Option<Reply>,
    pub(crate) next_frame: Instant,
    /// Its frames are whole ones away from then. Answers come together, when the start of many calls is on disk, and what
    /// providers say at the beginning does, too: neither may decide when a call works.
    beat: Option<Instant>,
    /// The number of the frame that is under way.
    frame: u64,
    /// The caller's pauses so far.
    pub(crate) pauses: u32,
    pub(crate) hearing: Hearing,
    pub(crate) speculation: Speculation,
    pub(crate) searches: Searches,
    pub(crate) speaking: Speaking,
    pitch: Pitch,
    echo: EchoGuard,
    /// When the agent was last heard, and for what time it fell silent because of a sound.
    audible_at: Option<Instant>,
    pub(crate) paused_at: Option<Instant>,
    /// When the playout ran out of audio while a reply is under way.
    pub(crate) silent_since: Option<Instant>,
    /// Tools whose turn was cut: they go on, and how they ended is told.
    pub(crate) tools_left: BTreeMap<String, RunningTool>,
    /// The call is to end as soon as there is somebody to say goodbye to.
    pub(crate) farewell: Option<Cause>,
    pub(crate) ladder: Ladder,
    pub(crate) menu: MenuState,
    pub(crate) secrets: Secrets,
    pub(crate) loops: LoopWatch,
    /// How often it was handed over.
    pub(crate) hand_overs: u32,
    /// Where the call stands in its agent's graph.
    pub(crate) position: Option<Position>,
    /// The start is on disk, or nobody will say so.
    pub(crate) recorded: bool,
    /// The caller is being passed on.
    pub(crate) transfer: Option<Passing>,
    /// The caller was granted silence until then.
    pub(crate) excused_until: Option<Instant>,
    holder: Holder,
}

/// The caller's speech as the leg heard it: what the response gap is measured from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hearing {
    pub(crate) speech: bool,
    /// Loudest frame of the speech under way.
    peak_dbfs: f32,
    /// Arrival of the last packet with speech, and when it was taken from the jitter buffer.
    pub(crate) last: Option<(Instant, Instant)>,
}

impl Call {
    /// A call that has just arrived and holds its slot. The first [`Call::step`] answers it.
    pub fn new(now: Instant, config: CallConfig, setup: CallSetup) -> Self {
        let wall = Wall { at: now, us: setup.started_at_us };
        let resumed = setup.context.resumed.clone();
        let position = resumed
            .as_ref()
            .and_then(|kept| Position::named(&setup.agent, kept.node.as_deref()?))
            .or_else(|| Position::start(&setup.agent));
        let context = Context::new(setup.agent.system_prompt(&setup.context.variables))
            .with_variables(setup.context.variables.clone());
        let context = match &resumed {
            Some(kept) => context.after(kept),
            None => context,
        };
        Self {
            floor: Floor::new(FloorConfig {
                phrases: Some(setup.agent.phrases()),
                language: setup.agent.language().to_owned(),
                ..config.floor.clone()
            }),
            context,
            rate: conversation_rate(setup.offer.as_deref(), &setup.local),
            last_dialog: now,
            description: MediaSession::new(setup.local.clone()),
            recorded: config.patience.record.is_zero(),
            config,
            setup,
            phase: Phase::Arrived,
            started: now,
            wall,
            leg: None,
            turn: TurnId::default(),
            reply: None,
            next_frame: now + FRAME,
            beat: None,
            frame: 0,
            pauses: 0,
            hearing: Hearing::default(),
            speculation: Speculation::default(),
            searches: Searches::default(),
            speaking: Speaking::default(),
            pitch: Pitch::default(),
            echo: EchoGuard::default(),
            audible_at: None,
            paused_at: None,
            silent_since: None,
            tools_left: BTreeMap::new(),
            farewell: None,
            ladder: Ladder::default(),
            menu: MenuState::default(),
            secrets: Secrets::default(),
            loops: LoopWatch::default(),
            hand_overs: 0,
            position,
            transfer: None,
            excused_until: None,
            holder: Holder::Nobody,
        }
    }

    /// The rate of the frames in [`Output::Hear`], and of the samples in [`crate::TtsEvent::Audio`]: it is known from the
    /// offer on and stays for the whole call. Without an offer it is a guess until the caller's answer comes with the ACK:
    /// see [`Output::Rate`].
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Its 20 ms begin at `at` and whole frames away from it. Without this, the time of the first step counts. Whoever steps
    /// many calls spreads them by it.
    pub const fn keep_beat(&mut self, at: Instant) {
        self.beat = Some(at);
    }

    /// Takes one input, appends what to do about it to `out`, and returns when to come back with [`Input::Timeout`] if
    /// nothing else happens first; `None` when the call is over and can be dropped.
    pub fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        match self.phase {
            Phase::Arrived => {
                self.beat.get_or_insert(now);
                self.arrive(now, out);
            }
            Phase::Ringing { .. } | Phase::Answered | Phase::Talking | Phase::Leaving => {}
            Phase::Over => return None,
        }
        self.take(now, input, out);
        if matches!(self.phase, Phase::Talking) {
            self.speculate(now, out);
        }
        if !matches!(self.phase, Phase::Over) {
            self.note_floor(out);
        }
        match self.phase {
            Phase::Over => None,
            Phase::Arrived | Phase::Ringing { .. } | Phase::Answered => {
                Some(self.second_half_at().unwrap_or(self.next_frame))
            }
            Phase::Talking | Phase::Leaving => {
                // The end of a turn need not wait for the next frame.
                let wake = self.floor.next_wake().map_or(self.next_frame, |wake| wake.max(now + SOON));
                let wake = self.second_half_at().map_or(wake, |half| half.min(wake));
                // Nor need words that wait in vain for more of them.
                let idle = self.reply.as_ref().and_then(Reply::idle_at).filter(|at| *at > now);
                let wake = idle.map_or(wake, |idle| idle.min(wake));
                // Nor a question that waits for its passages.
                let wake = self.search_wake().map_or(wake, |until| until.max(now + SOON).min(wake));
                Some(wake.min(self.next_frame))
            }
        }
    }

    fn take(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Rtp { from, datagram } => self.handle_rtp(now, from, datagram, out),
            Input::Rtcp { from, datagram } => {
                if let Some(leg) = &mut self.leg {
                    leg.receive_report(now, from, datagram);
                }
            }
            Input::Sip(event) => self.handle_sip(now, event, out),
            Input::Stt(event) => self.handle_stt(now, event, out),
            Input::Llm(turn, event) => self.handle_llm(now, turn, event, out),
            Input::Tts(turn, event) => self.handle_tts(now, turn, event, out),
            Input::Tool(turn, result) => self.handle_tool(now, turn, result, out),
            Input::Found { number, result } => self.handle_found(now, number, result, out),
            Input::Recorded => self.handle_recorded(now, out),
            Input::Judged { number, probability } => {
                if let Some(leg) = &mut self.leg {
                    leg.judged(number, probability);
                }
            }
            Input::TurnJudged { pause, probability } => self.handle_by_ear(now, pause, probability, out),
            Input::Press { keys, by } => self.press_keys(&keys, by, out),
            Input::HangUp(HangUp::Drain) => self.say_goodbye(now, Cause::ServerStopping, out),
            Input::HangUp(HangUp::Admin) => self.end(Cause::Admin, out),
            Input::Timeout => self.handle_timeout(now, out),
        }
    }

    fn handle_sip(&mut self, now: Instant, event: SipInput, out: &mut Vec<Output>) {
        self.last_dialog = now;
        match event {
            SipInput::Acked { sdp } => self.handle_ack(now, sdp.as_deref(), out),
            SipInput::Cancelled => self.end(Cause::CallerCancelled, out),
            SipInput::Bye { .. } => {
                let passed_on = self.transfer.as_ref().is_some_and(Passing::is_accepted);
                self.end(if passed_on { Cause::Transferred } else { Cause::CallerHungUp }, out);
            }
            SipInput::Referred { status } => self.handle_referred(now, status, out),
            SipInput::Notify { body } => self.handle_notify(now, &body, out),
            SipInput::AckTimeout => self.end(Cause::AckTimeout, out),
            SipInput::SessionExpired => self.end(Cause::SessionExpired, out),
            SipInput::Reoffer { sdp } => self.handle_reoffer(now, sdp.as_deref(), out),
            SipInput::Info { content_type, body } => {
                let leg = self.leg.as_mut();
                if let Some(digit) = leg.and_then(|leg| leg.receive_info(now, &content_type, &body)) {
                    self.press(now, digit, out);
                }
            }
        }
    }

    fn handle_rtp(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Vec<Output>) {
        let Some(leg) = &mut self.leg else { return };
        let digit = leg.receive(now, from, datagram);
        if matches!(self.phase, Phase::Answered) && leg.heard_at(now) {
            // The ACK may be lost; the caller's voice says as well that our answer has arrived.
            self.greet(now, out);
        }
        if let Some(digit) = digit {
            self.press(now, digit, out);
        }
    }

    /// The caller pressed a key, by whichever way it was told.
    fn press(&mut self, now: Instant, digit: Digit, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::Digit));
        let decision = self.floor.handle_digit(now, digit.0);
        self.decide(now, decision, out);
    }

    /// Presses keys for the other side: the heartbeat sends them one by one.
    pub(crate) fn press_keys(&mut self, keys: &str, by: KeysBy, out: &mut Vec<Output>) {
        let count = self.leg.as_mut().map_or(0, |leg| leg.press(keys, by));
        out.push(Output::Event(Event::KeysSent { count }));
    }

    /// Every 20 ms one frame in and one packet out. A late wake-up sends one packet and skips the others' timestamps:
    /// a burst would only arrive late together. The ears catch up, so that speech-to-text gets every frame.
    fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.watch_search(now, out);
        if now < self.next_frame {
            self.say_early(now, out);
            self.send_second_half(now, out);
            return self.watch_floor(now, out);
        }
        if matches!(self.phase, Phase::Ringing { .. }) {
            return self.answer(now, out);
        }
        if self.leg.is_none() {
            self.next_frame = self.next_beat(now);
            return;
        }
        let behind = u32::try_from((now - self.next_frame).as_nanos() / FRAME.as_nanos()).unwrap_or(u32::MAX);
        self.frame += u64::from(behind);
        for ago in (0..=behind.min(MOST_BEHIND)).rev() {
            self.listen(now, self.frame - u64::from(ago), out);
        }
        if let Some(leg) = self.leg.as_mut().filter(|_| behind > 0) {
            leg.skip(behind);
        } else {
            self.send_second_half(now, out);
        }
        self.speak(now, out);
        self.frame += 1;
        self.next_frame += FRAME * behind.saturating_add(1);
        self.watch(now, out);
    }

    /// The caller's 20 ms with this number: voice activity, the floor, speech-to-text.
    fn listen(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let talking = matches!(self.phase, Phase::Talking);
        let Some(leg) = &mut self.leg else { return };
        let on_hold = leg.on_hold();
        let mut listened = leg.listen(now, number);
        if self.config.vad_elsewhere {
            out.push(Output::Judge { number, frame: listened.heard.frame.clone() });
        }
        if self.config.record {
            // Keys leave tones in the audio, too.
            let quiet = self.secrets.is_awaited().then(|| Frame::silence(self.rate));
            let frame = quiet.unwrap_or_else(|| listened.heard.frame.clone());
            out.push(Output::Record { side: Side::Caller, number, frame });
        }
        if !talking {
            return;
        }
        if on_hold {
            // What comes now is music, if anything. A question asked before is answered all the same.
            self.floor.excuse(now);
            let decision = self.floor.handle_frame(now, Sound::Silence);
            return self.decide(now, decision, out);
        }
        self.pitch.push(&listened.heard.frame);
        self.echo.received(&listened.heard.frame);
        listened.speech &= !self.is_echo(now);
        if listened.speech != self.hearing.speech {
            out.push(Output::Event(Event::Speech { active: listened.speech }));
        }
        let voiced = self.hearing.note(now, &listened);
        if voiced {
            self.ladder.note_heard(now);
        }
        let sound = match voiced {
            true if self.floor.holder() == Holder::Agent && !self.pitch.is_voiced() => Sound::Unvoiced,
            true => Sound::Voiced,
            false => Sound::Silence,
        };
        let decision = self.floor.handle_frame(now, sound);
        out.push(Output::Hear(listened.heard.frame));
        self.decide(now, decision, out);
        if let Some(digit) = listened.digit {
            self.press(now, digit, out);
        }
    }

    /// Whether what the caller's line gives is our own voice. Looked at only while there is one to come back.
    fn is_echo(&mut self, now: Instant) -> bool {
        let sounds = self.audible_at.is_some_and(|at| now.duration_since(at) <= ECHO);
        sounds && self.floor.holder() == Holder::Agent && self.hearing.speech && self.echo.is_echo()
    }

    /// Our 20 ms.
    fn speak(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.voice_agent(now);
        let Some(leg) = &mut self.leg else { return };
        if leg.on_hold()
            && let Some(reply) = self.reply.as_mut().filter(|reply| !reply.first_packet)
        {
            // How long the caller stays away says nothing about us.
            reply.marks = None;
        }
        if let Some(digit) = leg.press_next(now) {
            let content_type = "application/dtmf-relay".to_owned();
            out.push(Output::Sip(SipOutput::Info { content_type, body: info_body(digit) }));
        }
        let (played, packet) = leg.speak();
        if self.config.record && packet.is_some() {
            let frame = played.frame.clone();
            out.push(Output::Record { side: Side::Agent, number: self.frame, frame });
        }
        if let Some(datagram) = packet {
            out.push(Output::SendRtp { to: leg.address(), datagram });
        }
        out.extend(leg.report(now));
        self.ladder.note_played(now, &played);
        self.silent_since = match played.segment.filter(|segment| !is_filler(*segment)) {
            Some(_) => None,
            None if leg.is_held_up() => None,
            None => self.silent_since.or(Some(now)),
        };
        self.echo.sent(&played.frame);
        if played.voiced {
            self.audible_at = Some(now);
            self.note_first_packet(now, played.segment, out);
        }
        self.finish_reply(now, out);
    }

    /// When the second half of our last 20 ms is to leave, if it has to leave by itself.
    fn second_half_at(&self) -> Option<Instant> {
        self.leg.as_ref().filter(|leg| leg.has_second_half()).map(|_| self.next_frame - FRAME / 2)
    }

    fn send_second_half(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.second_half_at().is_some_and(|at| at <= now)
            && let Some(leg) = &mut self.leg
            && let Some(datagram) = leg.second_half()
        {
            out.push(Output::SendRtp { to: leg.address(), datagram });
        }
    }

    /// What can only be noticed by waiting: overdue providers, a dead line, the longest call.
    fn watch(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.excused_until.is_some_and(|until| now < until) && self.reply.is_none() {
            self.floor.excuse(now);
        }
        self.watch_floor(now, out);
        self.watch_language(now, out);
        self.watch_reply(now, out);
        self.watch_silence(now, out);
        if matches!(self.phase, Phase::Leaving) && self.leg.as_ref().is_some_and(|leg| !leg.may_send()) {
            let cause = self.reply.as_ref().and_then(|reply| reply.then);
            return self.end(cause.unwrap_or(Cause::InternalError), out);
        }
        let last_dialog = self.last_dialog;
        if self.leg.as_mut().is_some_and(|leg| leg.look(now, last_dialog, out)) {
            self.end(Cause::MediaTimeout, out);
        } else if now - self.started >= self.longest() && matches!(self.phase, Phase::Talking) {
            self.say_goodbye(now, Cause::MaxDuration, out);
        }
    }

    /// The next frame's time, at most 20 ms away.
    pub(crate) fn next_beat(&self, now: Instant) -> Instant {
        let beat = self.beat.unwrap_or(now);
        let (passed, ahead) = (now.saturating_duration_since(beat), beat.saturating_duration_since(now));
        let frames = |time: Duration| u32::try_from(time.as_nanos() / FRAME.as_nanos()).unwrap_or(u32::MAX);
        match ahead.is_zero() {
            true => beat + FRAME * frames(passed).saturating_add(1),
            // It lies ahead: the first one after now that is whole frames before it.
            false => beat - FRAME * frames(ahead - Duration::from_nanos(1)),
        }
    }

    fn watch_floor(&mut self, now: Instant, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Talking) {
            let decision = self.floor.handle_timeout(now);
            self.decide(now, decision, out);
        }
    }

    pub(crate) fn is_on_hold(&self) -> bool {
        self.leg.as_ref().is_some_and(Leg::on_hold)
    }

    /// The agent may have less time than others.
    pub(crate) fn longest(&self) -> Duration {
        self.setup.agent.limits().max_duration.unwrap_or(self.config.patience.call)
    }

    fn note_floor(&mut self, out: &mut Vec<Output>) {
        let holder = self.floor.holder();
        if holder != self.holder {
            self.holder = holder;
            out.push(Output::Event(Event::Floor { holder: holder.name().to_owned() }));
        }
    }
}

/// Our voice may come back for so long.
const ECHO: Duration = Duration::from_millis(500);

/// The nearest wake-up between two frames.
const SOON: Duration = Duration::from_millis(1);

/// A frame this far below the loudest one of its utterance carries no word, though the voice detector still hangs on.
const TAIL_DB: f32 = 30.0;

impl Hearing {
    /// Whether a frame carries speech. The detector ends speech about 100 ms late by nature; its tail is silence, and
    /// the caller waits through it, so neither the floor nor the trace may count it as speech.
    fn note(&mut self, now: Instant, listened: &Listened) -> bool {
        let before = std::mem::replace(&mut self.speech, listened.speech);
        if !listened.speech {
            return false;
        }
        let level = listened.heard.frame.level_dbfs();
        self.peak_dbfs = if before { self.peak_dbfs.max(level) } else { level };
        let voiced = level > self.peak_dbfs - TAIL_DB;
        if voiced {
            self.last = Some((listened.heard.arrived.unwrap_or(now), now));
        }
        voiced
    }
}

/// Frames that the ears catch up after a late wake-up: what a jitter buffer can hold. More than that is gone.
const MOST_BEHIND: u32 = 25;
