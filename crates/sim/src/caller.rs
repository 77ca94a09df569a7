//! The carrier's side of a simulated call: a SIP client that dials, speaks its script and listens.
//! Knows SIP and RTP as any phone does. Knows nothing of the server's insides.

use crate::{
    Scenario,
    scenario::{Act, Dialling, Noise, Referral},
};
use call::codec_of;
use media::{Codec, Digit, FRAME, Frame, Sender, SenderConfig, tone, tone::Chance};
use sip::{
    CodecSpec, Command, DialogKey, Endpoint, EndpointConfig, Event, Flow, LocalMedia, OutgoingInvite, Output,
    Transport,
};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a key is held down.
const KEY: Duration = Duration::from_millis(100);

/// One caller.
pub(crate) struct Caller {
    scenario: Scenario,
    endpoint: Endpoint,
    dialog: DialogKey,
    flow: Flow,
    local: LocalMedia,
    sender: Sender,
    /// When the 200 arrived: the script's zero.
    pub(crate) answered: Option<Instant>,
    /// The final status of the INVITE.
    pub(crate) status: Option<u16>,
    /// Whether the dialog is over.
    pub(crate) over: bool,
    remote: Option<SocketAddr>,
    next_frame: Option<Instant>,
    next_act: usize,
    /// What the script has done so far, in words.
    pub(crate) done: Vec<(Instant, String)>,
    codec: Codec,
    /// Our answer to the server's offer, if we made none.
    answer: Option<String>,
    silent: bool,
    gives_up: Option<Instant>,
    /// When the REFER that we took comes to its end.
    referred: Option<Instant>,
    /// Whom we were to call instead.
    pub(crate) referred_to: Vec<String>,
    /// Sound still to be sent.
    sound: VecDeque<i16>,
    chance: Chance,
}

/// What the caller does on its own accord at some instant.
pub(crate) enum Doing {
    Rtp(SocketAddr, Vec<u8>),
    Sip(Vec<Output>),
}

