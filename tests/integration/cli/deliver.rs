//! What a gateway that never comes back has left in its spool.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hokusai_gateway::clock;
use hokusai_gateway::config;
use hokusai_gateway::model::usage_event::UsageEvent;
use hokusai_gateway::observe::metrics::Metrics;
use hokusai_gateway::spool::Spool;
use hokusai_gateway::usage::Usage;
use serde_json::{Value, json};

use crate::place::Place;

/// How long it may take on a busy machine. Hit only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its spool, which is in use until it is dropped.
fn gateway(place: &Place, requests: u64) -> (PathBuf, Arc<Spool>) {
    let config = config::Usage {
        enabled: true,
        retention: Duration::from_hours(24),
        spool: place.path().join("lost"),
        spool_max: 1 << 30,
        flush_interval: Duration::from_secs(1),
    };
    let spool = Arc::new(Spool::open(&config.spool).unwrap());
    let usage = Usage::open(&config, Arc::clone(&spool), &Arc::<Metrics>::default()).unwrap();
    let recorder = usage.recorder();
    (0..requests).for_each(|_| recorder.record(&event()));
    (config.spool, spool)
}

/// What was delivered, once nobody has the spool: a process that another test is just starting holds a copy of every lock until it runs
/// its program.
fn delivered(place: &Place, folder: &str) -> Value {
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        let ran = place.run(&["usage", "deliver", folder, "--json"]);
        if !ran.stderr.contains("in use") || clock::monotonic() > deadline {
            return ran.answer();
        }
    }
}

fn event() -> UsageEvent<'static> {
    UsageEvent {
        key_id: "key_1",
        request_id: "0b7a1a4e-4b0f-4f7e-9d3c-2f0f6f1f2a3b",
        method: "GET",
        endpoint: "/",
        status: 200,
        timestamp: clock::now(),
        response_micros: 1,
        request_bytes: 0,
        response_bytes: 0,
        client_ip: None,
    }
}

#[test]
fn a_lost_gateways_usage_becomes_rows_once_and_its_leases_go_back() {
    let place = Place::new();
    let (folder, spool) = gateway(&place, 12);
    let spool_id = spool.id().to_owned();
    drop(spool);
    place.answer(&["migrate", "up"]);
    let lease =
        "INSERT INTO api_key_leases (key_id, spool_id, lease_id, hour, granted) VALUES ('key_1', ?1, 1, unixepoch() / 3600, 5)";
    place.database().execute(lease, [&spool_id]).unwrap();

    let folder = folder.to_str().unwrap();
    assert_eq!(delivered(&place, folder), json!({"spool_id": spool_id, "written": 12, "dropped": 0, "leases_settled": 1}));
    let again = place.run(&["usage", "deliver", folder]);
    assert_eq!(again.stdout, "Delivered 0 rows of usage.\nSettled 0 leases.\n");
    assert_eq!(place.answer(&["migrate", "status"])["api_key_usage"], 12);
}

#[test]
fn a_spool_in_use_is_left_to_its_gateway() {
    let place = Place::new();
    let (folder, running) = gateway(&place, 1);
    let folder = folder.to_str().unwrap();
    place.run(&["usage", "deliver", folder]).refused(1, &["in use", "lost", "stop it"]);
    drop(running);
    assert_eq!(delivered(&place, folder)["written"], 1);
}

#[test]
fn a_folder_that_is_no_spool_is_said_so_and_stays_as_it_is() {
    let place = Place::new();
    place.run(&["usage", "deliver", "."]).refused(1, &["is not a spool"]);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
