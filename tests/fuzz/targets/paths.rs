//! Paths and the routes they take. The bytes: what follows the first slash.
//!
//! A path that is let through takes the route that every app would see it under, whichever of the usual things it does to it.

use std::path::Path;
use std::sync::LazyLock;

use hokusai_gateway::config::{self, Scheme};
use hokusai_gateway::route::{RouteTable, Taken};

const ROUTES: [&str; 6] = ["/", "/public", "/public/inner", "/admin", "/a/b/c", "/.hidden"];

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let routes = ROUTES.map(|path| format!("[[routes]]\npath = \"{path}\"\nupstream = \"app\"\n")).concat();
    let text = format!("[[upstreams]]\nname = \"app\"\nservers = [\"http://127.0.0.1:1\"]\n{routes}");
    RouteTable::new(&config::parse(&text, Path::new("/"), &|_| None).expect("a good configuration").routes)
});

/// What an app may do to a path before it looks at it.
type Step = fn(&[u8]) -> Vec<u8>;

/// In the order in which known servers do it: as it came, nginx, Tomcat, IIS, Python's, Go's, and one that decodes last.
const APPS: [&[Step]; 7] = [
    &[],
    &[decoded, with_single_slashes, without_dots],
    &[without_parameters, decoded, with_slashes_for_backslashes, with_single_slashes, without_dots],
    &[decoded, with_slashes_for_backslashes, without_dots],
    &[decoded],
    &[with_single_slashes, without_dots],
    &[without_dots, decoded],
];

pub fn holds(bytes: &[u8]) {
    let path = [b"/", bytes].concat();
    let taken = TABLE.take("any", &path, Scheme::Http);
    assert_eq!(taken, TABLE.take("any", &path, Scheme::Https), "the scheme says nothing here");
    let Taken::Route(route) = taken else {
        assert_eq!(taken, Taken::Ambiguous, "there is a route for all");
        return;
    };
    for steps in APPS {
        let read = steps.iter().fold(path.clone(), |path, step| step(&path));
        assert_eq!(naive(&read), route, "an app reads {:?}", String::from_utf8_lossy(&read));
    }
}

/// The longest route that the path is, or is below of.
fn naive(path: &[u8]) -> usize {
    let covers = |route: &str| {
        let route = route.trim_end_matches('/').as_bytes();
        path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let covering = (0..ROUTES.len()).filter(|&at| covers(ROUTES[at]));
    covering.max_by_key(|&at| ROUTES[at].len()).expect("the root covers all")
}

fn decoded(path: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(path).collect()
}

fn with_slashes_for_backslashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
}

fn with_single_slashes(path: &[u8]) -> Vec<u8> {
    let mut single = Vec::new();
    for &byte in path {
        if byte != b'/' || single.last() != Some(&b'/') {
            single.push(byte);
        }
    }
    single
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut is_parameter = false;
    let mut is_kept = |byte: u8| {
        is_parameter = byte != b'/' && (is_parameter || byte == b';');
        !is_parameter
    };
    path.iter().copied().filter(|&byte| is_kept(byte)).collect()
}

fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    [b"/", &kept.join(&b'/')[..]].concat()
}
