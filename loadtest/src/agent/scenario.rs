//! What callers do: scenarios from files, each with its weight, its codecs and its network.
//! Knows scripts and their surroundings. Who plays them when is decided elsewhere.

use super::impairment::Impairment;
use media::tone::Chance;
use serde::Deserialize;
use sip::{CodecSpec, SrtpMode};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tandem::caller::script::{Script, Step, WaitFor};

/// A repeated scenario is over after so many steps; its caller calls again.
const MOST_STEPS: usize = 400;

/// One kind of caller.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// How many of all callers do this, compared with the other scenarios' weights.
    pub(crate) weight: f64,
    pub(crate) script: Script,
    /// Expectations of words that were left out: a load agent does not know the server's words.
    pub(crate) left_out: usize,
    /// Whether it goes on until the load ends.
    pub(crate) repeats: bool,
    /// Preferred first.
    pub(crate) codecs: Vec<CodecSpec>,
    pub(crate) srtp: SrtpMode,
    /// From the caller to the server.
    pub(crate) up: Impairment,
    /// From the server to the caller.
    pub(crate) down: Impairment,
    /// Hangs up so long after dialling, whatever has become of the call.
    pub(crate) give_up: Option<Duration>,
}

/// What the command line says for every scenario that does not say it itself.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) codecs: Vec<CodecSpec>,
    pub(crate) srtp: SrtpMode,
    pub(crate) up: Impairment,
    pub(crate) down: Impairment,
}

/// A file: one scenario, or a mix of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    weight: Option<f64>,
    /// A file of steps in place of `steps`, beside this one.
    script: Option<PathBuf>,
    steps: Option<Vec<Step>>,
    #[serde(default)]
    repeat: bool,
    codecs: Option<Vec<String>>,
    srtp: Option<String>,
    impair: Option<String>,
    impair_up: Option<String>,
    impair_down: Option<String>,
    give_up_ms: Option<u64>,
    #[serde(default, rename = "scenario")]
    mix: Vec<Written>,
}

/// Reads `FILE` or `FILE=WEIGHT`: one scenario, or a mix with `[[scenario]]` tables.
pub(crate) fn read(argument: &str, defaults: &Defaults) -> Result<Vec<Scenario>, String> {
    let (path, weight) = match argument.rsplit_once('=') {
        Some((path, weight)) => {
            let weight = weight.parse::<f64>().ok().filter(|weight| *weight > 0.0 && weight.is_finite());
            (path, weight.ok_or_else(|| format!("--scenario {argument}: a weight is a number above 0"))?)
        }
        None => (argument, 1.0),
    };
    let path = Path::new(path);
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let written: Written = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let scenarios = if written.mix.is_empty() {
        checked(written, &stem, folder, defaults).map(|scenario| vec![scenario])
    } else {
        let numbered = written.mix.into_iter().enumerate();
        numbered.map(|(n, one)| checked(one, &format!("{stem} {}", n + 1), folder, defaults)).collect()
    };
    let mut scenarios = scenarios.map_err(|error| wrong(&error))?;
    scenarios.iter_mut().for_each(|scenario| scenario.weight *= weight);
    Ok(scenarios)
}

/// Speaks these texts in turn, over and over.
pub(crate) fn conversation(texts: &[String], defaults: &Defaults) -> Result<Scenario, String> {
    let say = |say: &String| Step::Say { say: say.clone(), after_silence_ms: 600 };
    let listen = || Step::Wait { wait_for: WaitFor::Agent, within_ms: 15_000 };
    let steps = texts.iter().flat_map(|text| [say(text), listen()]).collect();
    let written = Written {
        name: Some("conversation".to_owned()),
        weight: None,
        script: None,
        steps: Some(steps),
        repeat: true,
        codecs: None,
        srtp: None,
        impair: None,
        impair_up: None,
        impair_down: None,
        give_up_ms: None,
        mix: Vec::new(),
    };
    let mut scenario = checked(written, "", Path::new("."), defaults)?;
    // The greeting comes first, once.
    scenario.script.steps.insert(0, listen());
    Ok(scenario)
}

fn checked(written: Written, name: &str, folder: &Path, defaults: &Defaults) -> Result<Scenario, String> {
    let steps = match (written.steps, &written.script) {
        (Some(steps), None) => steps,
        (None, Some(script)) => {
            let path = folder.join(script);
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
            Script::parse(&text).map_err(|error| wrong(&error))?.steps
        }
        _ => return Err(format!("{name}: a scenario has either `steps` or `script`")),
    };
    let (expectations, steps): (Vec<Step>, Vec<Step>) =
        steps.into_iter().partition(|step| matches!(step, Step::Expect { .. }));
    let mut script = Script { steps: steps.into_iter().map(|step| beside(step, folder)).collect() };
    script.check()?;
    if script.steps.is_empty() {
        return Err(format!("{name}: there are no steps"));
    }
    if written.repeat {
        let rounds = MOST_STEPS.div_ceil(script.steps.len());
        script.steps = std::iter::repeat_n(script.steps, rounds).flatten().take(MOST_STEPS).collect();
    }
    let impairment =
        |own: &Option<String>, default: Impairment| match own.as_ref().or(written.impair.as_ref()) {
            Some(text) => text.parse::<Impairment>(),
            None => Ok(default),
        };
    Ok(Scenario {
        name: written.name.unwrap_or_else(|| name.to_owned()),
        weight: written.weight.filter(|weight| *weight > 0.0).unwrap_or(1.0),
        script,
        left_out: expectations.len(),
        repeats: written.repeat,
        codecs: written.codecs.as_deref().map_or_else(|| Ok(defaults.codecs.clone()), codecs)?,
        srtp: written.srtp.as_deref().map_or(Ok(defaults.srtp), srtp)?,
        up: impairment(&written.impair_up, defaults.up)?,
        down: impairment(&written.impair_down, defaults.down)?,
        give_up: written.give_up_ms.map(Duration::from_millis),
    })
}

