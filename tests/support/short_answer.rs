//! An answer read into a fixed buffer, for tests that count what the gateway takes of the allocator they share with it.

use std::io::Read;
use std::net::TcpStream;

/// One of status 200, whose body ends with a full stop.
pub fn read(stream: &mut TcpStream) {
    let (mut buffer, mut length) = ([0; 4096], 0);
    while !buffer[..length].ends_with(b".") {
        let read = stream.read(&mut buffer[length..]).expect("it answers");
        assert!(read > 0 && length < buffer.len(), "{}", String::from_utf8_lossy(&buffer[..length]));
        length += read;
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
}
