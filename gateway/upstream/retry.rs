//! Whether a failed attempt may be made again. A table, and nothing else.
//!
//! What must stay true here: what may have reached an app is sent again only when its method is idempotent
//! (RFC 9110 9.2.2), it had no body, and the connection was an old one, which the app may have been closing just then.

use http::Method;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No connection: nothing was sent.
    Connect,
    /// The connection had ended before the request went out, or the server said that it has not looked at it (HTTP/2).
    NotSent,
    /// It went out, and the connection ended without an answer.
    NoAnswer,
    /// The answer was no HTTP, none came in time, or the stream was reset.
    BadAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    pub failed: Failed,
    pub method: &'a Method,
    pub has_body: bool,
    /// The connection had served a request before.
    pub reused: bool,
    /// Servers of the upstream that were not tried yet.
    pub servers_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// On another server.
    OtherServer,
    /// On a connection made for it, to the same server.
    FreshConnection,
    GiveUp,
}

pub fn next(attempt: Attempt<'_>) -> Next {
    match attempt.failed {
        Failed::Connect if attempt.servers_left > 0 => Next::OtherServer,
        Failed::NotSent if attempt.reused => Next::FreshConnection,
        Failed::NoAnswer if may_go_twice(attempt.method, attempt.has_body, attempt.reused) => Next::FreshConnection,
        Failed::Connect | Failed::NotSent | Failed::NoAnswer | Failed::BadAnswer => Next::GiveUp,
    }
}

/// Whether what may have arrived may be sent once more. Only then is a copy of it kept.
pub fn may_go_twice(method: &Method, has_body: bool, reused: bool) -> bool {
    reused && !has_body && method.is_idempotent()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Attempt<'_> =
        Attempt { failed: Failed::NoAnswer, method: &Method::GET, has_body: false, reused: true, servers_left: 0 };

    #[test]
    fn a_failed_connect_moves_on_while_there_are_servers_for_any_method() {
        for method in [&Method::GET, &Method::POST] {
            let attempt = Attempt { failed: Failed::Connect, method, has_body: true, reused: false, servers_left: 1 };
            assert_eq!(next(attempt), Next::OtherServer);
            assert_eq!(next(Attempt { servers_left: 0, ..attempt }), Next::GiveUp);
        }
    }

    #[test]
    fn what_was_not_sent_goes_out_on_a_fresh_connection_once() {
        let post = Attempt { failed: Failed::NotSent, method: &Method::POST, has_body: true, ..GET };
        assert_eq!(next(post), Next::FreshConnection);
        assert_eq!(next(Attempt { reused: false, ..post }), Next::GiveUp);
    }

    #[test]
    fn what_may_have_arrived_is_sent_again_only_when_idempotent_bodiless_and_the_connection_was_old() {
        assert_eq!(next(GET), Next::FreshConnection);
        assert_eq!(next(Attempt { method: &Method::DELETE, ..GET }), Next::FreshConnection);
        assert_eq!(next(Attempt { method: &Method::POST, ..GET }), Next::GiveUp);
        assert_eq!(next(Attempt { method: &Method::PATCH, ..GET }), Next::GiveUp);
        assert_eq!(next(Attempt { has_body: true, ..GET }), Next::GiveUp);
        assert_eq!(next(Attempt { reused: false, ..GET }), Next::GiveUp);
        assert_eq!(next(Attempt { servers_left: 3, reused: false, ..GET }), Next::GiveUp);
    }

    #[test]
    fn a_bad_answer_is_never_asked_for_again() {
        assert_eq!(next(Attempt { failed: Failed::BadAnswer, servers_left: 3, ..GET }), Next::GiveUp);
    }
}
