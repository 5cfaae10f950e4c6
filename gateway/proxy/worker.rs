//! What a request works with: one worker's connections and counts, and the configuration as it is now.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::auth::lookup::Lookup;
use crate::config::{Action, Config, Route, Upstream};
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::limits::pace::Paces;
use crate::observe::metrics::{Metrics, RouteLabel, Shard};
use crate::reserved_headers::ReservedHeaders;
use crate::route::RouteTable;
use crate::upstream::balance::Servers;
use crate::usage::Recorder;

pub struct Worker {
    /// Counted from 0.
    pub number: usize,
    /// Each worker has its own `Arc`, so that holding it touches no other core.
    pub live: ArcSwap<Live>,
    pub lookup: Arc<Lookup>,
    pub limiter: Arc<Limiter>,
    pub paces: Arc<Paces>,
    pub shard: Arc<Shard>,
    /// `None` where usage is not recorded.
    pub recorder: Option<Recorder>,
    /// This worker's connections.
    pub tasks: Tasks,
}

/// The configuration, and what follows from it. A request keeps the one it began with.
#[derive(Clone)]
pub struct Live {
    pub config: Arc<Config>,
    pub routes: Arc<RouteTable>,
    pub reserved: Arc<ReservedHeaders>,
    pub upstreams: Arc<[Arc<Servers>]>,
    /// By the routes' places.
    pub facts: Arc<[RouteFacts]>,
}

/// What the gateway knows of a route beyond its configuration.
#[derive(Debug)]
pub struct RouteFacts {
    pub label: RouteLabel,
    /// For a route that forwards.
    pub servers: Option<Arc<Servers>>,
}

impl Live {
    pub fn new(config: Arc<Config>, metrics: &Metrics) -> Self {
        let workers = config.server.workers.get();
        let servers = |upstream: &Arc<Upstream>| Arc::new(Servers::new(Arc::clone(upstream), metrics, workers));
        let upstreams: Arc<[_]> = config.upstreams.iter().map(servers).collect();
        let servers_of = |name: &str| upstreams.iter().find(|servers| servers.upstream.name == name).cloned();
        let facts = |route: &Arc<Route>| RouteFacts {
            label: metrics.route(&route.label),
            servers: match &route.action {
                Action::Forward(forward) => servers_of(&forward.upstream.name),
                Action::Redirect(_) | Action::Respond(_) => None,
            },
        };
        Self {
            routes: Arc::new(RouteTable::new(&config.routes)),
            reserved: Arc::new(ReservedHeaders::new(&config.identity_headers)),
            facts: config.routes.iter().map(facts).collect(),
            upstreams,
            config,
        }
    }

    /// Begins to watch the servers, in the background of the caller; once for each.
    pub fn watch_servers(&self, tasks: &Tasks) {
        self.upstreams.iter().for_each(|servers| servers.watch(tasks));
    }
}
