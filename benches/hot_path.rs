//! What each step of a request costs by itself: `cargo bench --bench hot_path`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use hokusai_gateway::auth::extract;
use hokusai_gateway::client_address::client_address;
use hokusai_gateway::clock;
use hokusai_gateway::config::{self, Config, HeaderRules, OnAuthorityFailure, Scheme};
use hokusai_gateway::drain::Tasks;
use hokusai_gateway::limits::{Authority, Limiter};
use hokusai_gateway::model::address::{ClientIp, PeerAddr};
use hokusai_gateway::model::api_key::{ApiKey, Environment, Form};
use hokusai_gateway::model::key_hash::KeyHash;
use hokusai_gateway::model::usage_event::UsageEvent;
use hokusai_gateway::observe::metrics::{AuthResult, Finished, Metrics, UpstreamResult};
use hokusai_gateway::proxy::client::Client;
use hokusai_gateway::proxy::request_headers::RequestHeaders;
use hokusai_gateway::proxy::request_id::RequestId;
use hokusai_gateway::reserved_headers::ReservedHeaders;
use hokusai_gateway::route::RouteTable;
use hokusai_gateway::spool::Spool;
use hokusai_gateway::store::Store;
use hokusai_gateway::store::sqlite::SqliteStore;
use hokusai_gateway::upstream::http1::RequestHead;
use hokusai_gateway::usage::Usage;

/// The least that is a configuration.
const BASE: &str = "\
[[upstreams]]
name = \"app\"
servers = [\"http://127.0.0.1:1\"]
[[routes]]
path = \"/\"
upstream = \"app\"
";
/// Requests per hour that no run of this comes near.
const PLENTY: u64 = 1_000_000_000;

fn keys(criterion: &mut Criterion) {
    let key = ApiKey::mint("hk", Environment::Production).expect("randomness");
    criterion.bench_function("key/hash", |bench| bench.iter(|| KeyHash::of(black_box(key.expose().as_bytes()))));
    criterion.bench_function("key/form", |bench| bench.iter(|| Form::of(black_box(key.expose().as_bytes()), "hk")));
    let (config, request) = (config_of(""), request(key.expose()));
    let accept = config.keys.accept;
    criterion.bench_function("key/find", |bench| {
        bench.iter(|| extract::find(black_box(&request), Some("page=2"), accept, "hk"));
    });
}

fn routes(criterion: &mut Criterion) {
    let many: String = (0..99).map(|number| route(&format!("/service-{number}/v1"))).collect();
    for (name, routes, path) in [
        ("route/1", String::new(), "/api/v1/users/42"),
        ("route/100", many.clone(), "/service-77/v1/users/42"),
        ("route/100 odd path", many, "/service-77/v1/a%2fb/../users;x=1/42"),
    ] {
        let table = RouteTable::new(&config_of(&routes).routes);
        criterion.bench_function(name, |bench| {
            bench.iter(|| table.take(black_box("api.example.com"), black_box(path.as_bytes()), Scheme::Http));
        });
    }
}

fn addresses(criterion: &mut Criterion) {
    let rules = config_of("[client_ip]\ntrusted_proxies = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n").client_address;
    let mut request = HeaderMap::new();
    request.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1, 203.0.113.7, 10.1.2.3"));
    for (name, peer) in [("address/direct", "192.0.2.9:4711"), ("address/behind two proxies", "127.0.0.1:4711")] {
        let peer = PeerAddr::new(peer.parse().expect("an address"));
        criterion.bench_function(name, |bench| bench.iter(|| client_address(black_box(peer), black_box(&request), &rules)));
    }
}

fn header_rules(criterion: &mut Criterion) {
    let reserved = ReservedHeaders::new(&config_of("").identity_headers);
    let peer: SocketAddr = "192.0.2.9:4711".parse().expect("an address");
    let client = Client::new(PeerAddr::new(peer), Scheme::Http, clock::monotonic());
    let address = Some(ClientIp::new(peer.ip()));
    let headers = RequestHeaders {
        received: &request("secret-of-some-length"),
        client: &client,
        address,
        scheme: Scheme::Http,
        peer_is_trusted: false,
        speaks_forwarded: false,
        request_id: &RequestId::MadeUp(*b"0123456789abcdef0123456789abcdef"),
        rules: &HeaderRules::default(),
        reserved: &reserved,
        cut: Some((config_of("").keys.accept, "hk")),
        host: None,
        websocket: false,
        identity: None,
    };
    let target = PathAndQuery::from_static("/api/v1/users/42");
    criterion.bench_function("headers/write", |bench| {
        bench.iter(|| {
            let mut head = RequestHead::new(Method::GET, &target);
            headers.write(&mut head);
            head
        });
    });
}

fn limits(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), folder());
    let limiter = runtime.block_on(limiter(&folder, runtime.handle()));
    let cell = limiter.cell(&"key".into());
    criterion.bench_function("limit/take", |bench| {
        bench.iter(|| match cell.try_take(PLENTY, clock::now()) {
            Some(verdict) => verdict,
            None => runtime.block_on(limiter.take(&cell, PLENTY)),
        });
    });
    runtime.block_on(limiter.close());
}

