//! Finds Debian's libpocketsphinx and its English model with pkg-config.
//! Says what to install, or how to do without, when they are not there.

use std::process::exit;

const MISSING: &str = "
The embedded recogniser needs PocketSphinx and its English model. On Debian or Ubuntu:

    apt-get install pkg-config libpocketsphinx-dev libsphinxbase-dev pocketsphinx-en-us

Or build without it and configure a speech-to-text provider instead:

    cargo build --no-default-features
";

/// The last release with the `cmd_ln` interface calls itself `5prealpha`; 5.0 and later have another interface.
const VERSION: &str = "5prealpha";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let library = match pkg_config::Config::new().probe("pocketsphinx") {
        Ok(library) => library,
        Err(error) => stop(&format!("{error}\n{MISSING}")),
    };
    if library.version != VERSION {
        let found = &library.version;
        stop(&format!("PocketSphinx {found} has another programming interface than {VERSION}.\n{MISSING}"));
    }
    let models = pkg_config::get_variable("pocketsphinx", "modeldir")
        .ok()
        .filter(|dir| !dir.is_empty())
        .unwrap_or_else(|| "/usr/share/pocketsphinx/model".to_owned());
    println!("cargo:rustc-env=POCKETSPHINX_MODELS={models}");
}

fn stop(message: &str) -> ! {
    eprintln!("{message}");
    exit(1)
}
