//! One call in the real world: it steps the machine and carries out what the machine says, never waiting.
//! Knows sockets, provider streams and the dialog's name. Decides nothing about the call.

use crate::{
    knowledge::Documents,
    media_threads::Knocker,
    providers::{
        CallInfo, Events, ProviderEvent, Request, SpeechToText, SttCommand, SttStream, TTS_COMMANDS,
        TextToSpeech, TtsCommand, TtsStream,
    },
    recorder::Tap,
    rtp_socket::{RtpSockets, is_full},
    turn_pool::TurnSession,
    vad_pool::VadSession,
};
use call::{
    CallId, Event, Input, Output, Side, SipInput, SipOutput, Stamped, TtsEvent,
    cdr::{Cause, Cdr},
    port_slots::PortSlot,
};
use conversation::{Checkpoint, LlmRequest, ToolCall, TurnId, Variables};
use media::{Frame, SampleRate};
use sip::DialogKey;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::mpsc;

/// Provider events handed to one call in one go. A reply that arrives all at once must not delay anybody's audio.
const INBOX_AT_ONCE: usize = 32;

/// Dropped frames are told to the trace once a second, not one by one.
const DROPS_PER_REPORT: u64 = 50;

/// What decides a call. [`call::Call`] in the product; a test may put anything in its place.
pub trait Machine: Send {
    /// Takes one input, appends what to do about it to `out`, and returns when to come back with [`Input::Timeout`];
    /// `None` when the call is over.
    fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant>;

    /// What it does every 20 ms it does at `at` and whole frames away from it. Comes before the first step.
    fn keep_beat(&mut self, _at: Instant) {}
}

impl Machine for call::Call {
    fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        Self::step(self, now, input, out)
    }

    fn keep_beat(&mut self, at: Instant) {
        Self::keep_beat(self, at);
    }
}

/// Answers the questions of all calls: the AI gateway.
pub trait Models: Send + Sync {
    /// Asks without waiting. Everything, failures too, is reported to `events` under `turn`; dropping the request cancels it.
    fn ask(&self, call: &CallInfo, turn: TurnId, request: LlmRequest, events: Events) -> Request;
}

/// Runs the tools of all calls.
pub trait Tools: Send + Sync {
    /// Starts a tool without waiting. Its result is reported to `events` under `turn`, whatever becomes of the turn.
    /// `variables` is what is known of the call by then.
    fn run(&self, call: &CallInfo, turn: TurnId, tool: ToolCall, variables: Variables, events: Events);
}

/// Keeps where one call's conversation stands, for a caller who is cut off. Called on media threads: it must not wait.
pub trait Keeper: Send + Sync {
    /// In the place of what was kept last; nothing: it has come to its end.
    fn keep(&self, checkpoint: Option<Box<Checkpoint>>);
}

/// Keeps what calls tell. Called on media threads: it must neither wait nor lock.
pub trait TraceSink: Send + Sync {
    /// A call is about to begin; comes before its first event, and from another thread.
    fn begin(&self, _cdr: &Cdr) {}

    /// One event of a call, in the order they happened.
    fn record(&self, call: CallId, stamped: Stamped);
}

/// Whom a call works with.
#[derive(Clone)]
pub struct Providers {
    /// Hears the caller.
    pub stt: Arc<dyn SpeechToText>,
    /// Answers: the AI gateway, on the agent's route.
    pub models: Arc<dyn Models>,
    /// Speaks.
    pub tts: Arc<dyn TextToSpeech>,
    /// Runs tools.
    pub tools: Arc<dyn Tools>,
    /// What the agent looks up, if it does.
    pub documents: Option<Documents>,
    /// Whom it works with in each language of the agent, by tag; empty where there is only one.
    pub languages: Arc<BTreeMap<String, InLanguage>>,
}

/// Whom a call works with in one language.
#[derive(Clone)]
pub struct InLanguage {
    /// Hears the caller.
    pub stt: Arc<dyn SpeechToText>,
    /// Answers.
    pub models: Arc<dyn Models>,
    /// Speaks.
    pub tts: Arc<dyn TextToSpeech>,
}

