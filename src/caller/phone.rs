//! One scripted caller as a machine: its dialog, its voice, its ears and its stopwatch.
//! Knows SIP and RTP as any phone does. Knows no socket, and nothing of the server but what comes over the wire.

use super::script::{AgentSound, Player, Script, Situation, Todo};
use call::{Protection, Stamped, codec_of};
use media::{
    Codec, Decoder, Digit, FRAME, Frame, Receiver, ReceiverConfig, RtpPacket, SampleRate, Sender,
    SenderConfig,
};
use sip::digest::Credentials;
use sip::{
    CodecSpec, Command, DialogKey, DialogPolicy, Endpoint, EndpointConfig, Event, Flow, LocalMedia,
    MediaSession, Negotiated, OutgoingInvite,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A packet is voiced above this level.
const VOICED_DBFS: f32 = -45.0;
/// The agent has fallen silent when no voiced packet came for so long: pauses between words are shorter.
const SILENT_AFTER: Duration = Duration::from_millis(400);
/// How long a key is held.
const KEY: Duration = Duration::from_millis(120);
/// How long a finished call stays to answer repeated requests: two retransmissions of a BYE.
const LINGER: Duration = Duration::from_millis(1_600);
/// Between two keys.
const KEY_GAP: Duration = Duration::from_millis(120);

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
    /// Speech of every text of the script, at [`Dial::rate`].
    pub speech: BTreeMap<String, Vec<i16>>,
    /// Audio of every file of the script, at the same rate.
    pub files: BTreeMap<PathBuf, Vec<i16>>,
    /// What to do.
    pub script: Script,
    /// Whether to keep the audio of both sides.
    pub record: bool,
    /// What a trunk adds to the call.
    pub extras: Extras,
}

impl Dial {
    /// What the phone speaks, hears and records at: 16 kHz if it offers a wide-band codec, whichever is agreed on.
    pub fn rate(&self) -> SampleRate {
        rate_of(&self.local.codecs)
    }
}

