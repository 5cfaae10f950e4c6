//! What a running gateway takes from a new configuration, and what only a restart brings.
//!
//! What must stay true here: every key is taken apart by name, so that a new one does not compile before it is said of which
//! kind it is. Live are those that requests and new connections read from the snapshot, and those that `App::reload` hands on.

use std::net::SocketAddr;

use super::{Admin, Config, Keys, Log, Redis, Server, Store, Tls, Usage};

/// The keys that differ from what the gateway was started with and that it cannot change while it runs, in the order of
/// `gateway.toml`.
pub fn needs_restart(started: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        server,
        admin,
        store,
        redis,
        keys,
        client_address: _,
        limits: _,
        usage,
        log,
        alerts: _,
        identity_headers: _,
        upstreams: _,
        routes: _,
    } = started;
    let Admin { listen: admin_listen, tokens: _, default_user: _ } = admin;
    let mut keys_that = of_server(server, &new.server);
    keys_that.push(("admin.listen", *admin_listen != new.admin.listen));
    keys_that.extend(of_store(store, &new.store));
    keys_that.extend(of_redis(redis.as_ref(), new.redis.as_ref()));
    keys_that.extend(of_keys(keys, &new.keys));
    keys_that.extend(of_usage(usage, &new.usage));
    keys_that.extend(of_log(log, &new.log));
    keys_that.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// A key, and whether it differs.
type Differs = (&'static str, bool);

fn of_server(started: &Server, new: &Server) -> Vec<Differs> {
    let Server {
        listen,
        tls,
        workers,
        max_connections,
        drain_timeout: _,
        drain_delay: _,
        health_path: _,
        handshake_timeout: _,
        header_timeout: _,
        body_timeout: _,
        stream_idle_timeout: _,
        write_timeout: _,
        idle_timeout: _,
        max_header_bytes: _,
        max_body_bytes: _,
        max_headers: _,
        max_uri_bytes: _,
        max_connections_per_address: _,
        proxy_protocol: _,
    } = started;
    vec![
        ("server.listen", *listen != new.listen),
        ("server.tls.listen", listeners(tls.as_ref()) != listeners(new.tls.as_ref())),
        ("server.workers", *workers != new.workers),
        ("server.max_connections", *max_connections != new.max_connections),
    ]
}

/// None without TLS.
fn listeners(tls: Option<&Tls>) -> Option<&[SocketAddr]> {
    tls.map(|Tls { listen, certificates: _, clients: _ }| &**listen)
}

fn of_store(started: &Store, new: &Store) -> [Differs; 4] {
    let Store { url, listen_url, pool_size, timeout } = started;
    [
        ("store.url", *url != new.url),
        ("store.listen_url", *listen_url != new.listen_url),
        ("store.pool_size", *pool_size != new.pool_size),
        ("store.timeout", *timeout != new.timeout),
    ]
}

fn of_redis(started: Option<&Redis>, new: Option<&Redis>) -> Vec<Differs> {
    match (started, new) {
        (Some(Redis { url, prefix }), Some(new)) => vec![("redis.url", *url != new.url), ("redis.prefix", *prefix != new.prefix)],
        (None, None) => Vec::new(),
        (Some(_), None) | (None, Some(_)) => vec![("redis", true)],
    }
}

fn of_keys(started: &Keys, new: &Keys) -> [Differs; 1] {
    let Keys {
        cache_capacity,
        prefix: _,
        cache_ttl: _,
        stale_if_error: _,
        default_rate_limit: _,
        owner_rate_limit: _,
        accept: _,
    } = started;
    [("keys.cache_capacity", *cache_capacity != new.cache_capacity)]
}

fn of_usage(started: &Usage, new: &Usage) -> [Differs; 5] {
    let Usage { enabled, retention, spool, spool_max, flush_interval } = started;
    [
        ("usage.enabled", *enabled != new.enabled),
        ("usage.retention", *retention != new.retention),
        ("usage.spool", *spool != new.spool),
        ("usage.spool_max", *spool_max != new.spool_max),
        ("usage.flush_interval", *flush_interval != new.flush_interval),
    ]
}

fn of_log(started: &Log, new: &Log) -> [Differs; 1] {
    let Log { format, level: _, access: _ } = started;
    [("log.format", *format != new.format)]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SERVES: &str =
        "\n[[upstreams]]\nname = \"app\"\nservers = [\"http://127.0.0.1:8000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";

    fn changed(from: &str, to: &str) -> Vec<&'static str> {
        let config = |text: &str| {
            let text = format!("{text}{SERVES}");
            super::super::parse(&text, Path::new(""), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
        };
        needs_restart(&config(from), &config(to))
    }

    #[test]
    fn what_is_made_at_the_start_needs_a_restart_and_the_head_of_the_file_says_so() {
        let (head, _) = include_str!("../../gateway.toml").split_once("[[upstreams]]").expect("it has an upstream");
        for (key, value) in [
            ("server.listen", "[\"127.0.0.1:1\"]"),
            ("server.workers", "7"),
            ("server.max_connections", "7"),
            ("admin.listen", "\"127.0.0.1:7\""),
            ("store.url", "\"sqlite:other.db\""),
            ("store.pool_size", "7"),
            ("store.timeout", "\"7s\""),
            ("keys.cache_capacity", "7"),
            ("usage.enabled", "false"),
            ("usage.retention", "\"7d\""),
            ("usage.spool", "\"other\""),
            ("usage.spool_max", "\"7GiB\""),
            ("usage.flush_interval", "\"7s\""),
            ("log.format", "\"json\""),
        ] {
            assert_eq!(changed("", &format!("{key} = {value}")), [key]);
            let (table, _) = key.split_once('.').expect("a key in a table");
            assert!(head.contains(key) || head.contains(&format!("[{table}]")), "{key}");
        }
    }

    #[test]
    fn where_redis_is_needs_a_restart_its_password_and_tls_included() {
        let to = |url: &str| changed("redis.url = \"redis://one:1\"", &format!("redis.url = \"{url}\""));
        assert_eq!(to("redis://one:1"), [""; 0]);
        for url in ["redis://two:1", "redis://:secret@one:1", "rediss://one:1"] {
            assert_eq!(to(url), ["redis.url"], "{url}");
        }
        assert_eq!(changed("[redis]", "redis.prefix = \"other:\""), ["redis.prefix"]);
        assert_eq!([changed("", "[redis]"), changed("[redis]", "")], [["redis"], ["redis"]]);
    }

    #[test]
    fn what_requests_go_by_needs_none() {
        for (key, value) in [
            ("server.drain_timeout", "\"7s\""),
            ("server.drain_delay", "\"7s\""),
            ("server.health_path", "\"/alive\""),
            ("server.idle_timeout", "\"7s\""),
            ("server.max_body_bytes", "\"7KiB\""),
            ("keys.prefix", "\"other\""),
            ("keys.cache_ttl", "\"7s\""),
            ("keys.stale_if_error", "\"7s\""),
            ("keys.accept", "[\"query\"]"),
            ("client_ip.trusted_proxies", "[\"10.0.0.0/8\"]"),
            ("limits.on_redis_failure", "\"allow\""),
            ("log.level", "\"debug\""),
            ("log.access", "false"),
            ("alerts.repeat_after", "\"7s\""),
            ("identity_headers.user_id", "\"X-Who\""),
        ] {
            assert_eq!(changed("", &format!("{key} = {value}")), [""; 0], "{key}");
        }
    }
}
