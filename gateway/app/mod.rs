//! The whole: what is made, in which order, and how it ends.
//!
//! What must stay true here: everything is ended in the reverse of the order it was made in, and waited for. Readiness off →
//! stop accepting → drain → leases given back → usage written → exit.

mod doors;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admin::Readiness;
use crate::admin::api::Api;
use crate::alerts::Alerts;
use crate::auth::lookup::Lookup;
use crate::auth::shared_cache::SharedCache;
use crate::auth::watch::Watch;
use crate::certificates::FileError;
use crate::clock;
use crate::config::{Config, diff};
use crate::drain::Tasks;
use crate::limits::{Authority, Limiter};
use crate::listen::bind::BindError;
use crate::listen::handed_over::{HandOverError, HandedOver};
use crate::listen::tls::Tls;
use crate::model::audit_event::{Actor, Via};
use crate::observe::metrics::Metrics;
use crate::observe::refusals::Refusals;
use crate::proxy::worker::Live;
use crate::redis::Redis;
use crate::spool::{Spool, SpoolError};
use crate::store::{Store, StoreError};
use crate::usage::Usage;
use workers::Workers;

/// For the tasks in the background to end once they are told to.
const BACKGROUND_END: Duration = Duration::from_secs(2);
/// For the store to take the last usage.
const USAGE_END: Duration = Duration::from_secs(5);
/// For the store to be heard before the first request.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// Between two attempts to bring the tables up while the store cannot be reached.
const MIGRATE_AGAIN: Duration = Duration::from_secs(1);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    #[error(transparent)]
    Certificate(#[from] FileError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the file of leases in {path} cannot be used: {error}")]
    Leases { path: std::path::PathBuf, error: std::io::Error },
    #[error(transparent)]
    Store(StoreError),
    #[error("a worker cannot be started: {0}")]
    Worker(std::io::Error),
}

/// A running gateway. To be ended with [`App::stop`].
pub struct App {
    /// What it was started with.
    started: Arc<Config>,
    /// What is in force, but for keys that need a restart: for the admin API, and with what follows from it for requests.
    in_force: Arc<ArcSwap<Config>>,
    live: Live,
    /// Where it listens, with the ports that the system chose.
    pub traffic: Vec<SocketAddr>,
    pub admin: SocketAddr,
    readiness: Arc<Readiness>,
    tls: Option<Arc<Tls>>,
    workers: Workers,
    lookup: Arc<Lookup>,
    limiter: Arc<Limiter>,
    usage: Option<Usage>,
    metrics: Arc<Metrics>,
    /// What runs in the background; the admin listener apart, since it answers to the end.
    tasks: Tasks,
    admin_tasks: Tasks,
}

impl App {
    /// Binds, brings the tables up, and begins to serve. Runs its background on the runtime of the caller.
    ///
    /// # Errors
    /// A port that is taken, a spool that is in use, tables that this binary cannot work with. A store that cannot be reached
    /// is not among them: it is asked again and again.
    pub async fn start(config: Config, mut handed_over: HandedOver) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let background = Handle::current();
        let tasks = Tasks::new();
        let tls = config.server.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
        let bound = doors::bind_traffic(&config.server, tls.as_ref(), &mut handed_over)?;
        let admin_listener = doors::bind_admin(config.admin.listen, &mut handed_over).await?;
        handed_over.none_is_left()?;

        let metrics = Arc::<Metrics>::default();
        let spool = Arc::new(Spool::open(&config.usage.spool)?);
        let store = Store::open(&config.store);
        bring_tables_up(&store, &tasks).await?;
        let redis = match &config.redis {
            Some(redis) => Some(Redis::connect(redis, &metrics, &tasks).await),
            None => None,
        };

        let policy = config.limits.on_authority_failure;
        let authority = Authority::new(store.clone(), redis.clone());
        let limiter = Limiter::start(spool.folder(), spool.id(), authority, policy, tasks.clone(), background.clone())
            .await
            .map_err(|error| StartError::Leases { path: spool.folder().to_owned(), error })?;
        let usage = match config.usage.enabled {
            true => Some(Usage::open(&config.usage, Arc::clone(&spool), &metrics)?),
            false => None,
        };
        if let Some(usage) = &usage {
            usage.start(&store, &background);
        }
        let shared = redis.map(|redis| Arc::new(SharedCache::new(&config.keys, redis, Arc::clone(&metrics))));
        let lookup = Lookup::new(
            &config.keys,
            shared.clone(),
            store.acting_as(itself()),
            Arc::clone(&limiter),
            Arc::clone(&metrics),
            background.clone(),
            tasks.clone(),
        );
        let watch = Watch {
            gateway_id: spool.id().to_owned(),
            store: store.clone(),
            lookup: Arc::clone(&lookup),
            shared,
            limiter: Arc::clone(&limiter),
            metrics: Arc::clone(&metrics),
        };
        let (first_word, heard) = oneshot::channel();
        tasks.spawn(watch.run(tasks.clone(), first_word));
        // Late or not at all, the gateway starts all the same.
        let _ = timeout(FIRST_WORD, heard).await;

