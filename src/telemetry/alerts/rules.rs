//! Decides when something is worth an alert: once when it has been wrong for its time, once when it is over.
//! Knows figures and time. Sends nothing.

use super::Alert;
use crate::telemetry::metrics::Troubles;
use call::admission::{Level, Permit, PoolFigures};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// What the rules look at, once a second.
#[derive(Clone, Copy, Debug)]
pub struct Signs<'a> {
    /// The pools.
    pub pools: &'a [PoolFigures],
    /// What the stages can do at once.
    pub permits: &'a [Permit],
    /// What has been counted since the start.
    pub troubles: &'a Troubles,
    /// How late a media thread has woken in the last second, at worst.
    pub media_lag: Duration,
    /// Since when the database has not taken what the journal holds.
    pub database_behind: Duration,
    /// The agents' files have been read again and cannot be used.
    pub agents_stale: bool,
}

/// The rules, with what they remember.
#[derive(Debug, Default)]
pub struct AlertRules {
    since: BTreeMap<Key, Instant>,
    firing: BTreeSet<Key>,
    counted: VecDeque<(Instant, Troubles)>,
    late_at: VecDeque<Instant>,
}

/// What it is about, and of that which.
type Key = (&'static str, String);

/// Counts are compared over so long.
const MINUTE: Duration = Duration::from_secs(60);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
/// Failures of a stage's providers in a minute that are more than a hiccup.
const FAILURES: u64 = 5;
/// Turns in a minute that only a prepared sentence could save: the stage is down, whatever stands in its route.
const SAVED: u64 = 3;
/// Turns over budget in five minutes, and their share of all turns, of a hundred: 5 to begin, 2 to be over.
const VIOLATIONS: u64 = 10;
const VIOLATIONS_BEGIN: u64 = 5;
const VIOLATIONS_OVER: u64 = 2;
/// What was lost is told for so long.
const LOST: Duration = Duration::from_secs(900);
/// Records may wait so long for a database that is being restarted.
const WAITING: Duration = Duration::from_secs(30);
/// A frame: whoever wakes this late is heard.
const LATE: Duration = Duration::from_millis(20);
/// Seconds with such a delay, of the last thirty.
const LATE_SECONDS: usize = 5;
const LATE_WINDOW: Duration = Duration::from_secs(30);

/// One thing that may be wrong.
struct Condition {
    about: &'static str,
    subject: String,
    level: &'static str,
    /// It is wrong; `over`: it is well again. In between it stays as it was told.
    wrong: bool,
    over: bool,
    figure: String,
    /// What is wrong, with what to do; and what to say when it is over.
    firing: String,
    resolved: String,
}

impl AlertRules {
    /// How long a level must hold before it is told: 70 % for a minute, 85 % for half of one, the rest at once.
    const fn hold(level: Level) -> Duration {
        match level {
            Level::Normal | Level::Warn => Duration::from_secs(60),
            Level::Alert => Duration::from_secs(30),
            Level::Overflow | Level::Full => Duration::ZERO,
        }
    }

    /// Looks at everything; asked once a second.
    pub fn look(&mut self, now: Instant, signs: Signs<'_>) -> Vec<Alert> {
        let mut alerts = self.pools(now, signs);
        self.remember(now, signs);
        let conditions = [
            self.providers(now, signs),
            self.budgets(now, signs),
            self.records(now, signs),
            vec![self.media(), agents(signs)],
        ];
        let (busy, cap) = signs.pools.iter().fold((0, 0), |sum, pool| (sum.0 + pool.busy, sum.1 + pool.cap));
        for condition in conditions.into_iter().flatten() {
            let key = (condition.about, condition.subject.clone());
            let begins = condition.wrong && !self.firing.contains(&key);
            let ends = condition.over && self.firing.contains(&key);
            if begins {
                self.firing.insert(key);
            } else if ends {
                self.firing.remove(&key);
            } else {
                continue;
            }
            alerts.push(Alert {
                state: if begins { "firing" } else { "resolved" },
                about: condition.about,
                level: condition.level,
                pool: None,
                busy,
                cap,
                figure: condition.figure,
                binding_stage: condition.subject,
                text: if begins { condition.firing } else { condition.resolved },
            });
        }
        alerts
    }

    fn pools(&mut self, now: Instant, signs: Signs<'_>) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for pool in signs.pools {
            for level in Level::ALL.into_iter().filter(|level| *level > Level::Normal) {
                let key = (level.name(), pool.name.clone());
                if pool.level < level {
                    self.since.remove(&key);
                    if self.firing.remove(&key) {
                        alerts.push(of_pool("resolved", level, pool, signs.permits));
                    }
                    continue;
                }
                let since = *self.since.entry(key.clone()).or_insert(now);
                let held = now.saturating_duration_since(since) >= Self::hold(level);
                if held && self.firing.insert(key) {
                    alerts.push(of_pool("firing", level, pool, signs.permits));
                }
            }
        }
        alerts
    }

    fn remember(&mut self, now: Instant, signs: Signs<'_>) {
        self.counted.push_back((now, signs.troubles.clone()));
        // One older than what is looked back on stays, to be compared with.
        while self.counted.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LOST) {
            self.counted.pop_front();
        }
        if signs.media_lag >= LATE {
            self.late_at.push_back(now);
        }
        while self.late_at.front().is_some_and(|at| now.saturating_duration_since(*at) >= LATE_WINDOW) {
            self.late_at.pop_front();
        }
    }

    /// The counts of so long ago, or of the beginning.
    fn before(&self, now: Instant, age: Duration) -> Troubles {
        let old = self.counted.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= age);
        old.or_else(|| self.counted.front()).map(|(_, troubles)| troubles.clone()).unwrap_or_default()
    }

    fn providers(&self, now: Instant, signs: Signs<'_>) -> Vec<Condition> {
        let before = self.before(now, MINUTE);
        let failing = since(&signs.troubles.provider_failures, &before.provider_failures);
        let saved = since(&signs.troubles.fallbacks, &before.fallbacks);
        let failing = failing.map(|(stage, count)| Condition {
            about: "provider_failing",
            subject: stage.to_owned(),
            level: "warn",
            wrong: count >= FAILURES,
            over: count == 0,
            figure: format!("{count} failures in a minute"),
            firing: format!(
                "Providers of {stage} have failed {count} times in a minute; the next target of the route takes over, if \
                 there is one. Look at the provider's status, and put another target behind it in [routes.{stage}]."
            ),
            resolved: format!("Providers of {stage} have not failed for a minute."),
        });
        let down = saved.map(|(stage, count)| Condition {
            about: "provider_down",
            subject: stage.to_owned(),
            level: "alert",
            wrong: count >= SAVED,
            over: count == 0,
            figure: format!("{count} turns in a minute"),
            firing: format!(
                "{count} turns in a minute got a prepared sentence, because no target of {stage} served them: callers \
                 notice. Put a target of another provider into [routes.{stage}], or transfer calls away."
            ),
            resolved: format!("No turn has needed a prepared sentence for {stage} for a minute."),
        });
        failing.chain(down).collect()
    }

    fn budgets(&self, now: Instant, signs: Signs<'_>) -> Vec<Condition> {
        let before = self.before(now, FIVE_MINUTES);
        let turns = signs.troubles.turns.saturating_sub(before.turns);
        let over = since(&signs.troubles.violations, &before.violations);
        let condition = |(stage, count): (&'static str, u64)| Condition {
            about: "budget",
            subject: stage.to_owned(),
            level: "alert",
            wrong: count >= VIOLATIONS && count * 100 >= turns * VIOLATIONS_BEGIN,
            over: count * 100 < turns.max(1) * VIOLATIONS_OVER,
            figure: format!("{count} of {turns} turns in five minutes"),
            firing: format!(
                "{count} of {turns} turns in five minutes were over budget because of {stage}. `tandem trace \
                 --slower-than-ms 1200` shows them; put a faster target first in its route, or raise [budgets_ms]."
            ),
            resolved: format!(
                "Turns are within budget again: {count} of {turns} were late because of {stage}."
            ),
        };
        over.map(condition).collect()
    }

    fn records(&self, now: Instant, signs: Signs<'_>) -> Vec<Condition> {
        let before = self.before(now, LOST);
        let lost = signs.troubles.records_lost.saturating_sub(before.records_lost);
        let unpriced = signs.troubles.price_unknown.saturating_sub(before.price_unknown);
        let behind = signs.database_behind;
        let seconds = behind.as_secs();
        vec![
            Condition {
                about: "records_lost",
                subject: "store".to_owned(),
                level: "alert",
                wrong: lost > 0,
                over: lost == 0,
                figure: format!("{lost} records"),
                firing: format!(
                    "{lost} call records are lost. The log says why; give the data directory room and a disk that \
                     answers."
                ),
                resolved: "No call record has been lost for 15 minutes.".to_owned(),
            },
            Condition {
                about: "records_waiting",
                subject: "database".to_owned(),
                level: "warn",
                wrong: behind >= WAITING,
                over: behind.is_zero(),
                figure: format!("{seconds} s"),
                firing: format!(
                    "The database has taken no call records for {seconds} s; they wait in the journal, up to \
                     store.journal_limit_mb. Start the database, or give it room."
                ),
                resolved: "The database has taken every call record that waited.".to_owned(),
            },
            Condition {
                about: "price_unknown",
                subject: "prices".to_owned(),
                level: "warn",
                wrong: unpriced > 0,
                over: unpriced == 0,
                figure: format!("{unpriced} calls"),
                firing: format!(
                    "{unpriced} calls have a part whose price is not known: its cost is empty in their records. \
                     Add it to [prices]."
                ),
                resolved: "Every call of the last 15 minutes has its price.".to_owned(),
            },
        ]
    }

    fn media(&self) -> Condition {
        let late = self.late_at.len();
        Condition {
            about: "media_late",
            subject: "media threads".to_owned(),
            level: "alert",
            wrong: late >= LATE_SECONDS,
            over: late == 0,
            figure: format!("{late} of 30 s with a delay of 20 ms or more"),
            firing: format!(
                "Media threads woke 20 ms late or later in {late} of the last 30 seconds: callers hear gaps. Lower \
                 server.ports, give the machine more cores, or set admission.max_media_lag_ms."
            ),
            resolved: "Media threads have been in time for 30 seconds.".to_owned(),
        }
    }
}

