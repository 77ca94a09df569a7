//! Deepgram, OpenAI and ElevenLabs, simulated on one port, for trying a server without keys or network.
//! Knows nothing: the arguments are in the library.

use clap::Parser;
use loadtest::simulate::{Arguments, run};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> std::io::Result<()> {
    run(Command::parse().arguments)
}
