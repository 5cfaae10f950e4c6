//! `[alerts]`: what somebody is told of, and where.
//!
//! What must stay true here: no secret and no URL of a webhook, which may hold one, is ever shown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use http::uri::Scheme;
use zeroize::Zeroizing;

use super::forms::{duration, positive_duration};
use super::problem::Complaint;
use super::section::Section;

const EXAMPLE_OF_A_URL: &str = "write it like https://alerts.example.com/hokusai";
const EXAMPLE_OF_A_SECRET: &str = "make one: echo \"whsec_$(openssl rand -base64 32)\"";

/// `[alerts]`
#[derive(Debug, Clone)]
pub struct Alerts {
    /// Each is told of every alert. None: alerts stand in the log alone.
    pub webhooks: Vec<Arc<Webhook>>,
    /// What goes on is told again after this; more than zero.
    pub repeat_after: Duration,
    /// How long the store or Redis are away, or usage waits, before it is told; more than zero.
    pub outage_after: Duration,
    /// Between two looks at keys, limits and addresses; more than zero.
    pub look_every: Duration,
    /// How many refused requests of one key or address within `refusals_within` are a burst. Zero: no number.
    pub refusals: usize,
    /// More than zero.
    pub refusals_within: Duration,
    /// Per cent of an hour's limit, up to 100. Zero: none.
    pub near_limit: u64,
    /// How long before its end a key is told of. Zero: never.
    pub expires_within: Duration,
    /// The age from which a key's secret is told of. Zero: never.
    pub secret_older_than: Duration,
    /// Whether a key that is used from a network for the first time is told of.
    pub new_networks: bool,
    /// How long a key's networks are learnt before one is new.
    pub learn_networks: Duration,
}

/// Who is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `http://` or `https://`, with a host.
    pub url: Uri,
    pub secret: WebhookSecret,
}

/// What is sent to a webhook is signed with these bytes: 24 to 64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl Webhook {
    /// What may be shown of it.
    pub fn host(&self) -> &str {
        self.url.host().expect("a checked URL has a host")
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl WebhookSecret {
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Alerts {
    let from_env = section.env("HOKUSAI_WEBHOOK_SECRET", "webhooks.secret", webhook_secret);
    Alerts {
        webhooks: section.tables("webhooks", |section| read_webhook(section, from_env.as_ref())).into_iter().flatten().collect(),
        repeat_after: section.text("repeat_after", "24h", positive_duration),
        outage_after: section.text("outage_after", "1m", positive_duration),
        look_every: section.text("look_every", "1m", positive_duration),
        refusals: section.integer("refusals", 100, 0..=1_000_000),
        refusals_within: section.text("refusals_within", "1m", positive_duration),
        near_limit: section.integer("near_limit", 90, 0..=100) as u64,
        expires_within: section.text("expires_within", "7d", duration),
        secret_older_than: section.text("secret_older_than", "90d", duration),
        new_networks: section.flag("new_networks", true),
        learn_networks: section.text("learn_networks", "7d", duration),
    }
}

/// `None` after a problem.
fn read_webhook(section: &mut Section<'_>, from_env: Option<&WebhookSecret>) -> Option<Arc<Webhook>> {
    let url = section.required_text("url", webhook_url);
    let own = section.optional_text("secret", webhook_secret);
    if !section.has("secret") && from_env.is_none() {
        section.complain(
            "secret",
            Complaint::new("is not set").hint(format!("{EXAMPLE_OF_A_SECRET}; or set HOKUSAI_WEBHOOK_SECRET")),
        );
    }
    Some(Arc::new(Webhook { url: url?, secret: from_env.cloned().or(own)? }))
}

/// The text is never repeated: many receivers have a secret in the path.
fn webhook_url(text: &str) -> Result<Uri, Complaint> {
    let no_url = || Complaint::new("is no URL of a webhook").hint(EXAMPLE_OF_A_URL);
    let url = Uri::try_from(text).map_err(|_| no_url())?;
    let is_http = url.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(Complaint::new("holds a user or a password, which are not sent").hint(EXAMPLE_OF_A_URL))
        }
        Some(authority) if is_http && !authority.host().is_empty() => Ok(url),
        _ => Err(no_url()),
    }
}

/// As the Standard Webhooks specification writes it.
fn webhook_secret(text: &str) -> Result<WebhookSecret, Complaint> {
    let bytes = text.strip_prefix("whsec_").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok().map(Zeroizing::new));
    match bytes.filter(|bytes| (24..=64).contains(&bytes.len())) {
        Some(bytes) => Ok(WebhookSecret(bytes)),
        None => Err(Complaint::new("must be whsec_ and 24 to 64 bytes in base64").hint(EXAMPLE_OF_A_SECRET)),
    }
}

#[cfg(test)]
impl Webhook {
    pub(crate) fn at(url: &str, secret: &str) -> Self {
        Self { url: webhook_url(url).expect("a URL"), secret: webhook_secret(secret).expect("a secret") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_secret_nor_a_url_that_may_hold_one_is_shown() {
        let encoded = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI=";
        let webhook = Webhook::at("https://alerts.test/hunter2", &format!("whsec_{encoded}"));
        let shown = format!("{webhook:?}");
        assert!(shown.contains("alerts.test") && !shown.contains("hunter2") && !shown.contains(encoded), "{shown}");
        for text in ["hunter2", "whsec_hunter2", "whsec_!", "whsec_aHVudGVyMg=="] {
            let complaint = webhook_secret(text).err().expect("no secret");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
        for text in ["https://u:hunter2@h/", "ftp://h/hunter2", "/hunter2", "https:///hunter2", "ht tp://hunter2"] {
            let complaint = webhook_url(text).expect_err("no URL");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }
}
