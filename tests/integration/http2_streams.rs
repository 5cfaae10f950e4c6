//! A stream of HTTP/2 whose client is slow or leaves: what it holds is free again, and no other stream of its connection ends.

use std::thread;
use std::time::Duration;

use crate::support::http2::{self, Http2};
use crate::support::raw_http2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2, WINDOW_UPDATE, frame, head,
    setting,
};
use crate::support::{Gate, Gateway, Key, Upstream, eventually};

const INITIAL_WINDOW_SIZE: u16 = 4;
/// `:status: 200` as the first field of a head (RFC 7541, appendix A).
const OK: u8 = 0x88;

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";
/// Two requests at once, each wait for the client short.
const IMPATIENT: &str = "server.write_timeout = \"1500ms\"\nserver.body_timeout = \"1500ms\"\nlimits.concurrent = 2\n\
                         routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// `/held` is answered once the gate is open, `/large` with 1 MiB.
fn upstream(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |exchange| match exchange.seen.target.as_str() {
        "/held" => {
            gate.wait();
            exchange.answer(200, &[], "held");
        }
        "/large" => exchange.answer(200, &[], vec![b'x'; 1 << 20]),
        _ => exchange.answer(200, &[], "ok"),
    })
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, head("GET", path, &[]))
}

fn give(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
}

/// The next frame of this kind on this stream.
#[track_caller]
fn next(raw: &mut RawHttp2, kind: u8, stream: u32) -> Frame {
    let of_it = |frame: &Frame| (frame.kind, frame.stream) == (kind, stream);
    std::iter::from_fn(|| raw.next()).find(of_it).expect("the connection goes on")
}

/// Whether another request is let in, on one stream after the other.
fn is_admitted(raw: &mut RawHttp2, stream: &mut u32) -> bool {
    *stream += 2;
    raw.send([get(*stream, "/"), give(*stream, 1000)].concat());
    next(raw, HEADERS, *stream).payload[0] == OK
}

/// Stream 1 is slow, stream 3 is held: a third is refused, until stream 1 is given up. Then stream 3 is answered as if nothing
/// had been.
fn frees_its_place(gateway: &Gateway, gate: &Gate, mut raw: RawHttp2, slow: &[u8], given_up: impl Fn(&mut RawHttp2)) {
    raw.send([slow, &get(3, "/held"), &give(3, 1000)].concat());
    eventually("two are under way", || gateway.metric("gateway_requests_in_flight") == 2);
    let mut last = 3;
    assert!(!is_admitted(&mut raw, &mut last), "it has no place");
    given_up(&mut raw);
    eventually("one has ended", || gateway.metric("gateway_requests_in_flight") == 1);
    assert!(is_admitted(&mut raw, &mut last), "its place is not free");
    gate.open();
    assert_eq!(next(&mut raw, DATA, 3).payload, b"held");
}

#[test]
fn an_answer_that_is_not_taken_is_given_up_with_some_window_and_with_none() {
    for window in [100, 0] {
        let gate = Gate::default();
        let upstream = upstream(&gate);
        let gateway = Gateway::start(upstream.address(), IMPATIENT);
        let raw = RawHttp2::to(gateway.address(), &setting(INITIAL_WINDOW_SIZE, window));
        frees_its_place(&gateway, &gate, raw, &get(1, "/large"), |raw| {
            next(raw, RST_STREAM, 1);
        });
        eventually("its client is said to have left", || gateway.log().contains("\"status\":499"));
    }
}

#[test]
fn an_upload_that_stalls_is_given_up_and_answered() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = Gateway::start(upstream.address(), IMPATIENT);
    let raw = RawHttp2::to(gateway.address(), &[]);
    let half = [frame(HEADERS, END_HEADERS, 1, head("POST", "/upload", &[])), frame(DATA, 0, 1, b"half")].concat();
    frees_its_place(&gateway, &gate, raw, &half, |raw| {
        next(raw, HEADERS, 1);
    });
    eventually("it is said to have been too slow", || gateway.log().contains("\"status\":408"));
    assert!(upstream.requests().iter().all(|seen| seen.target != "/upload" || !seen.complete));
}

