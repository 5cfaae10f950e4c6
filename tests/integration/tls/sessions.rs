//! Sessions: versions, resumption, and handshakes that come to nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::{NAME, Place, TLS};
use crate::support::tls::TlsConnection;
use crate::support::wire::End;
use crate::support::{Connection, Request, Upstream};

#[test]
fn a_request_over_each_version_reaches_the_upstream_as_one_over_https() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    for version in [&TLS12, &TLS13] {
        let client = place.authority.client_of(&[version], None);
        let mut connection = TlsConnection::to(place.gateway.tls_address(), NAME, client).expect("a handshake");
        for _ in 0..2 {
            connection.send(Request::get("/").bytes()).expect("it is taken");
            assert_eq!(connection.answer().1, "ok");
        }
        assert_eq!(connection.session().protocol_version(), Some(version.version));
    }
    for seen in upstream.requests() {
        assert_eq!(seen.headers.all("x-forwarded-proto"), ["https"]);
    }
    assert_eq!(place.gateway.ask(&Request::get("/")).text(), "ok");
    assert_eq!(upstream.requests().last().expect("it came").headers.all("x-forwarded-proto"), ["http"]);
}

#[test]
fn a_key_is_asked_for_over_tls_too() {
    let upstream = Upstream::ok();
    let place = Place::start_with(&upstream, TLS, |_, _| {});
    let mut connection = place.connect();
    connection.send(Request::get("/").bytes()).expect("it is taken");
    assert!(connection.answer().0.starts_with("HTTP/1.1 401 "));
    let key = place.gateway.create_key(&[]);
    connection.send(Request::get("/").key(&key).bytes()).expect("it is taken");
    assert_eq!(connection.answer().1, "ok");
}

#[test]
fn a_session_is_resumed_by_any_worker() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(place.authority.client_of(&[version], None));
        let kinds = (0..6).map(|_| {
            let mut connection = TlsConnection::resuming(place.gateway.tls_address(), NAME, &client).expect("a handshake");
            // The tickets of TLS 1.3 come with the first answer.
            connection.send(Request::get("/").bytes()).expect("it is taken");
            assert_eq!(connection.answer().1, "ok");
            connection.session().handshake_kind()
        });
        let kinds: Vec<_> = kinds.collect();
        assert_eq!(kinds[0], Some(HandshakeKind::Full));
        assert_eq!(kinds[1..], [Some(HandshakeKind::Resumed); 5], "{version:?}");
    }
}

#[test]
fn a_handshake_that_does_not_come_to_its_end_is_given_up() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "server.handshake_timeout = \"300ms\"");
    let mut silent = TcpStream::connect(place.gateway.tls_address()).expect("it listens");
    let mut half = TcpStream::connect(place.gateway.tls_address()).expect("it listens");
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("it is taken");
    // A handshake, and no request.
    let mut idle = place.connect();
    for socket in [&mut silent, &mut half] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        assert!(matches!(socket.read(&mut [0; 64]), Ok(0)));
    }
    assert_eq!(idle.rest().expect("its end is said"), "");
}

#[test]
fn a_request_in_cleartext_is_told_that_the_port_speaks_https() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let mut connection = Connection::to(place.gateway.tls_address());
    connection.send(Request::post("/", "a body").bytes());
    let answer = connection.response();
    answer.expect(400, "bad_request");
    assert!(answer.text().contains("HTTPS"), "{answer:?}");
    assert_eq!(connection.end(), End::Closed);
    assert_eq!(upstream.requests().len(), 0);
}
