//! What targets cost: prices that hold at the time of a call, and what usage amounts to at them.
//! Knows amounts. What is not known stays unknown: a sum with an unknown part is unknown, never a part of it.

use std::collections::BTreeMap;

/// The price of a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LlmRate {
    /// For a million tokens in.
    pub input_million: f64,
    /// For a million tokens out.
    pub output_million: f64,
}

/// Prices that hold for one call. `None`: not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The currency of all of them.
    pub currency: String,
    /// For a minute of audio that speech-to-text hears.
    pub stt_minute: Option<f64>,
    /// For language models, by the target's name.
    pub llm: BTreeMap<String, LlmRate>,
    /// For a thousand characters that are spoken.
    pub tts_thousand: Option<f64>,
    /// For an answered minute on the trunk.
    pub call_minute: Option<f64>,
}

impl Rates {
    /// What a reply of `target` cost. A model that costs nothing needs no counts.
    pub fn reply(&self, target: &str, input: Option<u32>, output: Option<u32>) -> Option<f64> {
        let rate = self.llm.get(target)?;
        let part = |price: f64, tokens: Option<u32>| match tokens {
            _ if price == 0.0 => Some(0.0),
            Some(tokens) => Some(price * f64::from(tokens) / 1e6),
            None => None,
        };
        Some(part(rate.input_million, input)? + part(rate.output_million, output)?)
    }

    /// What speaking so many characters costs.
    pub fn speech(&self, characters: u64) -> Option<f64> {
        per(self.tts_thousand, characters as f64 / 1e3)
    }

    /// What hearing so many microseconds costs.
    pub fn hearing(&self, us: u64) -> Option<f64> {
        per(self.stt_minute, us as f64 / 60e6)
    }

    /// What so many answered microseconds cost.
    pub fn telephony(&self, us: u64) -> Option<f64> {
        per(self.call_minute, us as f64 / 60e6)
    }
}

/// Nothing costs nothing, whatever the price.
fn per(price: Option<f64>, amount: f64) -> Option<f64> {
    if amount == 0.0 { Some(0.0) } else { price.map(|price| price * amount) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        let llm = [("gpt", 2.0, 8.0), ("flow", 0.0, 0.0)]
            .map(|(name, input_million, output_million)| {
                (name.to_owned(), LlmRate { input_million, output_million })
            })
            .into();
        Rates {
            currency: "USD".into(),
            stt_minute: Some(0.006),
            llm,
            tts_thousand: None,
            call_minute: Some(0.01),
        }
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-12)
    }

    #[test]
    fn usage_is_priced_and_what_is_not_known_stays_unknown() {
        let rates = rates();
        assert!(near(rates.reply("gpt", Some(1_000_000), Some(250_000)), 4.0));
        assert_eq!(rates.reply("gpt", Some(10), None), None, "not counted");
        assert_eq!(rates.reply("other", Some(10), Some(1)), None, "no price");
        assert!(near(rates.reply("flow", None, None), 0.0), "free, counted or not");
        assert!(near(rates.hearing(90_000_000), 0.009));
        assert!(near(rates.telephony(30_000_000), 0.005));
        assert_eq!(rates.speech(5), None);
        assert!(near(rates.speech(0), 0.0), "nothing was said");
    }
}
