//! What Prometheus scrapes, and what it wakes somebody for.

use std::process::Command;

use crate::metrics::{Exported, selectors};
use crate::{read, succeed, yaml};

const CONFIGURATION: &str = "deploy/prometheus/prometheus.yml";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const TESTS: &str = "deploy/prometheus/alerts.test.yaml";

#[test]
fn prometheus_takes_the_configuration_and_its_rules() {
    succeed(Command::new("promtool").args(["check", "config", "--lint-fatal", CONFIGURATION]));
}

#[test]
fn every_alert_comes_when_it_should() {
    succeed(Command::new("promtool").args(["test", "rules", TESTS]));
    let tests = read(TESTS);
    for (alert, _) in alerts() {
        let fires = [format!("alertname=\"{alert}\", alertstate=\"firing\""), format!("alertname: {alert}\n")];
        assert!(fires.iter().any(|words| tests.contains(words)), "no test in which {alert} fires");
    }
}

#[test]
fn every_alert_asks_for_what_the_gateway_tells() {
    let exported = Exported::collect();
    for (alert, query) in alerts() {
        assert!(alert == "GatewayDown" || !selectors(&query).is_empty(), "{alert}");
        exported.has_all_of(&query);
    }
}

#[test]
fn the_alert_of_a_gateway_that_is_down_names_the_job_that_is_scraped() {
    let job = &yaml(CONFIGURATION)["scrape_configs"][0]["job_name"];
    let (_, query) = alerts().into_iter().find(|(alert, _)| alert == "GatewayDown").expect("there is one");
    assert_eq!(query, format!("up{{job=\"{}\"}} == 0", job.as_str().expect("a name")));
}

/// Names and queries.
fn alerts() -> Vec<(String, String)> {
    let rules = &yaml(ALERTS)["groups"][0]["rules"];
    let text = |rule: &yaml_rust2::Yaml, field: &str| rule[field].as_str().expect("a text").to_owned();
    let alerts: Vec<_> = rules.as_vec().expect("a list").iter().map(|rule| (text(rule, "alert"), text(rule, "expr"))).collect();
    assert!(alerts.len() > 10, "only {} were read", alerts.len());
    alerts
}
