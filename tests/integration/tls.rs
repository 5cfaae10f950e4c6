//! What holds in cleartext holds in TLS, and what TLS adds: names, sessions, certificates of clients, files that change.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::support::gateway::signal;
use crate::support::tls::{Authority, Made, TlsConnection};
use crate::support::wire::End;
use crate::support::{Connection, Gate, Gateway, Request, Upstream, eventually};

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";
const TLS: &str = "server.tls = { listen = [\"127.0.0.1:0\"], certificate = \"cert.pem\", private_key = \"cert-key.pem\" }";
const NAME: &str = "gateway.test";

/// A gateway with a certificate for [`NAME`], of an authority of its own.
struct Place {
    authority: Authority,
    shown: Made,
    gateway: Gateway,
}

impl Place {
    fn start(upstream: &Upstream, own: &str) -> Self {
        Self::start_with(upstream, &format!("{TLS}\n{OPEN}\n{own}"), |_, _| {})
    }

    /// `files` writes more files before the gateway begins.
    fn start_with(upstream: &Upstream, settings: &str, files: impl FnOnce(&Authority, &Gateway)) -> Self {
        let authority = Authority::new();
        let mut gateway = Gateway::stopped(upstream.address(), settings);
        let shown = authority.make(&[NAME]);
        shown.write(gateway.folder(), "cert");
        files(&authority, &gateway);
        gateway.run();
        Self { authority, shown, gateway }
    }

    fn connect(&self) -> TlsConnection {
        self.connect_as(NAME).expect("a handshake")
    }

    fn connect_as(&self, name: &str) -> std::io::Result<TlsConnection> {
        TlsConnection::to(self.gateway.tls_address(), name, self.authority.client())
    }

    /// What a new connection is shown.
    fn shown_now(&self) -> Vec<u8> {
        self.connect().certificate().to_vec()
    }
}

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
fn each_name_is_shown_its_certificate_and_any_other_the_first() {
    let more = r#"
        [server.tls]
        listen = ["127.0.0.1:0"]
        certificate = "cert.pem"
        private_key = "cert-key.pem"
        certificates = [
            { certificate = "one.pem", private_key = "one-key.pem" },
            { certificate = "all.pem", private_key = "all-key.pem" },
        ]
    "#;
    let authority = Authority::new();
    let (one, all) = (authority.make(&["one.example"]), authority.make(&["*.wild.example", "wild.example"]));
    let upstream = Upstream::ok();
    let place = Place::start_with(&upstream, more, |_, gateway| {
        one.write(gateway.folder(), "one");
        all.write(gateway.folder(), "all");
    });
    let shown = |name: &str| {
        let client = if name == NAME { place.authority.client() } else { authority.client() };
        TlsConnection::to(place.gateway.tls_address(), name, client).map(|connection| connection.certificate().to_vec())
    };
    assert_eq!(shown(NAME).expect("a handshake"), place.shown.der());
    assert_eq!(shown("one.example").expect("a handshake"), one.der());
    assert_eq!(shown("One.Example").expect("a handshake"), one.der());
    assert_eq!(shown("a.wild.example").expect("a handshake"), all.der());
    assert_eq!(shown("wild.example").expect("a handshake"), all.der());
    // These are shown the first certificate, which is not for them.
    for name in ["a.b.wild.example", "elsewhere", "127.0.0.1"] {
        let refused = TlsConnection::to(place.gateway.tls_address(), name, place.authority.client()).err();
        assert!(refused.is_some_and(|error| error.to_string().contains("not valid for name")), "{name}");
    }
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
fn files_that_change_are_for_new_connections_and_open_ones_go_on() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let mut open = place.connect();
    for told in [false, true] {
        let next = place.authority.make(&[NAME]);
        next.write(place.gateway.folder(), "cert");
        if told {
            signal("HUP", place.gateway.process_id());
        }
        eventually("the new certificate is shown", || place.shown_now() == next.der());
        open.send(Request::get("/").bytes()).expect("it is taken");
        assert_eq!(open.answer().1, "ok");
    }
}

