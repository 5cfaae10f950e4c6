//! Headers a route sets and removes.
//!
//! What must stay true here: no rule touches what frames a message or belongs to one hop, and none writes an identity.

use http::{HeaderName, HeaderValue};

use super::super::forms::{header_name, header_value};
use super::super::identity_headers::IdentityHeaders;
use super::super::problem::Complaint;
use super::super::section::Section;

/// RFC 9110 7.6.1 and what the length of a message depends on.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Removed first, then set.
#[derive(Debug, Default)]
pub struct HeaderRules {
    pub remove: Vec<HeaderName>,
    /// Each name once.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// `identity` is given for what is sent to an upstream.
pub(super) fn read(section: &mut Section<'_>, identity: Option<&IdentityHeaders>) -> HeaderRules {
    let set = section.free_table("set", |name, value| Ok((free_name(name, identity)?, header_value(value)?)));
    for (count, (name, _)) in set.iter().enumerate() {
        if set[..count].iter().any(|(earlier, _)| earlier == name) {
            section.complain("set", Complaint::new(format!("sets `{name}` twice")));
        }
    }
    HeaderRules { remove: section.list("remove", &[], |name: &str| free_name(name, identity)), set }
}

/// A name that rules may touch.
fn free_name(text: &str, identity: Option<&IdentityHeaders>) -> Result<HeaderName, Complaint> {
    let name = header_name(text)?;
    if name == http::header::HOST {
        return Err(Complaint::new("`Host` is no header of a rule").hint("use `upstream_host`"));
    }
    if FRAMING.contains(&name.as_str()) {
        return Err(Complaint::new(format!("`{text}` belongs to the connection, the gateway alone writes it")));
    }
    if identity.is_some_and(|identity| identity.claims(&name)) {
        return Err(Complaint::new(format!("`{text}` is an identity header, the gateway alone writes it")));
    }
    Ok(name)
}
