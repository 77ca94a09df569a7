//! Agent files: found, read with the knowledge files that they name, and understood, before the first call.
//! Does not know what an agent says; `conversation` does.

use super::{
    DEMO, Problem,
    checker::Checker,
    problem::suggest,
    raw::Key,
    target::{Route, Routes, SttTarget, TtsTarget},
};
use crate::{ambience, knowledge::Library};
use call::Ambience;
use conversation::{Agent, Elsewhere, Place, Stage, primary};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use toml::Spanned;

/// Agents by the key that trunks carry.
pub(super) type Agents = BTreeMap<String, Arc<Agent>>;

/// The agent that is compiled in, and the knowledge file that it names.
const DEMO_AGENT: (&str, &str) =
    (include_str!("../../agents/demo.toml"), include_str!("../../agents/demo-hours.md"));

/// The documents that it looks up.
const DEMO_DOCUMENTS: [(&str, &str); 2] = [
    ("services.md", include_str!("../../agents/demo-docs/services.md")),
    ("visits.md", include_str!("../../agents/demo-docs/visits.md")),
];
/// What it is called in errors.
const DEMO_FILE: &str = "agents/demo.toml (built in)";

/// What its database starts with.
const DEMO_SCHEMA: &str = include_str!("../../agents/demo.sql");

