//! What the gateway says of itself.

pub mod exposition;
pub mod metrics;
