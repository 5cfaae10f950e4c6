//! Four gateways on one count: all together admit the limit, whatever becomes of any of them, and what nobody uses comes back.

use std::thread;
use std::time::{Duration, Instant};

use hokusai_gateway::clock;
use hokusai_gateway::model::timestamp::Timestamp;

use crate::support::faketime::{ahead_of_the_hour, environment};
use crate::support::fleet::{Fleet, admitted, admitted_alone};
use crate::support::gateway::signal;
use crate::support::redis::Server;
use crate::support::redis_clock::redis_clock;
use crate::support::{Gateway, Key, Request, begin_within_an_hour, eventually};

/// Of leases of four permits.
const LIMIT: usize = 400;
const LEASE: usize = 4;
/// A second is promised; here other tests share the cores.
const SOON: Duration = Duration::from_secs(3);

macro_rules! hold_on_every_authority {
    ($($guarantee:ident),* $(,)?) => {
        mod on_redis {
            $(#[test]
            fn $guarantee() {
                super::begin_within_an_hour();
                super::$guarantee(&mut super::Fleet::on_redis());
            })*
        }
        mod on_postgres {
            $(#[test]
            fn $guarantee() {
                super::begin_within_an_hour();
                super::$guarantee(&mut super::Fleet::on_postgres());
            })*
        }
    };
}

hold_on_every_authority!(
    killed_frozen_restarted_and_cut_off_they_admit_the_limit_together_and_not_one_more,
    what_a_living_gateway_does_not_use_another_has_within_a_second,
    a_killed_gateway_takes_its_lease_along_and_brings_it_back,
    a_refused_request_costs_nothing,
    a_rotated_key_goes_on_with_the_count_of_all,
);

fn a_key(fleet: &Fleet) -> Key {
    fleet.create_key(&["--rate-limit", &LIMIT.to_string()])
}

fn killed_frozen_restarted_and_cut_off_they_admit_the_limit_together_and_not_one_more(fleet: &mut Fleet) {
    let key = a_key(fleet);
    let mut total = fleet.admitted(&key, 15);
    for mishap in [kill, freeze, restart, cut_off, freeze, swallow] {
        total += mishap(fleet, &key);
        total += fleet.admitted(&key, 10);
        assert!(total <= LIMIT, "{total} admitted");
    }
    let bound = clock::monotonic() + Duration::from_secs(30);
    while total < LIMIT && clock::monotonic() < bound {
        total += fleet.admitted(&key, 20);
    }
    assert_eq!(total + fleet.admitted(&key, 20), LIMIT);
    assert_eq!(fleet.upstream.requests().len(), LIMIT);
}

fn kill(fleet: &mut Fleet, key: &Key) -> usize {
    fleet.gateways[1].kill();
    let meanwhile = admitted(&fleet.gateways[0], key, 15);
    fleet.gateways[1].run();
    meanwhile
}

/// In the midst of its requests, with what it holds.
fn freeze(fleet: &mut Fleet, key: &Key) -> usize {
    let process = fleet.gateways[2].process_id();
    thread::scope(|scope| {
        let client = scope.spawn(|| admitted(&fleet.gateways[2], key, 15));
        signal("STOP", process);
        let meanwhile = admitted(&fleet.gateways[3], key, 15);
        signal("CONT", process);
        meanwhile + client.join().expect("no client panics")
    })
}

fn restart(fleet: &mut Fleet, key: &Key) -> usize {
    fleet.gateways[3].terminate();
    let meanwhile = admitted(&fleet.gateways[1], key, 15);
    assert!(fleet.gateways[3].wait().success());
    fleet.gateways[3].run();
    meanwhile
}

/// Its connections break, and it may spend what it holds.
fn cut_off(fleet: &mut Fleet, key: &Key) -> usize {
    fleet.lines[0].cut();
    let alone = admitted_alone(&fleet.gateways[0], key, 15);
    assert!(alone < LEASE, "{alone} admitted by one that can ask nobody");
    fleet.lines[0].mend();
    alone
}

/// What it asks arrives when it has asked again over other connections.
fn swallow(fleet: &mut Fleet, key: &Key) -> usize {
    fleet.lines[1].hold_questions();
    let alone = admitted_alone(&fleet.gateways[1], key, 15);
    let later = admitted(&fleet.gateways[1], key, 2);
    assert_eq!(later, 2, "it never found its way back");
    fleet.lines[1].ask();
    alone + later
}

fn what_a_living_gateway_does_not_use_another_has_within_a_second(fleet: &Fleet) {
    let key = a_key(fleet);
    assert_eq!(admitted(&fleet.gateways[0], &key, 1), 1);
    // On a slow machine that takes so long that it has all already.
    let mut total = 1 + admitted(&fleet.gateways[1], &key, LIMIT);
    let refused_at = clock::monotonic();
    while total < LIMIT && refused_at.elapsed() < SOON {
        total += admitted(&fleet.gateways[1], &key, LEASE);
    }
    assert_eq!(total, LIMIT, "after {SOON:?}");
}

