//! `serve`

use tokio::runtime::Builder;

use super::{Common, tools};
use crate::app::App;
use crate::config::{self, Config};
use crate::observe::logging::{Console, Logging};
use crate::signals::{Signals, Told};

pub const NOTES: &str = "\
SIGTERM, SIGINT  stop accepting, finish what is under way, exit with 0;
                 a second one does not wait for what is under way
SIGHUP           reopen the log file, read the certificates again

A store that cannot be reached at the start is asked again and again; tables
that this version cannot work with are an error.";

pub fn run(common: &Common) -> anyhow::Result<()> {
    let config = config::load(&tools::require_config_path(common)?, &tools::environment)?;
    let logging = Logging::start(&config.log, Console::Full, common.log_file.as_deref())?;
    serve(config, &logging, |_| Ok(()))
}

/// Runs a gateway until a signal ends it. `announce` is called once it accepts connections.
pub(super) fn serve(config: Config, logging: &Logging, announce: impl FnOnce(&App) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // A connection is a file descriptor, two with its upstream's; the usual soft limit of 1024 is soon reached.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let served = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let app = App::start(config).await?;
        let traffic: Vec<String> = app.traffic.iter().map(ToString::to_string).collect();
        tracing::info!(traffic = traffic.join(","), admin = %app.admin, version = env!("CARGO_PKG_VERSION"), "listening");
        announce(&app)?;
        while signals.next().await == Told::Reopen {
            reopen(logging);
            app.reread_certificates();
        }
        app.stop(wait_for_stop(&mut signals, logging)).await;
        Ok(())
    });
    // A disk that hangs must not hold up the end.
    runtime.shutdown_background();
    served
}

async fn wait_for_stop(signals: &mut Signals, logging: &Logging) {
    while signals.next().await == Told::Reopen {
        reopen(logging);
    }
}

fn reopen(logging: &Logging) {
    match logging.reopen() {
        Ok(()) => tracing::info!("log file reopened"),
        Err(error) => tracing::error!(%error, "the log file could not be reopened; lines go on to the old one"),
    }
}
