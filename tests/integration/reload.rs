//! A reload puts a changed file in force, and nobody who is being served notices.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::gateway::signal;
use crate::support::wire::Framing;
use crate::support::{Connection, Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// One route to `upstream` that names the reload it came with in each answer.
fn generation(number: usize, upstream: &Upstream) -> String {
    format!(
        "[[upstreams]]\nname = \"app\"\nservers = [\"http://{}\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n\
         response_headers.set.X-Generation = \"{number}\"\n",
        upstream.address()
    )
}

/// Echoes on WebSockets; downloads go on once the gate is opened.
fn long_lived(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |exchange| match exchange.seen.target.as_str() {
        "/download" => exchange.half_and_half(&gate),
        "/socket" => {
            exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            while let Ok(byte) = exchange.wire().exactly(1) {
                exchange.send(byte);
            }
            exchange.close();
        }
        _ => exchange.answer(200, &[], "ok"),
    })
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_cut_no_websocket_and_no_download() {
    let gate = Gate::default();
    let upstreams = [long_lived(&gate), Upstream::ok()];
    let gateway = Gateway::start(upstreams[0].address(), &generation(0, &upstreams[0]));
    let mut socket = gateway.connect();
    socket.send(Request::get("/socket").header("Connection", "Upgrade").header("Upgrade", "websocket").bytes());
    assert_eq!(socket.head().0, 101);
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    let (_, head) = download.head();

    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let load = || ask_until(&gateway, &is_over, &answered);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for number in 1..=100 {
            gateway.configure(upstreams[0].address(), &generation(number, &upstreams[number % 2]));
            gateway.reload();
            let now = gateway.ask(&Request::get("/"));
            assert_eq!((now.status, now.header("x-generation")), (200, Some(number.to_string().as_str())));
            assert_eq!(gateway.ask_admin("/readyz").status, 200);
            socket.send("x");
            assert_eq!(socket.wire().exactly(1).expect("the socket lives"), b"x");
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no request failed");
        }
    });

    gate.open();
    let body = download.wire().body(head.framing(Framing::None));
    assert_eq!((body.bytes.as_slice(), body.complete), (b"halffull".as_slice(), true));
    assert!(upstreams.iter().all(|upstream| upstream.requests().len() > 100) && answered.load(Ordering::Relaxed) > 200);
    assert_eq!(gateway.metric("gateway_config_reloads_total{result=\"ok\"}"), 100);
}

/// Over one connection.
fn ask_until(gateway: &Gateway, is_over: &AtomicBool, answered: &AtomicUsize) {
    let mut connection = gateway.connect();
    while !is_over.load(Ordering::Relaxed) {
        let response = connection.ask(&Request::get("/"));
        assert_eq!((response.status, response.text().as_str(), response.complete), (200, "ok", true));
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_next_request_of_a_connection_goes_by_the_new_file() {
    let [before, after] = [(); 2].map(|()| Upstream::ok());
    let mut gateway = Gateway::stopped(before.address(), "");
    let key = gateway.create_key(&[]);
    gateway.run();
    let mut connection = gateway.connect();
    let large = Request::post("/", "12345").key(&key);
    assert_eq!(connection.ask(&large).status, 200);
    let changes = "server.max_body_bytes = \"4B\"\nkeys.accept = [\"x-api-key\"]\nidentity_headers.user_id = \"X-Who\"\n\
                   server.health_path = \"/alive\"\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n\
                   [[routes]]\npath = \"/new\"\nauth = \"none\"\nrespond = { body = \"new\" }";
    gateway.configure(after.address(), changes);
    gateway.reload();
    assert_eq!(connection.ask(&Request::get("/new")).text(), "new");
    assert_eq!(connection.ask(&Request::get("/alive")).status, 200);
    connection.ask(&Request::get("/").key(&key)).expect(401, "missing_key");
    assert_eq!(connection.ask(&Request::get("/").header("X-API-Key", &key.secret)).status, 200);
    assert_eq!(after.request().headers.get("x-who"), Some("ada"));
    connection.ask(&Request::post("/", "12345").header("X-API-Key", &key.secret)).expect(413, "body_too_large");
    assert_eq!(before.requests().len(), 1);
}

#[test]
fn a_request_under_way_ends_on_the_file_it_began_with() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.answer(200, &[], "ok");
        }
    });
    let gateway = Gateway::start(upstream.address(), &generation(1, &upstream));
    let mut begun = gateway.connect();
    begun.send(Request::get("/").bytes());
    eventually("it reached the upstream", || upstream.requests().len() == 1);
    gateway.configure(upstream.address(), "routes = [{ path = \"/\", respond = { status = 204 }, auth = \"none\" }]");
    gateway.reload();
    assert_eq!(gateway.ask(&Request::get("/")).status, 204);
    gate.open();
    let response = begun.response();
    assert_eq!((response.status, response.header("x-generation")), (200, Some("1")));
    assert_eq!(begun.ask(&Request::get("/")).status, 204);
}

