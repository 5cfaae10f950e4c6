//! HTTP/2 towards upstreams: what holds over HTTP/1.1 holds for each stream of a shared connection.

mod broken_off;
mod connections;
mod passing;

use crate::support::Gateway;
use crate::support::http2_upstream::Http2Upstream;

const OPEN: &str = "routes = [{ path = \"/\", upstream = \"app\", auth = \"none\" }]";

/// With one worker, so that all requests share what can be shared.
fn before(upstream: &Http2Upstream, own: &str) -> Gateway {
    let settings = "upstreams = [{ name = \"app\", servers = [\"h2c://{app}\"], {own} }]\nserver.workers = 1\n";
    Gateway::start(upstream.address(), &format!("{}{OPEN}", settings.replace("{own}", own)))
}
