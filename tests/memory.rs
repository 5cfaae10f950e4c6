//! How many bytes a key that is used takes, everything on: a number that no busy machine changes.

#[path = "support/short_answer.rs"]
mod short_answer;

use std::alloc::System;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use hokusai_gateway::app::App;
use hokusai_gateway::clock;
use hokusai_gateway::config::{self, Config};
use hokusai_gateway::keyring::{self, NewKey};
use hokusai_gateway::listen::handed_over::HandedOver;
use hokusai_gateway::model::address::IpNetSet;
use hokusai_gateway::model::api_key::Environment;
use hokusai_gateway::store::Store;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Used before it is counted, so that what is held once for all is there.
const WARM_UP: usize = 100;
/// Well past 4,096, where the parts of the cache double, one by one: which ones have is left to chance there.
const KEYS: usize = 5000;
/// The key itself · its place in the hour's count · both their maps, more than a third empty with so many keys · where it was used from.
const MOST: usize = 380;
/// Less, and it was not counted.
const LEAST: usize = 150;
/// For the round in which the leases go back, and for the store's taking all usage.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the store holds is not counted: it is written in C.
#[tokio::test]
async fn a_key_in_use_takes_few_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = configure(folder.path());
    let keys = create_keys(&Store::open(&config.store)).await;
    let gateway = App::start(config, HandedOver::default()).await.expect("it starts");
    let address = gateway.traffic[0];

    let (warm_up, counted_keys) = keys.split_at(WARM_UP);
    use_each(address, warm_up).await;
    let counted = Region::new(ALLOCATOR);
    use_each(address, counted_keys).await;
    let deadline = clock::monotonic() + PATIENCE;
    let mut each = held(&counted) / KEYS;
    while each > MOST && clock::monotonic() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
        each = each.min(held(&counted) / KEYS);
    }

    assert!((LEAST..=MOST).contains(&each), "{each} bytes a key; {MOST} are known");
    gateway.stop(std::future::pending()).await;
}

fn held(counted: &Region<'_, System>) -> usize {
    let change = counted.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

fn configure(folder: &Path) -> Config {
    let file = folder.join("gateway.toml");
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = false\n\
                [alerts]\nlook_every = \"100ms\"\n[[routes]]\npath = \"/\"\nrespond = { status = 200, body = \"here.\" }\n";
    std::fs::write(&file, text).expect("the folder can be written to");
    config::load(&file, &|_| None).expect("a valid configuration")
}

/// As many have them: with a user, a name, a limit, and no list of networks.
async fn create_keys(store: &Store) -> Vec<String> {
    store.ensure_migrated().await.expect("a new database");
    let mut keys = Vec::new();
    for number in 0..WARM_UP + KEYS {
        let key = NewKey {
            user_id: format!("user_{number}").into(),
            name: "the app's own".to_owned(),
            environment: Environment::Production,
            expires_at: None,
            rate_limit_per_hour: Some(1_000_000),
            allowed_ips: IpNetSet::default(),
            scopes: Vec::new(),
            most_together: None,
        };
        let created = keyring::create(store, "hk", key, clock::now()).await.expect("a store that can be written to");
        keys.push(created.key.expose().to_owned());
    }
    keys
}

async fn use_each(address: SocketAddr, keys: &[String]) {
    let keys = keys.to_vec();
    let using = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        for key in &keys {
            ask(&mut stream, key);
        }
    });
    using.await.expect("every request is answered");
}

fn ask(stream: &mut TcpStream, key: &str) {
    let mut request = String::new();
    write!(request, "GET / HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n\r\n").expect("memory");
    stream.write_all(request.as_bytes()).expect("it reads");
    short_answer::read(stream);
}
