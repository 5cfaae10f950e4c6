//! The ways to a server.
//!
//! What must stay true here: what goes over a plain socket is as cheap as the socket itself.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::unconstrained;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The most that TLS takes at once: one record. Of a record that did not go out whole the server understands nothing, so where
/// the first write fails, nothing was sent.
const RECORD: usize = 16 * 1024;

impl Stream {
    /// Nothing has come that was not read, not even its end. Asks the kernel only when it has said that something may have.
    pub fn is_quiet(&mut self) -> bool {
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut [0]),
            Self::Unix(stream) => stream.try_read(&mut [0]),
            Self::Tls(stream) => return is_quiet_within(stream),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// What TLS says to itself, like a new ticket, is no answer.
fn is_quiet_within(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut byte = [0];
    let read = pin!(unconstrained(stream.read(&mut byte)));
    read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn of_one_record<'a>(slices: &'a [IoSlice<'a>]) -> [IoSlice<'a>; 4] {
    let mut room = RECORD;
    let mut first = [IoSlice::new(&[]); 4];
    for (kept, slice) in first.iter_mut().zip(slices) {
        let length = slice.len().min(room);
        *kept = IoSlice::new(&slice[..length]);
        room -= length;
    }
    first
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, &bytes[..bytes.len().min(RECORD)]),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, &of_one_record(slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use http::{HeaderName, Method, StatusCode, uri::PathAndQuery};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpSocket;
    use tokio_rustls::{TlsAcceptor, TlsConnector, server};

    use super::*;
    use crate::certificates::provider;
    use crate::clock;
    use crate::upstream::http1::{Connection, Outgoing, RequestHead};

    /// Both ends of a connection whose sockets hold a few KiB.
    async fn tls() -> (TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let (listening, connecting) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        listening.set_recv_buffer_size(4096).unwrap();
        connecting.set_send_buffer_size(4096).unwrap();
        let listener = listening.listen(1).unwrap();
        let near = connecting.connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let (client, server) = (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
        let (near, far) = tokio::join!(client.connect(name, near), server.accept(far));
        (near.unwrap(), far.unwrap())
    }

    #[tokio::test]
    async fn what_tls_holds_back_goes_out_before_a_request_counts_as_sent() {
        let (near, mut far) = tls().await;
        let mut connection = Connection::new(Stream::Tls(Box::new(near)), clock::monotonic());
        let mut head = RequestHead::new(Method::GET, &PathAndQuery::from_static("/"));
        head.field(&HeaderName::from_static("x-long"), &vec![b'x'; 3 * RECORD]);
        let mut request = Outgoing::new(head, None);
        let first = connection.poll_answer(&mut request, &mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending() && request.is_begun() && !request.is_sent());
        let serving = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(far.read_buf(&mut head).await.unwrap(), 0);
            }
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        let (answered, ()) = tokio::join!(poll_fn(|context| connection.poll_answer(&mut request, context)), serving);
        assert_eq!(answered.unwrap().status, StatusCode::NO_CONTENT);
        assert!(request.is_sent());
    }

    /// Like the tickets that a server sends by itself after the handshake.
    #[tokio::test]
    async fn what_tls_says_to_itself_does_not_break_the_quiet_and_its_end_does() {
        let (near, mut far) = tls().await;
        let mut near = Stream::Tls(Box::new(near));
        let wait = async |near: &Stream| match near {
            Stream::Tls(stream) => stream.get_ref().0.readable().await.unwrap(),
            _ => panic!("it is TLS"),
        };
        wait(&near).await;
        assert!(near.is_quiet());
        far.shutdown().await.unwrap();
        while near.is_quiet() {
            wait(&near).await;
        }
    }

    #[test]
    fn what_is_written_at_once_fits_a_record() {
        let long = [7; RECORD];
        let kept = |slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            of_one_record(&slices).map(|slice| slice.len())
        };
        assert_eq!(kept(&[b"head", b"", b"data"]), [4, 0, 4, 0]);
        assert_eq!(kept(&[b"head", &long, b"tail"]), [4, RECORD - 4, 0, 0]);
        assert_eq!(kept(&[&long, &long]), [RECORD, 0, 0, 0]);
    }
}
