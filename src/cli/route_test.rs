//! `tandem route-test`: which trunk and agent a call would reach, and which rule decided. Offline, from the config.
//! Asks the same gate that the server has. Sends nothing.

use super::Exit;
use crate::{
    config::{Config, ConfigError, Overrides, Secrets, Unmatched, trunk::Trunk},
    trunks::rules,
};
use sip::{
    Transport,
    gate::{Decision, Facts, Gate},
};
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// Say which trunk and agent a call would reach and which rule decided, offline.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Who calls: a number or a user. It decides nothing today and stands in the output.
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// The called number or user, or a whole SIP URI.
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// The address that the call comes from.
    #[arg(long, value_name = "IP[:PORT]")]
    source: String,
    /// What it comes over.
    #[arg(long, value_name = "TRANSPORT", default_value = "udp")]
    transport: String,
    /// The host of the Request-URI; our own address when absent.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The config file; without one, the built-in defaults are asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exits with 0 when a trunk would take the call, with 1 when none would, with 2 when that cannot be said.
pub fn run(args: &Args) -> Exit {
    // Passwords are not needed to say who would be asked for one.
    let config = match Config::load_with(args.config.as_deref(), &Overrides::default(), Secrets::Noted) {
        Ok(config) => config,
        Err(ConfigError::Wrong(problems)) => {
            problems.iter().filter(|problem| problem.is_error()).for_each(|problem| eprintln!("{problem}"));
            return Exit::Usage;
        }
        Err(unreadable @ ConfigError::Unreadable { .. }) => {
            eprintln!("{unreadable}");
            return Exit::Usage;
        }
    };
    match answer(&config, args) {
        Ok((text, taken)) => {
            print!("{text}");
            if taken { Exit::Done } else { Exit::Failed }
        }
        Err(wrong) => {
            eprintln!("tandem route-test: {wrong}");
            Exit::Usage
        }
    }
}

/// What is printed, and whether the call would be taken.
fn answer(config: &Config, args: &Args) -> Result<(String, bool), String> {
    let (source, transport) = (source(&args.source)?, transport(&args.transport)?);
    let uri = request_uri(config, args);
    sip::uri::Uri::parse(&uri).map_err(|_| format!("--to {}: not a number and not a SIP URI", args.to))?;
    let gate = Gate::new(rules::gate(config), [0; 32]); // It makes no nonces here: any seed will do.
    let facts = Facts::new(source, transport, "INVITE", &uri);
    let mut text = format!("INVITE {uri} from {} at {source} over {}\n", args.from, transport.name());
    for explained in gate.explain(&facts) {
        let _ = writeln!(text, "  {explained}");
    }
    for trunk in config.trunks.iter().filter(|trunk| !trunk.incoming) {
        let _ = writeln!(text, "  {}: takes no calls", trunk.name);
    }
    let named = |number: usize| {
        let rules = gate.config().trunks.get(number);
        rules.and_then(|rules| config.trunk(&rules.name))
    };
    let (verdict, taken) = match gate.decide(&facts) {
        Decision::Admit { trunk } => (takes(config, named(trunk), ""), true),
        Decision::Digest { trunks } => {
            let lines =
                trunks.iter().map(|number| takes(config, named(*number), " once its digest is right"));
            (lines.collect::<Vec<_>>().join("\n"), true)
        }
        Decision::Unmatched { reason } => {
            let policy = match config.sip.unmatched {
                Unmatched::Silent => "no answer",
                Unmatched::Forbidden => "403",
                Unmatched::NotFound => "404",
            };
            let reason = reason.name();
            (format!("No trunk takes it ({reason}); sip.unmatched says: {policy}."), false)
        }
    };
    let _ = writeln!(text, "{verdict}");
    Ok((text, taken))
}

fn takes(config: &Config, trunk: Option<&Trunk>, when: &str) -> String {
    let Some(trunk) = trunk else { return "No trunk takes it.".to_owned() };
    let agent = config.agents.get(&trunk.agent).map_or("", |agent| agent.name());
    format!("The trunk `{}` takes it{when}; the agent `{}` ({agent}) answers.", trunk.name, trunk.agent)
}

fn source(text: &str) -> Result<SocketAddr, String> {
    let alone = text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 5060));
    text.parse().or(alone).map_err(|_| format!("--source {text}: write an IP address, such as 192.0.2.7"))
}

fn transport(text: &str) -> Result<Transport, String> {
    Transport::named(text).ok_or_else(|| {
        let known = Transport::ALL.map(Transport::param).join(", ");
        format!("--transport {text}: write one of {known}")
    })
}

fn request_uri(config: &Config, args: &Args) -> String {
    if args.to.starts_with("sip:") || args.to.starts_with("sips:") {
        return args.to.clone();
    }
    let own = || config.sip.listen.first().map_or_else(String::new, |listen| listen.address.ip().to_string());
    format!("sip:{}@{}", args.to, args.host.clone().unwrap_or_else(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_have_a_port_and_brackets() {
        assert_eq!(source("192.0.2.7").map(|at| at.port()), Ok(5060));
        assert_eq!(source("192.0.2.7:9").map(|at| at.port()), Ok(9));
        assert_eq!(source("[2001:db8::1]:9").map(|at| at.port()), Ok(9));
        assert_eq!(source("2001:db8::1").map(|at| at.port()), Ok(5060));
        assert!(source("carrier.example").is_err() && transport("sctp").is_err());
    }
}
