//! What the gateway says of itself.

pub mod logging;
pub mod metrics;
