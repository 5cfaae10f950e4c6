//! A revocation while one of the gateways hangs.

use std::thread;

use hokusai_gateway::clock;
use serde_json::Value;

use crate::fleet::{A_WHILE, Fleet};
use crate::support::gateway::signal;
use crate::support::postgres::SHARED;

#[test]
fn a_frozen_gateway_is_named_and_the_others_have_confirmed() {
    let database = SHARED.database();
    let fleet = Fleet::start(3, &database, &database.url(), "");
    let load = fleet.load_on(&fleet.gateways[..2], &fleet.known());
    let frozen = fleet.gateways[2].process_id();
    thread::sleep(A_WHILE);
    signal("STOP", frozen);
    let revocation = fleet.gateways[0].cli(&["keys", "revoke", "unlimited", "--wait", "--json"]);
    signal("CONT", frozen);
    load.end();
    assert_eq!(revocation.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&revocation.stdout).expect("JSON on stdout");
    assert_eq!(
        (told["confirmed_by"].as_array().map(Vec::len), told["not_confirmed_by"].as_array().map(Vec::len)),
        (Some(2), Some(1))
    );
    let name = told["not_confirmed_by"][0].as_str().expect("a name");
    assert!(String::from_utf8_lossy(&revocation.stderr).contains(name));
    fleet.is_refused(&fleet.unlimited, clock::monotonic());
}
