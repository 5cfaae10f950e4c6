//! The doors: where requests come in, and where the gateway is looked at and managed.
//!
//! What must stay true here: a socket that was handed over is taken before one is bound anew. The admin listener has tasks of its
//! own, since it answers to the end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::api::Api;
use crate::drain::Tasks;
use crate::listen::bind::{self, BindError, Bound};
use crate::listen::handed_over::HandedOver;
use crate::listen::tls::Tls;
use crate::observe::metrics::Metrics;
use crate::{admin, config};

/// First the doors for cleartext, then those for TLS.
pub fn bind_traffic(
    rules: &config::Server,
    tls: Option<&Arc<Tls>>,
    handed_over: &mut HandedOver,
) -> Result<Vec<Bound>, BindError> {
    let workers = rules.workers.get();
    let mut bound = bind::bind(&rules.listen, None, workers, handed_over)?;
    if let (Some(rules), Some(tls)) = (&rules.tls, tls) {
        bound.extend(bind::bind(&rules.listen, Some(tls), workers, handed_over)?);
    }
    Ok(bound)
}

pub async fn bind_admin(address: SocketAddr, handed_over: &mut HandedOver) -> Result<TcpListener, BindError> {
    let listener = match handed_over.take(address) {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    listener.map_err(|error| BindError { address, error })
}

pub fn serve_admin(listener: TcpListener, metrics: Arc<Metrics>, api: Api) -> (SocketAddr, Tasks) {
    let address = listener.local_addr().expect("a bound socket has an address");
    let router = admin::router(metrics, api).into_make_service_with_connect_info::<SocketAddr>();
    let tasks = Tasks::new();
    let stop = tasks.clone();
    tasks.spawn(async move {
        let served = axum::serve(listener, router);
        tokio::select! {
            _ = served => {}
            () = stop.stopping() => {}
        }
    });
    (address, tasks)
}
