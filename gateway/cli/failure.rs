//! How an end that is not a success is told: what was wrong, why, and what to do.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::keyring::KeyringError;
use crate::limits::AuthorityError;

/// An error that knows the way out.
#[derive(Debug, thiserror::Error)]
#[error("{says}")]
pub struct Advice {
    pub says: String,
    pub hint: String,
}

/// The command line can be read, but what it asks for cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// Writes the error to stderr and returns what to exit with.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    // Where stderr is closed, nothing can be said.
    let _ = io::stderr().write_all(in_words(error).as_bytes());
    ExitCode::from(if is_bad_usage(error) { BAD_USAGE } else { FAILED })
}

/// `error:`, then a `cause:` for each that says something new, then a `hint:` where there is one.
fn in_words(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    let mut text = format!("error: {said}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            writeln!(text, "cause: {cause}").expect("a String takes all");
            said = cause;
        }
    }
    if let Some(hint) = hint(error) {
        writeln!(text, "hint: {hint}").expect("a String takes all");
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<&str> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(&advice.hint);
    }
    if let Some(AuthorityError::Redis(_)) = error.downcast_ref() {
        return Some("redis.url (or REDIS_URL) names the Redis that counts; the gateways need it too");
    }
    match error.downcast_ref::<KeyringError>() {
        Some(KeyringError::NotFound { .. }) => Some("`hokusai-gateway keys list` shows the keys there are"),
        _ => None,
    }
}

fn is_bad_usage(error: &anyhow::Error) -> bool {
    error.is::<BadUsage>() || matches!(error.downcast_ref(), Some(KeyringError::Invalid { .. }))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_tells_what_why_and_what_to_do() {
        let advice = Advice { says: "it is closed".into(), hint: "open it".into() };
        let error = anyhow::Error::new(advice).context("cannot enter");
        assert_eq!(in_words(&error), "error: cannot enter\ncause: it is closed\nhint: open it\n");
    }

    #[test]
    fn a_cause_that_repeats_what_was_said_is_left_out() {
        let error = anyhow!("it is closed").context("cannot enter: it is closed");
        assert_eq!(in_words(&error), "error: cannot enter: it is closed\n");
    }
}
