//! The image and the services around it, as far as they can be held to account without Docker.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hokusai_gateway::units;
use yaml_rust2::Yaml;

use crate::support::nginx::folder_with;
use crate::{AFTER_THE_DRAIN, configuration, read, succeed, yaml};

const COMPOSE: &str = "deploy/docker/compose.yaml";
const CONFIGURATION: &str = "deploy/docker/gateway.toml";
const GATEWAYS: [&str; 2] = ["gateway-1", "gateway-2"];

#[test]
fn every_gateway_has_a_spool_of_its_own_that_outlives_it() {
    let compose = yaml(COMPOSE);
    let spool = configuration(CONFIGURATION).usage.spool;
    let volume_of = |gateway: &str| {
        let mounts = mounts(&compose, gateway).into_iter();
        mounts.filter(|(_, target)| spool.starts_with(target)).map(|(volume, _)| volume).collect::<Vec<_>>()
    };
    let volumes: BTreeSet<_> = GATEWAYS.iter().flat_map(|gateway| volume_of(gateway)).collect();
    assert_eq!(volumes.len(), GATEWAYS.len(), "{volumes:?}");
    assert!(volumes.iter().all(|volume| !compose["volumes"][volume.as_str()].is_badvalue()), "{volumes:?}");
}

#[test]
fn all_that_is_mounted_is_there() {
    let compose = yaml(COMPOSE);
    let services: Vec<String> = names(&compose["services"]);
    let sources = services.iter().flat_map(|service| mounts(&compose, service)).map(|(source, _)| source);
    let files: Vec<_> = sources.filter(|source| source.starts_with('.')).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert!(Path::new("deploy/docker").join(&file).exists(), "{file}");
    }
}

#[test]
fn what_a_service_waits_for_is_there() {
    let compose = yaml(COMPOSE);
    let services: BTreeSet<String> = names(&compose["services"]).into_iter().collect();
    for service in &services {
        let needed = field(&compose["services"][service.as_str()], "depends_on");
        let needed = needed.as_vec().map_or_else(|| names(needed), |list| list.iter().map(text).collect());
        assert!(needed.iter().all(|other| services.contains(other)), "{service} waits for {needed:?}");
    }
    assert!(names(field(&compose["services"]["gateway-2"], "depends_on")).contains(&"migrate".to_owned()));
}

#[test]
fn a_drain_is_not_cut_short() {
    let server = configuration(CONFIGURATION).server;
    let compose = yaml(COMPOSE);
    for gateway in GATEWAYS {
        let grace = text(field(&compose["services"][gateway], "stop_grace_period"));
        let grace = units::parse_duration(&grace).expect("a duration");
        assert!(grace > server.drain_delay + server.drain_timeout + AFTER_THE_DRAIN, "{gateway}: {grace:?}");
    }
}

#[test]
fn the_network_that_nginx_is_in_is_the_one_that_is_trusted() {
    let compose = yaml(COMPOSE);
    let subnet = text(&compose["networks"]["edge"]["ipam"]["config"][0]["subnet"]);
    assert_eq!(configuration(CONFIGURATION).client_address.trusted_proxies.to_strings(), [subnet]);
    assert_eq!(compose["services"]["nginx"]["networks"].as_vec().expect("a list").iter().map(text).collect::<Vec<_>>(), ["edge"]);
}

#[test]
fn nginx_takes_its_configuration_and_knows_every_gateway() {
    let file = read("deploy/docker/nginx.conf");
    let in_place = |text: String, gateway: &&str| {
        assert!(text.contains(&format!("server {gateway}:8080 ")), "{gateway}");
        text.replace(*gateway, "127.0.0.1")
    };
    let folder = folder_with(&GATEWAYS.iter().fold(file, in_place));
    succeed(Command::new("nginx").args(["-t", "-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path()));
}

#[test]
fn prometheus_scrapes_every_gateway_where_it_listens() {
    let port = configuration(CONFIGURATION).admin.listen.port();
    let targets = &yaml("deploy/prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"];
    let targets: Vec<_> = targets.as_vec().expect("a list").iter().map(text).collect();
    assert_eq!(targets, GATEWAYS.map(|gateway| format!("{gateway}:{port}")));
}

#[test]
fn the_image_is_built_from_what_is_there_and_from_all_that_cargo_wants_to_see() {
    let ignore = read(".dockerignore");
    let taken: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*") && taken.iter().all(|path| Path::new(path).exists()), "{taken:?}");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    for bench in manifest["bench"].as_array().expect("a list") {
        let file = format!("benches/{}.rs", bench["name"].as_str().expect("a name"));
        assert!(taken.contains(&file.as_str()), "{file}");
    }
}

/// What is mounted into a service, and where: `(source, target)`.
fn mounts(compose: &Yaml, service: &str) -> Vec<(String, String)> {
    let volumes = compose["services"][service]["volumes"].as_vec().map_or(&[][..], Vec::as_slice);
    let mount = |volume: &Yaml| {
        let volume = text(volume);
        let mut parts = volume.split(':').map(str::to_owned);
        (parts.next().expect("a source"), parts.next().expect("a target"))
    };
    volumes.iter().map(mount).collect()
}

/// Of a service, or of what it shares with others (`<<`).
fn field<'a>(service: &'a Yaml, name: &str) -> &'a Yaml {
    match &service[name] {
        Yaml::BadValue => &service["<<"][name],
        own => own,
    }
}

fn names(table: &Yaml) -> Vec<String> {
    table.as_hash().map(|table| table.keys().map(text).collect()).unwrap_or_default()
}

fn text(value: &Yaml) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is no text")).to_owned()
}