/// Counts over all calls since the start of the process.
#[derive(Debug, Default)]
pub struct ActorCounters {
    /// RTP and RTCP datagrams that left.
    pub datagrams_sent: AtomicU64,
    /// Datagrams the kernel would not take because its buffer was full.
    pub datagrams_dropped: AtomicU64,
    /// Datagrams that could not be sent for another reason.
    pub datagrams_failed: AtomicU64,
    /// Frames that speech-to-text was too slow for.
    pub stt_frames_dropped: AtomicU64,
    /// Frames of both sides that are silence in a recording, because the disk was behind.
    pub recording_frames_lost: AtomicU64,
    /// Sentences that text-to-speech had no room for; each failed its turn.
    pub sentences_refused: AtomicU64,
}

/// What a call is made of.
pub struct CallParts {
    /// Its dialog with the caller.
    pub dialog: DialogKey,
    /// When the INVITE arrived: the zero of its trace.
    pub invited: Instant,
    /// What the record says so far.
    pub cdr: Cdr,
    /// The slot it holds.
    pub slot: PortSlot,
    /// The leg's sockets.
    pub sockets: RtpSockets,
    /// The decisions.
    pub machine: Box<dyn Machine>,
    /// What providers may know.
    pub info: CallInfo,
    /// Whom it works with.
    pub providers: Providers,
    /// Whom agents work with that may take over, by the agent's name.
    pub team: BTreeMap<String, Providers>,
    /// Where its conversation is kept, if it is.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Where its events go.
    pub trace: Arc<dyn TraceSink>,
    /// Counts over all calls.
    pub counters: Arc<ActorCounters>,
    /// What provider events wake its thread with.
    pub knocker: Knocker,
    /// Where what is said goes, if it is recorded.
    pub recording: Option<Tap>,
    /// The model that listens if the caller sounds finished.
    pub listener: Option<TurnSession>,
    /// Who says whether there is speech in a frame, if that is not the machine itself.
    pub vad: Option<VadSession>,
}

/// What a call tells the signalling side. None of it may be lost.
#[derive(Debug)]
pub enum Note {
    /// For the SIP endpoint.
    Sip(Box<sip::Command>),
    /// The call is over.
    Finished(Box<Finished>),
}

/// What remains of a call.
#[derive(Debug)]
pub struct Finished {
    /// Its dialog.
    pub dialog: DialogKey,
    /// The slot, to be given to others.
    pub slot: PortSlot,
    /// The leg's sockets, to cool down.
    pub sockets: RtpSockets,
    /// Its record, complete.
    pub cdr: Cdr,
}

/// When a call wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// With [`Input::Timeout`], then.
    Wake(Instant),
    /// Never: it is over, take [`CallActor::finish`].
    Over,
}

/// A datagram of ours, ready to go.
struct Leaving {
    over_rtcp_port: bool,
    to: SocketAddr,
    datagram: Vec<u8>,
}

/// Runs one call. Lives on one media thread.
pub struct CallActor {
    parts: CallParts,
    events: Events,
    inbox: mpsc::Receiver<ProviderEvent>,
    stt: SttStream,
    tts: TtsStream,
    out: Vec<Output>,
    requests: Vec<(TurnId, Request)>,
    /// Text-to-speech commands that found the queue full and may not be lost. Sentences are never in here.
    tts_backlog: VecDeque<TtsCommand>,
    /// What the shell itself has to report back to the machine.
    refused: VecDeque<(TurnId, TtsEvent)>,
    frames_dropped: u64,
    /// Frames for speech-to-text that are passed on together: waking it for each would double what it costs.
    unheard: Vec<Frame>,
    /// Speech-to-text had no room for the wish for a final; it goes before the next frame.
    finalize_waits: bool,
    /// What is to be sent, in this order.
    leaving: Vec<Leaving>,
    /// Where RTP was last sent to.
    peer: Option<SocketAddr>,
    /// The RTCP socket is a new one, of which no poller knows yet.
    rtcp_opened: bool,
    /// Header fields of our 200s.
    headers: Vec<(String, String)>,
    /// The INVITE has its final response.
    responded: bool,
    /// The dialog is over or about to be: there is no BYE to send any more.
    dialog_over: bool,
}

