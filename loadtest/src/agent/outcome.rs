//! How one call went, as its caller saw it.
//! Knows the phone's stopwatch. What many calls make together is the run's business.

use super::{link::LinkCounts, scenario::Scenario};
use serde::Serialize;
use std::time::Duration;
use tandem::caller::phone::{Measures, MediaMeasures};

/// A call that was up for less tells nothing of one-way audio.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// A question and the time until its answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    /// When our speech ended, in milliseconds since the INVITE.
    pub(crate) asked_ms: f64,
    /// From then to the first voiced packet.
    pub(crate) gap_ms: f64,
}

/// One call.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CallOutcome {
    /// From 1 in the order of dialling.
    pub(crate) number: u64,
    #[serde(rename = "scenario")]
    pub(crate) scenario_name: String,
    /// The SIP Call-ID.
    pub(crate) call_id: Option<String>,
    /// When it was dialled, in seconds since the beginning of the load.
    pub(crate) at_s: f64,
    pub(crate) status: Option<u16>,
    /// Why it counts as failed.
    pub(crate) failure: Option<String>,
    pub(crate) ring_ms: Option<f64>,
    pub(crate) setup_ms: Option<f64>,
    /// From the 200 to the first voiced packet.
    pub(crate) greeting_ms: Option<f64>,
    pub(crate) lasted_s: f64,
    pub(crate) answers: Vec<Answer>,
    pub(crate) unanswered: u32,
    pub(crate) barge_ins_ms: Vec<f64>,
    pub(crate) received: u64,
    pub(crate) voiced: u64,
    pub(crate) on_hold: u64,
    /// Between packets: p99 and the longest.
    pub(crate) packet_p99_ms: f64,
    pub(crate) packet_max_ms: f64,
    /// What flows one way only: `nothing heard`, `only silence heard` or `not heard`.
    pub(crate) one_way: Option<&'static str>,
    #[serde(flatten)]
    pub(crate) media: Option<Media>,
    pub(crate) link_up: LinkFacts,
    pub(crate) link_down: LinkFacts,
    pub(crate) strangers: u64,
}

/// What RTP and RTCP say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Media {
    pub(crate) codec: String,
    pub(crate) encrypted: bool,
    pub(crate) sent: u32,
    pub(crate) lost_percent: f64,
    pub(crate) late_percent: f64,
    pub(crate) reordered: u64,
    pub(crate) duplicates: u64,
    pub(crate) concealed: u64,
    pub(crate) jitter_ms: f64,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) rtcp_received: u64,
    pub(crate) they_lost: Option<i32>,
    pub(crate) mos: Option<f32>,
    pub(crate) they_mos: Option<f32>,
}

/// What our own network did to the packets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct LinkFacts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

impl From<LinkCounts> for LinkFacts {
    fn from(LinkCounts { sent, lost, duplicated, reordered }: LinkCounts) -> Self {
        Self { sent, lost, duplicated, reordered }
    }
}

/// A call that is over, before it is judged.
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) scenario: usize,
    pub(crate) call_id: Option<String>,
    pub(crate) at: Duration,
    pub(crate) measures: Measures,
    /// The caller hung up before its scenario did, because the load ended or its patience did.
    pub(crate) given_up: bool,
    pub(crate) links: [LinkCounts; 2],
    pub(crate) strangers: u64,
}

impl CallOutcome {
    pub(crate) fn new(ended: &Ended, scenario: &Scenario) -> Self {
        let measures = &ended.measures;
        let answers = measures.asked.iter().zip(&measures.answers);
        let mut gaps = measures.gaps_us.clone();
        gaps.sort_unstable();
        let at = |share: f64| gaps.get(((gaps.len() as f64 * share).ceil() as usize).saturating_sub(1));
        let greeting = measures.greeting.zip(measures.answered);
        Self {
            number: ended.number,
            scenario_name: scenario.name.clone(),
            call_id: ended.call_id.clone(),
            at_s: ended.at.as_secs_f64(),
            status: measures.status,
            failure: failure(ended),
            ring_ms: measures.provisional.map(ms),
            setup_ms: measures.answered.map(ms),
            greeting_ms: greeting.map(|(heard, answered)| ms(heard.saturating_sub(answered))),
            lasted_s: measures.ended.unwrap_or_default().as_secs_f64(),
            answers: answers.map(|(asked, gap)| Answer { asked_ms: ms(*asked), gap_ms: ms(*gap) }).collect(),
            // What was said as the load ended may well have been answered a moment later.
            unanswered: if ended.given_up { 0 } else { measures.unanswered },
            barge_ins_ms: measures.silences.iter().copied().map(ms).collect(),
            received: measures.received,
            voiced: measures.voiced,
            on_hold: measures.on_hold,
            packet_p99_ms: at(0.99).map_or(0.0, |us| f64::from(*us) / 1_000.0),
            packet_max_ms: at(1.0).map_or(0.0, |us| f64::from(*us) / 1_000.0),
            one_way: one_way(measures),
            media: measures.media.as_ref().map(Media::new),
            link_up: ended.links[0].into(),
            link_down: ended.links[1].into(),
            strangers: ended.strangers,
        }
    }

    /// The longest wait for an answer.
    pub(crate) fn worst_gap_ms(&self) -> f64 {
        self.answers.iter().map(|answer| answer.gap_ms).fold(0.0, f64::max)
    }
}

