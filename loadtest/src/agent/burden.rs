//! Work for the server's other threads beside the calls: JSON of all its calls, handshakes of TLS. What a busy provider costs
//! a runtime, without a provider. Knows the server's API and its TLS port; whether packets notice is the calls' to measure.

use sip::Transport;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tandem::caller::sockets::{self, Trust};

/// Connections at most.
const MOST: usize = 64;
/// Between two errors, so that a server that is gone is not asked in a loop.
const PAUSE: Duration = Duration::from_millis(50);

/// What was asked of the server, and how often it could not.
#[derive(Debug, Default)]
pub(crate) struct Borne {
    answers: AtomicU64,
    bytes: AtomicU64,
    handshakes: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Display for Borne {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = |count: &AtomicU64| count.load(Relaxed);
        let (answers, megabytes) = (read(&self.answers), read(&self.bytes) as f64 / 1e6);
        let (handshakes, failed) = (read(&self.handshakes), read(&self.failed));
        write!(f, "burden: {answers} answers of its API ({megabytes:.1} MB of JSON), ")?;
        write!(f, "{handshakes} TLS handshakes, {failed} failed")
    }
}

/// Connections at work.
pub(crate) struct Burden {
    stop: Arc<AtomicBool>,
    borne: Arc<Borne>,
    threads: Vec<JoinHandle<()>>,
}

impl Burden {
    /// Begins with so many.
    pub(crate) fn start(
        count: usize,
        api: Option<&str>,
        tls: Option<(SocketAddr, Trust)>,
    ) -> Result<Self, String> {
        if count > MOST {
            return Err(format!("--burden is {MOST} at most"));
        }
        if count > 0 && api.is_none() {
            return Err("--burden asks the server's API: say where it is with --api".to_owned());
        }
        let (stop, borne) = (Arc::new(AtomicBool::new(false)), Arc::new(Borne::default()));
        let url = format!("{}/calls", api.unwrap_or_default().trim_end_matches('/'));
        let begin = |_| {
            let (stop, borne, url, tls) = (Arc::clone(&stop), Arc::clone(&borne), url.clone(), tls.clone());
            thread::Builder::new().spawn(move || work(&stop, &borne, &url, tls.as_ref()))
        };
        let threads = (0..count).map(begin).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(Self { stop, borne, threads })
    }

    /// Ends with it.
    pub(crate) fn end(self) -> Arc<Borne> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            let _what_it_did_is_counted = thread.join();
        }
        self.borne
    }
}

fn work(stop: &AtomicBool, borne: &Borne, url: &str, tls: Option<&(SocketAddr, Trust)>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
    let Ok(client) = client else { return };
    while !stop.load(Relaxed) {
        let answer =
            runtime.block_on(async { client.get(url).send().await?.error_for_status()?.bytes().await });
        match answer {
            Ok(bytes) => {
                borne.answers.fetch_add(1, Relaxed);
                borne.bytes.fetch_add(bytes.len() as u64, Relaxed);
            }
            Err(_) => fail(borne),
        }
        match tls.map(|(server, trust)| sockets::open_with(*server, Transport::Tls, Some(trust.clone()))) {
            Some(Ok(_closed_at_once)) => _ = borne.handshakes.fetch_add(1, Relaxed),
            Some(Err(_)) => fail(borne),
            None => {}
        }
    }
}

fn fail(borne: &Borne) {
    borne.failed.fetch_add(1, Relaxed);
    thread::sleep(PAUSE);
}
