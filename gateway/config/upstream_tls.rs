//! How the `https://` servers of an upstream are spoken to.
//!
//! What must stay true here: nothing turns the verification of a server off.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::problem::Complaint;
use super::section::Section;
use super::server_address::ServerAddress;
use super::tls;
use crate::certificates::{self, CertificateFiles, load_authorities};

/// Its files were read, and are not looked at again.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// With the authorities that are believed, and the certificate that is shown. Offers HTTP/2 and HTTP/1.1.
    pub client: Arc<ClientConfig>,
    /// The same for HTTP/1.1 alone, which knows WebSockets.
    pub client_of_http1: Arc<ClientConfig>,
    /// Whose certificate a server has to have, instead of its host's.
    server_name: Option<ServerName<'static>>,
}

/// Files that were read again may say something else: none is the same as before.
impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.server_name == other.server_name
    }
}

impl Eq for UpstreamTls {}

impl UpstreamTls {
    /// Whose certificate the server at this host has to have.
    pub fn name_of(&self, host: &str) -> ServerName<'static> {
        let own = || ServerName::try_from(host.to_owned()).expect("checked, where there is no other name");
        self.server_name.clone().unwrap_or_else(own)
    }
}

/// `None` where no server is `https://`.
pub(super) fn read(section: &mut Section<'_>, servers: &[ServerAddress]) -> Option<UpstreamTls> {
    let base_dir = section.reading.base_dir;
    let path = |text: &str| Ok(Some(base_dir.join(text)).filter(|_| !text.is_empty()));
    let authorities = |text: &str| match path(text)? {
        Some(path) => load_authorities(&path).map(Some).map_err(|error| tls::complaint(&error)),
        None => Ok(None),
    };
    let roots = section.text("ca", "", authorities);
    let (certificate, key) = (section.text("client_certificate", "", path), section.text("client_key", "", path));
    let server_name = section.text("server_name", "", server_name);
    let hosts: Vec<_> = servers.iter().filter_map(https_host).collect();
    let own = read_own(section, certificate, key);
    if hosts.is_empty() {
        refuse_for_nothing(section, servers);
        return None;
    }
    if server_name.is_none() && hosts.iter().any(|&host| ServerName::try_from(host).is_err()) {
        let complaint = Complaint::new("names a host that no certificate can be for");
        section.complain("servers", complaint.hint("set server_name to the name in its certificate"));
        return None;
    }
    let roots = roots.or_else(|| of_the_system(section))?;
    let client_of_http1 = client(roots, own);
    let mut client = client_of_http1.clone();
    client.alpn_protocols.insert(0, b"h2".to_vec());
    Some(UpstreamTls { client: Arc::new(client), client_of_http1: Arc::new(client_of_http1), server_name })
}

fn https_host(server: &ServerAddress) -> Option<&str> {
    match server {
        ServerAddress::Https(place) => Some(&place.host),
        ServerAddress::Http(_) | ServerAddress::H2c(_) | ServerAddress::Unix(_) => None,
    }
}

fn server_name(text: &str) -> Result<Option<ServerName<'static>>, Complaint> {
    let no_name =
        |_| Complaint::new(format!("`{text}` is no name of a server")).hint("write it like app.internal, without a port");
    if text.is_empty() { Ok(None) } else { ServerName::try_from(text.to_owned()).map(Some).map_err(no_name) }
}

/// The certificate that the gateway shows.
fn read_own(section: &Section<'_>, certificate: Option<PathBuf>, key: Option<PathBuf>) -> Option<CertifiedKey> {
    match (certificate, key) {
        (Some(certificate), Some(private_key)) => {
            let files = CertificateFiles { certificate, private_key };
            let loaded = tls::load(section, &files, ["client_certificate", "client_key"])?;
            Some(Arc::unwrap_or_clone(loaded.key))
        }
        (Some(_), None) => {
            section.complain("client_certificate", Complaint::new("means nothing without client_key"));
            None
        }
        (None, Some(_)) => {
            section.complain("client_key", Complaint::new("means nothing without client_certificate"));
            None
        }
        (None, None) => None,
    }
}

fn refuse_for_nothing(section: &Section<'_>, servers: &[ServerAddress]) {
    let keys = ["ca", "client_certificate", "client_key", "server_name"];
    for key in keys.into_iter().filter(|key| section.has(key) && !servers.is_empty()) {
        section.complain(key, Complaint::new("is for servers that are https://, and none is"));
    }
}

fn of_the_system(section: &Section<'_>) -> Option<RootCertStore> {
    let roots = certificates::system_authorities();
    if roots.is_empty() {
        let complaint = Complaint::new("has https:// servers, and this system knows no authorities");
        section.complain("servers", complaint.hint("install ca-certificates, or set ca"));
        return None;
    }
    Some(roots)
}

fn client(roots: RootCertStore, own: Option<CertifiedKey>) -> ClientConfig {
    let builder = certificates::client(roots);
    let mut client = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    client
}
