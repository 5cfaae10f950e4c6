//! The gateway.toml of a test: defaults that suit tests, with what the test says laid over them.

use std::net::SocketAddr;

use toml::{Table, Value};

const DEFAULTS: &str = r#"
[server]
listen = ["127.0.0.1:0"]
workers = 2
drain_timeout = "5s"

[admin]
listen = "127.0.0.1:0"

[store]
url = "sqlite:gateway.db"

[usage]
flush_interval = "50ms"

[log]
format = "json"

[[upstreams]]
name = "app"
servers = ["http://{app}"]

[[routes]]
path = "/"
upstream = "app"
"#;

/// `{app}` stands for the upstream's address. Tables are merged; `[[upstreams]]` and `[[routes]]` replace the defaults.
pub fn settings(app: SocketAddr, own: &str) -> String {
    let parse = |text: &str| text.replace("{app}", &app.to_string()).parse::<Table>().expect("a test writes good TOML");
    let mut settings = parse(DEFAULTS);
    lay_over(&mut settings, parse(own));
    settings.to_string()
}

fn lay_over(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}
