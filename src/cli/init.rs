//! `tandem init`: writes a config file that explains itself.
//! Does not know what is in it.

use super::Exit;
use crate::config::TEMPLATE;
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::PathBuf,
};

/// Write a config file in which every key stands with its default and its reason.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it.
    #[arg(default_value = "tandem.toml")]
    file: PathBuf,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
}

/// Writes the file; never over another one unasked.
pub fn run(args: &Args) -> Exit {
    let file = args.file.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(&args.file).and_then(|mut open| open.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => {
            println!("Wrote {file}. Next: tandem check {file}; tandem serve --config {file}");
            Exit::Done
        }
        Err(reason) if reason.kind() == ErrorKind::AlreadyExists => {
            eprintln!("{file} exists already; name another file, or replace it with --force");
            Exit::Failed
        }
        Err(reason) => {
            eprintln!("{file}: cannot be written: {reason}; name another file");
            Exit::Failed
        }
    }
}
