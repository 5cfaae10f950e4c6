//! The configuration as the gateway uses it: parsed, checked, with every default filled in. Nothing here can be wrong.
//!
//! A file becomes a [`Config`] in [`load`]: read as TOML, each key checked where its neighbours are checked, all problems
//! told at once. Nothing outside this folder sees the TOML.
//!
//! Each section has a file with its types and the one function that reads it; a line of that function is a key with its
//! default and its form. `rules` holds what no section can check alone.

mod client_address;
mod forms;
mod hosts;
mod identity_headers;
mod keys;
mod limits;
mod log;
mod place;
mod problem;
mod routes;
mod rules;
mod section;
mod server;
mod store;
mod upstreams;
mod usage;

use std::path::Path;
use std::sync::Arc;

use toml::Table;
use toml::de::DeTable;

pub use client_address::ClientAddress;
pub use identity_headers::IdentityHeaders;
pub use keys::{Accept, Keys};
pub use limits::{Limits, OnAuthorityFailure};
pub use log::{Log, LogFormat};
pub use place::Place;
pub use problem::{LoadError, Problem, Problems};
pub use routes::{Action, Auth, Cors, FixedAnswer, Forward, HeaderRules, HostPattern, Origins, Redirect, Route, Scheme};
pub use server::{Admin, Server};
pub use store::{Store, StoreUrl};
pub use upstreams::{ServerAddress, Upstream};
pub use usage::Usage;

use problem::Complaint;
use routes::Surroundings;
use section::{Reading, Section};

#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub store: Store,
    pub keys: Keys,
    pub client_address: ClientAddress,
    pub limits: Limits,
    pub usage: Usage,
    pub log: Log,
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
    let config = reading.root(&table, read);
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
    let config = reading.root(&Table::new(), read);
    finish(config, reading, "")
}

fn read(root: &mut Section<'_>) -> Config {
    root.later("redis");
    root.env("REDIS_URL", "redis.url", |_| Err::<(), _>(Complaint::later("Redis is").hint("unset it")));
    let server = root.table("server", server::read_server);
    let admin = root.table("admin", server::read_admin);
    let store = root.table("store", store::read);
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
        server,
        admin,
        store,
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