fn a_killed_gateway_takes_its_lease_along_and_brings_it_back(fleet: &mut Fleet) {
    let key = a_key(fleet);
    assert_eq!(admitted(&fleet.gateways[0], &key, 1), 1);
    fleet.gateways[0].kill();
    let others = &fleet.gateways[1];
    assert_eq!(admitted(others, &key, LIMIT), LIMIT - LEASE);
    fleet.gateways[0].run();
    let mut total = 1 + LIMIT - LEASE;
    let back_at = clock::monotonic();
    while total < LIMIT && back_at.elapsed() < SOON {
        total += admitted(&fleet.gateways[1], &key, 1);
    }
    assert_eq!((total, admitted(&fleet.gateways[0], &key, LEASE)), (LIMIT, 0));
}

fn a_refused_request_costs_nothing(fleet: &Fleet) {
    let key = fleet.create_key(&["--rate-limit", "40"]);
    let mut total = 0;
    eventually_all(&mut total, 40, || fleet.admitted(&key, 15));
    assert_eq!(fleet.admitted(&key, 25), 0);
    fleet.gateways[0].cli_json(&["keys", "update", &key.id, "--rate-limit", "50"]);
    eventually_all(&mut total, 50, || fleet.admitted(&key, 2));
    assert_eq!(fleet.admitted(&key, 5), 0);
    eventually("`limits show` tells the truth", || fleet.gateways[0].cli_json(&["limits", "show", &key.id])["used"] == 50);
}

fn a_rotated_key_goes_on_with_the_count_of_all(fleet: &Fleet) {
    let old = a_key(fleet);
    let mut total = fleet.admitted(&old, 40);
    assert_eq!(total, 160);
    let rotated = fleet.gateways[1].cli_json(&["keys", "rotate", &old.id]);
    let new = Key { secret: rotated["key"].as_str().expect("a text").to_owned(), id: old.id.clone() };
    eventually_all(&mut total, LIMIT, || fleet.admitted(&new, 20) + fleet.admitted(&old, 20));
    assert_eq!(fleet.admitted(&new, 5) + fleet.admitted(&old, 5), 0);
}

/// Until so many were admitted, and never more.
fn eventually_all(total: &mut usize, all: usize, more: impl Fn() -> usize) {
    let bound = clock::monotonic() + Duration::from_secs(15);
    while *total < all && clock::monotonic() < bound {
        *total += more();
    }
    assert_eq!(*total, all);
}

/// How far each gateway's clock is from Redis', in seconds.
const SKEWS: [f64; 4] = [-1.0, -0.3, 0.3, 1.0];
/// Less than a gateway would be late by that believed its own clock.
const AT_ONCE: Duration = Duration::from_millis(800);

#[test]
fn the_hour_turns_at_once_on_gateways_whose_clocks_are_a_second_apart() {
    // Time enough to start everything and to spend one hour.
    let (now, ahead) = (clock::now(), ahead_of_the_hour(clock::now(), 15.0));
    let turn = now.plus(Duration::from_secs(15));
    let redis = Server::start();
    let fleet = Fleet::on(redis_clock(redis.port(), ahead), |number| environment(ahead + SKEWS[number]));
    let key = a_key(&fleet);
    let mut spent = 0;
    eventually_all(&mut spent, LIMIT, || fleet.admitted(&key, 25));
    assert!(clock::now() < turn, "the hour was over before it was spent");
    let firsts = thread::scope(|scope| {
        let waiting: Vec<_> = fleet.gateways.iter().map(|gateway| scope.spawn(|| first_admitted(gateway, &key, turn))).collect();
        waiting.into_iter().map(|gateway| gateway.join().expect("no client panics")).collect::<Vec<_>>()
    });
    for (at, _) in &firsts {
        assert!(*at >= turn, "{at:?} is before {turn:?}, when Redis' hour ends");
        assert!(at.since(turn) < AT_ONCE, "{at:?} is long after {turn:?}");
    }
    assert!(firsts.iter().all(|(_, reset)| *reset == firsts[0].1), "one hour on all: {firsts:?}");
    let mut again = firsts.len();
    eventually_all(&mut again, LIMIT, || fleet.admitted(&key, 25));
    assert_eq!(fleet.admitted(&key, 5), 0);
}

/// When, and the end of its hour.
fn first_admitted(gateway: &Gateway, key: &Key, turn: Timestamp) -> (Timestamp, Option<String>) {
    let mut connection = gateway.connect();
    let bound: Instant = clock::monotonic() + turn.since(clock::now()) + Duration::from_secs(10);
    while clock::monotonic() < bound {
        let answer = connection.ask(&Request::get("/").key(key));
        if answer.status == 200 {
            return (clock::now(), answer.header("x-ratelimit-reset").map(str::to_owned));
        }
    }
    panic!("the hour never turned");
}
