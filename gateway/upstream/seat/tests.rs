use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::observe::metrics::Metrics;
use crate::upstream::stream::Stream;
use crate::upstream::testing::address;

fn seat(host: &str) -> Seat {
    let address: ServerAddress = address(host);
    let healthy = Metrics::default().server("app", &address.to_string());
    Seat::new(Arc::new(Server::new(address, None, healthy)))
}

/// A connection opened then, and its other end.
async fn connection(opened: Instant) -> (Box<http1::Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (Box::new(http1::Connection::new(Stream::Tcp(near), opened)), far)
}

#[tokio::test]
async fn what_a_name_stood_for_is_forgotten_within_a_minute() {
    let now = clock::monotonic();
    for (host, is_kept) in [("app.internal", false), ("127.0.0.1", true), ("::1", true)] {
        let seat = seat(host);
        let (connection, _far) = connection(now).await;
        seat.give_back(connection, clock::monotonic());
        let later = now + LIFE_BY_NAME;
        seat.open().as_mut().unwrap().idle[0].since = later;
        assert_eq!(seat.lend(later, false).is_some(), is_kept, "{host}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_used_for_less_than_a_minute() {
    let seat = seat("127.0.0.1");
    let (connection, _far) = connection(clock::monotonic()).await;
    seat.give_back(connection, clock::monotonic());
    assert!(seat.lend(clock::monotonic() + IDLE_LIMIT, false).is_none());
}

/// A server that takes so many streams at once, and says when it is told to that it goes away.
async fn http2_server(listener: TcpListener, streams: u32, goes_away: CancellationToken) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut http = h2::server::Builder::new().max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::select! {
        _ = http.accept() => {}
        () = goes_away.cancelled() => {
            http.graceful_shutdown();
            let _ = http.accept().await;
        }
    }
}

async fn make_shared(seat: &Seat, streams: u32, goes_away: &CancellationToken, tasks: &Tasks) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tasks.spawn(http2_server(listener, streams, goes_away.clone()));
    let exchange = http2::Connection::open(Stream::Tcp(stream), tasks).await.unwrap();
    let connection = Arc::clone(exchange.connection());
    seat.open().as_mut().unwrap().shared.push(Shared { connection, used: clock::monotonic() });
    Connection::Http2(Box::new(exchange))
}

#[tokio::test]
async fn a_shared_connection_is_lent_to_as_many_as_its_server_takes() {
    let (seat, tasks) = (seat("127.0.0.1"), Tasks::new());
    let first = make_shared(&seat, 2, &CancellationToken::new(), &tasks).await;
    let lend = || seat.lend(clock::monotonic(), false);
    let second = lend();
    assert!(second.is_some() && lend().is_none());
    drop(first);
    assert!(lend().is_some());
    assert!(seat.lend(clock::monotonic(), true).is_none(), "no upgrade goes there");
}

#[tokio::test]
async fn a_shared_connection_that_its_server_ends_is_not_kept() {
    let (seat, tasks) = (seat("127.0.0.1"), Tasks::new());
    let goes_away = CancellationToken::new();
    let _in_use = make_shared(&seat, 100, &goes_away, &tasks).await;
    seat.sweep(clock::monotonic());
    assert_eq!(seat.open().as_ref().unwrap().shared.len(), 1);
    goes_away.cancel();
    let gone = async {
        while !seat.open().as_ref().unwrap().shared.is_empty() {
            tokio::task::yield_now().await;
            seat.sweep(clock::monotonic());
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn a_shared_connection_that_is_not_lent_any_more_ends_with_its_last_stream() {
    let at_once = Duration::ZERO;
    for (host, later, is_held, is_drained) in
        [("app.internal", LIFE_BY_NAME, true, false), ("127.0.0.1", IDLE_LIMIT, false, false), ("127.0.0.1", at_once, true, true)]
    {
        let (seat, tasks) = (seat(host), Tasks::new());
        let exchange = make_shared(&seat, 100, &CancellationToken::new(), &tasks).await;
        let later = clock::monotonic() + later;
        let held = is_held.then_some(exchange);
        if is_drained {
            // The beginning of a drain.
            tasks.stop();
        }
        seat.sweep(later);
        while !seat.open().as_ref().unwrap().shared.is_empty() {
            tokio::task::yield_now().await;
            seat.sweep(later);
        }
        if is_held {
            assert_eq!(tasks.wait(Duration::from_millis(50)).await, 2, "{host}");
        }
        drop(held);
        assert_eq!(tasks.wait(Duration::from_secs(5)).await, 0, "{host}");
    }
}

#[tokio::test]
async fn a_sweep_closes_what_the_server_has_closed_and_nothing_else() {
    let seat = seat("127.0.0.1");
    let (kept, _open) = connection(clock::monotonic()).await;
    let (ended, mut far) = connection(clock::monotonic()).await;
    seat.give_back(kept, clock::monotonic());
    seat.give_back(ended, clock::monotonic());
    far.shutdown().await.unwrap();
    while seat.open().as_ref().unwrap().idle.len() > 1 {
        tokio::task::yield_now().await;
        seat.sweep(clock::monotonic());
    }
    assert!(seat.lend(clock::monotonic(), false).is_some());
}