impl CallActor {
    /// A call that has not been stepped yet. Opens its provider streams, so that they are ready when the caller is;
    /// needs a tokio runtime.
    pub fn new(parts: CallParts) -> Self {
        let knocker = parts.knocker.clone();
        let (events, inbox) = Events::channel(Arc::new(move || knocker.knock()));
        let stt = parts.providers.stt.start(&parts.info, events.clone());
        let tts = parts.providers.tts.open(&parts.info, events.clone());
        Self {
            parts,
            events,
            inbox,
            stt,
            tts,
            out: Vec::new(),
            requests: Vec::new(),
            tts_backlog: VecDeque::new(),
            refused: VecDeque::new(),
            frames_dropped: 0,
            unheard: Vec::new(),
            finalize_waits: false,
            leaving: Vec::new(),
            peer: None,
            rtcp_opened: false,
            headers: Vec::new(),
            responded: false,
            dialog_over: false,
        }
    }

    /// Its dialog with the caller.
    pub const fn dialog(&self) -> DialogKey {
        self.parts.dialog
    }

    /// The leg's sockets.
    pub const fn sockets(&self) -> &RtpSockets {
        &self.parts.sockets
    }

    /// Whether its RTCP socket is a new one, told once.
    pub fn take_rtcp_opened(&mut self) -> bool {
        std::mem::take(&mut self.rtcp_opened)
    }

    /// Where it sends its RTP, once it does.
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Its part of a frame begins then: see [`Machine::keep_beat`].
    pub fn keep_beat(&mut self, at: Instant) {
        self.parts.machine.keep_beat(at);
    }

    /// Steps the machine and does what it asks for. Datagrams wait until [`CallActor::send_leaving`]: when they leave is
    /// for the thread to say.
    pub fn step(&mut self, now: Instant, input: Input<'_>, notes: &mut VecDeque<Note>) -> Progress {
        if !self.tts_backlog.is_empty() {
            self.send_tts_backlog();
        }
        self.dialog_over |= ends_dialog(&input);
        if matches!(input, Input::Timeout) {
            self.take_judgement(now, notes);
        }
        let mut wake = self.step_once(now, input, notes);
        // Each sentence is refused once and the machine may answer with at most a queue's worth of new ones.
        for _ in 0..2 * TTS_COMMANDS {
            let Some((turn, event)) = self.refused.pop_front() else { break };
            wake = self.step_once(now, Input::Tts(turn, event), notes);
            if wake == Progress::Over {
                break;
            }
        }
        wake
    }

    /// Has the inbox looked into. Says `None`, as it does not step the machine.
    pub fn knock(&self) -> Option<Progress> {
        self.parts.knocker.answer();
        self.parts.knocker.knock();
        None
    }

    /// Hands the machine what providers have reported, a bounded number at a time; knocks again if there may be more.
    pub fn take_inbox(&mut self, now: Instant, notes: &mut VecDeque<Note>) -> Option<Progress> {
        self.parts.knocker.answer();
        let mut progress = None;
        for _ in 0..INBOX_AT_ONCE {
            let Ok(event) = self.inbox.try_recv() else { return progress };
            let input = match event {
                ProviderEvent::Stt(event) => Input::Stt(event),
                ProviderEvent::Llm(turn, event) => Input::Llm(turn, event),
                ProviderEvent::Tts(turn, event) => Input::Tts(turn, event),
                ProviderEvent::Tool(turn, result) => Input::Tool(turn, result),
                ProviderEvent::Found(number, result) => Input::Found { number, result },
                ProviderEvent::TurnJudged(pause, probability) => Input::TurnJudged { pause, probability },
                ProviderEvent::Failed { stage, reason } => {
                    self.record(now, Event::ProviderFailed { stage: stage.to_owned(), reason });
                    continue;
                }
            };
            progress = Some(self.step(now, input, notes));
            if progress == Some(Progress::Over) {
                return progress;
            }
        }
        self.parts.knocker.knock();
        progress
    }

