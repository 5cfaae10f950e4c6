//! What an upstream is told of a request besides its body: the client's headers that may pass, and ours.
//!
//! What must stay true here: what belongs to one connection ends with it (RFC 9110 7.6.1); no client's header passes under a
//! name that is the gateway's, and no credential unless the route says so; ours are written after all of that, so that no
//! `Connection` line can remove them, and the identity last, so that no rule can change it.

use std::borrow::Cow;

use http::header::{CONNECTION, FORWARDED, HOST, HeaderName, TE, UPGRADE};
use http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::headers::names_in_connection;
use super::request_id::RequestId;
use super::target::X_FORWARDED_PROTO;
use crate::auth::extract;
use crate::auth::known_key::{KnownKey, Text};
use crate::client_address::forwarded;
use crate::config::{Accept, HeaderRules, IdentityHeaders, Scheme};
use crate::model::address::ClientIp;
use crate::reserved_headers::ReservedHeaders;
use crate::upstream::http1::{RequestHead, is_hop_by_hop, tokens};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that decides on them.
pub struct RequestHeaders<'r> {
    /// As the client sent them.
    pub received: &'r HeaderMap,
    pub client: &'r Client,
    /// Who asks; `None` when that cannot be told.
    pub address: Option<ClientIp>,
    pub scheme: Scheme,
    pub peer_is_trusted: bool,
    /// Who asked goes on in `Forwarded`, and what came as `X-Forwarded-…` is nobody's word; else the other way round.
    pub speaks_forwarded: bool,
    pub request_id: &'r RequestId,
    pub rules: &'r HeaderRules,
    pub reserved: &'r ReservedHeaders,
    /// The sources whose credentials are cut; `None`: all pass on.
    pub cut: Option<(Accept, &'r str)>,
    /// Instead of the client's.
    pub host: Option<&'r HeaderValue>,
    pub websocket: bool,
    pub identity: Option<(&'r KnownKey, &'r IdentityHeaders)>,
}

/// What was met among the received: what did not come need not be looked for.
#[derive(Default)]
struct Met {
    te: bool,
    forwarded: bool,
    forwarded_for: bool,
}

impl RequestHeaders<'_> {
    pub fn write(&self, head: &mut RequestHead) {
        let (ended, mut met) = (names_in_connection(self.received), Met::default());
        for (name, value) in self.received {
            if self.passes(name, value, &mut met) && !ended.contains(name) {
                head.field(name, value.as_bytes());
            }
        }
        self.write_hop(head, &met);
        self.write_forwarding(head, &ended, &met);
        for (name, value) in &self.rules.set {
            head.field(name, value.as_bytes());
        }
        if let Some((key, names)) = self.identity {
            write_identity(head, key, names);
        }
    }

    fn passes(&self, name: &HeaderName, value: &HeaderValue, met: &mut Met) -> bool {
        let ours = |noted: &mut bool| {
            *noted = true;
            false
        };
        match name.as_str() {
            "host" => self.host.is_none(),
            // Answered here, or ours to say.
            "expect" | "x-forwarded-proto" | "x-real-ip" | "x-request-id" => false,
            "te" => ours(&mut met.te),
            "forwarded" => ours(&mut met.forwarded),
            "x-forwarded-for" => ours(&mut met.forwarded_for),
            "x-forwarded-host" => self.host_is_told() && self.is_free(name),
            "authorization" | "x-api-key" => {
                self.is_free(name) && !self.cut.is_some_and(|(accept, prefix)| extract::is_key(name, value, accept, prefix))
            }
            _ => !is_hop_by_hop(name) && self.is_free(name) && !self.reserved.covers(name),
        }
    }

    /// The route has no rule for this name.
    fn is_free(&self, name: &HeaderName) -> bool {
        !self.rules.remove.contains(name) && !self.rules.set.iter().any(|(set, _)| set == name)
    }

    /// By a trusted proxy, in the way that we speak.
    fn host_is_told(&self) -> bool {
        self.peer_is_trusted && !self.speaks_forwarded
    }

    /// What is said anew for the connection to the upstream.
    fn write_hop(&self, head: &mut RequestHead, met: &Met) {
        if let Some(host) = self.host {
            head.field(&HOST, host.as_bytes());
        }
        let takes_trailers = |te: &HeaderValue| tokens(te.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"trailers"));
        if met.te && self.received.get_all(TE).iter().any(takes_trailers) {
            head.field(&TE, b"trailers");
        }
        if self.websocket {
            head.field(&CONNECTION, b"upgrade");
            head.field(&UPGRADE, b"websocket");
        }
    }

    /// Who asked, how, and for which host. What a trusted proxy said of the host was kept.
    fn write_forwarding(&self, head: &mut RequestHead, ended: &[HeaderName], met: &Met) {
        let mut field = |name: &HeaderName, value: &[u8]| {
            if self.is_free(name) {
                head.field(name, value);
            }
        };
        let peer = self.client.peer_value.as_bytes();
        let elsewhere = self.address.filter(|address| address.get() != self.client.peer.ip()).map(|address| address.to_string());
        let address = elsewhere.as_ref().map_or(peer, String::as_bytes);
        match self.speaks_forwarded {
            true => {
                let element = forwarded::element_for(self.client.peer.ip());
                field(&FORWARDED, &self.appended(&FORWARDED, met.forwarded, ended, element.as_bytes()));
                field(&X_FORWARDED_FOR, address);
            }
            false => field(&X_FORWARDED_FOR, &self.appended(&X_FORWARDED_FOR, met.forwarded_for, ended, peer)),
        }
        field(&X_REAL_IP, address);
        let proto = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        field(&X_FORWARDED_PROTO, proto.as_bytes());
        let has_told_host = || self.received.contains_key(&X_FORWARDED_HOST) && !ended.contains(&X_FORWARDED_HOST);
        if !(self.host_is_told() && has_told_host())
            && let Some(host) = self.received.get(HOST)
        {
            field(&X_FORWARDED_HOST, host.as_bytes());
        }
        field(&X_REQUEST_ID, self.request_id.as_bytes());
    }

    /// All that came under this name and ours in one line, so that no upstream reads the first of several only.
    fn appended<'v>(&self, name: &HeaderName, came: bool, ended: &[HeaderName], ours: &'v [u8]) -> Cow<'v, [u8]> {
        if !came || ended.contains(name) {
            return Cow::Borrowed(ours);
        }
        let lines = self.received.get_all(name).iter().map(HeaderValue::as_bytes);
        Cow::Owned(lines.chain([ours]).collect::<Vec<_>>().join(&b", "[..]))
    }
}

/// Whose key it was.
fn write_identity(head: &mut RequestHead, key: &KnownKey, names: &IdentityHeaders) {
    let pairs = [
        (&names.user_id, key.value(Text::UserId)),
        (&names.key_id, key.value(Text::KeyId)),
        (&names.key_name, key.value(Text::Name)),
        (&names.environment, key.environment.as_str()),
        (&names.scopes, key.value(Text::Scopes)),
    ];
    for (name, value) in pairs {
        if let Some(name) = name {
            head.field(name, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
