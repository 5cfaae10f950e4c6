//! Tells what was found: a line in the log, a count, a message to each webhook; each thing once.
//!
//! What must stay true here: whatever is found how often, one alert is told of each kind and subject until it ends or
//! `repeat_after` has passed; what is remembered for that is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::alert::{Alert, Finding, State};
use super::delivery::Deliveries;
use crate::clock;
use crate::config;
use crate::drain::Tasks;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::{AlertKind, Metrics};

/// Alerts that are remembered. Beyond it, new ones are not told: nobody reads so many.
const MOST: usize = 10_000;

pub struct Teller {
    gateway: String,
    metrics: Arc<Metrics>,
    state: Mutex<(Told, Deliveries)>,
}

impl Teller {
    /// Messages are sent by tasks among `tasks`.
    pub fn new(gateway: &str, metrics: Arc<Metrics>, tasks: Tasks) -> Self {
        let deliveries = Deliveries::new(Arc::clone(&metrics), tasks);
        Self { gateway: gateway.to_owned(), metrics, state: Mutex::new((Told::default(), deliveries)) }
    }

    pub fn found(&self, finding: &Finding, rules: &config::Alerts) {
        let (told, deliveries) = &mut *self.state();
        if let Some(alert) = told.find(finding, &self.gateway, clock::now(), rules.repeat_after) {
            self.metrics.alert(finding.kind);
            tell(&alert, rules, deliveries);
        }
    }

    /// What was found of this gateway is over.
    pub fn ended(&self, kind: AlertKind, rules: &config::Alerts) {
        let (told, deliveries) = &mut *self.state();
        if let Some(alert) = told.end(kind, clock::now()) {
            tell(&alert, rules, deliveries);
        }
    }

    fn state(&self) -> MutexGuard<'_, (Told, Deliveries)> {
        self.state.lock().expect("nothing panics while it tells")
    }
}

fn tell(alert: &Alert, rules: &config::Alerts, deliveries: &mut Deliveries) {
    let Alert { id, kind, summary, details, .. } = alert;
    match alert.state {
        State::Raised => tracing::warn!(target: "alert", id, kind, %details, "{summary}"),
        State::Resolved => tracing::info!(target: "alert", id, kind, %details, "{summary}"),
    }
    deliveries.send(alert, &rules.webhooks);
}

/// What was told of, by kind and subject, with when.
#[derive(Debug, Default)]
struct Told(HashMap<(AlertKind, String), (Timestamp, Alert)>);

impl Told {
    /// The alert, unless it was told.
    fn find(&mut self, finding: &Finding, gateway: &str, now: Timestamp, repeat_after: Duration) -> Option<Alert> {
        let what = (finding.kind, finding.subject.clone());
        let is_known = |(told_at, _): &(Timestamp, Alert)| now.since(*told_at) < repeat_after;
        if self.0.get(&what).is_some_and(is_known) {
            return None;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, told| is_known(told));
        }
        if self.0.len() >= MOST {
            tracing::debug!(kind = finding.kind.as_str(), "an alert is not told: there are too many");
            return None;
        }
        let alert = Alert::raised(finding, gateway, now, repeat_after);
        self.0.insert(what, (now, alert.clone()));
        Some(alert)
    }

    /// Of the gateway itself.
    fn end(&mut self, kind: AlertKind, now: Timestamp) -> Option<Alert> {
        self.0.remove(&(kind, String::new())).map(|(_, alert)| alert.resolved(now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn finding(subject: &str) -> Finding {
        Finding { kind: AlertKind::NearLimit, subject: subject.into(), summary: "so it is".into(), details: json!({}) }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn one_alert_is_told_of_each_subject_until_it_is_time_to_repeat_it() {
        let mut told = Told::default();
        let mut find = |subject: &str, now| told.find(&finding(subject), "g", at(now), HOUR).is_some();
        assert_eq!([find("a", 0), find("a", 1), find("b", 2), find("a", 3599)], [true, false, true, false]);
        assert_eq!([find("a", 3600), find("b", 3600), find("b", 3602)], [true, false, true]);
    }

    #[test]
    fn the_end_is_told_once_of_what_was_told_and_then_it_can_begin_anew() {
        let mut told = Told::default();
        assert_eq!(told.end(AlertKind::NearLimit, at(0)), None);
        let raised = told.find(&finding(""), "g", at(1), HOUR).expect("it is told");
        let resolved = told.end(AlertKind::NearLimit, at(2)).expect("its end is told");
        assert_eq!((&resolved.id, resolved.state, &resolved.raised_at), (&raised.id, State::Resolved, &raised.raised_at));
        assert_ne!(resolved.message_id(), raised.message_id());
        assert_eq!(told.end(AlertKind::NearLimit, at(3)), None);
        assert!(told.find(&finding(""), "g", at(4), HOUR).is_some());
    }

    #[test]
    fn a_flood_of_subjects_ends_at_a_bound_and_is_forgotten_in_time() {
        let mut told = Told::default();
        for number in 0..=MOST {
            let is_told = told.find(&finding(&number.to_string()), "g", at(0), HOUR).is_some();
            assert_eq!(is_told, number < MOST);
        }
        assert!(told.find(&finding("late"), "g", at(3600), HOUR).is_some());
        assert_eq!(told.0.len(), 1);
    }
}