#[test]
fn a_reload_takes_up_other_files_and_names_other_addresses_as_what_needs_a_restart() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let other = place.authority.make(&[NAME]);
    other.write(place.gateway.folder(), "other");
    let tls = TLS.replace("\"cert", "\"other");
    place.gateway.configure(upstream.address(), &format!("{tls}\n{OPEN}"));
    place.gateway.reload();
    assert_eq!(place.shown_now(), other.der());
    place.gateway.configure(upstream.address(), &format!("{}\n{OPEN}", tls.replace("127.0.0.1:0", "127.0.0.2:0")));
    place.gateway.reload();
    eventually("it is named", || place.gateway.log().contains("\"keys\":\"server.tls.listen\""));
    assert_eq!(place.shown_now(), other.der());
}

#[test]
fn files_that_cannot_be_used_change_nothing_and_it_is_said_why() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let file = place.gateway.folder().join("cert.pem");
    let foreign = place.authority.make(&[NAME]).certificate.pem();
    for (text, why) in [("nothing", "holds no certificate"), (&foreign, "is not the private key of")] {
        fs::write(&file, text).expect("the folder can be written to");
        eventually("it is said why", || place.gateway.log().contains(why));
        assert_eq!(place.shown_now(), place.shown.der());
    }
    fs::remove_file(&file).expect("it is there");
    signal("HUP", place.gateway.process_id());
    eventually("it is said why", || place.gateway.log().contains("cannot be read"));
    assert_eq!(place.shown_now(), place.shown.der());
}

#[test]
fn a_client_certificate_is_asked_for_where_an_authority_is_named() {
    let strangers = Authority::new();
    for (mode, anonymous_may) in [("required", false), ("optional", true)] {
        let tls = TLS.replace(" }", &format!(", client_ca = \"ca.pem\", client_certificates = \"{mode}\" }}"));
        let upstream = Upstream::ok();
        let place = Place::start_with(&upstream, &format!("{tls}\n{OPEN}"), |authority, gateway| {
            authority.write(gateway.folder(), "ca.pem");
        });
        let is_served = |own: Option<&Made>, version| {
            let client = place.authority.client_of(&[version], own);
            // With TLS 1.3 a client learns of its refusal after its handshake.
            let asked = TlsConnection::to(place.gateway.tls_address(), NAME, client).and_then(|mut connection| {
                connection.send(Request::get("/").header("Connection", "close").bytes())?;
                connection.rest()
            });
            asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
        };
        for version in [&TLS12, &TLS13] {
            assert!(is_served(Some(&place.authority.make(&["client"])), version), "{mode} {version:?}");
            assert!(!is_served(Some(&strangers.make(&["client"])), version), "{mode} {version:?}");
            assert_eq!(is_served(None, version), anonymous_may, "{mode} {version:?}");
        }
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

#[test]
fn the_end_of_an_answer_is_said_and_one_that_is_cut_can_be_told() {
    let upstream = Upstream::start(|exchange| {
        let chunked = if exchange.seen.target == "/cut" { "Transfer-Encoding: chunked\r\n" } else { "" };
        exchange.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{chunked}\r\n3\r\nabc\r\n"));
        exchange.close();
    });
    let place = Place::start(&upstream, "");
    // To HTTP/1.0 a body of unknown length ends with its connection.
    let ask = |path: &str| {
        let mut connection = place.connect();
        connection.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n")).expect("it is taken");
        connection.rest()
    };
    assert!(ask("/whole").expect("its end is said").ends_with("\r\n\r\n3\r\nabc\r\n"));
    assert!(ask("/cut").is_err());
}

#[test]
fn an_upload_that_is_cut_is_never_completed() {
    let upstream = Upstream::ok();
    let place = Place::start(&upstream, "");
    let mut connection = place.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").expect("it is taken");
    eventually("it has begun", || upstream.requests().len() == 1);
    // The socket is closed, and the end of the session was not said.
    drop(connection);
    eventually("it is given up", || place.gateway.metric("gateway_requests_in_flight") == 0);
    assert!(!upstream.request().complete);
}

#[test]
fn large_bodies_go_both_ways_unchanged() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body();
        exchange.answer(200, &[], body);
    });
    let place = Place::start(&upstream, "");
    let body: String = (0..2_000_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
    let mut connection = place.connect();
    connection.send(Request::post("/", &body).bytes()).expect("it is taken");
    assert!(connection.answer().1 == body);
}

