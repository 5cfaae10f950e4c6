//! `serve`

use tokio::runtime::Builder;

use super::{Common, tools};
use crate::app::App;
use crate::config::{self, Config};
use crate::listen::handed_over::HandedOver;
use crate::observe::logging::{Console, Logging};
use crate::reload::Reload;
use crate::signals::{self, Signals, State, Told};

pub const NOTES: &str = "\
SIGTERM, SIGINT  stop accepting, finish what is under way, exit with 0;
                 a second one does not wait for what is under way
SIGHUP           read the configuration again and reopen the log file; a file
                 with anything wrong in it changes nothing, and what needs a
                 restart is named in the log

Under systemd it tells when it is ready (NOTIFY_SOCKET), and takes sockets
that are handed over (LISTEN_FDS) for addresses that the configuration names.

A store that cannot be reached at the start is asked again and again; tables
that this version cannot work with are an error.";

pub fn run(common: &Common) -> anyhow::Result<()> {
    let handed_over = HandedOver::from_environment()?;
    let file = tools::require_config_path(common)?;
    let config = config::load(&file, &tools::environment)?;
    let logging = Logging::start(&config.log, Console::Full, common.log_file.as_deref())?;
    let reload = Reload { file: Some(&file), environment: &tools::environment, logging: &logging };
    serve(config, handed_over, &reload, |_| Ok(()))
}

/// Runs a gateway until a signal ends it. `announce` is called once it accepts connections.
pub(super) fn serve(
    config: Config,
    handed_over: HandedOver,
    reload: &Reload<'_>,
    announce: impl FnOnce(&App) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // A connection is a file descriptor, two with its upstream's; the usual soft limit of 1024 is soon reached.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let served = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut app = App::start(config, handed_over).await?;
        let traffic: Vec<String> = app.traffic.iter().map(ToString::to_string).collect();
        tracing::info!(traffic = traffic.join(","), admin = %app.admin, version = env!("CARGO_PKG_VERSION"), "listening");
        announce(&app)?;
        signals::tell(State::Ready);
        while signals.next().await == Told::Reload {
            reload.run(&mut app);
        }
        signals::tell(State::Stopping);
        let hurry = async {
            while signals.next().await == Told::Reload {
                reload.run_too_late();
            }
        };
        app.stop(hurry).await;
        Ok(())
    });
    // A disk that hangs must not hold up the end.
    runtime.shutdown_background();
    served
}