#[test]
fn a_wrong_file_changes_nothing_and_each_problem_is_logged() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let file = gateway.folder().join("gateway.toml");
    gateway.configure(upstream.address(), "server.drain_tiemout = \"5s\"\nkeys.cache_ttl = \"300\"\nroutes = []");
    gateway.reload();
    fs::remove_file(&file).expect("it is there");
    gateway.reload();
    assert_eq!((gateway.ask(&Request::get("/")).status, gateway.ask_admin("/readyz").status), (200, 200));
    let reloads = |result: &str| gateway.metric(&format!("gateway_config_reloads_total{{result=\"{result}\"}}"));
    assert_eq!((reloads("error"), reloads("ok")), (2, 0));
    eventually("all is logged", || gateway.log().matches("the one before is still in force").count() == 2);
    for problem in ["server.drain_tiemout", "drain_timeout", "keys.cache_ttl", "routes", "cannot read the configuration"] {
        assert!(gateway.log().contains(problem), "{problem}");
    }
}

#[test]
fn what_needs_a_restart_is_named_until_it_is_taken_back_and_the_rest_holds() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), OPEN);
    let changed =
        "server.workers = 3\nstore.timeout = \"3s\"\nroutes = [{ path = \"/\", respond = { status = 204 }, auth = \"none\" }]";
    for _ in 0..2 {
        gateway.configure(upstream.address(), changed);
        gateway.reload();
        assert_eq!(gateway.ask(&Request::get("/")).status, 204);
    }
    let named = || gateway.log().matches("\"keys\":\"server.workers, store.timeout\"").count();
    eventually("both times they are named", || named() == 2);
    gateway.configure(upstream.address(), OPEN);
    gateway.reload();
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    eventually("the last is logged", || gateway.log().contains("\"configuration reloaded\""));
    assert_eq!(named(), 2);
}

/// Connections that nobody will use again are not kept, neither those that are idle nor those that become so.
#[test]
fn connections_to_a_server_that_is_gone_are_closed() {
    let (gate, closed) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let before = Upstream::start({
        let (gate, closed) = (gate.clone(), Arc::clone(&closed));
        move |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            if exchange.seen.target == "/slow" {
                gate.wait();
            }
            exchange.send("ok");
            exchange.wire().end();
            closed.fetch_add(1, Ordering::Relaxed);
            exchange.close();
        }
    });
    let after = Upstream::ok();
    let gateway = Gateway::start(before.address(), OPEN);
    let mut slow = gateway.connect();
    slow.send(Request::get("/slow").bytes());
    let (_, head) = slow.head();
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    gateway.configure(after.address(), OPEN);
    gateway.reload();
    eventually("the idle one is closed", || closed.load(Ordering::Relaxed) == 1);
    gate.open();
    assert!(slow.wire().body(head.framing(Framing::None)).complete);
    eventually("the other is closed after its answer", || closed.load(Ordering::Relaxed) == 2);
}

