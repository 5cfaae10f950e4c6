//! The streams of an HTTP/2 connection: each is a request with a task, a client and deadlines of its own.
//!
//! What must stay true here: a request is handed on as HTTP/1.1 would have it, with one Host and one Cookie; and a stream that
//! is given up is reset, so that what came of its answer does not look whole.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use tokio::time::sleep_until;

use super::activity::{Activity, Untaken};
use crate::clock;
use crate::config::Server;
use crate::listen::timer::Timer;
use crate::proxy::answer_body::AnswerBody;
use crate::proxy::client::{Client, Overdue};
use crate::proxy::handle::handle;
use crate::proxy::worker::Worker;
use crate::upstream::exchange::ExchangeError;

/// Bytes of an answer that a client has to take before it is given more: the size of a frame that every client takes.
const PIECE: usize = 16 * 1024;

/// Answers the requests of one connection, and runs their streams.
#[derive(Clone)]
pub struct Streams {
    worker: Arc<Worker>,
    /// Who is there.
    connection: Arc<Client>,
    /// Without the deadlines that are the connection's.
    rules: Arc<Server>,
    activity: Arc<Activity>,
    /// The client of the stream that hyper is about to run.
    next: Arc<Mutex<Option<Arc<Client>>>>,
}

impl Streams {
    pub fn new(worker: &Arc<Worker>, connection: &Arc<Client>, rules: &Server, activity: &Arc<Activity>) -> Self {
        let none = Duration::ZERO;
        let rules = Server { handshake_timeout: none, header_timeout: none, idle_timeout: none, ..rules.clone() };
        let (worker, connection, activity) = (Arc::clone(worker), Arc::clone(connection), Arc::clone(activity));
        Self { worker, connection, rules: Arc::new(rules), activity, next: Arc::default() }
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Arc<Client>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Incoming>> for Streams {
    type Response = Response<StreamBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let client = Arc::new(self.connection.stream());
        *self.next() = Some(Arc::clone(&client));
        let (worker, activity) = (Arc::clone(&self.worker), Arc::clone(&self.activity));
        Box::pin(async move {
            let is_head = *request.method() == Method::HEAD;
            as_http1(&mut request);
            let response = handle(request, &worker, &client).await?;
            let response = if is_head { without_body(response) } else { response };
            Ok(response.map(|body| StreamBody { body, rest: Bytes::new(), client, activity }))
        })
    }
}

/// hyper runs a stream as soon as the service was called for it, before it looks at another.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let client = self.next().take().expect("a stream follows its request");
        let (rules, open) = (Arc::clone(&self.rules), self.activity.open_stream());
        // In a box: a task is moved about several times, whatever its size.
        self.worker.tasks.spawn(Box::pin(async move {
            run(stream, &client, &rules).await;
            drop(open);
        }));
    }
}

/// A stream that is dropped before its end is reset.
async fn run(stream: impl Future<Output = ()>, client: &Client, rules: &Server) {
    let mut stream = pin!(stream);
    let sleep = pin!(sleep_until(clock::monotonic().into()));
    let mut timer = Timer::new(sleep);
    poll_fn(|context| {
        loop {
            if stream.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut overdue = None;
            while overdue.is_none() {
                let Some((deadline, what)) = client.deadline(rules) else { return Poll::Pending };
                if timer.poll(deadline, context).is_pending() {
                    return Poll::Pending;
                }
                overdue = Some(what).filter(|_| clock::monotonic() >= deadline);
            }
            if overdue != Some(Overdue::Upstream) {
                return Poll::Ready(());
            }
            if !client.tell_overdue_head() {
                client.cut_answer();
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// `:authority` becomes Host, where there is none; cookies that came in pieces become one (RFC 9113 8.2.3, 8.3.1).
fn as_http1<B>(request: &mut Request<B>) {
    if !request.headers().contains_key(HOST)
        && let Some(host) = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host);
    }
    join_cookies(request.headers_mut());
}

fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() < 2 {
        return;
    }
    let whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..])).expect("values and `; ` make a value");
    headers.insert(COOKIE, whole);
}

/// What is answered to HEAD: the length is told, and nothing comes.
fn without_body(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    if let Some(length) = response.body().size_hint().exact().filter(|&length| length > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    response.map(|_| AnswerBody::Empty)
}

/// An answer's body. Between two looks at it, its client takes what came of it: never more than a piece, so that a client who
/// reads slowly is not taken for one who does not.
pub struct StreamBody {
    body: AnswerBody,
    /// What is left of what came last.
    rest: Bytes,
    client: Arc<Client>,
    activity: Arc<Activity>,
}

/// A part of an answer, until it is on its way to the client.
pub struct Piece {
    bytes: Bytes,
    _untaken: Untaken,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl StreamBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, ExchangeError>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers.map_data(|bytes| self.piece(bytes))))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(self.piece(bytes)))))
    }

    fn piece(&self, bytes: Bytes) -> Piece {
        Piece { bytes, _untaken: self.activity.hand_over() }
    }
}

impl Body for StreamBody {
    type Data = Piece;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, ExchangeError>>> {
        self.client.write_is_blocked(false);
        let polled = self.poll_piece(context);
        self.client.write_is_blocked(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_pieces_become_one_and_one_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        for (piece, whole) in [("a=b", "a=b"), ("c=d", "a=b; c=d")] {
            headers.append(COOKIE, HeaderValue::from_static(piece));
            join_cookies(&mut headers);
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), [whole]);
        }
    }

    #[test]
    fn the_authority_is_the_host_unless_there_is_one() {
        let mut request = Request::builder().uri("https://a.example:1/x").body(()).unwrap();
        as_http1(&mut request);
        assert_eq!(request.headers()[HOST], "a.example:1");
        let mut request = Request::builder().uri("https://a.example/x").header(HOST, "b.example").body(()).unwrap();
        as_http1(&mut request);
        assert_eq!(request.headers()[HOST], "b.example");
    }
}
