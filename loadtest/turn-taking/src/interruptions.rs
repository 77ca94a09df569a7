//! Sounds beside the agent's voice: how quickly it falls silent for a caller, and what else silences it.

use crate::{LINES, corpus, corpus::Beside, percent, percentile};
use call::Event;
use conversation::Agent;
use pico_engine::Voice;
use sim::{Act, Planned, Said, Scenario, World, say};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// When the sound begins, after the answer; a little later each time, so that it meets the agent elsewhere.
const BEGINS: u64 = 6_500;

#[derive(Default)]
struct Tally {
    all: usize,
    /// The agent never fell silent.
    untouched: usize,
    resumed: usize,
    cut: usize,
    /// From the sound's first sample at our ear to the last packet with the agent's voice, in milliseconds.
    reactions: Vec<u64>,
    /// How long the agent was silent for nothing.
    gaps: Vec<u64>,
}

pub(crate) fn measure(voice: &mut Voice, agent: &Arc<Agent>, each: bool) -> Result<(), String> {
    let (mut interruptions, mut backchannels, mut noises) =
        (Tally::default(), Tally::default(), Tally::default());
    for (noise, line) in LINES {
        for (n, beside) in corpus::BESIDE.iter().enumerate() {
            let (recording, tally) = match beside {
                Beside::Interruption(text) => (corpus::speak(voice, text)?, &mut interruptions),
                Beside::Backchannel(text) => (corpus::speak(voice, text)?, &mut backchannels),
                Beside::Noise(ms, dbfs) => (corpus::noise(*ms, *dbfs), &mut noises),
            };
            let at = Duration::from_millis(BEGINS + 37 * n as u64);
            let scenario = Scenario {
                length: Duration::from_secs(30),
                caller: vec![
                    say(2_500, "when are you open", 1_200),
                    Planned { at, act: Act::Play(recording) },
                    Planned::at(20_000, Act::HangUp),
                ],
                replies: vec![
                    Said::text(corpus::AGENT_SAYS[n % corpus::AGENT_SAYS.len()]),
                    Said::text("All right."),
                ],
                line_noise: noise,
                ..Scenario::one_turn()
            };
            let heard = at + scenario.link.latency * 2;
            let fate = tally.add(&World::new(Instant::now(), 3, Arc::clone(agent), scenario).run(), heard);
            if each {
                println!("    {fate} on {line}: {beside:?}");
            }
        }
    }
    let reaction = |share| percentile(&interruptions.reactions, share);
    println!(
        "\nBarge-in: {} interruptions, {} backchannels and {} noises",
        interruptions.all, backchannels.all, noises.all
    );
    println!(
        "  interruptions that took the floor     {:>5.1} %",
        percent(interruptions.cut, interruptions.all)
    );
    println!(
        "  speech onset to silence on the wire   p50 {} ms, p95 {} ms, max {} ms   (aim: p95 <= 260)",
        reaction(0.5),
        reaction(0.95),
        reaction(1.0)
    );
    backchannels.line("backchannels", "(aim: >= 95 % go on)");
    noises.line("noises", "");
    Ok(())
}

impl Tally {
    #[expect(clippy::wildcard_enum_match_arm, reason = "four of many events make a figure")]
    fn add(&mut self, world: &World, heard: Duration) -> String {
        self.all += 1;
        let after = world.trace().iter().filter(|stamped| Duration::from_micros(stamped.at_us) >= heard);
        let (mut paused, mut resumed, mut cut) = (false, false, false);
        let mut fate = "not even silent".to_owned();
        for stamped in after {
            match &stamped.event {
                Event::AgentPaused { .. } => paused = true,
                Event::AgentResumed { after_ms, was, .. } => {
                    resumed = true;
                    fate = format!("goes on after {after_ms} ms, {was}");
                    self.gaps.push(u64::from(*after_ms));
                }
                Event::BargeIn { turn, .. } if !cut => {
                    cut = true;
                    let mut own = world.sent().iter().filter(|sent| sent.voice == Some(*turn));
                    let last = own.next_back().map(|sent| sent.at + media::FRAME).unwrap_or(heard);
                    let reaction = last.saturating_sub(heard).as_millis() as u64;
                    fate = format!("cut after {reaction} ms");
                    self.reactions.push(reaction);
                }
                _ => {}
            }
        }
        self.cut += usize::from(cut);
        self.resumed += usize::from(resumed && !cut);
        self.untouched += usize::from(!paused);
        fate
    }

    fn line(&self, name: &str, aim: &str) {
        let goes_on = percent(self.resumed + self.untouched, self.all);
        let (untouched, gap) = (percent(self.untouched, self.all), percentile(&self.gaps, 0.95));
        println!(
            "  {name:<13} the agent goes on after   {goes_on:>5.1} %  {aim}: not even silent {untouched:.1} %, else silent for p95 {gap} ms; false barge-ins {}",
            self.cut
        );
    }
}
