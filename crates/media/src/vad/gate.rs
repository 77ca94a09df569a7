//! The two gates around a voice model: loud enough to be asked about before it, speech yes or no after it.
//! Does not know the model.

use crate::Frame;

/// Frames kept from before the gate opened, so that the detector hears the onset.
const PRE_ROLL: usize = 2;

/// How far above the noise floor a frame must be to be worth the detector's time.
const GATE_MARGIN_DB: f32 = 6.0;

/// The floor's range: nothing below is audible on a telephone, and no floor may swallow speech.
const FLOOR_RANGE_DBFS: (f32, f32) = (-70.0, -35.0);

/// How fast the floor follows louder noise while the detector says it is noise: 15 dB in a second. In speech
/// it rises hardly at all: half a dB in a second, for when the detector is wrong.
const FLOOR_RISE_DB: (f32, f32) = (0.3, 0.01);

/// Below this probability the detector is sure enough of noise.
const SURELY_NOISE: f32 = 0.35;

/// The gate stays open this many frames after the last loud one: 120 ms, about a stop consonant. Longer would
/// not find more speech but its end later.
const GATE_HOLD: u32 = 6;

/// Follows the noise floor and keeps what does not stand out of it from the model.
#[derive(Clone, Debug)]
pub(super) struct EnergyGate {
    /// Recent frames that the gate kept from the detector.
    skipped: Vec<Frame>,
    floor_dbfs: f32,
    hold: u32,
}

impl Default for EnergyGate {
    fn default() -> Self {
        Self { skipped: Vec::with_capacity(PRE_ROLL), floor_dbfs: FLOOR_RANGE_DBFS.0, hold: 0 }
    }
}

impl EnergyGate {
    /// Whether the model is to hear this frame. `probability` is its last answer.
    pub(super) fn opens(&mut self, frame: &Frame, probability: f32) -> bool {
        let level = frame.level_dbfs();
        let loud = level > self.floor_dbfs + GATE_MARGIN_DB;
        self.floor_dbfs = if level < self.floor_dbfs {
            // Down quickly: the quietest moments are the noise.
            self.floor_dbfs + (level - self.floor_dbfs) * 0.25
        } else {
            let noise = probability < SURELY_NOISE;
            self.floor_dbfs + if noise { FLOOR_RISE_DB.0 } else { FLOOR_RISE_DB.1 }
        }
        .clamp(FLOOR_RANGE_DBFS.0, FLOOR_RANGE_DBFS.1);
        self.hold = if loud { GATE_HOLD } else { self.hold.saturating_sub(1) };
        if self.hold == 0 {
            self.skip(frame);
        }
        self.hold > 0
    }

    /// The frames before the one that opened the gate.
    pub(super) fn take_skipped(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.skipped)
    }

    fn skip(&mut self, frame: &Frame) {
        if self.skipped.len() >= PRE_ROLL {
            self.skipped.remove(0);
        }
        self.skipped.push(frame.clone());
    }
}

/// Turns probabilities into speech yes or no that does not flicker.
#[derive(Clone, Debug, Default)]
pub struct SpeechGate {
    open: bool,
    quiet_frames: u32,
}

impl SpeechGate {
    /// Speech begins at this probability.
    pub const OPEN: f32 = 0.5;

    /// Speech ends below this one...
    pub const CLOSE: f32 = 0.35;

    /// ...for this many frames in a row.
    pub const CLOSE_FRAMES: u32 = 2;

    /// Closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether speech is on, with this frame's probability.
    pub fn update(&mut self, probability: f32) -> bool {
        if probability >= Self::OPEN {
            self.open = true;
        }
        self.quiet_frames = if probability < Self::CLOSE { self.quiet_frames + 1 } else { 0 };
        if self.quiet_frames >= Self::CLOSE_FRAMES {
            self.open = false;
        }
        self.open
    }
}
