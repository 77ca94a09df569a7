//! The corpora of the fuzz targets, replayed without a fuzzer: what once broke something breaks this from then on.
//! Each message is also cut short at every length and has bytes turned around, which a reader meets first.

#[path = "../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "in their own crate the fuzzer's programs reach them")]
mod targets;

use std::path::{Path, PathBuf};
use targets::TARGETS;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// A target's own corpus, and for whole messages those of RFC 4475 and RFC 5118.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut folders = vec![repository("fuzz/corpus").join(target)];
    if ["message", "stream"].contains(&target) {
        folders.extend(["rfc4475", "rfc5118"].map(|set| repository("crates/sip/tests/torture").join(set)));
    }
    folders
        .iter()
        .flat_map(|folder| files(folder))
        .map(|file| std::fs::read(file).expect("readable"))
        .collect()
}

#[test]
fn no_seed_of_any_target_breaks_it() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        seeds.iter().for_each(|seed| target(seed));
    }
}

#[test]
fn no_seed_that_is_cut_short_or_bent_breaks_its_target() {
    for (name, target) in TARGETS {
        for seed in seeds(name) {
            // Of long ones some lengths only: this is the cheap half of fuzzing.
            let step = (seed.len() / 50).max(1);
            for at in (0..seed.len()).step_by(step) {
                target(&seed[..at]);
                let mut bent = seed.clone();
                bent[at] ^= 0xff;
                target(&bent);
            }
        }
    }
}

#[test]
fn every_target_is_built_and_has_a_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let manifest = std::fs::read_to_string(repository("fuzz/Cargo.toml")).expect("a manifest");
    for (folder, extension) in [("fuzz/targets", ".rs"), ("fuzz/corpus", "")] {
        let entries = std::fs::read_dir(repository(folder)).expect("a folder").flatten();
        let mut found: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().replace(extension, "")).collect();
        found.sort();
        let mut expected = names.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{folder}");
    }
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
