//! Agent files: found, read with the knowledge files that they name, and understood, before the first call.
//! Does not know what an agent says; `conversation` does.

use super::{DEMO, Problem, checker::Checker, problem::suggest, raw::Key, target::Routes};
use conversation::{Agent, Stage};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use toml::Spanned;

/// Agents by the key that trunks carry.
pub(super) type Agents = BTreeMap<String, Arc<Agent>>;

/// The agent that is compiled in, and the knowledge file that it names.
const DEMO_AGENT: (&str, &str) =
    (include_str!("../../agents/demo.toml"), include_str!("../../agents/demo-hours.md"));

/// What its database starts with.
const DEMO_SCHEMA: &str = include_str!("../../agents/demo.sql");

impl Checker<'_> {
    /// Reads the agent that a key names, once, and returns its key in `agents`.
    pub(super) fn agent(&mut self, key: &Key<String>, default: &str, agents: &mut Agents) -> String {
        let name = key.as_ref().map_or(default, |key| key.get_ref());
        if !agents.contains_key(name) {
            let agent = match key {
                Some(key) if name != DEMO => self.agent_file(key),
                Some(_) | None => {
                    let knowledge = BTreeMap::from([("demo-hours.md".to_owned(), DEMO_AGENT.1.to_owned())]);
                    self.understood("agents/demo.toml (built in)", DEMO_AGENT.0, &knowledge)
                }
            };
            agents.extend(agent.map(|agent| (name.to_owned(), Arc::new(agent))));
        }
        name.to_owned()
    }

    /// Agents that others hand over to are agents like any other.
    pub(super) fn handed_to(&mut self, agents: &mut Agents) {
        loop {
            let named = agents.values().flat_map(|agent| agent.handed_to().map(str::to_owned));
            let missing: Vec<String> = named.filter(|name| !agents.contains_key(name)).collect();
            let before = agents.len();
            for name in missing {
                self.agent(&Some(Spanned::new(0..0, name)), DEMO, agents);
            }
            if agents.len() == before {
                return;
            }
        }
    }

    /// The script beside each agent's file that sets up its database, where there is one.
    pub(super) fn schemas(&mut self, agents: &Agents) -> BTreeMap<String, String> {
        let mut schemas = BTreeMap::new();
        for key in agents.keys() {
            if key == DEMO {
                schemas.insert(key.clone(), DEMO_SCHEMA.to_owned());
                continue;
            }
            let path = self.folder.join(key).with_extension("sql");
            self.files.push(path.clone());
            match std::fs::read_to_string(&path) {
                Ok(text) => drop(schemas.insert(key.clone(), text)),
                Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {}
                Err(reason) => {
                    let message = format!("the agent's database script cannot be read: {reason}");
                    let place = path.display().to_string();
                    self.problems.push(Problem::error(place, message, "make it readable, or remove it"));
                }
            }
        }
        schemas
    }

    /// An agent may name routes; they must be there.
    pub(super) fn agent_routes(&mut self, agents: &Agents, routes: &Routes) {
        for (key, agent) in agents {
            for (stage, word, known) in [
                (Stage::Stt, "stt", routes.stt.keys().collect::<Vec<_>>()),
                (Stage::Llm, "llm", routes.llm.keys().collect()),
                (Stage::Tts, "tts", routes.tts.keys().collect()),
            ] {
                let route = agent.route(stage);
                if !known.iter().any(|name| *name == route) {
                    let message = format!(
                        "the agent `{key}` names the route [routes.{word}.{route}], which is not there"
                    );
                    let help = suggest(route, known.iter().map(|name| name.as_str()));
                    self.problems.push(Problem::error(self.source.name(), message, help));
                }
            }
        }
    }

    fn agent_file(&mut self, key: &Spanned<String>) -> Option<Agent> {
        let path = self.folder.join(key.get_ref());
        self.files.push(path.clone());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(reason) => {
                let message = format!("the agent file `{}` cannot be read: {reason}", key.get_ref());
                self.error(key, message, similar_file(&path));
                return None;
            }
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut knowledge = BTreeMap::new();
        for name in knowledge_files(&text) {
            self.files.push(folder.join(&name));
            match std::fs::read_to_string(folder.join(&name)) {
                Ok(text) => drop(knowledge.insert(name, text)),
                Err(reason) => {
                    let message = format!("its knowledge file `{name}` cannot be read: {reason}");
                    let place = path.display().to_string();
                    self.problems.push(Problem::error(place, message, similar_file(&folder.join(&name))));
                    return None;
                }
            }
        }
        self.understood(&path.display().to_string(), &text, &knowledge)
    }

    fn understood(&mut self, name: &str, text: &str, knowledge: &BTreeMap<String, String>) -> Option<Agent> {
        Agent::parse(text, knowledge)
            .map_err(|wrong| {
                let place = format!("{name}:{}:{}", wrong.line, wrong.column);
                let help =
                    if wrong.help.is_empty() { "see agents/demo.toml for an example" } else { &wrong.help };
                self.problems.push(Problem::error(place, &wrong.message, help));
            })
            .ok()
    }
}

/// The files that an agent file names in its `[[knowledge]]`; none if it cannot be read, which is told elsewhere.
fn knowledge_files(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let items = table.get("knowledge").and_then(toml::Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.get("file")?.as_str().map(str::to_owned)).collect()
}

fn similar_file(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let help = suggest(&written, names.iter().map(String::as_str));
    if help.starts_with("did") { help } else { "correct the path; it starts at this file's folder".into() }
}
