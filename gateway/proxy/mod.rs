//! The request's path. [`handle::handle`] tells it from top to bottom; each other file is one step of it.

pub mod answer_body;
pub mod attempt;
pub mod client;
pub mod client_stream;
pub mod cors;
pub mod failure;
pub mod fixed;
pub mod forward;
pub mod framing;
pub mod grpc;
pub mod handle;
pub mod headers;
pub mod record;
pub mod request_headers;
pub mod request_id;
pub mod respond;
pub mod target;
pub mod tunnel;
pub mod unparsed;
pub mod worker;