/// The rate of a phone with these codecs.
pub fn rate_of(codecs: &[CodecSpec]) -> SampleRate {
    let known = codecs.iter().filter_map(|codec| Codec::from_name(codec.name));
    let wide = known.map(Codec::rate).any(|rate| rate == SampleRate::Hz16000);
    if wide { SampleRate::Hz16000 } else { SampleRate::Hz8000 }
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
    /// A datagram on the RTP port.
    Rtp(&'a [u8]),
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
    /// End of our speech to the first voiced packet of the answer, one for each utterance.
    pub answers: Vec<Duration>,
    /// Our first packet of speech over the agent's voice to its last voiced packet.
    pub silences: Vec<Duration>,
    /// Between consecutive packets, in microseconds.
    pub gaps_us: Vec<u32>,
    /// Packets received.
    pub received: u64,
    /// Packets that the sequence numbers say are missing.
    pub missing: u64,
    /// Final status of the INVITE.
    pub status: Option<u16>,
    /// Expectations that were not met.
    pub unmet: Vec<String>,
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
    media: Option<(Negotiated, Receiver, Sender)>,
    /// Of what came last, for the stopwatch: packets as they come.
    decoder: Decoder,
    /// Whatever is agreed on.
    rate: SampleRate,
    /// Of the media, once there is some.
    protection: Option<Protection>,
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

#[derive(Default)]
struct Mouth {
    samples: VecDeque<i16>,
    keys: VecDeque<char>,
    next_key: Option<Instant>,
    /// When the last packet of the utterance under way left.
    spoke_until: Option<Instant>,
    speaking: bool,
}

#[derive(Default)]
struct Ears {
    voiced_since: Option<Instant>,
    last_voiced: Option<Instant>,
    last_packet: Option<Instant>,
    last_sequence: Option<u16>,
    /// Whether the agent has been heard since our last step.
    heard: bool,
    own_step: Option<Instant>,
    /// The end of our speech that still waits for an answer.
    answer_to: Option<Instant>,
    /// The start of our speech over the agent's voice.
    talked_over: Option<Instant>,
    last_answer: Option<Duration>,
    last_silence: Option<Duration>,
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
            decoder: Decoder::new(Codec::Pcmu),
            rate: dial.rate(),
            dial,
            sip_wake: None,
            invited: None,
            silent_until: None,
            answered: None,
            media: None,
            protection: None,
            mouth: Mouth::default(),
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
            Input::Rtp(datagram) => self.hear(now, datagram, out),
            Input::Server(stamped) => self.read(stamped),
            Input::Stop => self.hang_up(now, out),
            Input::Timeout => self.timeout(now, out),
        }
        if self.over {
            self.over_since.get_or_insert(now);
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

    /// The rate of the recording.
    pub const fn rate(&self) -> SampleRate {
        self.rate
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
                self.note_answer(now, took, sdp.as_deref().unwrap_or_default(), out)
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
        if self.answered.is_some() {
            return;
        }
        self.measures.status = Some(200);
        self.measures.answered = Some(took);
        self.answered = Some(now);
        let accepted = self.description.accept(answer).ok();
        let Some((media, codec)) = accepted.and_then(|media| codec_of(&media).map(|codec| (media, codec)))
        else {
            self.measures.unmet.push("the answer's session description cannot be used".into());
            return self.hang_up(now, out);
        };
        let receiver = Receiver::with_rate(receiver_config(&media, codec), self.rate);
        self.decoder = Decoder::new(codec);
        let seed =
            u32::from_le_bytes([self.dial.seed[0], self.dial.seed[1], self.dial.seed[2], self.dial.seed[3]]);
        let sender = Sender::new(SenderConfig {
            codec,
            payload_type: media.payload_type,
            telephone_event: media.telephone_event,
            ssrc: seed,
            // The lower half: with SRTP a wrap at once could not be told from none (RFC 3711 section 3.3.1).
            sequence: (seed >> 7) as u16 & 0x7fff,
            timestamp: seed.rotate_left(9),
        });
        self.protection = Protection::new(media.srtp.as_ref());
        self.media = Some((media, receiver, sender));
        self.next_frame = Some(now + FRAME);
        self.ears.own_step = Some(now);
        out.push(Output::Tell(Happening::Answered(took)));
    }

    /// Our answer to a re-INVITE; without an offer in it, our offer.
    fn renegotiate(&mut self, offer: Option<&str>) -> (u16, Option<String>) {
        let Some(offer) = offer else { return (200, Some(self.description.offer())) };
        let (sdp, new) = match self.description.answer(offer) {
            Ok(agreed) => agreed,
            Err(error) => return (error.status(), None),
        };
        if let (Some((media, receiver, sender)), Some(protection)) = (&mut self.media, &mut self.protection) {
            if let Some(codec) = codec_of(&new) {
                receiver.renegotiate(receiver_config(&new, codec));
                sender.renegotiate(codec, new.payload_type, new.telephone_event);
                self.decoder = Decoder::new(codec);
            }
            protection.renegotiate(new.srtp.as_ref());
            *media = new;
        }
        (200, Some(sdp))
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
        self.command(now, command, out);
        self.next_frame = None;
    }

    /// A packet of the agent: the stopwatch reads arrival times, not what a jitter buffer makes of them.
    fn hear(&mut self, now: Instant, datagram: &[u8], out: &mut Vec<Output>) {
        let (Some((media, receiver, _)), Some(protection)) = (&mut self.media, &mut self.protection) else {
            return;
        };
        let Some(datagram) = protection.open_rtp(datagram) else { return };
        let _own_keys_are_not_for_us = receiver.receive(now, &datagram);
        let Ok(packet) = RtpPacket::parse(&datagram) else { return };
        if packet.payload_type != media.payload_type {
            return;
        }
        self.measures.received += 1;
        if let Some(last) = self.ears.last_packet.replace(now) {
            self.measures.gaps_us.push((now - last).as_micros() as u32);
        }
        if let Some(last) = self.ears.last_sequence.replace(packet.sequence) {
            self.measures.missing += u64::from(packet.sequence.wrapping_sub(last).saturating_sub(1).min(100));
        }
        let rate = self.decoder.codec().rate();
        let mut samples = Vec::with_capacity(rate.frame_samples());
        self.decoder.decode(packet.payload, &mut samples);
        if Frame::from_samples(rate, &samples).level_dbfs() > VOICED_DBFS {
            self.hear_voice(now, out);
        }
    }

    fn hear_voice(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.ears.last_voiced = Some(now);
        if let Some(ended) = self.ears.answer_to.take() {
            self.measures.answers.push(now - ended);
            self.ears.last_answer = Some(now - ended);
        }
        if self.ears.voiced_since.is_none() {
            self.ears.voiced_since = Some(now);
            out.push(Output::Tell(Happening::Agent(true)));
        }
        self.ears.heard = true;
        if let Some(invited) = self.invited {
            self.measures.greeting.get_or_insert(now - invited);
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
        self.next_frame = Some(if due + FRAME * 5 < now { now + FRAME } else { due + FRAME });
        self.notice_silence(now, out);
        self.play(now, out);
        self.send_frame(now, out);
    }

    fn notice_silence(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(last) = self.ears.last_voiced.filter(|last| now - *last >= SILENT_AFTER) else { return };
        if let Some(onset) = self.ears.talked_over.take() {
            let took = last.saturating_duration_since(onset);
            self.measures.silences.push(took);
            self.ears.last_silence = Some(took);
        }
        if self.ears.voiced_since.take().is_some() {
            out.push(Output::Tell(Happening::Agent(false)));
        }
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
                    let samples = self.dial.speech.get(&text).cloned().unwrap_or_default();
                    self.begin_step(now, &samples);
                    out.push(Output::Tell(Happening::Saying(text)));
                }
                Todo::Play(path) => {
                    let samples = self.dial.files.get(&path).cloned().unwrap_or_default();
                    self.begin_step(now, &samples);
                    out.push(Output::Tell(Happening::Saying(path.display().to_string())));
                }
                Todo::Press(keys) => {
                    self.begin_step(now, &[]);
                    self.mouth.keys = keys.chars().collect();
                    self.mouth.next_key = Some(now);
                    out.push(Output::Tell(Happening::Pressing(keys)));
                }
                Todo::Met(what) => out.push(Output::Tell(Happening::Met(what))),
                Todo::Failed(what) => {
                    self.measures.unmet.push(what.clone());
                    out.push(Output::Tell(Happening::Unmet(what)));
                }
                Todo::HangUp => return self.hang_up(now, out),
            }
        }
    }

    fn begin_step(&mut self, now: Instant, samples: &[i16]) {
        let agent_speaks = self.ears.voiced_since.is_some();
        self.mouth.samples.extend(voiced(samples, self.rate));
        self.words.clear();
        self.ears.heard = false;
        self.ears.own_step = Some(now);
        self.ears.answer_to = None;
        (self.ears.last_answer, self.ears.last_silence) = (None, None);
        self.ears.talked_over = (agent_speaks && !samples.is_empty()).then_some(now);
    }

    fn situation<'a>(&self, now: Instant, words: &'a str) -> Situation<'a> {
        let zero = self.answered.unwrap_or(now);
        let since = |at: Option<Instant>| at.unwrap_or(zero).saturating_duration_since(zero);
        let agent = match (self.ears.voiced_since, self.ears.heard) {
            (Some(from), _) => AgentSound::Speaking(since(Some(from))),
            (None, true) => AgentSound::Spoken(since(self.ears.last_voiced)),
            (None, false) => AgentSound::Awaited(since(self.ears.own_step.max(self.ears.last_voiced))),
        };
        Situation {
            at: now - zero,
            agent,
            busy: self.mouth.is_busy(),
            words,
            last_answer: self.ears.last_answer,
            last_silence: self.ears.last_silence,
            over: self.over,
        }
    }

    fn send_frame(&mut self, now: Instant, out: &mut Vec<Output>) {
        let (Some((media, receiver, sender)), Some(protection)) = (&mut self.media, &mut self.protection)
        else {
            return;
        };
        let heard = receiver.pop(now);
        if self.mouth.next_key.is_some_and(|at| at <= now) {
            self.mouth.next_key = self.mouth.keys.pop_front().map(|key| {
                sender.press(Digit(key), KEY);
                now + KEY + KEY_GAP
            });
        }
        let frame = self.mouth.frame(self.rate);
        let speaks = frame.level_dbfs() > VOICED_DBFS;
        let busy = self.mouth.is_busy();
        let starts = busy && !std::mem::replace(&mut self.mouth.speaking, busy);
        let packet = protection.seal_rtp(sender.packet(&frame, starts));
        out.extend(packet.map(|packet| Output::Rtp(media.remote, packet)));
        if speaks {
            self.mouth.spoke_until = Some(now);
        }
        if self.mouth.samples.is_empty() {
            self.mouth.speaking = false;
            // The answer is timed from the last packet that carried our voice.
            if let Some(until) = self.mouth.spoke_until.take() {
                self.ears.answer_to = Some(until);
                // What was heard until now was still the speech that we interrupted.
                self.ears.heard = false;
            }
        }
        if self.dial.record {
            self.recording.0.extend_from_slice(frame.samples());
            self.recording.1.extend_from_slice(heard.frame.samples());
        }
    }
}

