//! A request's body on its way to the upstream.
//!
//! What must stay true here: it streams; a body that stalls, grows beyond its limit or breaks off ends in an error, so that the
//! upstream never sees it completed; and its trailers pass the same gate as headers.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::clock;
use crate::reserved_headers::ReservedHeaders;

/// Names that frame, route or describe a message; no trailer may hold them (RFC 9110 6.5.1), nor a credential.
const NO_TRAILERS: [http::HeaderName; 13] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::HOST,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::TRAILER,
    header::TE,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CACHE_CONTROL,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
];

pub struct RequestBody {
    incoming: Incoming,
    upload: Arc<Upload>,
    /// Bytes that may still come.
    allowance: u64,
    /// The longest pause; zero for any.
    stall_timeout: Duration,
    /// Made at the first pause.
    stall: Option<Pin<Box<Sleep>>>,
    reserved: Arc<ReservedHeaders>,
}

/// How an upload goes, seen from outside.
#[derive(Debug)]
pub struct Upload {
    started: Instant,
    /// An [`End`], as its number; 0 while it goes on.
    end: AtomicU8,
    bytes: AtomicU64,
    /// Milliseconds from `started` to the last byte.
    moved: AtomicU64,
    waits_for_client: AtomicBool,
    /// Whoever waits for the answer sees to the pauses of both.
    may_pause: AtomicBool,
}

/// How a request body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    Complete = 1,
    TooLarge,
    Stalled,
    /// Its chunks were no chunks, or whoever read it let go of it.
    Broken,
    /// The client broke off.
    Left,
}

#[derive(Debug, thiserror::Error)]
#[error("the request body ended as {0:?}")]
pub struct BodyError(pub End);

impl Upload {
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            end: AtomicU8::new(0),
            bytes: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
            may_pause: AtomicBool::new(false),
        }
    }

    /// How long nothing has been passed on for a reason that is not the client's; zero while the client is waited for.
    pub fn upstream_silence(&self, now: Instant) -> Duration {
        match self.end().is_none() && self.waits_for_client.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => now.duration_since(self.started).saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed))),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn end(&self) -> Option<End> {
        [End::Complete, End::TooLarge, End::Stalled, End::Broken, End::Left]
            .into_iter()
            .find(|&end| end as u8 == self.end.load(Ordering::Relaxed))
    }

    /// From now on it may pause: whoever waits for the answer gives up when both are silent.
    pub fn leave_pauses_to_the_answer(&self) {
        self.may_pause.store(true, Ordering::Relaxed);
    }

    fn passed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let moved = clock::monotonic().duration_since(self.started).as_millis();
        self.moved.store(u64::try_from(moved).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn finish(&self, end: End) {
        self.end.store(end as u8, Ordering::Relaxed);
    }
}

impl RequestBody {
    /// `limit` in bytes; a `stall_timeout` of zero waits for ever.
    pub fn new(
        incoming: Incoming,
        upload: Arc<Upload>,
        limit: Option<u64>,
        stall_timeout: Duration,
        reserved: Arc<ReservedHeaders>,
    ) -> Self {
        Self { incoming, upload, allowance: limit.unwrap_or(u64::MAX), stall_timeout, stall: None, reserved }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Pending => {
                self.upload.waits_for_client.store(true, Ordering::Relaxed);
                ready!(self.poll_stall(context));
                return self.fail(End::Stalled);
            }
            Poll::Ready(frame) => frame,
        };
        self.stall = None;
        self.upload.waits_for_client.store(false, Ordering::Relaxed);
        match frame {
            None => {
                self.upload.finish(End::Complete);
                Poll::Ready(None)
            }
            Some(Err(error)) => self.fail(if is_malformed(&error) { End::Broken } else { End::Left }),
            Some(Ok(frame)) => self.pass(frame),
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(without_reserved(trailers, &self.reserved)),
            Err(data) => data,
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.upload.passed(length);
        match self.allowance.checked_sub(length) {
            Some(rest) => self.allowance = rest,
            None => return self.fail(End::TooLarge),
        }
        // A body whose length was told is not polled for its end.
        if self.incoming.is_end_stream() {
            self.upload.finish(End::Complete);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.stall_timeout.is_zero() {
            return Poll::Pending;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall_timeout)));
        ready!(stall.as_mut().poll(context));
        if self.upload.may_pause.load(Ordering::Relaxed) {
            self.stall_timeout = Duration::ZERO;
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn fail(&self, end: End) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.upload.finish(end);
        Poll::Ready(Some(Err(BodyError(end))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body was let go of before its end: the upstream answered early, or one of the two sides left.
impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.upload.end().is_none() {
            self.upload.finish(End::Broken);
        }
    }
}

/// Otherwise its stream or its connection came to an end.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}

fn without_reserved(mut trailers: HeaderMap, reserved: &ReservedHeaders) -> HeaderMap {
    let names: Vec<_> = trailers.keys().filter(|name| reserved.covers(name) || NO_TRAILERS.contains(name)).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
    trailers
}
