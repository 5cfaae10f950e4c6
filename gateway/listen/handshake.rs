//! The TLS handshake, before a connection's first byte of HTTP.
//!
//! What must stay true here: it ends in time whatever the client does, and sooner when the gateway drains.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::timer::impatience;
use super::tls::Tls;
use super::{connection, http2};
use crate::proxy::client::Client;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::unparsed;
use crate::proxy::worker::Worker;

/// Serves a connection that begins with a handshake to its end.
pub async fn serve(stream: TcpStream, tls: Arc<Tls>, client: Arc<Client>, worker: Arc<Worker>) {
    let deadline = client.deadline(&worker.live.load().config.server).map(|(at, _)| at);
    let shaken = tokio::select! {
        shaken = shake(stream, &tls, &client, &worker) => shaken,
        () = impatience(deadline, &worker) => None,
    };
    match shaken {
        Some(stream) if stream.speaks_http2() => http2::serve(stream, Bytes::new(), client, worker).await,
        Some(stream) => connection::serve(stream, client, worker).await,
        None => {}
    }
}

/// `None`: the client was told what it did wrong.
async fn shake(stream: TcpStream, tls: &Tls, client: &Client, worker: &Arc<Worker>) -> Option<ClientStream> {
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok_and(|bytes| bytes == 1) && first[0].is_ascii_alphabetic() {
        // A method's first letter; no record of TLS begins so.
        refuse_cleartext(stream, client, worker).await;
        return None;
    }
    match TlsAcceptor::from(tls.current()).accept(stream).await {
        Ok(stream) => Some(ClientStream::Tls(Box::new(stream))),
        Err(error) => {
            tracing::debug!(client = %client.peer.ip(), %error, "no TLS handshake");
            None
        }
    }
}

async fn refuse_cleartext(stream: TcpStream, client: &Client, worker: &Arc<Worker>) {
    let failure = Failure::BadRequest("this port speaks HTTPS, and the request came in cleartext");
    let answer = unparsed::answer(&failure, worker, client);
    connection::end_with(ClientStream::Plain(stream), &answer).await;
}