async fn limiter(folder: &TempDir, background: &tokio::runtime::Handle) -> Arc<Limiter> {
    let store = Store::Sqlite(SqliteStore::new(folder.path().join("gateway.db"), NonZeroUsize::MIN, Duration::from_secs(10)));
    store.ensure_migrated().await.expect("a new database");
    let (tasks, background) = (Tasks::new(), background.clone());
    let limiter =
        Limiter::start(folder.path(), "bench", Authority::new(store, None), OnAuthorityFailure::Local, tasks, background).await;
    limiter.expect("a folder that can be written to")
}

fn usage(criterion: &mut Criterion) {
    let folder = folder();
    let rules = config::Usage { spool: folder.path().to_owned(), spool_max: 16 << 20, ..config_of("").usage };
    let spool = Arc::new(Spool::open(folder.path()).expect("a folder that can be written to"));
    let usage = Usage::open(&rules, spool, &Arc::default()).expect("an empty spool");
    let recorder = usage.recorder();
    criterion.bench_function("usage/record", |bench| bench.iter(|| recorder.record(black_box(&event()))));
    runtime().block_on(usage.close(Duration::from_secs(10)));
}

fn metrics(criterion: &mut Criterion) {
    let metrics = Metrics::default();
    let (route, upstream, shard) = (metrics.route("/"), metrics.upstream("app"), metrics.shard());
    criterion.bench_function("metrics/finish", |bench| {
        bench.iter(|| {
            shard.finish(black_box(&Finished {
                route,
                method: Some(&Method::GET),
                status: StatusCode::OK,
                auth: Some(AuthResult::Ok),
                upstream: Some((upstream, UpstreamResult::Ok)),
                duration: Duration::from_micros(1234),
                overhead: Duration::from_micros(42),
            }));
        });
    });
}

fn config_of(text: &str) -> Config {
    config::parse(&format!("{BASE}{text}"), Path::new("/"), &|_| None).expect("a valid configuration")
}

fn route(path: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\nupstream = \"app\"\n")
}

/// The headers that a program's HTTP client sends.
fn request(key: &str) -> HeaderMap {
    let bearer = format!("Bearer {key}");
    let lines = [
        ("host", "api.example.com"),
        ("authorization", &bearer),
        ("user-agent", "python-requests/2.32.3"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
    ];
    // As hyper hands it over: with room for what a proxy adds.
    let mut headers = HeaderMap::with_capacity(32);
    for (name, value) in lines {
        headers.insert(name, value.parse().expect("a value"));
    }
    headers
}

fn event() -> UsageEvent<'static> {
    UsageEvent {
        key_id: "0192f3c4-aaaa-7bbb-8ccc-0123456789ab",
        request_id: "6b8f7c1d2e3a4f5b6c7d8e9fa0b1c2d3",
        method: "GET",
        endpoint: "/api/v1/users/42",
        status: 200,
        timestamp: clock::now(),
        response_micros: 1234,
        request_bytes: 0,
        response_bytes: 1024,
        client_ip: Some([192, 0, 2, 9].into()),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn quick() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20)
}

criterion_group! {
    name = hot_path;
    config = quick();
    targets = keys, routes, addresses, header_rules, limits, usage, metrics
}
criterion_main!(hot_path);
