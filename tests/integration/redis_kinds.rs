//! Clusters, sentinels and TLS: whatever stands behind the URL, limits count and a revocation is seen.

use hokusai_gateway::clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::redis::{Fleet, admitted};
use crate::support::redis::Server;
use crate::support::{Gateway, Key, PATIENCE, begin_within_an_hour, eventually};

/// Two gateways admit the limit together and not one more, and no key that was revoked. They reject where Redis cannot be asked,
/// so that a Redis that is slow for a moment changes no count.
fn works(fleet: &Fleet) {
    begin_within_an_hour();
    eventually("Redis answers", || fleet.gateways.iter().all(|gateway| gateway.metric("gateway_redis_up") == 1));
    // Several, so that each node of a cluster has some.
    let keys: Vec<Key> = (0..8).map(|_| fleet.first().create_key(&["--rate-limit", "20"])).collect();
    for key in &keys {
        spend(fleet, key, 20);
        eventually("all is told", || fleet.used(key) == Some(20));
        assert!(fleet.gateways.iter().all(|gateway| admitted(gateway, key, 3) == 0));
    }
    let revoked = fleet.first().create_key(&[]);
    spend(fleet, &revoked, 2);
    fleet.first().cli_json(&["keys", "revoke", &revoked.id, "--wait"]);
    assert!(fleet.gateways.iter().all(|gateway| admitted(gateway, &revoked, 1) == 0));
}

/// Asks the gateways in turn until so many requests were admitted.
fn spend(fleet: &Fleet, key: &Key, requests: usize) {
    let mut in_turn = fleet.gateways.iter().cycle();
    let (mut spent, bound) = (0, clock::monotonic() + PATIENCE);
    while spent < requests {
        assert!(clock::monotonic() < bound, "{spent} of {requests} were admitted");
        spent += admitted(in_turn.next().expect("it never ends"), key, 1);
    }
}

fn started(mut fleet: Fleet) -> Fleet {
    fleet.gateways.iter_mut().for_each(Gateway::run);
    fleet
}

#[test]
fn a_cluster_counts_and_tells_as_one_redis_does() {
    let nodes = Server::cluster();
    let [first, second, third] = nodes.each_ref().map(Server::port);
    let url = format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}&node=127.0.0.1:{third}");
    works(&started(Fleet::stopped(2, &url, "reject")));
    for node in &nodes {
        assert!(node.calls("eval") > 0, "each has a part of the keys");
    }
}

#[test]
fn after_a_failover_by_a_sentinel_the_new_master_counts_on() {
    let master = Server::start();
    let replica = Server::replica_of(&master);
    let sentinel = Server::sentinel_over(&master);
    let known = || sentinel.cli(&["sentinel", "replicas", "main"]);
    eventually("the sentinel knows the replica", || known().contains(&replica.port().to_string()));
    let url = format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=main", sentinel.port());
    let fleet = started(Fleet::stopped(2, &url, "reject"));
    begin_within_an_hour();
    let key = fleet.first().create_key(&["--rate-limit", "200"]);
    spend(&fleet, &key, 150);
    eventually("all is told", || fleet.used(&key) == Some(150));
    // What the replica has not heard of is the stated excess of a failover.
    eventually("the replica knows it", || master.replication_offset() == replica.replication_offset());
    master.kill();
    let master = || sentinel.cli(&["sentinel", "get-master-addr-by-name", "main"]);
    eventually("the replica is the master", || master().contains(&replica.port().to_string()));
    spend(&fleet, &key, 50);
    assert!(fleet.gateways.iter().all(|gateway| admitted(gateway, &key, 3) == 0), "what was counted before counts");
    works(&fleet);
}

#[test]
fn redis_is_asked_over_tls_and_only_one_whose_certificate_the_system_believes() {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["localhost".to_owned()]).expect("a good name");
    let certificate = certificate.signed_by(&key, &authority).expect("a certificate");
    let (server, tls_port) = Server::with_tls(&certificate.pem(), &key.serialize_pem());
    let mut fleet = Fleet::stopped(2, &format!("rediss://localhost:{tls_port}"), "reject");
    let roots = fleet.first().folder().join("roots.pem");
    std::fs::write(&roots, authority.pem()).expect("the folder can be written to");
    for gateway in &mut fleet.gateways {
        gateway.set_environment("SSL_CERT_FILE", roots.to_str().expect("a text"));
    }
    works(&started(fleet));
    assert!(server.calls("eval") > 0);
    let stranger = started(Fleet::stopped(1, &format!("rediss://localhost:{tls_port}"), "local"));
    assert_eq!(stranger.first().metric("gateway_redis_up"), 0);
    eventually("the reason is told", || stranger.first().log().contains("UnknownIssuer"));
}
