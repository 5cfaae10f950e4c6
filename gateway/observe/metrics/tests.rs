//! What is counted apart and summed, and what is told of.

use super::*;

#[test]
fn workers_count_apart_and_are_summed() {
    let metrics = Metrics::default();
    let route = metrics.route("/");
    for _ in 0..2 {
        let shard = metrics.shard();
        shard.finish(&Finished {
            route,
            method: Some(&Method::GET),
            status: StatusCode::OK,
            auth: Some(AuthResult::Ok),
            upstream: None,
            duration: Duration::from_micros(100),
            overhead: Duration::from_micros(51),
        });
    }
    let sum = metrics.tallies();
    assert_eq!(sum.requests[&(route, Some("GET"), 200)], 2);
    assert_eq!(sum.durations[&route].buckets[1], 2, "a value equal to a bound belongs below it");
    assert_eq!((sum.overhead.buckets[1], sum.overhead.sum_micros), (2, 102));
}

#[test]
fn a_server_is_told_of_as_long_as_an_upstream_has_it() {
    let metrics = Metrics::default();
    let before = metrics.server("app", "one:1");
    before.set(0);
    let after = metrics.server("app", "one:1");
    drop(before);
    assert_eq!((metrics.servers().len(), metrics.servers()[0].healthy.get()), (1, 0), "a reload changes nothing");
    drop(after);
    assert!(metrics.servers().is_empty(), "a server that was taken out would be told as down for ever");
    assert_eq!(metrics.server("app", "one:1").get(), 1);
}

#[test]
fn a_made_up_method_is_no_label() {
    assert_eq!(standard_method(&Method::from_bytes(b"BREW").expect("a method")), None);
    assert_eq!(standard_method(&Method::PATCH), Some("PATCH"));
}

#[test]
fn a_gauge_that_is_held_goes_down_again_by_itself() {
    let gauge = Arc::<Gauge>::default();
    let held = gauge.hold();
    assert_eq!(gauge.get(), 1);
    drop(held);
    assert_eq!(gauge.get(), 0);
}
