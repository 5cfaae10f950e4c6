//! What a key is to be, as the API is told.

use std::time::Duration;

use serde::Deserialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::config::Config;
use crate::keyring::NewKey;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::model::key_record::KeyRecord;
use crate::model::timestamp::Timestamp;
use crate::store::{KeyChanges, Update};

/// What a key of the platform may do when nothing else is said.
const PLATFORM: &str = "platform";
const PLATFORM_SCOPES: [&str; 3] = ["model:read", "model:write", "mlflow:access"];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    name: String,
    user_id: Option<String>,
    /// Which service the key is meant for. Gives the platform's keys their scopes; a route asks for scopes, not for this.
    service_id: Option<String>,
    environment: Option<String>,
    expires_at: Option<String>,
    /// `null`: no limit; left out: the default.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    rate_limit_per_hour: Update<Option<u64>>,
    allowed_ips: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
}

/// What is left out stays as it is. `null`: no limit, never expires.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    user_id: Update<String>,
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    name: Update<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expires_at: Update<Option<String>>,
    #[serde(default)]
    #[schema(value_type = bool, required = false)]
    is_active: Update<bool>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    rate_limit_per_hour: Update<Option<u64>>,
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    allowed_ips: Update<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    scopes: Update<Vec<String>>,
}

impl Wanted {
    /// What is left out is as in the key that the owner calls with, and nothing may be more than there.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for a key that may more, or that is another user's.
    pub fn into_key_of(mut self, own: &KeyRecord, config: &Config) -> Result<NewKey, Problem> {
        let is_own = self.user_id.as_ref().is_none_or(|user| user == own.user_id.as_str());
        self.user_id = Some(own.user_id.to_string());
        self.environment.get_or_insert_with(|| own.environment.as_str().to_owned());
        self.allowed_ips.get_or_insert_with(|| own.allowed_ips.to_strings());
        if self.rate_limit_per_hour == Update::Keep {
            let default = config.keys.default_rate_limit;
            self.rate_limit_per_hour = Update::Set(Some(own.rate_limit_per_hour.map_or(default, |limit| limit.min(default))));
        }
        let expires_at = self.expires_at.is_none().then_some(own.expires_at).flatten();
        let mut wanted = self.into_key(config)?;
        wanted.expires_at = wanted.expires_at.or(expires_at);
        wanted.most_together = own.rate_limit_per_hour.map(|_| config.keys.owner_rate_limit);
        let may_any = config.keys.owner_rate_limit > 0;
        if may_any && is_own && wanted.is_covered_by(own) { Ok(wanted) } else { Err(Problem::Forbidden) }
    }

    pub fn into_key(self, config: &Config) -> Result<NewKey, Problem> {
        let default_scopes = || match self.service_id.as_deref() {
            Some(PLATFORM) => PLATFORM_SCOPES.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        };
        Ok(NewKey {
            environment: environment(self.environment.as_deref())?,
            expires_at: self.expires_at.as_deref().map(instant).transpose()?,
            rate_limit_per_hour: match self.rate_limit_per_hour {
                Update::Keep => Some(config.keys.default_rate_limit),
                Update::Set(limit) => limit,
            },
            allowed_ips: networks(&self.allowed_ips.unwrap_or_default())?,
            scopes: self.scopes.unwrap_or_else(default_scopes),
            user_id: self.user_id.map_or_else(|| config.admin.default_user.clone(), Into::into),
            name: self.name,
            most_together: None,
        })
    }
}

impl Changes {
    pub fn into_changes(self) -> Result<KeyChanges, Problem> {
        Ok(KeyChanges {
            user_id: understood(self.user_id, |user| Ok(user.into()))?,
            name: self.name,
            expires_at: understood(self.expires_at, |end| end.as_deref().map(instant).transpose())?,
            is_active: self.is_active,
            rate_limit_per_hour: self.rate_limit_per_hour,
            allowed_ips: understood(self.allowed_ips, |entries| networks(&entries))?,
            scopes: self.scopes,
            ..KeyChanges::default()
        })
    }
}

fn understood<T, U>(update: Update<T>, form: impl FnOnce(T) -> Result<U, Problem>) -> Result<Update<U>, Problem> {
    match update {
        Update::Keep => Ok(Update::Keep),
        Update::Set(value) => form(value).map(Update::Set),
    }
}

fn environment(text: Option<&str>) -> Result<Environment, Problem> {
    let Some(text) = text else { return Ok(Environment::Production) };
    Environment::parse(text).ok_or_else(|| {
        let known = Environment::ALL.map(Environment::as_str).join(", ");
        Problem::Invalid(format!("environment: {text:?} is none of {known}"))
    })
}

fn networks(entries: &[String]) -> Result<IpNetSet, Problem> {
    IpNetSet::parse(entries).map_err(|error| Problem::Invalid(format!("allowed_ips: {error}")))
}

/// An ISO 8601 time (without an offset: UTC), or one with so many days behind it, as existing clients write it:
/// `2026-11-22T10:00:00+00:00+30d`.
fn instant(text: &str) -> Result<Timestamp, Problem> {
    let with_days = || {
        let (time, days) = text.strip_suffix(['d', 'D'])?.rsplit_once('+')?;
        let days: u64 = days.parse().ok()?;
        Some(Timestamp::parse(time)?.plus(Duration::from_hours(days.checked_mul(24)?)))
    };
    let says = || format!("expires_at: {text:?} is no ISO 8601 time such as 2026-11-22T10:00:00+00:00");
    Timestamp::parse(text).or_else(with_days).ok_or_else(|| Problem::Invalid(says()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_or_so_many_days_after_one() {
        let at = |text: &str| instant(text).ok().map(Timestamp::as_secs);
        let ten = Timestamp::parse("2026-11-22T10:00:00Z").map(Timestamp::as_secs);
        for text in ["2026-11-22T10:00:00+00:00", "2026-11-22T10:00:00", "2026-11-22T12:00:00+02:00"] {
            assert_eq!(at(text), ten, "{text}");
        }
        for text in ["2026-11-21T10:00:00+00:00+1d", "2026-11-21T10:00:00+1d", "2026-11-12T10:00:00.000+00:00+10d"] {
            assert_eq!(at(text), ten, "{text}");
        }
        for text in ["", "tomorrow", "+30d", "2026-11-22T10:00:00+-1d", "2026-11-22T10:00:00+99999999999999999999d"] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