impl Media {
    fn new(media: &MediaMeasures) -> Self {
        let percent = |part: u64| part as f64 * 100.0 / media.expected.max(1) as f64;
        Self {
            codec: media.codec.clone(),
            encrypted: media.encrypted,
            sent: media.sent,
            lost_percent: percent(media.lost),
            late_percent: percent(media.late),
            reordered: media.reordered,
            duplicates: media.duplicates,
            concealed: media.concealed,
            jitter_ms: ms(media.jitter),
            rtt_ms: media.rtt.map(ms),
            rtcp_received: media.rtcp_received,
            they_lost: media.they_lost,
            mos: media.mos,
            they_mos: media.they_mos,
        }
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A caller that gives up early wants no answer; every other call must be taken, and go as its script says.
fn failure(ended: &Ended) -> Option<String> {
    let Measures { status, unmet, answered, .. } = &ended.measures;
    match (status, answered, unmet.first()) {
        (_, Some(_), None) => None,
        (_, Some(_), Some(_)) if ended.given_up => None,
        (_, Some(_), Some(unmet)) => Some(unmet.clone()),
        (_, None, _) if ended.given_up && matches!(status, None | Some(200 | 487)) => None,
        (Some(408), None, _) => Some("no response".to_owned()),
        (Some(status), None, _) => Some(format!("refused with {status}")),
        (None, None, _) => Some("never answered".to_owned()),
    }
}

fn one_way(measures: &Measures) -> Option<&'static str> {
    let up = measures.ended?.checked_sub(measures.answered?)?;
    if up < LONG_ENOUGH {
        return None;
    }
    let they_hear = measures.media.as_ref().and_then(|media| media.they_hear);
    match (measures.received, measures.voiced, they_hear) {
        (0, _, _) => Some("nothing heard"),
        (_, 0, _) => Some("only silence heard"),
        (_, _, Some(false)) => Some("not heard"),
        (_, _, Some(true) | None) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::agent::scenario::{Defaults, conversation};

    fn scenario() -> Scenario {
        let none = Default::default();
        let defaults = Defaults { codecs: Vec::new(), srtp: sip::SrtpMode::Off, up: none, down: none };
        conversation(&["hello".to_owned()], &defaults).expect("a scenario")
    }

    fn ended(measures: Measures, given_up: bool) -> Ended {
        let none = LinkCounts::default();
        let at = Duration::from_secs(3);
        Ended {
            number: 1,
            scenario: 0,
            call_id: None,
            at,
            measures,
            given_up,
            links: [none; 2],
            strangers: 0,
        }
    }

    fn seconds(s: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(s))
    }

    #[test]
    fn the_stopwatch_becomes_milliseconds_and_the_greeting_counts_from_the_answer() {
        let measures = Measures {
            answered: seconds(0.1),
            greeting: seconds(0.35),
            status: Some(200),
            ended: seconds(10.0),
            answers: vec![Duration::from_millis(640)],
            asked: vec![Duration::from_secs(4)],
            gaps_us: (0..100).map(|n| 20_000 + n * 10).collect(),
            received: 101,
            voiced: 50,
            ..Measures::default()
        };
        let outcome = CallOutcome::new(&ended(measures, false), &scenario());
        assert_eq!((outcome.setup_ms, outcome.greeting_ms), (Some(100.0), Some(250.0)));
        assert_eq!(outcome.answers, [Answer { asked_ms: 4_000.0, gap_ms: 640.0 }]);
        assert_eq!((outcome.packet_p99_ms, outcome.packet_max_ms), (20.98, 20.99));
        assert_eq!((outcome.failure, outcome.one_way), (None, None));
    }

    #[test]
    fn a_call_that_nobody_takes_has_failed_unless_its_caller_gave_up() {
        let status = |status| Measures { status, ..Measures::default() };
        let failure = |measures, given_up| CallOutcome::new(&ended(measures, given_up), &scenario()).failure;
        assert_eq!(failure(status(Some(503)), false), Some("refused with 503".to_owned()));
        assert_eq!(failure(status(Some(503)), true), Some("refused with 503".to_owned()));
        assert_eq!(failure(status(None), false), Some("never answered".to_owned()));
        assert_eq!(failure(status(Some(487)), true), None);
    }

    #[test]
    fn audio_that_flows_one_way_only_is_named_by_what_is_missing() {
        let up = |received, voiced, they_hear: Option<bool>| {
            let media = MediaMeasures { they_hear, ..media() };
            let measures = Measures {
                answered: seconds(0.1),
                ended: seconds(5.0),
                received,
                voiced,
                media: Some(media),
                ..Measures::default()
            };
            one_way(&measures)
        };
        assert_eq!(up(0, 0, None), Some("nothing heard"));
        assert_eq!(up(200, 0, Some(true)), Some("only silence heard"));
        assert_eq!(up(200, 90, Some(false)), Some("not heard"));
        assert_eq!(up(200, 90, None), None);
    }

    fn media() -> MediaMeasures {
        MediaMeasures {
            codec: "PCMU".to_owned(),
            encrypted: false,
            sent: 250,
            expected: 200,
            lost: 2,
            late: 1,
            duplicates: 0,
            reordered: 0,
            concealed: 3,
            malformed: 0,
            jitter: Duration::from_millis(2),
            rtcp_received: 1,
            rtt: None,
            they_lost: None,
            they_hear: None,
            mos: Some(4.3),
            they_mos: None,
        }
    }

    #[test]
    fn losses_are_shares_of_what_was_sent() {
        let media = Media::new(&media());
        assert_eq!((media.lost_percent, media.late_percent, media.jitter_ms), (1.0, 0.5, 2.0));
    }
}
