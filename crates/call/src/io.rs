//! What goes into a call and what comes out of it.
//! Closed enums: a new variant makes the compiler list every place that must answer.

use crate::{Event, KeysBy};
use conversation::{Checkpoint, Expectation, LlmRequest, Passage, ToolCall, TurnId, Variables};
use media::{Frame, SampleRate};
use std::{net::SocketAddr, time::Duration};

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram on the leg's RTP port.
    Rtp {
        /// Where it came from.
        from: SocketAddr,
        /// As it came.
        datagram: &'a [u8],
    },
    /// A datagram on the leg's RTCP port.
    Rtcp {
        /// Where it came from.
        from: SocketAddr,
        /// As it came.
        datagram: &'a [u8],
    },
    /// The dialog's events.
    Sip(SipInput),
    /// Speech-to-text reports.
    Stt(SttEvent),
    /// The language model reports on the reply of a turn.
    Llm(TurnId, LlmEvent),
    /// Text-to-speech reports on the reply of a turn.
    Tts(TurnId, TtsEvent),
    /// A tool that this turn started has ended.
    Tool(TurnId, ToolResult),
    /// The frame with this number was judged elsewhere: how probable it is, 0 to 1, that it holds speech.
    Judged {
        /// As in [`Output::Judge`].
        number: u64,
        /// The answer.
        probability: f32,
    },
    /// A model has listened to the caller up to the pause with this number: how probable it is, 0 to 1, that this was all.
    TurnJudged {
        /// As in [`Output::JudgeTurn`].
        pause: u32,
        /// The answer.
        probability: f32,
    },
    /// A search of the agent's documents has ended.
    Found {
        /// Which one.
        number: u32,
        /// Best first; or why it could not be made, for the operator.
        result: Result<Vec<Passage>, String>,
    },
    /// The start of the call is on disk: it may be answered, see [`crate::Patience::record`].
    Recorded,
    /// Press keys for the other side, one after the other: `0` to `9`, `*`, `#`, `A` to `D`; a comma waits half a second.
    Press {
        /// Which ones.
        keys: String,
        /// How they are told.
        by: KeysBy,
    },
    /// The operator or the server wants the call to end.
    HangUp(HangUp),
    /// The instant that `step` asked for has come.
    Timeout,
}

/// What the dialog reports (RFC 3261 section 13 to 15).
#[derive(Debug)]
pub enum SipInput {
    /// The caller acknowledged our 200: the call stands.
    Acked {
        /// The answer to our offer, when the INVITE came without one (RFC 3264).
        sdp: Option<String>,
    },
    /// The caller gave up before the answer.
    Cancelled,
    /// The caller hung up.
    Bye {
        /// The Reason header, if there was one (RFC 3326).
        reason: Option<String>,
    },
    /// A re-INVITE; `sdp` is its offer, absent in a late offer.
    Reoffer {
        /// The offer.
        sdp: Option<String>,
    },
    /// Our 200 was never acknowledged.
    AckTimeout,
    /// The caller's side stopped refreshing the session (RFC 4028): it is gone, and was told so.
    SessionExpired,
    /// An INFO request's body.
    Info {
        /// Its media type.
        content_type: String,
        /// Its text.
        body: String,
    },
    /// The final response to our REFER (RFC 3515); a 2xx is followed by what became of it.
    Referred {
        /// The status code.
        status: u16,
    },
    /// What becomes of our REFER: a NOTIFY's body.
    Notify {
        /// A response's first line, as `message/sipfrag`.
        body: String,
    },
}

/// What speech-to-text reports.
#[derive(Debug)]
pub enum SttEvent {
    /// The stream is open.
    Ready,
    /// Words that may still change; the whole of the current segment each time.
    Interim {
        /// The words so far.
        text: String,
    },
    /// Settled words. Empty text is the answer to a finalize with nothing left to say.
    Final {
        /// The words of this segment.
        text: String,
        /// 0 to 1, where the provider says it.
        confidence: Option<f32>,
    },
    /// The caller's turn is probably over, with these words. They may still change.
    EagerEnd {
        /// The words so far.
        text: String,
    },
    /// After an eager end: the turn goes on.
    Resumed,
    /// The caller's turn is over, with these settled words.
    End {
        /// The words of this segment.
        text: String,
        /// 0 to 1, where the provider says it.
        confidence: Option<f32>,
    },
    /// Which language it hears in the caller's turn, a BCP 47 tag. Comes before the words are settled.
    Language {
        /// The tag.
        tag: String,
    },
    /// The stream is lost and the provider could not get it back.
    Failed {
        /// For the operator.
        reason: String,
    },
}

