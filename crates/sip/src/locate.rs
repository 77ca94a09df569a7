//! From a SIP URI to addresses: NAPTR, SRV, A and AAAA in the order of RFC 3263 section 4, SRV choice of RFC 2782.
//! Knows which question comes next and what the answers mean. Asks nobody itself.

use crate::endpoint::Transport;
use crate::identifiers::Identifiers;
use crate::uri::Uri;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The most services (NAPTR records, or transports without them) that are looked up.
const MAX_SERVICES: usize = 5;
/// The most SRV records used of one service.
const MAX_SRV: usize = 16;
/// The most addresses used of one host.
const MAX_ADDRESSES: usize = 8;
/// The most host names looked up.
const MAX_HOSTS: usize = 16;
/// The most targets handed out.
const MAX_TARGETS: usize = 32;

/// A question for the resolver. Names have no final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsQuery {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records of a service.
    Srv(String),
    /// A and AAAA records of a host.
    Address(String),
}

/// What the resolver found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// To [`DnsQuery::Naptr`].
    Naptr(Vec<NaptrRecord>),
    /// To [`DnsQuery::Srv`].
    Srv(Vec<SrvRecord>),
    /// To [`DnsQuery::Address`], in the order they are to be tried.
    Addresses(Vec<IpAddr>),
    /// No such name, no such record, or no answer in time.
    Nothing,
}

/// One NAPTR record (RFC 3403 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NaptrRecord {
    /// Lowest first.
    pub order: u16,
    /// Within an order, lowest first.
    pub preference: u16,
    /// `s`: the replacement is an SRV name.
    pub flags: String,
    /// `SIP+D2U` and its like.
    pub service: String,
    /// The next name to ask for.
    pub replacement: String,
}

/// One SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lowest first.
    pub priority: u16,
    /// Share within a priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` means that the service does not exist here.
    pub target: String,
}

/// One place to send a request to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Whose certificate must be shown there: the domain of the URI, not the host that DNS named, because DNS is not
    /// to be trusted with that (RFC 3263 section 4.1, RFC 5922 section 7). `None` without TLS or with an IP address.
    pub server_name: Option<String>,
}

/// One way that DNS may offer.
struct Service {
    transport: Transport,
    name: String,
    /// `None` = not asked yet.
    records: Option<Vec<SrvRecord>>,
}

/// The machine: ask [`Locator::next_query`] until it has none, then take the targets.
pub struct Locator {
    host: String,
    port: Option<u16>,
    domain: String,
    /// Best first; empty if the URI wants what nobody has.
    transports: Vec<Transport>,
    ask_naptr: bool,
    services: Vec<Service>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

impl Locator {
    /// For a URI without Route. `preferred` are the transports we may use, best first; empty = UDP, TCP, TLS.
    pub fn new(uri: &Uri<'_>, preferred: &[Transport]) -> Self {
        let host = uri.param("maddr").filter(|maddr| !maddr.is_empty()).unwrap_or(uri.host);
        let host = plain(host.trim_start_matches('[').trim_end_matches(']'));
        let transports = transports(uri, preferred);
        let by_name = host.parse::<IpAddr>().is_err() && uri.port.is_none() && !transports.is_empty();
        let named = uri.param("transport").is_some();
        let mut locator = Self {
            host,
            port: uri.port,
            domain: plain(uri.host),
            transports,
            ask_naptr: by_name && !named,
            services: Vec::new(),
            addresses: BTreeMap::new(),
        };
        if by_name && named {
            locator.ask_each_transport();
        }
        locator
    }

    /// The question to ask now; `None` when all is known. The same one again until it is answered.
    pub fn next_query(&self) -> Option<DnsQuery> {
        if self.transports.is_empty() || self.host.parse::<IpAddr>().is_ok() || self.host.is_empty() {
            return None;
        }
        if self.ask_naptr {
            return Some(DnsQuery::Naptr(self.host.clone()));
        }
        if let Some(service) = self.services.iter().find(|service| service.records.is_none()) {
            return Some(DnsQuery::Srv(service.name.clone()));
        }
        let unknown =
            self.hosts().into_iter().take(MAX_HOSTS).find(|host| !self.addresses.contains_key(host));
        unknown.map(DnsQuery::Address)
    }

