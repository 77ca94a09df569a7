//! Ports under more calls than there are: the bank's ramp into its overflow pool, then twice and three times the calls that
//! both pools can take. What a refusal takes, and whether a cap was ever broken.
//! Knows calls that are only set up, the server's figures and its log.

use crate::{
    bench::{Bench, World},
    exposition::{figure, metrics, quantile},
    processes::{Engines, LOG},
    report::Report,
    sip_bench::setups::{self, Load, Outcome},
    spread::Spread,
};
use std::{net::SocketAddr, time::Duration};

const GROUP: &str = "Ports: a pool of 25 (a bank's 250, scaled) with an overflow pool of 5";
/// The bank's ports, a tenth of them, and those for what comes from 95 % on.
const POOLS: &str =
    "[[pool]]\nname = \"main\"\nports = 25\noverflow = \"backup\"\n[[pool]]\nname = \"backup\"\nports = 5\n";
const CAP: u32 = 30;
/// Calls that are up after each step: 72 %, 88 %, 96 % of the pool, and one more than both pools leave alone.
const RAMP: [u32; 4] = [18, 22, 24, 29];
/// Calls a second of the ramp.
const PACE: u32 = 10;
/// For the figures, which the server publishes once a second.
const PUBLISHED: Duration = Duration::from_millis(1_500);

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), String> {
    eprintln!("{GROUP} ...");
    let world = bench.start_configured(Engines::Simulated, "hello", &[], POOLS)?;
    let place = |rate: u32, calls: u32| -> Result<Outcome, String> {
        let time = Duration::from_secs_f64(f64::from(calls) / f64::from(rate));
        let load = Load { server: bench.addresses.sip, rate, time, hang_up: false };
        setups::run(&load).map_err(|error| format!("calling {}: {error}", bench.addresses.sip))
    };
    let mut up = 0;
    for step in RAMP {
        let outcome = place(PACE, step - up)?;
        if outcome.set_up != (step - up) as usize {
            return Err(format!("of {} calls only {} were taken", step - up, outcome.set_up));
        }
        up = step;
        std::thread::sleep(PUBLISHED);
        let [main, backup] = busy(bench.addresses.http)?;
        let values = [("main", main), ("backup", backup), ("of main, %", main * 4.0)];
        report.values(GROUP, format!("ports in use with {step} calls up"), "", &values, aim(step));
    }
    for (times, name) in [(2, "twice"), (3, "three times")] {
        let offered = CAP * times;
        let outcome = place(offered, offered)?;
        std::thread::sleep(PUBLISHED);
        let refused = Spread::of_ms(outcome.refused_after.iter().copied());
        report.spread(
            GROUP,
            format!("INVITE to refusal at {name} the cap, in a second"),
            "ms",
            &refused,
            "p99 ≤ 50",
        );
        let statuses: usize = outcome.refused.values().sum();
        let [main, backup] = busy(bench.addresses.http)?;
        let values = [
            ("offered", offered as f64),
            ("taken", outcome.set_up as f64),
            ("refused", statuses as f64),
            ("in use", main + backup),
        ];
        report.values(GROUP, format!("  at {name} the cap"), "calls", &values, "in use ≤ 30");
    }
    add_thresholds(&world, report)?;
    let text = metrics(bench.addresses.http)?;
    let of = |series: &str| figure(&text, series).unwrap_or(f64::NAN);
    let (sum, count) = (of("tandem_journal_sync_seconds_sum"), of("tandem_journal_sync_seconds_count"));
    report.values(
        GROUP,
        "a write of the journal, on average",
        "ms",
        &[("", sum / count * 1e3), ("n", count)],
        "",
    );
    let at = |share| quantile(&text, "tandem_cdr_end_durable_seconds", share).unwrap_or((f64::NAN, 0.0));
    let ((half, _), (most, ends)) = (at(0.5), at(0.99));
    let values = [("p50 ≤", half * 1e3), ("p99 ≤", most * 1e3), ("n", ends)];
    report.values(GROUP, "end or refusal of a call to its record on the disk", "ms", &values, "p99 ≤ 100");
    let lost = of("tandem_cdr_lost_total") + of("tandem_port_leaked_total");
    report.values(GROUP, "records lost and ports leaked", "", &[("", lost)], "0");
    Ok(())
}

fn aim(step: u32) -> &'static str {
    match step {
        18 => "18, 0",
        22 => "22, 0",
        24 => "24, 0",
        _ => "24, 5",
    }
}

/// How often each threshold of the first pool was told in the log, upwards: once each, whatever came after.
fn add_thresholds(world: &World, report: &mut Report) -> Result<(), String> {
    let log = world.server.data.parent().map(|folder| folder.join(LOG)).ok_or("the server has no folder")?;
    let log = std::fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let told = |level: &str| {
        let of_main = log.lines().filter(|line| line.contains("a pool fills up") && line.contains("main"));
        of_main
            .filter(|line| line.contains(&format!("to=\"{level}\"")) || line.contains(&format!("to={level}")))
            .count()
    };
    let levels = ["warn", "alert", "overflow", "full"].map(|level| (level, told(level) as f64));
    report.values(GROUP, "times each threshold of the pool was told", "", &levels, "1 each");
    Ok(())
}

/// Ports in use in both pools.
fn busy(http: SocketAddr) -> Result<[f64; 2], String> {
    let text = metrics(http)?;
    let of = |pool: &str| figure(&text, &format!("tandem_pool_ports_busy{{pool=\"{pool}\"}}"));
    Ok([of("main").ok_or("no figure of the pool main")?, of("backup").ok_or("no figure of the pool backup")?])
}
