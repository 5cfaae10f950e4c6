//! An app run by uvicorn behind the gateway, as Starlette's and FastAPI's are.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Front;
use super::curl::{HTTP1, HTTP2, TLS_HTTP1, TLS_HTTP2};
use super::programs::{PythonServer, write_noise};
use crate::support::http2::{self, Http2};
use crate::support::wire::Framing;
use crate::support::{Request, eventually};

const ROUTES: &str = r#"
    routes = [
        { path = "/", upstream = "app" },
        { path = "/api", upstream = "app", strip_prefix = true },
    ]
"#;

fn start() -> (PythonServer, Front) {
    let app = PythonServer::start("app.py");
    let front = Front::before(app.address, ROUTES);
    (app, front)
}

#[test]
fn the_app_takes_scheme_address_and_path_as_the_gateway_tells_them() {
    let (_app, front) = start();
    for (door, scheme) in [(HTTP1, "http"), (HTTP2, "http"), (TLS_HTTP1, "https"), (TLS_HTTP2, "https")] {
        // Another address than the one that the app trusts.
        let fetched =
            front.curl(door, "/api/a%2Fb%20c?d=%20", &["--interface", "127.0.0.2", "--header", "X-Forwarded-For: 1.1.1.1"]);
        let seen: Value = serde_json::from_slice(&fetched.body).expect("JSON");
        assert_eq!(seen["scheme"], scheme, "{door:?}");
        assert_eq!(seen["client"][0], "127.0.0.2", "{door:?}");
        let path = [&seen["path"], &seen["raw_path"], &seen["query"]];
        assert_eq!(path, ["/a/b c", "/a%2Fb%20c", "d=%20"], "{door:?}");
        assert_eq!((&seen["headers"]["x-user-id"], &seen["headers"]["authorization"]), (&json!("ada"), &Value::Null));
    }
}

#[test]
fn an_upload_in_chunks_arrives_whole() {
    let (_app, front) = start();
    let file = front.gateway.folder().join("noise");
    let digest = Sha256::digest(write_noise(&file, 3_000_000));
    for door in [HTTP1, TLS_HTTP2] {
        let chunked = ["--data-binary", &format!("@{}", file.display()), "--header", "Transfer-Encoding: chunked"];
        assert_eq!(front.curl(door, "/upload", &chunked).body[..], digest[..], "{door:?}");
    }
}

/// Each event is sent only after the one before it was read: one that is held back would stop the test.
#[test]
fn events_come_one_by_one_as_the_app_sends_them() {
    let (_app, front) = start();
    let next = || assert_eq!(front.gateway.ask(&Request::get("/next").key(&front.key)).status, 200);
    let mut connection = front.gateway.connect();
    connection.send(Request::get("/events").key(&front.key).bytes());
    let (status, head) = connection.head();
    assert_eq!((status, head.headers.get("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.framing(Framing::None), Framing::Chunked);
    for number in 0..3 {
        assert_eq!(connection.wire().chunk().expect("an event"), format!("data: {number}\n\n").as_bytes());
        next();
    }
    assert_eq!(connection.wire().chunk().expect("the end"), b"");
}

#[test]
fn a_client_that_leaves_is_seen_by_the_app() {
    let (_app, front) = start();
    let mut connection = front.gateway.connect();
    connection.send(Request::get("/wait").key(&front.key).bytes());
    connection.head();
    assert_eq!(connection.wire().chunk().expect("it has begun"), b"begun\n");
    let left = || {
        let seen: Value = serde_json::from_slice(&front.gateway.ask(&Request::get("/").key(&front.key)).body).expect("JSON");
        seen["left"].as_u64()
    };
    assert_eq!(left(), Some(0));
    drop(connection);
    eventually("the app is told", || left() == Some(1));
}

#[test]
fn two_hundred_streams_at_once_are_all_answered() {
    let (_app, front) = start();
    let http2 = Http2::to(front.gateway.address());
    let request = || http2::empty(http2::get("/").header("authorization", format!("Bearer {}", front.key.secret)));
    for answer in http2.ask_all((0..200).map(|_| request()).collect()) {
        assert_eq!(answer.expect("a whole answer").status, 200);
    }
}
