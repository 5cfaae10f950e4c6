//! The words the rest is said in: keys, their records, addresses, hours. No I/O, nothing async; an instant is always an argument.

pub mod address;
pub mod api_key;
pub mod audit_event;
pub mod bcrypt_hash;
pub mod ids;
pub mod key_hash;
pub mod key_record;
pub mod lease;
pub mod quota;
pub mod seed;
pub mod timestamp;
pub mod usage_event;
