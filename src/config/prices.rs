//! What targets, trunks and ports cost: `[prices]`, dated, so that a call is priced as it was when it began.
//! Knows the keys; what a call has used is told elsewhere.

use super::{
    checker::Checker,
    raw::{Key, RawPrice, RawPrices},
};
use ai_gateway::{LlmRate, Rates};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// Prices from a day on: microseconds since the Unix epoch, the latest last.
type Dated<T> = Vec<(i64, T)>;

/// Prices of everything that a call uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    currency: String,
    stt: BTreeMap<String, Dated<f64>>,
    llm: BTreeMap<String, Dated<LlmRate>>,
    tts: BTreeMap<String, Dated<f64>>,
    call: BTreeMap<String, Dated<f64>>,
    port: Dated<f64>,
}

/// What serves a call, for its prices.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The speech-to-text target.
    pub stt: &'a str,
    /// The text-to-speech target.
    pub tts: &'a str,
    /// The trunk.
    pub trunk: &'a str,
    /// Targets that run on this machine: they cost nothing that is billed.
    pub own: &'a BTreeSet<String>,
}

impl Prices {
    /// The prices that hold for a call that begins then; `None` when the config names none at all.
    pub fn rates(&self, at_us: i64, served: Served<'_>) -> Option<Rates> {
        if self.currency.is_empty() {
            return None;
        }
        let free = |name: &str| served.own.contains(name).then_some(0.0);
        let priced = |prices: &BTreeMap<String, Dated<f64>>, name: &str| {
            prices.get(name).and_then(|dated| at(dated, at_us)).or_else(|| free(name))
        };
        let own = served.own.iter().map(|name| (name.clone(), LlmRate::default()));
        let llm = self.llm.iter().filter_map(|(name, dated)| Some((name.clone(), at(dated, at_us)?)));
        Some(Rates {
            currency: self.currency.clone(),
            stt_minute: priced(&self.stt, served.stt),
            llm: own.chain(llm).collect(),
            tts_thousand: priced(&self.tts, served.tts),
            call_minute: priced(&self.call, served.trunk),
        })
    }

    /// The price of one port for 30 days, and its currency.
    pub fn port_month(&self, at_us: i64) -> Option<(f64, String)> {
        Some((at(&self.port, at_us)?, self.currency.clone()))
    }
}

/// The price that holds at a moment: the latest that has begun.
fn at<T: Copy>(dated: &Dated<T>, at_us: i64) -> Option<T> {
    dated.iter().rev().find(|(from, _)| *from <= at_us).map(|(_, price)| *price)
}

