//! Who used what: every admitted request becomes a row in the store, none lost and none twice, however the gateway or the store ends.

mod backlog;
mod journal;
mod losses;
mod record;
mod segment;
mod sync;

#[cfg(test)]
mod samples;
