//! What the gateway says of itself.

pub mod exposition;
pub mod logging;
pub mod metrics;
pub mod seldom;
