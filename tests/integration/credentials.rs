//! A key ends at the gateway: the app behind it never sees one, and all else stays as it was.

use crate::support::{Gateway, Request, Upstream};

const ALL_SOURCES: &str = r#"keys.accept = ["bearer", "apikey", "x-api-key", "query"]"#;

#[test]
fn the_key_is_cut_out_of_every_source() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let key = gateway.create_key(&[]).secret;
    for request in [
        Request::get("/").header("Authorization", &format!("Bearer {key}")),
        Request::get("/").header("Authorization", &format!("apikey {key}")),
        Request::get("/").header("X-API-Key", &key),
        Request::get(&format!("/?api_key={key}")),
        Request::get(&format!("/?api_key={key}")).header("X-API-Key", &key).header("Authorization", &format!("Bearer {key}")),
    ] {
        assert_eq!(gateway.ask(&request).status, 200);
    }
    for seen in upstream.requests() {
        let head = String::from_utf8_lossy(&seen.raw_head).into_owned();
        assert!(!head.contains(&key), "{head}");
        assert!(!seen.headers.has("authorization") && !seen.headers.has("x-api-key"), "{head}");
    }
}

#[test]
fn the_other_parameters_stay_byte_for_byte() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let key = gateway.create_key(&[]).secret;
    for (asked, forwarded) in [
        ("/?api_key=KEY", "/"),
        ("/?api_key=KEY&a=1", "/?a=1"),
        ("/?a=1&api_key=KEY", "/?a=1"),
        ("/?a=%20b+c&api_key=KEY&&d=%2f%2F", "/?a=%20b+c&&d=%2f%2F"),
        ("/p%2fq?xapi_key=1&api_key=KEY&api_keys=2", "/p%2fq?xapi_key=1&api_keys=2"),
    ] {
        let before = upstream.requests().len();
        assert_eq!(gateway.ask(&Request::get(&asked.replace("KEY", &key))).status, 200, "{asked}");
        assert_eq!(upstream.requests()[before].target, forwarded, "{asked}");
    }
}

/// An encoded name is the same parameter to the app behind, so it must not carry a key past the gateway.
#[test]
fn an_encoded_spelling_of_the_parameter_is_the_parameter() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), ALL_SOURCES);
    let key = gateway.create_key(&[]).secret;
    let response = gateway.ask(&Request::get(&format!("/?a=1&api%5Fkey={key}")));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(upstream.request().target, "/?a=1");
}

#[test]
fn a_route_may_hand_the_key_on() {
    let upstream = Upstream::ok();
    let gateway =
        Gateway::start(upstream.address(), "routes = [{ path = \"/\", upstream = \"app\", forward_credentials = true }]");
    let key = gateway.create_key(&[]);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    assert_eq!(upstream.request().headers.get("authorization"), Some(format!("Bearer {}", key.secret).as_str()));
}

#[test]
fn without_authentication_only_what_looks_like_ours_is_cut_out() {
    let upstream = Upstream::ok();
    let own = format!("{ALL_SOURCES}\nroutes = [{{ path = \"/\", upstream = \"app\", auth = \"none\" }}]");
    let gateway = Gateway::start(upstream.address(), &own);
    let key = gateway.create_key(&[]).secret;
    let ours =
        Request::get(&format!("/?api_key={key}&a=1")).header("X-API-Key", &key).header("Authorization", &format!("Bearer {key}"));
    let theirs = Request::get("/?api_key=theirs&a=1").header("X-API-Key", "theirs").header("Authorization", "Bearer theirs");
    assert_eq!(gateway.ask(&ours).status, 200);
    assert_eq!(gateway.ask(&theirs).status, 200);
    let seen = upstream.requests();
    assert_eq!(seen[0].target, "/?a=1");
    assert!(!seen[0].headers.has("x-api-key") && !seen[0].headers.has("authorization"), "{:?}", seen[0]);
    assert_eq!(seen[1].target, "/?api_key=theirs&a=1");
    assert_eq!(seen[1].headers.get("x-api-key"), Some("theirs"));
    assert_eq!(seen[1].headers.get("authorization"), Some("Bearer theirs"));
}

/// A name in `Connection` would be removed as hop-by-hop, but a key must be found and cut out before that.
#[test]
fn a_key_named_in_connection_still_counts_and_is_still_cut_out() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let response = gateway.ask(&Request::get("/").key(&key).header("Connection", "authorization"));
    assert_eq!(response.status, 200, "{response:?}");
    assert!(!upstream.request().headers.has("authorization"));
}

#[test]
fn no_key_is_written_to_log_store_spool_or_answer() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), &format!("{ALL_SOURCES}\nlog.level = \"trace\""));
    let key = gateway.create_key(&[]).secret;
    for request in [
        Request::get("/").header("Authorization", &format!("Bearer {key}")),
        Request::get(&format!("/a?api_key={key}")),
        Request::get(&format!("/b?api_key={key}")).header("X-API-Key", "another-key-altogether"),
        Request::get("/").header("Authorization", &format!("Bearer {key}wrong")),
        Request::get(&format!("/{key}\u{7f}")),
    ] {
        assert!(!gateway.ask(&request).text().contains(&key), "{request:?}");
    }
    let metrics = gateway.ask_admin("/metrics").text();
    gateway.terminate();
    assert!(gateway.wait().success());
    let log = gateway.log();
    assert!(log.contains("/a"), "the access log was written: {log}");
    assert!(!log.contains(&key[8..]) && !metrics.contains(&key[8..]));
    let mut files = 0;
    for folder in [gateway.folder(), &gateway.spool()] {
        for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_file() {
                let bytes = std::fs::read(&path).expect("a file can be read");
                assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files >= 3, "settings, database, spool: {files} files");
}
