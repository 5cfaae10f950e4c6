//! What the gateway says of itself.

pub mod exposition;
mod instruments;
pub mod logging;
pub mod metrics;
pub mod refused_requests;
mod results;
pub mod seldom;
