//! Rules that no section can check alone.

use super::Config;
use super::problem::Complaint;
use super::section::Reading;

pub(super) fn check(config: &Config, reading: &Reading<'_>) {
    refuse_one_address_twice(config, reading);
    refuse_one_header_for_two(config, reading);
    refuse_equal_upstreams(config, reading);
    refuse_equal_routes(config, reading);
    refuse_no_route(config, reading);
}

/// Port 0 is another one each time.
fn refuse_one_address_twice(config: &Config, reading: &Reading<'_>) {
    let listen = &config.server.listen;
    for (count, address) in listen.iter().enumerate().filter(|(_, address)| address.port() != 0) {
        if listen[..count].contains(address) {
            reading.problem("server.listen", Complaint::new(format!("{address} is listed twice")));
        }
    }
    let admin = config.admin.listen;
    if admin.port() != 0 && listen.contains(&admin) {
        let complaint = Complaint::new(format!("{admin} is an address of server.listen too"));
        reading.problem("admin.listen", complaint.hint("give it a port of its own"));
    }
}

fn refuse_one_header_for_two(config: &Config, reading: &Reading<'_>) {
    let header = &config.client_address.header;
    if config.identity_headers.claims(header) {
        reading.problem("client_ip.header", Complaint::new(format!("`{header}` is an identity header too")));
    }
}

fn refuse_equal_upstreams(config: &Config, reading: &Reading<'_>) {
    let upstreams = &config.upstreams;
    for (index, upstream) in upstreams.iter().enumerate().filter(|(_, upstream)| !upstream.name.is_empty()) {
        if upstreams[..index].iter().any(|earlier| earlier.name == upstream.name) {
            let complaint = Complaint::new(format!("`{}` is the name of another upstream too", upstream.name));
            reading.problem(format!("upstreams[{index}].name"), complaint);
        }
    }
}

/// A path that could not be read is empty.
fn refuse_equal_routes(config: &Config, reading: &Reading<'_>) {
    let routes = &config.routes;
    for (index, route) in routes.iter().enumerate().filter(|(_, route)| !route.path.is_empty()) {
        if let Some(earlier) = routes[..index].iter().position(|earlier| earlier.label == route.label) {
            let complaint = Complaint::new(format!("matches what routes[{earlier}] matches: {}", route.label));
            reading.problem(format!("routes[{index}]"), complaint.hint("give it another host, path or scheme"));
        }
    }
}

fn refuse_no_route(config: &Config, reading: &Reading<'_>) {
    if config.routes.is_empty() {
        let complaint = Complaint::new("is missing: every request would be answered 404");
        reading.problem("routes", complaint.hint("add a [[routes]] with a `path` and an `upstream`"));
    }
}
