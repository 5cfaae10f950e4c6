//! What can go wrong with a call, and how it is answered: `application/problem+json` (RFC 9457), with a stable `code`.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::keyring::KeyringError;
use crate::limits::AuthorityError;
use crate::store::StoreError;

#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    MissingCredential,
    /// The caller does not learn more.
    InvalidCredential,
    /// Known, but this is not theirs to do.
    Forbidden,
    Malformed(String),
    Invalid(String),
    TooLarge,
    NotFound(String),
    MethodNotAllowed,
    Conflict(String),
    /// It is not as the caller has seen it.
    Changed(String),
    /// Seconds until the next attempt is worth it.
    RateLimited(u64),
    StoreUnavailable,
    ShuttingDown,
    Internal,
}

/// As it is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    /// Stable.
    code: &'static str,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::MissingCredential | Self::InvalidCredential => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Changed(_) => StatusCode::PRECONDITION_FAILED,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreUnavailable | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Those of the traffic listener where they mean the same.
    fn code(&self) -> &'static str {
        match self {
            Self::MissingCredential => "missing_credential",
            Self::InvalidCredential => "invalid_credential",
            Self::Forbidden => "forbidden",
            Self::Malformed(_) => "bad_request",
            Self::Invalid(_) => "invalid_value",
            Self::TooLarge => "body_too_large",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict(_) => "conflict",
            Self::Changed(_) => "precondition_failed",
            Self::RateLimited(_) => "rate_limited",
            Self::StoreUnavailable => "store_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::MissingCredential => "Send the admin token as `Authorization: Bearer …`.",
            Self::InvalidCredential => "The credential is not good here. The admin tokens are those of HOKUSAI_ADMIN_TOKEN.",
            Self::Forbidden => "This takes the admin token, or a key that may as much.",
            Self::TooLarge => "The body is larger than 2 MiB.",
            Self::MethodNotAllowed => "The path does not know this method.",
            Self::RateLimited(_) => "The key's hourly limit is spent.",
            Self::StoreUnavailable => "The store cannot be asked now; ask again.",
            Self::ShuttingDown => "The gateway is stopping.",
            Self::Internal => "It is the gateway's fault; its log says more.",
            Self::Malformed(says) | Self::Invalid(says) | Self::NotFound(says) | Self::Conflict(says) | Self::Changed(says) => {
                says
            }
        }
    }

    /// Seconds.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(seconds) => Some(*seconds),
            Self::StoreUnavailable | Self::ShuttingDown => Some(1),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or_default();
        let (detail, code) = (self.detail(), self.code());
        let body = ProblemBody { r#type: "about:blank", title, status: status.as_u16(), detail, code };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hokusai-gateway admin\""));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::NotFound(_) => Self::NotFound(error.to_string()),
            KeyringError::Invalid { .. } => Self::Invalid(error.to_string()),
            KeyringError::UsedBefore | KeyringError::TooMuchTogether(_) => Self::Conflict(error.to_string()),
            KeyringError::Store(error) => error.into(),
            KeyringError::NoRandomness(_) => {
                tracing::error!(%error, "an admin call failed");
                Self::Internal
            }
        }
    }
}

impl From<AuthorityError> for Problem {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Store(error) => error.into(),
            AuthorityError::Redis(_) => {
                tracing::warn!(%error, "an admin call could not reach Redis");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(says) => Self::Conflict(says),
            StoreError::Changed(_) => Self::Changed(error.to_string()),
            StoreError::Unavailable(_) | StoreError::Timeout(_) => {
                tracing::warn!(%error, "an admin call could not reach the store");
                Self::StoreUnavailable
            }
            StoreError::Schema(_) | StoreError::BadRecord { .. } => {
                tracing::error!(%error, "an admin call failed");
                Self::Internal
            }
        }
    }
}
