//! Whole calls on a simulated clock: what the caller would notice, and when.
mod simulation;
use sim::{Scenario, World};
use std::time::Instant;
#[test]
fn show() {
    for (name, s) in [("one", Scenario::one_turn()), ("barge", Scenario::barge_in()), ("greet", Scenario::over_the_greeting()), ("tool", Scenario::over_a_tool())] {
        let w = World::new(Instant::now(), 1, simulation::agent(), s).run();
        println!("=== {name}\n{}", w.timeline());
    }
}
