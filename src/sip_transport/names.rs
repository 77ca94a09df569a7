//! Whom streams are opened to: names that certificates must bear, each with a number that fits into a flow.
//! Knows names. Connects to nobody.

use rustls::pki_types::ServerName;
use sip::Flow;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Names there can be; they come from trunks and what these resolve to, never from strangers.
const NAMES: usize = (u16::MAX - 1) as usize;

/// The names of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<Vec<Arc<str>>>>);

impl Names {
    /// The bits of [`Flow::connection`] that stand for a name. Case does not matter.
    pub(super) fn number(&self, name: &str) -> io::Result<u64> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        ServerName::try_from(name.as_str())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| **known == *name);
        let index = match known {
            Some(index) => index,
            None if names.len() >= NAMES => return Err(io::ErrorKind::QuotaExceeded.into()),
            None => {
                names.push(name.into());
                names.len() - 1
            }
        };
        Ok((index as u64 + 1) << Flow::STREAM.count_ones())
    }

    /// Whose certificate a stream of this flow needs: the name's, or that of the peer's address.
    pub(super) fn server_name(&self, flow: &Flow) -> io::Result<ServerName<'static>> {
        let number = usize::try_from(flow.connection >> Flow::STREAM.count_ones()).unwrap_or(usize::MAX);
        let Some(index) = number.checked_sub(1) else {
            let ip: IpAddr = flow.remote.ip().to_canonical();
            return Ok(ServerName::IpAddress(ip.into()));
        };
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(index).ok_or(io::ErrorKind::NotFound)?;
        ServerName::try_from(name.to_string()).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Transport;

    #[test]
    fn a_name_has_one_number_and_comes_back() {
        let names = Names::default();
        let number = names.number("Carrier.example").expect("a name");
        assert_eq!(names.number("carrier.example.").expect("the same"), number);
        assert_ne!(names.number("other.example").expect("a name"), number);
        assert!(names.number("not a name").is_err());
        let flow = Flow {
            transport: Transport::Tls,
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], 2).into(),
            connection: number | 77,
        };
        assert_eq!(names.server_name(&flow).expect("known").to_str(), "carrier.example");
        let nameless = Flow { connection: 77, ..flow };
        assert_eq!(names.server_name(&nameless).expect("the address").to_str(), "127.0.0.1");
    }
}
