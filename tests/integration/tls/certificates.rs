//! Which certificate is shown, which files it comes from and how they change, and which one a client has to show.

use std::fs;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};

use super::{NAME, OPEN, Place, TLS};
use crate::support::gateway::signal;
use crate::support::tls::{Authority, Made, TlsConnection};
use crate::support::{Gateway, Request, Upstream, eventually};

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
