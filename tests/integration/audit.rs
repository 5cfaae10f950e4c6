//! Who changed which key: through the admin API, and while a gateway runs.

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, call, created, json_of, started, with_key};
use crate::support::postgres::{Database, SHARED};
use crate::support::{Gateway, Request, Upstream, eventually};

fn events(gateway: &Gateway, query: &str) -> Vec<Value> {
    let listed = json_of(&call(gateway, "GET", &format!("/audit{query}"), &Value::Null), 200);
    listed.as_array().expect("a list").clone()
}

#[test]
fn an_administrator_and_an_owner_are_told_apart_with_where_they_called_from() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (owners, id) = created(&gateway, &json!({"name": "hers", "user_id": "ann"}));
    json_of(&call(&gateway, "PATCH", &format!("/keys/{id}"), &json!({"name": "b"})), 200);
    json_of(&call(&gateway, "POST", &format!("/limits/{id}/reset"), &Value::Null), 200);
    let path = format!("/api/v1/keys/{id}");
    let delete = Request::with_body("DELETE", &path, String::new()).header("Authorization", &format!("Bearer {owners}"));
    assert_eq!(delete.send_to(gateway.admin_address()).status, 204);

    let events = events(&gateway, "");
    let actions: Vec<&str> = events.iter().map(|event| event["action"].as_str().expect("a text")).collect();
    assert_eq!(actions, ["revoked", "limit_reset", "updated", "created"]);
    assert_eq!(events[0]["actor"], format!("ann with {id}"));
    for event in &events[1..] {
        let actor = event["actor"].as_str().expect("a text");
        assert!(actor.starts_with("admin token ") && actor.len() == "admin token ".len() + 6, "{actor}");
    }
    for event in &events {
        assert_eq!((&event["via"], &event["origin"]), (&json!("api"), &json!("127.0.0.1")), "{event}");
    }
    let told = json!(events).to_string();
    assert!(!told.contains(&owners) && !told.contains(TOKEN), "{told}");
}

#[test]
fn an_owner_does_not_read_the_events() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, _) = created(&gateway, &json!({"name": "hers", "user_id": "ann"}));
    for path in ["/api/v1/audit", "/api/v1/audit/verify"] {
        with_key(path, &key).send_to(gateway.admin_address()).expect(403, "forbidden");
    }
}

#[test]
fn events_come_page_by_page() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    for number in 0..5 {
        created(&gateway, &json!({"name": format!("key {number}")}));
    }
    let first = call(&gateway, "GET", "/audit?limit=3&action=created&since=1h", &Value::Null);
    let link = first.header("link").expect("there is more").to_owned();
    let next = link.strip_prefix("</api/v1").and_then(|link| link.split_once('>')).expect("a path").0;
    let second = call(&gateway, "GET", next, &Value::Null);
    let names = |events: Value| -> Vec<Value> {
        events.as_array().expect("a list").iter().map(|event| event["after"]["name"].clone()).collect()
    };
    assert_eq!(names(json_of(&first, 200)), ["key 4", "key 3", "key 2"]);
    assert_eq!((names(json_of(&second, 200)), second.header("link")), (vec![json!("key 1"), json!("key 0")], None));
    call(&gateway, "GET", "/audit?since=yesterday", &Value::Null).expect(422, "invalid_value");
    call(&gateway, "GET", "/audit/verify?head=12", &Value::Null).expect(422, "invalid_value");
}

fn on_postgres(database: &Database<'_>, upstream: &Upstream) -> Gateway {
    let store = format!("[store]\nurl = \"{}\"\ntimeout = \"10s\"", database.url());
    Gateway::stopped(upstream.address(), &store).cli_json(&["migrate", "up"]);
    started(upstream, &store)
}

/// Nobody but the gateway is there to do it.
#[test]
fn a_running_gateway_puts_what_plain_sql_changes_into_the_chain() {
    let (database, upstream) = (SHARED.database(), Upstream::ok());
    let gateway = on_postgres(&database, &upstream);
    let insert =
        "INSERT INTO api_keys (key_id, key_hash, key_prefix, user_id, name) VALUES ('k', repeat('a', 64), 'x', 'u', 'n')";
    database.sql(insert);
    database.sql("UPDATE api_keys SET name = 'other'");
    eventually("both are in the chain", || {
        let verdict = json_of(&call(&gateway, "GET", "/audit/verify", &Value::Null), 200);
        assert_eq!(verdict["is_whole"], json!(true), "{verdict}");
        verdict["sealed"] == json!(2)
    });
    let events = events(&gateway, "?key_id=k");
    assert_eq!((&events[0]["actor"], &events[0]["via"]), (&json!("postgres"), &json!("sql")));
    assert_eq!(events[0]["origin"], json!("127.0.0.1"));
    assert_eq!((&events[0]["before"], &events[0]["after"]), (&json!({"name": "n"}), &json!({"name": "other"})));
    eventually("the head is in the log", || gateway.log().contains(events[0]["hash"].as_str().expect("a hash")));
}

/// With nothing granted but what docs/postgresql.md says, somebody who may change keys.
#[test]
fn who_may_change_keys_can_neither_hide_that_nor_write_another_event() {
    let database = SHARED.database();
    let upstream = Upstream::ok();
    let gateway = on_postgres(&database, &upstream);
    database
        .sql("CREATE ROLE mallory LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys, api_key_previous_secrets TO mallory");
    let (_, id) = created(&gateway, &json!({"name": "n"}));
    let as_mallory = |statement: &str| database.refuses(&format!("SET SESSION AUTHORIZATION mallory; {statement}"));
    for statement in [
        "SELECT api_key_event('created', 'x', NULL, NULL)",
        "INSERT INTO api_key_events (action, key_id, actor, via) VALUES ('a', 'k', 'x', 'y')",
        "DELETE FROM api_key_events_unsealed",
        "TRUNCATE api_key_events",
        "ALTER TABLE api_keys DISABLE TRIGGER ALL",
    ] {
        let says = as_mallory(statement);
        assert!(says.contains("permission denied") || says.contains("must be owner"), "{statement}: {says}");
    }
    // A table of their own of that name takes nothing away, and a name that is made up stands beside the role.
    database.sql(
        "SET SESSION AUTHORIZATION mallory; CREATE TEMPORARY TABLE api_key_events (event_id bigint GENERATED ALWAYS AS IDENTITY, \
         action text, key_id text, actor text, via text, origin text, database_role text, before text, after text); \
         SELECT set_config('hokusai.actor', '{\"name\": \"the administrator\", \"via\": \"api\"}', FALSE); \
         UPDATE api_keys SET name = 'changed'",
    );
    let events = events(&gateway, &format!("?key_id={id}&action=updated"));
    assert_eq!((&events[0]["actor"], &events[0]["database_role"]), (&json!("the administrator"), &json!("mallory")));
}