/// Whether new calls get the agents that stand in the files.
fn agents(signs: Signs<'_>) -> Condition {
    Condition {
        about: "agents_stale",
        subject: "agents".to_owned(),
        level: "alert",
        wrong: signs.agents_stale,
        over: !signs.agents_stale,
        figure: "a change of the agents' files or of the config is not in use".to_owned(),
        firing: "Agents were read again and could not be used: calls go on with those from before. The log says which \
                 file and line; tandem check says it too."
            .to_owned(),
        resolved: "The agents' files are in use as they stand.".to_owned(),
    }
}

/// By how much each count has grown.
fn since<'a>(
    now: &'a [(&'static str, u64)],
    before: &'a [(&'static str, u64)],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    now.iter().map(move |(stage, count)| {
        let old = before.iter().find(|(name, _)| name == stage).map_or(0, |(_, count)| *count);
        (*stage, count.saturating_sub(old))
    })
}

fn of_pool(state: &'static str, level: Level, pool: &PoolFigures, permits: &[Permit]) -> Alert {
    let share = u64::from(pool.busy) * 100 / u64::from(pool.cap.max(1));
    let (name, busy, cap) = (&pool.name, pool.busy, pool.cap);
    // Streams of a provider may be shorter than the ports: then more ports would help nobody.
    let fuller =
        |permit: &&Permit| u64::from(permit.used) * u64::from(cap) > u64::from(busy) * u64::from(permit.cap);
    let binding = permits.iter().filter(fuller).max_by(|one, other| {
        let share = |permit: &Permit| f64::from(permit.used) / f64::from(permit.cap.max(1));
        share(one).total_cmp(&share(other))
    });
    let short = binding.map_or(String::new(), |permit| {
        format!(" {} is shorter still: {} of {} streams.", permit.name, permit.used, permit.cap)
    });
    let text = match state {
        "resolved" => format!("Pool {name} is below {} % again: {busy} of {cap} ports.", level.threshold()),
        _ => format!("Pool {name} is {share} % full: {busy} of {cap} ports.{short} {}", level.remedy()),
    };
    Alert {
        state,
        about: "pool",
        level: level.name(),
        pool: Some(name.clone()),
        busy,
        cap,
        figure: format!("{share} %"),
        binding_stage: binding.map_or_else(|| "ports".to_owned(), |permit| permit.name.clone()),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(busy: u32, level: Level) -> PoolFigures {
        PoolFigures { name: "main".into(), cap: 250, busy, level, ..PoolFigures::default() }
    }

    fn signs<'a>(pools: &'a [PoolFigures], troubles: &'a Troubles) -> Signs<'a> {
        Signs {
            pools,
            permits: &[],
            troubles,
            media_lag: Duration::ZERO,
            database_behind: Duration::ZERO,
            agents_stale: false,
        }
    }

    /// What is told, with the second: each second the signs are what `at` makes of them.
    fn told(
        seconds: u64,
        mut at: impl FnMut(u64, &mut Troubles) -> (Duration, Duration),
    ) -> Vec<(u64, &'static str, &'static str, String)> {
        let (mut rules, start, mut troubles) = (AlertRules::default(), Instant::now(), Troubles::default());
        let mut told = Vec::new();
        for second in 0..seconds {
            let (media_lag, database_behind) = at(second, &mut troubles);
            let signs = Signs { media_lag, database_behind, ..signs(&[], &troubles) };
            for alert in rules.look(start + Duration::from_secs(second), signs) {
                assert!(!alert.text.is_empty() && !alert.figure.is_empty());
                told.push((second, alert.state, alert.about, alert.binding_stage));
            }
        }
        told
    }

    const WELL: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

    #[test]
    fn each_threshold_is_told_once_when_it_has_held_and_once_when_it_is_over() {
        let (mut rules, start, troubles) = (AlertRules::default(), Instant::now(), Troubles::default());
        let mut told = Vec::new();
        let ramp = [
            (180, Level::Warn, 90),
            (215, Level::Alert, 60),
            (240, Level::Overflow, 60),
            (100, Level::Normal, 60),
        ];
        let mut second = 0;
        for (busy, level, seconds) in ramp {
            for _ in 0..seconds {
                second += 1;
                let pools = [pool(busy, level)];
                let alerts = rules.look(start + Duration::from_secs(second), signs(&pools, &troubles));
                told.extend(alerts.into_iter().map(|alert| (second, alert.state, alert.level)));
            }
        }
        assert_eq!(
            told,
            [
                (61, "firing", "warn"),
                (121, "firing", "alert"),
                (151, "firing", "overflow"),
                (211, "resolved", "warn"),
                (211, "resolved", "alert"),
                (211, "resolved", "overflow"),
            ]
        );
    }

    #[test]
    fn a_peak_that_is_over_at_once_is_no_alert_but_overflow_is() {
        let (mut rules, start, troubles) = (AlertRules::default(), Instant::now(), Troubles::default());
        let mut look = |second, busy, level| {
            rules.look(start + Duration::from_secs(second), signs(&[pool(busy, level)], &troubles))
        };
        assert!(look(0, 180, Level::Warn).is_empty());
        assert!(look(59, 100, Level::Normal).is_empty());
        let told = look(60, 240, Level::Overflow);
        assert_eq!(told.len(), 1);
        assert!(told[0].text.starts_with("Pool main is 96 % full: 240 of 250 ports. "), "{}", told[0].text);
        assert_eq!((told[0].figure.as_str(), told[0].binding_stage.as_str()), ("96 %", "ports"));
    }

    #[test]
    fn the_stage_that_is_shorter_than_the_ports_is_named() {
        let permits = [
            Permit { name: "stt default".into(), cap: 250, used: 249 },
            Permit { name: "tts default".into(), cap: 1_000, used: 249 },
        ];
        let pools = [pool(240, Level::Overflow)];
        let troubles = Troubles::default();
        let signs = Signs { permits: &permits, ..signs(&pools, &troubles) };
        let told = AlertRules::default().look(Instant::now(), signs);
        assert_eq!(told[0].binding_stage, "stt default");
        assert!(told[0].text.contains("249 of 250 streams"), "{}", told[0].text);
    }

    #[test]
    fn a_provider_that_fails_and_recovers_is_told_once_each_way() {
        let told = told(200, |second, troubles| {
            // One failure each second from 10 to 59; from 30 on nobody else serves the turns either.
            let failures = second.clamp(9, 59) - 9;
            let saved = second.clamp(29, 59) - 29;
            troubles.provider_failures = vec![("llm", failures), ("tts", 0)];
            troubles.fallbacks = vec![("llm", saved), ("tts", 0)];
            WELL
        });
        let llm = || "llm".to_owned();
        assert_eq!(
            told,
            [
                (14, "firing", "provider_failing", llm()),
                (32, "firing", "provider_down", llm()),
                (119, "resolved", "provider_failing", llm()),
                (119, "resolved", "provider_down", llm()),
            ]
        );
    }

    #[test]
    fn slow_turns_are_told_by_the_stage_to_blame_and_a_few_of_many_are_not() {
        let few = told(400, |second, troubles| {
            (troubles.turns, troubles.violations) = (second * 10, vec![("tts_first_audio", second / 10)]);
            WELL
        });
        assert_eq!(few, [], "one of a hundred");
        let many = told(1_000, |second, troubles| {
            // Every second turn is late for the first 100 seconds.
            troubles.turns = second;
            troubles.violations = vec![("llm_first_token", second.min(100) / 2), ("tool", 0)];
            WELL
        });
        let states: Vec<_> =
            many.iter().map(|(_, state, about, stage)| (*state, *about, stage.as_str())).collect();
        assert_eq!(
            states,
            [("firing", "budget", "llm_first_token"), ("resolved", "budget", "llm_first_token")]
        );
    }

    #[test]
    fn records_that_wait_or_are_lost_and_calls_without_a_price_are_told() {
        let told = told(1_100, |second, troubles| {
            troubles.records_lost = u64::from(second >= 100) * 3;
            troubles.price_unknown = u64::from(second >= 50);
            // The database is away from 200 to 299.
            let behind = if (200..300).contains(&second) { second - 200 } else { 0 };
            (Duration::ZERO, Duration::from_secs(behind))
        });
        let told: Vec<_> = told.iter().map(|(second, state, about, _)| (*second, *state, *about)).collect();
        assert_eq!(
            told,
            [
                (50, "firing", "price_unknown"),
                (100, "firing", "records_lost"),
                (230, "firing", "records_waiting"),
                (300, "resolved", "records_waiting"),
                (950, "resolved", "price_unknown"),
                (1_000, "resolved", "records_lost"),
            ]
        );
    }

    #[test]
    fn agents_that_cannot_be_read_again_are_told_once_each_way() {
        let (mut rules, troubles, start) = (AlertRules::default(), Troubles::default(), Instant::now());
        let told: Vec<_> = (0..10)
            .flat_map(|second| {
                let signs = Signs { agents_stale: (3..6).contains(&second), ..signs(&[], &troubles) };
                let alerts = rules.look(start + Duration::from_secs(second), signs);
                alerts.into_iter().map(move |alert| (second, alert.state, alert.about)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(told, [(3, "firing", "agents_stale"), (6, "resolved", "agents_stale")]);
    }

    #[test]
    fn media_threads_that_are_late_again_and_again_are_told_and_a_hiccup_is_not() {
        let hiccup =
            told(100, |second, _| (Duration::from_millis(u64::from(second == 10) * 500), Duration::ZERO));
        assert_eq!(hiccup, []);
        let told = told(100, |second, _| {
            (Duration::from_millis(u64::from((10..20).contains(&second)) * 25), Duration::ZERO)
        });
        let told: Vec<_> = told.iter().map(|(second, state, about, _)| (*second, *state, *about)).collect();
        assert_eq!(told, [(14, "firing", "media_late"), (49, "resolved", "media_late")]);
    }
}
