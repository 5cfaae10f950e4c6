//! Certificates and private keys as they stand in files, in PEM.
//!
//! What must stay true here: a private key is never shown, in no error either; and a certificate that was loaded goes with its
//! key, so that a handshake cannot fail for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::model::timestamp::Timestamp;

/// A certificate's files: the server's own first, then those that lead to its authority; and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// What was in them.
#[derive(Debug)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// The DNS names that it is for, in lower case; a first label may be `*`.
    pub names: Vec<String>,
    pub expires_at: Timestamp,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{} holds no {wanted} in PEM form", path.display())]
    NoPem { path: PathBuf, wanted: &'static str },
    #[error("{} holds a certificate that cannot be understood", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds a private key of no kind that TLS uses", .0.display())]
    NoKey(PathBuf),
    #[error("{} is not the private key of {}", private_key.display(), certificate.display())]
    ForeignKey { certificate: PathBuf, private_key: PathBuf },
}

/// Certificates are ordered anew a month before they expire; that one is this near its end means that nobody did.
const SOON: Duration = Duration::from_hours(14 * 24);

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Those that this system (or `SSL_CERT_FILE`) believes. May be empty: then no server is believed.
pub fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Whoever connects to a server verifies it by these authorities.
pub fn client(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the default versions")
        .with_root_certificates(roots)
}

impl CertificateFiles {
    /// # Errors
    /// A file that cannot be read or is not what it should be, and a key that is another certificate's.
    pub fn load(&self) -> Result<Certificate, FileError> {
        let chain = read_chain(&self.certificate)?;
        let (names, expires_at) = describe(&chain[0]).ok_or_else(|| FileError::NoCertificate(self.certificate.clone()))?;
        let private_key = read_private_key(&self.private_key)?;
        let key =
            provider().key_provider.load_private_key(private_key).map_err(|_| FileError::NoKey(self.private_key.clone()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(FileError::ForeignKey { certificate: self.certificate.clone(), private_key: self.private_key.clone() })
            }
            _ => Ok(Certificate { key: Arc::new(key), names, expires_at }),
        }
    }
}

impl Certificate {
    /// Within two weeks, or it has expired.
    pub fn expires_soon(&self, now: Timestamp) -> bool {
        self.expires_at < now.plus(SOON)
    }
}

/// The authorities whose certificates are believed.
///
/// # Errors
/// A file that cannot be read, or that holds something else.
pub fn load_authorities(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for authority in read_chain(path)? {
        roots.add(authority).map_err(|_| FileError::NoCertificate(path.to_owned()))?;
    }
    Ok(roots)
}

/// At least one certificate.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let no_pem = || FileError::NoPem { path: path.to_owned(), wanted: "certificate" };
    let chain = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, pem::Error>>().map_err(|_| no_pem())?;
    if chain.is_empty() { Err(no_pem()) } else { Ok(chain) }
}

fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| FileError::NoPem { path: path.to_owned(), wanted: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::Unreadable { path: path.to_owned(), error })
}

/// Its names, and when it expires; `None` when it is no X.509 certificate.
fn describe(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, Timestamp)> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate;
    let alternatives = certificate.get::<SubjectAltName>().ok()?;
    let names = alternatives.into_iter().flat_map(|(_, SubjectAltName(names))| names).filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    let expires: Duration = certificate.validity.not_after.to_unix_duration();
    Some((names.collect(), Timestamp::default().plus(expires)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn pem(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn names_and_expiry_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = pem(&["A.example", "*.b.example", "192.0.2.1"]);
        let certificate = write(folder.path(), "cert.pem", &certificate);
        let loaded = CertificateFiles { certificate, private_key: write(folder.path(), "key.pem", &key) }.load().unwrap();
        assert_eq!(loaded.names, ["a.example", "*.b.example"]);
        assert_eq!(loaded.expires_at, Timestamp::parse("2031-02-03T00:00:00Z").unwrap());
    }

    #[test]
    fn each_mistake_is_told_apart_and_no_private_key_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (_, other)) = (pem(&["a"]), pem(&["a"]));
        let path = |name: &str, text: &str| write(folder.path(), name, text);
        let broken_key = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";
        let broken = broken_key.replace("PRIVATE KEY", "CERTIFICATE");
        let (good, good_key) = (path("cert.pem", &certificate), path("key.pem", &key));
        for (certificate, private_key, says) in [
            (folder.path().join("none.pem"), good_key.clone(), "cannot be read"),
            (good_key.clone(), good_key.clone(), "no certificate"),
            (path("broken.pem", &broken), good_key, "cannot be understood"),
            (good.clone(), good.clone(), "no private key"),
            (good.clone(), path("broken-key.pem", broken_key), "no kind that TLS uses"),
            (good, path("other.pem", &other), "is not the private key of"),
        ] {
            let error = CertificateFiles { certificate, private_key }.load().expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("aHVudGVyMg") && !error.contains("hunter2"), "{error}");
        }
    }
}
