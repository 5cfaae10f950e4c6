//! curl before the gateway: every version of HTTP it speaks, in cleartext and over TLS.

use std::fs;
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::programs::{ended_well, write_noise};
use super::{Front, NAME};
use crate::support::Upstream;

const LARGE: usize = 20_000_000;

/// A way into the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    is_tls: bool,
    option: &'static str,
    version: &'static str,
}

pub const HTTP1: Door = Door { is_tls: false, option: "--http1.1", version: "1.1" };
pub const HTTP2: Door = Door { is_tls: false, option: "--http2-prior-knowledge", version: "2" };
pub const TLS_HTTP1: Door = Door { is_tls: true, option: "--http1.1", version: "1.1" };
pub const TLS_HTTP2: Door = Door { is_tls: true, option: "--http2", version: "2" };
const DOORS: [Door; 4] = [HTTP1, HTTP2, TLS_HTTP1, TLS_HTTP2];

/// What curl made of an answer.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    pub version: String,
    /// Bytes of the request's body that were sent.
    pub uploaded: usize,
    /// The last one, with the trailers after it.
    pub head: String,
    pub body: Vec<u8>,
}

impl Fetched {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }
}

impl Front {
    /// With the key.
    #[track_caller]
    pub fn curl(&self, door: Door, path: &str, options: &[&str]) -> Fetched {
        self.curl_without_key(door, path, &[options, &["--header", &self.authorization()]].concat())
    }

    #[track_caller]
    pub fn curl_without_key(&self, door: Door, path: &str, options: &[&str]) -> Fetched {
        let (scheme, address) = match door.is_tls {
            true => ("https", self.gateway.tls_address()),
            false => ("http", self.gateway.address()),
        };
        let heads = self.gateway.folder().join(format!("heads-{}", fastrand::u64(..)));
        let mut curl = Command::new("curl");
        curl.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", door.option]);
        curl.args(["--resolve", &format!("{NAME}:{}:127.0.0.1", address.port())]);
        curl.arg("--cacert").arg(self.authority()).arg("--dump-header").arg(&heads);
        curl.args(["--write-out", "%{stderr}%{http_code} %{http_version} %{size_upload}"]);
        let output = ended_well(curl.args(options).arg(format!("{scheme}://{NAME}:{}{path}", address.port())));
        let numbers = String::from_utf8(output.stderr).expect("text");
        let [status, version, uploaded] = numbers.split(' ').collect::<Vec<_>>()[..] else { panic!("curl says {numbers}") };
        let heads = fs::read_to_string(heads).expect("curl wrote it").replace('\r', "");
        let head = heads.rfind("HTTP/").map(|at| heads[at..].to_owned()).expect("there was an answer");
        let (status, uploaded) = (status.parse().expect("a number"), uploaded.parse().expect("a number"));
        Fetched { status, version: version.to_owned(), uploaded, head, body: output.stdout }
    }
}

#[test]
fn curl_speaks_every_version_and_is_told_the_same_by_each() {
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    for door in DOORS {
        let fetched = front.curl(door, "/a?b=c", &[]);
        assert_eq!((fetched.status, fetched.version.as_str(), fetched.text().as_str()), (200, door.version, "ok"), "{door:?}");
        let seen = upstream.requests().pop().expect("it came");
        assert_eq!(seen.headers.get("x-forwarded-proto"), Some(if door.is_tls { "https" } else { "http" }));
        assert!(seen.headers.get("host").is_some_and(|host| host.starts_with(NAME)), "{:?}", seen.headers);
        let refused = front.curl_without_key(door, "/", &[]);
        assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")));
    }
}

#[test]
fn an_offer_to_change_to_http2_is_answered_in_http1() {
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let offer = Door { option: "--http2", ..HTTP1 };
    let fetched = front.curl(offer, "/", &[]);
    assert_eq!((fetched.status, fetched.version.as_str()), (200, "1.1"));
    let old = front.curl(Door { option: "--http1.0", ..HTTP1 }, "/", &[]);
    assert_eq!((old.status, old.text().as_str()), (200, "ok"));
}