#[test]
fn counts_go_on_and_a_server_that_is_gone_is_told_of_no_more() {
    let (upstream, gone) = (Upstream::ok(), Upstream::nowhere());
    let gateway = Gateway::start(gone, OPEN);
    assert_eq!(gateway.ask(&Request::get("/")).status, 502);
    let health = |server| format!("gateway_upstream_healthy{{upstream=\"app\",server=\"{server}\"}}");
    assert_eq!(gateway.metrics().get(&health(gone)), Some(&0));
    gateway.configure(upstream.address(), OPEN);
    gateway.reload();
    assert_eq!(gateway.ask(&Request::get("/")).status, 200);
    let metrics = gateway.metrics();
    assert_eq!((metrics.get(&health(gone)), metrics.get(&health(upstream.address()))), (None, Some(&1)));
    let requests =
        |status: u16| metrics.get(&format!("gateway_requests_total{{route=\"/\",method=\"GET\",status=\"{status}\"}}"));
    assert_eq!((requests(502), requests(200)), (Some(&1), Some(&1)));
}

#[test]
fn how_long_a_known_key_outlives_an_outage_can_be_changed_during_it() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "keys.cache_ttl = \"100ms\"");
    let key = gateway.create_key(&[]);
    gateway.run();
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    gateway.hide_keys();
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    gateway.configure(upstream.address(), "keys.cache_ttl = \"100ms\"\nkeys.stale_if_error = \"100ms\"");
    gateway.reload();
    eventually("the key is not served any more", || gateway.ask(&Request::get("/").key(&key)).code() == "store_unavailable");
    gateway.configure(upstream.address(), "");
    gateway.reload();
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
}

#[test]
fn what_happens_to_limits_that_cannot_be_asked_for_can_be_changed_meanwhile() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::stopped(upstream.address(), "");
    let key = gateway.create_key(&["--rate-limit", "10"]);
    gateway.run();
    let mut connection = gateway.connect();
    assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
    let database = gateway.database();
    database.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
    eventually("the limit is spent", || gateway.ask(&Request::get("/").key(&key)).status == 429);
    gateway.configure(upstream.address(), "limits.on_redis_failure = \"allow\"");
    gateway.reload();
    assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
    database.execute_batch("COMMIT").expect("the lock can be given up");
}

#[test]
fn a_hangup_during_the_drain_neither_ends_nor_holds_it() {
    let gate = Gate::default();
    let upstream = long_lived(&gate);
    let mut gateway = Gateway::start(upstream.address(), OPEN);
    let mut download = gateway.connect();
    download.send(Request::get("/download").bytes());
    let (_, head) = download.head();
    gateway.terminate();
    eventually("readiness is off", || gateway.ask_admin("/readyz").status == 503);
    signal("HUP", gateway.process_id());
    eventually("it was heard", || gateway.log().contains("its configuration is not read again"));
    gate.open();
    assert!(download.wire().body(head.framing(Framing::None)).complete);
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("configuration reloaded"));
}

#[test]
fn whether_requests_are_logged_can_be_changed() {
    let upstream = Upstream::ok();
    // With this level alone no request would be a line.
    let level = "log.level = \"warn,hokusai_gateway=info\"";
    let (silent, telling) = (format!("log.access = false\n{level}\n{OPEN}"), format!("{level}\n{OPEN}"));
    let mut gateway = Gateway::start(upstream.address(), &silent);
    let ask = |gateway: &Gateway, id: &str| Connection::to(gateway.address()).ask(&Request::get("/").header("X-Request-ID", id));
    ask(&gateway, "before");
    gateway.configure(upstream.address(), &telling);
    gateway.reload();
    ask(&gateway, "meanwhile");
    gateway.configure(upstream.address(), &silent);
    gateway.reload();
    ask(&gateway, "afterwards");
    gateway.terminate();
    assert!(gateway.wait().success());
    let found = ["\"before\"", "\"meanwhile\"", "\"afterwards\""].map(|id| gateway.log().contains(id));
    assert_eq!(found, [false, true, false]);
}
