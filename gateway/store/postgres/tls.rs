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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use crate::store::testing::postgres_server::Server;
    use crate::store::testing::postgres_store;
    use crate::store::{Store, StoreError};

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A server for `localhost`, whose certificate comes from the authority.
    fn server(authority: &Authority) -> Server {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
        Server::start_with(&certificate.pem(), &key.serialize_pem())
    }

    /// Whether a question went over TLS.
    async fn is_encrypted(url: &str) -> Result<bool, StoreError> {
        let Store::Postgres(store) = postgres_store(url) else { panic!("{url}") };
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        store.read(async |client| Ok(client.query_one(sql, &[]).await?.get(0))).await
    }

    #[tokio::test]
    async fn each_mode_asks_of_the_server_what_psql_would_ask() {
        let (right, wrong) = (authority(), authority());
        let folder = tempfile::tempdir().unwrap();
        let root = |name: &str, authority: &Authority| {
            let file = folder.path().join(name);
            std::fs::write(&file, authority.pem()).unwrap();
            format!("&sslrootcert={}", file.display())
        };
        let (right_root, wrong_root) = (root("right.pem", &right), root("wrong.pem", &wrong));
        let server = server(&right);
        let ask = async |host: &str, mode: &str, root: &str| {
            is_encrypted(&format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}{root}", server.port())).await
        };
        assert!(!ask("127.0.0.1", "disable", "").await.unwrap());
        for (host, mode, root) in [
            ("127.0.0.1", "prefer", ""),
            ("127.0.0.1", "require", ""),
            ("127.0.0.1", "require", &*right_root),
            ("127.0.0.1", "verify-ca", &right_root),
            ("localhost", "verify-full", &right_root),
        ] {
            assert!(ask(host, mode, root).await.unwrap(), "{host} {mode}");
        }
        for (host, mode, root) in [
            ("127.0.0.1", "require", &*wrong_root),
            ("127.0.0.1", "verify-ca", &wrong_root),
            ("127.0.0.1", "verify-ca", ""),
            ("127.0.0.1", "verify-full", &right_root),
            ("localhost", "verify-full", &wrong_root),
            ("localhost", "verify-full", ""),
        ] {
            let answer = ask(host, mode, root).await;
            assert!(
                matches!(&answer, Err(StoreError::Unavailable(says)) if says.contains("TLS") && says.contains("sslrootcert")),
                "{host} {mode}: {answer:?}"
            );
        }
    }
}