    /// Whether there are datagrams to be sent.
    pub const fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Sends the datagrams that steps have made.
    pub fn send_leaving(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving); // Keeps its capacity.
        for Leaving { over_rtcp_port, to, datagram } in leaving.drain(..) {
            let sockets = &self.parts.sockets;
            match if over_rtcp_port { sockets.rtcp() } else { Some(sockets.rtp()) } {
                Some(socket) => self.send(socket, to, &datagram),
                None => _ = self.parts.counters.datagrams_failed.fetch_add(1, Ordering::Relaxed),
            }
        }
        self.leaving = leaving;
    }

    /// Ends the actor. Its provider streams and requests end with it.
    pub fn finish(mut self, now: Instant, notes: &mut VecDeque<Note>) {
        self.send_leaving();
        if !self.dialog_over && self.responded {
            notes.push_back(bye(self.parts.dialog, None));
        } else if !self.responded && !self.dialog_over {
            notes.push_back(respond(self.parts.dialog, 500, None, None));
        }
        if self.parts.cdr.cause.is_none() {
            let ended = Event::Ended { cause: Cause::InternalError.name().to_owned(), status: Some(500) };
            // The sink may be what failed; the slot must come back all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| self.record(now, ended)));
        }
        let CallParts { dialog, slot, sockets, mut cdr, recording, .. } = self.parts;
        cdr.recorded = recording.as_ref().map(Tap::recorded);
        notes.push_back(Note::Finished(Box::new(Finished { dialog, slot, sockets, cdr })));
    }

    /// Ends a call whose machine cannot be asked any more: after a panic, or when the server cannot wait longer.
    pub fn break_off(mut self, now: Instant, cause: Cause, notes: &mut VecDeque<Note>) {
        let ended = Event::Ended { cause: cause.name().to_owned(), status: Some(500) };
        let _ = catch_unwind(AssertUnwindSafe(|| self.record(now, ended)));
        self.finish(now, notes);
    }

    fn step_once(&mut self, now: Instant, input: Input<'_>, notes: &mut VecDeque<Note>) -> Progress {
        let mut out = std::mem::take(&mut self.out);
        let wake = self.parts.machine.step(now, input, &mut out);
        for output in out.drain(..) {
            self.carry_out(now, output, notes);
        }
        self.out = out; // Keeps its capacity: a frame allocates nothing here.
        wake.map_or(Progress::Over, Progress::Wake)
    }

    /// Not async, and nothing in here may wait.
    fn carry_out(&mut self, now: Instant, output: Output, notes: &mut VecDeque<Note>) {
        match output {
            Output::SendRtp { to, datagram } => {
                self.peer = Some(to);
                self.leaving.push(Leaving { over_rtcp_port: false, to, datagram });
            }
            Output::SendRtcp { to, datagram } => {
                self.leaving.push(Leaving { over_rtcp_port: true, to, datagram });
            }
            Output::RtcpMux(shared) => self.share_port(shared),
            Output::Sip(output) => {
                self.note_ringing(now, &output);
                notes.push_back(self.tell_dialog(output));
            }
            Output::Rate(rate) => self.start_over_at(rate),
            Output::Judge { number, frame } => {
                if let Some(vad) = &mut self.parts.vad {
                    vad.push(number, frame);
                }
            }
            Output::JudgeTurn { pause } => {
                if let Some(listener) = &self.parts.listener {
                    listener.judge(pause, &self.events);
                }
            }
            Output::Hear(frame) => {
                if let Some(listener) = &mut self.parts.listener {
                    listener.hear(&frame);
                }
                self.unheard.push(frame);
                if self.unheard.len() >= self.stt.chunk() {
                    self.pass_frames_on(now);
                }
            }
            Output::Record { side, number, frame } => self.keep_sound(now, side, number, &frame),
            Output::FinalizeStt => {
                self.pass_frames_on(now);
                self.hear(now, SttCommand::Finalize);
            }
            Output::Expect(expectation) => self.hear(now, SttCommand::Expect(expectation)),
            Output::LookUp { number, words, passages } => self.look_up(number, words, passages),
            Output::Ask { turn, request } => self.ask(turn, request),
            Output::Speak { turn, sentence, text } => self.speak(turn, sentence, text),
            Output::FinishSpeech { turn } => self.tell_tts(TtsCommand::Finish { turn }),
            Output::RunTool { turn, call, variables } => {
                let events = self.events.clone();
                self.parts.providers.tools.run(&self.parts.info, turn, call, variables, events);
            }
            Output::Cancel { turn } => {
                self.requests.retain(|(asked, _)| *asked != turn);
                self.tell_tts(TtsCommand::Cancel { turn });
            }
            Output::HandOver { agent, language } => self.hand_over(now, &agent, language),
            Output::Checkpoint(kept) => {
                if let Some(keeper) = &self.parts.keeper {
                    keeper.keep(kept);
                }
            }
            Output::SetLanguage { language } => self.set_language(now, language),
            Output::Event(event) => self.record(now, event),
        }
    }

    /// RTCP goes over the port of RTP, or has one of its own.
    fn share_port(&mut self, shared: bool) {
        if shared {
            self.send_leaving();
            return self.parts.sockets.close_rtcp();
        }
        match self.parts.sockets.open_rtcp() {
            Ok(opened) => self.rtcp_opened |= opened,
            Err(error) => tracing::warn!(call = %self.parts.info.call, %error, "no port for RTCP any more"),
        }
    }

    fn note_ringing(&mut self, now: Instant, output: &SipOutput) {
        if matches!(output, SipOutput::Ring) {
            let after = now.saturating_duration_since(self.parts.invited).as_micros();
            self.parts.cdr.rang_after_us = Some(u64::try_from(after).unwrap_or(u64::MAX));
        }
    }

    /// For the recording, if there is one.
    fn keep_sound(&mut self, now: Instant, side: Side, number: u64, frame: &Frame) {
        let lost = self.parts.recording.as_mut().map_or(0, |tap| tap.push(side, number, frame));
        if lost > 0 {
            self.parts.counters.recording_frames_lost.fetch_add(lost, Ordering::Relaxed);
            self.record(now, Event::Dropped { queue: "recording".to_owned(), count: lost });
        }
    }

    fn look_up(&self, number: u32, words: String, passages: usize) {
        if let Some(documents) = &self.parts.providers.documents {
            documents.look_up(number, words, passages, self.events.clone());
        }
    }

    /// Another agent's providers from now on.
    fn hand_over(&mut self, now: Instant, agent: &str, language: String) {
        let Some(providers) = self.parts.team.get(agent).cloned() else { return };
        self.parts.providers = providers;
        self.set_language(now, language);
    }

    /// Ears, model and voice of a language from now on. What the old ones still report of turns carries an old number; what
    /// the ears were given before is theirs to report.
    fn set_language(&mut self, now: Instant, language: String) {
        self.pass_frames_on(now);
        let providers = &mut self.parts.providers;
        if let Some(InLanguage { stt, models, tts }) = providers.languages.get(&language).cloned() {
            (providers.stt, providers.models, providers.tts) = (stt, models, tts);
        }
        self.parts.info.language = language;
        self.finalize_waits = false;
        self.tts_backlog.clear();
        self.stt = self.parts.providers.stt.start(&self.parts.info, self.events.clone());
        self.tts = self.parts.providers.tts.open(&self.parts.info, self.events.clone());
    }

    fn send(&self, socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) {
        let counters = &self.parts.counters;
        let counter = match socket.send_to(datagram, to) {
            Ok(_) => &counters.datagrams_sent,
            Err(error) if is_full(&error) => &counters.datagrams_dropped,
            Err(_) => &counters.datagrams_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn tell_dialog(&mut self, output: SipOutput) -> Note {
        let dialog = self.parts.dialog;
        match output {
            SipOutput::Ring => respond(dialog, 180, None, None),
            SipOutput::Answer { sdp } => {
                self.responded = true;
                self.parts.sockets.announce();
                let headers = self.headers.clone();
                let answer =
                    sip::Command::Respond { dialog, status: 200, reason: None, sdp: Some(sdp), headers };
                Note::Sip(Box::new(answer))
            }
            SipOutput::Headers(headers) => {
                self.headers.clone_from(&headers);
                Note::Sip(Box::new(sip::Command::AddToBye { dialog, headers }))
            }
            SipOutput::Reject { status, reason } => {
                self.dialog_over |= !self.responded; // A refused re-INVITE ends nothing.
                self.responded = true;
                respond(dialog, status, Some(reason), None)
            }
            SipOutput::Refer { refer_to, headers } => {
                Note::Sip(Box::new(sip::Command::Refer { dialog, refer_to, referred_by: None, headers }))
            }
            SipOutput::Info { content_type, body } => {
                Note::Sip(Box::new(sip::Command::Info { dialog, content_type, body }))
            }
            SipOutput::Bye { reason } => {
                self.dialog_over = true;
                bye(dialog, reason)
            }
        }
    }

    /// The call's rate turned out to be another than its provider streams were opened for: others take their places, before
    /// anything was said. What the first ones may still report nobody receives.
    fn start_over_at(&mut self, rate: SampleRate) {
        self.parts.info.rate = rate;
        let knocker = self.parts.knocker.clone();
        (self.events, self.inbox) = Events::channel(Arc::new(move || knocker.knock()));
        self.stt = self.parts.providers.stt.start(&self.parts.info, self.events.clone());
        self.tts = self.parts.providers.tts.open(&self.parts.info, self.events.clone());
    }

    /// The answer to the last frame, before the next one asks for it.
    fn take_judgement(&mut self, now: Instant, notes: &mut VecDeque<Note>) {
        if let Some((number, probability)) = self.parts.vad.as_mut().and_then(VadSession::answer) {
            self.step_once(now, Input::Judged { number, probability }, notes);
        }
    }

    fn pass_frames_on(&mut self, now: Instant) {
        let mut frames = std::mem::take(&mut self.unheard);
        for frame in frames.drain(..) {
            self.hear(now, SttCommand::Audio(frame));
        }
        self.unheard = frames; // Keeps its capacity.
    }

    fn hear(&mut self, now: Instant, command: SttCommand) {
        let stt = &self.stt;
        self.finalize_waits = self.finalize_waits && !stt.send(SttCommand::Finalize);
        let finalize = matches!(command, SttCommand::Finalize);
        if !self.finalize_waits && stt.send(command) {
            self.report_drops(now);
            return;
        }
        self.finalize_waits |= finalize;
        if finalize {
            return;
        }
        self.frames_dropped += 1;
        self.parts.counters.stt_frames_dropped.fetch_add(1, Ordering::Relaxed);
        if self.frames_dropped >= DROPS_PER_REPORT {
            self.report_drops(now);
        }
    }

    fn report_drops(&mut self, now: Instant) {
        match std::mem::take(&mut self.frames_dropped) {
            0 => {}
            count => self.record(now, Event::Dropped { queue: "stt_audio".to_owned(), count }),
        }
    }

    fn ask(&mut self, turn: TurnId, request: LlmRequest) {
        self.requests.retain(|(asked, _)| *asked != turn); // Asked again after a tool: the first request is done.
        let models = &self.parts.providers.models;
        self.requests.push((turn, models.ask(&self.parts.info, turn, request, self.events.clone())));
    }

    fn speak(&mut self, turn: TurnId, sentence: u32, text: String) {
        self.send_tts_backlog();
        if self.tts_backlog.is_empty() && self.tts.send(TtsCommand::Speak { turn, sentence, text }) {
            return;
        }
        self.parts.counters.sentences_refused.fetch_add(1, Ordering::Relaxed);
        let reason = "text-to-speech is not keeping up or has ended".to_owned();
        self.refused.push_back((turn, TtsEvent::Failed { sentence, reason }));
    }

    fn tell_tts(&mut self, command: TtsCommand) {
        // A cancelled turn needs no finish; with that, the backlog holds one command for each turn at most.
        if let TtsCommand::Cancel { turn } = command {
            self.tts_backlog.retain(|waiting| *waiting != TtsCommand::Finish { turn });
        }
        if self.tts_backlog.len() >= TTS_COMMANDS {
            self.tts_backlog.pop_front();
        }
        self.tts_backlog.push_back(command);
        self.send_tts_backlog();
    }

    fn send_tts_backlog(&mut self) {
        while let Some(command) = self.tts_backlog.pop_front() {
            let again = match &command {
                TtsCommand::Finish { turn } => TtsCommand::Finish { turn: *turn },
                TtsCommand::Cancel { turn } => TtsCommand::Cancel { turn: *turn },
                TtsCommand::Speak { .. } => continue,
            };
            if !self.tts.send(command) {
                self.tts_backlog.push_front(again);
                return;
            }
        }
    }

    fn record(&mut self, now: Instant, event: Event) {
        let at = now.saturating_duration_since(self.parts.invited);
        let stamped = Stamped { at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX), event };
        self.parts.cdr.observe(&stamped);
        let cost = self.parts.cdr.cost_of_turn(&stamped).map(|event| Stamped { at_us: stamped.at_us, event });
        self.parts.trace.record(self.parts.info.call, stamped);
        if let Some(cost) = cost {
            self.parts.trace.record(self.parts.info.call, cost);
        }
    }
}

