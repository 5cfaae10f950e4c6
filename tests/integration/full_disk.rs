//! A disk without room costs usage, which is counted and told; it costs no request.

use std::fs::File;
use std::io::Write;

use crate::support::{Gateway, Key, Request, Upstream, eventually};

fn ask(gateway: &Gateway, key: &Key, requests: usize) {
    let mut connection = gateway.connect();
    for _ in 0..requests {
        assert_eq!(connection.ask(&Request::get("/").key(key)).status, 200);
    }
}

fn dropped(gateway: &Gateway) -> u64 {
    gateway.metric("gateway_usage_dropped_total")
}

/// What was recorded is either written or counted as dropped.
fn all_is_accounted_for(gateway: &Gateway) -> bool {
    let metrics = gateway.metrics();
    let count = |name: &str| metrics.get(&format!("gateway_usage_{name}")).copied().unwrap_or_default();
    count("recorded_total") == count("written_total") + count("dropped_total") && count("spooled") == 0
}

fn told(gateway: &Gateway) -> usize {
    gateway.log().matches("usage records were dropped").count()
}

#[test]
fn a_spool_that_runs_out_of_room_while_the_store_is_away_drops_the_oldest_and_heals() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "log.access = false");
    let key = gateway.create_key(&["--rate-limit", "none"]);
    gateway.run_on_a_disk_of(128);
    ask(&gateway, &key, 1);
    eventually("the first is written", || gateway.metric("gateway_usage_written_total") == 1);
    let lock = gateway.database();
    lock.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
    eventually("there is no more room", || {
        ask(&gateway, &key, 200);
        dropped(&gateway) > 0
    });
    lock.execute_batch("COMMIT").expect("the lock can be given up");
    eventually("the rest is written", || all_is_accounted_for(&gateway));
    let before = dropped(&gateway);
    ask(&gateway, &key, 50);
    eventually("what follows is written", || all_is_accounted_for(&gateway));
    assert_eq!((dropped(&gateway), told(&gateway)), (before, 1));
}

#[test]
fn on_a_disk_that_others_have_filled_requests_go_on_and_once_there_is_room_their_usage_too() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "log.access = false");
    // A limit, for which there are leases in the spool; no test comes near it.
    let [key, another] = [(); 2].map(|()| gateway.create_key(&["--rate-limit", "1000000"]));
    gateway.run_on_a_disk_of(256);
    ask(&gateway, &key, 1);
    let others = gateway.inside(&gateway.spool().join("others"));
    let mut file = File::create(&others).expect("the disk is reached");
    while file.write_all(&[0; 4096]).is_ok() {}
    // In the time between two writes more than the page holds that the journal has already.
    eventually("there is no room for usage", || {
        ask(&gateway, &key, 100);
        ask(&gateway, &another, 100);
        dropped(&gateway) > 0
    });
    std::fs::remove_file(&others).expect("it can be removed");
    drop(file);
    eventually("there is room for usage", || {
        let before = dropped(&gateway);
        ask(&gateway, &key, 5);
        eventually("all is accounted for", || all_is_accounted_for(&gateway));
        dropped(&gateway) == before
    });
    assert_eq!(told(&gateway), 1);
    assert!(gateway.log().contains("No space left on device"), "trying on and on for room would run out of files instead");
}