    /// The answer to a question. One that does not fit its question counts as nothing found.
    pub fn answer(&mut self, query: &DnsQuery, answer: DnsAnswer) {
        match query {
            DnsQuery::Naptr(_) if self.ask_naptr => {
                self.ask_naptr = false;
                let DnsAnswer::Naptr(records) = answer else { return self.ask_each_transport() };
                self.use_naptr(records);
            }
            DnsQuery::Naptr(_) => {}
            DnsQuery::Srv(name) => {
                let mut records = match answer {
                    DnsAnswer::Srv(records) => records,
                    DnsAnswer::Naptr(_) | DnsAnswer::Addresses(_) | DnsAnswer::Nothing => Vec::new(),
                };
                records.sort_by_key(|record| record.priority);
                records.truncate(MAX_SRV);
                for record in &mut records {
                    record.target = plain(&record.target);
                }
                let open = |service: &&mut Service| service.name == *name && service.records.is_none();
                if let Some(service) = self.services.iter_mut().find(open) {
                    service.records = Some(records);
                }
            }
            DnsQuery::Address(host) => {
                let mut found = match answer {
                    DnsAnswer::Addresses(found) => found,
                    DnsAnswer::Naptr(_) | DnsAnswer::Srv(_) | DnsAnswer::Nothing => Vec::new(),
                };
                found.truncate(MAX_ADDRESSES);
                if self.addresses.len() < MAX_HOSTS {
                    self.addresses.insert(host.clone(), found);
                }
            }
        }
    }

    /// Everything found, best first. Among SRV records of one priority the seed chooses, by weight; the same seed
    /// gives the same order, so all requests of one transaction go to the same place (RFC 3263 section 4.4).
    pub fn targets(&self, seed: [u8; 32]) -> Vec<Target> {
        let mut chance = Identifiers::new(seed);
        let mut targets = Vec::new();
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            targets.extend(self.first_transport().map(|transport| self.target(transport, ip, self.port)));
        } else if self.has_services() {
            for service in &self.services {
                let records = service.records.as_deref().unwrap_or_default();
                for record in by_weight(records, &mut chance) {
                    let found = self.addresses.get(&record.target).into_iter().flatten();
                    targets.extend(found.map(|ip| self.target(service.transport, *ip, Some(record.port))));
                }
            }
        } else if let Some(transport) = self.first_transport() {
            let found = self.addresses.get(&self.host).into_iter().flatten();
            targets.extend(found.map(|ip| self.target(transport, *ip, self.port)));
        }
        let mut seen = Vec::with_capacity(targets.len());
        targets.retain(|target| {
            let new = target.address.port() != 0 && !seen.contains(target);
            if new {
                seen.push(target.clone());
            }
            new
        });
        targets.truncate(MAX_TARGETS);
        targets
    }

    fn first_transport(&self) -> Option<Transport> {
        self.transports.first().copied()
    }

    fn target(&self, transport: Transport, ip: IpAddr, port: Option<u16>) -> Target {
        let named = transport.is_secure() && self.domain.parse::<IpAddr>().is_err();
        Target {
            transport,
            address: SocketAddr::new(ip, port.unwrap_or_else(|| default_port(transport))),
            server_name: named.then(|| self.domain.clone()),
        }
    }

    /// Whether SRV says anything, be it that the service does not exist.
    fn has_services(&self) -> bool {
        self.services
            .iter()
            .any(|service| service.records.as_ref().is_some_and(|records| !records.is_empty()))
    }

    /// The hosts whose addresses are needed, best first: those of the SRV records, or the domain itself without any.
    fn hosts(&self) -> Vec<String> {
        if !self.has_services() {
            return vec![self.host.clone()];
        }
        let mut hosts = Vec::new();
        for record in self.services.iter().filter_map(|service| service.records.as_ref()).flatten() {
            if !record.target.is_empty() && !hosts.contains(&record.target) {
                hosts.push(record.target.clone());
            }
        }
        hosts
    }

