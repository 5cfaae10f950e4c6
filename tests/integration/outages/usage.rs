//! Each admitted request has one row, also when database and gateway go at the same time.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::fleet::{A_WHILE, Fleet};
use crate::support::postgres::Server;

/// What was answered this long ago is in the gateway's journal, though it is killed.
const SAFE_AFTER: Duration = Duration::from_millis(100);

/// It is killed a second time before the database is back: with rows of two runs in its journal.
#[test]
fn a_gateway_that_is_killed_while_the_database_is_away_delivers_all_when_both_are_back() {
    let server = Server::start();
    let database = server.database();
    let mut fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::sleep(A_WHILE);
    server.kill();
    thread::sleep(A_WHILE);
    let record = load.end();
    thread::sleep(SAFE_AFTER);
    for _ in 0..2 {
        fleet.gateways[0].kill();
        fleet.gateways[0].run();
    }
    server.start_again();
    fleet.is_healed(clock::monotonic());
    record.is_written_once(&database);
}