        if let Some(tls) = &tls {
            tasks.spawn(Arc::clone(tls).watch(tasks.clone()));
        }

        let live = Live::new(Arc::clone(&config), &metrics);
        live.watch_servers(&tasks);
        let traffic: Vec<SocketAddr> = bound.iter().map(|bound| bound.address).collect();
        let refusals = Arc::new(Refusals::new(clock::now()));
        let workers = Workers::start(&live, bound, &lookup, &limiter, usage.as_ref(), &metrics, &refusals);
        let workers = workers.map_err(StartError::Worker)?;

        let readiness = Arc::<Readiness>::default();
        let in_force = Arc::new(ArcSwap::new(Arc::clone(&config)));
        let alerts = Alerts {
            config: Arc::clone(&in_force),
            gateway: spool.id().to_owned(),
            store: store.clone(),
            limiter: Arc::clone(&limiter),
            metrics: Arc::clone(&metrics),
            refusals: Arc::clone(&refusals),
            first_met: usage.as_ref().map(Usage::first_met),
        };
        tasks.spawn(alerts.run(tasks.clone()));
        let api = Api {
            config: Arc::clone(&in_force),
            store,
            lookup: Arc::clone(&lookup),
            limiter: Arc::clone(&limiter),
            recorder: usage.as_ref().map(Usage::recorder),
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
            refusals,
        };
        let (admin, admin_tasks) = doors::serve_admin(admin_listener, Arc::clone(&metrics), api);
        readiness.set(true);
        let started = config;
        Ok(Self {
            started,
            in_force,
            live,
            traffic,
            admin,
            readiness,
            tls,
            workers,
            lookup,
            limiter,
            usage,
            metrics,
            tasks,
            admin_tasks,
        })
    }

    /// Puts `config` in force for every request from now on; those under way end on what they began with. Returns the keys that
    /// have changed since the start and need a restart.
    pub fn renew(&mut self, config: Config) -> Vec<&'static str> {
        let needs_restart = diff::needs_restart(&self.started, &config);
        self.lookup.renew(&config.keys);
        self.limiter.renew(config.limits.on_authority_failure);
        if let (Some(tls), Some(rules)) = (&self.tls, &config.server.tls) {
            tls.renew(rules);
        }
        let config = Arc::new(config);
        self.in_force.store(Arc::clone(&config));
        self.live = self.live.renewed(config, &self.metrics);
        self.live.watch_servers(&self.tasks);
        self.workers.renew(&self.live);
        self.metrics.reloads_ok.add(1);
        needs_restart
    }

    /// A new configuration was wrong: it is counted, and nothing changes.
    pub fn renewal_failed(&self) {
        self.metrics.reloads_failed.add(1);
    }

    /// Ends in order. `hurry` cuts the drain short when it completes.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        let began = clock::monotonic();
        self.readiness.set(false);
        tracing::info!("draining");
        let rules = &self.live.config.server;
        let drained = async {
            tokio::time::sleep(rules.drain_delay).await;
            self.workers.drain(rules.drain_timeout);
            self.workers.ended().await;
        };
        tokio::select! {
            () = drained => {}
            () = hurry => self.workers.drain(Duration::ZERO),
        }
        let cut = self.workers.ended().await;
        if cut > 0 {
            tracing::warn!(connections = cut, "connections were cut at the end of the drain");
        }
        self.limiter.close().await;
        if let Some(usage) = self.usage {
            usage.close(USAGE_END).await;
        }
        for tasks in [self.tasks, self.admin_tasks] {
            tasks.stop();
            tasks.wait(BACKGROUND_END).await;
        }
        tracing::info!(seconds = clock::monotonic().duration_since(began).as_secs_f64(), "stopped");
    }
}

/// Who changes keys when a gateway does so by itself.
fn itself() -> Actor {
    Actor::new("gateway", Via::Gateway, whoami::hostname().ok().as_deref())
}

/// Fails only where waiting does not help.
async fn bring_tables_up(store: &Store, tasks: &Tasks) -> Result<(), StartError> {
    match store.ensure_migrated().await {
        Ok(()) => Ok(()),
        Err(error @ (StoreError::Unavailable(_) | StoreError::Timeout(_))) => {
            tracing::error!(%error, "the store cannot be reached; it is asked again until it answers");
            let (store, stop) = (store.clone(), tasks.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = bring_tables_up_once_it_answers(&store, error) => {}
                    () = stop.stopping() => {}
                }
            });
            Ok(())
        }
        Err(error) => Err(StartError::Store(error)),
    }
}

/// Says each thing once: a database without tables waits for somebody to make them.
async fn bring_tables_up_once_it_answers(store: &Store, mut told: StoreError) {
    while let Err(error) = store.ensure_migrated().await {
        if error.to_string() != told.to_string() {
            tracing::error!(%error, "the store cannot be used yet");
            told = error;
        }
        tokio::time::sleep(MIGRATE_AGAIN).await;
    }
}
