//! `demo`: the whole gateway in front of a sample app, with nothing to set up and nothing left behind.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::Request;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::{Common, output::Output, serve, tools};
use crate::clock;
use crate::config::{self, Config};
use crate::keyring::{self, CreatedKey, NewKey};
use crate::listen::handed_over::HandedOver;
use crate::model::address::IpNetSet;
use crate::model::api_key::Environment;
use crate::observe::logging::{Console, Logging};
use crate::reload::Reload;
use crate::store::Store;

pub const NOTES: &str = "\
It prints a curl line to paste; the upstream answers with what reached it.
Ctrl-C ends it, and nothing stays behind.

With --json it prints {\"url\",\"admin_url\",\"key\",\"key_id\"} on one line once it
accepts connections.";

/// Opens the admin API. Where it is not set, the demo makes one up.
const ADMIN_TOKEN: &str = "HOKUSAI_ADMIN_TOKEN";
/// Of a body that is echoed, in bytes.
const ECHO_MOST: usize = 64 * 1024;

pub fn run(common: &Common) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let app = SampleApp::start()?;
    let token = std::env::var(ADMIN_TOKEN).ok().filter(|token| !token.is_empty());
    let token = token.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let config = configuration(app.address, folder.path(), &token)?;
    let logging = Logging::start(&config.log, Console::Full, common.log_file.as_deref())?;
    let key = create_key(&config)?;
    let output = Output::new(common.json);
    let reload = Reload { file: None, environment: &|_| None, logging: &logging };
    serve::serve(config, HandedOver::default(), &reload, |gateway| {
        let (url, admin) = (gateway.traffic[0], gateway.admin);
        let (secret, key_id) = (key.key.expose(), key.record.key_id.as_str());
        let facts = json!({
            "url": format!("http://{url}"),
            "admin_url": format!("http://{admin}"),
            "key": secret,
            "key_id": key_id,
        });
        output.print(&facts, || welcome(url, admin, secret, &token))
    })
}

fn welcome(url: SocketAddr, admin: SocketAddr, key: &str, token: &str) -> String {
    format!(
        "A gateway runs in front of a sample app that answers with what reached it.\n\n  \
         curl -i http://{url}/hello -H 'Authorization: Bearer {key}'\n\n\
         Without the key it is 401. Metrics: curl http://{admin}/metrics\n\
         Dashboard: http://{admin}/ with the token {token}\n\
         Ctrl-C ends it, and nothing stays behind."
    )
}

fn configuration(app: SocketAddr, folder: &Path, token: &str) -> anyhow::Result<Config> {
    let text = format!(
        r#"
        [server]
        listen = ["127.0.0.1:0"]
        drain_timeout = "2s"
        [admin]
        listen = "127.0.0.1:0"
        [[upstreams]]
        name = "sample"
        servers = ["http://{app}"]
        [[routes]]
        path = "/"
        upstream = "sample"
        "#
    );
    // The demo is the same everywhere: no other variable of the environment changes it.
    Ok(config::parse(&text, folder, &|name| (name == ADMIN_TOKEN).then(|| token.to_owned()))?)
}

fn create_key(config: &Config) -> anyhow::Result<CreatedKey> {
    let store = Store::open(&config.store).acting_as(tools::operator());
    let new = NewKey {
        user_id: "demo".into(),
        name: "Demo Key".to_owned(),
        environment: Environment::Test,
        expires_at: None,
        rate_limit_per_hour: Some(config.keys.default_rate_limit),
        allowed_ips: IpNetSet::default(),
        scopes: Vec::new(),
        most_together: None,
    };
    let created = Builder::new_current_thread().enable_all().build()?.block_on(async {
        store.ensure_migrated().await?;
        anyhow::Ok(keyring::create(&store, &config.keys.prefix, new, clock::now()).await?)
    })?;
    Ok(created)
}

/// Answers every request with what reached it. Ends with the process, on a thread of its own.
struct SampleApp {
    address: SocketAddr,
}

impl SampleApp {
    fn start() -> anyhow::Result<Self> {
        let listener = StdListener::bind("127.0.0.1:0").context("cannot listen for the sample app")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                axum::serve(listener, Router::new().fallback(echo)).await
            })
        };
        std::thread::Builder::new().name("sample-app".to_owned()).spawn(serve)?;
        Ok(Self { address })
    }
}

async fn echo(request: Request) -> Json<Value> {
    let (head, body) = request.into_parts();
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let body: Bytes = axum::body::to_bytes(body, ECHO_MOST).await.unwrap_or_default();
    Json(json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}
