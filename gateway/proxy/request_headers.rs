//! What an upstream is told of a request besides its body: the client's headers that may pass, and ours.
//!
//! What must stay true here: what belongs to one connection ends with it (RFC 9110 7.6.1); no client's header passes under a
//! name that is the gateway's, and no credential unless the route says so; ours are written after all of that, so that no
//! `Connection` line can remove them, and the identity last, so that no rule can change it.

use std::borrow::Cow;

use http::header::{CONNECTION, FORWARDED, HOST, HeaderName, TE, UPGRADE};
use http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::headers::{names_in_connection, tokens};
use super::target::X_FORWARDED_PROTO;
use crate::auth::extract;
use crate::auth::known_key::KnownKey;
use crate::client_address::forwarded;
use crate::config::{Accept, HeaderRules, IdentityHeaders, Scheme};
use crate::model::address::ClientIp;
use crate::reserved_headers::ReservedHeaders;
use crate::upstream::http1::RequestHead;

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
    pub request_id: &'r HeaderValue,
    pub rules: &'r HeaderRules,
    pub reserved: &'r ReservedHeaders,
    /// The sources whose credentials are cut; `None`: all pass on.
    pub cut: Option<(Accept, &'r str)>,
    /// Instead of the client's.
    pub host: Option<&'r HeaderValue>,
    pub websocket: bool,
    pub identity: Option<(&'r KnownKey, &'r IdentityHeaders)>,
}

impl RequestHeaders<'_> {
    pub fn write(&self, head: &mut RequestHead) {
        let ended = names_in_connection(self.received);
        for (name, value) in self.received {
            if self.passes(name, value) && !ended.contains(name) {
                head.field(name, value.as_bytes());
            }
        }
        self.write_hop(head);
        self.write_forwarding(head, &ended);
        for (name, value) in &self.rules.set {
            head.field(name, value.as_bytes());
        }
        if let Some((key, names)) = self.identity {
            write_identity(head, key, names);
        }
    }

    fn passes(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        match name.as_str() {
            "host" => self.host.is_none(),
            // They end here, or are ours to say.
            "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" | "expect"
            | "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-real-ip" | "x-request-id" => false,
            "x-forwarded-host" => self.host_is_told() && self.is_free(name),
            "authorization" | "x-api-key" => {
                self.is_free(name) && !self.cut.is_some_and(|(accept, prefix)| extract::is_key(name, value, accept, prefix))
            }
            _ => self.is_free(name) && !self.reserved.covers(name),
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
    fn write_hop(&self, head: &mut RequestHead) {
        if let Some(host) = self.host {
            head.field(&HOST, host.as_bytes());
        }
        if self.received.get_all(TE).iter().any(|te| tokens(te).any(|token| token.eq_ignore_ascii_case(b"trailers"))) {
            head.field(&TE, b"trailers");
        }
        if self.websocket {
            head.field(&CONNECTION, b"upgrade");
            head.field(&UPGRADE, b"websocket");
        }
    }

    /// Who asked, how, and for which host. What a trusted proxy said of the host was kept.
    fn write_forwarding(&self, head: &mut RequestHead, ended: &[HeaderName]) {
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
                field(&FORWARDED, &self.appended(&FORWARDED, ended, element.as_bytes()));
                field(&X_FORWARDED_FOR, address);
            }
            false => field(&X_FORWARDED_FOR, &self.appended(&X_FORWARDED_FOR, ended, peer)),
        }
        field(&X_REAL_IP, address);
        let proto = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        field(&HeaderName::from_static(X_FORWARDED_PROTO), proto.as_bytes());
        let has_told_host = || self.received.contains_key(&X_FORWARDED_HOST) && !ended.contains(&X_FORWARDED_HOST);
        if !(self.host_is_told() && has_told_host())
            && let Some(host) = self.received.get(HOST)
        {
            field(&X_FORWARDED_HOST, host.as_bytes());
        }
        field(&X_REQUEST_ID, self.request_id.as_bytes());
    }

    /// All that came under this name and ours in one line, so that no upstream reads the first of several only.
    fn appended<'v>(&self, name: &HeaderName, ended: &[HeaderName], ours: &'v [u8]) -> Cow<'v, [u8]> {
        if !self.received.contains_key(name) || ended.contains(name) {
            return Cow::Borrowed(ours);
        }
        let lines = self.received.get_all(name).iter().map(HeaderValue::as_bytes);
        Cow::Owned(lines.chain([ours]).collect::<Vec<_>>().join(&b", "[..]))
    }
}

