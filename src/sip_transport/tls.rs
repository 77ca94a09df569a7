//! Certificates: ours, those we trust, and their exchange for new ones while connections stay.
//! Knows PEM files and rustls. Knows nothing of SIP.

use super::SipCounters;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// A certificate chain and its key, each a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our certificate first, then what leads to the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which files TLS works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// What we show to those who connect to us; without it nobody can.
    pub server: Option<Identity>,
    /// Who connects to us must show a certificate that one of these has signed. `None`: nobody is asked for one.
    pub client_ca: Option<PathBuf>,
    /// What we show when we connect and are asked.
    pub client: Option<Identity>,
    /// Who may have signed the certificates of those we connect to; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Whether their certificates are looked at. Without that anybody on the way can listen.
    pub verify: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { server: None, client_ca: None, client: None, ca: None, verify: true }
    }
}

impl TlsConfig {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let identities = [&self.server, &self.client].into_iter().flatten();
        let pairs = identities.flat_map(|identity| [&identity.certificate, &identity.key]);
        pairs.chain([&self.client_ca, &self.ca].into_iter().flatten()).map(PathBuf::as_path)
    }
}

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct TlsError {
    file: PathBuf,
    what: String,
}

impl TlsError {
    fn new(file: &Path, what: impl ToString) -> Self {
        Self { file: file.to_owned(), what: what.to_string() }
    }
}

/// What became of a look at the files.
#[derive(Debug)]
pub enum Reload {
    /// They are as they were.
    Unchanged,
    /// New handshakes use the new ones.
    Done,
    /// New handshakes use the old ones still.
    Refused(TlsError),
}

/// What handshakes are made with.
pub struct Tls {
    config: TlsConfig,
    current: Mutex<Current>,
}

impl Default for Tls {
    /// Trusts whom the system trusts, and has no certificate to show.
    fn default() -> Self {
        Self { config: TlsConfig::default(), current: Mutex::default() }
    }
}

#[derive(Default)]
struct Current {
    server: Option<Arc<ServerConfig>>,
    /// Made when it is first needed, if only the system's roots go into it: reading those takes a while.
    client: Option<Arc<ClientConfig>>,
    seen: Vec<Stamp>,
}

/// Changes when a file does.
type Stamp = Option<(SystemTime, u64)>;

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn load(config: TlsConfig) -> Result<Arc<Self>, TlsError> {
        if !config.verify {
            tracing::warn!(
                "sip.tls.verify is off: certificates of those we connect to are not looked at, and anybody on the way \
                 can listen to every call and take its credentials"
            );
        }
        let seen = stamps(&config);
        let current = Current { server: server_config(&config)?, client: eager_client(&config)?, seen };
        Ok(Arc::new(Self { config, current: Mutex::new(current) }))
    }

    /// Whether others can connect to us.
    pub fn can_accept(&self) -> bool {
        self.config.server.is_some()
    }

    /// Looks whether a file has changed since the last look, or at all events if `force`.
    pub fn reload(&self, force: bool) -> Reload {
        let seen = stamps(&self.config);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.seen == seen && !force {
            return Reload::Unchanged;
        }
        current.seen = seen;
        let loaded = server_config(&self.config).and_then(|server| Ok((server, eager_client(&self.config)?)));
        match loaded {
            Ok((server, client)) => {
                (current.server, current.client) = (server, client);
                Reload::Done
            }
            Err(error) => Reload::Refused(error),
        }
    }

    /// For connections that others open.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).server.clone()
    }

    /// For connections that we open. May read files.
    pub(super) fn client(&self) -> io::Result<Arc<ClientConfig>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &current.client {
            return Ok(Arc::clone(client));
        }
        let client = client_config(&self.config).map_err(io::Error::other)?;
        Ok(Arc::clone(current.client.insert(client)))
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Looks after the files for ever: every few seconds, and when the process is told to (SIGHUP).
pub(super) async fn watch(tls: Arc<Tls>, counters: Arc<SipCounters>) {
    if tls.config.files().next().is_none() {
        return;
    }
    let Ok(mut told) = signal(SignalKind::hangup()) else { return };
    loop {
        let force = tokio::select! {
            signalled = told.recv() => signalled.is_some(),
            () = sleep(LOOK) => false,
        };
        let tls = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || tls.reload(force)).await {
            Ok(Reload::Done) => {
                SipCounters::count(&counters.certificates_reloaded);
                tracing::info!("certificates were read again; connections that are open stay");
            }
            Ok(Reload::Refused(error)) => {
                SipCounters::count(&counters.certificates_refused);
                tracing::error!(%error, "changed certificates cannot be used; those from before stay in use");
            }
            Ok(Reload::Unchanged) | Err(_) => {}
        }
    }
}

fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let stamp = |file: &Path| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    config.files().map(stamp).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(config: &TlsConfig) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let Some(identity) = &config.server else { return Ok(None) };
    let wrong = |error: rustls::Error| TlsError::new(&identity.certificate, error);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(wrong)?;
    let builder = match &config.client_ca {
        Some(file) => {
            let roots = Arc::new(roots(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::new(file, error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let server = builder.with_single_cert(certificates(&identity.certificate)?, key(&identity.key)?);
    Ok(Some(Arc::new(server.map_err(wrong)?)))
}

fn eager_client(config: &TlsConfig) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let has_files = config.ca.is_some() || config.client.is_some();
    has_files.then(|| client_config(config)).transpose()
}

/// How we connect to others.
///
/// # Errors
/// The file that cannot be used, and why.
pub fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::new(Path::new("TLS"), error))?;
    let builder = if config.verify {
        let roots = match &config.ca {
            Some(file) => roots(file)?,
            None => native_roots(),
        };
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
    };
    let client = match &config.client {
        Some(identity) => builder
            .with_client_auth_cert(certificates(&identity.certificate)?, key(&identity.key)?)
            .map_err(|error| TlsError::new(&identity.certificate, error))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(client))
}

fn native_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "this system trusts no certificate authority: set sip.tls.ca, or install ca-certificates"
        );
    }
    roots
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::new(file, error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::new(file, format!("no PEM file with certificates: {error}"));
    let found =
        CertificateDer::pem_file_iter(file).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(TlsError::new(file, "holds no certificate"));
    }
    Ok(found)
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |error| TlsError::new(file, format!("no PEM file with an unencrypted private key: {error}"));
    PrivateKeyDer::from_pem_file(file).map_err(wrong)
}

/// Believes everybody: for `verify = false`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
