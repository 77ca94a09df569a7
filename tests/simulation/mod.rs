//! What the simulated whole calls share: the agent that answers.

use conversation::Agent;
use std::{collections::BTreeMap, sync::Arc};

/// An agent as plain as possible: the simulation decides what its model says.
const AGENT: &str = r#"
[agent]
name = "simulated"
version = "1"
language = "en-US"
greeting = "Hello, how can I help?"
persona = "You answer the phone."

[[tool]]
name = "look_up"
description = "Looks something up."
kind = "sqlite"
sql = "SELECT 1"

[[tool]]
name = "end_call"
description = "Ends the call."
kind = "end_call"
"#;

/// The same agent, with a folder of documents that it looks questions up in.
#[allow(dead_code, reason = "not every file has documents")]
pub(crate) fn informed() -> Arc<Agent> {
    let text = format!("{AGENT}\n[[knowledge]]\nfolder = \"docs\"\n");
    Arc::new(Agent::parse(&text, &BTreeMap::new()).expect("the informed agent is valid"))
}

/// The agent of every simulated call.
pub(crate) fn agent() -> Arc<Agent> {
    Arc::new(Agent::parse(AGENT, &BTreeMap::new()).expect("the simulated agent is valid"))
}
