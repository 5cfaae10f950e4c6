//! Certificates made for a test, and a client that speaks TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hokusai_gateway::certificates::provider;
use hokusai_gateway::clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion};

use super::PATIENCE;

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM and DER.
pub struct Made {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed where its issuer has the same name.
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, key()).expect("a certificate"))
    }

    /// For these names, for a year.
    pub fn make(&self, names: &[&str]) -> Made {
        self.make_for(names, Duration::from_hours(365 * 24))
    }

    /// For these names, from now on so long.
    pub fn make_for(&self, names: &[&str], time: Duration) -> Made {
        self.make_until(names, Duration::from_secs(clock::now().as_secs()) + time)
    }

    /// For these names; its time was over this long ago.
    pub fn expired(&self, names: &[&str], ago: Duration) -> Made {
        self.make_until(names, Duration::from_secs(clock::now().as_secs()).saturating_sub(ago))
    }

    /// The end as the time since 1970.
    fn make_until(&self, names: &[&str], end: Duration) -> Made {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = key();
        let mut params = CertificateParams::new(names).expect("DNS names");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        Made { certificate: params.signed_by(&key, &self.0).expect("a certificate"), key }
    }

    pub fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(name), self.0.pem()).expect("the folder can be written to");
    }

    /// How a client that believes this authority begins.
    pub fn client(&self) -> ClientConfig {
        self.client_of(rustls::DEFAULT_VERSIONS, None)
    }

    /// The same with these versions only, and with a certificate of its own.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion], own: Option<&Made>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("known versions");
        let config = config.with_root_certificates(roots);
        match own {
            None => config.with_no_client_auth(),
            Some(Made { certificate, key }) => {
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                config.with_client_auth_cert(vec![certificate.der().clone()], key).expect("they belong together")
            }
        }
    }
}

impl Made {
    /// How a server with it begins; with `clients`, only those whose certificate that authority signed are let in.
    pub fn server(&self, clients: Option<&Authority>) -> ServerConfig {
        let config =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("known versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(Authority(authority)) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der().clone()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
                config.with_client_cert_verifier(verifier.expect("an authority"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let mut config = config.with_single_cert(vec![self.certificate.der().clone()], key).expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// As `{name}.pem` and `{name}-key.pem`.
    pub fn write(&self, folder: &Path, name: &str) {
        let write = |name: String, text: String| fs::write(folder.join(name), text).expect("the folder can be written to");
        write(format!("{name}.pem"), self.certificate.pem());
        write(format!("{name}-key.pem"), self.key.serialize_pem());
    }

    /// What a client sees of it.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }
}

/// One connection of a client.
pub struct TlsConnection(StreamOwned<ClientConnection, TcpStream>);

impl TlsConnection {
    /// After the handshake.
    ///
    /// # Errors
    /// When there was none.
    pub fn to(address: SocketAddr, name: &str, config: ClientConfig) -> io::Result<Self> {
        Self::resuming(address, name, &Arc::new(config))
    }

    /// The same with a configuration that remembers sessions.
    pub fn resuming(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::after(b"", address, name, config)
    }

    /// The same where these bytes go ahead of the handshake.
    pub fn after(start: &[u8], address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(start)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session = ClientConnection::new(Arc::clone(config), name).expect("a good configuration");
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self(StreamOwned::new(session, socket)))
    }

    pub fn session(&self) -> &ClientConnection {
        &self.0.conn
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> &[u8] {
        &self.session().peer_certificates().expect("after the handshake")[0]
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref())?;
        self.0.flush()
    }

    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("so many bytes come");
        bytes
    }

    /// All that still comes; an error where the end was not said.
    pub fn rest(&mut self) -> io::Result<String> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    /// The next head, up to its empty line.
    pub fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).expect("text")
    }

    /// The next answer, whose length is told: its head and its body.
    pub fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let body = self.exactly(length.expect("its length is told"));
        (head, String::from_utf8(body).expect("text"))
    }

    /// Says that no more will come.
    pub fn finish(&mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
    }
}

impl Read for TlsConnection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("random bytes")
}
