//! README's commands, tried as they stand: a reader's first minutes must not end in an error message.
//! `./run`, `./test` and `.ci/run` build for minutes, so of them only the form is checked here.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()))
}

fn tandem(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(arguments).current_dir(folder).output().expect("tandem starts")
}

/// The lines of README's shell blocks, without their comments.
fn commands() -> Vec<String> {
    let readme = read(&root().join("README.md"));
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Words as a shell would see them; README uses no more than double quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(index, part)| {
            let quoted = index % 2 == 1;
            let words: Vec<&str> = if quoted { vec![part] } else { part.split_whitespace().collect() };
            words.into_iter().map(str::to_owned)
        })
        .collect()
}

#[test]
fn every_script_that_readme_names_is_there_and_sound() {
    let scripts: Vec<String> = commands()
        .iter()
        .filter_map(|command| {
            let words = words(command);
            let script = if words[0] == "bash" { words.get(1)? } else { &words[0] };
            (script.contains('/') && script != "target/release/tandem").then(|| script.clone())
        })
        .chain(["scripts/setup".to_owned()])
        .collect();
    for expected in ["./run", "./test", ".ci/run"] {
        assert!(scripts.iter().any(|script| script == expected), "README no longer names {expected}");
    }
    for script in scripts {
        let checked =
            Command::new("bash").arg("-n").arg(root().join(&script)).output().expect("bash is there");
        assert!(checked.status.success(), "{script}: {}", String::from_utf8_lossy(&checked.stderr));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(root().join(&script)).expect("it is there").permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script} is not executable");
    }
}

#[test]
fn every_command_and_flag_that_readme_names_exists() {
    let here = std::env::temp_dir();
    let known = String::from_utf8_lossy(&tandem(&["--help"], &here).stdout).into_owned();
    let known: BTreeSet<&str> =
        known.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let mut tried = 0;
    for command in commands() {
        let words = words(&command);
        if words[0] != "tandem" {
            continue;
        }
        tried += 1;
        let name = words[1].as_str();
        assert!(known.contains(name), "README names `{command}`, and there is no such command");
        let help = String::from_utf8_lossy(&tandem(&[name, "--help"], &here).stdout).into_owned();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag.as_str()), "`{command}`: {flag} is not among\n{help}");
        }
    }
    assert!(tried >= 4, "README shows too little of tandem");
}

#[test]
fn what_readme_says_of_configuration_works_from_an_empty_folder() {
    let folder = std::env::temp_dir().join(format!("tandem-readme-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for command in commands() {
        let words = words(&command);
        let quick = words[0] == "tandem" && ["init", "check"].contains(&words[1].as_str());
        if quick {
            let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let ran = tandem(&arguments, &folder);
            assert!(ran.status.success(), "{command}: {ran:?}");
        }
    }
    let written = folder.join("tandem.toml").exists();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(written, "README does not show `tandem init`");
}

#[test]
fn every_file_that_readme_and_the_code_map_link_to_exists() {
    for document in ["README.md", "crates/README.md"] {
        let path = root().join(document);
        let text = read(&path);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let target = path.parent().expect("a folder").join(target);
            assert!(target.exists(), "{document} links to {}", target.display());
        }
    }
}

#[test]
fn every_default_that_readme_tells_is_the_one_in_force() {
    let readme = read(&root().join("README.md"));
    let config = tandem::config::Config::load(None, &tandem::config::Overrides::default())
        .expect("defaults are valid");
    let tells = |row: String| assert!(readme.contains(&row), "README does not say: {row}");
    tells(format!("| calls | `server.ports`, {} |", config.server.ports));
    tells(format!("| events from providers to a call | {} |", tandem::providers::INBOX));
    tells(format!("| audio to speech-to-text | {} frames", tandem::providers::STT_COMMANDS));
    tells(format!("| deltas from a language model | {} |", tandem::providers::LLM_EVENTS));
    tells(format!("| sentences to text-to-speech | {} |", tandem::providers::TTS_COMMANDS));
    for stage in call::latency::Stage::ALL {
        tells(format!("| `{}` |", stage.name()));
    }
}

#[test]
fn readme_stays_short() {
    assert!(read(&root().join("README.md")).lines().count() <= 190, "README is for ten minutes");
}

#[test]
fn what_the_container_files_name_exists() {
    let compose = read(&root().join("docker-compose.yml"));
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next());
    for mount in mounts {
        assert!(root().join(mount).exists(), "docker-compose.yml mounts {mount}");
    }
    let scenario =
        compose.split("-sf ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a SIPp scenario");
    assert!(root().join("loadtest/sipp").join(scenario).exists(), "docker-compose.yml runs {scenario}");
    let dockerfile = read(&root().join("Dockerfile"));
    for stage in ["server", "simulators"] {
        assert!(dockerfile.contains(&format!(" AS {stage}")), "no stage {stage}");
        assert!(compose.contains(&format!("target: {stage}")), "nothing builds {stage}");
    }
}
