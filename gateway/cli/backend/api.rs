//! Work done through the admin API of a gateway elsewhere (docs/admin-api.md).

use std::time::Duration;

use anyhow::Context;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::client::Client;
use super::{KeyWithText, Keys, WantedKey, wire};
use crate::audit::{Head, Verdict};
use crate::cli::failure::Advice;
use crate::explain::{Described, Explanation};
use crate::keyring::confirm::Confirmations;
use crate::model::ids::{KeyId, UserId};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::reports::hour::HourUsage;
use crate::store::{EventFilter, KeyChanges, KeyFilter, KeyUsage, ListedEvent, UsageBreakdown, UsageFilter, UsageRow, UsageStep};
use crate::units::format_duration;

/// Rows of a list that are asked for at once.
const PAGE: usize = 1_000;

pub struct ApiBackend(Client);

impl ApiBackend {
    /// # Errors
    /// An endpoint that is none, and no credential to send there.
    pub fn new(endpoint: &str, credential: Option<String>) -> anyhow::Result<Self> {
        let credential = credential.filter(|text| !text.is_empty()).ok_or_else(|| Advice {
            says: format!("there is no credential for the gateway at {endpoint}"),
            hint: "set HOKUSAI_ADMIN_TOKEN to one of its tokens; or HOKUSAI_API_KEY to a key, for your own keys".to_owned(),
        })?;
        // Of several the first: the same variable gives a gateway all of them.
        let first = credential.split(',').map(str::trim).find(|token| !token.is_empty()).unwrap_or_default();
        Ok(Self(Client::new(endpoint, Zeroizing::new(first.to_owned()))?))
    }

    pub fn create(&self, wanted: &WantedKey, _: Timestamp) -> anyhow::Result<KeyWithText> {
        with_text(self.0.call("POST", "/keys", Some(&wire::wanted(wanted)))?.body)
    }

    pub fn list(&self, filter: &KeyFilter) -> anyhow::Result<Keys> {
        let mut path = format!("/keys?limit={PAGE}");
        path += &parameter("user_id", filter.user_id.as_ref().map(UserId::as_str));
        path += &parameter("active", filter.good_at.map(|_| "true"));
        path += &parameter("created_before", filter.created_before.map(Timestamp::to_rfc3339).as_deref());
        let (mut keys, mut unreadable) = (Vec::new(), 0);
        let mut next = Some(path);
        while let Some(path) = next {
            let page = self.0.get::<Vec<wire::Told>>(&path)?;
            for key in page.body {
                keys.push(key.into_record()?);
            }
            unreadable += page.unreadable;
            next = page.next;
        }
        let says = (unreadable > 0).then(|| format!("{unreadable} of them; the log of the gateway says which"));
        Ok(Keys { keys, unreadable: says.into_iter().collect() })
    }

    pub fn show(&self, key_id: &KeyId) -> anyhow::Result<KeyRecord> {
        self.0.get::<wire::Told>(&format!("/keys/{}", encoded(key_id)))?.body.into_record()
    }

    pub fn update(&self, key_id: &KeyId, changes: KeyChanges, _: Timestamp) -> anyhow::Result<KeyRecord> {
        let path = format!("/keys/{}", encoded(key_id));
        self.0.call::<wire::Told>("PATCH", &path, Some(&wire::changes(changes)))?.body.into_record()
    }

    pub fn rotate(&self, key_id: &KeyId, grace: Duration, _: Timestamp) -> anyhow::Result<KeyWithText> {
        let path = format!("/keys/{}/rotate", encoded(key_id));
        with_text(self.0.call("POST", &path, Some(&json!({ "grace": format_duration(grace) })))?.body)
    }

    pub fn revoke(&self, key_id: &KeyId, wait: bool) -> anyhow::Result<Option<Confirmations>> {
        let wait = if wait { "?wait=true" } else { "" };
        Ok(self.0.call("DELETE", &format!("/keys/{}{wait}", encoded(key_id)), None)?.body)
    }

    pub fn hour(&self, key_id: &KeyId) -> anyhow::Result<HourUsage> {
        Ok(self.0.get(&format!("/limits/{}", encoded(key_id)))?.body)
    }

    pub fn reset_hour(&self, key_id: &KeyId) -> anyhow::Result<HourUsage> {
        Ok(self.0.call("POST", &format!("/limits/{}/reset", encoded(key_id)), None)?.body)
    }

    pub fn usage_top(&self, since: Timestamp, limit: usize) -> anyhow::Result<Vec<KeyUsage>> {
        let path = format!("/usage/top?limit={limit}{}", parameter("since", Some(&since.to_rfc3339())));
        Ok(self.0.get(&path)?.body)
    }

