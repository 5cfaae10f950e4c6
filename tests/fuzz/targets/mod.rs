//! A target for each parser of bytes from outside: what has to hold for any bytes.
//!
//! What must stay true here: a target is a function of its bytes alone, so that what was found once can be looked at again.

mod answers;
mod clients;
mod configuration;
mod frames;
mod journal;
mod keys;
mod paths;
mod proxy_headers;

/// Panics where its guarantee does not hold.
pub type Target = fn(&[u8]);

const ALL: [(&str, Target); 9] = [
    ("answers", answers::holds),
    ("configuration", configuration::holds),
    ("forwarded", clients::holds_for_forwarded),
    ("forwarded_for", clients::holds_for_x_forwarded_for),
    ("frames", frames::holds),
    ("journal", journal::holds),
    ("keys", keys::holds),
    ("paths", paths::holds),
    ("proxy_headers", proxy_headers::holds),
];

pub fn named(name: &str) -> Target {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target `{name}`; there are {:?}", ALL.map(|(known, _)| known))).1
}

/// Some of the places where the bytes may be cut in two: all of them where they are few.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..=length).step_by(length / 100 + 1)
}
