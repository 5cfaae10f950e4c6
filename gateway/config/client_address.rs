//! `[client_ip]`: whom to believe about who is asking.

use http::HeaderName;
use http::header::FORWARDED;

use super::forms::header_name;
use super::problem::Complaint;
use super::section::Section;
use crate::model::address::IpNetSet;

/// `[client_ip]`
#[derive(Debug, Clone)]
pub struct ClientAddress {
    /// Peers whose header counts.
    pub trusted_proxies: IpNetSet,
    pub header: HeaderName,
}

impl ClientAddress {
    /// The header is RFC 7239's, with a grammar of its own; no other is believed or sent on then.
    pub fn speaks_forwarded(&self) -> bool {
        self.header == FORWARDED
    }
}

pub(super) fn read(section: &mut Section<'_>) -> ClientAddress {
    let trusted = section.list("trusted_proxies", &[], network);
    ClientAddress {
        trusted_proxies: IpNetSet::parse(&trusted).expect("each was parsed"),
        header: section.text("header", "X-Forwarded-For", header_name),
    }
}

fn network(text: &str) -> Result<String, Complaint> {
    match IpNetSet::parse(&[text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Complaint::new(error.to_string())),
    }
}
