//! What the gateway says of itself.

pub mod exposition;
mod instruments;
pub mod logging;
pub mod metrics;
mod results;
pub mod seldom;