#[test]
fn a_websocket_passes_in_both_directions() {
    let upstream = Upstream::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        while let Ok(bytes) = exchange.wire().exactly(4) {
            exchange.send([b"<", bytes.as_slice(), b">"].concat());
        }
        exchange.close();
    });
    let place = Place::start(&upstream, "");
    let mut connection = place.connect();
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    // The first word does not wait for the switch.
    connection.send([upgrade.bytes(), b"ping".to_vec()].concat()).expect("it is taken");
    assert!(connection.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(connection.exactly(11), b"hello<ping>");
    connection.send("pong").expect("it is taken");
    assert_eq!(connection.exactly(6), b"<pong>");
    connection.finish();
    assert_eq!(connection.rest().expect("its end is said"), "");
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; 64 << 20]));
    let place = Place::start(&upstream, "server.write_timeout = \"300ms\"");
    let mut connection = place.connect();
    connection.send(Request::get("/").bytes()).expect("it is taken");
    eventually("the request is under way", || place.gateway.metric("gateway_requests_in_flight") == 1);
    eventually("the request is given up", || place.gateway.metric("gateway_requests_in_flight") == 0);
    assert!(connection.rest().is_err());
}

/// An answer that fits into the session's own buffer is not taken for sent.
#[test]
fn a_client_that_does_not_read_a_small_answer_is_let_go() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], vec![b'x'; 48 << 10]));
    let place = Place::start(&upstream, "server.write_timeout = \"300ms\"\nserver.idle_timeout = \"1h\"");
    let mut connection = place.connect();
    // As many answers as no socket buffer takes.
    let requests = Request::get("/").bytes().repeat(400);
    connection.send(requests).expect("it is taken");
    eventually("it is let go", || {
        place.gateway.metrics().iter().filter(|(name, _)| name.starts_with("gateway_connections")).all(|(_, &open)| open == 0)
    });
    assert!(connection.rest().is_err());
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::ok();
    let place = Place::start_with(&upstream, TLS, |_, _| {});
    let mut connection = place.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n").expect("it is taken");
    let piece = vec![b'x'; 64 << 10];
    // It may be refused to at some point.
    for _ in 0..40 {
        if connection.send(&piece).is_err() {
            break;
        }
    }
    assert!(connection.answer().0.starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_drain_completes_downloads_and_waits_for_no_idle_connection() {
    let gate = Gate::default();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |exchange| exchange.half_and_half(&gate)
    });
    let mut place = Place::start(&upstream, "server.drain_timeout = \"1h\"\nserver.handshake_timeout = \"1h\"");
    let mut download = place.connect();
    download.send(Request::get("/").bytes()).expect("it is taken");
    assert!(download.head().starts_with("HTTP/1.1 200 "));
    let mut idle = place.connect();
    let _silent = TcpStream::connect(place.gateway.tls_address()).expect("it listens");
    place.gateway.terminate();
    eventually("readiness is off", || place.gateway.ask_admin("/readyz").status == 503);
    gate.open();
    assert_eq!(download.exactly(8), b"halffull");
    assert!(place.gateway.wait().success());
    assert_eq!(idle.rest().expect("its end is said"), "");
}

#[test]
fn check_tells_when_each_certificate_expires() {
    let day = Duration::from_hours(24);
    let settings = TLS.replace(" }", ", certificates = [{ certificate = \"soon.pem\", private_key = \"soon-key.pem\" }] }");
    let gateway = Gateway::stopped(Upstream::nowhere(), &settings);
    let authority = Authority::new();
    authority.make_for(&["late.example"], day * 40 + day / 2).write(gateway.folder(), "cert");
    authority.make_for(&["soon.example"], day * 13 + day / 2).write(gateway.folder(), "soon");
    let answer = gateway.cli_json(&["check"]);
    let told = |index: usize| {
        let told = &answer["certificates"][index];
        (told["names"][0].as_str(), told["days_left"].as_i64(), told["expires_soon"].as_bool())
    };
    assert_eq!(told(0), (Some("late.example"), Some(40), Some(false)));
    assert_eq!(told(1), (Some("soon.example"), Some(13), Some(true)));
    let said = String::from_utf8(gateway.cli(&["check"]).stdout).expect("text");
    let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("WARNING")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("soon.example") && warnings[0].contains("13 days"), "{said}");
}
