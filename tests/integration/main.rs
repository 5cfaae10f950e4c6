//! The gateway from outside, one file for each guarantee.

#[path = "../support/mod.rs"]
mod support;

mod admin_api;
mod admin_reports;
mod authentication;
mod changes;
mod client_address;
mod credentials;
mod deadlines;
mod drain;
mod forwarded;
mod framing;
mod full_disk;
mod grpc;
mod grpc_peers;
mod h2spec;
mod harness;
mod http2;
mod http2_streams;
mod http2_upstreams;
mod identity;
mod idle;
mod leases;
mod least_rights;
mod limits;
mod operations;
mod peers;
mod postgres;
mod proxy_protocol;
mod rates;
mod redis;
mod redis_kinds;
mod reload;
mod retry;
mod routing;
mod rules;
mod sizes;
mod streaming;
mod tls;
mod under_systemd;
mod upstream_framing;
mod upstream_tls;
mod upstream_ways;
mod upstreams;
mod usage;
