//! `[server.tls]`: certificates, and what is asked of clients.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::forms::{address, one_of};
use super::problem::Complaint;
use super::section::Section;
use crate::certificates::{Certificate, CertificateFiles, FileError, load_authorities};

/// `[server.tls]`. The files were read once and found good.
#[derive(Debug, Clone)]
pub struct Tls {
    /// At least one.
    pub listen: Vec<SocketAddr>,
    /// The first is shown to who asks for no name, or for one that none of them has.
    pub certificates: Vec<CertificateFiles>,
    /// `None`: clients are not asked for a certificate.
    pub clients: Option<ClientCertificates>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The file of the authorities that are believed.
    pub authorities: PathBuf,
    /// A client without one is refused in the handshake.
    pub required: bool,
}

pub(super) fn read(section: &mut Section<'_>) -> Tls {
    let listen = section.filled_list("listen", &["127.0.0.1:8443"], address);
    let mut certificates = vec![read_files(section)];
    certificates.extend(section.tables("certificates", read_files));
    Tls { listen, certificates: certificates.into_iter().flatten().collect(), clients: read_clients(section) }
}

fn read_files(section: &mut Section<'_>) -> Option<CertificateFiles> {
    let base_dir = section.reading.base_dir;
    let path = |text: &str| Ok(base_dir.join(text));
    let certificate = section.required_text("certificate", path);
    let private_key = section.required_text("private_key", path);
    let files = CertificateFiles { certificate: certificate?, private_key: private_key? };
    load(section, &files, ["certificate", "private_key"]);
    Some(files)
}

/// What is in the files; what is wrong is told of the one key or the other.
pub(super) fn load(section: &Section<'_>, files: &CertificateFiles, keys: [&str; 2]) -> Option<Certificate> {
    let told = |error: &FileError| {
        let key = if error_is_of(error, &files.certificate) { keys[0] } else { keys[1] };
        section.complain(key, complaint(error));
    };
    files.load().inspect_err(told).ok()
}

fn read_clients(section: &mut Section<'_>) -> Option<ClientCertificates> {
    let base_dir = section.reading.base_dir;
    let file = |text: &str| {
        let path = base_dir.join(text);
        load_authorities(&path).map_err(|error| complaint(&error))?;
        Ok(path)
    };
    let (has_ca, has_mode) = (section.has("client_ca"), section.has("client_certificates"));
    let authorities = section.optional_text("client_ca", file);
    let required = section.text("client_certificates", "required", one_of(&[("optional", false), ("required", true)]));
    if has_mode && !has_ca {
        let hint = "add client_ca = \"ca.pem\": whose certificates are believed";
        section.complain("client_certificates", Complaint::new("means nothing without client_ca").hint(hint));
    }
    authorities.map(|authorities| ClientCertificates { authorities, required })
}

fn error_is_of(error: &FileError, certificate: &PathBuf) -> bool {
    match error {
        FileError::Unreadable { path, .. } | FileError::NoCertificate(path) => path == certificate,
        FileError::NoPem { wanted, .. } => *wanted == "certificate",
        FileError::NoKey(_) | FileError::ForeignKey { .. } => false,
    }
}

pub(super) fn complaint(error: &FileError) -> Complaint {
    let hint = match error {
        FileError::Unreadable { .. } => "it must be a file that the gateway's user may read",
        FileError::NoPem { .. } => "PEM is text that begins with -----BEGIN",
        FileError::NoCertificate(_) => "it must be an X.509 certificate of version 3",
        FileError::NoKey(_) => "RSA, ECDSA (P-256, P-384) and Ed25519 keys can be used, without a password",
        FileError::ForeignKey { .. } => "both must come from the same order",
    };
    Complaint::new(error.to_string()).hint(hint)
}
