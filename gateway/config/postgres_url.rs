//! `postgres://user:password@host:port/database?option=value&…`, with the options that psql knows.
//!
//! What must stay true here: no message repeats a part of the URL, since any part may be one of a password that holds a `?`,
//! `@` or `/` not written as `%3F`, `%40`, `%2F`.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::problem::Complaint;

/// Where a PostgreSQL server is, who asks it, and how far it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// With every server that is named.
    pub connection: tokio_postgres::Config,
    /// The same with one of them at a time, in order.
    pub servers: Vec<tokio_postgres::Config>,
    pub verify: Verify,
    /// Whose certificates are believed; empty: those that the system believes.
    pub roots: Vec<CertificateDer<'static>>,
}

/// What a server has to prove where TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: only who listens on the way is kept out.
    Nothing,
    /// That its certificate comes from one of the roots.
    Chain,
    /// And that it is for the host that was asked for.
    ChainAndName,
}

impl PostgresUrl {
    /// `host:port/database`, as an operator would say it.
    pub fn address(&self) -> String {
        let ports = self.connection.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let host = |(index, host): (usize, &Host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            Host::Unix(folder) => format!("{} (port {})", folder.display(), port(index)),
        };
        let hosts: Vec<String> = self.connection.get_hosts().iter().enumerate().map(host).collect();
        format!("{}/{}", hosts.join(","), self.connection.get_dbname().unwrap_or_default())
    }

    pub fn user(&self) -> &str {
        self.connection.get_user().unwrap_or("the user of this system")
    }
}

/// `base_dir` is what a relative `sslrootcert` is relative to.
pub(super) fn postgres_url(text: &str, base_dir: &Path) -> Result<PostgresUrl, Complaint> {
    let (place, options) = split_options(text);
    let (tls, others): (Vec<&str>, Vec<&str>) =
        options.split('&').filter(|option| !option.is_empty()).partition(|option| option.starts_with("ssl"));
    let mut roots = None;
    let mut mode = "prefer".to_owned();
    for option in tls {
        let (name, value) = option.split_once('=').ok_or_else(no_postgres_url)?;
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "sslmode" => mode = value.into_owned(),
            "sslrootcert" if value == "system" => roots = Some(Vec::new()),
            "sslrootcert" => roots = Some(certificates(&base_dir.join(&*value))?),
            _ => return Err(no_postgres_url()),
        }
    }
    let (ssl_mode, verify) = tls_rules(&mode, roots.is_some())?;
    let others = others.join("&");
    let connection = connection(place, &others, ssl_mode)?;
    if connection.get_hosts().is_empty() {
        return Err(Complaint::new("names no host").hint(FORM));
    }
    if connection.get_dbname().is_none_or(str::is_empty) {
        return Err(Complaint::new("names no database").hint(FORM));
    }
    let servers = each_server(place, &others, ssl_mode)?;
    Ok(PostgresUrl { connection, servers, verify, roots: roots.unwrap_or_default() })
}

fn connection(place: &str, options: &str, ssl_mode: SslMode) -> Result<tokio_postgres::Config, Complaint> {
    let mut connection: tokio_postgres::Config = format!("{place}?{options}").parse().map_err(|_| no_postgres_url())?;
    connection.ssl_mode(ssl_mode);
    if connection.get_application_name().is_none() {
        connection.application_name(env!("CARGO_PKG_NAME"));
    }
    Ok(connection)
}

/// Of several, the others follow the one that takes writes.
fn each_server(place: &str, options: &str, ssl_mode: SslMode) -> Result<Vec<tokio_postgres::Config>, Complaint> {
    let places = with_each_host(place);
    let server = |place: &String| {
        let mut server = connection(place, options, ssl_mode)?;
        if places.len() > 1 && server.get_target_session_attrs() == TargetSessionAttrs::Any {
            server.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(server)
    };
    places.iter().map(server).collect()
}

/// The URL's part before the options, with each of its hosts alone.
fn with_each_host(place: &str) -> Vec<String> {
    let begin = place.find('@').map_or_else(|| place.find("//").map_or(0, |slashes| slashes + 2), |at| at + 1);
    let end = place[begin..].find('/').map_or(place.len(), |slash| begin + slash);
    place[begin..end].split(',').map(|host| format!("{}{host}{}", &place[..begin], &place[end..])).collect()
}

/// A password may hold a `?`: options follow after the user only.
fn split_options(text: &str) -> (&str, &str) {
    let user_ends = text.find('@').unwrap_or(0);
    match text[user_ends..].find('?') {
        Some(at) => (&text[..user_ends + at], &text[user_ends + at + 1..]),
        None => (text, ""),
    }
}

const FORM: &str = "write it like postgres://user:password@host:5432/database";

/// As psql has it; a root certificate makes `prefer` and `require` verify the chain.
fn tls_rules(mode: &str, has_roots: bool) -> Result<(SslMode, Verify), Complaint> {
    let chain_if_possible = if has_roots { Verify::Chain } else { Verify::Nothing };
    match mode {
        "disable" => Ok((SslMode::Disable, Verify::Nothing)),
        "prefer" => Ok((SslMode::Prefer, chain_if_possible)),
        "require" => Ok((SslMode::Require, chain_if_possible)),
        "verify-ca" => Ok((SslMode::Require, Verify::Chain)),
        "verify-full" => Ok((SslMode::Require, Verify::ChainAndName)),
        _ => Err(Complaint::new("has an unknown sslmode").hint("known: disable, prefer, require, verify-ca, verify-full")),
    }
}

fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Complaint> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Complaint::new("names an sslrootcert without a certificate in it").hint("it must be a PEM file")),
        Err(error) => Err(Complaint::new(format!("names an sslrootcert that cannot be read: {error}"))
            .hint("it must be a PEM file that the gateway's user may read")),
    }
}

