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
    let tls = config.server.tls.iter().flat_map(|tls| &tls.listen).map(|address| ("server.tls.listen", address));
    let admin = [("admin.listen", &config.admin.listen)];
    let all = config.server.listen.iter().map(|address| ("server.listen", address)).chain(tls).chain(admin);
    let all: Vec<_> = all.filter(|(key, address)| address.port() != 0 && reading.is_right(key)).collect();
    for (count, (key, address)) in all.iter().enumerate() {
        match all[..count].iter().find(|(_, earlier)| earlier == address) {
            Some((same, _)) if same == key => reading.problem(*key, Complaint::new(format!("{address} is listed twice"))),
            Some((other, _)) => {
                let complaint = Complaint::new(format!("{address} is an address of {other} too"));
                reading.problem(*key, complaint.hint("give it a port of its own"));
            }
            None => {}
        }
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
