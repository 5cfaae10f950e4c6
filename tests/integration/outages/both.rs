//! Redis and PostgreSQL away at the same time.

use std::thread;

use hokusai_gateway::clock;

use crate::fleet::{A_WHILE, Fleet, UNHEARD};
use crate::support::postgres::Server as Postgres;
use crate::support::redis::Server as Redis;

/// PostgreSQL is back first: what was known of the hours must not be forgotten for that.
#[test]
fn down() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let fleet = Fleet::with_redis(2, &database, &database.url(), redis.port());
    let load = fleet.load();
    thread::sleep(A_WHILE);
    redis.kill();
    postgres.kill();
    let down = clock::monotonic();
    assert_eq!(fleet.statuses(&fleet.fresh()), [503, 503]);
    thread::sleep(A_WHILE);
    let back = clock::monotonic();
    postgres.start_again();
    thread::sleep(2 * A_WHILE);
    fleet.a_revocation_is_heard(&database);
    redis.restart();
    fleet.is_healed(clock::monotonic());
    let record = load.end();
    record.known_keys_went_on();
    assert_eq!(record.made_up_keys(down, back), [503]);
    fleet.limits_held(&record, UNHEARD);
    record.is_written_once(&database);
}

#[test]
fn hanging() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let fleet = Fleet::with_redis(2, &database, &database.url(), redis.port());
    let load = fleet.load();
    thread::sleep(A_WHILE);
    redis.freeze();
    postgres.freeze();
    assert_eq!(fleet.statuses(&fleet.fresh()), [503, 503]);
    assert_eq!(fleet.burst_of_made_up_keys(), [503]);
    redis.thaw();
    postgres.thaw();
    fleet.is_healed(clock::monotonic());
    fleet.a_revocation_is_heard(&database);
    let record = load.end();
    record.known_keys_went_on();
    fleet.limits_held(&record, UNHEARD);
    record.is_written_once(&database);
}
