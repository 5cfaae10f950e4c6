//! What the admin API answers, read back.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::WantedKey;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::audit_event::{AuditEvent, Seal};
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{
    AddressUsage, EndpointUsage, KeyChanges, ListedEvent, StatusUsage, Update, UsageBreakdown, UsageRow, UsageStep, UsageSums,
};

#[derive(Deserialize)]
pub struct Told {
    key_id: String,
    key_prefix: String,
    user_id: String,
    name: String,
    environment: String,
    created_at: Time,
    expires_at: Option<Time>,
    rate_limit_per_hour: Option<u64>,
    allowed_ips: Vec<String>,
    scopes: Vec<String>,
    is_active: bool,
    #[serde(default)]
    last_used_at: Option<Time>,
    #[serde(default)]
    revoked_at: Option<Time>,
    #[serde(default)]
    awaits_first_use: bool,
}

#[derive(Deserialize)]
pub struct WithText {
    pub api_key: String,
    pub previous_valid_until: Option<Time>,
    #[serde(flatten)]
    pub key: Told,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub Timestamp);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Timestamp::parse(&text).map(Self).ok_or_else(|| format!("`{text}` is no time"))
    }
}

impl Told {
    pub fn into_record(self) -> anyhow::Result<KeyRecord> {
        let environment = Environment::parse(&self.environment);
        let instant = |time: Option<Time>| time.map(|Time(instant)| instant);
        Ok(KeyRecord {
            key_id: self.key_id.into(),
            key_prefix: self.key_prefix,
            user_id: self.user_id.into(),
            name: self.name,
            environment: environment.ok_or_else(|| anyhow::anyhow!("environment {:?} is not known", self.environment))?,
            created_at: self.created_at.0,
            expires_at: instant(self.expires_at),
            last_used_at: instant(self.last_used_at),
            is_active: self.is_active,
            revoked_at: instant(self.revoked_at),
            rate_limit_per_hour: self.rate_limit_per_hour,
            allowed_ips: IpNetSet::parse(&self.allowed_ips)?,
            scopes: self.scopes,
            awaits_first_use: self.awaits_first_use,
        })
    }
}

#[derive(Deserialize)]
pub struct Step {
    start: Time,
    #[serde(flatten)]
    sums: UsageSums,
}

impl From<Step> for UsageStep {
    fn from(Step { start, sums }: Step) -> Self {
        Self { start: start.0, sums }
    }
}

#[derive(Deserialize)]
pub struct Breakdown {
    #[serde(flatten)]
    sums: UsageSums,
    first_used_at: Option<Time>,
    last_used_at: Option<Time>,
    statuses: Vec<StatusUsage>,
    top_endpoints: Vec<EndpointUsage>,
    slowest_endpoints: Vec<EndpointUsage>,
    client_addresses: Vec<AddressUsage>,
}

impl From<Breakdown> for UsageBreakdown {
    fn from(usage: Breakdown) -> Self {
        Self {
            sums: usage.sums,
            first_at: usage.first_used_at.map(|Time(instant)| instant),
            last_at: usage.last_used_at.map(|Time(instant)| instant),
            statuses: usage.statuses,
            busiest: usage.top_endpoints,
            slowest: usage.slowest_endpoints,
            addresses: usage.client_addresses,
        }
    }
}

#[derive(Deserialize)]
pub struct Row {
    timestamp: Time,
    api_key_id: String,
    method: Option<String>,
    endpoint: String,
    status_code: i64,
    response_time_ms: f64,
    request_bytes: Option<u64>,
    response_bytes: Option<u64>,
    client_ip: Option<String>,
    request_id: Option<String>,
}

impl From<Row> for UsageRow {
    fn from(row: Row) -> Self {
        Self {
            timestamp: row.timestamp.0,
            key_id: row.api_key_id,
            method: row.method,
            endpoint: row.endpoint,
            status_code: row.status_code,
            response_time_ms: row.response_time_ms,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
            client_ip: row.client_ip,
            request_id: row.request_id,
        }
    }
}

#[derive(Deserialize)]
pub struct Noted {
    event_id: u64,
    at: Time,
    action: String,
    key_id: String,
    actor: String,
    via: String,
    origin: Option<String>,
    database_role: Option<String>,
    before: Value,
    after: Value,
    position: Option<u64>,
    hash: Option<String>,
}

impl From<Noted> for ListedEvent {
    fn from(event: Noted) -> Self {
        let event_id = event.event_id;
        let text = |value: Value| (!value.is_null()).then(|| value.to_string());
        let seal = event.position.zip(event.hash).map(|(position, hash)| Seal { position, event_id, hash });
        let event = AuditEvent {
            event_id,
            at: event.at.0,
            action: event.action,
            key_id: event.key_id.into(),
            actor: event.actor,
            via: event.via,
            origin: event.origin,
            database_role: event.database_role,
            before: text(event.before),
            after: text(event.after),
        };
        Self { event, seal }
    }
}

pub fn wanted(wanted: &WantedKey) -> Value {
    let mut body = json!({
        "user_id": wanted.user_id.as_str(),
        "name": wanted.name,
        "environment": wanted.environment.as_str(),
        "scopes": wanted.scopes,
    });
    if let Some(limit) = wanted.rate_limit {
        body["rate_limit_per_hour"] = json!(limit.0);
    }
    if let Some(end) = wanted.expires_at {
        body["expires_at"] = end.to_rfc3339().into();
    }
    if !wanted.allowed_ips.is_empty() {
        body["allowed_ips"] = json!(wanted.allowed_ips.to_strings());
    }
    body
}

pub fn changes(changes: KeyChanges) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    set("user_id", set_to(changes.user_id, |user| user.as_str().into()));
    set("name", set_to(changes.name, Value::from));
    set("expires_at", set_to(changes.expires_at, |end| json!(end.map(Timestamp::to_rfc3339))));
    set("is_active", set_to(changes.is_active, Value::from));
    set("rate_limit_per_hour", set_to(changes.rate_limit_per_hour, |limit| json!(limit)));
    set("allowed_ips", set_to(changes.allowed_ips, |networks| json!(networks.to_strings())));
    set("scopes", set_to(changes.scopes, |scopes| json!(scopes)));
    body.into()
}

fn set_to<T>(update: Update<T>, json: impl FnOnce(T) -> Value) -> Option<Value> {
    match update {
        Update::Keep => None,
        Update::Set(value) => Some(json(value)),
    }
}
