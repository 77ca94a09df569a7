//! What a person sees of a call: live lines while it goes on, waterfalls and figures at its end, or one JSON document.
//! Knows what happened. Knows nothing of how.

use super::follow;
use crate::{
    caller::phone::{Happening, Measures, Phone},
    cli::trace::{render_call, terminal},
    telemetry::{CallTrace, NumberedEvent},
};
use call::Event;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, Sender},
    time::{Duration, Instant},
};

/// How a call went.
pub(super) struct Outcome {
    measures: Measures,
    trace: Option<CallTrace>,
    wav: Option<PathBuf>,
}

impl Outcome {
    pub(super) fn new(phone: &Phone, trace: Option<CallTrace>, wav: Option<PathBuf>) -> Self {
        Self { measures: phone.measures.clone(), trace, wav }
    }

    /// Whether the call was answered and every expectation met.
    pub(super) fn is_good(&self) -> bool {
        self.measures.status == Some(200) && self.measures.unmet.is_empty()
    }

    /// Whether somebody took the call, whatever became of it.
    pub(super) fn is_answered(&self) -> bool {
        self.measures.answered.is_some()
    }

    /// The final status of the INVITE.
    pub(super) fn status(&self) -> Option<u16> {
        self.measures.status
    }

    fn json(&self) -> Value {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1_000.0;
        let measures = &self.measures;
        json!({
            "ok": self.is_good(),
            "status": measures.status,
            "unmet": measures.unmet,
            "provisional_ms": measures.provisional.as_ref().map(ms),
            "answered_ms": measures.answered.as_ref().map(ms),
            "greeting_ms": measures.greeting.as_ref().map(ms),
            "answers_ms": measures.answers.iter().map(ms).collect::<Vec<_>>(),
            "silences_ms": measures.silences.iter().map(ms).collect::<Vec<_>>(),
            "packets": { "received": measures.received, "missing": measures.missing, "gap_us": gaps(measures) },
            "recording": self.wav,
            "trace": self.trace,
        })
    }
}

/// Percentiles of the time between packets, in microseconds.
fn gaps(measures: &Measures) -> Value {
    let mut gaps = measures.gaps_us.clone();
    gaps.sort_unstable();
    let at = |share: f64| gaps.get(((gaps.len().max(1) - 1) as f64 * share).round() as usize).copied();
    json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": gaps.last() })
}

/// The terminal.
pub(super) struct Screen {
    json: bool,
    started: Instant,
    words: Receiver<NumberedEvent>,
    sender: Sender<NumberedEvent>,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let (sender, words) = follow::words();
        Self { json, started: Instant::now(), words, sender }
    }

    /// Where the server's events go.
    pub(super) fn words(&self) -> Sender<NumberedEvent> {
        self.sender.clone()
    }

    pub(super) fn dialling(&self, uri: &str, followed: bool) {
        if !self.json {
            println!("Calling {uri}");
            if !followed {
                println!("The server's HTTP API does not answer: no words and no waterfall (see --api).");
            }
        }
    }

    /// What the phone noticed, after what the server said meanwhile.
    pub(super) fn show(&self, happening: &Happening) {
        self.show_words();
        let text = match happening {
            Happening::Progress(status) => {
                format!("         {}", if *status == 180 { "ringing".into() } else { status.to_string() })
            }
            Happening::Answered(took) => format!("         answered after {} ms", took.as_millis()),
            Happening::Failed(status, reason) => format!("         failed: {status} {reason}"),
            Happening::Saying(text) => format!("you      {text}"),
            Happening::Pressing(keys) => format!("you      press {keys}"),
            Happening::Held(true) => "you      put the agent on hold".into(),
            Happening::Held(false) => "you      take the agent back".into(),
            Happening::Agent(_) => return,
            Happening::Met(what) => format!("     ok  {what}"),
            Happening::Unmet(what) => format!(" FAILED  {what}"),
            Happening::Over(true) => "         the agent hung up".into(),
            Happening::Over(false) => "         hung up".into(),
        };
        self.line(self.started.elapsed(), &text);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a person wants to see a few of many events")]
    fn show_words(&self) {
        for NumberedEvent { stamped, .. } in self.words.try_iter() {
            let at = Duration::from_micros(stamped.at_us);
            match &stamped.event {
                Event::Heard { text, is_final: true, .. } if !text.is_empty() => {
                    self.line(at, &format!("heard    {text}"))
                }
                Event::Sentence { text, .. } => self.line(at, &format!("agent    {text}")),
                Event::Floor { holder } => self.line(at, &format!("         floor: {holder}")),
                Event::AgentResumed { was, text, .. } => {
                    self.line(at, &format!("         goes on after a {was} {text}"))
                }
                Event::BargeIn { state, reaction_ms, .. } => {
                    self.line(at, &format!("         barge-in while {state}, silent after {reaction_ms} ms"));
                }
                Event::ToolStarted { name, .. } => self.line(at, &format!("         tool {name}")),
                Event::Fallback { stage, reason, .. } => {
                    self.line(at, &format!("         {stage} failed: {reason}"))
                }
                _ => {}
            }
        }
    }

    fn line(&self, at: Duration, text: &str) {
        if !self.json {
            println!("{:7.2}  {text}", at.as_secs_f64());
        }
    }

    pub(super) fn finish(&self, outcome: &Outcome) {
        if self.json {
            return println!("{:#}", outcome.json());
        }
        self.show_words();
        if let Some(trace) = &outcome.trace {
            let (width, colour) = terminal();
            println!("\n{}", render_call(trace, width, colour).trim_end());
        }
        println!("\nBy the caller's clock");
        print_measures(&outcome.measures);
        if let Some(wav) = &outcome.wav {
            println!("  recording            {} (caller left, agent right)", wav.display());
        }
    }
}

fn print_measures(measures: &Measures) {
    let row = |name: &str, values: &[Duration]| {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| value.as_millis().to_string()).collect();
            println!("  {name:<20} {} ms", values.join(", "));
        }
    };
    row("answered after", measures.answered.as_slice());
    row("greeting after", measures.greeting.as_slice());
    row("answers after", &measures.answers);
    row("silent after barge-in", &measures.silences);
    println!(
        "  packets              {} received, {} missing, {}",
        measures.received,
        measures.missing,
        gaps(measures)
    );
    for unmet in &measures.unmet {
        println!("  NOT MET              {unmet}");
    }
}
