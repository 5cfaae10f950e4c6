//! `docs/from-nginx.md`: its nginx, its gateway.toml and its SQL, run side by side.

use std::net::SocketAddr;

use crate::read;
use crate::support::nginx::Nginx;
use crate::support::{Gateway, Request, Upstream, eventually};

const ANN: &str = "kJ3vQ8sTz1Lw5RbN7yXc";
const BOB: &str = "Wm4dGh9PfE2uKa6ZtV0o";

/// Path, key, the status of the answer, and what then reached an app: the path, and whose key it was.
type Case = (&'static str, Option<&'static str>, u16, Option<(&'static str, Option<&'static str>)>);

const CASES: [Case; 13] = [
    ("/", None, 401, None),
    ("/", Some("no-key-of-anybody"), 401, None),
    ("/", Some(ANN), 200, Some(("/", Some("ann")))),
    ("/a/page?q=1", Some(BOB), 200, Some(("/a/page?q=1", Some("bob")))),
    ("/reports/2026", None, 401, None),
    ("/reports/2026", Some(ANN), 200, Some(("/reports/2026", Some("ann")))),
    ("/reports/2026", Some(BOB), 403, None),
    ("/docs/page", None, 200, Some(("/docs/page", None))),
    ("/docs/page", Some("no-key-of-anybody"), 200, Some(("/docs/page", None))),
    ("/files/a.tar?v=2", Some(BOB), 200, Some(("/a.tar?v=2", Some("bob")))),
    ("/files/a.tar", None, 401, None),
    ("/old/page", None, 301, None),
    ("/old/page", Some(ANN), 301, None),
];

#[test]
fn the_gateway_answers_as_nginx_did() {
    let (app, files) = (Upstream::ok(), Upstream::ok());
    let before = Nginx::start(&in_place(&block("nginx before"), &app, &files));
    answers_as_the_page_says(before.address, &app, &files);
    let gateway = gateway(&app, &files);
    answers_as_the_page_says(gateway.address(), &app, &files);
    let after = nginx_before(&gateway);
    answers_as_the_page_says(after.address, &app, &files);
}

#[test]
fn behind_nginx_the_client_is_who_nginx_says_and_not_who_it_says_itself() {
    let (app, files) = (Upstream::ok(), Upstream::ok());
    let gateway = gateway(&app, &files);
    let after = nginx_before(&gateway);
    let lies = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Host", "elsewhere.test"), ("X-Forwarded-Proto", "https")];
    let request = lies.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    assert_eq!(request.header("X-User-ID", "bob").header("X-API-Key", ANN).send_to(after.address).status, 200);
    let seen = app.request().headers;
    assert_eq!(seen.get("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.get("x-forwarded-for"), Some("127.0.0.1, 127.0.0.1"));
    assert_eq!((seen.get("x-forwarded-host"), seen.get("x-forwarded-proto")), (Some("gateway.test"), Some("http")));
    assert_eq!((seen.get("x-user-id"), seen.get("x-api-key")), (Some("ann"), None));
}

#[test]
fn a_key_that_was_brought_along_goes_on_while_its_client_changes_over() {
    let (app, files) = (Upstream::ok(), Upstream::ok());
    let gateway = gateway(&app, &files);
    let rotated = gateway.cli_json(&["keys", "rotate", "nginx-ann", "--grace", "30d"]);
    for key in [ANN, rotated["key"].as_str().expect("a key")] {
        let request = || Request::get("/reports/").header("X-API-Key", key);
        eventually("the key works", || gateway.ask(&request()).status == 200);
        assert_eq!(app.requests().pop().expect("it came").headers.get("x-user-id"), Some("ann"));
    }
}

#[track_caller]
fn answers_as_the_page_says(front: SocketAddr, app: &Upstream, files: &Upstream) {
    for (path, key, status, reached) in CASES {
        let (served, idle) = if path.starts_with("/files") { (files, app) } else { (app, files) };
        let seen = || [served, idle].map(|upstream| upstream.requests().len());
        let [served_before, idle_before] = seen();
        let request = key.into_iter().fold(Request::get(path), |request, key| request.header("X-API-Key", key));
        assert_eq!(request.send_to(front).status, status, "{path} {key:?}");
        assert_eq!(seen(), [served_before + usize::from(reached.is_some()), idle_before], "{path} {key:?}");
        if let Some((target, user)) = reached {
            let last = served.requests().pop().expect("it was counted");
            assert_eq!((last.target.as_str(), last.headers.get("x-user-id")), (target, user), "{path} {key:?}");
        }
    }
}

/// As the page has it, with the keys brought along.
fn gateway(app: &Upstream, files: &Upstream) -> Gateway {
    let own = in_place(&block("toml"), app, files).replace("127.0.0.1:8080", "127.0.0.1:0");
    let mut gateway = Gateway::stopped(app.address(), &own);
    gateway.cli_json(&["migrate", "up"]);
    gateway.database().execute_batch(&block("sql")).expect("the keys are taken");
    gateway.run();
    gateway
}

/// Passing everything on.
fn nginx_before(gateway: &Gateway) -> Nginx {
    Nginx::start(&block("nginx after").replace("127.0.0.1:8080", &gateway.address().to_string()))
}

fn in_place(text: &str, app: &Upstream, files: &Upstream) -> String {
    text.replace("127.0.0.1:8000", &app.address().to_string()).replace("127.0.0.1:8100", &files.address().to_string())
}

/// What stands on the page between "```name" and the next fence.
fn block(name: &str) -> String {
    let page = read("docs/from-nginx.md");
    let (_, rest) = page.split_once(&format!("```{name}\n")).unwrap_or_else(|| panic!("no block {name}"));
    rest.split_once("```").expect("it ends").0.to_owned()
}
