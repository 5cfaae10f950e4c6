//! The configuration as the gateway uses it: parsed, checked, with every default filled in. Nothing here can be wrong.
//!
//! A file becomes a [`Config`] in [`load`]: read as TOML, each key checked where its neighbours are checked, all problems
//! told at once. Nothing outside this folder sees the TOML.
//!
//! Each section has a file with its types and the one function that reads it; a line of that function is a key with its
//! default and its form. `rules` holds what no section can check alone.

mod alerts;
mod client_address;
pub mod diff;
mod forms;
mod hosts;
mod identity_headers;
mod keys;
mod limits;
mod log;
mod place;
mod postgres_url;
mod problem;
mod redis;
mod routes;
mod rules;
mod schema;
mod section;
mod server;
mod server_address;
mod shape;
mod store;
mod tls;
mod upstream_tls;
mod upstreams;
mod usage;

use std::path::Path;
use std::sync::Arc;

use toml::Table;
use toml::de::DeTable;

pub use alerts::{Alerts, Webhook};
pub use client_address::ClientAddress;
pub use identity_headers::IdentityHeaders;
pub use keys::{Accept, Keys};
pub use limits::{Limits, OnAuthorityFailure, Pace, Rate};
pub use log::{Log, LogFormat};
pub use place::Place;
pub use postgres_url::{PostgresUrl, Verify};
pub use problem::{LoadError, Problem, Problems};
pub use redis::{Redis, RedisUrl};
pub use routes::{Action, Auth, Cors, FixedAnswer, Forward, HeaderRules, HostPattern, Origins, Redirect, Route, Scheme};
pub use schema::schema;
pub use server::{Admin, Server};
pub use server_address::{HostPort, ServerAddress};
pub use store::{Store, StoreUrl};
pub use tls::{ClientCertificates, Tls};
pub use upstream_tls::UpstreamTls;
pub use upstreams::{Balance, HealthCheck, Upstream};
pub use usage::Usage;

use problem::Complaint;
use routes::Surroundings;
use section::{Reading, Section};

#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub store: Store,
    /// `None`: the store alone is shared with other gateways.
    pub redis: Option<Redis>,
    pub keys: Keys,
    pub client_address: ClientAddress,
    pub limits: Limits,
    pub usage: Usage,
    pub log: Log,
    pub alerts: Alerts,
    pub identity_headers: IdentityHeaders,
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the order of the file.
    pub routes: Vec<Arc<Route>>,
}

/// Reads a file. `env` looks an environment variable up.
///
/// # Errors
/// When the file cannot be read, or with all that is wrong in it and in the environment.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let base_dir = path.parent().unwrap_or(Path::new(""));
    parse(&text, base_dir, env).map_err(|problems| LoadError::Invalid { path: path.to_owned(), problems })
}

/// Reads the text of a file that stands, or could stand, in `base_dir`.
///
/// # Errors
/// All that is wrong in the text and in the environment.
pub fn parse(text: &str, base_dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let table: Table = text.parse().map_err(|error| no_toml(text, &error))?;
    let reading = Reading::new(base_dir, env);
    let (config, _) = reading.root(&table, read);
    rules::check(&config, &reading);
    finish(config, reading, text)
}

/// What holds where there is no file: every default and the environment's word, no upstream and no route. Enough to
/// administer keys, not to serve.
///
/// # Errors
/// All that is wrong in the environment.
pub fn without_file(base_dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let reading = Reading::new(base_dir, env);
    let (config, _) = reading.root(&Table::new(), read);
    finish(config, reading, "")
}

fn read(root: &mut Section<'_>) -> Config {
    let server = root.table("server", server::read_server);
    let admin = root.table("admin", server::read_admin);
    let store = root.table("store", store::read);
    let redis = redis::read(root);
    let keys = root.table("keys", keys::read);
    let identity_headers = root.table("identity_headers", identity_headers::read);
    let upstreams: Vec<_> = root.tables("upstreams", |section| Arc::new(upstreams::read(section)));
    let around =
        Surroundings { server: &server, accept: keys.accept, identity_headers: &identity_headers, upstreams: &upstreams };
    let routes = root.tables("routes", |section| Arc::new(routes::read(section, &around)));
    Config {
        client_address: root.table("client_ip", client_address::read),
        limits: root.table("limits", limits::read),
        usage: root.table("usage", usage::read),
        log: root.table("log", log::read),
        alerts: root.table("alerts", alerts::read),
        server,
        admin,
        store,
        redis,
        keys,
        identity_headers,
        upstreams,
        routes,
    }
}

/// The configuration, unless there are problems; those in the order of the file.
fn finish(config: Config, reading: Reading<'_>, text: &str) -> Result<Config, Problems> {
    let problems = reading.into_problems();
    if problems.is_empty() {
        return Ok(config);
    }
    let document = DeTable::parse(text).expect("it was read as TOML before");
    let placed = |(path, complaint): (String, Complaint)| {
        let place = place::of_path(text, document.get_ref(), &path);
        Problem { place, path, says: complaint.says, hint: complaint.hint }
    };
    let mut problems: Vec<_> = problems.into_iter().map(placed).collect();
    problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
    Err(Problems(problems))
}

