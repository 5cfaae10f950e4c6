//! The tables, the hour and the usage.

use serde_json::{Value, json};

use crate::place::Place;

#[test]
fn migrations_are_listed_with_their_time_and_the_rows_are_counted() {
    let place = Place::new();
    let before = place.answer(&["migrate", "status"]);
    let missing = |version, name| json!({"version": version, "name": name, "applied": false, "applied_at": null});
    let all = [
        missing(1, "api_keys"),
        missing(2, "rotated_at"),
        missing(3, "api_key_events"),
        missing(4, "imported_keys"),
        missing(5, "key_networks"),
    ];
    assert_eq!(before, json!({"migrations": all, "api_keys": null, "api_key_usage": null}));

    place.answer(&["migrate", "up"]);
    place.create(&[]);
    let after = place.answer(&["migrate", "status"]);
    assert_eq!(
        (&after["migrations"][0]["applied"], &after["api_keys"], &after["api_key_usage"]),
        (&json!(true), &json!(1), &json!(0))
    );
    assert!(after["migrations"][0]["applied_at"].as_str().unwrap().ends_with("+00:00"));
}

#[test]
fn tables_are_made_once() {
    let place = Place::new();
    assert_eq!(
        place.answer(&["migrate", "up"]),
        json!({"applied": ["api_keys", "rotated_at", "api_key_events", "imported_keys", "key_networks"]})
    );
    assert_eq!(place.answer(&["migrate", "up"]), json!({"applied": []}));
}

#[test]
fn nothing_is_dropped_before_somebody_said_yes() {
    let place = Place::new();
    place.create(&[]);
    place.run(&["migrate", "down"]).refused(2, &["--yes", "every key"]);
    assert_eq!(place.answer(&["keys", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(
        place.answer(&["migrate", "down", "--yes"]),
        json!({"taken_back": ["key_networks", "imported_keys", "api_key_events", "rotated_at", "api_keys"]})
    );
    assert_eq!(place.answer(&["migrate", "down", "--yes"]), json!({"taken_back": []}));
    assert_eq!(place.answer(&["migrate", "status"])["api_keys"], Value::Null);
}

#[test]
fn tables_from_elsewhere_are_left_alone_and_named() {
    let place = Place::new();
    place.database().execute_batch("CREATE TABLE api_keys (id INTEGER)").unwrap();
    place.run(&["migrate", "up"]).refused(1, &["api_keys", "gateway.db"]);
}

#[test]
fn the_hour_of_a_key_is_shown_and_begun_anew() {
    let place = Place::new();
    let key = place.create(&["--rate-limit", "50"]);
    let id = key["key_id"].as_str().unwrap();
    // This hour and the next, so that the test may run across the full hour.
    let spend =
        "INSERT INTO api_key_hours (key_id, hour, used) SELECT ?1, unixepoch() / 3600 + column1, 8 FROM (VALUES (0), (1))";
    place.database().execute(spend, [id]).unwrap();

    let shown = place.answer(&["limits", "show", id]);
    assert_eq!((&shown["limit"], &shown["used"], &shown["remaining"]), (&json!(50), &json!(8), &json!(42)));
    assert_eq!(shown["reset"].as_u64().unwrap() % 3600, 0);
    assert_eq!(shown.as_object().unwrap().len(), 4);
    let reset = place.answer(&["limits", "reset", id]);
    assert_eq!((&reset["used"], &reset["remaining"]), (&json!(0), &json!(50)));
}

#[test]
fn nothing_remains_to_be_said_of_a_key_without_a_limit() {
    let place = Place::new();
    let key = place.create(&["--rate-limit", "none"]);
    let shown = place.answer(&["limits", "show", key["key_id"].as_str().unwrap()]);
    assert_eq!((&shown["limit"], &shown["remaining"]), (&Value::Null, &Value::Null));
}

#[test]
fn the_most_active_keys_come_first() {
    let place = Place::new();
    let quiet = place.create_for("ann", "quiet", &[]);
    let busy = place.create_for("bob", "busy", &[]);
    use_key(&place, &quiet, 2, 4.0);
    use_key(&place, &busy, 3, 10.0);
    let top = place.answer(&["usage", "top"]);
    let expected = json!({"name": "busy", "user_id": "bob", "request_count": 3, "avg_response_time_ms": 10.0});
    assert_eq!((&top[0], &top[1]["name"]), (&expected, &json!("quiet")));
    assert_eq!(place.answer(&["usage", "top", "--limit", "1"]), json!([expected]));
}

#[test]
fn cleanup_deletes_what_is_old_and_deactivates_what_has_expired() {
    let place = Place::new();
    let key = place.create(&["--expires-in", "1h"]);
    use_key(&place, &key, 2, 1.0);
    let database = place.database();
    database.execute_batch("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00.000'").unwrap();
    database.execute_batch("UPDATE api_key_usage SET timestamp = '2001-01-01 00:00:00.000' WHERE id = 1").unwrap();

    assert_eq!(place.answer(&["cleanup"]), json!({"keys_deactivated": 1, "usage_deleted": 1}));
    assert_eq!(place.answer(&["cleanup"]), json!({"keys_deactivated": 0, "usage_deleted": 0}));
    assert_eq!(place.answer(&["cleanup", "--usage-older-than", "0s"])["usage_deleted"], 1);
    assert_eq!(place.answer(&["keys", "show", key["key_id"].as_str().unwrap()])["is_active"], false);
}

fn use_key(place: &Place, key: &Value, times: u32, milliseconds: f64) {
    let request = "INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code)
                   VALUES (?1, '/', strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute'), ?2, 200)";
    for _ in 0..times {
        place.database().execute(request, (key["key_id"].as_str().unwrap(), milliseconds)).unwrap();
    }
}
