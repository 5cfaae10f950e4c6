//! PostgreSQL down, hanging, restarted, slow, out of connections.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::fleet::{A_WHILE, Fleet, UNHEARD, status};
use crate::support::eventually;
use crate::support::postgres::Server;
use crate::support::tcp_proxy::TcpProxy;

#[test]
fn down() {
    let server = Server::start();
    let database = server.database();
    let fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::sleep(A_WHILE);
    server.kill();
    let down = clock::monotonic();
    assert_eq!(fleet.statuses(&fleet.fresh()), [503, 503]);
    let revocation = fleet.gateways[0].cli(&["keys", "revoke", "unlimited"]);
    assert_eq!(revocation.status.code(), Some(1), "{revocation:?}");
    thread::sleep(3 * A_WHILE);
    let back = clock::monotonic();
    server.start_again();
    fleet.is_healed(clock::monotonic());
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    assert_eq!(record.made_up_keys(down, back), [503]);
    record.is_written_once(&database);
}

#[test]
fn restarted() {
    let server = Server::start();
    let database = server.database();
    let fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::sleep(A_WHILE);
    server.kill();
    server.start_again();
    fleet.is_healed(clock::monotonic());
    fleet.a_revocation_is_heard(&database);
    thread::sleep(3 * A_WHILE);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    record.is_written_once(&database);
}

#[test]
fn hanging() {
    let server = Server::start();
    let database = server.database();
    let fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::sleep(A_WHILE);
    server.freeze();
    assert_eq!(fleet.statuses(&fleet.fresh()), [503, 503]);
    assert_eq!(fleet.burst_of_made_up_keys(), [503]);
    let revocation = fleet.gateways[0].cli(&["keys", "revoke", "unlimited"]);
    assert_eq!(revocation.status.code(), Some(1), "{revocation:?}");
    server.thaw();
    fleet.is_healed(clock::monotonic());
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    record.is_written_once(&database);
}

/// The changes can be followed again, and are in doubt, while nothing else is answered: two waits, one after the other.
#[test]
fn hanging_but_for_the_changes() {
    let server = Server::start();
    let (database, pool, changes) = (server.database(), TcpProxy::before(server.port()), TcpProxy::before(server.port()));
    let own = format!("store.listen_url = \"{}\"", database.url_through(changes.port()));
    let fleet = Fleet::start(2, &database, &database.url_through(pool.port()), &own);
    // A key that asks for each request would show at once that nobody answers.
    let load = fleet.load_on(&fleet.gateways, &[&fleet.unlimited, &fleet.limited]);
    thread::sleep(A_WHILE);
    changes.cut();
    changes.mend();
    pool.hold();
    thread::sleep(2 * A_WHILE);
    pool.let_go();
    fleet.is_healed(clock::monotonic());
    let record = load.end();
    record.known_keys_went_on();
    record.is_written_once(&database);
}

/// Somebody changes a table and does not come to an end: questions are answered, but not those about limits.
#[test]
fn locked() {
    let server = Server::start();
    let database = server.database();
    let fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::scope(|scope| {
        scope.spawn(|| database.sql("BEGIN; LOCK TABLE api_key_hours; SELECT pg_sleep(4)"));
        thread::sleep(A_WHILE);
        fleet.a_revocation_is_heard(&database);
    });
    fleet.is_healed(clock::monotonic());
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_are_told(&record);
    record.is_written_once(&database);
}

#[test]
fn slow() {
    let server = Server::start();
    let (database, proxy) = (server.database(), TcpProxy::before(server.port()));
    let fleet = Fleet::start(2, &database, &database.url_through(proxy.port()), "");
    let load = fleet.load();
    for millis in [40, 120, 600] {
        proxy.delay(Duration::from_millis(millis));
        thread::sleep(A_WHILE);
    }
    proxy.delay(Duration::ZERO);
    fleet.is_healed(clock::monotonic());
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_are_told(&record);
    record.is_written_once(&database);
}

/// A gateway makes do with the connections that it has; one that comes now has none.
#[test]
fn out_of_connections() {
    let server = Server::start();
    server.psql("postgres", "ALTER SYSTEM SET max_connections = 40");
    server.kill();
    server.start_again();
    let database = server.database();
    let fleet = Fleet::start(2, &database, &database.url(), "");
    let load = fleet.load();
    thread::sleep(A_WHILE);
    let others = server.use_up_connections();
    let full = clock::monotonic();
    assert_eq!(fleet.statuses(&fleet.fresh()), [200, 200]);
    assert_eq!(fleet.burst_of_made_up_keys(), [401]);
    let late = fleet.another();
    assert_eq!(status(&late, &fleet.unlimited.secret), 503);
    drop(others);
    let back = clock::monotonic();
    fleet.is_healed(back);
    eventually("the late one is healed", || status(&late, &fleet.unlimited.secret) == 200);
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    assert_eq!(record.made_up_keys(full, back), [401]);
    fleet.limits_held(&record, 0);
    record.is_written_once(&database);
}
