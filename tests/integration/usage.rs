//! Each admitted request is in the store once, whatever happens to gateway and store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hokusai_gateway::clock;
use rusqlite::Connection as Database;

use crate::support::{Gateway, Key, Request, Upstream, eventually};

/// A response this old must be in the store even after the gateway was killed.
const SAFE_AFTER: Duration = Duration::from_millis(100);

/// How many rows each request id has.
fn rows(database: &Database) -> BTreeMap<String, u32> {
    let mut statement =
        database.prepare("SELECT request_id, count(*) FROM api_key_usage GROUP BY 1").expect("the table is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read");
    rows.collect::<Result<_, _>>().expect("it can be read")
}

fn ask_under(gateway: &Gateway, key: &Key, id: &str) {
    assert_eq!(gateway.ask(&Request::get("/").key(key).header("X-Request-ID", id)).status, 200);
}

#[test]
fn a_row_says_what_was_asked_and_answered() {
    let upstream = Upstream::start(|exchange| match exchange.seen.target.as_str() {
        "/gone" => exchange.close(),
        _ => exchange.answer(201, &[], "made"),
    });
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    let made = gateway.ask(&Request::post("/things?secret=1", "thing!").key(&key).header("X-Request-ID", "made"));
    let gone = gateway.ask(&Request::post("/gone", "x").key(&key).header("X-Request-ID", "gone"));
    assert_eq!((made.status, gone.status), (201, 502));
    eventually("both rows are written", || rows(&gateway.database()).len() == 2);
    let query = "SELECT concat_ws(' ', api_key_id, method, endpoint, status_code, client_ip, request_bytes, response_bytes)
                 FROM api_key_usage WHERE request_id = ?1
                 AND response_time_ms > 0 AND abs(julianday(timestamp) - julianday('now')) < 0.01";
    let row = |id: &str| gateway.database().query_row(query, [id], |row| row.get::<_, String>(0)).expect("the row is there");
    assert_eq!(row("made"), format!("{} POST /things 201 127.0.0.1 6 4", key.id));
    assert_eq!(row("gone"), format!("{} POST /gone 502 127.0.0.1 1 {}", key.id, gone.body.len()));
}

#[test]
fn refused_requests_leave_no_row() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "1"]);
    assert_eq!(gateway.ask(&Request::get("/")).status, 401);
    assert_eq!(gateway.ask(&Request::get("/").header("X-API-Key", "of-somebody-else-entirely")).status, 401);
    ask_under(&gateway, &key, "admitted");
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 429);
    eventually("the admitted one is written", || gateway.metric("gateway_usage_written_total") == 1);
    assert_eq!(rows(&gateway.database()), BTreeMap::from([("admitted".to_owned(), 1)]));
    assert_eq!(gateway.metric("gateway_usage_recorded_total"), 1);
}

#[test]
fn a_key_remembers_when_it_was_last_used() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&[]);
    assert!(gateway.cli_json(&["keys", "show", &key.id])["last_used_at"].is_null());
    ask_under(&gateway, &key, "one");
    eventually("the use is remembered", || gateway.cli_json(&["keys", "show", &key.id])["last_used_at"].is_string());
}

#[test]
fn an_orderly_end_leaves_nothing_behind() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "usage.flush_interval = \"1h\"");
    let key = gateway.create_key(&[]);
    for number in 0..50 {
        ask_under(&gateway, &key, &format!("request-{number}"));
    }
    gateway.terminate();
    assert!(gateway.wait().success());
    let rows = rows(&gateway.database());
    assert_eq!(rows.len(), 50);
    assert!(rows.values().all(|&count| count == 1), "{rows:?}");
}

#[test]
fn a_kill_under_load_loses_nothing_that_was_answered_and_doubles_nothing() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "usage.flush_interval = \"20ms\"");
    let key = gateway.create_key(&["--rate-limit", "1000000"]);
    let answered = AtomicUsize::new(0);
    let (ended, killed_at) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, key, answered) = (gateway.address(), &key, &answered);
                scope.spawn(move || ask_until_it_dies(address, key, client, answered))
            })
            .collect();
        eventually("there is load", || answered.load(Ordering::Relaxed) > 400);
        let loaded = clock::monotonic();
        let is_old = || clock::monotonic().duration_since(loaded) > SAFE_AFTER;
        eventually("much of it is old enough, and more is new", || is_old() && answered.load(Ordering::Relaxed) > 800);
        let killed_at = clock::monotonic();
        gateway.kill();
        let ended: Vec<_> = clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect();
        (ended, killed_at)
    });
    gateway.run();
    let safe: Vec<&str> = ended.iter().filter(|(_, at)| *at + SAFE_AFTER <= killed_at).map(|(id, _)| id.as_str()).collect();
    assert!(safe.len() > 100, "{} of {} were old enough", safe.len(), ended.len());
    eventually("all that was journalled is written", || gateway.metric("gateway_usage_spooled") == 0);
    eventually("every answered request is in the store", || {
        let rows = rows(&gateway.database());
        safe.iter().all(|id| rows.contains_key(*id))
    });
    let rows = rows(&gateway.database());
    assert!(rows.values().all(|&count| count == 1), "written twice: {rows:?}");
}

/// The ids of the requests that were answered, and when.
fn ask_until_it_dies(address: std::net::SocketAddr, key: &Key, client: usize, answered: &AtomicUsize) -> Vec<(String, Instant)> {
    let mut connection = crate::support::Connection::to(address);
    let mut ended = Vec::new();
    for number in 0.. {
        let id = format!("client-{client}-{number}");
        if connection.try_send(Request::get("/").key(key).header("X-Request-ID", &id).bytes()).is_err() {
            break;
        }
        let Ok(Some(head)) = connection.wire().head() else { break };
        let body = connection.wire().body(head.framing(crate::support::wire::Framing::None));
        if !body.complete {
            break;
        }
        ended.push((id, clock::monotonic()));
        answered.fetch_add(1, Ordering::Relaxed);
    }
    ended
}

#[test]
fn what_a_store_could_not_take_is_delivered_later_even_by_the_next_process() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "none"]);
    ask_under(&gateway, &key, "before");
    eventually("the first is written", || rows(&gateway.database()).len() == 1);
    let lock = gateway.database();
    lock.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
    for number in 0..20 {
        ask_under(&gateway, &key, &format!("during-{number}"));
    }
    eventually("they wait in the journal", || gateway.metric("gateway_usage_spooled") == 20);
    thread::sleep(SAFE_AFTER);
    gateway.kill();
    lock.execute_batch("COMMIT").expect("the lock can be given up");
    gateway.run();
    eventually("all are written", || rows(&gateway.database()).len() == 21);
    assert!(rows(&gateway.database()).values().all(|&count| count == 1));
}

#[test]
fn usage_can_be_switched_off() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(upstream.address(), "usage.enabled = false");
    let key = gateway.create_key(&[]);
    ask_under(&gateway, &key, "unrecorded");
    gateway.terminate();
    assert!(gateway.wait().success());
    assert_eq!(rows(&gateway.database()).len(), 0);
}