fn receiver_config(media: &Negotiated, codec: Codec) -> ReceiverConfig {
    ReceiverConfig {
        codec,
        payload_type: media.payload_type,
        telephone_event: media.telephone_event,
        comfort_noise: media.comfort_noise,
        jitter: Default::default(),
    }
}

/// Speech without the silence around it: an interruption is timed from the first voiced packet; an answer from the last
/// one, and it may come at once.
fn voiced(samples: &[i16], rate: SampleRate) -> &[i16] {
    let frames: Vec<&[i16]> = samples.chunks(rate.frame_samples()).collect();
    let loud = |frame: &&[i16]| Frame::from_samples(rate, frame).level_dbfs() > VOICED_DBFS;
    let first = frames.iter().position(loud).unwrap_or(0);
    let end = frames.iter().rposition(loud).map_or(0, |last| (last + 1) * rate.frame_samples());
    &samples[first * rate.frame_samples()..end.min(samples.len())]
}

impl Mouth {
    fn is_busy(&self) -> bool {
        !self.samples.is_empty() || !self.keys.is_empty() || self.next_key.is_some()
    }

    fn frame(&mut self, rate: SampleRate) -> Frame {
        let count = rate.frame_samples().min(self.samples.len());
        let samples: Vec<i16> = self.samples.drain(..count).collect();
        Frame::from_samples(rate, &samples)
    }
}