/// What a language model reports.
#[derive(Debug)]
pub enum LlmEvent {
    /// The gateway sent the request to a target.
    Attempt {
        /// The target's name in the config.
        target: String,
        /// `primary`, `fallback`, `hedge` or `retry`.
        role: &'static str,
    },
    /// Two targets were asked and another one answers: what was asked of this one is for nothing.
    HedgeLost {
        /// The target's name in the config.
        target: String,
        /// Tokens in, estimated: it was cut off before it counted them.
        input_tokens: u32,
        /// Tokens out, likewise.
        output_tokens: u32,
    },
    /// A piece of the reply.
    Delta(String),
    /// A complete tool call.
    ToolCall(ToolCall),
    /// What the caller will likely say next.
    Expect(Expectation),
    /// The reply is complete.
    Done {
        /// As billed, where the provider says it.
        input_tokens: Option<u32>,
        /// As billed, where the provider says it.
        output_tokens: Option<u32>,
    },
    /// No target could answer.
    Failed {
        /// For the operator.
        reason: String,
    },
}

impl LlmEvent {
    /// What a call says of a lost hedge.
    pub(crate) fn hedge_lost(&self, turn: TurnId) -> Option<Event> {
        match self {
            Self::HedgeLost { target, input_tokens, output_tokens } => {
                let (target, input_tokens, output_tokens) = (target.clone(), *input_tokens, *output_tokens);
                Some(Event::HedgeLost { turn, target, input_tokens, output_tokens })
            }
            Self::Attempt { .. }
            | Self::Delta(_)
            | Self::ToolCall(_)
            | Self::Expect(_)
            | Self::Done { .. }
            | Self::Failed { .. } => None,
        }
    }
}

/// When a spoken word ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordTime {
    /// Characters of the sentence up to and including the word.
    pub characters: u32,
    /// When the word ends, after the sentence's first sample.
    pub until: Duration,
}

/// What text-to-speech reports. `sentence` counts from 0 within its turn.
#[derive(Debug)]
pub enum TtsEvent {
    /// Linear audio at the call's rate, any length.
    Audio {
        /// Which sentence it belongs to.
        sentence: u32,
        /// The samples.
        samples: Vec<i16>,
    },
    /// When words of this sentence end, as far as is known. May come in pieces, before or after the audio.
    Words {
        /// Which sentence they belong to.
        sentence: u32,
        /// In order.
        words: Vec<WordTime>,
    },
    /// No more audio for this sentence.
    SentenceDone {
        /// Which one.
        sentence: u32,
    },
    /// This sentence cannot be spoken.
    Failed {
        /// Which one.
        sentence: u32,
        /// For the operator.
        reason: String,
    },
}

/// How a tool call ended.
#[derive(Debug)]
pub struct ToolResult {
    /// The id of the [`ToolCall`].
    pub call_id: String,
    /// JSON text, or why there is none.
    pub result: Result<String, String>,
}

/// The two who talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who called, or was called.
    Caller,
    /// We.
    Agent,
}

/// Who ends the call from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// The server is stopping.
    Drain,
    /// The operator asked for it.
    Admin,
}

