//! nginx behind the gateway, serving files, also while it is reloaded and replaced.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::Front;
use super::curl::{HTTP1, HTTP2, TLS_HTTP2};
use super::programs::write_noise;
use crate::support::nginx::Nginx;
use crate::support::{Connection, Request, eventually};

const FILES: &str = "
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_http_version 1.0;
    client_max_body_size 0;
    server {
        listen 80;
        root files;
        dav_methods PUT DELETE;
        add_header X-Connection $connection;
    }
";
const LARGE: usize = 1_000_000;

/// An nginx with a file of noise, and a gateway before it.
fn start() -> (Nginx, Front, Vec<u8>) {
    let nginx = Nginx::start(FILES);
    fs::create_dir(nginx.folder().join("files")).expect("the folder can be written to");
    let noise = write_noise(&nginx.folder().join("files/noise"), LARGE);
    fs::write(nginx.folder().join("files/text"), "line\n".repeat(1000)).expect("the folder can be written to");
    let front = Front::before(nginx.address, "");
    (nginx, front, noise)
}

#[test]
fn one_connection_to_nginx_serves_many_requests() {
    let (_nginx, front, _) = start();
    let mut client = front.gateway.connect();
    let mut connections: Vec<_> = (0..20)
        .map(|_| client.ask(&Request::get("/text").key(&front.key)).header("x-connection").expect("nginx tells").to_owned())
        .collect();
    connections.dedup();
    assert_eq!(connections.len(), 1, "{connections:?}");
}

#[test]
fn what_nginx_compresses_is_passed_on_compressed() {
    let (_nginx, front, _) = start();
    for door in [HTTP1, HTTP2] {
        let plain = front.curl(door, "/text", &[]);
        let asked = front.curl(door, "/text", &["--header", "Accept-Encoding: gzip"]);
        assert_eq!((plain.header("content-encoding"), asked.header("content-encoding")), (None, Some("gzip")), "{door:?}");
        assert!(asked.body.len() < plain.body.len() / 10, "{door:?}");
        assert_eq!(front.curl(door, "/text", &["--compressed"]).text(), "line\n".repeat(1000), "{door:?}");
    }
}

#[test]
fn a_download_is_taken_up_where_it_broke_off() {
    let (_nginx, front, noise) = start();
    let part = front.gateway.folder().join("part");
    for door in [HTTP1, TLS_HTTP2] {
        fs::write(&part, &noise[..400_000]).expect("the folder can be written to");
        let rest = front.curl(door, "/noise", &["--continue-at", "-", "--output", &part.to_string_lossy()]);
        assert_eq!((rest.status, rest.header("content-length")), (206, Some("600000")), "{door:?}");
        assert!(fs::read(&part).expect("curl wrote it") == noise, "{door:?}");
        let beyond = front.curl(door, "/noise", &["--range", "1000000-"]);
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */1000000")), "{door:?}");
    }
}

#[test]
fn what_a_client_has_already_is_not_sent_again() {
    let (_nginx, front, _) = start();
    for door in [HTTP1, TLS_HTTP2] {
        let tag = front.curl(door, "/noise", &[]).header("etag").expect("nginx tells").to_owned();
        let again = front.curl(door, "/noise", &["--header", &format!("If-None-Match: {tag}")]);
        assert_eq!((again.status, again.header("etag"), again.body.len()), (304, Some(tag.as_str()), 0), "{door:?}");
    }
}

#[test]
fn an_upload_of_unknown_length_is_stored_whole() {
    let (nginx, front, _) = start();
    let file = front.gateway.folder().join("noise");
    let noise = write_noise(&file, LARGE);
    for (door, path) in [(HTTP1, "/one"), (HTTP2, "/two"), (TLS_HTTP2, "/three")] {
        let options = ["--request", "PUT", "--header", "Transfer-Encoding: chunked", "--upload-file", &file.to_string_lossy()];
        assert_eq!(front.curl(door, path, &options).status, 201, "{door:?}");
        assert!(fs::read(nginx.folder().join(format!("files{path}"))).expect("nginx wrote it") == noise, "{door:?}");
    }
}

/// Each time nginx closes every connection that is idle, while requests are on their way to them.
#[test]
fn no_request_that_may_be_sent_twice_fails_while_nginx_is_reloaded() {
    let (nginx, front, _) = start();
    under_load(&front, |answered| {
        for _ in 0..10 {
            nginx.reload();
            let now = answered.load(Ordering::Relaxed);
            eventually("the load goes on", || answered.load(Ordering::Relaxed) > now + 100);
        }
    });
}

/// Its connections are in the pools, and it is still counted among those that serve.
#[test]
fn no_request_fails_for_a_server_that_has_gone_and_none_waits_for_one_that_has_come_back() {
    let mut servers = [(); 2].map(|()| Nginx::start("server { listen 80; location / { return 200 text; } }"));
    let [one, other] = servers.each_ref().map(|nginx| nginx.address);
    let both = format!("upstreams = [{{ name = \"app\", servers = [\"http://{one}\", \"http://{other}\"] }}]");
    let front = Front::before(one, &both);
    let mut clients = [(); 4].map(|()| front.gateway.connect());
    for gone in [None, Some(0_usize), Some(1), Some(0), Some(1), None] {
        if let Some(gone) = gone {
            servers[gone].stop();
        }
        for request in ["GET", "GET", "DELETE", "POST"].map(|method| Request::new(method, "/").key(&front.key)) {
            for client in &mut clients {
                assert_eq!(client.ask(&request).status, 200, "{request:?} with {gone:?} gone");
            }
        }
        if let Some(gone) = gone {
            servers[gone].run();
        }
    }
}

/// Four clients ask for `/text` until `upheaval` is over. Nobody may be told of it.
fn under_load(front: &Front, upheaval: impl FnOnce(&AtomicUsize)) {
    let (answered, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Connection::to(front.gateway.address());
                while !is_over.load(Ordering::Relaxed) {
                    let response = client.ask(&Request::get("/text").key(&front.key));
                    assert_eq!((response.status, response.complete), (200, true), "{response:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("there is load", || answered.load(Ordering::Relaxed) > 100);
        upheaval(&answered);
        is_over.store(true, Ordering::Relaxed);
    });
}
