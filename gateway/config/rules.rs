//! Rules that no section can check alone.

use super::Config;
use super::problem::Complaint;
use super::section::Reading;

pub(super) fn check(config: &Config, reading: &Reading<'_>) {
    refuse_one_address_twice(config, reading);
    refuse_one_header_for_two(config, reading);
    refuse_proxy_protocol_of_nobody(config, reading);
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
    if admin.port() != 0 && listen.contains(&admin) && reading.is_right("server.listen") && reading.is_right("admin.listen") {
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

fn refuse_proxy_protocol_of_nobody(config: &Config, reading: &Reading<'_>) {
    let nobody = config.client_address.trusted_proxies.is_empty() && reading.is_right("client_ip.trusted_proxies");
    if config.server.proxy_protocol && nobody {
        let complaint = Complaint::new("would be believed of nobody");
        reading.problem("server.proxy_protocol", complaint.hint("name the proxies in client_ip.trusted_proxies"));
    }
}

fn refuse_equal_upstreams(config: &Config, reading: &Reading<'_>) {
    let upstreams = &config.upstreams;
    for (index, upstream) in upstreams.iter().enumerate() {
        let path = format!("upstreams[{index}].name");
        if reading.is_right(&path) && upstreams[..index].iter().any(|earlier| earlier.name == upstream.name) {
            reading.problem(path, Complaint::new(format!("`{}` is the name of another upstream too", upstream.name)));
        }
    }
}

fn refuse_equal_routes(config: &Config, reading: &Reading<'_>) {
    let is_right = |index| ["host", "path", "scheme"].iter().all(|key| reading.is_right(&format!("routes[{index}].{key}")));
    let routes: Vec<_> = config.routes.iter().enumerate().filter(|(index, _)| is_right(*index)).collect();
    for (count, (index, route)) in routes.iter().enumerate() {
        if let Some((earlier, _)) = routes[..count].iter().find(|(_, earlier)| earlier.label == route.label) {
            let complaint = Complaint::new(format!("matches what routes[{earlier}] matches: {}", route.label));
            reading.problem(format!("routes[{index}]"), complaint.hint("give it another host, path or scheme"));
        }
    }
}

fn refuse_no_route(config: &Config, reading: &Reading<'_>) {
    if config.routes.is_empty() && reading.is_right("routes") {
        let complaint = Complaint::new("has no entry: every request would be answered 404");
        reading.problem("routes", complaint.hint("add a [[routes]] with a `path` and an `upstream`"));
    }
}