fn no_postgres_url() -> Complaint {
    Complaint::new("is no URL that PostgreSQL understands").hint(format!(
        "{FORM}, special characters in the password as %XX; options after a `?`: sslmode, sslrootcert, application_name, \
         options, target_session_attrs, …"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PostgresUrl {
        postgres_url(text, Path::new("/etc/gw")).unwrap_or_else(|complaint| panic!("{text}: {complaint:?}"))
    }

    #[test]
    fn every_part_is_read() {
        let url = parse("postgresql://ann:s%40fe@db.internal:6543/keys?application_name=gw&sslmode=require");
        assert_eq!(url.connection.get_user(), Some("ann"));
        assert_eq!(url.connection.get_password(), Some(&b"s@fe"[..]));
        assert_eq!(url.connection.get_application_name(), Some("gw"));
        assert_eq!(url.address(), "db.internal:6543/keys");
        assert_eq!(parse("postgres://u@h/d").connection.get_application_name(), Some("hokusai-gateway"));
        let odd = parse("postgres://u:a?sslmode=b&c@h/d?sslmode=disable");
        assert_eq!(odd.connection.get_password(), Some(&b"a?sslmode=b&c"[..]));
        assert_eq!(odd.connection.get_ssl_mode(), SslMode::Disable);
        assert_eq!(parse("postgres://u@a:1,b:2/d").address(), "a:1,b:2/d");
        assert_eq!(parse("postgres://u@/d?host=/run/postgresql").address(), "/run/postgresql (port 5432)/d");
    }

    #[test]
    fn of_several_servers_the_one_that_takes_writes_is_meant_and_each_can_be_asked_alone() {
        let url = parse("postgres://ann:a,b@one:1,two:2/keys?sslmode=require");
        let hosts: Vec<_> = url.servers.iter().map(|server| (server.get_hosts().to_vec(), server.get_ports().to_vec())).collect();
        let host = |name: &str, port: u16| (vec![Host::Tcp(name.to_owned())], vec![port]);
        assert_eq!(hosts, [host("one", 1), host("two", 2)]);
        for server in &url.servers {
            assert_eq!((server.get_password(), server.get_dbname()), (Some(&b"a,b"[..]), Some("keys")));
            assert_eq!(
                (server.get_ssl_mode(), server.get_target_session_attrs()),
                (SslMode::Require, TargetSessionAttrs::ReadWrite)
            );
        }
        let read_only = parse("postgres://one,two/keys?target_session_attrs=read-only");
        assert!(read_only.servers.iter().all(|server| server.get_target_session_attrs() == TargetSessionAttrs::ReadOnly));
        let alone = parse("postgres://h/d");
        assert_eq!((alone.servers.len(), alone.connection.get_target_session_attrs()), (1, TargetSessionAttrs::Any));
        assert_eq!(parse("postgres://u@/d?host=/run/postgresql").servers.len(), 1);
    }

    #[test]
    fn the_sslmode_says_whether_tls_is_spoken_and_what_the_server_has_to_prove() {
        let rules = |options: &str| {
            let url = parse(&format!("postgres://u@h/d{options}"));
            (url.connection.get_ssl_mode(), url.verify)
        };
        assert_eq!(rules(""), (SslMode::Prefer, Verify::Nothing));
        assert_eq!(rules("?sslmode=disable"), (SslMode::Disable, Verify::Nothing));
        assert_eq!(rules("?sslmode=require"), (SslMode::Require, Verify::Nothing));
        assert_eq!(rules("?sslmode=require&sslrootcert=system"), (SslMode::Require, Verify::Chain));
        assert_eq!(rules("?sslmode=verify-ca"), (SslMode::Require, Verify::Chain));
        assert_eq!(rules("?sslmode=verify-full"), (SslMode::Require, Verify::ChainAndName));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_repeating_it() {
        for text in [
            "postgres://u:hunter2@h/d?sslmode=hunter2",
            "postgres://u:hunter2@h/d?sslcert=hunter2",
            "postgres://u:hunter2@h/d?hunter2=1",
            "postgres://u:hunter2@h/d?ssl",
            "postgres://u:hunter2@h",
            "postgres://u:hunter2@/d",
            "postgres://u:hunter2@h:port/d",
        ] {
            let complaint = postgres_url(text, Path::new("/nowhere")).expect_err(text);
            assert!(!format!("{complaint:?}").contains("hunter2"), "{complaint:?}");
        }
    }

    #[test]
    fn a_root_certificate_must_be_there_and_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let complaint = || postgres_url("postgres://u@h/d?sslrootcert=ca.pem", folder.path()).unwrap_err();
        assert!(format!("{:?}", complaint()).contains("No such file"));
        std::fs::write(folder.path().join("ca.pem"), "a diary").unwrap();
        assert!(format!("{:?}", complaint()).contains("PEM"));
    }
}
