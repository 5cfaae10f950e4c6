//! Who a client is, where a proxy before the gateway says it ahead of everything else.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hokusai_gateway::clock;

use crate::support::raw_http2::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RawHttp2, SETTINGS, frame, head};
use crate::support::tls::{Authority, Made, TlsConnection};
use crate::support::{Connection, Gateway, Key, Request, Response, Upstream, eventually};

const ON: &str = "server.proxy_protocol = true\nclient_ip.trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

/// On a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn line(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 51234 443\r\n").into_bytes()
}

/// Version 2, with extensions after the addresses.
fn binary(command: u8, source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    let ends = [&source[..], &[127, 0, 0, 1], &51234_u16.to_be_bytes(), &443_u16.to_be_bytes(), extensions].concat();
    let length = u16::try_from(ends.len()).expect("a test tells little").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, 0x11], &length, &ends].concat()
}

/// The answer to a request that follows the header at once.
#[track_caller]
fn ask(gateway: &Gateway, header: &[u8], request: &Request) -> Response {
    let mut connection = gateway.connect();
    connection.send([header, &request.bytes()].concat());
    connection.response()
}

/// A gateway before an upstream, and a key for 203.0.113.7 alone.
fn started(upstream: &Upstream, own: &str) -> (Gateway, Key) {
    let gateway = Gateway::start(upstream.address(), own);
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    (gateway, key)
}

#[test]
fn the_source_that_a_trusted_proxy_tells_is_the_client() {
    let upstream = Upstream::ok();
    let (gateway, key) = started(&upstream, ON);
    let request = Request::get("/").key(&key);
    assert_eq!(ask(&gateway, &line("203.0.113.7"), &request).status, 200);
    assert_eq!(upstream.request().headers.all("x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(ask(&gateway, &binary(0x21, [203, 0, 113, 7], &[]), &request).status, 200);
    assert_eq!(ask(&gateway, &binary(0x21, [203, 0, 113, 7], &[0; 3000]), &request).status, 200);
    ask(&gateway, &line("203.0.113.8"), &request).expect(403, "ip_not_allowed");
    ask(&gateway, &binary(0x21, [203, 0, 113, 8], &[]), &request).expect(403, "ip_not_allowed");
}

#[test]
fn every_request_of_the_connection_comes_from_there() {
    let upstream = Upstream::ok();
    let (gateway, key) = started(&upstream, ON);
    let mut connection = gateway.connect();
    connection.send(line("203.0.113.7"));
    for _ in 0..3 {
        assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_is_read_the_same() {
    let upstream = Upstream::ok();
    let (gateway, key) = started(&upstream, ON);
    for header in [line("203.0.113.7"), binary(0x21, [203, 0, 113, 7], &[4, 0, 1, 0])] {
        let mut connection = gateway.connect();
        for byte in header {
            connection.send([byte]);
        }
        assert_eq!(connection.ask(&Request::get("/").key(&key)).status, 200);
    }
}

/// A client that reached the gateway past its proxy would else pass for the proxy.
#[test]
fn without_a_header_a_trusted_proxys_connection_is_closed_and_the_log_says_why() {
    let upstream = Upstream::ok();
    let (gateway, key) = started(&upstream, ON);
    let request = Request::get("/").key(&key).header("X-Forwarded-For", "203.0.113.7");
    for start in [&b""[..], b"PROXY TCP4 203.0.113.7 127.0.0.1 51234\r\n", &binary(0x21, [203, 0, 113, 7], &[0; 5000])] {
        let mut connection = gateway.connect();
        connection.send([start, &request.bytes()].concat());
        connection.end();
    }
    assert_eq!(upstream.requests().len(), 0);
    eventually("the log says why", || gateway.log().contains("it sent something else than a PROXY protocol header"));
    let lines = gateway.log().matches("a connection of a trusted proxy was closed").count();
    assert_eq!(lines, 1, "the next ones are told together, later");
}

#[test]
fn a_header_that_does_not_come_ends_the_connection_after_the_handshake_timeout() {
    let upstream = Upstream::ok();
    let (gateway, _) = started(&upstream, &format!("{ON}\nserver.handshake_timeout = \"300ms\""));
    for start in ["", "PROXY TCP4 203."] {
        let begun = clock::monotonic();
        let mut connection = gateway.connect();
        connection.send(start);
        connection.end();
        let waited = clock::monotonic() - begun;
        assert!(waited >= Duration::from_millis(300) && waited < SLACK, "{waited:?}");
    }
}

/// A gateway that speaks TLS after the header, its authority, and the certificates it shows to who asks for `one.test`, `two.test`.
fn with_tls(upstream: &Upstream, own: &str) -> (Gateway, Authority, [Made; 2]) {
    let tls = r#"
        [server.tls]
        listen = ["127.0.0.1:0"]
        certificate = "one.pem"
        private_key = "one-key.pem"
        [[server.tls.certificates]]
        certificate = "two.pem"
        private_key = "two-key.pem"
    "#;
    let authority = Authority::new();
    let mut gateway = Gateway::stopped(upstream.address(), &format!("{ON}\n{own}\n{tls}"));
    let made = ["one", "two"].map(|name| {
        let made = authority.make(&[&format!("{name}.test")]);
        made.write(gateway.folder(), name);
        made
    });
    gateway.run();
    (gateway, authority, made)
}

#[test]
fn a_handshake_of_tls_follows_the_header_and_the_name_it_asks_for_counts() {
    let upstream = Upstream::ok();
    let (gateway, authority, [_, two]) = with_tls(&upstream, "");
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    let client = Arc::new(authority.client());
    let ask = |header: &[u8]| {
        let connected = TlsConnection::after(header, gateway.tls_address(), "two.test", &client);
        let mut connection = connected.expect("a handshake");
        assert_eq!(connection.certificate(), two.der());
        connection.send(Request::get("/").host("two.test").key(&key).bytes()).expect("it is taken");
        connection.answer().0
    };
    for header in [line("203.0.113.7"), binary(0x21, [203, 0, 113, 7], &[]), binary(0x21, [203, 0, 113, 7], &[0; 3000])] {
        assert!(ask(&header).starts_with("HTTP/1.1 200"));
        let seen = upstream.requests().pop().expect("it reaches the upstream").headers;
        assert_eq!((seen.all("x-forwarded-for"), seen.all("x-forwarded-proto")), (vec!["203.0.113.7"], vec!["https"]));
    }
    for header in [line("203.0.113.8"), binary(0x21, [203, 0, 113, 8], &[])] {
        assert!(ask(&header).starts_with("HTTP/1.1 403"));
    }
    assert!(TlsConnection::resuming(gateway.tls_address(), "two.test", &client).is_err(), "the header is missing");
}

#[test]
fn the_streams_of_http2_come_from_there_too() {
    let upstream = Upstream::ok();
    let (gateway, authority, _) = with_tls(&upstream, "");
    let key = gateway.create_key(&["--allowed-ip", "203.0.113.7"]);
    let mut client = authority.client();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let client = Arc::new(client);
    for header in [line("203.0.113.7"), binary(0x21, [203, 0, 113, 7], &[])] {
        let mut in_cleartext = RawHttp2::silent(gateway.address());
        in_cleartext.send(&header);
        let over_tls = TlsConnection::after(&header, gateway.tls_address(), "one.test", &client).expect("a handshake");
        for mut connection in [in_cleartext, RawHttp2::over_tls(over_tls)] {
            connection.send([PREFACE, &frame(SETTINGS, 0, 0, [])].concat());
            let block = head("GET", "/", &[("x-api-key", &key.secret)]);
            connection.send([1, 3].map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).concat());
            assert_eq!([(); 2].map(|()| connection.next_of(DATA).expect("an answer").payload), [b"ok"; 2]);
        }
    }
    assert!(upstream.requests().iter().all(|seen| seen.headers.all("x-forwarded-for") == ["203.0.113.7"]));
}

#[test]
fn header_and_handshake_have_one_timeout_together() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let upstream = Upstream::ok();
    let (gateway, ..) = with_tls(&upstream, "server.handshake_timeout = \"3s\"");
    thread::scope(|scope| {
        for address in [gateway.address(), gateway.tls_address()] {
            scope.spawn(move || {
                let begun = clock::monotonic();
                let mut connection = Connection::to(address);
                thread::sleep(TIMEOUT * 5 / 6);
                connection.send(line("203.0.113.7"));
                connection.end();
                let waited = clock::monotonic() - begun;
                assert!(waited >= TIMEOUT && waited < TIMEOUT * 5 / 3, "{waited:?}");
            });
        }
    });
}

#[test]
fn a_proxy_that_speaks_for_itself_is_the_peer_and_its_header_counts() {
    let upstream = Upstream::ok();
    let (gateway, key) = started(&upstream, ON);
    let request = Request::get("/").key(&key).header("X-Forwarded-For", "203.0.113.7");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, [198, 51, 100, 1], &[]), line("10.0.0.9")] {
        assert_eq!(ask(&gateway, &header, &request).status, 200);
    }
    ask(&gateway, &line("198.51.100.1"), &request).expect(403, "ip_not_allowed");
}

