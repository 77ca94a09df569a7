//! `tandem webhooks`: what was told to whom, and telling it again.
//! Works on the outbox in the data directory, with or without a server: a running one notices within a second.

use super::{Exit, period::Period};
use crate::{
    config::{Config, Overrides, Secrets},
    webhooks::{Delivery, Outbox, Replay, outbox_path},
};
use jiff::{Timestamp, Zoned};
use std::{io::Write as _, path::PathBuf};

/// Show what webhooks were told, or tell them again.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where the outbox lives.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The server's config file, which says where the outbox lives.
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "data_dir")]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// The newest deliveries, and why those that wait do so.
    List {
        /// Only of this webhook.
        #[arg(long)]
        hook: Option<String>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Send again what was given up, in its order; with --all also what was delivered.
    Replay {
        /// Only of this webhook.
        #[arg(long)]
        hook: Option<String>,
        /// Only of this call.
        #[arg(long, value_name = "ID")]
        call: Option<String>,
        /// Only events since then: a date, a date and time, today, yesterday, or an age such as 24h or 7d.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// What was delivered, too.
        #[arg(long)]
        all: bool,
    },
}

/// Does what was asked for.
pub fn run(args: &Args) -> Exit {
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let config = match Config::load_with(args.config.as_deref(), &overrides, Secrets::Noted) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let directory = &config.server.data_dir;
    if !outbox_path(directory).exists() {
        eprintln!("tandem webhooks: nothing has been told to anybody yet in {}", directory.display());
        return Exit::DataDir;
    }
    let now = Zoned::now().with_time_zone(config.time_zone.clone());
    match Outbox::open(directory)
        .map_err(|error| error.to_string())
        .and_then(|outbox| work(args, outbox, &now))
    {
        Ok(text) => {
            // A reader that goes away early, such as `head`, is no failure.
            let _ = write!(std::io::stdout(), "{text}");
            Exit::Done
        }
        Err(message) => {
            eprintln!("tandem webhooks: {message}");
            Exit::Failed
        }
    }
}

fn work(args: &Args, mut outbox: Outbox, now: &Zoned) -> Result<String, String> {
    match &args.command {
        Command::List { hook, limit } => {
            let list = outbox.list(hook.as_deref(), *limit).map_err(|error| error.to_string())?;
            Ok(list.iter().map(|delivery| line(delivery, now)).collect())
        }
        Command::Replay { hook, call, since, all } => {
            let since = since.as_deref().map(|since| Period::between(Some(since), None, now)).transpose()?;
            let replay = Replay {
                hook: hook.clone(),
                call: call.clone(),
                since_us: since.map(|period| period.since_us),
                delivered: *all,
            };
            let count = outbox.replay(&replay).map_err(|error| error.to_string())?;
            Ok(format!("{count} events will be sent again\n"))
        }
    }
}

fn line(delivery: &Delivery, now: &Zoned) -> String {
    let at = Timestamp::from_microsecond(delivery.created_us).unwrap_or_default();
    let at = at.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let reason = delivery.reason.as_ref().map_or(String::new(), |reason| format!("  {reason}"));
    format!(
        "{at}  {:<12} {:<30} {:<9} {:>3} tries{reason}\n",
        delivery.hook,
        delivery.event,
        delivery.state.name(),
        delivery.attempts
    )
}