/// What one stream takes of the connection's window and does not give back, the others lack.
#[test]
fn a_connection_without_window_is_used_again_once_it_has_one() {
    let upstream = upstream(&Gate::default());
    let gateway = Gateway::start(upstream.address(), IMPATIENT);
    let mut raw = RawHttp2::to(gateway.address(), &setting(INITIAL_WINDOW_SIZE, 1 << 20));
    raw.send(get(1, "/large"));
    next(&mut raw, DATA, 1);
    raw.send(get(3, "/large"));
    let mut given_up = [RST_STREAM; 2].map(|kind| std::iter::from_fn(|| raw.next()).find(|frame| frame.kind == kind));
    given_up.sort_by_key(|frame| frame.as_ref().map(|frame| frame.stream));
    assert_eq!(given_up.map(|frame| frame.expect("the connection goes on").stream), [1, 3]);
    eventually("both have ended", || gateway.metric("gateway_requests_in_flight") == 0);
    raw.send([get(5, "/"), give(0, 1000)].concat());
    assert_eq!(next(&mut raw, DATA, 5).payload, b"ok");
}

/// All windows are open, and the socket is full.
#[test]
fn a_client_that_does_not_read_is_let_go() {
    let upstream = upstream(&Gate::default());
    let gateway = Gateway::start(upstream.address(), &format!("{OPEN}\nserver.write_timeout = \"400ms\""));
    let mut raw = RawHttp2::to(gateway.address(), &setting(INITIAL_WINDOW_SIZE, i32::MAX as u32));
    raw.send(give(0, 1 << 30));
    (0..60).for_each(|count| assert!(raw.send(get(2 * count + 1, "/large"))));
    eventually("all are under way", || upstream.requests().len() == 60);
    eventually("all are given up", || gateway.metric("gateway_requests_in_flight") == 0);
    let connections = || gateway.metrics().into_iter().find(|(name, _)| name.starts_with("gateway_connections"));
    eventually("their connection too", || connections().is_some_and(|(_, open)| open == 0));
    drop(raw);
}

/// Asks for 1000 bytes, and has taken 10 of them.
fn has_taken_some(gateway: &Gateway) -> RawHttp2 {
    let mut raw = RawHttp2::to(gateway.address(), &setting(INITIAL_WINDOW_SIZE, 10));
    raw.send(get(1, "/"));
    assert_eq!(next(&mut raw, DATA, 1).payload.len(), 10);
    eventually("the gateway has handed it all over", || gateway.metric("gateway_requests_in_flight") == 0);
    raw
}

fn thousand() -> Upstream {
    Upstream::start(|exchange| exchange.answer(200, &[], [b'x'; 1000]))
}

/// The last piece of an answer is in the gateway's hands no more, and not yet in the client's.
#[test]
fn a_drain_waits_for_a_client_that_takes_the_end_of_an_answer_slowly() {
    let upstream = thousand();
    let mut gateway = Gateway::start(upstream.address(), &format!("{OPEN}\nserver.drain_timeout = \"1h\""));
    let mut raw = has_taken_some(&gateway);
    gateway.terminate();
    raw.next_of(GOAWAY).expect("it is told");
    // Longer than a connection without a request is left open.
    thread::sleep(Duration::from_secs(3));
    raw.send(give(1, 1000));
    let last = next(&mut raw, DATA, 1);
    assert!(last.payload.len() == 990 && last.has(END_STREAM), "{last:?}");
    drop(raw);
    assert!(gateway.wait().success());
}

#[test]
fn the_end_of_an_answer_that_is_never_taken_does_not_keep_the_connection() {
    let upstream = thousand();
    let gateway = Gateway::start(upstream.address(), &format!("{IMPATIENT}\nserver.idle_timeout = \"1h\""));
    has_taken_some(&gateway).rest();
}

