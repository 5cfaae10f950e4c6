//! An upstream that does what a test's script says, and remembers all that reached it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;
use super::ports;
use super::wire::{Framing, Headers, Wire};

type Script = dyn Fn(&mut Exchange<'_>) + Send + Sync;

/// Listens until it is dropped. A script that panics fails its test then.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    stopped: AtomicBool,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    connections: usize,
    requests: Vec<Seen>,
    panicked: bool,
}

/// A request as it reached the upstream.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection, counted from 1.
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub raw_head: Vec<u8>,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// Whether the body reached the end its framing promised.
    pub complete: bool,
}

impl Upstream {
    /// Runs `script` for each request, once its head has come.
    pub fn start(script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    pub fn start_at(address: SocketAddr, script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Shared { script: Box::new(script), stopped: AtomicBool::new(false), record: Mutex::default() };
        let shared = Arc::new(shared);
        thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared }
    }

    /// Answers each request with 200 and the body `ok`.
    pub fn ok() -> Self {
        Self::start(|exchange| exchange.answer(200, &[], "ok"))
    }

    /// Begins an answer that it never ends; opens the gate when the gateway has left.
    pub fn that_is_left(left: &Gate) -> Self {
        let left = left.clone();
        Self::start(move |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            // Ends when the gateway does: by a close or a reset.
            exchange.wire().end();
            left.open();
        })
    }

    /// Answers each request with these bytes, then closes.
    pub fn saying(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::start(move |exchange| {
            exchange.body();
            exchange.send(&answer);
            exchange.close();
        })
    }

    /// An address where nobody listens, until [`Upstream::start_at`] does.
    pub fn nowhere() -> SocketAddr {
        ports::reserve()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.record.lock().expect("no panic under the lock").connections
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.shared.record.lock().expect("no panic under the lock").requests.clone()
    }

    /// The one request that came.
    #[track_caller]
    pub fn request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
        let panicked = self.shared.record.lock().is_ok_and(|record| record.panicked);
        assert!(!panicked || thread::panicking(), "a script panicked");
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        thread::spawn(move || {
            if panic::catch_unwind(AssertUnwindSafe(|| serve(stream, &shared))).is_err() {
                shared.record.lock().expect("no panic under the lock").panicked = true;
            }
        });
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let connection = {
        let mut record = shared.record.lock().expect("no panic under the lock");
        record.connections += 1;
        record.connections
    };
    let mut wire = Wire::new(stream);
    for number in 1.. {
        // A kept connection on which nothing comes any more ends here, too.
        let Ok(Some(head)) = wire.head() else { return };
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let framing = head.framing(Framing::None);
        let seen = Seen {
            connection,
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: head.headers,
            raw_head: head.raw,
            complete: framing == Framing::None,
            ..Seen::default()
        };
        let mut exchange =
            Exchange { request: shared.begin(&seen), number, shared, seen, wire: &mut wire, unread: framing, ended: false };
        (shared.script)(&mut exchange);
        if exchange.ended {
            return;
        }
        exchange.body();
    }
}

impl Shared {
    fn begin(&self, seen: &Seen) -> usize {
        let mut record = self.record.lock().expect("no panic under the lock");
        record.requests.push(seen.clone());
        record.requests.len() - 1
    }
}

/// One request, and the way to answer it.
pub struct Exchange<'a> {
    pub seen: Seen,
    /// Which request of its connection this is, counted from 1.
    pub number: usize,
    request: usize,
    shared: &'a Shared,
    wire: &'a mut Wire,
    unread: Framing,
    ended: bool,
}

impl Exchange<'_> {
    /// Reads the request's body, as far as it comes, and remembers it.
    pub fn body(&mut self) -> Vec<u8> {
        let framing = std::mem::replace(&mut self.unread, Framing::None);
        if framing != Framing::None {
            let body = self.wire.body(framing);
            (self.seen.body, self.seen.trailers, self.seen.complete) = (body.bytes, body.trailers, body.complete);
            self.shared.record.lock().expect("no panic under the lock").requests[self.request] = self.seen.clone();
        }
        self.seen.body.clone()
    }

    /// Takes the request's body, then answers with a body of known length.
    pub fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        self.body();
        let mut head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.as_ref().len());
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        self.send(head + "\r\n");
        self.send(body);
    }

    /// A gateway that has turned away already makes no difference here: what it did is for the test to see.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.send(bytes);
    }

    /// The first half of an answer, and the second once the gate is open.
    pub fn half_and_half(&mut self, gate: &Gate) {
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        gate.wait();
        self.send("full");
    }

    pub fn chunk(&mut self, content: &str) {
        self.send(format!("{:x}\r\n{content}\r\n", content.len()));
    }

    pub fn wire(&mut self) -> &mut Wire {
        self.wire
    }

    pub fn close(&mut self) {
        self.wire.close();
        self.ended = true;
    }

    pub fn reset(&mut self) {
        self.wire.reset_on_close();
        self.ended = true;
    }
}

/// Shut at first; whoever waits at it goes on once it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().expect("no panic under the lock") = true;
        self.0.1.notify_all();
    }

    /// Also goes on after a while, so that a failed test leaves no thread behind.
    pub fn wait(&self) {
        let open = self.0.0.lock().expect("no panic under the lock");
        let _guard = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).expect("no panic under the lock");
    }
}
