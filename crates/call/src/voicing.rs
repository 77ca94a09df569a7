//! Whether a frame of the caller holds speech: by the detector here, or by one elsewhere that judges many calls at a time.
//! Knows frames and answers. Where the other detector runs and what it is, is the shell's.

use media::{Frame, SpeechGate, Vad};

/// The voice activity of one leg.
pub(crate) struct Voicing {
    here: Vad,
    gate: SpeechGate,
    elsewhere: Option<Elsewhere>,
}

/// What another detector has said so far.
#[derive(Default)]
struct Elsewhere {
    /// The last frame it judged, and how probable speech in it is.
    answer: Option<(u64, f32)>,
    /// The answer before this one was late: the detector here has begun to listen.
    behind: bool,
}

impl Voicing {
    /// `elsewhere`: answers come from outside, one frame later.
    pub(crate) fn new(elsewhere: bool) -> Self {
        let elsewhere = elsewhere.then(Elsewhere::default);
        Self { here: Vad::new(), gate: SpeechGate::default(), elsewhere }
    }

    /// The detector elsewhere has judged the frame with this number.
    pub(crate) fn judged(&mut self, number: u64, probability: f32) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.answer = Some((number, probability));
        }
    }

    /// Whether the caller speaks, as of the frame with this number. The answer from elsewhere is that of the frame before;
    /// if it has not come in time, the detector here decides on this one.
    pub(crate) fn hear(&mut self, number: u64, frame: &Frame) -> bool {
        let probability = match &mut self.elsewhere {
            None => self.here.push(frame),
            Some(elsewhere) => match elsewhere.answer.filter(|(judged, _)| judged + 1 >= number) {
                Some((_, probability)) => {
                    elsewhere.behind = false;
                    probability
                }
                None => {
                    if !std::mem::replace(&mut elsewhere.behind, true) {
                        // What it remembers is long ago.
                        self.here = Vad::new();
                    }
                    self.here.push(frame)
                }
            },
        };
        self.gate.update(probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{SampleRate, tone};

    fn frames() -> Vec<Frame> {
        let samples = [
            tone::noise(1, -60.0, 8_000),
            tone::speech(8_000, 1, -20.0, 16_000),
            tone::noise(2, -60.0, 8_000),
        ];
        samples.concat().chunks(160).map(|part| Frame::from_samples(SampleRate::Hz8000, part)).collect()
    }

    fn heard(mut voicing: Voicing, answers: impl Fn(u64) -> bool) -> Vec<bool> {
        let mut far = Vad::new();
        let mut last = None;
        let judge = |(number, frame): (usize, &Frame)| {
            let number = number as u64;
            if let Some((judged, probability)) = last.filter(|(judged, _)| answers(*judged)) {
                voicing.judged(judged, probability);
            }
            let speech = voicing.hear(number, frame);
            last = Some((number, far.push(frame)));
            speech
        };
        frames().iter().enumerate().map(judge).collect()
    }

    #[test]
    fn a_detector_elsewhere_says_the_same_one_frame_later() {
        let (here, elsewhere) = (heard(Voicing::new(false), |_| true), heard(Voicing::new(true), |_| true));
        assert!(here.iter().any(|speech| *speech));
        assert_eq!(elsewhere[2..], here[1..here.len() - 1]);
    }

    #[test]
    fn while_its_answers_are_late_the_one_here_decides() {
        let here = heard(Voicing::new(false), |_| true);
        assert_eq!(heard(Voicing::new(true), |_| false), here);
        // They stop in the middle of speech: it is speech still, and its end is noticed 100 ms later at most.
        let cut = heard(Voicing::new(true), |number| number < 100);
        let end = |heard: &[bool]| heard.iter().rposition(|speech| *speech).expect("speech");
        assert!(end(&cut).abs_diff(end(&here)) <= 5, "{} and {}", end(&cut), end(&here));
        assert!(cut[101..140].iter().filter(|speech| **speech).count() > 20);
    }
}