#[test]
fn whoever_is_no_trusted_proxy_is_served_without_a_header_and_refused_with_one() {
    let upstream = Upstream::ok();
    for on in [true, false] {
        let own = format!("server.proxy_protocol = {on}\nclient_ip.trusted_proxies = [\"10.0.0.0/8\"]");
        let (gateway, key) = started(&upstream, &own);
        let anybody = gateway.create_key(&[]);
        assert_eq!(gateway.ask(&Request::get("/").key(&anybody)).status, 200);
        for header in [line("203.0.113.7"), binary(0x21, [203, 0, 113, 7], &[])] {
            let refused = ask(&gateway, &header, &Request::get("/").key(&key));
            refused.expect(400, "bad_request");
            assert!(refused.text().contains("PROXY protocol"), "{refused:?}");
        }
    }
}

#[test]
fn a_connection_without_a_header_does_not_hold_up_the_drain() {
    let upstream = Upstream::ok();
    let (mut gateway, _) =
        started(&upstream, &format!("{ON}\nserver.handshake_timeout = \"60s\"\nserver.drain_timeout = \"30s\""));
    let mut silent = Connection::to(gateway.address());
    silent.send("PROXY ");
    eventually("it is accepted", || {
        gateway.metrics().iter().any(|(name, open)| name.starts_with("gateway_connections") && *open == 1)
    });
    let begun = clock::monotonic();
    gateway.terminate();
    assert!(gateway.wait().success());
    assert!(clock::monotonic() - begun < Duration::from_secs(15));
}
