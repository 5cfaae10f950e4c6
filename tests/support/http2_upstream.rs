//! An upstream that speaks HTTP/2 and does what a test's script says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, request::Parts};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::PATIENCE;

/// Listens until the process ends.
pub struct Http2Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Parts>>>,
}

/// A request, and the way to answer it.
pub struct Call {
    pub head: Parts,
    body: RecvStream,
    /// Which connection, counted from 1.
    pub connection: usize,
    respond: SendResponse<Bytes>,
    ends: Arc<Ends>,
}

/// How a script ends its connection.
#[derive(Default)]
struct Ends {
    goes_away: Notify,
    hangs_up: Notify,
}

impl Http2Upstream {
    pub fn start<F>(script: impl Fn(Call) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::taking(100, script)
    }

    /// On each connection so many streams at once, and no more.
    pub fn taking<F>(streams: u32, script: impl Fn(Call) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be told");
        let address = listener.local_addr().expect("it is bound");
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Parts>>>::default());
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        let accept = async move {
            let listener = TcpListener::from_std(listener).expect("a runtime takes sockets");
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                serving.spawn(serve(stream, streams, number, Arc::clone(&seen), script.clone()));
            }
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        thread::spawn(move || runtime.block_on(accept));
        Self { address, connections, requests }
    }

    /// Answers each request with 200 and `ok`.
    pub fn ok() -> Self {
        Self::start(async |call| call.answer("ok"))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The heads of the requests that came.
    pub fn requests(&self) -> Vec<Parts> {
        self.requests.lock().expect("nothing panics while it holds them").clone()
    }
}

async fn serve<F>(
    stream: TcpStream,
    streams: u32,
    connection: usize,
    requests: Arc<Mutex<Vec<Parts>>>,
    script: impl Fn(Call) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut http) = server::Builder::new().max_concurrent_streams(streams).handshake(stream).await else { return };
    let (ends, mut running) = (Arc::<Ends>::default(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            accepted = http.accept() => accepted,
            () = ends.goes_away.notified() => {
                http.graceful_shutdown();
                continue;
            }
            () = ends.hangs_up.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (head, body) = request.into_parts();
        requests.lock().expect("nothing panics while it holds them").push(head.clone());
        running.spawn(script(Call { head, body, connection, respond, ends: Arc::clone(&ends) }));
    }
}

impl Call {
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The body to its end, with its trailers; an error where it does not come to one.
    pub async fn body(&mut self) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
        let mut whole = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data?;
            self.body.flow_control().release_capacity(data.len())?;
            whole.extend_from_slice(&data);
        }
        Ok((whole, self.body.trailers().await?.unwrap_or_default()))
    }

    /// Begins an answer of this status and these headers.
    pub fn begin(&mut self, status: u16, headers: &[(&'static str, &'static str)]) -> SendStream<Bytes> {
        let mut head = Response::builder().status(status);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        self.respond.send_response(head.body(()).expect("a head"), false).expect("the gateway waits for it")
    }

    /// A whole answer. The gateway may have turned away already.
    pub fn answer(mut self, body: impl Into<Bytes>) {
        if let Ok(mut stream) = self.respond.send_response(Response::new(()), false) {
            let _ = stream.send_data(body.into(), true);
        }
    }

    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Until the gateway resets the stream: by this code.
    pub async fn left(&mut self) -> Option<Reason> {
        let left = std::future::poll_fn(|context| self.respond.poll_reset(context));
        tokio::time::timeout(PATIENCE, left).await.ok()?.ok()
    }

    /// Tells the gateway that this connection takes no more.
    pub fn go_away(&self) {
        self.ends.goes_away.notify_one();
    }

    /// Ends this connection without a word, and with it the script.
    pub async fn hang_up(self) {
        self.ends.hangs_up.notify_one();
        std::future::pending::<()>().await;
    }

    pub fn early_hints(&mut self) {
        let hints = Response::builder().status(103).header("link", "</a>").body(()).expect("a head");
        self.respond.send_informational(hints).expect("the gateway waits for an answer");
    }
}
