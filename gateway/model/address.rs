//! Addresses by their role: who is connected ([`PeerAddr`]), who asks ([`ClientIp`]), who may ([`IpNetSet`]).
//!
//! What must stay true here: an IPv4 address mapped into IPv6 (`::ffff:10.0.0.1`, RFC 4291 2.5.5.2) equals the IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The other end of an accepted socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(SocketAddr);

impl PeerAddr {
    pub fn new(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address a request is judged by, after trusted proxies were looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    pub fn get(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What counts as one where requests or connections are counted by address: of IPv6 a whole /64, of which one subscriber has every
/// address at will.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// A list of addresses and networks. Empty contains nothing; what an empty list means is for the user of it to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpNetSet(Box<[IpNet]>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no IP address and no network in CIDR form (like 10.0.0.0/8 or 2001:db8::/32)")]
pub struct NotANetwork(pub String);

impl IpNetSet {
    /// # Errors
    /// The first entry that is neither an address nor a network. Host bits in a network are dropped (`10.1.2.3/8` is `10.0.0.0/8`).
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, NotANetwork> {
        let networks: Result<Vec<IpNet>, NotANetwork> = entries.iter().map(|entry| parse_network(entry.as_ref())).collect();
        Ok(Self(networks?.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `address` must be canonical, as [`ClientIp`] and [`PeerAddr`] hold it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether each network of `other` lies within one of these.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|inner| self.0.iter().any(|network| network.contains(inner)))
    }

    /// As they were meant: a single address without its prefix length.
    pub fn to_strings(&self) -> Vec<String> {
        let shown = |network: &IpNet| match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().to_string(),
            false => network.to_string(),
        };
        self.0.iter().map(shown).collect()
    }
}

fn parse_network(entry: &str) -> Result<IpNet, NotANetwork> {
    let entry = entry.trim();
    let parsed = match entry.contains('/') {
        true => entry.parse::<IpNet>().ok().map(canonical),
        false => entry.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())),
    };
    parsed.map(|network| network.trunc()).ok_or_else(|| NotANetwork(entry.to_owned()))
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6.addr().to_ipv4_mapped().map(|v4| (v4, v6.prefix_len() - 96)),
        _ => None,
    };
    mapped.and_then(|(v4, length)| IpNet::new(v4.into(), length).ok()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(entry: &str, address: &str) -> bool {
        let set = IpNetSet::parse(&[entry]).expect("a network");
        set.contains(ClientIp::new(address.parse().expect("an address")).get())
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_matched() {
        assert!(contains("10.1.2.3", "10.1.2.3"));
        assert!(!contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.9.9.9/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(contains("0.0.0.0/0", "1.2.3.4"));
        assert!(!contains("0.0.0.0/0", "::1"));
    }

    #[test]
    fn a_mapped_address_equals_the_ipv4_address() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.1.1"));
        assert!(contains("::ffff:10.1.1.1", "10.1.1.1"));
        assert_eq!(PeerAddr::new("[::ffff:10.1.1.1]:80".parse().expect("an address")).ip().to_string(), "10.1.1.1");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for entry in ["", "10.0.0", "10.0.0.0/33", "localhost", "10.0.0.0/8/8", "10.0.0.1:80"] {
            assert_eq!(IpNetSet::parse(&[entry]), Err(NotANetwork(entry.to_owned())));
        }
    }

    #[test]
    fn the_list_is_shown_as_it_was_meant() {
        let set = IpNetSet::parse(&["10.0.0.1", "10.1.2.3/8", "::1"]).expect("networks");
        assert_eq!(set.to_strings(), ["10.0.0.1", "10.0.0.0/8", "::1"]);
    }
}
