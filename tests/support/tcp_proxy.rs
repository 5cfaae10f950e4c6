//! Stands before a server and can delay or hold back what it answers, or cut it off.

#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Its threads end with their connections, the accepting one with the process.
pub struct TcpProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    delay: Duration,
    holds: bool,
    /// Answers that wait to be passed on.
    held: usize,
    refuses: bool,
    open: Vec<TcpStream>,
    passed: usize,
    /// So many of the first connections pass no questions on.
    silent: usize,
}

impl TcpProxy {
    /// Before the server at this port.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::<Shared>::default();
        let passing = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away closes the connection.
                let _ = passing.pass(client, server);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server answers from now on waits until [`let_go`](Self::let_go).
    pub fn hold(&self) {
        self.shared.lock().holds = true;
    }

    pub fn let_go(&self) {
        self.shared.lock().holds = false;
        self.shared.changed.notify_all();
    }

    /// Each answer from now on comes this much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// How many answers wait.
    pub fn held(&self) -> usize {
        self.shared.lock().held
    }

    /// What is asked over the connections there are now waits until [`ask`](Self::ask), though the asker leaves; newer ones pass.
    pub fn hold_questions(&self) {
        let mut state = self.shared.lock();
        state.silent = state.passed;
    }

    pub fn ask(&self) {
        self.shared.lock().silent = 0;
        self.shared.changed.notify_all();
    }

    /// Ends every connection, and each new one at once, until [`mend`](Self::mend).
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.refuses = true;
        for connection in state.open.drain(..) {
            // It may have ended by itself.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.shared.lock().refuses = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    fn pass(self: &Arc<Self>, client: TcpStream, server: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", server))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let mut state = self.lock();
        if state.refuses {
            return Ok(());
        }
        state.open.extend([client.try_clone()?, server.try_clone()?]);
        let number = state.passed;
        state.passed += 1;
        drop(state);
        let (questions, answers) = ((client.try_clone()?, server.try_clone()?), (server, client));
        let (asking, answering) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || copy(questions, || asking.wait_to_ask(number)));
        thread::spawn(move || copy(answers, || answering.wait()));
        Ok(())
    }

    fn wait_to_ask(&self, connection: usize) {
        let mut state = self.lock();
        while connection < state.silent {
            state = self.changed.wait(state).expect("nothing panics while it holds the state");
        }
    }

    fn wait(&self) {
        let mut state = self.lock();
        state.held += 1;
        while state.holds {
            state = self.changed.wait(state).expect("nothing panics while it holds the state");
        }
        state.held -= 1;
        let delay = state.delay;
        drop(state);
        thread::sleep(delay);
    }
}

fn copy((mut from, mut to): (TcpStream, TcpStream), before_each: impl Fn()) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        before_each();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
