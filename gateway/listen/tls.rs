//! What TLS is spoken with on the doors: certificates, client authorities, tickets for sessions that are resumed.
//!
//! What must stay true here: files that changed are taken for new connections, and those that stand are left alone; files that
//! cannot be used change nothing; tickets end with the certificates they were given under, so that no session outlives the
//! authority that let it in.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::certificates::{Certificate, CertificateFiles, FileError, load_authorities, provider};
use crate::clock;
use crate::config::{self, ClientCertificates};
use crate::drain::Tasks;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What clients may choose from, the best first.
const PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

pub struct Tls {
    rules: config::Tls,
    current: ArcSwap<ServerConfig>,
    /// As the files were when they were last read.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// Differs between two states of a file: modified (seconds, nanoseconds), size, number on its disk.
type Stamp = (i64, i64, u64, u64);

impl Tls {
    /// # Errors
    /// A file that cannot be used.
    pub fn open(rules: config::Tls) -> Result<Self, FileError> {
        let seen = Mutex::new(stamps(&rules));
        let current = ArcSwap::new(load(&rules)?);
        Ok(Self { rules, current, seen })
    }

    /// For the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again.
    pub fn reread(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.rules);
        match load(&self.rules) {
            Ok(config) => {
                self.current.store(config);
                tracing::info!("certificates were read anew");
            }
            Err(error) => tracing::error!(%error, "the new certificates cannot be used; the former ones are kept"),
        }
    }

    /// Looks at the files until `tasks` stop.
    pub async fn watch(self: Arc<Self>, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let tls = Arc::clone(&self);
            // Such a disk may be slow.
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
    }

    fn look(&self) {
        let has_changed = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != stamps(&self.rules);
        if has_changed {
            self.reread();
        }
    }
}

fn load(rules: &config::Tls) -> Result<Arc<ServerConfig>, FileError> {
    let certificates = rules.certificates.iter().map(CertificateFiles::load).collect::<Result<Vec<_>, _>>()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the default versions");
    let builder = match &rules.clients {
        Some(clients) => builder.with_client_cert_verifier(verifier(clients)?),
        None => builder.with_no_client_auth(),
    };
    for (certificate, files) in certificates.iter().zip(&rules.certificates) {
        tell_expiry(certificate, &files.certificate);
    }
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(&certificates)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.ticketer = Ticketer::new().expect("the system gives random bytes");
    Ok(Arc::new(config))
}

fn verifier(clients: &ClientCertificates) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, FileError> {
    let authorities = Arc::new(load_authorities(&clients.authorities)?);
    let builder = WebPkiClientVerifier::builder_with_provider(authorities, provider());
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build().expect("there is an authority"))
}

fn tell_expiry(certificate: &Certificate, file: &Path) {
    if certificate.expires_soon(clock::now()) {
        tracing::warn!(file = %file.display(), expires_at = certificate.expires_at.to_rfc3339(), "a certificate expires soon, or has");
    }
}

fn stamps(rules: &config::Tls) -> Vec<Option<Stamp>> {
    let pairs = rules.certificates.iter().flat_map(|files| [&files.certificate, &files.private_key]);
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino()))
    };
    pairs.chain(rules.clients.iter().map(|clients| &clients.authorities)).map(stamp).collect()
}

/// The certificate for the name that a client asks for (SNI): one for that very name, else one for all names beside it, else
/// the first.
#[derive(Debug)]
struct ByName {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        let first = certificates.first().expect("there is a certificate");
        Self { first: Arc::clone(&first.key), by_name }
    }

    /// `name` in lower case.
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let beside = || name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let found = self.by_name.get(name).or_else(|| self.by_name.get(&beside()?));
        found.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.first, |name| self.find(name))))
    }
}