/// Whose key it was.
fn write_identity(head: &mut RequestHead, key: &KnownKey, names: &IdentityHeaders) {
    let identity = &key.identity;
    let pairs: [(&Option<HeaderName>, &HeaderValue); 5] = [
        (&names.user_id, &identity.user_id),
        (&names.key_id, &identity.key_id),
        (&names.key_name, &identity.key_name),
        (&names.environment, &identity.environment),
        (&names.scopes, &identity.scopes),
    ];
    for (name, value) in pairs {
        if let Some(name) = name {
            head.field(name, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::model::address::PeerAddr;

    /// The fields that an upstream sees of these, one a line; `change` alters what decides.
    fn sent(lines: &[(&'static str, &'static str)], change: impl FnOnce(&mut RequestHeaders<'_>)) -> Vec<String> {
        let none = IdentityHeaders { user_id: None, key_id: None, key_name: None, environment: None, scopes: None };
        let mut received = HeaderMap::new();
        for (name, value) in lines {
            received.append(*name, HeaderValue::from_static(value));
        }
        let mut headers = RequestHeaders {
            received: &received,
            client: &Client::new(PeerAddr::new("192.0.2.7:1".parse().expect("an address")), Scheme::Http),
            address: None,
            scheme: Scheme::Http,
            peer_is_trusted: false,
            speaks_forwarded: false,
            request_id: &HeaderValue::from_static("r1"),
            rules: &HeaderRules::default(),
            reserved: &ReservedHeaders::new(&none),
            cut: None,
            host: None,
            websocket: false,
            identity: None,
        };
        change(&mut headers);
        let mut head = RequestHead::new(Method::GET, &PathAndQuery::from_static("/"));
        headers.write(&mut head);
        head.written().lines().skip(1).map(str::to_owned).collect()
    }

    /// The same without what the gateway says of itself.
    fn passed(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let ours = ["x-forwarded-", "x-real-ip", "x-request-id"];
        sent(lines, |_| {}).into_iter().filter(|line| !ours.iter().any(|name| line.starts_with(name))).collect()
    }

    #[test]
    fn what_belongs_to_the_connection_ends_with_it() {
        let lines = [
            ("connection", "keep-alive, X-Private"),
            ("connection", "x-second"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("te", "gzip"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("accept", "*/*"),
        ];
        assert_eq!(passed(&lines), ["accept: */*"]);
    }

    #[test]
    fn te_trailers_alone_passes() {
        assert_eq!(passed(&[("te", "gzip, trailers")]), ["te: trailers"]);
    }

    #[test]
    fn the_addressee_cannot_be_removed_by_a_connection_line() {
        assert_eq!(passed(&[("connection", "host"), ("host", "a")]), ["host: a"]);
    }

    #[test]
    fn identity_headers_of_a_client_are_removed() {
        assert_eq!(passed(&[("x-user-id", "root"), ("x_user_id", "root"), ("x-user", "a")]), ["x-user: a"]);
    }

    #[test]
    fn the_peer_is_appended_to_one_joined_line() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("host", "a"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-host", "b"),
            ("x-request-id", "forged"),
        ];
        let told = [
            "host: a",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.7",
            "x-real-ip: 192.0.2.7",
            "x-forwarded-proto: http",
            "x-forwarded-host: a",
            "x-request-id: r1",
        ];
        assert_eq!(sent(&lines, |_| {}), told);
    }

    /// An app may believe either header: the one that is not ours to extend holds nothing of a client's.
    #[test]
    fn of_forwarded_and_x_forwarded_one_is_extended_and_the_other_never_passes() {
        let lines = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("x-forwarded-host", "b"), ("host", "a")];
        let told = |speaks_forwarded| {
            let all = sent(&lines, |headers| (headers.speaks_forwarded, headers.peer_is_trusted) = (speaks_forwarded, true));
            all.into_iter().filter(|line| line.contains("forwarded")).collect::<Vec<_>>()
        };
        let x_forwarded = ["x-forwarded-host: b", "x-forwarded-for: 2.2.2.2, 192.0.2.7", "x-forwarded-proto: http"];
        assert_eq!(told(false), x_forwarded);
        let forwarded = [
            "forwarded: for=1.1.1.1, for=192.0.2.7",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-proto: http",
            "x-forwarded-host: a",
        ];
        assert_eq!(told(true), forwarded);
    }

    #[test]
    fn a_trusted_proxys_word_on_the_host_is_kept_and_a_connection_line_takes_it_away() {
        let told = |lines: &[(&'static str, &'static str)]| {
            let all = sent(lines, |headers| headers.peer_is_trusted = true);
            all.into_iter().filter(|line| line.starts_with("x-forwarded-host")).collect::<Vec<_>>()
        };
        assert_eq!(told(&[("host", "a"), ("x-forwarded-host", "b")]), ["x-forwarded-host: b"]);
        assert_eq!(told(&[("host", "a")]), ["x-forwarded-host: a"]);
        let named = [("host", "a"), ("x-forwarded-host", "b"), ("connection", "x-forwarded-host")];
        assert_eq!(told(&named), ["x-forwarded-host: a"]);
    }

    #[test]
    fn a_connection_line_takes_away_former_addresses_and_not_the_peers() {
        let lines = [("x-forwarded-for", "1.1.1.1"), ("connection", "x-forwarded-for, x-real-ip, x-request-id")];
        let told = ["x-forwarded-for: 192.0.2.7", "x-real-ip: 192.0.2.7", "x-forwarded-proto: http", "x-request-id: r1"];
        assert_eq!(sent(&lines, |_| {}), told);
    }

    #[test]
    fn a_rule_removes_and_replaces_the_clients_headers_and_ours() {
        let (removed, set) = (HeaderName::from_static("x-real-ip"), HeaderName::from_static("x-forwarded-for"));
        let rules: &'static HeaderRules = Box::leak(Box::new(HeaderRules {
            remove: vec![removed, HeaderName::from_static("cookie")],
            set: vec![
                (set, HeaderValue::from_static("hidden")),
                (HeaderName::from_static("accept"), HeaderValue::from_static("b")),
            ],
        }));
        let lines = [("accept", "a"), ("cookie", "c"), ("x-forwarded-for", "1.1.1.1")];
        let told = ["x-forwarded-proto: http", "x-request-id: r1", "x-forwarded-for: hidden", "accept: b"];
        assert_eq!(sent(&lines, |headers| headers.rules = rules), told);
    }

    #[test]
    fn credentials_are_cut_unless_the_route_wants_them_forwarded() {
        let accept = Accept { bearer: true, apikey: true, x_api_key: true, query: false };
        let lines = [("authorization", "Bearer a"), ("authorization", "Basic b"), ("x-api-key", "c")];
        let cut: Vec<_> = sent(&lines, |headers| headers.cut = Some((accept, "hk")));
        assert_eq!(cut[0], "authorization: Basic b");
        assert!(!cut.iter().any(|line| line.starts_with("x-api-key")));
        assert_eq!(passed(&lines), ["authorization: Bearer a", "authorization: Basic b", "x-api-key: c"]);
    }
}
