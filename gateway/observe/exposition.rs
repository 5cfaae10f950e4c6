//! The metrics as Prometheus reads them: text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::metrics::{AlertKind, AuthResult, BUCKETS, DeliveryResult, Histogram, Layer, LookupResult, Metrics, Tallies};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, in a fixed order.
pub fn exposition(metrics: &Metrics) -> String {
    let mut page = Page(String::with_capacity(8192));
    let tallies = metrics.tallies();
    requests(&mut page, metrics, &tallies);
    gates(&mut page, metrics, &tallies);
    upstreams(&mut page, metrics, &tallies);
    page.gauge("gateway_connections", "Open client connections.");
    for (listener, count) in metrics.listeners() {
        page.sample("gateway_connections", &[("listener", &listener)], count);
    }
    page.gauge("gateway_requests_in_flight", "Requests being answered.");
    page.sample("gateway_requests_in_flight", &[], metrics.in_flight());
    page.counter("gateway_accept_errors_total", "Connections that could not be accepted.");
    page.sample("gateway_accept_errors_total", &[], metrics.accept_errors.get());
    usage(&mut page, metrics);
    page.gauge("gateway_store_up", "1 when the last question to the store was answered.");
    page.sample("gateway_store_up", &[], metrics.store_up.get());
    if let Some(redis_up) = metrics.redis_up.get() {
        page.gauge("gateway_redis_up", "1 while Redis answers.");
        page.sample("gateway_redis_up", &[], redis_up.get());
    }
    alerts(&mut page, metrics);
    page.counter("gateway_config_reloads_total", "Reloads of the configuration.");
    for (result, count) in [("ok", &metrics.reloads_ok), ("error", &metrics.reloads_failed)] {
        page.sample("gateway_config_reloads_total", &[("result", result)], count.get());
    }
    page.gauge("gateway_build_info", "The version of this binary.");
    page.sample("gateway_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.0
}

fn requests(page: &mut Page, metrics: &Metrics, tallies: &Tallies) {
    page.counter("gateway_requests_total", "Requests answered.");
    let mut rows: Vec<_> = tallies
        .requests
        .iter()
        .map(|(&(route, method, status), &count)| {
            (metrics.route_name(route), method.unwrap_or("other"), status.to_string(), count)
        })
        .collect();
    rows.sort_unstable();
    for (route, method, status, count) in rows {
        page.sample("gateway_requests_total", &[("route", &route), ("method", method), ("status", &status)], count);
    }
    page.histogram_head("gateway_request_duration_seconds", "From a request's arrival to the end of its answer.");
    let durations: BTreeMap<_, _> =
        tallies.durations.iter().map(|(&route, histogram)| (metrics.route_name(route), histogram)).collect();
    for (route, histogram) in durations {
        page.histogram("gateway_request_duration_seconds", Some(("route", &route)), histogram);
    }
    page.histogram_head("gateway_overhead_seconds", "Time of a request not spent waiting for the upstream or the client.");
    page.histogram("gateway_overhead_seconds", None, &tallies.overhead);
}

fn gates(page: &mut Page, metrics: &Metrics, tallies: &Tallies) {
    page.counter("gateway_auth_total", "Requests by how they fared at the gates.");
    for (result, name) in AuthResult::ALL {
        page.sample("gateway_auth_total", &[("result", name)], tallies.auth.get(&result).copied().unwrap_or(0));
    }
    page.gauge("gateway_keys_awaiting_first_use", "Keys of the store of which only a bcrypt hash is known.");
    page.sample("gateway_keys_awaiting_first_use", &[], metrics.keys_awaiting_first_use.get());
    page.counter("gateway_key_lookups_total", "Look-ups of keys, by layer.");
    for (layer, layer_name) in Layer::ALL {
        for (result, name) in LookupResult::ALL {
            let labels = [("layer", layer_name), ("result", name)];
            page.sample("gateway_key_lookups_total", &labels, metrics.lookups(layer, result));
        }
    }
}

fn upstreams(page: &mut Page, metrics: &Metrics, tallies: &Tallies) {
    page.counter("gateway_upstream_requests_total", "Requests forwarded.");
    let mut rows: Vec<_> = tallies
        .upstream
        .iter()
        .map(|(&(upstream, result), &count)| (metrics.upstream_name(upstream), result.as_str(), count))
        .collect();
    rows.sort_unstable();
    for (upstream, result, count) in rows {
        page.sample("gateway_upstream_requests_total", &[("upstream", &upstream), ("result", result)], count);
    }
    page.gauge("gateway_upstream_healthy", "1 while the server takes connections and passes its checks.");
    for server in metrics.servers() {
        let labels = [("upstream", server.upstream.as_str()), ("server", server.server.as_str())];
        page.sample("gateway_upstream_healthy", &labels, server.healthy.get());
    }
}

fn usage(page: &mut Page, metrics: &Metrics) {
    page.counter("gateway_usage_recorded_total", "Admitted requests recorded.");
    page.sample("gateway_usage_recorded_total", &[], metrics.usage_recorded.get());
    page.counter("gateway_usage_written_total", "Records written to the store.");
    page.sample("gateway_usage_written_total", &[], metrics.usage_written.get());
    page.gauge("gateway_usage_spooled", "Records in the local journal that are not in the store yet.");
    page.sample("gateway_usage_spooled", &[], metrics.usage_spooled.get());
    page.counter("gateway_usage_dropped_total", "Records lost: to a full disk, a full journal, or their age.");
    page.sample("gateway_usage_dropped_total", &[], metrics.usage_dropped.get());
}

fn alerts(page: &mut Page, metrics: &Metrics) {
    page.counter("gateway_alerts_total", "What somebody was told of, in the log and by webhooks.");
    for kind in AlertKind::ALL {
        page.sample("gateway_alerts_total", &[("kind", kind.as_str())], metrics.alerts(kind));
    }
    page.counter("gateway_alert_deliveries_total", "Attempts to send alerts to webhooks, and alerts dropped before.");
    for (result, name) in DeliveryResult::ALL {
        page.sample("gateway_alert_deliveries_total", &[("result", name)], metrics.deliveries(result));
    }
}

struct Page(String);

impl Page {
    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, "counter", help);
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, "gauge", help);
    }

    fn histogram_head(&mut self, name: &str, help: &str) {
        self.head(name, "histogram", help);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.series(name, labels);
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, label: Option<(&str, &str)>, histogram: &Histogram) {
        let mut total = 0;
        for (count, bound) in histogram.buckets.iter().zip(BUCKETS.map(Some).into_iter().chain([None])) {
            total += count;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), seconds);
            let labels: Vec<_> = label.into_iter().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &labels, total);
        }
        let labels: Vec<_> = label.into_iter().collect();
        self.series(&format!("{name}_sum"), &labels);
        let _ = writeln!(self.0, " {}", seconds(histogram.sum_micros));
        self.sample(&format!("{name}_count"), &labels, total);
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }
}

/// Exactly, without the rounding of a float: `1500000` is `1.5`.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_exactly() {
        for (micros, text) in [(0, "0"), (50, "0.00005"), (1_500_000, "1.5"), (30_000_000, "30"), (100_000, "0.1")] {
            assert_eq!(seconds(micros), text);
        }
    }

    #[test]
    fn every_line_is_help_type_or_a_sample_with_a_number() {
        let metrics = Metrics::default();
        metrics.route("a\"b");
        metrics.server("app", "127.0.0.1:1");
        for line in exposition(&metrics).lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