/// Files of a scenario stand beside it.
fn beside(step: Step, folder: &Path) -> Step {
    match step {
        Step::Wav { wav, after_silence_ms } => Step::Wav { wav: folder.join(wav), after_silence_ms },
        other => other,
    }
}

/// Codecs by their names, preferred first.
pub(crate) fn codecs(names: &[String]) -> Result<Vec<CodecSpec>, String> {
    let named = |name: &String| {
        CodecSpec::named(name).ok_or_else(|| {
            let known: Vec<&str> = CodecSpec::ALL.iter().map(|codec| codec.name).collect();
            format!("codec {name}: use some of {}", known.join(", "))
        })
    };
    match names.iter().map(named).collect::<Result<Vec<_>, _>>()? {
        none if none.is_empty() => Err("no codec at all".to_owned()),
        some => Ok(some),
    }
}

/// `off`, `optional` or `required`.
pub(crate) fn srtp(mode: &str) -> Result<SrtpMode, String> {
    match mode {
        "off" => Ok(SrtpMode::Off),
        "optional" => Ok(SrtpMode::Optional),
        "required" => Ok(SrtpMode::Required),
        other => Err(format!("srtp {other}: use off, optional or required")),
    }
}

/// Which of the scenarios the next caller plays.
pub(crate) fn choose(scenarios: &[Scenario], chance: &mut Chance) -> usize {
    let sum: f64 = scenarios.iter().map(|scenario| scenario.weight).sum();
    let mut left = f64::from(chance.unit()) * sum;
    let found = scenarios.iter().position(|scenario| {
        left -= scenario.weight;
        left < 0.0
    });
    found.unwrap_or(scenarios.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        let none = Impairment::default();
        Defaults { codecs: vec![CodecSpec::PCMU], srtp: SrtpMode::Off, up: none, down: none }
    }

    fn scenarios(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(folder).expect("the folder is there");
        files
            .map(|file| file.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect()
    }

    #[test]
    fn every_scenario_and_every_script_of_this_repository_can_be_played() {
        let files = [scenarios("scenarios"), scenarios("scripts")].concat();
        assert!(files.len() >= 8, "{files:?}");
        for path in files {
            let read = read(&path.display().to_string(), &defaults());
            assert!(read.as_ref().is_ok_and(|scenarios| !scenarios.is_empty()), "{read:?}");
        }
    }

    fn written(text: &str) -> Result<Vec<Scenario>, String> {
        let folder =
            std::env::temp_dir().join(format!("loadtest-scenario-{}-{}", std::process::id(), text.len()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("some.toml");
        std::fs::write(&path, text).expect("a file");
        let read = read(&format!("{}=2", path.display()), &defaults());
        let _ = std::fs::remove_dir_all(folder);
        read
    }

    #[test]
    fn a_mix_has_its_weights_codecs_and_networks() {
        let mix = written(
            r#"
            [[scenario]]
            name = "keys"
            weight = 3
            codecs = ["opus", "pcma"]
            impair = "loss=1%"
            impair_down = "jitter=20ms"
            steps = [{ press = "1", by = "tone" }, { expect = "one" }, { wav = "a.wav" }]
            [[scenario]]
            give_up_ms = 900
            steps = [{ hang_up = true }]
            "#,
        )
        .expect("a good mix");
        assert_eq!(
            mix.iter().map(|one| (one.name.as_str(), one.weight)).collect::<Vec<_>>(),
            [("keys", 6.0), ("some 2", 2.0)]
        );
        assert_eq!(mix[0].codecs, [CodecSpec::OPUS, CodecSpec::PCMA]);
        assert_eq!((mix[0].up.loss, mix[0].down.loss, mix[0].left_out), (0.01, 0.0, 1));
        assert!(mix[0].script.files().all(|file| file.is_absolute()), "files stand beside the scenario");
        assert_eq!(mix[1].give_up, Some(Duration::from_millis(900)));
        let mut chance = Chance::new(1);
        let first = (0..10_000).filter(|_| choose(&mix, &mut chance) == 0).count();
        assert!((7_300..7_700).contains(&first), "three quarters, not {first}");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (text, word) in [
            ("stepz = []", "stepz"),
            ("steps = []", "no steps"),
            ("weight = 1", "`steps` or `script`"),
            ("codecs = [\"g729\"]\nsteps = [{ hang_up = true }]", "PCMU"),
            ("impair = \"los=1%\"\nsteps = [{ hang_up = true }]", "los=1%"),
        ] {
            let error = written(text).expect_err(text);
            assert!(error.contains(word) && error.contains("some.toml"), "{error}");
        }
    }

    #[test]
    fn a_conversation_goes_on_until_the_load_ends() {
        let talk = conversation(&["hello".to_owned()], &defaults()).expect("a scenario");
        assert!(talk.repeats && talk.script.steps.len() == MOST_STEPS + 1);
        assert_eq!(talk.script.steps[0], talk.script.steps[2]);
    }
}
