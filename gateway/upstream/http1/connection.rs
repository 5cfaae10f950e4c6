//! A connection to an upstream, and the first half of an exchange on it: the request out, the head of the answer in.
//!
//! What must stay true here: nothing is read before the request is begun, so that what comes unasked is never its answer; and
//! an idle connection on which anything came, be it its end, is not used again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio_util::io::poll_read_buf;

use super::field_names::FieldNames;
use super::outgoing::{Outgoing, SendError};
use super::parse::{self, Head};
use crate::upstream::exchange::ExchangeError;
use crate::upstream::stream::Stream;

/// What is made room for at once, in bytes; at least half of it is there for each read.
const ROOM: usize = 16 * 1024;
/// The same, for an upstream that fills it each time.
const ROOM_MOST: usize = 128 * 1024;

#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    opened: Instant,
    pub(super) unread: BytesMut,
    names: FieldNames,
    room: usize,
    /// Something came that is not yet an answer.
    heard: bool,
}

impl Connection {
    pub fn new(stream: Stream, now: Instant) -> Self {
        Self { stream, opened: now, unread: BytesMut::new(), names: FieldNames::default(), room: ROOM, heard: false }
    }

    /// Nothing has come since its last answer.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// The socket, and what was read beyond the last head.
    pub fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.unread.freeze())
    }

    /// Sends, until the head of the answer is there. It may come before all is sent.
    pub fn poll_answer(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        match self.poll_send(request, context) {
            Poll::Ready(Err(SendError::Body(error))) => return Poll::Ready(Err(error.into())),
            Poll::Ready(Err(SendError::Io(error))) if !request.is_begun() => {
                return Poll::Ready(Err(ExchangeError::NotSent(error)));
            }
            // An upstream may answer and take no more.
            Poll::Ready(Err(SendError::Io(_))) => request.fail(),
            Poll::Ready(Ok(())) => {}
            Poll::Pending if request.is_begun() => {}
            Poll::Pending => return Poll::Pending,
        }
        loop {
            while let Some(head) = parse::head(&mut self.unread, &mut self.names, request.spare())? {
                self.heard = true;
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
            }
            let heard = self.heard || !self.unread.is_empty();
            let lost = if heard { ExchangeError::BrokeOff } else { ExchangeError::NoAnswer };
            if ready!(self.poll_fill(context)).map_err(lost)? == 0 {
                return Poll::Ready(Err(lost(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// As it goes back to the pool; `None` with something on it that nobody asked for.
    pub(super) fn settled(mut self: Box<Self>) -> Option<Box<Self>> {
        if !self.unread.is_empty() {
            return None;
        }
        if self.room > ROOM {
            (self.room, self.unread) = (ROOM, BytesMut::new());
        }
        self.heard = false;
        Some(self)
    }

    pub(super) fn poll_send(&mut self, request: &mut Outgoing, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        request.poll_send(&mut self.stream, context)
    }

    /// Reads what is there; 0 at the end. A read that does not fill its room tells tokio that the socket is empty, so that the
    /// next one asks the kernel only once there is more.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What was in it has mostly been passed on by now: it is filled from its beginning again, which is still in the cache.
        let is_reclaimed = self.unread.is_empty() && self.unread.try_reclaim(self.room);
        if !is_reclaimed && self.unread.capacity() - self.unread.len() < self.room / 2 {
            self.unread.reserve(self.room);
        }
        let space = self.unread.capacity() - self.unread.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut self.unread))?;
        if read == space {
            self.room = (self.room * 2).min(ROOM_MOST);
        }
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Method;
    use http::uri::PathAndQuery;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::{Download, RequestHead};
    use super::*;
    use crate::clock;

    const HEAD: &[u8] = b"GET /a HTTP/1.1\r\n\r\n";

    /// A connection, and its other end.
    async fn connection() -> (Box<Connection>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it is there");
        let (far, _) = listener.accept().await.expect("somebody connected");
        (Box::new(Connection::new(Stream::Tcp(near), clock::monotonic())), far)
    }

    fn get() -> Outgoing {
        Outgoing::new(RequestHead::new(Method::GET, &PathAndQuery::from_static("/a")), None)
    }

    async fn answer(connection: &mut Connection, request: &mut Outgoing) -> Result<Head, ExchangeError> {
        poll_fn(|context| connection.poll_answer(request, context)).await
    }

    async fn take_request(far: &mut TcpStream) {
        let mut head = vec![0; HEAD.len()];
        far.read_exact(&mut head).await.expect("a request comes");
        assert_eq!(head, HEAD);
    }

    /// One exchange with an upstream that says this: the body, and the connection where it may be used again.
    async fn exchange(mut connection: Box<Connection>, far: &mut TcpStream, said: &str) -> (Vec<u8>, Option<Box<Connection>>) {
        let mut request = get();
        let saying = async {
            take_request(far).await;
            far.write_all(said.as_bytes()).await.expect("the gateway listens");
        };
        let (head, ()) = tokio::join!(answer(&mut connection, &mut request), saying);
        let mut download = Download::new(&head.expect("it is HTTP"), connection, &mut request).expect("it has one end");
        let body = (&mut download).collect().await.expect("it comes to its end").to_bytes().to_vec();
        (body, download.take_idle())
    }

    #[tokio::test]
    async fn a_connection_is_used_again_only_after_a_clean_end() {
        let (mut connection, mut far) = connection().await;
        for clean in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        ] {
            let (body, idle) = exchange(connection, &mut far, clean).await;
            connection = idle.expect("both sides are at their ends");
            assert!(body == b"ok" && connection.is_quiet(), "{clean}");
        }
        let unclean = [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ];
        for unclean in unclean {
            let (connection, mut far) = self::connection().await;
            assert!(exchange(connection, &mut far, unclean).await.1.is_none(), "{unclean}");
        }
    }

    #[tokio::test]
    async fn a_connection_on_which_anything_came_unasked_is_not_quiet() {
        for says in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let (mut connection, mut far) = connection().await;
            assert!(connection.is_quiet());
            far.write_all(says).await.expect("it is open");
            drop(far);
            let Stream::Tcp(near) = &connection.stream else { panic!("it is TCP") };
            near.readable().await.expect("something came");
            assert!(!connection.is_quiet());
        }
    }

    #[tokio::test]
    async fn how_far_an_exchange_came_is_told() {
        for (said, told) in [
            ("", "no answer"),
            ("HTTP/1.1 2", "broke off"),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", "broke off"),
            ("garbage\r\n\r\n", "malformed"),
        ] {
            let (mut connection, mut far) = connection().await;
            let saying = async move {
                take_request(&mut far).await;
                far.write_all(said.as_bytes()).await.expect("the gateway listens");
            };
            let mut request = get();
            let (answered, ()) = tokio::join!(answer(&mut connection, &mut request), saying);
            let came = match answered.expect_err("it is no answer") {
                ExchangeError::NotSent(_) => "not sent",
                ExchangeError::NoAnswer(_) => "no answer",
                ExchangeError::BrokeOff(_) => "broke off",
                ExchangeError::Malformed(_) => "malformed",
                ExchangeError::Reset(_) | ExchangeError::RequestBody(_) => "of another kind",
            };
            assert_eq!(came, told, "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_request_of_which_nothing_was_written_goes_out_whole_on_another_connection() {
        let (mut dead, _far) = connection().await;
        dead.stream.shutdown().await.expect("it is open");
        let mut request = get();
        assert!(matches!(answer(&mut dead, &mut request).await, Err(ExchangeError::NotSent(_))));
        let (mut connection, mut far) = connection().await;
        let (head, ()) = tokio::join!(answer(&mut connection, &mut request), async {
            take_request(&mut far).await;
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("the gateway listens");
        });
        assert_eq!(head.expect("it is HTTP").status, StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn a_request_without_a_body_can_be_sent_twice() {
        let (mut old, mut far) = connection().await;
        let mut request = get();
        let (lost, ()) = tokio::join!(answer(&mut old, &mut request), async move { take_request(&mut far).await });
        assert!(matches!(lost, Err(ExchangeError::NoAnswer(_))));
        request.rewind();
        let (mut connection, mut far) = connection().await;
        let (head, ()) = tokio::join!(answer(&mut connection, &mut request), async {
            take_request(&mut far).await;
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("the gateway listens");
        });
        assert_eq!(head.expect("it is HTTP").status, StatusCode::NO_CONTENT);
    }
}
