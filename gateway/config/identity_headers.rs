//! `[identity_headers]`: how an upstream learns whose key it was.
//!
//! What must stay true here: no name is one that HTTP, a client or the gateway uses for something else.

use http::HeaderName;

use super::forms::header_name;
use super::problem::Complaint;
use super::section::Section;

/// Names that mean something already, `x-forwarded-…`, `accept-…`, `content-…`, `proxy-…`, `if-…` and `sec-…` aside.
const TAKEN: [&str; 25] = [
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-api-key",
    "x-real-ip",
    "x-request-id",
];
const TAKEN_STARTS: [&str; 6] = ["accept-", "content-", "if-", "proxy-", "sec-", "x-forwarded-"];

/// `[identity_headers]`: names sent upstream; `None` leaves one out.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    pub user_id: Option<HeaderName>,
    pub key_id: Option<HeaderName>,
    pub key_name: Option<HeaderName>,
    pub environment: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
}

impl IdentityHeaders {
    /// Those that are sent, each with its key in the file.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &HeaderName)> {
        let all = [
            ("user_id", &self.user_id),
            ("key_id", &self.key_id),
            ("key_name", &self.key_name),
            ("environment", &self.environment),
            ("scopes", &self.scopes),
        ];
        all.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)))
    }

    /// Whether an upstream might read `name` as one of these.
    pub(super) fn claims(&self, name: &HeaderName) -> bool {
        self.named().any(|(_, identity)| folded(identity) == folded(name))
    }
}

pub(super) fn read(section: &mut Section<'_>) -> IdentityHeaders {
    let headers = IdentityHeaders {
        user_id: section.text("user_id", "X-User-ID", identity_header),
        key_id: section.text("key_id", "X-API-Key-ID", identity_header),
        key_name: section.text("key_name", "X-API-Key-Name", identity_header),
        environment: section.text("environment", "X-API-Key-Environment", identity_header),
        scopes: section.text("scopes", "X-API-Key-Scopes", identity_header),
    };
    refuse_equal_names(section, &headers);
    headers
}

fn refuse_equal_names(section: &Section<'_>, headers: &IdentityHeaders) {
    for (count, (key, name)) in headers.named().enumerate() {
        if let Some((earlier, _)) = headers.named().take(count).find(|(_, other)| folded(other) == folded(name)) {
            section.complain(key, Complaint::new(format!("`{name}` is the name of `{earlier}` too")));
        }
    }
}

fn identity_header(text: &str) -> Result<Option<HeaderName>, Complaint> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = header_name(text)?;
    let folded = folded(&name);
    let taken = TAKEN.contains(&folded.as_str()) || TAKEN_STARTS.iter().any(|start| folded.starts_with(start));
    if taken {
        return Err(Complaint::new(format!("`{text}` has a meaning of its own")).hint("choose a name like X-User-ID"));
    }
    Ok(Some(name))
}

/// Upstreams that turn header names into variables read `_`, `.` and `-` as one character.
fn folded(name: &HeaderName) -> String {
    name.as_str().replace(['_', '.'], "-")
}
