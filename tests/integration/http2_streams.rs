//! A stream of HTTP/2 whose client is slow or leaves: what it holds is free again, and no other stream of its connection ends.

use std::thread;
use std::time::Duration;

use crate::support::raw_http2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, RawHttp2, WINDOW_UPDATE, frame, head, setting,
};
use crate::support::{Gate, Gateway, Key, Upstream, eventually};

const INITIAL_WINDOW_SIZE: u16 = 4;
/// `:status: 200` as the first field of a head (RFC 7541, appendix A).
const OK: u8 = 0x88;

/// Two requests at once, each wait for the client short.
const IMPATIENT: &str = "server.write_timeout = \"400ms\"\nserver.body_timeout = \"400ms\"\nlimits.concurrent = 2\n\
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
    let half = [frame(HEADERS, END_HEADERS, 1, head("POST", "/", &[])), frame(DATA, 0, 1, b"half")].concat();
    frees_its_place(&gateway, &gate, raw, &half, |raw| {
        next(raw, HEADERS, 1);
    });
    eventually("it is said to have been too slow", || gateway.log().contains("\"status\":408"));
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
    let own = "server.drain_timeout = \"1h\"\nroutes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";
    let mut gateway = Gateway::start(upstream.address(), own);
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
