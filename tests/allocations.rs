//! How often a request asks the allocator, everything on: a number that no busy machine changes.

#[path = "support/short_answer.rs"]
mod short_answer;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use hokusai_gateway::app::App;
use hokusai_gateway::config;
use hokusai_gateway::listen::handed_over::HandedOver;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 2000;
/// The record · the request id with the rate-limit headers.
const MOST: usize = 2;

/// Client and app are of one fixed buffer each, so that all that is counted is the gateway's.
#[tokio::test]
async fn a_request_takes_few_allocations() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = configure(folder.path(), app());
    let key = create_key(&file);
    let config = config::load(&file, &|_| None).expect("a valid configuration");
    let gateway = App::start(config, HandedOver::default()).await.expect("it starts");
    let address = gateway.traffic[0];

    let each = tokio::task::spawn_blocking(move || measure(address, &key)).await.expect("every request is answered");

    gateway.stop(std::future::pending()).await;
    assert!((1..=MOST).contains(&each), "{each} allocations a request; {MOST} are known");
}

fn measure(address: SocketAddr, key: &str) -> usize {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /hello?a=b HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n\r\n");
    let mut ask = || {
        stream.write_all(request.as_bytes()).expect("it reads");
        short_answer::read(&mut stream);
    };
    (0..200).for_each(|_| ask());
    let counted = Region::new(ALLOCATOR);
    (0..REQUESTS).for_each(|_| ask());
    let change = counted.change();
    // To the nearest: the background adds a few.
    (change.allocations + change.reallocations + REQUESTS / 2) / REQUESTS
}

/// An app that answers every request alike.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("somebody connected");
            thread::spawn(move || answer_all(&mut stream));
        }
    });
    address
}

fn answer_all(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nDate: today\r\n\r\nan app.";
        stream.write_all(answer).expect("the gateway reads");
    }
}

fn configure(folder: &Path, app: SocketAddr) -> std::path::PathBuf {
    let file = folder.join("gateway.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = false\n\
         [[upstreams]]\nname = \"app\"\nservers = [\"http://{app}\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n"
    );
    std::fs::write(&file, text).expect("the folder can be written to");
    file
}

fn create_key(file: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hokusai-gateway"));
    command.args(["keys", "create", "--user", "a", "--name", "a", "--rate-limit", "1000000", "--json", "-c"]).arg(file);
    let output = command.output().expect("the binary starts");
    let key: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    key["key"].as_str().expect("a key").to_owned()
}
