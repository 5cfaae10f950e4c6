//! What operators are told of refused requests, and what nobody is told.

use serde_json::{Value, json};

use crate::support::admin::{call, created, json_of, started, with_key};
use crate::support::{Gateway, Request, Upstream, begin_within_an_hour, eventually};

fn told(gateway: &Gateway, query: &str) -> Value {
    json_of(&call(gateway, "GET", &format!("/decisions{query}"), &Value::Null), 200)
}

fn reasons(told: &Value) -> Vec<&str> {
    let decisions = told["decisions"].as_array().expect("a list");
    decisions.iter().map(|decision| decision["reason"].as_str().expect("a text")).collect()
}

#[test]
fn an_operator_is_told_which_it_truly_was_and_whose_key_where_the_client_is_not() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let (elsewhere, _) = created(&gateway, &json!({ "name": "elsewhere", "allowed_ips": ["203.0.113.7"] }));
    let (spent, spent_id) = created(&gateway, &json!({ "name": "spent", "rate_limit_per_hour": 1 }));
    let (disabled, disabled_id) = created(&gateway, &json!({ "name": "disabled" }));
    let (revoked, revoked_id) = created(&gateway, &json!({ "name": "revoked", "user_id": "ann" }));
    call(&gateway, "PATCH", &format!("/keys/{disabled_id}"), &json!({ "is_active": false }));
    call(&gateway, "DELETE", &format!("/keys/{revoked_id}"), &Value::Null);
    let status = |key: &str| gateway.ask(&with_key("/secret?token=s3cret", key)).status;
    eventually("the changes have come", || status(&disabled) == 401 && status(&revoked) == 401);
    let before = told(&gateway, "")["next"].to_string();

    assert_eq!(gateway.ask(&Request::get("/none")).status, 401);
    let made_up = "hk_live_nobodyhasthiskeyatallinanystore0000000";
    assert_eq!([made_up, &disabled, &revoked, &elsewhere, &spent, &spent].map(status), [401, 401, 401, 403, 200, 429]);

    let since = told(&gateway, &format!("?after={before}"));
    assert_eq!(reasons(&since), ["missing_key", "unknown", "inactive", "revoked", "ip_not_allowed", "hour_spent"]);
    let of_revoked = &since["decisions"][3];
    assert_eq!((&of_revoked["code"], &of_revoked["status"]), (&json!("invalid_key"), &json!(401)));
    assert_eq!(
        (&of_revoked["key_id"], &of_revoked["user_id"], &of_revoked["name"]),
        (&json!(revoked_id), &json!("ann"), &json!("revoked"))
    );
    assert_eq!(
        (&of_revoked["path"], &of_revoked["client_ip"], &of_revoked["route"]),
        (&json!("/secret"), &json!("127.0.0.1"), &json!("/"))
    );
    assert_eq!(since["decisions"][5]["key_id"], json!(spent_id));
    assert_eq!(since["decisions"][1]["key_id"], Value::Null);
    let all = told(&gateway, "?limit=1000").to_string();
    assert!(!all.contains("s3cret") && ![made_up, &disabled, &revoked, &spent].iter().any(|key| all.contains(*key)), "{all}");
}

#[test]
fn who_asks_again_is_told_each_once_and_of_what_was_asked_for_alone() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    (0..5).for_each(|number| drop(gateway.ask(&Request::get(&format!("/{number}")))));
    let begin = told(&gateway, "?limit=1");
    assert_eq!(begin["decisions"][0]["path"], "/4", "without a number it is the latest");
    assert_eq!(begin["decisions"][0]["sequence"], begin["next"]);
    assert_eq!(told(&gateway, &format!("?after={}", begin["next"]))["decisions"], json!([]));

    let mut after = json!(0);
    let mut paths = Vec::new();
    for _ in 0..4 {
        let page = told(&gateway, &format!("?after={after}&limit=2&reason=missing_key&client_ip=127.0.0.1"));
        assert_eq!(page["missed"], 0);
        paths.extend(page["decisions"].as_array().expect("a list").iter().map(|decision| decision["path"].clone()));
        after = page["next"].clone();
    }
    assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4"]);
    for query in ["?reason=rate_limited", "?client_ip=203.0.113.7", "?key_id=key_nobody"] {
        assert_eq!(told(&gateway, query)["decisions"], json!([]), "{query}");
    }
    call(&gateway, "GET", "/decisions?limit=0", &Value::Null).expect(422, "invalid_value");
    call(&gateway, "GET", "/decisions?client_ip=here", &Value::Null).expect(400, "bad_request");
}

#[test]
fn what_was_admitted_is_no_refusal_whatever_the_upstream_did() {
    let gone = "127.0.0.1:9".parse().expect("an address");
    let mut gateway = Gateway::stopped(gone, "");
    gateway.set_environment("HOKUSAI_ADMIN_TOKEN", crate::support::admin::TOKEN);
    gateway.run();
    let (key, _) = created(&gateway, &json!({ "name": "ci" }));
    assert_eq!(gateway.ask(&with_key("/", &key)).status, 502);
    assert_eq!(told(&gateway, "")["decisions"], json!([]));
}

#[test]
fn an_owner_is_told_of_refusals_of_their_own_keys_alone() {
    let upstream = Upstream::ok();
    let gateway = started(&upstream, "");
    let own = created(&gateway, &json!({ "name": "one", "user_id": "ada" }));
    let scoped = |user: &str| created(&gateway, &json!({ "name": user, "user_id": user, "allowed_ips": ["203.0.113.7"] }));
    let (adas, bobs) = (scoped("ada"), scoped("bob"));
    for (key, _) in [&adas, &bobs] {
        assert_eq!(gateway.ask(&with_key("/", key)).status, 403);
    }
    gateway.ask(&Request::get("/"));
    let answer = with_key("/api/v1/decisions", &own.0).send_to(gateway.admin_address());
    let told = json_of(&answer, 200);
    let keys: Vec<_> = told["decisions"].as_array().expect("a list").iter().map(|decision| &decision["key_id"]).collect();
    assert_eq!(keys, [&json!(adas.1)]);
    assert_eq!(Request::get("/api/v1/decisions").send_to(gateway.admin_address()).status, 401);
}
