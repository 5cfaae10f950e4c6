//! Stands before a Redis and gives its scripts another time. Redis itself cannot be given one: its allocator and libfaketime
//! wait for each other. So where a script asks for the time, the answer is written into it, in as many bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use hokusai_gateway::clock;

const ASKED: &[u8] = b"redis.call('TIME')";

/// Returns the port to use instead of the server's. `ahead` of the machine's clock, in seconds.
pub fn redis_clock(server: u16, ahead: f64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).expect("Redis runs");
            let (questions, answers) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            thread::spawn(move || pass_on(questions, server, |bytes| rewrite(bytes, ahead)));
            thread::spawn(move || pass_on(answers, client, |bytes| bytes.len()));
        }
    });
    port
}

/// `prepare` says how much of what was read may go now.
fn pass_on(mut from: TcpStream, mut to: TcpStream, prepare: impl Fn(&mut [u8]) -> usize) {
    let (mut waiting, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        waiting.extend_from_slice(&buffer[..length]);
        let ready = prepare(&mut waiting);
        if to.write_all(&waiting[..ready]).is_err() {
            break;
        }
        waiting.drain(..ready);
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// All but what may be the beginning of a question for the time.
fn rewrite(bytes: &mut [u8], ahead: f64) -> usize {
    let now = answer(ahead);
    let mut at = 0;
    while at + ASKED.len() <= bytes.len() {
        if bytes[at..].starts_with(ASKED) {
            bytes[at..at + ASKED.len()].copy_from_slice(&now);
        }
        at += 1;
    }
    (at..bytes.len()).find(|start| ASKED.starts_with(&bytes[*start..])).unwrap_or(bytes.len())
}

/// Seconds and microseconds, as a table of as many bytes as the question has.
fn answer(ahead: f64) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "less than an hour")]
    let millis = clock::now().as_millis().saturating_add_signed((ahead * 1000.0) as i64);
    let answer = format!("{{{},{:03}e3}}", millis / 1000, millis % 1000).into_bytes();
    assert_eq!(answer.len(), ASKED.len());
    answer
}
