//! Where a server of an upstream listens.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::hosts;
use super::problem::Complaint;

const EXAMPLE: &str = "write it like http://127.0.0.1:8000, https://app.internal, h2c://127.0.0.1:50051 or unix:/run/app.sock";
/// The longest path of a socket, in bytes: what the kernel takes.
const LONGEST_PATH: usize = 107;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// `http://host:port`
    Http(HostPort),
    /// `h2c://host:port`: HTTP/2, without TLS.
    H2c(HostPort),
    /// `https://host:port`
    Https(HostPort),
    /// `unix:/path`
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl ServerAddress {
    /// Whether a resolver has to be asked for it.
    pub fn is_named(&self) -> bool {
        match self {
            Self::Http(place) | Self::H2c(place) | Self::Https(place) => place.host.parse::<IpAddr>().is_err(),
            Self::Unix(_) => false,
        }
    }

    /// Whether a connection to it can become a WebSocket's.
    pub fn takes_upgrades(&self) -> bool {
        !matches!(self, Self::H2c(_))
    }

    /// What stands in a `Host` header for it.
    pub fn authority(&self) -> String {
        match self {
            Self::Http(place) | Self::H2c(place) | Self::Https(place) => place.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// As it is told to the operator: one over plain TCP without its scheme.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(place) => place.fmt(f),
            Self::H2c(place) => write!(f, "h2c://{place}"),
            Self::Https(place) => write!(f, "https://{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An IPv6 address in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A URL, a `/` at the end allowed, or a socket in the file system. A text with a user in it is never repeated.
pub(super) fn server_address(text: &str, base_dir: &Path) -> Result<ServerAddress, Complaint> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path, base_dir);
    }
    match text.split_once("://") {
        _ if text.contains('@') => Err(Complaint::new("holds a user or a password, which are not sent").hint(EXAMPLE)),
        Some(("http", authority)) => Ok(ServerAddress::Http(host_port(text, authority, 80)?)),
        Some(("https", authority)) => Ok(ServerAddress::Https(host_port(text, authority, 443)?)),
        Some(("h2c", authority)) => Ok(ServerAddress::H2c(host_port(text, authority, 80)?)),
        _ => Err(Complaint::new(format!("`{text}` is no URL of a server")).hint(EXAMPLE)),
    }
}

fn host_port(text: &str, authority: &str, default_port: u16) -> Result<HostPort, Complaint> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(Complaint::new(format!("`{text}` has a path")).hint("a server has none; `rewrite` of a route adds one"));
    }
    let (host, port) = hosts::split_port(authority);
    let host =
        hosts::bracketed(host).map(|address| address.to_string()).or_else(|| hosts::is_name(host).then(|| host.to_owned()));
    match (host, port.map_or(Some(default_port), hosts::port)) {
        (Some(host), Some(port)) => Ok(HostPort { host, port }),
        (None, _) => Err(Complaint::new(format!("`{text}` names no host")).hint(EXAMPLE)),
        (_, None) => Err(Complaint::new(format!("`{text}` has no port between 1 and 65535")).hint(EXAMPLE)),
    }
}

fn socket(path: &str, base_dir: &Path) -> Result<ServerAddress, Complaint> {
    let absolute = base_dir.join(path);
    match absolute.as_os_str().len() {
        _ if path.is_empty() || path.contains('\0') => Err(Complaint::new("names no socket").hint(EXAMPLE)),
        length if length > LONGEST_PATH => {
            Err(Complaint::new(format!("names a path of {length} bytes, a socket's has at most {LONGEST_PATH}")))
        }
        _ => Ok(ServerAddress::Unix(absolute)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<ServerAddress, Complaint> {
        server_address(text, Path::new("/etc/gw"))
    }

    #[test]
    fn every_way_to_write_a_server_is_read() {
        for (text, host, port) in [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000),
            ("http://app.internal", "app.internal", 80),
            ("http://my_app:1/", "my_app", 1),
            ("http://[::1]:8000", "::1", 8000),
            ("http://[2001:DB8::1]", "2001:db8::1", 80),
        ] {
            let place = HostPort { host: host.into(), port };
            assert_eq!(address(text).expect("a server"), ServerAddress::Http(place), "{text}");
        }
        let place = HostPort { host: "app".into(), port: 80 };
        assert_eq!(address("h2c://app").expect("a server"), ServerAddress::H2c(place));
        let place = HostPort { host: "app".into(), port: 443 };
        assert_eq!(address("https://app/").expect("a server"), ServerAddress::Https(place));
        for (text, path) in [("unix:/run/app.sock", "/run/app.sock"), ("unix:app.sock", "/etc/gw/app.sock")] {
            assert_eq!(address(text).expect("a socket"), ServerAddress::Unix(path.into()), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        for text in ["http://u:hunter2@h", "https://u:hunter2@h", "u:hunter2@h", "http://h/hunter2@"] {
            let complaint = address(text).expect_err("not sent");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }
}
