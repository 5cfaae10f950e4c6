//! The units.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hokusai_gateway::config::StoreUrl;
use hokusai_gateway::units;

use crate::support::{Gateway, Request, Upstream};
use crate::{AFTER_THE_DRAIN, configuration, read, succeed};

const UNIT: &str = "deploy/systemd/hokusai-gateway.service";
const SOCKET: &str = "deploy/systemd/hokusai-gateway.socket";
const ROTATE: &str = "deploy/systemd/hokusai-gateway-rotate.service";
const TIMER: &str = "deploy/systemd/hokusai-gateway-rotate.timer";
const CONFIGURATION: &str = "deploy/systemd/gateway.toml";
const STATE: &str = "/var/lib/hokusai-gateway";
/// `systemd-analyze security` rates from 0, shut, to 10, open; both units are rated 1.2 by systemd 252.
const TENTHS_OF_EXPOSURE: &str = "15";

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--recursive-errors=no"]);
    for unit in [UNIT, SOCKET, ROTATE, TIMER] {
        let copy = folder.path().join(Path::new(unit).file_name().expect("a file"));
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
fn the_units_are_shut_but_for_what_the_gateway_needs() {
    let threshold = format!("--threshold={TENTHS_OF_EXPOSURE}");
    for unit in [UNIT, ROTATE] {
        succeed(Command::new("systemd-analyze").args(["security", "--offline=yes", "--no-pager", &threshold, unit]));
    }
}

/// Both are shut alike, so that what is shut in one is not forgotten in the other.
#[test]
fn the_rotation_may_no_more_than_the_gateway() {
    let shut = |unit: &str| {
        let (_, settings) = unit.split_once("CapabilityBoundingSet=").expect("what is shut begins there");
        settings.lines().map_while(|line| (!line.is_empty()).then(|| line.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(shut(&read(ROTATE)), shut(&read(UNIT)));
    for name in ["User", "Group", "StateDirectoryMode", "UMask", "LimitCORE"] {
        assert_eq!(values(&read(ROTATE), name).next(), Some(setting(name)), "{name}");
    }
}

/// The unit's own command, with its folder: a slip in it would show after 90 days.
#[test]
fn the_rotation_that_the_timer_starts_rotates_and_delivers() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let unit = read(ROTATE).replace("\\\n", "").replace(STATE, &state.path().to_string_lossy());
    let configuration = state.path().join("gateway.toml");
    fs::write(&configuration, read(CONFIGURATION).replace(STATE, &state.path().to_string_lossy())).expect("it can be written");
    let unit = unit.replace("/etc/hokusai-gateway/gateway.toml", &configuration.to_string_lossy());
    let command = values(&unit, "ExecStart").next().expect("it starts something");
    let gateway = |args: &[&str]| succeed(Command::new(env!("CARGO_BIN_EXE_hokusai-gateway")).env_clear().args(args));
    let path = configuration.to_string_lossy().into_owned();
    gateway(&["keys", "create", "--config", &path, "--user", "ann", "--name", "ci"]);
    let database = rusqlite::Connection::open(state.path().join("gateway.db")).expect("it is there");
    database.execute_batch("UPDATE api_keys SET created_at = '2001-01-01 00:00:00.000'").expect("plain SQL works");

    // As systemd makes the second folder of StateDirectory=.
    let mode = u32::from_str_radix(setting("StateDirectoryMode"), 8).expect("a mode");
    fs::DirBuilder::new().mode(mode).create(state.path().join("rotated")).expect("a folder can be made");
    assert_eq!(values(&unit, "StateDirectory").next(), Some("hokusai-gateway hokusai-gateway/rotated"));
    let says = gateway(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    assert!(says.contains("rotated, the one before works until"), "{says}");
    assert_eq!(fs::read_dir(state.path().join("rotated")).expect("it can be listed").count(), 1);
}

#[test]
fn the_timer_comes_round_before_an_undelivered_secret_ends_and_makes_up_for_what_it_missed() {
    let timer = read(TIMER);
    let value = |name| values(&timer, name).next().unwrap_or_else(|| panic!("the timer has no {name}"));
    assert_eq!([value("OnCalendar"), value("Persistent")], ["daily", "yes"]);
    assert!(units::parse_duration(value("RandomizedDelaySec")).is_ok_and(|delay| delay > Duration::ZERO));
    assert_eq!(TIMER.strip_suffix("timer"), ROTATE.strip_suffix("service"), "one starts the other by its name");
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
