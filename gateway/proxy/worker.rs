//! What a request works with: one worker's connections and counts, and the configuration as it is now.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::auth::lookup::Lookup;
use crate::config::{Action, Config, Route, Upstream};
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::limits::pace::Paces;
use crate::observe::metrics::{Metrics, RouteLabel, Shard};
use crate::observe::refusals::Refusals;
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
    pub refusals: Arc<Refusals>,
    /// `None` where usage is not recorded.
    pub recorder: Option<Recorder>,
    /// This worker's connections.
    pub tasks: Tasks,
}

impl Worker {
    /// Requests go by `live` from now on; those under way keep what they began with.
    pub fn renew(&self, live: &Live) {
        self.live.store(Arc::new(live.clone()));
    }
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
        Self::after(&[], config, metrics)
    }

    /// What follows from the next configuration. An upstream that stays as it is keeps its servers, and what is known of them.
    #[must_use]
    pub fn renewed(&self, config: Arc<Config>, metrics: &Metrics) -> Self {
        Self::after(&self.upstreams, config, metrics)
    }

    fn after(before: &[Arc<Servers>], config: Arc<Config>, metrics: &Metrics) -> Self {
        let workers = config.server.workers.get();
        let servers = |upstream: &Arc<Upstream>| match before.iter().find(|servers| servers.upstream == *upstream) {
            Some(servers) => Arc::clone(servers),
            None => Arc::new(Servers::new(Arc::clone(upstream), metrics, workers)),
        };
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

    /// Begins to watch the servers that nobody watches yet, in the background of the caller.
    pub fn watch_servers(&self, tasks: &Tasks) {
        self.upstreams.iter().for_each(|servers| servers.watch(tasks));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn an_upstream_that_stays_as_it_is_keeps_what_is_known_of_its_servers() {
        let config = |port: u16| {
            let text = format!(
                "upstreams = [{{ name = \"same\", servers = [\"http://a\"] }}, {{ name = \"other\", servers = [\"http://a:{port}\"] }}]\n\
                 routes = [{{ path = \"/\", upstream = \"same\" }}, {{ path = \"/other\", upstream = \"other\" }}]"
            );
            Arc::new(config::parse(&text, Path::new(""), &|_| None).expect("it is right"))
        };
        let metrics = Metrics::default();
        let before = Live::new(config(1), &metrics);
        let after = before.renewed(config(2), &metrics);
        let kept: Vec<_> = before.upstreams.iter().zip(&*after.upstreams).map(|(one, two)| Arc::ptr_eq(one, two)).collect();
        assert_eq!(kept, [true, false]);
        let of_the_route = |route: usize| after.facts[route].servers.as_ref().expect("it forwards");
        assert!((0..2).all(|at| Arc::ptr_eq(of_the_route(at), &after.upstreams[at])));
    }
}
