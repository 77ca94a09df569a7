//! What a network does wrong, as people write it: `loss=1%,burst=2%x5,jitter=30ms`.
//! Knows text and numbers. What becomes of packets is the link's business.

use std::{str::FromStr, time::Duration};

/// The most strangers' packets a second that one call may be sent.
const MOST_STRANGERS: f64 = 2_000.0;
/// The longest delay of any kind: what waits is bounded by it.
const LONGEST: Duration = Duration::from_secs(5);
/// How far a clock can be off.
const MOST_SKEW: f64 = 10_000.0;

/// One direction of a network, and who else is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Impairment {
    /// Share of packets lost, each by itself.
    pub(crate) loss: f32,
    /// Share of packets lost in bursts.
    pub(crate) burst: f32,
    /// Packets in a burst, on average.
    pub(crate) burst_length: f32,
    /// What every packet takes.
    pub(crate) delay: Duration,
    /// What a packet may take beyond that. It never overtakes another by it.
    pub(crate) jitter: Duration,
    /// Share of packets that are overtaken by the next ones.
    pub(crate) reorder: f32,
    /// Share of packets that come twice.
    pub(crate) duplicate: f32,
    /// How far the caller's clock is off, in parts per million. It counts for both directions.
    pub(crate) skew_ppm: i32,
    /// Datagrams a second that are no RTP, from the caller's own port.
    pub(crate) garbage: f32,
    /// RTP packets a second of somebody else, from another port.
    pub(crate) foreign: f32,
}

/// What can be written, for errors and for the help.
pub(crate) const KEYS: &str = "loss=1%, burst=2%x5 (share x packets in a burst), delay=40ms, jitter=30ms, reorder=1%, \
     duplicate=1%, skew=200ppm, garbage=200/s, foreign=200/s";

impl FromStr for Impairment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut impairment = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "none") {
            let wrong = |why: &str| format!("`{part}`: {why}; what can be written: {KEYS}");
            let (key, value) = part.split_once('=').ok_or_else(|| wrong("a value is missing"))?;
            impairment.set(key.trim(), value.trim()).map_err(|why| wrong(&why))?;
        }
        Ok(impairment)
    }
}

impl Impairment {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.loss = share(value)?,
            "burst" => {
                let (part, length) = value.split_once('x').unwrap_or((value, "5"));
                self.burst = share(part)?;
                self.burst_length = number(length, "")
                    .filter(|length| *length >= 1.0)
                    .ok_or("bursts hold 1 packet or more")? as f32;
            }
            "delay" => self.delay = time(value)?,
            "jitter" => self.jitter = time(value)?,
            "reorder" => self.reorder = share(value)?,
            "duplicate" => self.duplicate = share(value)?,
            "skew" => {
                let ppm = number(value, "ppm").filter(|ppm| ppm.abs() <= MOST_SKEW);
                self.skew_ppm = ppm.ok_or("a clock is off by -10000ppm to 10000ppm")? as i32;
            }
            "garbage" => self.garbage = rate(value)?,
            "foreign" => self.foreign = rate(value)?,
            _ => return Err("no such impairment".to_owned()),
        }
        Ok(())
    }

    /// Whether packets go straight through.
    pub(crate) fn is_clear(&self) -> bool {
        let Self { loss, burst, burst_length: _, delay, jitter, reorder, duplicate, .. } = *self;
        [loss, burst, reorder, duplicate] == [0.0; 4] && delay.is_zero() && jitter.is_zero()
    }
}

fn number(text: &str, unit: &str) -> Option<f64> {
    text.strip_suffix(unit).unwrap_or(text).trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn share(text: &str) -> Result<f32, String> {
    let per_cent = number(text, "%").filter(|share| (0.0..=100.0).contains(share));
    per_cent.map(|share| share as f32 / 100.0).ok_or_else(|| "a share is written 0% to 100%".to_owned())
}

fn rate(text: &str) -> Result<f32, String> {
    let rate = number(text, "/s").filter(|rate| (0.0..=MOST_STRANGERS).contains(rate));
    rate.map(|rate| rate as f32).ok_or_else(|| format!("a rate is written 0/s to {MOST_STRANGERS}/s"))
}

fn time(text: &str) -> Result<Duration, String> {
    let ms = number(text, "ms").filter(|ms| (0.0..=LONGEST.as_millis() as f64).contains(ms));
    ms.map(|ms| Duration::from_secs_f64(ms / 1_000.0))
        .ok_or_else(|| "a time is written 0ms to 5000ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_can_be_written_in_one_line() {
        let written = "loss=1%, burst=2%x8,delay=40ms,jitter=20ms,reorder=0.5%,duplicate=3%,skew=-200ppm,\
            garbage=200/s,foreign=100/s";
        let expected = Impairment {
            loss: 0.01,
            burst: 0.02,
            burst_length: 8.0,
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(20),
            reorder: 0.005,
            duplicate: 0.03,
            skew_ppm: -200,
            garbage: 200.0,
            foreign: 100.0,
        };
        assert_eq!(written.parse(), Ok(expected));
        assert!("none".parse().is_ok_and(|nothing: Impairment| nothing.is_clear()));
        assert!(!expected.is_clear());
    }

    #[test]
    fn what_is_wrong_is_named_together_with_what_is_right() {
        for text in
            ["los=1%", "loss", "loss=101%", "jitter=6000ms", "garbage=1e9/s", "skew=20000ppm", "burst=1%x0"]
        {
            let error = text.parse::<Impairment>().expect_err(text);
            assert!(error.contains(text) && error.contains("jitter=30ms"), "{error}");
        }
    }
}
