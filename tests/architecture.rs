//! The rules a reader may rely on, checked: who may use whom, and what never happens below `crates/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Which of our crates each crate may use. Reading this list is reading the architecture.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sip", &[]),
    ("media", &[]),
    ("conversation", &[]),
    ("ai-gateway", &[]),
    ("call", &["sip", "media", "conversation", "ai-gateway"]),
    ("sim", &["call", "sip", "media", "conversation", "ai-gateway"]),
];

/// Ours, but above or beside `crates/`: nothing below may use them, not even in tests.
const ABOVE: &[&str] = &["tandem", "pocketsphinx-engine", "pico-engine", "loadtest", "turn-taking"];

/// Nothing under `crates/` may depend on a runtime, a socket, a clock, a disk or chance that was not given.
const BANNED: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "crossbeam",
    "dashmap",
    "fastrand",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "parking_lot",
    "polling",
    "quinn-udp",
    "rand",
    "rayon",
    "reqwest",
    "rusqlite",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tokio-tungstenite",
    "tungstenite",
    "ureq",
    "uuid",
    "walkdir",
];

/// Vendors are known in `src/providers/` and in the config only.
const VENDORS: &[&str] = &["deepgram", "openai", "elevenlabs"];

/// A file beyond this has two subjects.
const MAX_LINES: usize = 900;

/// What `crates/clippy.toml` must forbid.
const FORBIDDEN: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::env::var",
    "std::fs::read",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::fs::File",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::collections::HashMap::iter",
];

#[test]
fn crates_use_each_other_only_downwards() {
    for (name, dependencies) in manifests() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            panic!("crates/{name} is new: say in MAY_USE what it may use");
        };
        let ours: BTreeSet<&str> =
            MAY_USE.iter().map(|(known, _)| *known).chain(ABOVE.iter().copied()).collect();
        for dependency in dependencies.iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "crates/{name} uses {dependency}");
        }
    }
}

#[test]
fn every_crate_of_the_table_exists() {
    let manifests = manifests();
    for (name, _) in MAY_USE {
        assert!(manifests.contains_key(*name), "crates/{name} is in MAY_USE and nowhere else");
    }
}

#[test]
fn nothing_below_crates_depends_on_a_runtime_a_socket_a_clock_or_chance() {
    for (name, dependencies) in manifests() {
        for dependency in dependencies {
            assert!(!BANNED.contains(&dependency.as_str()), "crates/{name} uses {dependency}");
        }
    }
}

#[test]
fn nothing_below_crates_knows_a_vendor() {
    for file in sources(&root().join("crates")) {
        let text = read(&file).to_lowercase();
        for vendor in VENDORS {
            assert!(!text.contains(vendor), "{} knows {vendor}", file.display());
        }
    }
}

#[test]
fn the_lint_that_keeps_crates_deterministic_lists_what_is_forbidden() {
    let table: toml::Table =
        read(&root().join("crates/clippy.toml")).parse().expect("crates/clippy.toml is TOML");
    let lists =
        ["disallowed-methods", "disallowed-types"].map(|list| table[list].as_array().expect("a list"));
    let listed: BTreeMap<&str, &str> = lists
        .into_iter()
        .flatten()
        .map(|ban| (ban["path"].as_str().expect("a path"), ban["reason"].as_str().expect("a reason")))
        .collect();
    for path in FORBIDDEN {
        assert!(listed.get(path).is_some_and(|reason| !reason.is_empty()), "{path} is not forbidden");
    }
}

#[test]
fn no_crate_switches_the_ban_off_for_itself() {
    for (name, _) in manifests() {
        let folder = root().join("crates").join(&name);
        for own in ["clippy.toml", ".clippy.toml"] {
            assert!(!folder.join(own).exists(), "crates/{name}/{own} hides crates/clippy.toml");
        }
        let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().expect("TOML");
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "crates/{name} does not take the lints"
        );
        let is_test = |file: &PathBuf| file.file_name().is_some_and(|name| name == "tests.rs");
        for file in sources(&folder.join("src")).into_iter().filter(|file| !is_test(file)) {
            // Tests need some instant as their zero.
            let text = read(&file);
            let outside_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            let hidden = outside_tests.contains("clippy::disallowed_");
            assert!(!hidden, "{} allows what crates/clippy.toml forbids", file.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_one_subject() {
    for folder in ["src", "crates", "engines", "loadtest", "tests"] {
        for file in sources(&root().join(folder)) {
            let lines = read(&file).lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines: which are its two subjects?", file.display());
        }
    }
}

#[test]
fn every_file_opens_with_what_it_does() {
    for folder in ["src", "crates", "engines", "loadtest"] {
        for file in sources(&root().join(folder)) {
            let opening = read(&file).lines().take(3).any(|line| line.starts_with("//!"));
            assert!(opening, "{} does not say what it does", file.display());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()))
}

/// The folders' names under `crates/` with everything that their manifests depend on, for tests and builds too.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let folders = std::fs::read_dir(root().join("crates")).expect("crates/ exists").flatten();
    folders
        .filter(|folder| folder.path().is_dir())
        .map(|folder| {
            let manifest: toml::Table =
                read(&folder.path().join("Cargo.toml")).parse().expect("a manifest is TOML");
            (folder.file_name().to_string_lossy().into_owned(), dependencies(&manifest))
        })
        .collect()
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                for (name, wish) in table {
                    let package = wish.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                    names.insert(package.to_owned());
                }
            }
            "target" => names.extend(table.values().filter_map(toml::Value::as_table).flat_map(dependencies)),
            _ => {}
        }
    }
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|reason| panic!("{}: {reason}", folder.display()));
    let mut files = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
