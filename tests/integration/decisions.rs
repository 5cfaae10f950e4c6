//! What was refused, and why, as whoever runs the gateway is told.

use serde_json::{Value, json};

use crate::support::admin::{TOKEN, call, created, json_of, started, with_key};
use crate::support::{Gateway, Request, Upstream};

fn decisions(gateway: &Gateway, query: &str) -> Value {
    json_of(&call(gateway, "GET", &format!("/decisions{query}"), &Value::Null), 200)
}

fn told(decisions: &Value, field: &str) -> Vec<Value> {
    decisions["refusals"].as_array().expect("a list").iter().map(|refusal| refusal[field].clone()).collect()
}

/// A gateway with a key each that is disabled, revoked, expired, from elsewhere, without a scope and without a request left.
#[test]
fn each_refusal_is_told_with_its_true_reason_and_the_key_that_it_was() {
    let upstream = Upstream::ok();
    let scoped = "[[routes]]\npath = \"/scoped\"\nupstream = \"app\"\nscopes = [\"admin\"]";
    let routes = &format!("{scoped}\n[[routes]]\npath = \"/\"\nupstream = \"app\"");
    let gateway = started(&upstream, routes);
    let [disabled, revoked, expired, elsewhere, spent] = ["disabled", "revoked", "expired", "elsewhere", "spent"].map(|name| {
        let networks = if name == "elsewhere" { json!(["192.0.2.1"]) } else { json!([]) };
        created(&gateway, &json!({"name": name, "user_id": "ann", "allowed_ips": networks, "rate_limit_per_hour": 1}))
    });
    gateway.cli_json(&["keys", "update", &disabled.1, "--disable"]);
    gateway.cli_json(&["keys", "revoke", &revoked.1, "--wait"]);
    gateway
        .database()
        .execute("UPDATE api_keys SET expires_at = '2026-01-01 00:00:00.000' WHERE name = 'expired'", [])
        .expect("SQL");
    gateway.cli_json(&["keys", "revoke", &revoked.1, "--wait"]);
    gateway.ask(&Request::get("/none?api_key=secret"));
    for (path, key) in [
        ("/unknown", "hk_live_0123456789012345678901234567890123AAAAAA"),
        ("/disabled", &disabled.0),
        ("/revoked", &revoked.0),
        ("/expired", &expired.0),
        ("/elsewhere", &elsewhere.0),
        ("/scoped", &spent.0),
        ("/first", &spent.0),
        ("/second", &spent.0),
    ] {
        gateway.ask(&with_key(path, key));
    }
    let all = decisions(&gateway, "");
    let mut reasons = told(&all, "reason");
    reasons.reverse();
    let expected =
        ["missing_key", "unknown", "disabled", "revoked", "expired", "ip_not_allowed", "insufficient_scope", "limit_spent"];
    assert_eq!(reasons, expected);
    let mut names = told(&all, "key_name");
    names.reverse();
    let known = ["disabled", "revoked", "expired", "elsewhere", "spent", "spent"].map(|name| json!(name));
    assert_eq!(names, [vec![Value::Null, Value::Null], known.to_vec()].concat());
    let last = &all["refusals"][0];
    assert_eq!((&last["code"], &last["status"], &last["path"]), (&json!("rate_limited"), &json!(429), &json!("/second")));
    assert_eq!((&last["client_ip"], &last["method"], &last["route"]), (&json!("127.0.0.1"), &json!("GET"), &json!("/")));
    assert_eq!(told(&all, "path").last(), Some(&json!("/none")), "without the query");
    let text = all.to_string();
    for (secret, _) in [&disabled, &revoked, &expired, &elsewhere, &spent] {
        assert!(!text.contains(secret.as_str()));
    }
    // What passed is none of it.
    assert!(!told(&all, "path").contains(&json!("/first")));
}

#[test]
fn they_are_found_by_key_reason_and_address_and_followed_by_number() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (key, id) = created(&gateway, &json!({"name": "n", "user_id": "ann", "allowed_ips": ["192.0.2.1"]}));
    let (others, _) = created(&gateway, &json!({"name": "n", "user_id": "bob"}));
    gateway.ask(&Request::get("/1"));
    gateway.ask(&with_key("/2", &key));
    let first = decisions(&gateway, "");
    assert_eq!((&first["last"], &first["missed"]), (&json!(2), &json!(0)));
    gateway.ask(&Request::get("/3"));
    assert_eq!(told(&decisions(&gateway, "?after=2"), "path"), ["/3"]);
    assert_eq!(told(&decisions(&gateway, &format!("?key_id={id}")), "path"), ["/2"]);
    assert_eq!(told(&decisions(&gateway, "?reason=missing_key&limit=1"), "path"), ["/3"]);
    assert_eq!(told(&decisions(&gateway, "?client_ip=192.0.2.7"), "path"), [""; 0]);
    call(&gateway, "GET", "/decisions?client_ip=nobody", &Value::Null).expect(400, "bad_request");

    // An owner learns of their own keys, and of nothing else.
    gateway.ask(&with_key("/scope", &others));
    let owner = |key: &str| json_of(&with_key("/api/v1/decisions", key).send_to(gateway.admin_address()), 200);
    assert_eq!(told(&owner(&others), "path"), [""; 0]);
    assert!(!decisions(&gateway, "").to_string().contains(TOKEN));
}
