//! HTTP/2 from a client's side: a well-behaved one. What no such client would send is written with `raw_http2`.

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A connection of a well-behaved client; driven while something is asked.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    _driven: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Http2 {
    pub fn to(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (sender, driven) = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
            let mut driven = JoinSet::new();
            driven.spawn(async move { drop(connection.await) });
            (sender, driven)
        });
        Self { runtime, sender, _driven: driven }
    }

    /// All of them at once; an answer is an error where it did not come whole.
    pub fn ask_all(&self, requests: Vec<http::Request<Full<Bytes>>>) -> Vec<hyper::Result<Answer>> {
        self.runtime.block_on(async {
            let asking = requests.into_iter().map(|request| {
                let mut sender = self.sender.clone();
                async move { whole(sender.send_request(request).await?).await }
            });
            futures_util::future::join_all(asking).await
        })
    }

    #[track_caller]
    pub fn ask(&self, request: http::Request<Full<Bytes>>) -> Answer {
        self.ask_all(vec![request]).remove(0).expect("a whole answer")
    }
}

/// `https://gateway.test` and this path.
pub fn get(path: &str) -> http::request::Builder {
    http::Request::get(format!("https://gateway.test{path}"))
}

pub fn empty(builder: http::request::Builder) -> http::Request<Full<Bytes>> {
    builder.body(Full::default()).expect("a request")
}

async fn whole(response: http::Response<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}
