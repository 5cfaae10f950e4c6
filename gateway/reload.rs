//! A reload: the configuration is read and checked as at the start, and takes the place of the one before.
//!
//! What must stay true here: a file with anything wrong in it changes nothing, and each thing that is wrong is logged.

use std::path::Path;

use crate::app::App;
use crate::config::{self, LoadError};
use crate::observe::logging::Logging;
use crate::signals::{self, State};

pub struct Reload<'a> {
    /// `None` where the configuration comes from no file: then only log files are opened anew.
    pub file: Option<&'a Path>,
    /// Overrides the file as it did at the start.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    pub logging: &'a Logging,
}

impl Reload<'_> {
    pub fn run(&self, app: &mut App) {
        self.reopen_log();
        let Some(file) = self.file else { return };
        signals::tell(State::Reloading);
        match config::load(file, self.environment) {
            Ok(config) => {
                self.logging.renew(&config.log);
                tell_of_the_rest(&app.renew(config));
            }
            Err(error) => {
                app.renewal_failed();
                tell_why(&error);
            }
        }
        signals::tell(State::Ready);
    }

    /// Once the gateway stops.
    pub fn run_too_late(&self) {
        self.reopen_log();
        tracing::info!("the gateway stops: its configuration is not read again");
    }

    /// For a log rotation.
    fn reopen_log(&self) {
        match self.logging.reopen() {
            Ok(true) => tracing::info!("log file reopened"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the log file could not be reopened; lines go on to the old one"),
        }
    }
}

fn tell_of_the_rest(needs_restart: &[&str]) {
    match needs_restart {
        [] => tracing::info!("configuration reloaded"),
        keys => tracing::warn!(keys = keys.join(", "), "configuration reloaded, but for these keys: they need a restart"),
    }
}

fn tell_why(error: &LoadError) {
    match error {
        LoadError::Unreadable { .. } => tracing::error!("{error}"),
        LoadError::Invalid { problems, .. } => problems.0.iter().for_each(|problem| tracing::error!("{problem}")),
    }
    tracing::error!("the configuration was not reloaded: the one before is still in force");
}
