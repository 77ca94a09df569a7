//! What is asked and read about a call before it is answered: `[call_context]`.
//! Knows the keys and their defaults. Asks nobody.

use super::{
    checker::Checker,
    raw::{Key, RawCallContext, RawResume},
    trunk::Trunk,
};
use crate::{context_webhook::ContextWebhook, resume::ResumeConfig, secret::Secret};
use reqwest::Url;
use std::{collections::BTreeMap, time::Duration};
use toml::Spanned;

/// Where what is known of a call comes from, besides the call itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallContextConfig {
    /// Asked before the answer.
    pub webhook: Option<ContextWebhook>,
    /// Variables by the header field of the INVITE that they are read from.
    pub headers_in: BTreeMap<String, String>,
    /// Variables by the header field of our 200 and BYE that they are written to.
    pub headers_out: BTreeMap<String, String>,
}

impl Checker<'_> {
    pub(super) fn call_context(&mut self, raw: &RawCallContext) -> CallContextConfig {
        let url = self.parsed_or_none(&raw.url, |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.map(|_| text.to_owned())
                .ok_or_else(|| format!("`{text}` is not an HTTP URL; begin it with https://"))
        });
        let refuse = self.choice(&raw.on_failure, "answer", &["answer", "reject"]) == "reject";
        let timeout = self.milliseconds(&raw.timeout_ms, Duration::from_millis(1_500), 50..=10_000);
        let minutes: u64 = self.number(&raw.cache_minutes, 10, 0..=1_440);
        let headers = self.context_secrets(&raw.headers);
        let webhook = url.map(|url| ContextWebhook {
            url,
            headers,
            timeout,
            keep: Duration::from_secs(60 * minutes),
            refuse: refuse.then_some(503),
        });
        CallContextConfig {
            webhook,
            headers_in: self.header_names(&raw.headers_in),
            headers_out: self.header_names(&raw.headers_out),
        }
    }

    /// Off where no minutes are given.
    pub(super) fn resume(&mut self, raw: &RawResume) -> Option<ResumeConfig> {
        let minutes: u64 = self.number(&raw.minutes, 0, 0..=1_440);
        let secret = raw.secret.as_ref().and_then(|key| self.secret(key));
        if let (Some(key), None, true) = (&raw.minutes, &raw.secret, minutes > 0) {
            let message = "without a secret, callers' numbers could be found out from their hashes";
            self.error(key, message, "add secret = \"env:NAME\" or \"file:PATH\", the same on all servers");
        }
        let good_for = Duration::from_secs(60 * minutes);
        secret.filter(|_| minutes > 0).map(|secret| ResumeConfig { good_for, secret })
    }

    /// Whoever may call without any proof may write the headers that are believed.
    pub(super) fn believed_headers(&mut self, raw: &RawCallContext, trunks: &[Trunk]) {
        if let Some(key) = &raw.headers_in
            && let Some(open) = trunks.iter().find(|trunk| trunk.is_open_to_strangers())
        {
            let message = format!("anybody may call over the trunk `{}`, and write these headers", open.name);
            self.warn(key, message, "say below the trunk who may call, with sources or users");
        }
    }

    /// Headers of the request. Their values are secrets elsewhere, or plain text.
    fn context_secrets(&mut self, raw: &Key<toml::Table>) -> BTreeMap<String, Secret> {
        let mut headers = BTreeMap::new();
        for (name, value) in raw.iter().flat_map(|table| table.get_ref()) {
            let Some(at) = raw else { continue };
            let Some(text) =
                value.as_str().filter(|text| is_token(name) && !text.chars().any(char::is_control))
            else {
                self.error(
                    at,
                    format!("`{name}` is not a header"),
                    "write { X-Name = \"one line of text\" }",
                );
                continue;
            };
            match crate::tools::secret_reference(text) {
                Some(reference) => {
                    let before = text.strip_suffix(reference).unwrap_or_default();
                    if let Some(secret) = self.secret(&Spanned::new(at.span(), reference.to_owned())) {
                        headers.insert(name.clone(), Secret::new(format!("{before}{}", secret.expose())));
                    }
                }
                None => drop(headers.insert(name.clone(), Secret::new(text))),
            }
        }
        headers
    }

    fn header_names(&mut self, raw: &Key<toml::Table>) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for (header, variable) in raw.iter().flat_map(|table| table.get_ref()) {
            let Some(at) = raw else { continue };
            match variable.as_str().filter(|variable| is_token(header) && !variable.is_empty()) {
                Some(variable) => drop(names.insert(header.clone(), variable.to_owned())),
                None => {
                    let message = format!("`{header}` leads to no variable");
                    self.error(at, message, "write { X-Customer-Id = \"customer_id\" }");
                }
            }
        }
        names
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
