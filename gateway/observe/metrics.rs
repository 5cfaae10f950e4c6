//! Every metric, in one file. What they are made of is in `instruments.rs`, how things may end in `results.rs`, what it all looks
//! like to Prometheus in `exposition.rs`.
//!
//! What must stay true here: a worker counts in its own [`Shard`], which no other worker touches, so that counting costs no
//! core a wait for another. No label ever holds a key, a user or a path that a client chose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use http::{Method, StatusCode};

pub use super::instruments::{BUCKETS, Counter, Gauge, Held, Histogram};
pub use super::results::{AlertKind, AuthResult, DeliveryResult, Layer, LookupResult, UpstreamResult};

/// All of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    pub usage_recorded: Counter,
    pub usage_written: Counter,
    /// Records in the journal that are not in the store yet.
    pub usage_spooled: Gauge,
    pub usage_dropped: Counter,
    /// 1 when the last question to the store was answered.
    pub store_up: Gauge,
    /// Keys of which only a bcrypt hash is known, as the store last said.
    pub keys_awaiting_first_use: Gauge,
    /// 1 while Redis answers. There with Redis.
    pub redis_up: OnceLock<Gauge>,
    pub accept_errors: Counter,
    pub reloads_ok: Counter,
    /// Reloads that were refused for what is wrong in the file.
    pub reloads_failed: Counter,
    alerts: [Counter; AlertKind::ALL.len()],
    deliveries: [Counter; DeliveryResult::ALL.len()],
    lookups: [[Counter; LookupResult::ALL.len()]; Layer::ALL.len()],
    labels: Mutex<Labels>,
    shards: Mutex<Vec<Arc<Shard>>>,
}

/// Names given to numbers once, so that requests count by number.
#[derive(Debug, Default)]
struct Labels {
    routes: Vec<String>,
    upstreams: Vec<String>,
    listeners: Vec<(String, Arc<Gauge>)>,
    servers: Vec<KnownServer>,
}

/// A server that an upstream has, or had before a reload.
#[derive(Debug)]
struct KnownServer {
    upstream: String,
    server: String,
    /// Held by the upstream: one that is gone is told of no more.
    healthy: Weak<Gauge>,
}

/// Whether one server of an upstream takes connections.
#[derive(Debug)]
pub struct ServerHealth {
    pub upstream: String,
    pub server: String,
    pub healthy: Arc<Gauge>,
}

/// The number of a route's label; [`RouteLabel::NONE`] where no route was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteLabel(usize);

impl RouteLabel {
    pub const NONE: Self = Self(0);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamLabel(usize);

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Shard {
    pub in_flight: Gauge,
    tallies: Mutex<Tallies>,
}

#[derive(Clone, Debug, Default)]
pub struct Tallies {
    pub requests: BTreeMap<(RouteLabel, Option<&'static str>, u16), u64>,
    pub auth: BTreeMap<AuthResult, u64>,
    pub upstream: BTreeMap<(UpstreamLabel, UpstreamResult), u64>,
    pub durations: BTreeMap<RouteLabel, Histogram>,
    pub overhead: Histogram,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Finished<'a> {
    pub route: RouteLabel,
    /// `None` where it could not be read.
    pub method: Option<&'a Method>,
    pub status: StatusCode,
    pub auth: Option<AuthResult>,
    pub upstream: Option<(UpstreamLabel, UpstreamResult)>,
    pub duration: Duration,
    pub overhead: Duration,
}

impl Shard {
    pub fn finish(&self, finished: &Finished<'_>) {
        let mut tallies = self.tallies.lock().expect("nothing panics while it counts");
        let request = (finished.route, finished.method.and_then(standard_method), finished.status.as_u16());
        *tallies.requests.entry(request).or_default() += 1;
        if let Some(auth) = finished.auth {
            *tallies.auth.entry(auth).or_default() += 1;
        }
        if let Some(upstream) = finished.upstream {
            *tallies.upstream.entry(upstream).or_default() += 1;
        }
        tallies.durations.entry(finished.route).or_default().observe(finished.duration);
        tallies.overhead.observe(finished.overhead);
    }
}

impl Metrics {
    pub fn lookup(&self, layer: Layer, result: LookupResult) {
        self.lookups[layer as usize][result as usize].add(1);
    }

    pub fn lookups(&self, layer: Layer, result: LookupResult) -> u64 {
        self.lookups[layer as usize][result as usize].get()
    }

