//! Whom the tools of agents may reach, and what stands behind the secrets that their files name.
//! Knows hosts, networks and references. Reaches nobody.

use super::{Network, Problem, Secrets, agent::Agents, checker::Checker, raw::RawTools};
use crate::{
    secret::{Secret, SecretError},
    tools::{AllowedHost, Reach, secret_reference},
};
use conversation::{Agent, McpTransport};
use reqwest::Url;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What the tools of agents are allowed: `[tools]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// Whom they may reach.
    pub reach: Arc<Reach>,
    /// What stands behind the references in agents' files, by the agent's key and the reference.
    pub secrets: BTreeMap<String, BTreeMap<String, Secret>>,
}

/// One URL of an agent's file, and what names it there.
struct Wanted {
    what: String,
    url: String,
}

impl Checker<'_> {
    pub(super) fn tools(&mut self, raw: &RawTools, agents: &Agents) -> Tools {
        let written = self.each(&raw.allowed_hosts, &[], str::parse::<AllowedHost>);
        let networks = self.each(&raw.allowed_networks, &[], str::parse::<Network>);
        let mut reach = Reach { hosts: written.into_iter().collect(), networks };
        let open = raw.allowed_hosts.is_none();
        let stdio = raw.allow_stdio.as_ref().is_some_and(|key| *key.get_ref());
        let mut secrets = BTreeMap::new();
        for (key, agent) in agents {
            for wanted in urls(agent) {
                self.reachable(key, &wanted, open, &mut reach);
            }
            for server in agent.mcp().iter().filter(|_| !stdio) {
                if matches!(server.transport, McpTransport::Stdio { .. }) {
                    let message =
                        format!("the agent `{key}` starts a process for its tools: `{}`", server.name);
                    let help = "write allow_stdio = true below [tools] if that is meant";
                    self.problems.push(Problem::error(self.source.name(), message, help));
                }
            }
            secrets.insert(key.clone(), self.tool_secrets(key, agent));
        }
        Tools { reach: Arc::new(reach), secrets }
    }

    /// The host of a URL may be reached; without a list, agents' files are that list.
    fn reachable(&mut self, key: &str, Wanted { what, url }: &Wanted, open: bool, reach: &mut Reach) {
        let Ok(url) = Url::parse(url) else {
            let message = format!("the agent `{key}`: the URL of {what} cannot be used");
            return self.problems.push(Problem::error(
                self.source.name(),
                message,
                "write https://HOST/PATH",
            ));
        };
        if open {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            reach.hosts.extend(format!("{host}{port}").parse::<AllowedHost>().ok());
        }
        if let Err(reason) = reach.check(&url) {
            let message = format!("the agent `{key}`: {what} cannot work: {reason}");
            let help = "add it to tools.allowed_hosts, or its address to tools.allowed_networks";
            self.problems.push(Problem::error(self.source.name(), message, help));
        }
    }

    /// Every secret that the headers of an agent's tools name; a relative path starts at the agent's folder.
    fn tool_secrets(&mut self, key: &str, agent: &Agent) -> BTreeMap<String, Secret> {
        let path = self.folder.join(key);
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut found = BTreeMap::new();
        for (what, reference) in references(agent) {
            let secret = match reference.strip_prefix("file:") {
                Some(path) => Secret::resolve(&format!("file:{}", folder.join(path).display())),
                None => Secret::resolve(&reference),
            };
            match secret {
                Ok(secret) => drop(found.insert(reference, secret)),
                Err(error) => self.no_secret(key, &what, &error),
            }
        }
        found
    }

    fn no_secret(&mut self, key: &str, what: &str, error: &SecretError) {
        let message = format!("the agent `{key}`: {what}: {error}");
        let help = "provide it before the server starts";
        self.problems.push(match self.secrets {
            Secrets::Required => Problem::error(self.source.name(), message, help),
            Secrets::Noted => Problem::warning(self.source.name(), message, help),
        });
    }
}

fn urls(agent: &Agent) -> Vec<Wanted> {
    let tools = agent.requests().map(|(name, http)| {
        // Scheme and host have no places: whatever stands in the others does not matter here.
        Wanted { what: format!("the tool `{name}`"), url: http.url.render(|_| "x".to_owned()) }
    });
    let servers = agent.mcp().iter().filter_map(|server| match &server.transport {
        McpTransport::Http { url, .. } => {
            Some(Wanted { what: format!("the server `{}`", server.name), url: url.clone() })
        }
        McpTransport::Stdio { .. } => None,
    });
    tools.chain(servers).collect()
}

fn references(agent: &Agent) -> Vec<(String, String)> {
    let tools = agent.requests().map(|(name, http)| (format!("the tool `{name}`"), &http.headers));
    let servers = agent.mcp().iter().filter_map(|server| match &server.transport {
        McpTransport::Http { headers, .. } => Some((format!("the server `{}`", server.name), headers)),
        McpTransport::Stdio { .. } => None,
    });
    tools
        .chain(servers)
        .flat_map(|(what, headers)| {
            headers
                .values()
                .filter_map(move |value| Some((what.clone(), secret_reference(value)?.to_owned())))
        })
        .collect()
}
