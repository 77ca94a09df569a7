//! Who is told of calls: `[[webhook]]`.
//! Knows the keys; posting is done elsewhere.

use super::{checker::Checker, raw::RawWebhook};
use crate::webhooks::Webhook;
use std::{collections::BTreeSet, time::Duration};
use toml::Spanned;

/// The events there are.
const EVENTS: [&str; 2] = ["call.started", "call.ended"];
/// How long an event is tried for: over a weekend.
const GIVE_UP_HOURS: u64 = 72;
/// The most endpoints: each has a thread.
const MOST: usize = 16;

impl Checker<'_> {
    pub(super) fn webhooks(&mut self, raw: &[Spanned<RawWebhook>]) -> Vec<Webhook> {
        if let Some(one_too_many) = raw.get(MOST) {
            self.error(one_too_many, format!("more than {MOST} webhooks"), "let one endpoint pass events on");
        }
        let mut names = BTreeSet::new();
        raw.iter().filter_map(|raw| self.webhook(raw, &mut names)).collect()
    }

    fn webhook(&mut self, entry: &Spanned<RawWebhook>, names: &mut BTreeSet<String>) -> Option<Webhook> {
        let raw = entry.get_ref();
        let (Some(name), Some(url), Some(secret)) = (&raw.name, &raw.url, &raw.secret) else {
            self.error(
                entry,
                "a webhook needs a name, a url and a secret",
                "see `tandem init` for an example",
            );
            return None;
        };
        let sound = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if name.get_ref().is_empty() || name.get_ref().len() > 32 || !name.get_ref().chars().all(sound) {
            self.error(name, "this is no name", "write up to 32 letters, digits, - or _");
        } else if !names.insert(name.get_ref().clone()) {
            self.error(
                name,
                "another webhook has this name",
                "its events are kept under the name: choose another",
            );
        }
        let parsed = reqwest::Url::parse(url.get_ref().trim()).ok();
        let Some(parsed) = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        else {
            self.error(url, "this is no address that can be posted to", "write https://HOST/PATH");
            return None;
        };
        let here = parsed
            .host_str()
            .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
        if parsed.scheme() == "http" && !here {
            self.warn(url, "what is posted can be read on the way", "write https://");
        }
        let events = self.each(&raw.events, &EVENTS, |event| match EVENTS.contains(&event) {
            true => Ok(event.to_owned()),
            false => Err(format!("there is no event `{event}`; write {}", EVENTS.join(" or "))),
        });
        Some(Webhook {
            name: name.get_ref().clone(),
            url: parsed.to_string(),
            secret: self.secret(secret)?,
            started: events.iter().any(|event| event == EVENTS[0]),
            ended: events.iter().any(|event| event == EVENTS[1]),
            numbers: raw.numbers.as_ref().is_some_and(|key| *key.get_ref()),
            give_up_after: Duration::from_secs(
                3_600 * self.number(&raw.give_up_hours, GIVE_UP_HOURS, 1..=30 * 24),
            ),
        })
    }
}
