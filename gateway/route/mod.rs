//! Which route a request takes: the most specific host, then the longest path in whole segments, then the scheme.
//!
//! What must stay true here: where the plausible readings of a path reach different routes, none is taken
//! ([`Taken::Ambiguous`]), so that no spelling of a path reaches an app past the rules meant for it.

mod readings;

use std::collections::HashMap as StdHashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::config::{HostPattern, Route, Scheme};

/// What is in one was written by the operator, so nobody can fill it with what hashes alike: a fast hash will do.
type HashMap<K, V> = StdHashMap<K, V, FixedState>;

/// Every route, arranged for look-up.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    exact: HashMap<String, Paths>,
    /// The longest suffix first.
    suffixes: Vec<(String, Paths)>,
    any: Paths,
}

/// The routes of one host, by path.
#[derive(Debug, Default)]
struct Paths {
    by_path: HashMap<Vec<u8>, Vec<usize>>,
    /// Length of the longest path, in bytes.
    longest: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its place in the configuration.
    Route(usize),
    NoRoute,
    /// Its readings reach different routes, or it has control characters or broken percent-encoding.
    Ambiguous,
}

impl RouteTable {
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let mut table = Self { routes: routes.to_vec(), exact: HashMap::default(), suffixes: Vec::new(), any: Paths::default() };
        // Of two that differ in scheme alone, the one for a certain scheme is looked at first.
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by_key(|&index| routes[index].scheme.is_none());
        for index in order {
            table.paths_of(&routes[index].host).add(routes[index].path.as_bytes(), index);
        }
        table.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    pub fn get(&self, index: usize) -> &Arc<Route> {
        &self.routes[index]
    }

    /// Whether any route is for certain hosts; else the host of a request does not matter.
    pub fn names_hosts(&self) -> bool {
        !(self.exact.is_empty() && self.suffixes.is_empty())
    }

    /// `host` is lower case, without port; `path` is as it came, without query.
    pub fn take(&self, host: &str, path: &[u8], scheme: Scheme) -> Taken {
        let as_it_came = self.find(host, path, scheme);
        if readings::is_plain(path) {
            return as_it_came.map_or(Taken::NoRoute, Taken::Route);
        }
        match readings::all(path) {
            Some(others) if others.iter().all(|other| self.find(host, other, scheme) == as_it_came) => {
                as_it_came.map_or(Taken::NoRoute, Taken::Route)
            }
            _ => Taken::Ambiguous,
        }
    }

    fn find(&self, host: &str, path: &[u8], scheme: Scheme) -> Option<usize> {
        let exact = self.exact.get(host).into_iter();
        let suffixes = self.suffixes.iter().filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix.as_str()));
        let mut hosts = exact.chain(suffixes.map(|(_, paths)| paths)).chain([&self.any]);
        hosts.find_map(|paths| paths.find(path, |index| self.routes[index].scheme.is_none_or(|wanted| wanted == scheme)))
    }

    fn paths_of(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Suffix(suffix) => {
                let at = self.suffixes.iter().position(|(known, _)| known == suffix).unwrap_or_else(|| {
                    self.suffixes.push((suffix.clone(), Paths::default()));
                    self.suffixes.len() - 1
                });
                &mut self.suffixes[at].1
            }
        }
    }
}

impl Paths {
    fn add(&mut self, path: &[u8], index: usize) {
        self.by_path.entry(path.to_vec()).or_default().push(index);
        self.longest = self.longest.max(path.len());
    }

