//! Servers watched in the background: checks as configured, and the way back of one that refused.
//!
//! What must stay true here: no request is spent on finding out whether a server is back.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use super::connect::{ConnectError, connect};
use super::exchange::{Connection, ExchangeError};
use super::http1::{Outgoing, RequestHead};
use super::server::Server;
use crate::config::{HealthCheck, Upstream};
use crate::drain::Tasks;

/// How long a server that refused is left in peace, the first time and at most. Each failed attempt doubles it.
const PEACE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
const AGENT: &str = concat!("hokusai-gateway/", env!("CARGO_PKG_VERSION"));

/// Why a server did not pass its check.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("its health check got no answer: {0}")]
    Exchange(#[from] ExchangeError),
    #[error("its health check was answered with {0}")]
    Status(StatusCode),
    #[error("its health check got no answer within {0:?}")]
    Timeout(Duration),
}

/// Runs for as long as it is polled.
pub async fn watch(server: Arc<Server>, upstream: Arc<Upstream>, tasks: Tasks) {
    let mut failed = 0;
    loop {
        if let Some(check) = &upstream.health_check {
            server.checked(passes(&server, &upstream, check, &tasks).await.err().as_ref().map(|error| error as _), check);
        } else if server.refuses() {
            // What comes of it is noted with the server.
            let _ = connect(&server, upstream.connect_timeout, false, &tasks).await;
        }
        if server.refuses() {
            sleep(peace(failed)).await;
            failed += 1;
        } else {
            failed = 0;
            until_next(&server, upstream.health_check.as_ref()).await;
        }
    }
}

/// Until the next check is due, or the server refuses a request.
async fn until_next(server: &Server, check: Option<&HealthCheck>) {
    let due = async {
        match check {
            Some(check) => sleep(check.interval).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = due => {}
        () = server.begins_to_refuse() => sleep(PEACE.0).await,
    }
}

fn peace(failed: u32) -> Duration {
    PEACE.0.saturating_mul(2_u32.saturating_pow(failed)).min(PEACE.1)
}

async fn passes(server: &Server, upstream: &Upstream, check: &HealthCheck, tasks: &Tasks) -> Result<(), CheckError> {
    let connection = connect(server, upstream.connect_timeout, false, tasks).await?;
    let answered = timeout(check.timeout, ask(connection, server, check)).await;
    match answered.map_err(|_| CheckError::Timeout(check.timeout))?? {
        status if status.is_success() || status.is_redirection() => Ok(()),
        status => Err(CheckError::Status(status)),
    }
}

async fn ask(mut connection: Connection, server: &Server, check: &HealthCheck) -> Result<StatusCode, ExchangeError> {
    let mut head = RequestHead::new(Method::GET, &check.path);
    head.field(&HOST, server.host.as_bytes());
    head.field(&USER_AGENT, AGENT.as_bytes());
    head.field(&CONNECTION, b"close");
    let mut request = Outgoing::new(head, None);
    Ok(poll_fn(|context| connection.poll_answer(&mut request, context)).await?.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_keeps_refusing_is_asked_ever_more_rarely_but_never_given_up() {
        let waits = [0, 1, 2, 5, 6, u32::MAX].map(|failed| peace(failed).as_millis());
        assert_eq!(waits, [250, 500, 1000, 8000, 8000, 8000]);
    }
}