impl Checker<'_> {
    pub(super) fn prices(&mut self, raw: &RawPrices, zone: &TimeZone) -> Prices {
        let lists = [&raw.stt, &raw.llm, &raw.tts, &raw.call, &raw.port];
        if lists.iter().all(|list| list.is_empty()) {
            return Prices::default();
        }
        let currency = raw.currency.as_ref().map_or("USD", |key| key.get_ref()).to_owned();
        if let (Some(key), false) =
            (&raw.currency, currency.len() == 3 && currency.chars().all(|letter| letter.is_ascii_uppercase()))
        {
            self.error(key, "this is no currency", "write its three letters, such as \"USD\" or \"EUR\"");
        }
        let mut prices = Prices { currency, ..Prices::default() };
        for entry in &raw.stt {
            let amount = self.amount(entry, "minute", &entry.get_ref().minute);
            self.add(&mut prices.stt, entry, zone, "target", &entry.get_ref().target, amount);
        }
        for entry in &raw.llm {
            let raw = entry.get_ref();
            let input = self.amount(entry, "input_million", &raw.input_million);
            let output = self.amount(entry, "output_million", &raw.output_million);
            let rate = input
                .zip(output)
                .map(|(input_million, output_million)| LlmRate { input_million, output_million });
            self.add(&mut prices.llm, entry, zone, "target", &raw.target, rate);
        }
        for entry in &raw.tts {
            let amount = self.amount(entry, "thousand_characters", &entry.get_ref().thousand_characters);
            self.add(&mut prices.tts, entry, zone, "target", &entry.get_ref().target, amount);
        }
        for entry in &raw.call {
            let amount = self.amount(entry, "minute", &entry.get_ref().minute);
            self.add(&mut prices.call, entry, zone, "trunk", &entry.get_ref().trunk, amount);
        }
        for entry in &raw.port {
            if let Some(amount) = self.amount(entry, "month", &entry.get_ref().month) {
                let from = self.from(entry, zone);
                prices.port.push((from, amount));
            }
        }
        prices.port.sort_by_key(|(from, _)| *from);
        prices
    }

    fn add<T: Copy>(
        &mut self,
        prices: &mut BTreeMap<String, Dated<T>>,
        entry: &Spanned<RawPrice>,
        zone: &TimeZone,
        what: &str,
        name: &Key<String>,
        price: Option<T>,
    ) {
        let from = self.from(entry, zone);
        let Some(name) = name else {
            return self.error(entry, format!("a price needs a {what}"), format!("write {what} = \"NAME\""));
        };
        if let Some(price) = price {
            let dated = prices.entry(name.get_ref().clone()).or_default();
            dated.push((from, price));
            dated.sort_by_key(|(from, _)| *from);
        }
    }

    fn amount(&mut self, entry: &Spanned<RawPrice>, name: &str, key: &Key<f64>) -> Option<f64> {
        match key {
            Some(key) if key.get_ref().is_finite() && (0.0..1e9).contains(key.get_ref()) => {
                Some(*key.get_ref())
            }
            Some(key) => {
                self.error(key, "this is no price", "write a number from 0");
                None
            }
            None => {
                self.error(entry, format!("the price is missing: {name}"), format!("write {name} = 0.01"));
                None
            }
        }
    }

    /// The first moment of a day; without one, the price has always held.
    fn from(&mut self, entry: &Spanned<RawPrice>, zone: &TimeZone) -> i64 {
        let Some(key) = &entry.get_ref().from else { return i64::MIN };
        let day = key.get_ref().parse::<Date>().ok();
        let begins = day.and_then(|day| zone.to_zoned(day.at(0, 0, 0, 0)).ok()).map(|at| at.timestamp());
        begins.map(Timestamp::as_microsecond).unwrap_or_else(|| {
            self.error(
                key,
                "this is no date",
                "write the day from which the price holds, such as \"2026-01-01\"",
            );
            i64::MIN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_prices_of_the_day_it_began() {
        let mut prices = Prices { currency: "EUR".into(), ..Prices::default() };
        prices.stt.insert("ear".into(), vec![(i64::MIN, 0.01), (1_000, 0.02)]);
        prices.call.insert("pbx".into(), vec![(5_000, 0.1)]);
        prices.port = vec![(0, 3.0)];
        let own = BTreeSet::from(["flow".to_owned(), "voice".to_owned()]);
        let rates = |at| {
            prices
                .rates(at, Served { stt: "ear", tts: "voice", trunk: "pbx", own: &own })
                .expect("there are prices")
        };
        assert_eq!((rates(999).stt_minute, rates(1_000).stt_minute), (Some(0.01), Some(0.02)));
        assert_eq!((rates(999).call_minute, rates(6_000).call_minute), (None, Some(0.1)));
        assert_eq!(rates(999).tts_thousand, Some(0.0), "what runs here costs nothing");
        assert_eq!(rates(999).llm.get("flow"), Some(&LlmRate::default()));
        assert_eq!(rates(999).llm.get("gpt"), None);
        assert_eq!((prices.port_month(-1), prices.port_month(1)), (None, Some((3.0, "EUR".into()))));
        let none = Prices::default();
        assert_eq!(none.rates(9, Served { stt: "ear", tts: "voice", trunk: "pbx", own: &own }), None);
    }
}