    /// The longest prefix of whole segments that has a route which `fits`.
    fn find(&self, path: &[u8], fits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut end = path.len();
        if end > self.longest {
            end = path[..=self.longest].iter().rposition(|&byte| byte == b'/')?;
        }
        loop {
            let prefix = if end == 0 { b"/" } else { &path[..end] };
            let indexes = self.by_path.get(prefix).map_or(&[][..], Vec::as_slice);
            if let Some(&index) = indexes.iter().find(|&&index| fits(index)) {
                return Some(index);
            }
            end = path[..end].iter().rposition(|&byte| byte == b'/')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &str) -> RouteTable {
        let upstream = "[[upstreams]]\nname = \"app\"\nservers = [\"http://127.0.0.1:1\"]\n";
        let config = crate::config::parse(&format!("{upstream}{routes}"), std::path::Path::new("/"), &|_| None);
        RouteTable::new(&config.expect("a valid configuration").routes)
    }

    fn route(host: &str, path: &str) -> String {
        format!("[[routes]]\nhost = \"{host}\"\npath = \"{path}\"\nupstream = \"app\"\n")
    }

    fn take(table: &RouteTable, host: &str, path: &str) -> Taken {
        table.take(host, path.as_bytes(), Scheme::Http)
    }

    #[test]
    fn the_longest_path_in_whole_segments_wins() {
        let table = table(&[route("", "/"), route("", "/api"), route("", "/api/v2")].concat());
        for (path, index) in
            [("/", 0), ("/apis", 0), ("/api", 1), ("/api/", 1), ("/api/v1", 1), ("/api/v2", 2), ("/api/v2/x", 2), ("/API", 0)]
        {
            assert_eq!(take(&table, "any", path), Taken::Route(index), "{path}");
        }
    }

    #[test]
    fn the_most_specific_host_wins_and_a_path_it_lacks_falls_to_the_next() {
        let routes =
            [route("", "/"), route("*.example.com", "/"), route("*.b.example.com", "/"), route("a.example.com", "/only")];
        let table = table(&routes.concat());
        assert_eq!(take(&table, "other.org", "/"), Taken::Route(0));
        assert_eq!(take(&table, "example.com", "/"), Taken::Route(0));
        assert_eq!(take(&table, "x.example.com", "/"), Taken::Route(1));
        assert_eq!(take(&table, "x.b.example.com", "/"), Taken::Route(2));
        assert_eq!(take(&table, "a.example.com", "/only/x"), Taken::Route(3));
        assert_eq!(take(&table, "a.example.com", "/else"), Taken::Route(1));
    }

    #[test]
    fn without_a_route_for_all_there_is_none() {
        let table = table(&route("", "/api"));
        assert_eq!(take(&table, "any", "/"), Taken::NoRoute);
        assert_eq!(take(&table, "any", "/ap"), Taken::NoRoute);
    }

    #[test]
    fn a_path_whose_readings_reach_different_routes_is_ambiguous() {
        let table = table(&[route("", "/public"), route("", "/admin")].concat());
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%2fadmin",
            "/public%2f..%2fadmin",
            "//admin",
            "/public/..;/admin",
            "/public\\..\\admin",
            "/public/..%5cadmin",
            "/%61dmin",
            "/admin;x",
            "/public/..;%2f/admin",
            "/public/..;\\/admin",
            "/;%2fx/admin%2fx",
            "/;\\x/admin\\x",
            "/public/%zz",
            "/public/%0a",
        ] {
            assert_eq!(take(&table, "any", path), Taken::Ambiguous, "{path}");
        }
    }

    #[test]
    fn odd_spellings_inside_one_route_are_the_apps_own_business() {
        let table = table(&[route("", "/npm"), route("", "/admin")].concat());
        for path in ["/npm/@scope%2fname", "/npm/a;v=1", "/npm/a//b", "/npm/.well-known", "/npm/a/../b", "/npm/100%25"] {
            assert_eq!(take(&table, "any", path), Taken::Route(0), "{path}");
        }
    }

    #[test]
    fn a_route_for_one_scheme_takes_only_that() {
        let redirect = "[[routes]]\npath = \"/\"\nscheme = \"http\"\nredirect = { to = \"https://{host}{path}\" }\n";
        let table = table(&format!("{redirect}{}", route("", "/")));
        assert_eq!(table.take("any", b"/x", Scheme::Http), Taken::Route(0));
        assert_eq!(table.take("any", b"/x", Scheme::Https), Taken::Route(1));
    }
}
