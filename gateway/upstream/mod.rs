//! The servers behind the gateway: which one is next, connections to it, what may be tried again.

pub mod balance;
pub mod connect;
pub mod exchange;
pub mod health;
pub mod http1;
pub mod http2;
pub mod request_body;
pub mod retry;
pub mod seat;
pub mod server;
pub mod stream;
#[cfg(test)]
mod testing;
