//! nghttp and h2load before the gateway: HTTP/2 with many streams at once, padding and small windows.

use std::process::Command;

use super::programs::{ended_well, write_noise};
use super::{Front, NAME};
use crate::support::gateway::Key;
use crate::support::{Request, Upstream, begin_within_an_hour, eventually};

impl Front {
    /// So many requests over four connections, all answered. How many were good, and how many refused.
    #[track_caller]
    fn load(&self, key: &Key, requests: usize, is_tls: bool, options: &[&str]) -> (usize, usize) {
        let (scheme, address) = match is_tls {
            true => ("https", self.gateway.tls_address()),
            false => ("http", self.gateway.address()),
        };
        let mut h2load = Command::new("h2load");
        h2load.args(["--requests", &requests.to_string(), "--clients", "4", "--connect-to", &address.to_string()]);
        h2load.args(["--header", &format!("Authorization: Bearer {}", key.secret)]).args(options);
        let output = ended_well(h2load.arg(format!("{scheme}://{NAME}:{}/", address.port())));
        let report = String::from_utf8(output.stdout).expect("text");
        let count = |line: &str, what: &str| {
            let line = report.lines().find(|other| other.starts_with(line)).unwrap_or_else(|| panic!("{report}"));
            let count = line.split([':', ',']).find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
            count.unwrap_or_else(|| panic!("{what}: {report}"))
        };
        let (good, refused) = (count("status codes", " 2xx"), count("status codes", " 4xx"));
        assert_eq!(good + refused, requests, "{report}");
        (good, refused)
    }

    /// What the gateway answers, printed as it comes.
    #[track_caller]
    fn nghttp(&self, options: &[&str]) -> Vec<u8> {
        self.nghttp_without_key(&[&["--header", &self.authorization()], options].concat())
    }

    #[track_caller]
    fn nghttp_without_key(&self, options: &[&str]) -> Vec<u8> {
        let mut nghttp = Command::new("nghttp");
        ended_well(nghttp.args(options).arg(format!("http://{}/", self.gateway.address()))).stdout
    }
}

#[test]
fn every_request_of_a_load_is_answered_and_counted_once() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let key = front.gateway.create_key(&["--rate-limit", "10000"]);
    let ways: [(bool, &[&str]); 4] =
        [(false, &["-m", "100"]), (true, &["-m", "100"]), (false, &["-m", "1", "--h1"]), (true, &["-m", "1", "--h1"])];
    for (is_tls, options) in ways {
        assert_eq!(front.load(&key, 2000, is_tls, options), (2000, 0), "over TLS: {is_tls} {options:?}");
    }
    let last = front.gateway.ask(&Request::get("/").key(&key));
    assert_eq!(last.header("x-ratelimit-remaining"), Some("1999"));
    eventually("all usage is written", || front.gateway.metric("gateway_usage_written_total") == 8001);
    let rows = "SELECT count(DISTINCT request_id) FROM api_key_usage WHERE status_code = 200";
    let rows: usize = front.gateway.database().query_row(rows, [], |row| row.get(0)).expect("it can be read");
    assert_eq!((rows, upstream.requests().len()), (8001, 8001));
}

#[test]
fn a_load_above_the_limit_is_admitted_up_to_it_exactly() {
    begin_within_an_hour();
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let key = front.gateway.create_key(&["--rate-limit", "700"]);
    assert_eq!(front.load(&key, 2000, true, &["-m", "100"]), (700, 1300));
    assert_eq!(upstream.requests().len(), 700);
}

#[test]
fn a_hundred_streams_of_one_connection_are_all_answered() {
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let printed = front.nghttp(&["--multiply", "100"]);
    assert_eq!(String::from_utf8(printed).expect("text"), "ok".repeat(100));
    assert_eq!(upstream.requests().len(), 100);
}

#[test]
fn padding_and_small_windows_change_nothing_of_what_is_carried() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body();
        exchange.answer(200, &[], body);
    });
    let front = Front::before(upstream.address(), "");
    let file = front.gateway.folder().join("noise");
    let noise = write_noise(&file, 300_000);
    let small = ["--window-bits", "10", "--connection-window-bits", "16", "--padding", "255", "--data", &file.to_string_lossy()];
    let printed = front.nghttp(&small);
    assert!(printed == noise, "{} bytes came back", printed.len());
}

#[test]
fn trailers_of_a_request_reach_the_upstream() {
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let file = front.gateway.folder().join("noise");
    write_noise(&file, 10_000);
    // In HTTP/1, where it goes on, a body has trailers or a length.
    let options = ["--no-content-length", "--trailer", "x-sum: 7", "--data", &file.to_string_lossy()];
    assert_eq!(front.nghttp(&options), b"ok");
    let seen = upstream.request();
    assert_eq!((seen.body.len(), seen.trailers.get("x-sum"), seen.complete), (10_000, Some("7"), true));
}

#[test]
fn a_refusal_comes_whole_in_the_middle_of_an_upload() {
    let upstream = Upstream::ok();
    let front = Front::before(upstream.address(), "");
    let file = front.gateway.folder().join("noise");
    write_noise(&file, 20_000_000);
    let printed = front.nghttp_without_key(&["--data", &file.to_string_lossy()]);
    let problem: serde_json::Value = serde_json::from_slice(&printed).expect("a whole problem");
    assert_eq!(problem["code"], "missing_key");
    assert_eq!(upstream.requests().len(), 0);
}