impl Caller {
    pub(crate) fn new(number: u32, scenario: Scenario, server: SocketAddr, seed: u64) -> Self {
        let address = SocketAddr::from(([10, 0, 1, (number % 250) as u8 + 1], 5_060));
        let mut bytes = [7_u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&number.to_le_bytes());
        Self {
            endpoint: Endpoint::new(EndpointConfig::default(), bytes),
            dialog: DialogKey::outgoing(u64::from(number)),
            flow: Flow { transport: Transport::Udp, local: address, remote: server, connection: 0 },
            local: LocalMedia {
                codecs: scenario.codecs.clone(),
                session_id: u64::from(number),
                ..LocalMedia::new(address.ip(), 40_000 + (number * 2 % 20_000) as u16)
            },
            sender: Sender::new(SenderConfig {
                codec: Codec::Pcmu,
                payload_type: 0,
                telephone_event: Some(101),
                ssrc: 0x5111_0000 + number,
                sequence: (seed % 65_536) as u16,
                timestamp: seed as u32,
            }),
            answered: None,
            status: None,
            over: false,
            remote: None,
            next_frame: None,
            next_act: 0,
            done: Vec::new(),
            codec: Codec::Pcmu,
            answer: None,
            silent: false,
            gives_up: None,
            referred: None,
            referred_to: Vec::new(),
            sound: VecDeque::new(),
            chance: Chance::new(seed ^ 0xca11),
            scenario,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.flow.local
    }

    pub(crate) fn media_address(&self) -> SocketAddr {
        SocketAddr::new(self.local.address, self.local.port)
    }

    /// Dials.
    pub(crate) fn dial(&mut self, now: Instant) -> (Vec<Output>, Option<Instant>) {
        let sdp = match self.scenario.dialling {
            Dialling::Usual | Dialling::WithoutAck => sip::make_offer(&self.local),
            Dialling::LateOffer => String::new(),
            Dialling::StrangeCodec => {
                sip::make_offer(&self.local).replace("AVP 0", "AVP 18").replace(":0 PCMU", ":18 G729")
            }
            Dialling::Impatient(patience) => {
                self.gives_up = Some(now + patience);
                sip::make_offer(&self.local)
            }
        };
        let uri = format!("sip:agent@{}", self.flow.remote);
        let from = format!("<sip:caller@{}>", self.flow.local);
        let invite = OutgoingInvite::new(self.dialog, uri, from, self.flow, sdp);
        self.command(now, Command::Invite(invite))
    }

    fn command(&mut self, now: Instant, command: Command) -> (Vec<Output>, Option<Instant>) {
        self.input(now, sip::Input::Command(command))
    }

    /// A SIP message from the server, or a timer of ours.
    pub(crate) fn input(&mut self, now: Instant, input: sip::Input<'_>) -> (Vec<Output>, Option<Instant>) {
        let mut out = Vec::new();
        let wake = self.endpoint.step(now, input, &mut out);
        let (events, sends): (Vec<Output>, Vec<Output>) =
            out.into_iter().partition(|o| matches!(o, Output::Event(_)));
        let mut sends = sends;
        for event in events {
            match event {
                Output::Event(Event::Refer { refer_to, .. }) => {
                    self.referred_to.push(refer_to);
                    sends.extend(self.take_referral(now));
                }
                Output::Event(event) => self.note(now, event),
                Output::Send { .. } | Output::CloseFlow { .. } => {}
            }
        }
        let lost = |send: &Output| {
            let is_ack = matches!(send, Output::Send { bytes, .. } if bytes.starts_with(b"ACK "));
            is_ack && self.scenario.dialling == Dialling::WithoutAck
        };
        let sends = sends.into_iter().filter(|send| !lost(send)).map(|send| self.late_offer(send)).collect();
        (sends, wake)
    }

    /// Without an offer of its own the caller answers ours in its ACK (RFC 3264 section 5). Our client does not do that,
    /// so its messages are rewritten.
    fn late_offer(&self, send: Output) -> Output {
        let Output::Send { flow, bytes } = send else { return send };
        if self.scenario.dialling != Dialling::LateOffer || self.local.version > 1 {
            return Output::Send { flow, bytes };
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let text = match (text.starts_with("INVITE "), text.starts_with("ACK "), &self.answer) {
            (true, _, _) => text.replace("Content-Type: application/sdp\r\n", ""),
            (_, true, Some(answer)) => {
                let body = format!(
                    "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                );
                text.replace("Content-Length: 0\r\n\r\n", &body)
            }
            (_, _, _) => text,
        };
        Output::Send { flow, bytes: text.into_bytes() }
    }

    /// A REFER of the server: answered at once, carried out later.
    fn take_referral(&mut self, now: Instant) -> Vec<Output> {
        let (status, after) = match self.scenario.referral {
            Referral::Refused(status) => (status, None),
            Referral::Ends(after, _) | Referral::HangsUp(after) => (202, Some(after)),
            Referral::Silent => (202, None),
        };
        self.referred = after.map(|after| now + after);
        self.command(now, Command::RespondRefer { dialog: self.dialog, status }).0
    }

    fn end_referral(&mut self, now: Instant) -> Vec<Output> {
        let command = match self.scenario.referral {
            Referral::Ends(_, status) => Command::Notify {
                dialog: self.dialog,
                event: "refer".into(),
                state: "terminated;reason=noresource".into(),
                content_type: "message/sipfrag".into(),
                body: format!("SIP/2.0 {status} Whatever\r\n"),
            },
            Referral::HangsUp(_) | Referral::Refused(_) | Referral::Silent => {
                self.next_frame = None;
                Command::Bye { dialog: self.dialog, reason: None }
            }
        };
        self.command(now, command).0
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a phone ignores what it does not use")]
    fn note(&mut self, now: Instant, event: Event) {
        match event {
            Event::Answered { sdp, .. } => {
                let theirs = sdp.unwrap_or_default();
                if self.scenario.dialling == Dialling::LateOffer && self.answered.is_none() {
                    if let Ok((answer, media)) = sip::make_answer(&theirs, &self.local) {
                        self.take_codec(&media);
                        self.remote = Some(media.remote);
                        self.answer = Some(answer);
                    }
                } else if let Ok(media) = sip::accept_answer(&self.local, &theirs) {
                    self.take_codec(&media);
                    self.remote = Some(media.remote);
                }
                self.status.get_or_insert(200);
                self.gives_up = None;
                if self.answered.is_none() {
                    self.answered = Some(now);
                    self.next_frame = Some(now + FRAME);
                }
            }
            Event::Failed { status, .. } => {
                // A refused re-INVITE does not undo the answer.
                self.status.get_or_insert(status);
                self.over = self.answered.is_none();
            }
            Event::Bye { .. } | Event::Ended { .. } => {
                self.over = true;
                self.next_frame = None;
            }
            _ => {}
        }
    }

    /// When the caller's next 20 ms are due, or its patience ends.
    pub(crate) fn next_frame(&self) -> Option<Instant> {
        self.next_frame.into_iter().chain(self.gives_up).chain(self.referred).min()
    }

    /// What was agreed may be another codec than before.
    fn take_codec(&mut self, media: &sip::Negotiated) {
        if let Some(codec) = codec_of(media) {
            self.codec = codec;
            self.sender.renegotiate(codec, media.payload_type, media.telephone_event);
        }
    }

    /// How long 20 ms of the caller's clock are.
    fn frame(&self) -> Duration {
        let ns = i64::from(FRAME.subsec_nanos());
        Duration::from_nanos((ns - ns * i64::from(self.scenario.skew_ppm) / 1_000_000).unsigned_abs())
    }

    /// Begins what the script plans by now, and sends the next 20 ms of sound.
    pub(crate) fn act(&mut self, now: Instant) -> Vec<Doing> {
        if self.gives_up.take_if(|at| *at <= now).is_some() {
            self.done.push((now, "gives up".into()));
            return vec![Doing::Sip(self.command(now, Command::Cancel { dialog: self.dialog }).0)];
        }
        if self.referred.take_if(|at| *at <= now).is_some() {
            return vec![Doing::Sip(self.end_referral(now))];
        }
        let (Some(answered), Some(at)) = (self.answered, self.next_frame) else { return Vec::new() };
        self.next_frame = Some(at + self.frame());
        let mut doing = Vec::new();
        while let Some(planned) = self.scenario.caller.get(self.next_act).filter(|p| answered + p.at <= now) {
            let act = planned.act.clone();
            self.next_act += 1;
            self.done.push((now, act.to_string()));
            doing.extend(self.begin(now, act));
        }
        let frame = self.next_sound();
        let datagram = self.sender.packet(&frame, false);
        doing.extend(self.remote.filter(|_| !self.silent).map(|to| Doing::Rtp(to, datagram)));
        doing
    }

    fn begin(&mut self, now: Instant, act: Act) -> Option<Doing> {
        match act {
            Act::Say(text, length) => {
                let seed = text.len() as u64;
                self.sound =
                    tone::speech(self.codec.rate().hz(), seed, SPEECH_DBFS, self.samples(length)).into();
            }
            Act::Noise(Noise::Cough, length) => {
                self.sound = tone::noise(self.chance.bits(), COUGH_DBFS, self.samples(length)).into();
            }
            Act::Press(key) => self.sender.press(Digit(key), KEY),
            Act::FallSilent => self.silent = true,
            Act::OtherCodec => {
                self.local.version += 1;
                let before = self.local.codecs[0];
                let other = if before == CodecSpec::PCMU { CodecSpec::PCMA } else { CodecSpec::PCMU };
                return Some(self.go_on_with(now, other));
            }
            Act::Codec(codec) => {
                self.local.version += 1;
                return Some(self.go_on_with(now, codec));
            }
            Act::HangUp => {
                let bye = Command::Bye { dialog: self.dialog, reason: None };
                self.next_frame = None;
                return Some(Doing::Sip(self.command(now, bye).0));
            }
            Act::Hold(hold) => {
                self.local.version += 1;
                let offer = sip::make_offer(&self.local);
                let sdp = if hold { offer.replace("a=sendrecv", "a=sendonly") } else { offer };
                return Some(self.reinvite(now, sdp));
            }
        }
        None
    }

    fn go_on_with(&mut self, now: Instant, codec: CodecSpec) -> Doing {
        self.local.codecs = vec![codec];
        let sdp = sip::make_offer(&self.local);
        self.reinvite(now, sdp)
    }

    fn reinvite(&mut self, now: Instant, sdp: String) -> Doing {
        let reinvite = Command::Reinvite { dialog: self.dialog, sdp };
        Doing::Sip(self.command(now, reinvite).0)
    }

    fn samples(&self, length: Duration) -> usize {
        length.as_millis() as usize * self.codec.rate().hz() as usize / 1_000
    }

    /// The sound of this 20 ms: the script's, over a quiet line.
    fn next_sound(&mut self) -> Frame {
        let rate = self.codec.rate();
        let count = rate.frame_samples();
        let samples: Vec<i16> = (0..count)
            .map(|_| self.sound.pop_front().unwrap_or_else(|| self.chance.below(16) as i16 - 8))
            .collect();
        Frame::from_samples(rate, &samples)
    }
}

const SPEECH_DBFS: f32 = -20.0;
const COUGH_DBFS: f32 = -14.0;