fn respond(dialog: DialogKey, status: u16, reason: Option<String>, sdp: Option<String>) -> Note {
    Note::Sip(Box::new(sip::Command::Respond { dialog, status, reason, sdp, headers: Vec::new() }))
}

fn bye(dialog: DialogKey, reason: Option<String>) -> Note {
    Note::Sip(Box::new(sip::Command::Bye { dialog, reason }))
}

/// Whether the dialog is over with this: the endpoint has answered or sent what there was to.
const fn ends_dialog(input: &Input<'_>) -> bool {
    matches!(
        input,
        Input::Sip(
            SipInput::Bye { .. } | SipInput::Cancelled | SipInput::AckTimeout | SipInput::SessionExpired
        )
    )
}

/// What the endpoint reports about a call's dialog, as the call sees it; `None` for what is not for a call.
pub fn sip_input(event: sip::Event) -> Option<(DialogKey, SipInput)> {
    Some(match event {
        sip::Event::Cancelled { dialog } => (dialog, SipInput::Cancelled),
        sip::Event::Acked { dialog, sdp } => (dialog, SipInput::Acked { sdp }),
        sip::Event::AckTimeout { dialog } => (dialog, SipInput::AckTimeout),
        sip::Event::SessionExpired { dialog } => (dialog, SipInput::SessionExpired),
        sip::Event::Bye { dialog, reason } => (dialog, SipInput::Bye { reason }),
        sip::Event::Reinvite { dialog, offer } => (dialog, SipInput::Reoffer { sdp: offer }),
        sip::Event::Info { dialog, content_type, body } => (dialog, SipInput::Info { content_type, body }),
        sip::Event::Referred { dialog, status } => (dialog, SipInput::Referred { status }),
        sip::Event::Notify { dialog, body, .. } => (dialog, SipInput::Notify { body }),
        // The dialog is gone without a goodbye that a call would have noticed; one that has ended is not there to ask.
        sip::Event::Ended { dialog } => (dialog, SipInput::Bye { reason: None }),
        sip::Event::Invite(_)
        | sip::Event::Refused { .. }
        | sip::Event::Registered { .. }
        | sip::Event::Unregistered { .. }
        | sip::Event::Refer { .. }
        | sip::Event::Trying { .. }
        | sip::Event::Progress { .. }
        | sip::Event::Answered { .. }
        | sip::Event::Failed { .. }
        | sip::Event::Response { .. } => return None,
    })
}