/// What to do about it.
#[derive(Debug)]
pub enum Output {
    /// Send from the leg's RTP port.
    SendRtp {
        /// Where to.
        to: SocketAddr,
        /// The packet.
        datagram: Vec<u8>,
    },
    /// Send from the leg's RTCP port.
    SendRtcp {
        /// Where to.
        to: SocketAddr,
        /// The compound packet.
        datagram: Vec<u8>,
    },
    /// Reports come and go over the RTP port from now on (RFC 5761), or no longer: the RTCP port is not needed, or is.
    RtcpMux(bool),
    /// Tell the dialog.
    Sip(SipOutput),
    /// The conversation's rate is another than [`crate::Call::rate`] said: the call came without an offer, and the answer
    /// to ours took a codec of this one. Nothing was heard or spoken before.
    Rate(SampleRate),
    /// The caller's audio for speech-to-text: one frame every 20 ms, without gaps.
    Hear(Frame),
    /// The caller pauses: does what was heard last sound finished? Only where the config says that somebody listens.
    JudgeTurn {
        /// Counts the call's pauses.
        pause: u32,
    },
    /// Is there speech in this? Only where the config says that somebody elsewhere knows.
    Judge {
        /// Counts the call's frames.
        number: u64,
        /// The caller's 20 ms.
        frame: Frame,
    },
    /// What one side said, for a recorder: the caller as heard, the agent as sent. Only where the config asks for it.
    Record {
        /// Who.
        side: Side,
        /// Which 20 ms of the call, counted from its first frame, the same for both sides. The agent's has a hole where
        /// we woke late and had nothing to send; the caller's has none.
        number: u64,
        /// What.
        frame: Frame,
    },
    /// The caller paused: ask speech-to-text for its last words.
    FinalizeStt,
    /// What the caller will likely say next, for the recogniser.
    Expect(Expectation),
    /// Search the agent's documents; [`Input::Found`] is the answer. Only the last one begun is waited for.
    LookUp {
        /// Its number.
        number: u32,
        /// The words to look for, with blanks between them.
        words: String,
        /// Passages wanted at most.
        passages: usize,
    },
    /// Ask the route's language model.
    Ask {
        /// The turn its events must carry.
        turn: TurnId,
        /// The question.
        request: LlmRequest,
    },
    /// Say this sentence.
    Speak {
        /// The turn its audio must carry.
        turn: TurnId,
        /// Counts from 0 within the turn.
        sentence: u32,
        /// What to say.
        text: String,
    },
    /// No more sentences for this turn.
    FinishSpeech {
        /// Which one.
        turn: TurnId,
    },
    /// Run a tool; its result is wanted even if the turn is cancelled meanwhile.
    RunTool {
        /// The turn its result must carry.
        turn: TurnId,
        /// What to run.
        call: ToolCall,
        /// What is known of the call by now.
        variables: Variables,
    },
    /// Language model and speech of this turn are no longer wanted; its tools go on.
    Cancel {
        /// Which one.
        turn: TurnId,
    },
    /// Another agent goes on: its language model, its voice and its tools are meant from now on.
    HandOver {
        /// Its name in the agent's file.
        agent: String,
        /// Its language, a BCP 47 tag.
        language: String,
    },
    /// Where the conversation stands, to be kept outside this process; nothing: it has come to its end, and nothing is to
    /// be kept of it.
    Checkpoint(Option<Box<Checkpoint>>),
    /// Hear, answer and speak in another language of the agent from now on.
    SetLanguage {
        /// Its tag.
        language: String,
    },
    /// For the trace, the call record, the metrics and the tests.
    Event(Event),
}

/// What the call tells its dialog.
#[derive(Debug, PartialEq, Eq)]
pub enum SipOutput {
    /// 180 Ringing.
    Ring,
    /// 200 OK, to the INVITE or to a re-INVITE.
    Answer {
        /// Our session description.
        sdp: String,
    },
    /// Header fields that go with every 200 from now on, and with the BYE.
    Headers(Vec<(String, String)>),
    /// A final refusal, of the INVITE or of a re-INVITE.
    Reject {
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// Pass the caller on (RFC 3515).
    Refer {
        /// The URI to call.
        refer_to: String,
        /// More header fields.
        headers: Vec<(String, String)>,
    },
    /// An INFO in the dialog.
    Info {
        /// Its media type.
        content_type: String,
        /// Its text.
        body: String,
    },
    /// Hang up.
    Bye {
        /// The Reason header's text.
        reason: Option<String>,
    },
}
