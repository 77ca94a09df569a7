//! The port pools as figures: one series for each pool, from the config's own list of names.
//! Knows how pools stand, once a second. Decides nothing.

use call::{
    admission::{Level, PoolFigures},
    forecast::HORIZON_SECONDS,
    port_slots::LoadBand,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// How the pools stood last, and the most that was busy since the last scrape.
#[derive(Debug, Default)]
pub(super) struct PoolFamilies(Mutex<Pools>);

#[derive(Debug, Default)]
struct Pools {
    now: Vec<PoolFigures>,
    most: BTreeMap<String, u32>,
}

type Figure = fn(&PoolFigures) -> i64;

const GAUGES: [(&str, &str, Figure); 3] = [
    ("tandem_pool_ports_cap", "Port slots of a pool", |pool| i64::from(pool.cap)),
    ("tandem_pool_ports_busy", "Port slots of a pool in use now", |pool| i64::from(pool.busy)),
    ("tandem_pool_level", "0 normal, 1 warn (70 %), 2 alert (85), 3 overflow (95), 4 full", |pool| {
        Level::ALL.iter().position(|level| *level == pool.level).map_or(0, |place| place as i64)
    }),
];

impl PoolFamilies {
    pub(super) fn set(&self, pools: &[PoolFigures]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pool in pools {
            let most = all.most.entry(pool.name.clone()).or_default();
            *most = (*most).max(pool.peak);
        }
        all.now = pools.to_vec();
    }
}

impl Collector for PoolFamilies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = || ConstGauge::new(0_i64).metric_type();
        let counter = || ConstCounter::new(0_u64).metric_type();
        for (name, help, figure) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, gauge())?;
            for pool in &all.now {
                ConstGauge::new(figure(pool)).encode(family.encode_family(&[("pool", &*pool.name)])?)?;
            }
        }
        let help = "Most port slots of a pool in use at once since the last scrape";
        let mut family = encoder.encode_descriptor("tandem_pool_ports_busy_max", help, None, gauge())?;
        for (pool, most) in std::mem::take(&mut all.most) {
            ConstGauge::new(i64::from(most)).encode(family.encode_family(&[("pool", &*pool)])?)?;
        }
        let help = "Calls that a pool took for a fuller one";
        let mut family = encoder.encode_descriptor("tandem_pool_overflow", help, None, counter())?;
        for pool in &all.now {
            ConstCounter::new(pool.taken_over).encode(family.encode_family(&[("pool", &*pool.name)])?)?;
        }
        let (help, unit) = ("Sum of the time that port slots were in use", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor("tandem_pool_ports_busy", help, unit, counter())?;
        for pool in &all.now {
            let seconds = ConstCounter::new(pool.busy_for.as_secs_f64());
            seconds.encode(family.encode_family(&[("pool", &*pool.name)])?)?;
        }
        let help = "Probability, 0 to 1, that every port of a pool is in use so many seconds from now";
        let name = "tandem_ports_saturation_probability";
        let mut family = encoder.encode_descriptor(name, help, None, gauge())?;
        let horizon = HORIZON_SECONDS.to_string();
        for pool in &all.now {
            let labels = [("pool", &*pool.name), ("horizon", &*horizon)];
            let gauge = ConstGauge::new(f64::from(pool.saturation_permille) / 1_000.0);
            gauge.encode(family.encode_family(&labels)?)?;
        }
        let help = "Time spent in each load band";
        let mut family = encoder.encode_descriptor("tandem_pool_band", help, unit, counter())?;
        for pool in &all.now {
            for (band, time) in LoadBand::ALL.iter().zip(pool.in_band) {
                let labels = [("pool", &*pool.name), ("band", band.name())];
                ConstCounter::new(time.as_secs_f64()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
