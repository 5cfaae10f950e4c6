//! TLS towards the server, as `sslmode` and `sslrootcert` say.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{PostgresUrl, Verify};

pub(super) fn connector(url: &PostgresUrl) -> MakeRustlsConnect {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the default versions");
    let lenient = |roots| Arc::new(Lenient { provider, roots });
    let config = match url.verify {
        Verify::ChainAndName => config.with_root_certificates(roots(url)),
        Verify::Chain => config.dangerous().with_custom_certificate_verifier(lenient(Some(roots(url)))),
        Verify::Nothing => config.dangerous().with_custom_certificate_verifier(lenient(None)),
    };
    MakeRustlsConnect::new(config.with_no_client_auth())
}

/// What cannot be read among the certificates is left out: a server that needs it is refused.
fn roots(url: &PostgresUrl) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match url.roots.is_empty() {
        true => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        false => roots.add_parsable_certificates(url.roots.iter().cloned()),
    };
    roots
}

/// For the modes that ask less of a server: its name is not compared, and without `roots` anybody's certificate will do.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
