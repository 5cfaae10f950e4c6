//! The series that queries ask for, and whether the gateway has them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::support::redis::{SHARED, fresh_prefix};
use crate::support::{Gate, Gateway, Request, Upstream, eventually};

/// Labels that Prometheus itself adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// A gateway with Redis that has met every fault of an upstream, and all series it then tells.
pub struct Exported {
    series: Vec<Selector>,
}

/// A metric's name and its labels: in a query what is asked for, in `/metrics` what is there.
#[derive(Debug)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

impl Exported {
    pub fn collect() -> Self {
        let (good, garbage, silence) = (Upstream::ok(), Upstream::saying("no HTTP\r\n\r\n"), Gate::default());
        let silent = Upstream::start({
            let silence = silence.clone();
            move |exchange| {
                silence.wait();
                exchange.close();
            }
        });
        let redis = format!("[redis]\nurl = \"{}\"\nprefix = \"{}\"\n", SHARED.url(), fresh_prefix());
        let upstreams = [
            ("good", good.address()),
            ("garbage", garbage.address()),
            ("silent", silent.address()),
            ("gone", Upstream::nowhere()),
        ];
        let gateway = Gateway::start(good.address(), &(redis + &upstreams.map(forwarding).concat()));
        let key = gateway.create_key(&[]);
        for (path, status) in [("/good", 200), ("/garbage", 502), ("/silent", 504), ("/gone", 502)] {
            assert_eq!(gateway.ask(&Request::get(path).key(&key)).status, status, "{path}");
        }
        silence.open();
        eventually("every request is counted", || gateway.metric("gateway_requests_in_flight") == 0);
        let page = gateway.ask_admin("/metrics").text();
        Self { series: page.lines().filter(|line| !line.starts_with('#')).flat_map(selectors).collect() }
    }

    /// Every name, label and plain value in the query is one that the gateway tells.
    #[track_caller]
    pub fn has_all_of(&self, query: &str) {
        for asked in selectors(query) {
            let of_the_name: Vec<_> = self.series.iter().filter(|series| series.name == asked.name).collect();
            assert!(!of_the_name.is_empty(), "there is no {}: {query}", asked.name);
            for (label, pattern) in asked.labels.iter().filter(|(label, _)| !ADDED.contains(&label.as_str())) {
                let labels = of_the_name.iter().flat_map(|series| &series.labels);
                let values: BTreeSet<_> = labels.filter(|(name, _)| name == label).map(|(_, value)| value.as_str()).collect();
                assert!(!values.is_empty(), "{} has no {label}: {query}", asked.name);
                for plain in pattern.split('|').filter(|value| value.bytes().all(|byte| byte.is_ascii_lowercase())) {
                    assert!(values.contains(plain), "{label} of {} is never {plain}: {query}", asked.name);
                }
            }
        }
        for label in grouped_by(query).filter(|label| !ADDED.contains(label)) {
            let names: BTreeSet<_> = selectors(query).into_iter().map(|asked| asked.name).collect();
            let mut labels = self.series.iter().filter(|series| names.contains(&series.name)).flat_map(|series| &series.labels);
            assert!(labels.any(|(name, _)| name == label), "nothing has {label}: {query}");
        }
    }
}

/// A server that is slow to answer has failed, and the path that leads to it.
fn forwarding((name, address): (&str, SocketAddr)) -> String {
    format!(
        "[[upstreams]]\nname = \"{name}\"\nservers = [\"http://{address}\"]\nresponse_timeout = \"100ms\"\n\
         [[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\n"
    )
}

/// All of the gateway's metrics in a query, or in a line of `/metrics`. No value of a label holds a comma or a brace.
pub fn selectors(text: &str) -> Vec<Selector> {
    let starts = text.match_indices("gateway_").map(|(start, _)| &text[start..]);
    let selector = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        Selector { name: name.to_owned(), labels: inside.split(',').filter_map(label).collect() }
    };
    starts.map(selector).collect()
}

/// `status=~"5.."`, with any of the four operators.
fn label(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(['=', '!'])?;
    Some((name.trim().to_owned(), value.split('"').nth(1)?.to_owned()))
}

/// Every label in `by (route, le)`.
fn grouped_by(query: &str) -> impl Iterator<Item = &str> {
    let lists = query.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(list, _)| list.split(',').map(str::trim))
}

#[test]
fn a_query_is_taken_apart() {
    let found = selectors(r#"sum by (le) (rate(gateway_a_total{x=~"b|c", y!="d"}[5m])) > gateway_e"#);
    let names: Vec<_> = found.iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!(names, ["gateway_a_total", "gateway_e"]);
    assert_eq!(found[0].labels, [("x".into(), "b|c".into()), ("y".into(), "d".into())]);
    assert_eq!(grouped_by("sum by (a, b) (x) / sum by (c) (y)").collect::<Vec<_>>(), ["a", "b", "c"]);
}
