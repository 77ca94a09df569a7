//! Names to addresses: asks the system's resolver what RFC 3263 wants to know.
//! Knows records. Which of them are asked for, and what follows from the answers, is `sip::locate`'s decision.

use hickory_resolver::{
    TokioResolver,
    proto::rr::{RData, RecordType},
};
use sip::{
    Transport,
    locate::{DnsAnswer, DnsQuery, Locator, NaptrRecord, SrvRecord, Target},
    uri::Uri,
};
use std::time::Duration;
use tokio::time::timeout;

/// How long one question may take: longer than a resolver's own second try.
const QUESTION: Duration = Duration::from_secs(8);

/// The most questions for one URI; the locator asks fewer.
const QUESTIONS: usize = 64;

/// The system's resolver. Clones share its cache.
#[derive(Clone)]
pub struct Resolver(Option<TokioResolver>);

impl Resolver {
    /// The resolver that the system is configured for. Where there is none, only addresses can be used.
    pub fn system() -> Self {
        Self(TokioResolver::builder_tokio().and_then(|builder| builder.build()).ok())
    }

    /// Where to send a request for a URI, best first.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub async fn targets(
        &self,
        uri: &str,
        preferred: &[Transport],
        seed: [u8; 32],
    ) -> Result<Vec<Target>, String> {
        let parsed = Uri::parse(uri).map_err(|_| format!("{uri} is not a SIP address"))?;
        let mut locator = Locator::new(&parsed, preferred);
        for _ in 0..QUESTIONS {
            let Some(query) = locator.next_query() else { break };
            let answer = timeout(QUESTION, self.ask(&query)).await.unwrap_or(DnsAnswer::Nothing);
            locator.answer(&query, answer);
        }
        let targets = locator.targets(seed);
        match (targets.is_empty(), &self.0) {
            (false, _) => Ok(targets),
            (true, Some(_)) => Err(format!("DNS knows no address of {}", parsed.host)),
            (true, None) => Err(format!("{} cannot be looked up: this machine has no resolver", parsed.host)),
        }
    }

    async fn ask(&self, query: &DnsQuery) -> DnsAnswer {
        let Some(resolver) = &self.0 else { return DnsAnswer::Nothing };
        match query {
            DnsQuery::Naptr(name) => {
                let Ok(found) = resolver.lookup(absolute(name), RecordType::NAPTR).await else {
                    return DnsAnswer::Nothing;
                };
                DnsAnswer::Naptr(found.answers().iter().filter_map(|record| naptr(&record.data)).collect())
            }
            DnsQuery::Srv(name) => {
                let Ok(found) = resolver.lookup(absolute(name), RecordType::SRV).await else {
                    return DnsAnswer::Nothing;
                };
                DnsAnswer::Srv(found.answers().iter().filter_map(|record| srv(&record.data)).collect())
            }
            // Not absolute: a short name of the local network is completed by the search list.
            DnsQuery::Address(name) => match resolver.lookup_ip(name.as_str()).await {
                Ok(found) => DnsAnswer::Addresses(found.iter().collect()),
                Err(_) => DnsAnswer::Nothing,
            },
        }
    }
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a resolver may add records that were not asked for")]
fn naptr(data: &RData) -> Option<NaptrRecord> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        RData::NAPTR(found) => Some(NaptrRecord {
            order: found.order,
            preference: found.preference,
            flags: text(&found.flags),
            service: text(&found.services),
            replacement: found.replacement.to_string(),
        }),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a resolver may add records that were not asked for")]
fn srv(data: &RData) -> Option<SrvRecord> {
    match data {
        RData::SRV(found) => Some(SrvRecord {
            priority: found.priority,
            weight: found.weight,
            port: found.port,
            target: found.target.to_string(),
        }),
        _ => None,
    }
}
