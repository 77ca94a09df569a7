//! Finds the voice files inside the `ttspico-sys` package, so that the library can carry them.
//! The package does not say where it is; cargo does.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

const VOICE: [&str; 2] = ["en-US_ta.bin", "en-US_lh0_sg.bin"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PICO_VOICE_DIR");
    let given = env::var_os("PICO_VOICE_DIR").map(PathBuf::from);
    let Some(dir) = given.or_else(|| package_dir(true)).or_else(|| package_dir(false)) else {
        stop(
            "cargo metadata does not tell where the package ttspico-sys is; set PICO_VOICE_DIR to its build/pico/lang",
        )
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for file in VOICE {
        if let Err(error) = fs::copy(dir.join(file), out.join(file)) {
            stop(&format!("cannot copy the voice {}: {error}", dir.join(file).display()));
        }
    }
}

/// Asks cargo, first without the network: what this build needs has been fetched already, what other targets and
/// members need perhaps not.
fn package_dir(offline: bool) -> Option<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO")?);
    cargo.args(["metadata", "--format-version", "1", "--filter-platform", &env::var("TARGET").ok()?]);
    cargo.arg("--manifest-path").arg(Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml"));
    if offline {
        cargo.arg("--offline");
    }
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.output().ok()?.stdout).ok()?;
    let package = metadata["packages"].as_array()?.iter().find(|package| package["name"] == "ttspico-sys")?;
    Some(Path::new(package["manifest_path"].as_str()?).parent()?.join("build/pico/lang"))
}

fn stop(message: &str) -> ! {
    eprintln!("{message}");
    exit(1)
}