impl Checker<'_> {
    /// Reads the agent that a key names, once, and returns its key in `agents`.
    pub(super) fn agent(&mut self, key: &Key<String>, default: &str, agents: &mut Agents) -> String {
        let name = key.as_ref().map_or(default, |key| key.get_ref());
        if !agents.contains_key(name) {
            let agent = match key {
                Some(key) if name != DEMO => self.agent_file(key),
                // It was looked for where it is named, and told there.
                None if name != DEMO => None,
                Some(_) | None => {
                    let knowledge = BTreeMap::from([("demo-hours.md".to_owned(), DEMO_AGENT.1.to_owned())]);
                    self.understood(DEMO_FILE, DEMO_AGENT.0, &knowledge)
                }
            };
            agents.extend(agent.map(|agent| (name.to_owned(), Arc::new(agent))));
        }
        name.to_owned()
    }

    /// Agents that others hand over to are agents like any other.
    pub(super) fn handed_to(&mut self, agents: &mut Agents) {
        let mut seen = BTreeSet::new();
        loop {
            let named = agents.iter().flat_map(|(key, agent)| {
                let places = agent.places().iter().filter(|place| place.what == Elsewhere::Agent);
                places.map(|place| (key.clone(), place.clone()))
            });
            let missing: Vec<(String, Place)> = named
                .filter(|(_, place)| !agents.contains_key(&place.name) && seen.insert(place.name.clone()))
                .collect();
            if missing.is_empty() {
                return;
            }
            for (by, place) in missing {
                let path = self.folder.join(&place.name);
                if path.is_file() {
                    self.agent(&Some(Spanned::new(0..0, place.name)), DEMO, agents);
                } else {
                    let message = format!("the agent file `{}` is not there", place.name);
                    self.problems.push(Problem::error(self.at(&by, &place), message, similar_file(&path)));
                }
            }
        }
    }

    /// Where an agent's file names something.
    fn at(&self, key: &str, place: &Place) -> String {
        let file =
            if key == DEMO { DEMO_FILE.to_owned() } else { self.folder.join(key).display().to_string() };
        format!("{file}:{}:{}", place.line, place.column)
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

    /// The documents that each agent looks up: in folders beside its file, which must be there.
    pub(super) fn libraries(&mut self, agents: &Agents) -> BTreeMap<String, Library> {
        let mut libraries = BTreeMap::new();
        for (key, agent) in agents {
            let Some(retrieval) = agent.retrieval() else { continue };
            if key == DEMO {
                let texts = DEMO_DOCUMENTS.map(|(name, text)| (format!("demo-docs/{name}"), text.to_owned()));
                libraries.insert(key.clone(), Library::BuiltIn(texts.to_vec()));
                continue;
            }
            let path = self.folder.join(key);
            let beside = path.parent().unwrap_or(Path::new(""));
            let folders: Vec<_> = retrieval.folders.iter().map(|folder| beside.join(folder)).collect();
            for folder in folders.iter().filter(|folder| !folder.is_dir()) {
                let message = format!("its folder of documents `{}` is not there", folder.display());
                self.problems.push(Problem::error(path.display().to_string(), message, similar_file(folder)));
            }
            libraries.insert(key.clone(), Library::Folders(folders));
        }
        libraries
    }

    /// The rooms that agents seem to sit in: files beside theirs, which must be fit to be heard.
    pub(super) fn rooms(&mut self, agents: &Agents) -> BTreeMap<String, Ambience> {
        let mut rooms = BTreeMap::new();
        for (key, agent) in agents {
            let Some(wanted) = agent.ambience() else { continue };
            let agent_file = self.folder.join(key);
            let path = agent_file.parent().unwrap_or(Path::new("")).join(&wanted.file);
            self.files.push(path.clone());
            match ambience::read(&path, wanted.level_dbfs) {
                Ok(room) => drop(rooms.insert(key.clone(), room)),
                Err(reason) => {
                    let place = agent.places().iter().find(|place| place.what == Elsewhere::Ambience);
                    let place = place.map_or_else(|| key.clone(), |place| self.at(key, place));
                    let message = format!("`{}` is no ambience: {reason}", path.display());
                    let help = if path.is_file() { "convert it".to_owned() } else { similar_file(&path) };
                    self.problems.push(Problem::error(place, message, help));
                }
            }
        }
        rooms
    }

    /// An agent may name routes, and a voice of its text-to-speech route; they must be there.
    pub(super) fn agent_routes(
        &mut self,
        agents: &Agents,
        routes: &Routes,
        tts: &BTreeMap<String, TtsTarget>,
    ) {
        let spoken = |agent: &Arc<Agent>| {
            let others = agent.languages().to_vec();
            std::iter::once(Arc::clone(agent)).chain(others)
        };
        for (key, agent) in agents.iter().flat_map(|(key, agent)| spoken(agent).map(move |one| (key, one))) {
            for place in agent.places() {
                let (what, known): (&str, Vec<&String>) = match place.what {
                    Elsewhere::Route(Stage::Stt) => ("route [routes.stt", routes.stt.keys().collect()),
                    Elsewhere::Route(Stage::Llm) => ("route [routes.llm", routes.llm.keys().collect()),
                    Elsewhere::Route(Stage::Tts) => ("route [routes.tts", routes.tts.keys().collect()),
                    Elsewhere::Voice => {
                        self.voice(key, &agent, place, routes, tts);
                        continue;
                    }
                    Elsewhere::Agent | Elsewhere::Language | Elsewhere::Ambience => continue,
                };
                if !known.contains(&&place.name) {
                    let message = format!("there is no {what}.{}]", place.name);
                    let help = suggest(&place.name, known.iter().map(|name| name.as_str()));
                    self.problems.push(Problem::error(self.at(key, place), message, help));
                }
            }
        }
    }

    /// What runs on this machine knows English only: another language of an agent needs more.
    pub(super) fn agent_languages(
        &mut self,
        agents: &Agents,
        routes: &Routes,
        (stt, tts): (&BTreeMap<String, SttTarget>, &BTreeMap<String, TtsTarget>),
    ) {
        let english = |agent: &&Arc<Agent>| primary(agent.language()) == "en";
        for (key, agent) in agents {
            for other in agent.languages().iter().filter(|other| !english(other)) {
                let (ears, voice) = (other.route(Stage::Stt), other.route(Stage::Tts));
                let only = |route: Option<&Route>, embedded: &dyn Fn(&String) -> bool| {
                    route.is_some_and(|route| route.targets.iter().all(embedded))
                };
                let deaf = only(routes.stt.get(ears), &|name| {
                    matches!(stt.get(name), Some(SttTarget::Embedded { .. }))
                });
                let mute =
                    only(routes.tts.get(voice), &|name| matches!(tts.get(name), Some(TtsTarget::Embedded)));
                for (wrong, stage, route, does) in
                    [(deaf, "stt", ears, "understands"), (mute, "tts", voice, "speaks")]
                {
                    let Some(at) = other.language_at().filter(|_| wrong) else { continue };
                    let message = format!(
                        "nothing of [routes.{stage}.{route}] {does} `{}`: what is built in knows English only",
                        other.language()
                    );
                    let help = format!(
                        "name a route with a provider: routes.{stage} = \"NAME\" in this [[language]]"
                    );
                    self.problems.push(Problem::error(self.at(key, at), message, help));
                }
            }
        }
    }

    fn voice(
        &mut self,
        key: &str,
        agent: &Agent,
        place: &Place,
        routes: &Routes,
        tts: &BTreeMap<String, TtsTarget>,
    ) {
        let route = agent.route(Stage::Tts);
        let targets = routes.tts.get(route).into_iter().flat_map(|route| &route.targets);
        let voices = targets.filter_map(|target| tts.get(target)).flat_map(TtsTarget::voices);
        let known: Vec<&str> = voices.chain(["default"]).collect();
        if !known.contains(&place.name.as_str()) {
            let message = format!("no target of [routes.tts.{route}] has a voice `{}`", place.name);
            let help = format!(
                "{}; or add it to its target: voices = {{ {} = \"ID\" }}",
                suggest(&place.name, known.iter().copied()),
                place.name
            );
            self.problems.push(Problem::error(self.at(key, place), message, help));
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

pub(super) fn similar_file(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let help = suggest(&written, names.iter().map(String::as_str));
    if help.starts_with("did") { help } else { "correct the path; it starts at this file's folder".into() }
}
