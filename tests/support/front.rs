//! Stands before an upstream and takes connections for it in another way.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// At a socket in the file system, until the process ends.
pub fn unix(path: &Path, upstream: SocketAddr) {
    let listener = std::os::unix::net::UnixListener::bind(path).expect("the folder can be written to");
    listener.set_nonblocking(true).expect("a socket can be told");
    run(async move {
        let listener = UnixListener::from_std(listener).expect("a runtime takes sockets");
        let mut passing = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            passing.spawn(pass(client, upstream));
        }
    });
}

/// At a port, over TLS, until the process ends. Every handshake that came to its end is told of.
pub fn tls(config: ServerConfig, upstream: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Hello>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be told");
    let address = listener.local_addr().expect("it is bound");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let hellos = Arc::<Mutex<Vec<Hello>>>::default();
    let heard = Arc::clone(&hellos);
    run(async move {
        let listener = TcpListener::from_std(listener).expect("a runtime takes sockets");
        let mut passing = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
            passing.spawn(async move {
                let client = acceptor.accept(client).await?;
                heard.lock().expect("nothing panics while it holds them").push(Hello::of(client.get_ref().1));
                pass(client, upstream).await
            });
        }
    });
    (address, hellos)
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub name: Option<String>,
    pub protocol: Option<Vec<u8>>,
    pub has_certificate: bool,
}

impl Hello {
    fn of(session: &ServerConnection) -> Self {
        Self {
            name: session.server_name().map(str::to_owned),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            has_certificate: session.peer_certificates().is_some(),
        }
    }
}

fn run(front: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    thread::spawn(move || runtime.block_on(front));
}

/// A connection that breaks is for the test to see.
async fn pass(mut client: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
