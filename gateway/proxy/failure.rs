//! Everything that can go wrong with a request, and whose fault it is. What each is answered with is in `respond.rs`.

use crate::auth::Refusal;
use crate::limits::pace::TooMuch;
use crate::model::quota::Quota;
use crate::observe::metrics::{AuthResult, UpstreamResult};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    MissingKey,
    /// The client does not learn which of unknown, inactive and expired it is.
    InvalidKey(AuthResult),
    AmbiguousKey,
    IpNotAllowed,
    /// With the scopes that the route needs, separated by spaces.
    InsufficientScope(String),
    RateLimited {
        quota: Quota,
        /// Seconds.
        retry_after: u64,
    },
    /// More a second than the key or address may send.
    TooFast,
    /// More at once than the key or address may have under way.
    TooManyAtOnce,
    /// The store could not be asked; says nothing about the key.
    StoreUnavailable,
    NoRoute,
    BadRequest(&'static str),
    MethodNotAllowed,
    HeaderTooLarge,
    UriTooLong,
    BodyTooLarge,
    RequestTimeout,
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamProtocol(&'static str),
    Internal,
}

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Gateway,
    Upstream,
}

impl Failure {
    /// The stable name: in the body, in the log, in the handbook.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::InvalidKey(_) => "invalid_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::RateLimited { .. } | Self::TooFast | Self::TooManyAtOnce => "rate_limited",
            Self::StoreUnavailable => "store_unavailable",
            Self::NoRoute => "no_route",
            Self::BadRequest(_) | Self::MethodNotAllowed => "bad_request",
            Self::HeaderTooLarge => "header_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamProtocol(_) => "upstream_protocol",
            Self::Internal => "internal",
        }
    }

    /// For operators: as [`code`](Self::code), but which of several it truly was.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidKey(AuthResult::Unknown) => "unknown",
            Self::InvalidKey(AuthResult::Inactive) => "inactive",
            Self::InvalidKey(AuthResult::Expired) => "expired",
            Self::RateLimited { .. } => "hour_spent",
            Self::TooFast => "too_fast",
            Self::TooManyAtOnce => "too_many_at_once",
            _ => self.code(),
        }
    }

    pub const fn fault(&self) -> Fault {
        match self {
            Self::MissingKey
            | Self::InvalidKey(_)
            | Self::AmbiguousKey
            | Self::IpNotAllowed
            | Self::InsufficientScope(_)
            | Self::RateLimited { .. }
            | Self::TooFast
            | Self::TooManyAtOnce
            | Self::NoRoute
            | Self::BadRequest(_)
            | Self::MethodNotAllowed
            | Self::HeaderTooLarge
            | Self::UriTooLong
            | Self::BodyTooLarge
            | Self::RequestTimeout => Fault::Client,
            Self::StoreUnavailable | Self::Internal => Fault::Gateway,
            Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamProtocol(_) => Fault::Upstream,
        }
    }

    /// How it counts at the gates; `None` for what happened before or behind them.
    pub const fn auth_result(&self) -> Option<AuthResult> {
        match self {
            Self::MissingKey => Some(AuthResult::Missing),
            Self::InvalidKey(cause) => Some(*cause),
            Self::AmbiguousKey => Some(AuthResult::Ambiguous),
            Self::IpNotAllowed => Some(AuthResult::Ip),
            Self::InsufficientScope(_) => Some(AuthResult::Scope),
            Self::RateLimited { .. } | Self::TooFast | Self::TooManyAtOnce => Some(AuthResult::Limited),
            Self::StoreUnavailable => Some(AuthResult::Unavailable),
            _ => None,
        }
    }

    /// How it counts for the upstream.
    pub const fn upstream_result(&self) -> UpstreamResult {
        match self {
            Self::UpstreamUnreachable => UpstreamResult::Unreachable,
            Self::UpstreamTimeout => UpstreamResult::Timeout,
            Self::UpstreamProtocol(_) => UpstreamResult::Protocol,
            _ => UpstreamResult::Abandoned,
        }
    }
}

impl From<TooMuch> for Failure {
    fn from(too_much: TooMuch) -> Self {
        match too_much {
            TooMuch::TooFast => Self::TooFast,
            TooMuch::TooManyAtOnce => Self::TooManyAtOnce,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::MissingKey,
            Refusal::Several => Self::AmbiguousKey,
            Refusal::Unknown => Self::InvalidKey(AuthResult::Unknown),
            Refusal::Inactive => Self::InvalidKey(AuthResult::Inactive),
            Refusal::Expired => Self::InvalidKey(AuthResult::Expired),
            Refusal::Address => Self::IpNotAllowed,
            Refusal::Unavailable(_) => Self::StoreUnavailable,
        }
    }
}
