//! limits
mod lease;
