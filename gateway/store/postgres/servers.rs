//! Which of the servers that a URL names is connected to.
//!
//! What must stay true here: a server that takes connections and then says nothing, as one that is frozen does, has its part of
//! the time only. It is asked last from then on, so that a failover costs one such wait and not one for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{ConfigConnectImpl, Connect};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::config::PostgresUrl;

/// The servers of one URL. Clones know alike which of them answered last.
#[derive(Clone)]
pub(super) struct Servers {
    in_order: Arc<[Config]>,
    tls: MakeRustlsConnect,
    /// For all of them together.
    limit: Duration,
    /// The one to begin with.
    first: Arc<AtomicUsize>,
}

impl Servers {
    pub fn of(url: &PostgresUrl, limit: Duration) -> Self {
        Self { in_order: url.servers.clone().into(), tls: tls::connector(url), limit, first: Arc::default() }
    }

    /// A connection for the caller to move on.
    pub async fn connect(&self) -> Result<(Client, Connection<Socket, TlsStream>), Error> {
        self.first_that_answers(|server| Box::pin(server.connect(self.tls.clone()))).await
    }

    /// The last one asked has what is left of the time: the caller measures that.
    async fn first_that_answers<'a, T>(
        &'a self,
        connect: impl Fn(&'a Config) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.in_order.len());
        let each = self.limit / u32::try_from(count).expect("a URL names few servers");
        for number in first..first + count - 1 {
            if let Ok(Ok(connected)) = timeout(each, connect(&self.in_order[number % count])).await {
                return Ok(connected);
            }
            self.first.store((number + 1) % count, Ordering::Relaxed);
        }
        let last = (first + count - 1) % count;
        connect(&self.in_order[last]).await.inspect(|_| self.first.store(last, Ordering::Relaxed))
    }
}

/// For the pool, which moves the connection on by itself.
impl Connect for Servers {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(async {
            let connect = ConfigConnectImpl { tls: self.tls.clone() };
            self.first_that_answers(|server| connect.connect(server)).await
        })
    }
}

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