/// Only the message of the error is shown, not the line it quotes, which may hold a password.
fn no_toml(text: &str, error: &toml::de::Error) -> Problems {
    let place = error.span().map(|span| Place::of_byte(text, span.start));
    Problems(vec![Problem { place, path: String::new(), says: error.message().replace('\n', ", "), hint: None }])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UPSTREAM: &str = "[[upstreams]]\nname = \"app\"\nservers = [\"http://127.0.0.1:8000\"]\n";

    fn config(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Config {
        let text = format!("{text}\n{UPSTREAM}[[routes]]\npath = \"/\"\nupstream = \"app\"\n");
        parse(&text, Path::new("/etc/gw"), env).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn route(keys: &str) -> Arc<Route> {
        let text =
            format!("[server]\nbody_timeout = \"7s\"\nmax_body_bytes = \"1KiB\"\n{UPSTREAM}[[routes]]\npath = \"/a\"\n{keys}");
        let config = parse(&text, Path::new(""), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        config.routes[0].clone()
    }

    fn forward(keys: &str) -> (Option<String>, Duration, Duration) {
        match &route(&format!("upstream = \"app\"\n{keys}")).action {
            Action::Forward(forward) => (forward.rewrite.clone(), forward.response_timeout, forward.response_body_timeout),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_an_empty_variable_does_not() {
        let file = "[store]\nurl = \"sqlite:a.db\"\n[keys]\ncache_ttl = \"1s\"\ndefault_rate_limit = 1";
        let set = config(file, &|name| match name {
            "DATABASE_URL" => Some("sqlite:b.db".into()),
            "API_KEY_CACHE_TTL" => Some("60".into()),
            "DEFAULT_RATE_LIMIT" => Some("5".into()),
            _ => None,
        });
        assert_eq!(set.store.url, StoreUrl::Sqlite("/etc/gw/b.db".into()));
        assert_eq!((set.keys.cache_ttl, set.keys.default_rate_limit), (Duration::from_mins(1), 5));
        let empty = config(file, &|_| Some(String::new()));
        assert_eq!(empty.store.url, StoreUrl::Sqlite("/etc/gw/a.db".into()));
        assert_eq!((empty.keys.cache_ttl, empty.keys.default_rate_limit), (Duration::from_secs(1), 1));
    }

    #[test]
    fn redis_is_turned_on_by_its_table_or_by_the_environment() {
        let env = |name: &str| (name == "REDIS_URL").then(|| "redis://elsewhere:1".to_owned());
        assert!(config("", &|_| None).redis.is_none());
        let hosts = |file: &str, env: &dyn Fn(&str) -> Option<String>| {
            let redis = config(file, env).redis.expect("it is on");
            redis.url.servers().server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(hosts("[redis]", &|_| None), ["127.0.0.1:6379"]);
        assert_eq!(hosts("[redis]\nurl = \"redis://here:1\"", &env), ["elsewhere:1"]);
        assert_eq!(config("", &env).redis.expect("it is on").prefix, "hokusai:");
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = config("", &|_| None);
        assert_eq!(config.store.url, StoreUrl::Sqlite("/etc/gw/gateway.db".into()));
        assert_eq!(config.usage.spool, Path::new("/etc/gw/spool"));
    }

    #[test]
    fn without_a_file_the_defaults_and_the_environment_hold() {
        let env = |name: &str| (name == "DATABASE_URL").then(|| "sqlite:/var/gw.db".to_owned());
        let config = without_file(Path::new(""), &env).expect("the defaults are right");
        assert_eq!(config.store.url, StoreUrl::Sqlite("/var/gw.db".into()));
        assert!(config.routes.is_empty() && config.upstreams.is_empty());
        without_file(Path::new(""), &|_| Some("nonsense".into())).expect_err("the environment is wrong");
    }

    #[test]
    fn a_route_has_what_its_server_and_upstream_have_unless_it_says_otherwise() {
        let secs = Duration::from_secs;
        let plain = route("upstream = \"app\"");
        assert_eq!((plain.request_body_timeout, plain.max_body_bytes, plain.max_header_bytes), (secs(7), Some(1024), 32 << 10));
        assert_eq!(plain.accept, Accept { bearer: true, apikey: true, x_api_key: true, query: false });
        assert_eq!(forward(""), (None, secs(60), secs(60)));
        let own = route(
            "upstream = \"app\"\nmax_body_bytes = \"0\"\nmax_header_bytes = \"2KiB\"\naccept = [\"query\"]\ntimeouts.request_body = \"1s\"",
        );
        assert_eq!((own.request_body_timeout, own.max_body_bytes, own.max_header_bytes), (secs(1), None, 2 << 10));
        assert_eq!(own.accept, Accept { query: true, ..Accept::default() });
        assert_eq!(forward("timeouts = { response = \"1s\", response_body = \"2s\" }"), (None, secs(1), secs(2)));
    }

    #[test]
    fn stripping_the_prefix_is_rewriting_it_to_the_root() {
        assert_eq!(forward("strip_prefix = true").0.as_deref(), Some("/"));
        assert_eq!(forward("rewrite = \"/v2/\"").0.as_deref(), Some("/v2"));
    }

    #[test]
    fn only_a_redirect_asks_for_no_key_by_itself() {
        let auth = |keys| route(keys).auth;
        assert_eq!(auth("upstream = \"app\""), Auth::Required);
        assert_eq!(auth("respond = {}"), Auth::Required);
        assert_eq!(auth("redirect = { to = \"/b\" }"), Auth::None);
        assert_eq!(auth("redirect = { to = \"/b\" }\nauth = \"required\""), Auth::Required);
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_without_the_line_that_may_hold_a_password() {
        let problems = parse("a = 1\nurl = hunter2", Path::new(""), &|_| None).expect_err("no TOML");
        assert_eq!(problems.0[0].place, Some(Place { line: 2, column: 7 }));
        assert!(!problems.to_string().contains("hunter2"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = load(Path::new("/nowhere/gateway.toml"), &|_| None).expect_err("no such file");
        assert!(error.to_string().starts_with("cannot read the configuration /nowhere/gateway.toml: "), "{error}");
    }
}
