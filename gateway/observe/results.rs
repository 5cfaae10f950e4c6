//! How what is counted may end: the words that metrics are labelled with.

/// A layer that keys are looked up in.
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    Memory,
    Redis,
    Store,
    /// Keys of which only a bcrypt hash is known.
    Bcrypt,
}

impl Layer {
    pub const ALL: [(Self, &str); 4] =
        [(Self::Memory, "memory"), (Self::Redis, "redis"), (Self::Store, "store"), (Self::Bcrypt, "bcrypt")];
}

#[derive(Clone, Copy, Debug)]
pub enum LookupResult {
    Hit,
    Miss,
    Error,
}

impl LookupResult {
    pub const ALL: [(Self, &str); 3] = [(Self::Hit, "hit"), (Self::Miss, "miss"), (Self::Error, "error")];
}

/// How a request fared at the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthResult {
    Ok,
    /// Let in without a key.
    Anonymous,
    Missing,
    Ambiguous,
    Unknown,
    Inactive,
    Expired,
    Ip,
    Scope,
    Limited,
    Unavailable,
}

impl AuthResult {
    pub const ALL: [(Self, &str); 11] = [
        (Self::Ok, "ok"),
        (Self::Anonymous, "anonymous"),
        (Self::Missing, "missing"),
        (Self::Ambiguous, "ambiguous"),
        (Self::Unknown, "unknown"),
        (Self::Inactive, "inactive"),
        (Self::Expired, "expired"),
        (Self::Ip, "ip"),
        (Self::Scope, "scope"),
        (Self::Limited, "limited"),
        (Self::Unavailable, "unavailable"),
    ];
}

/// How an upstream fared with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamResult {
    Ok,
    Unreachable,
    Timeout,
    Protocol,
    /// The client left before the upstream had answered.
    Abandoned,
}

impl UpstreamResult {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What somebody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    StoreDown,
    RedisDown,
    UsageNotWritten,
    NearLimit,
    NewNetwork,
    KeyExpires,
    SecretOld,
    RefusalBurst,
    EndedKeyUsed,
}

impl AlertKind {
    pub const ALL: [Self; 9] = [
        Self::StoreDown,
        Self::RedisDown,
        Self::UsageNotWritten,
        Self::NearLimit,
        Self::NewNetwork,
        Self::KeyExpires,
        Self::SecretOld,
        Self::RefusalBurst,
        Self::EndedKeyUsed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoreDown => "store_down",
            Self::RedisDown => "redis_down",
            Self::UsageNotWritten => "usage_not_written",
            Self::NearLimit => "near_limit",
            Self::NewNetwork => "new_network",
            Self::KeyExpires => "key_expires",
            Self::SecretOld => "secret_old",
            Self::RefusalBurst => "refusal_burst",
            Self::EndedKeyUsed => "ended_key_used",
        }
    }
}

/// How it went to send an alert to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    Ok,
    /// It failed, and is tried again.
    Retried,
    /// It is not tried again.
    GivenUp,
    /// Too many waited already.
    Dropped,
}

impl DeliveryResult {
    pub const ALL: [(Self, &str); 4] =
        [(Self::Ok, "ok"), (Self::Retried, "retried"), (Self::GivenUp, "given_up"), (Self::Dropped, "dropped")];
}