#[test]
fn each_stream_has_its_own_deadlines_and_the_others_go_on() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| match exchange.seen.target.as_str() {
            "/silent" => gate.wait(),
            "/stalls" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                gate.wait();
            }
            "/breaks" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                exchange.close();
            }
            _ => {
                thread::sleep(Duration::from_millis(600));
                gate.open();
                exchange.answer(200, &[], "ok");
            }
        }
    });
    let own = r#"upstreams = [{ name = "app", servers = ["http://{app}"], response_timeout = "300ms", body_timeout = "300ms" }]
        routes = [{ path = "/", upstream = "app", auth = "none" },
                  { path = "/slow", upstream = "app", auth = "none", timeouts = { response = "10s" } }]"#;
    let gateway = Gateway::start(upstream.address(), own);
    let paths = ["/silent", "/stalls", "/breaks", "/slow"];
    let requests = paths.map(|path| http2::empty(http2::get(path)));
    let answers = Http2::to(gateway.address()).ask_all(requests.into());
    let [silent, stalls, breaks, slow] = answers.try_into().expect("four answers");
    assert_eq!(silent.expect("an answer").status, 504);
    assert!(stalls.is_err() && breaks.is_err(), "they look whole");
    assert_eq!(slow.expect("an answer").body, "ok");
}

#[test]
fn a_stream_that_is_taken_slowly_is_not() {
    const SIZE: usize = 256 << 10;
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; SIZE]));
    let gateway = Gateway::start(upstream.address(), &format!("{OPEN}\nserver.write_timeout = \"500ms\""));
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    // The first 64 KiB, which every window has, and the rest piece by piece.
    let more = (16_u32 << 10).to_be_bytes();
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/", &[])));
    for _ in 0..SIZE / (16 << 10) {
        thread::sleep(Duration::from_millis(150));
        raw.send([frame(WINDOW_UPDATE, 0, 0, more), frame(WINDOW_UPDATE, 0, 1, more)].concat());
    }
    let mut taken = 0;
    while taken < SIZE {
        let frame = raw.next().expect("the answer goes on");
        assert_ne!(frame.kind, RST_STREAM);
        taken += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
}

#[test]
fn a_stream_that_its_client_resets_frees_the_upstream() {
    let left = Gate::default();
    let upstream = Upstream::that_is_left(&left);
    let gateway = Gateway::start(upstream.address(), OPEN);
    let mut raw = RawHttp2::to(gateway.address(), &[]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET", "/", &[])));
    raw.next_of(DATA).expect("the answer begins");
    raw.send(frame(RST_STREAM, 0, 1, 8_u32.to_be_bytes()));
    eventually("it is over", || gateway.metric("gateway_requests_in_flight") == 0);
    left.wait();
    eventually("it is logged", || gateway.log().contains("\"status\":499"));
    raw.send(frame(PING, 0, 0, b"12345678"));
    assert_eq!(raw.next_of(PING).expect("the connection goes on").payload, b"12345678");
}

fn recorded(gateway: &Gateway) -> Vec<u16> {
    let database = gateway.database();
    let mut rows = database.prepare("SELECT status_code FROM api_key_usage").expect("there is such a table");
    let codes = rows.query_map([], |row| row.get(0)).expect("it can be read");
    codes.collect::<Result<_, _>>().expect("codes are numbers")
}

#[test]
fn an_upload_that_its_client_breaks_off_is_recorded_as_one_that_left() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(upstream.address(), "");
    let key: Key = gateway.create_key(&[]);
    let with_key = [("x-api-key", key.secret.as_str())];
    let half = [frame(HEADERS, END_HEADERS, 1, head("POST", "/", &with_key)), frame(DATA, 0, 1, b"half")].concat();
    let begun = |count: usize| {
        eventually("it has reached the upstream", || upstream.requests().len() == count);
    };
    let by_reset = || {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(&half);
        begun(1);
        raw.send(frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes()));
        eventually("it is recorded", || recorded(&gateway).len() == 1);
    };
    let by_leaving = || {
        let mut raw = RawHttp2::to(gateway.address(), &[]);
        raw.send(&half);
        begun(2);
    };
    let over_http1 = || {
        let mut connection = gateway.connect();
        let secret = &key.secret;
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nContent-Length: 10\r\n\r\nhalf"));
        begun(3);
    };
    by_reset();
    by_leaving();
    over_http1();
    eventually("all are recorded", || recorded(&gateway).len() == 3);
    assert_eq!(recorded(&gateway), [499; 3]);
    eventually("the upstream has seen all of them break off", || upstream.requests().len() == 3);
    assert!(upstream.requests().iter().all(|seen| !seen.complete));
}