#[test]
fn twenty_megabytes_arrive_whole_both_ways() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("noise");
    let noise = write_noise(&file, LARGE);
    let digest = Sha256::digest(&noise);
    let upstream = Upstream::start(move |exchange| {
        let received = Sha256::digest(exchange.body());
        let body = if exchange.seen.method == "GET" { &noise[..] } else { &received[..] };
        exchange.answer(200, &[], body);
    });
    let front = Front::before(upstream.address(), "");
    for door in DOORS {
        let sent = front.curl(door, "/", &["--upload-file", &file.to_string_lossy()]);
        assert_eq!((sent.uploaded, &sent.body[..]), (LARGE, &digest[..]), "{door:?}");
        let received = front.curl(door, "/", &[]);
        assert_eq!((received.body.len(), Sha256::digest(&received.body)), (LARGE, digest), "{door:?}");
    }
}

#[test]
fn who_asks_whether_to_go_on_sends_its_body_only_where_it_is_wanted() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("noise");
    write_noise(&file, LARGE);
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    // It would wait so many seconds, and then send without an answer.
    let upload = ["--upload-file", &file.to_string_lossy(), "--header", "Expect: 100-continue", "--expect100-timeout", "20"];
    for door in [HTTP1, TLS_HTTP1] {
        let refused = front.curl_without_key(door, "/", &upload);
        assert_eq!((refused.status, refused.uploaded), (401, 0), "{door:?}");
        let taken = front.curl(door, "/", &upload);
        assert_eq!((taken.status, taken.uploaded), (200, LARGE), "{door:?}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

/// Over HTTP/2, curl before version 8 takes the reset that ends its upload for an error, from nginx too; `nghttp` is asked there.
#[test]
fn who_does_not_ask_is_told_of_the_refusal_in_the_middle_of_its_body() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("noise");
    write_noise(&file, LARGE);
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    for door in [HTTP1, TLS_HTTP1] {
        let refused = front.curl_without_key(door, "/", &["--upload-file", &file.to_string_lossy(), "--header", "Expect:"]);
        assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")), "{door:?}");
        assert!(refused.uploaded < LARGE, "{door:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_answer_is_printed_as_it_comes_and_its_trailers_after_it() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        exchange.chunk("in ");
        exchange.chunk("parts");
        exchange.send("0\r\nX-Sum: 8\r\n\r\n");
    });
    let front = Front::before(upstream.address(), "");
    for door in DOORS {
        let fetched = front.curl(door, "/", &["--header", "TE: trailers"]);
        assert_eq!((fetched.text().as_str(), fetched.header("x-sum")), ("in parts", Some("8")), "{door:?}: {}", fetched.head);
    }
}

#[test]
fn a_head_request_is_told_the_length_and_nothing_else() {
    let upstream = Upstream::start(|exchange| exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"));
    let front = Front::before(upstream.address(), "");
    for door in DOORS {
        let fetched = front.curl(door, "/", &["--head"]);
        let length = fetched.header("content-length").map(str::to_owned);
        assert_eq!((fetched.status, length.as_deref()), (200, Some("12345")), "{door:?}");
        assert_eq!(upstream.requests().pop().expect("it came").method, "HEAD");
    }
}

#[test]
fn a_path_that_climbs_out_of_its_route_is_refused() {
    let upstream = Upstream::ok();
    let routes = r#"
        routes = [
            { path = "/public", upstream = "app", auth = "none" },
            { path = "/", upstream = "app" },
        ]
    "#;
    let front = Front::before(upstream.address(), routes);
    for door in DOORS {
        for path in ["/public/../secret", "/public/%2e%2e/secret", "/public/..%2fsecret", "/public/..;/secret"] {
            assert_eq!(front.curl_without_key(door, path, &["--path-as-is"]).status, 400, "{door:?} {path}");
        }
        // What curl itself makes of it needs a key.
        assert_eq!(front.curl_without_key(door, "/public/../secret", &[]).status, 401, "{door:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}
