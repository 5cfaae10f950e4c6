//! The unit.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use hokusai_gateway::config::StoreUrl;
use hokusai_gateway::units;

use crate::support::{Gateway, Request, Upstream};
use crate::{AFTER_THE_DRAIN, configuration, read, succeed};

const UNIT: &str = "deploy/systemd/hokusai-gateway.service";
const SOCKET: &str = "deploy/systemd/hokusai-gateway.socket";
const CONFIGURATION: &str = "deploy/systemd/gateway.toml";
const STATE: &str = "/var/lib/hokusai-gateway";
/// `systemd-analyze security` rates from 0, shut, to 10, open; the unit is rated 1.2 by systemd 252.
const TENTHS_OF_EXPOSURE: &str = "15";

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--recursive-errors=no"]);
    for (unit, name) in [(UNIT, "hokusai-gateway.service"), (SOCKET, "hokusai-gateway.socket")] {
        let copy = folder.path().join(name);
        let installed = read(unit).replace("/usr/local/bin/hokusai-gateway", env!("CARGO_BIN_EXE_hokusai-gateway"));
        fs::write(&copy, installed).expect("the folder can be written to");
        verify.arg(copy);
    }
    let says = succeed(&mut verify);
    assert!(!says.contains("hokusai-gateway"), "{says}");
}

#[test]
fn the_sockets_are_those_that_the_gateway_listens_on() {
    let sockets: Vec<SocketAddr> =
        values(&read(SOCKET), "ListenStream").map(|address| address.parse().expect("an address")).collect();
    assert_eq!(sockets, configuration(CONFIGURATION).server.listen);
}

/// The signal alone would tell nobody that the file is wrong.
#[test]
fn a_reload_checks_the_file_that_is_served_first() {
    let unit = read(UNIT);
    let reload: Vec<_> = values(&unit, "ExecReload").collect();
    assert_eq!(reload, [&setting("ExecStart").replace(" serve ", " check "), "/bin/kill -HUP $MAINPID"]);
}

#[test]
fn the_unit_is_shut_but_for_what_the_gateway_needs() {
    let threshold = format!("--threshold={TENTHS_OF_EXPOSURE}");
    succeed(Command::new("systemd-analyze").args(["security", "--offline=yes", "--no-pager", &threshold, UNIT]));
}

#[test]
fn systemd_can_make_the_user() {
    let file = fs::canonicalize("deploy/systemd/sysusers.conf").expect("it is there");
    let says = succeed(Command::new("systemd-sysusers").arg("--dry-run").arg(file));
    let has_it_already = says.is_empty();
    assert!(has_it_already || says.contains("Creating user 'hokusai-gateway'"), "{says}");
    assert_eq!([setting("User"), setting("Group")], ["hokusai-gateway"; 2]);
}

#[test]
fn a_drain_is_not_cut_short() {
    let server = configuration(CONFIGURATION).server;
    let stop = units::parse_duration(setting("TimeoutStopSec")).expect("a duration");
    assert!(stop > server.drain_delay + server.drain_timeout + AFTER_THE_DRAIN, "{stop:?}");
}

#[test]
fn there_are_files_for_every_connection() {
    let files: usize = setting("LimitNOFILE").parse().expect("a number");
    assert!(files > 2 * configuration(CONFIGURATION).server.max_connections, "{files}");
}

#[test]
fn all_that_is_written_is_written_to_the_state_directory() {
    assert_eq!(format!("/var/lib/{}", setting("StateDirectory")), STATE);
    let config = configuration(CONFIGURATION);
    assert_eq!(config.store.url, StoreUrl::Sqlite(format!("{STATE}/gateway.db").into()));
    assert_eq!(config.usage.spool.to_str(), Some(format!("{STATE}/spool").as_str()));
}

#[test]
fn the_configuration_serves() {
    let upstream = Upstream::ok();
    let state = tempfile::tempdir().expect("a temporary folder");
    let text = read(CONFIGURATION).replace(STATE, &state.path().to_string_lossy());
    let text = text.replace("127.0.0.1:8000", &upstream.address().to_string());
    let text = text.replace("\"0.0.0.0:8080\", \"[::]:8080\"", "\"127.0.0.1:0\"").replace("127.0.0.1:8081", "127.0.0.1:0");
    let gateway = Gateway::start(upstream.address(), &text);
    let key = gateway.create_key(&[]);
    assert_eq!(gateway.ask(&Request::get("/").key(&key)).status, 200);
    assert!(state.path().join("gateway.db").exists() && state.path().join("spool/id").exists());
}

/// The value of a line of the service.
fn setting(name: &str) -> &'static str {
    let unit: &'static str = include_str!("../../deploy/systemd/hokusai-gateway.service");
    values(unit, name).next().unwrap_or_else(|| panic!("the unit has no {name}"))
}

fn values<'u>(unit: &'u str, name: &str) -> impl Iterator<Item = &'u str> {
    unit.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
}
