//! What `explain` says of a request is what becomes of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::admin::{call, created, json_of, started};
use crate::support::{Gateway, Request, Upstream, begin_within_an_hour, eventually};

const ROUTES: &str = r#"client_ip.trusted_proxies = ["127.0.0.1"]
[[routes]]
path = "/"
upstream = "app"
[[routes]]
path = "/reports"
upstream = "app"
scopes = ["reports:read"]
[[routes]]
path = "/open"
upstream = "app"
auth = "none"
[[routes]]
path = "/fixed"
auth = "none"
respond = { status = 204 }
"#;

/// One request, asked about and sent.
struct Case {
    target: &'static str,
    forwarded_for: &'static str,
    key: Option<(String, String)>,
}

impl Case {
    fn explained(&self, gateway: &Gateway) -> Value {
        let headers = BTreeMap::from([("X-Forwarded-For", self.forwarded_for)]);
        let key_id = self.key.as_ref().map(|(_, key_id)| key_id);
        let question = json!({
            "ip": "127.0.0.1", "path": self.target, "host": "gateway.test", "headers": headers, "key_id": key_id,
        });
        json_of(&call(gateway, "POST", "/explain", &question), 200)
    }

    /// Status and code.
    fn sent(&self, gateway: &Gateway) -> (u16, String) {
        let mut request = Request::get(self.target).header("X-Forwarded-For", self.forwarded_for);
        if let Some((key, _)) = &self.key {
            request = request.header("X-API-Key", key);
        }
        let answer = gateway.ask(&request);
        (answer.status, answer.code())
    }
}

#[test]
fn what_is_explained_is_what_happens() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, ROUTES);
    let key = |fields: Value| {
        let mut all = json!({ "name": "ci" });
        all.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        Some(created(&gateway, &all))
    };
    let plain = key(json!({}));
    let fenced = key(json!({ "allowed_ips": ["192.0.2.0/24"] }));
    let spent = key(json!({ "rate_limit_per_hour": 1 }));
    let disabled = key(json!({}));
    let (_, disabled_id) = disabled.as_ref().expect("it was made");
    json_of(&call(&gateway, "PATCH", &format!("/keys/{disabled_id}"), &json!({ "is_active": false })), 200);
    let (_, spent_id) = spent.as_ref().expect("it was made");
    assert_eq!(Case { target: "/", forwarded_for: "192.0.2.1", key: spent.clone() }.sent(&gateway).0, 200);
    let used = || json_of(&call(&gateway, "GET", &format!("/limits/{spent_id}"), &Value::Null), 200)["used"] == 1;
    eventually("it is counted", used);

    let cases = [
        ("/", "192.0.2.1", &plain, None),
        ("/", "192.0.2.1", &None, Some("missing_key")),
        ("/", "192.0.2.1", &disabled, Some("invalid_key")),
        ("/", "192.0.2.1", &fenced, None),
        ("/", "198.51.100.1", &fenced, Some("ip_not_allowed")),
        ("/", "nonsense", &fenced, Some("ip_not_allowed")),
        ("/", "192.0.2.1", &spent, Some("rate_limited")),
        ("/reports", "192.0.2.1", &plain, Some("insufficient_scope")),
        ("/open", "192.0.2.1", &None, None),
        ("/fixed", "192.0.2.1", &None, None),
        ("/open/..%2freports", "192.0.2.1", &plain, Some("bad_request")),
    ];
    for (target, forwarded_for, key, code) in cases {
        let case = Case { target, forwarded_for, key: key.clone() };
        let explained = case.explained(&gateway);
        let (status, answered) = case.sent(&gateway);
        assert_eq!(explained["code"].as_str(), code, "{target} {forwarded_for}: {explained}");
        assert_eq!(answered, code.unwrap_or_default(), "{target} {forwarded_for}");
        if code.is_some() {
            assert_eq!(explained["status"], status, "{explained}");
        }
    }
}

#[test]
fn asking_spends_nothing_and_the_command_says_the_same() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let gateway = started(&upstream, ROUTES);
    let (key, key_id) = created(&gateway, &json!({ "name": "ci", "rate_limit_per_hour": 1 }));
    let case = Case { target: "/", forwarded_for: "192.0.2.1", key: Some((key, key_id.clone())) };
    let explained = [(); 3].map(|()| case.explained(&gateway));
    assert!(explained.iter().all(|told| *told == explained[0] && told["status"].is_null()), "{explained:?}");
    let header = ["--host", "gateway.test", "--header", "X-Forwarded-For: 192.0.2.1"];
    let command = [&["explain", "--key-id", key_id.as_str(), "--ip", "127.0.0.1"][..], &header].concat();
    assert_eq!(gateway.cli_json(&command), explained[0]);
    assert_eq!(case.sent(&gateway).0, 200, "nothing was spent before");
    assert_eq!(gateway.cli(&["explain", "--ip", "127.0.0.1", "--path", "a b"]).status.code(), Some(2));
}