    fn use_naptr(&mut self, mut records: Vec<NaptrRecord>) {
        records.sort_by_key(|record| (record.order, record.preference));
        for record in records {
            let transport = NAPTR_SERVICES
                .iter()
                .find(|(service, _)| record.service.eq_ignore_ascii_case(service))
                .map(|(_, transport)| *transport)
                .filter(|transport| self.transports.contains(transport));
            let name = plain(&record.replacement);
            let usable = record.flags.eq_ignore_ascii_case("s") && !name.is_empty();
            if let Some(transport) = transport.filter(|_| usable) {
                self.add_service(transport, name);
            }
        }
        if self.services.is_empty() {
            self.ask_each_transport();
        }
    }

    /// Without NAPTR every transport of ours is asked for by its usual name (RFC 3263 section 4.1).
    fn ask_each_transport(&mut self) {
        for transport in self.transports.clone() {
            self.add_service(transport, format!("{}.{}", srv_prefix(transport), self.host));
        }
    }

    fn add_service(&mut self, transport: Transport, name: String) {
        let known = self.services.iter().any(|service| service.name == name);
        if !known && self.services.len() < MAX_SERVICES {
            self.services.push(Service { transport, name, records: None });
        }
    }
}

const NAPTR_SERVICES: &[(&str, Transport)] = &[
    ("SIP+D2U", Transport::Udp),
    ("SIP+D2T", Transport::Tcp),
    ("SIPS+D2T", Transport::Tls),
    ("SIP+D2W", Transport::Ws),
    ("SIPS+D2W", Transport::Wss),
];

/// Lower case and without the final dot; `.` alone becomes empty.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The transports that the URI leaves us, best first.
fn transports(uri: &Uri<'_>, preferred: &[Transport]) -> Vec<Transport> {
    let secure = uri.scheme.eq_ignore_ascii_case("sips");
    let preferred =
        if preferred.is_empty() { &[Transport::Udp, Transport::Tcp, Transport::Tls] } else { preferred };
    let Some(named) = uri.param("transport") else {
        let mut left: Vec<_> = preferred.iter().copied().filter(|one| one.is_secure() || !secure).collect();
        if secure && left.is_empty() {
            left.push(Transport::Tls);
        }
        return left;
    };
    let all = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
    let named = all.into_iter().find(|one| one.name().eq_ignore_ascii_case(named));
    let named = match named {
        // `sips:…;transport=tcp` means TLS over TCP (RFC 3261 section 26.2.2).
        Some(Transport::Tcp) if secure => Some(Transport::Tls),
        Some(Transport::Ws) if secure => Some(Transport::Wss),
        Some(Transport::Udp) if secure => None,
        other => other,
    };
    named.into_iter().collect()
}

fn srv_prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    }
}

/// RFC 3261 section 19.1.2, RFC 7118 section 6.
fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
        Transport::Ws => 80,
        Transport::Wss => 443,
    }
}

/// By priority, and within one by chance in proportion to the weights (RFC 2782). Records are sorted by priority.
fn by_weight<'a>(records: &'a [SrvRecord], chance: &mut Identifiers) -> Vec<&'a SrvRecord> {
    let mut ordered = Vec::with_capacity(records.len());
    for group in records.chunk_by(|one, other| one.priority == other.priority) {
        let mut left: Vec<&SrvRecord> = group.iter().collect();
        // Weight 0 first: it is chosen only when the number drawn is 0.
        left.sort_by_key(|record| record.weight != 0);
        while !left.is_empty() {
            let total: u32 = left.iter().map(|record| u32::from(record.weight)).sum();
            let drawn = chance.below(total + 1);
            let mut sum = 0;
            let at = left.iter().position(|record| {
                sum += u32::from(record.weight);
                sum >= drawn
            });
            ordered.push(left.remove(at.unwrap_or(0)));
        }
    }
    ordered
}
