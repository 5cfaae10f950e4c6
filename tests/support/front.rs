//! Stands before an upstream and takes connections for it in another way.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

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
