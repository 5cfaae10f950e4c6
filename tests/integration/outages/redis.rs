//! Redis down, restarted empty, hanging, slow.

use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::fleet::{A_WHILE, Fleet, UNHEARD, revoke};
use crate::support::postgres::Server as Postgres;
use crate::support::redis::Server as Redis;
use crate::support::tcp_proxy::TcpProxy;

#[test]
fn down() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let fleet = Fleet::with_redis(2, &database, &database.url(), redis.port());
    let load = fleet.load();
    thread::sleep(A_WHILE);
    redis.kill();
    let down = clock::monotonic();
    fleet.a_revocation_is_heard(&database);
    assert_eq!(fleet.statuses(&fleet.fresh()), [200, 200], "the store is asked");
    thread::sleep(2 * A_WHILE);
    let revoked = fleet.fresh();
    revoke(&database, &revoked);
    redis.restart();
    let back = clock::monotonic();
    fleet.is_healed(back);
    assert_eq!(fleet.statuses(&revoked), [401, 401]);
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    assert_eq!(record.made_up_keys(down, back), [401]);
    record.is_written_once(&database);
}

#[test]
fn restarted_empty() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let fleet = Fleet::with_redis(2, &database, &database.url(), redis.port());
    let load = fleet.load();
    thread::sleep(A_WHILE);
    redis.kill();
    redis.restart();
    fleet.is_healed(clock::monotonic());
    thread::sleep(3 * A_WHILE);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
}

#[test]
fn hanging() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let fleet = Fleet::with_redis(2, &database, &database.url(), redis.port());
    let load = fleet.load();
    thread::sleep(A_WHILE);
    redis.freeze();
    let down = clock::monotonic();
    fleet.a_revocation_is_heard(&database);
    assert_eq!(fleet.statuses(&fleet.fresh()), [200, 200], "the store is asked");
    thread::sleep(3 * A_WHILE);
    redis.thaw();
    let back = clock::monotonic();
    fleet.is_healed(back);
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    assert_eq!(record.made_up_keys(down, back), [401]);
    record.is_written_once(&database);
}

/// Within what a question to Redis may take, and beyond it.
#[test]
fn slow() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let (database, proxy) = (postgres.database(), TcpProxy::before(redis.port()));
    let fleet = Fleet::with_redis(2, &database, &database.url(), proxy.port());
    let load = fleet.load();
    for delay in [30, 200] {
        proxy.delay(Duration::from_millis(delay));
        thread::sleep(A_WHILE);
        fleet.a_revocation_is_heard(&database);
    }
    proxy.delay(Duration::ZERO);
    fleet.is_healed(clock::monotonic());
    load.end().known_keys_went_on();
}
