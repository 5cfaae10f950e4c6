//! What the gateway says of itself.

pub mod exposition;
mod instruments;
pub mod logging;
pub mod metrics;
pub mod refusals;
mod results;
pub mod seldom;