    /// Somebody is told of it.
    pub fn alert(&self, kind: AlertKind) {
        self.alerts[kind as usize].add(1);
    }

    pub fn alerts(&self, kind: AlertKind) -> u64 {
        self.alerts[kind as usize].get()
    }

    /// Of an alert to a webhook.
    pub fn delivery(&self, result: DeliveryResult) {
        self.deliveries[result as usize].add(1);
    }

    pub fn deliveries(&self, result: DeliveryResult) -> u64 {
        self.deliveries[result as usize].get()
    }

    /// The same label gives the same number, over reloads too.
    pub fn route(&self, label: &str) -> RouteLabel {
        RouteLabel(number_of(label, &mut self.labels().routes) + 1)
    }

    pub fn upstream(&self, name: &str) -> UpstreamLabel {
        UpstreamLabel(number_of(name, &mut self.labels().upstreams))
    }

    /// The number of open connections of a listener.
    pub fn listener(&self, name: &str) -> Arc<Gauge> {
        let mut labels = self.labels();
        if let Some((_, gauge)) = labels.listeners.iter().find(|(known, _)| known == name) {
            return Arc::clone(gauge);
        }
        let gauge = Arc::<Gauge>::default();
        labels.listeners.push((name.to_owned(), Arc::clone(&gauge)));
        gauge
    }

    /// Begins as healthy. Told of for as long as the caller, or another that asked, holds it.
    pub fn server(&self, upstream: &str, server: &str) -> Arc<Gauge> {
        let mut labels = self.labels();
        labels.servers.retain(|known| known.healthy.strong_count() > 0);
        let known = labels.servers.iter().find(|known| known.upstream == upstream && known.server == server);
        if let Some(healthy) = known.and_then(|known| known.healthy.upgrade()) {
            return healthy;
        }
        let healthy = Arc::<Gauge>::default();
        healthy.set(1);
        labels.servers.push(KnownServer { upstream: upstream.into(), server: server.into(), healthy: Arc::downgrade(&healthy) });
        healthy
    }

    /// A new worker's own.
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::<Shard>::default();
        self.shards.lock().expect("nothing panics while it holds the shards").push(Arc::clone(&shard));
        shard
    }

    pub fn in_flight(&self) -> u64 {
        self.shards().iter().map(|shard| shard.in_flight.get()).sum()
    }

    /// The sum over all workers.
    pub fn tallies(&self) -> Tallies {
        let mut sum = Tallies::default();
        for shard in self.shards() {
            let tallies = shard.tallies.lock().expect("nothing panics while it counts").clone();
            tallies.requests.into_iter().for_each(|(key, count)| *sum.requests.entry(key).or_default() += count);
            tallies.auth.into_iter().for_each(|(key, count)| *sum.auth.entry(key).or_default() += count);
            tallies.upstream.into_iter().for_each(|(key, count)| *sum.upstream.entry(key).or_default() += count);
            tallies.durations.iter().for_each(|(key, histogram)| sum.durations.entry(*key).or_default().merge(histogram));
            sum.overhead.merge(&tallies.overhead);
        }
        sum
    }

    pub fn route_name(&self, label: RouteLabel) -> String {
        label.0.checked_sub(1).map_or_else(String::new, |index| self.labels().routes[index].clone())
    }

    pub fn upstream_name(&self, label: UpstreamLabel) -> String {
        self.labels().upstreams[label.0].clone()
    }

    pub fn listeners(&self) -> Vec<(String, u64)> {
        self.labels().listeners.iter().map(|(name, gauge)| (name.clone(), gauge.get())).collect()
    }

    pub fn servers(&self) -> Vec<ServerHealth> {
        let health = |known: &KnownServer| {
            let healthy = known.healthy.upgrade()?;
            Some(ServerHealth { upstream: known.upstream.clone(), server: known.server.clone(), healthy })
        };
        self.labels().servers.iter().filter_map(health).collect()
    }

    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().expect("nothing panics while it holds the labels")
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.lock().expect("nothing panics while it holds the shards").clone()
    }
}

fn number_of(name: &str, names: &mut Vec<String>) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// `None` for a method that a client made up.
fn standard_method(method: &Method) -> Option<&'static str> {
    const STANDARD: [Method; 8] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE];
    static NAMES: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
    STANDARD.iter().position(|standard| standard == method).map(|index| NAMES[index])
}

#[cfg(test)]
mod tests;
