//! PostgreSQL failed over: a standby is promoted, and the URL names both.

use std::thread;

use hokusai_gateway::clock;

use crate::fleet::{A_WHILE, Fleet, HALF, revoke};
use crate::support::postgres::{Database, Server};

#[test]
fn when_the_primary_is_gone() {
    fails_over(Server::kill);
}

/// It still takes connections, and says nothing on them.
#[test]
fn when_the_primary_hangs() {
    fails_over(Server::freeze);
}

/// `end` is done to the primary, for good.
fn fails_over(end: impl Fn(&Server)) {
    let primary = Server::start();
    let database = primary.database();
    let standby = primary.standby();
    let fleet = Fleet::start(2, &database, &url_of_both(&primary, &standby, &database), "");
    let revoked = fleet.fresh();
    assert_eq!(fleet.statuses(&revoked), [200, 200]);
    let load = fleet.load();
    thread::sleep(A_WHILE);
    end(&primary);
    assert_eq!(fleet.statuses(&fleet.fresh()), [503, 503]);
    assert_eq!(fleet.burst_of_made_up_keys(), [503]);
    thread::sleep(A_WHILE);
    let database = database.taken_over_by(&standby);
    standby.promote();
    let back = clock::monotonic();
    revoke(&database, &revoked);
    fleet.is_healed(back);
    fleet.is_refused(&revoked, clock::monotonic());
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    record.is_written_once(&database);
    fleet.limits_held(&record, HALF);
}

fn url_of_both(primary: &Server, standby: &Server, database: &Database<'_>) -> String {
    format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}", primary.port(), standby.port(), database.name())
}
