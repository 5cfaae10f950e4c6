//! What a command works with: the configuration, the store, a way to answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Common;
use super::backend::{ApiBackend, Backend, StoreBackend};
use super::failure::Advice;
use super::output::Output;
use crate::config::{self, Config};
use crate::model::audit_event::{Actor, Via};
use crate::observe::logging::{Console, Logging};
use crate::store::Store;

/// Where a configuration is looked for when none is named.
const DEFAULT_PATHS: [&str; 2] = ["gateway.toml", "/etc/hokusai-gateway/gateway.toml"];

pub struct Tools {
    pub config: Arc<Config>,
    pub backend: Backend,
    pub output: Output,
    _logging: Logging,
}

impl Tools {
    /// Touches no store and no gateway yet.
    pub fn open(common: &Common) -> anyhow::Result<Self> {
        // An empty one counts as unset.
        let endpoint = common.endpoint.clone().or_else(|| environment("HOKUSAI_API_ENDPOINT"));
        Self::assemble(common, endpoint.filter(|endpoint| !endpoint.is_empty()))
    }

    /// For a command that works on the store alone: what the environment says of an endpoint is for other commands.
    pub fn on_store(common: &Common) -> anyhow::Result<Self> {
        Self::assemble(common, None)
    }

    fn assemble(common: &Common, endpoint: Option<String>) -> anyhow::Result<Self> {
        let config = match config_path(common) {
            Some(path) => config::load(&path, &environment)?,
            None => config::without_file(Path::new("."), &environment)?,
        };
        let config = Arc::new(config);
        let logging = Logging::start(&config.log, Console::Quiet, common.log_file.as_deref())?;
        let store = || Store::open(&config.store).acting_as(operator());
        let backend = match endpoint {
            Some(endpoint) => Backend::Api(Box::new(ApiBackend::new(&endpoint, credential())?)),
            None => Backend::Store(Box::new(StoreBackend { config: Arc::clone(&config), store: store() })),
        };
        Ok(Self { config, backend, output: Output::new(common.json), _logging: logging })
    }

    pub fn run(&self, command: impl AsyncFnOnce(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command(self))
    }
}

/// An administrator's, else an owner's.
fn credential() -> Option<String> {
    let set = |name| environment(name).filter(|text| !text.is_empty());
    set("HOKUSAI_ADMIN_TOKEN").or_else(|| set("HOKUSAI_API_KEY"))
}

/// Who types the command, and where.
pub fn operator() -> Actor {
    let user = whoami::username().unwrap_or_else(|_| "unknown".to_owned());
    // Else everybody would be root.
    let name = match environment("SUDO_USER") {
        Some(behind) if behind != user => format!("{behind} as {user}"),
        _ => user,
    };
    Actor::new(&name, Via::Command, whoami::hostname().ok().as_deref())
}

/// For commands that need a file.
pub fn require_config_path(common: &Common) -> Result<PathBuf, Advice> {
    config_path(common).ok_or_else(no_file)
}

/// The file that was named, else the first of the default ones.
fn config_path(common: &Common) -> Option<PathBuf> {
    // An empty GATEWAY_CONFIG counts as unset.
    let named = common.config.clone().filter(|path| !path.as_os_str().is_empty());
    // One that cannot be looked at is taken, so that the error says why.
    named.or_else(|| DEFAULT_PATHS.iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true)))
}

pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn no_file() -> Advice {
    Advice {
        says: format!("there is no configuration: neither ./{} nor {} is there", DEFAULT_PATHS[0], DEFAULT_PATHS[1]),
        hint: "name one with --config PATH; `hokusai-gateway demo` runs without any".to_owned(),
    }
}