    pub fn usage_series(&self, filter: &UsageFilter, every: Duration) -> anyhow::Result<Vec<UsageStep>> {
        let mut path = format!("/usage/series?every={}", format_duration(every));
        path += &parameter("since", Some(&filter.since.to_rfc3339()));
        path += &parameter("key_id", filter.key_id.as_ref().map(KeyId::as_str));
        path += &parameter("endpoint", filter.endpoint.as_deref());
        path += &parameter("status", filter.status.map(|status| status.to_string()).as_deref());
        let steps = self.0.get::<Vec<wire::Step>>(&path)?.body.into_iter().map(UsageStep::from);
        Ok(steps.filter(|step| step.sums.request_count > 0).collect())
    }

    pub fn usage_of(&self, key_id: &KeyId, since: Timestamp, _: Timestamp) -> anyhow::Result<UsageBreakdown> {
        let path =
            format!("/usage/{}?{}", encoded(key_id), parameter("since", Some(&since.to_rfc3339())).trim_start_matches('&'));
        Ok(self.0.get::<wire::Breakdown>(&path)?.body.into())
    }

    pub async fn export_usage(&self, filter: &UsageFilter, pages: mpsc::Sender<Vec<UsageRow>>) -> anyhow::Result<()> {
        let mut path = "/usage/export?format=jsonl".to_owned();
        path += &parameter("since", Some(&filter.since.to_rfc3339()));
        path += &parameter("until", Some(&filter.until.to_rfc3339()));
        path += &parameter("key_id", filter.key_id.as_ref().map(KeyId::as_str));
        path += &parameter("endpoint", filter.endpoint.as_deref());
        path += &parameter("status", filter.status.map(|status| status.to_string()).as_deref());
        let mut lines = self.0.lines(&path)?;
        loop {
            let page: Vec<UsageRow> =
                lines.by_ref().take(PAGE).map(|line| line.map(|row: wire::Row| row.into())).collect::<anyhow::Result<_>>()?;
            if page.is_empty() || pages.send(page).await.is_err() {
                return Ok(());
            }
        }
    }

    pub fn explain(&self, described: &Described<'_>, key_id: Option<&KeyId>) -> anyhow::Result<Explanation> {
        let mut headers = serde_json::Map::new();
        for (name, value) in &described.headers {
            // Lines of one name are one list (RFC 9110 5.3).
            let so_far = headers.get(*name).and_then(Value::as_str).map(|before| format!("{before}, {value}"));
            headers.insert((*name).to_owned(), so_far.unwrap_or_else(|| (*value).to_owned()).into());
        }
        let question = json!({
            "key_id": key_id.map(KeyId::as_str), "ip": described.ip, "method": described.method, "path": described.target,
            "host": described.host, "headers": headers, "https": described.https,
        });
        Ok(self.0.call("POST", "/explain", Some(&question))?.body)
    }

    pub fn events(&self, filter: &EventFilter) -> anyhow::Result<Vec<ListedEvent>> {
        let mut path = format!("/audit?limit={}", filter.most.min(PAGE));
        path += &parameter("key_id", filter.key_id.as_ref().map(KeyId::as_str));
        path += &parameter("action", filter.action.as_deref());
        path += &parameter("since", Some(&filter.since.to_rfc3339()));
        let (mut events, mut next) = (Vec::new(), Some(path));
        while let Some(path) = next.filter(|_| events.len() < filter.most) {
            let page = self.0.get::<Vec<wire::Noted>>(&path)?;
            events.extend(page.body.into_iter().map(ListedEvent::from));
            next = page.next;
        }
        events.truncate(filter.most);
        Ok(events)
    }

    pub fn verify_events(&self, head: Option<&Head>) -> anyhow::Result<Verdict> {
        let head = parameter("head", head.map(ToString::to_string).as_deref());
        Ok(self.0.get(&format!("/audit/verify?{}", head.trim_start_matches('&')))?.body)
    }
}

fn with_text(answer: wire::WithText) -> anyhow::Result<KeyWithText> {
    let record = answer.key.into_record().context("the answer cannot be understood")?;
    let previous_valid_until = answer.previous_valid_until.map(|wire::Time(end)| end);
    Ok(KeyWithText { text: Zeroizing::new(answer.api_key), record, previous_valid_until })
}

/// Nothing where there is no value.
fn parameter(name: &str, value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
}

fn encoded(key_id: &KeyId) -> String {
    utf8_percent_encode(key_id.as_str(), NON_ALPHANUMERIC).to_string()
}
