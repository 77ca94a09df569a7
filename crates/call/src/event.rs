//! What is worth telling about a call: the one source of its trace, its record, its metrics and its tests.
//! Says what happened and never when: the machine's time is stamped beside it.

use crate::latency::TurnLatency;
use conversation::{Expectation, TurnId};
use serde::{Deserialize, Serialize};

/// An event with the machine's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Microseconds since the INVITE arrived.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Mean opinion scores of one direction over the call, 1 to 4.5, by the E-model (ITU-T G.107).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MosRange {
    /// The mean of all intervals.
    pub average: f64,
    /// The worst interval.
    pub minimum: f64,
}

/// A passage of the agent's documents that a question took along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPassage {
    /// Where it stands: `docs/hours.md#2`.
    pub source: String,
    /// Its heading.
    pub title: String,
    /// Its text.
    pub text: String,
    /// How much of the question's words it has, in hundredths.
    pub fit_percent: u8,
}

/// Something that happened in a call. Words in it are the caller's or the agent's: never log it at info.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Event {
    /// The call has a slot and begins.
    Started {
        /// The agent's name and version.
        agent: String,
        /// The slot's number.
        port_slot: u32,
        /// Slots in use, this one included.
        concurrency: u32,
        /// The codec's name.
        codec: String,
    },
    /// The call is answered although its start is not on disk: that took too long.
    Unrecorded,
    /// 200 OK was sent.
    Answered,
    /// The caller acknowledged it.
    Acked,
    /// Voice activity of the caller began or ended.
    Speech {
        /// Whether it began.
        active: bool,
    },
    /// How finished the caller sounded in a pause, says the model that listens.
    TurnByEar {
        /// 0: there is more to come; 100: that was all.
        percent: u8,
    },
    /// Who has the floor now: `caller`, `agent` or `nobody`.
    Floor {
        /// The new holder.
        holder: String,
    },
    /// What speech-to-text understood so far.
    Heard {
        /// The words.
        text: String,
        /// Whether they are settled.
        is_final: bool,
        /// How sure speech-to-text is of them, 0 to 1, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f32>,
    },
    /// What speech-to-text thinks of the caller's turn.
    ProviderTurn {
        /// `eager_end`, `resumed` or `end`.
        says: String,
    },
    /// The caller pressed a key. The digit itself is not told.
    Digit,
    /// The caller put us on hold or took us back: until then nothing is sent, heard or asked.
    Hold {
        /// Whether it began.
        active: bool,
    },
    /// The caller's turn ended; the agent's turn `turn` begins.
    TurnEnded {
        /// The turn that answers.
        turn: TurnId,
        /// What the caller said, digits masked when they were keyed in.
        text: String,
        /// Why the turn was held to be over.
        reason: String,
        /// Silence waited for, in milliseconds.
        waited_ms: u32,
    },
    /// The language model was asked on a guess, before the turn was surely over. `GuessUsed` or `GuessWasted` follows.
    Guessed {
        /// The turn that would answer.
        turn: TurnId,
    },
    /// The guess was right.
    GuessUsed {
        /// The turn that answers.
        turn: TurnId,
        /// How much earlier the model was asked, in milliseconds.
        saved_ms: u32,
    },
    /// The guess was wrong, or too early.
    GuessWasted {
        /// The turn that will never be.
        turn: TurnId,
        /// Why.
        why: String,
        /// Tokens in: as billed, else about four letters each.
        input_tokens: u32,
        /// Tokens out, likewise.
        output_tokens: u32,
        /// Characters that text-to-speech had been given.
        characters: u32,
        /// Which target was asked, if the gateway had said so.
        #[serde(default)]
        target: String,
    },
    /// What the agent's documents have about the caller's words goes with the question to the language model.
    Knowledge {
        /// Whose question.
        turn: TurnId,
        /// `ready` when the caller had finished, `in_time` within the budget; beyond it `earlier` for those of an earlier
        /// part of the question, `late` for none.
        came: String,
        /// Best first.
        passages: Vec<FoundPassage>,
        /// How long the search took, in milliseconds.
        took_ms: u32,
        /// How long the question waited for it, in milliseconds.
        waited_ms: u32,
    },
    /// The language model was asked.
    Asked {
        /// For which turn.
        turn: TurnId,
    },
    /// The gateway tried a target.
    LlmAttempt {
        /// For which turn.
        turn: TurnId,
        /// The target's name.
        target: String,
        /// `primary`, `fallback`, `hedge` or `retry`.
        role: String,
    },
    /// A second target was asked beside a late one, and one of the two answers. This is the other one.
    HedgeLost {
        /// For which turn.
        turn: TurnId,
        /// The target's name.
        target: String,
        /// Tokens in, about: nobody counted them.
        input_tokens: u32,
        /// Tokens out, likewise.
        output_tokens: u32,
    },
    /// The first piece of the reply came.
    FirstToken {
        /// Of which turn.
        turn: TurnId,
    },
    /// A sentence went to text-to-speech.
    Sentence {
        /// Of which turn.
        turn: TurnId,
        /// Counts from 0.
        sentence: u32,
        /// What will be said.
        text: String,
    },
    /// The first audio of a turn came from text-to-speech.
    FirstAudio {
        /// Of which turn.
        turn: TurnId,
    },
    /// The first voiced packet of a turn left.
    FirstPacket {
        /// Of which turn.
        turn: TurnId,
    },
    /// The reply is complete, with what was billed.
    ReplyDone {
        /// Of which turn.
        turn: TurnId,
        /// Tokens in, where known.
        input_tokens: Option<u32>,
        /// Tokens out, where known.
        output_tokens: Option<u32>,
    },
    /// What a turn has cost: told when its reply is complete. `None`: a price or a count is not known.
    Cost {
        /// Which turn.
        turn: TurnId,
        /// The currency.
        currency: String,
        /// The language model's part.
        llm: Option<f64>,
        /// What is spoken of it.
        tts: Option<f64>,
        /// The whole call so far.
        call: Option<f64>,
    },
    /// A tool was started.
    ToolStarted {
        /// By which turn.
        turn: TurnId,
        /// Its name.
        name: String,
    },
    /// A tool ended.
    ToolEnded {
        /// Of which turn.
        turn: TurnId,
        /// Its name.
        name: String,
        /// Whether it gave a result.
        ok: bool,
        /// How long it took, in milliseconds.
        ms: u32,
    },
    /// The call goes on in another language: ears, voice, prompt, prepared sentences and word lists at once.
    Language {
        /// Its tag.
        language: String,
        /// `detected`, `tool`, `key` or `resumed`; `stt_failed`, `llm_failed`, `tts_failed`: back to what there was before.
        why: String,
    },
    /// How the passing on of the caller goes.
    Transfer {
        /// The destination's name in the agent's file.
        destination: String,
        /// `asked`, `accepted`, `done` or `failed`.
        state: String,
        /// What the far end said, as a SIP status.
        status: Option<u16>,
    },
    /// The caller was cut off before, and the conversation goes on where it stood.
    Continued {
        /// Messages of it that the model is told.
        messages: u32,
    },
    /// Another agent has taken the call over.
    HandedOver {
        /// Its name and version.
        agent: String,
    },
    /// The conversation went on to another part of its graph.
    Path {
        /// In which turn.
        turn: TurnId,
        /// The nodes, from the one that was left to the one that was entered last.
        nodes: Vec<String>,
    },
    /// The agent wrote a line for the call's record.
    Noted {
        /// In which turn.
        turn: TurnId,
        /// The line.
        text: String,
    },
    /// What the caller is expected to say next.
    Expecting {
        /// The hint.
        expectation: Expectation,
    },
    /// The caller makes a sound while the agent speaks: it goes on, more quietly, or as before.
    Ducked {
        /// Whether it became quieter.
        active: bool,
    },
    /// The sound may be meant for the agent, which fell silent for it. `AgentResumed` or `BargeIn` follows.
    AgentPaused {
        /// The turn that fell silent.
        turn: TurnId,
        /// From the first frame of the sound to the silence, in milliseconds.
        reaction_ms: u32,
    },
    /// The sound was not meant for the agent, which goes on with the very next sample.
    AgentResumed {
        /// The turn that goes on.
        turn: TurnId,
        /// What it was instead: `backchannel` or `noise`.
        was: String,
        /// The caller's words, if any were understood.
        text: String,
        /// How long the agent was silent, in milliseconds.
        after_ms: u32,
    },
    /// The caller took the floor from the agent.
    BargeIn {
        /// The turn that was cut.
        turn: TurnId,
        /// What the agent was doing: `greeting`, `thinking`, `streaming`, `tool`, `speaking`.
        state: String,
        /// From the caller's first frame of speech, or the key, to the agent's silence, in milliseconds.
        reaction_ms: u32,
        /// From that silence until it was clear that it was no mere "mm-hm", in milliseconds.
        #[serde(default)]
        decided_ms: u32,
        /// What the caller heard of the reply.
        heard: String,
        /// What was never heard.
        unsaid: String,
    },
    /// The last packet of a turn's speech left.
    AgentDone {
        /// Which turn.
        turn: TurnId,
    },
    /// Where the time of a turn went.
    Latency {
        /// Which turn.
        turn: TurnId,
        /// The partition.
        #[serde(flatten)]
        latency: TurnLatency,
    },
    /// A prepared sound while the answer is on its way.
    Filler {
        /// Whose answer.
        turn: TurnId,
        /// `acknowledge` or `one_moment`.
        rung: String,
        /// What is said.
        text: String,
    },
    /// One side turns in circles.
    Loop {
        /// `agent_repeats` or `caller_is_a_machine`.
        who: String,
        /// Nearly equal answers in a row.
        count: u32,
    },
    /// The caller said nothing for a while.
    NoInput {
        /// How often by now.
        count: u32,
    },
    /// A prepared sentence was played because a stage failed the turn.
    Fallback {
        /// Which turn.
        turn: TurnId,
        /// The stage: `stt`, `llm`, `tts` or `tool`.
        stage: String,
        /// What went wrong.
        reason: String,
    },
    /// A provider reported a failure.
    ProviderFailed {
        /// The stage.
        stage: String,
        /// What went wrong.
        reason: String,
    },
    /// Frames that had to be dropped on the way to a provider because it was not keeping up.
    Dropped {
        /// The queue's name.
        queue: String,
        /// How many.
        count: u64,
    },
    /// We pressed keys for the other side. Which ones is not told.
    KeysSent {
        /// How many.
        count: u32,
    },
    /// Something is wrong with the media of the caller's leg, or is well again.
    MediaFault {
        /// `not_hearing`: nothing comes, though the far end reports. `silent`: nothing comes at all. `not_heard`: the far
        /// end's reports say that nothing of ours arrives. `dead`: no sign of life, which ends the call.
        fault: String,
        /// Whether it began.
        active: bool,
    },
    /// How the media of the caller's leg went.
    Quality {
        /// Packets received.
        received: u64,
        /// Packets that never came.
        lost: u64,
        /// Packets that came too late.
        late: u64,
        /// Frames made up for missing ones.
        concealed: u64,
        /// Interarrival jitter, in microseconds.
        jitter_us: u64,
        /// Packets sent.
        sent: u64,
        /// Packets from strangers, ignored.
        foreign: u64,
        /// Packets that made no sense, or carried what nobody agreed on.
        #[serde(default)]
        malformed: u64,
        /// Packets that an SRTP call did not believe.
        #[serde(default)]
        srtp_auth_failed: u64,
        /// Packets of an SRTP call that had come before.
        #[serde(default)]
        srtp_replayed: u64,
        /// Lost packets that were found in the one behind them.
        #[serde(default)]
        recovered: u64,
        /// Packets that came twice.
        #[serde(default)]
        duplicates: u64,
        /// Packets that others had overtaken.
        #[serde(default)]
        reordered: u64,
        /// There and back by the far end's reports, in microseconds.
        #[serde(default)]
        rtt_us: Option<u64>,
        /// Packets of ours that the far end says it never got.
        #[serde(default)]
        remote_lost: Option<u64>,
        /// Interarrival jitter that the far end reports, in microseconds.
        #[serde(default)]
        remote_jitter_us: Option<u64>,
        /// How good what we heard was; absent if nothing came.
        #[serde(default)]
        mos_in: Option<MosRange>,
        /// How good the far end heard us; absent if it did not report.
        #[serde(default)]
        mos_out: Option<MosRange>,
    },
    /// The call is over.
    Ended {
        /// One of the closed list in `cdr::Cause`.
        cause: String,
        /// The final status of the INVITE, if the call was never answered.
        status: Option<u16>,
    },
}
