//! `[redis]`: what several gateways share beside the store.

use std::fmt;

use fred::types::RespVersion;
use fred::types::config::Config as Servers;

use super::problem::Complaint;
use super::section::Section;

const SCHEMES: [&str; 6] = ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];
const HINT: &str = "write it like redis://127.0.0.1:6379";

/// `[redis]`
#[derive(Debug, Clone)]
pub struct Redis {
    pub url: RedisUrl,
    /// Of every Redis key; at most 64 visible ASCII characters, without braces.
    pub prefix: String,
}

/// Where Redis is, and how to get in.
#[derive(Clone)]
pub struct RedisUrl(Servers);

/// There with the table or with the environment variable.
pub(super) fn read(root: &mut Section<'_>) -> Option<Redis> {
    let from_env = root.env("REDIS_URL", "redis.url", redis_url);
    let section = |section: &mut Section<'_>| {
        let url = section.text("url", "redis://127.0.0.1:6379", redis_url);
        Redis { url: from_env.clone().unwrap_or(url), prefix: section.text("prefix", "hokusai:", prefix) }
    };
    match from_env.is_some() {
        true => Some(root.table("redis", section)),
        false => root.optional_table("redis", section),
    }
}

impl RedisUrl {
    pub fn servers(&self) -> &Servers {
        &self.0
    }
}

/// As far as it takes another connection. fred leaves TLS out of its own comparison.
impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && self.0.tls.is_some() == other.0.tls.is_some()
    }
}

/// Names no password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisUrl").field(&self.0.server).finish()
    }
}

/// The text may hold a password: it is never repeated.
fn redis_url(text: &str) -> Result<RedisUrl, Complaint> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        return Err(Complaint::new("is no URL of Redis").hint(format!("it begins with one of {}://", SCHEMES.join("://, "))));
    }
    if scheme.is_some_and(|scheme| scheme.ends_with("-sentinel")) && !text.contains("sentinelServiceName=") {
        let example = "write it like redis-sentinel://host:26379?sentinelServiceName=mymaster";
        return Err(Complaint::new("names no service that the sentinels watch").hint(example));
    }
    let servers = Servers::from_url(text).map_err(|_| Complaint::new("is no URL of Redis").hint(HINT))?;
    Ok(RedisUrl(Servers { version: RespVersion::RESP3, ..servers }))
}

fn prefix(text: &str) -> Result<String, Complaint> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    match text.len() <= 64 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Complaint::new("must be at most 64 visible ASCII characters, without braces")),
    }
}

#[cfg(test)]
impl Redis {
    pub(crate) fn at(url: &str, prefix: &str) -> Self {
        Self { url: redis_url(url).expect("a URL of Redis"), prefix: prefix.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_servers_clusters_and_sentinels_are_told_apart_with_and_without_tls() {
        for (text, is_clustered, is_sentinel, has_tls) in [
            ("redis://u:p@h:1/2", false, false, false),
            ("rediss://h", false, false, true),
            ("redis-cluster://h:1?node=i:2", true, false, false),
            ("rediss-sentinel://h:1?sentinelServiceName=main", false, true, true),
        ] {
            let RedisUrl(servers) = redis_url(text).expect("a URL");
            assert_eq!(servers.server.is_clustered(), is_clustered, "{text}");
            assert_eq!(servers.server.is_sentinel(), is_sentinel, "{text}");
            assert_eq!(servers.tls.is_some(), has_tls, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let right = redis_url("redis://u:hunter2@h").expect("a URL");
        assert!(!format!("{right:?}").contains("hunter2"));
        for text in ["redis:hunter2@h", "http://u:hunter2@h", "redis://u:hunter2@h:x", "redis-sentinel://u:hunter2@h", "hunter2"]
        {
            let complaint = redis_url(text).expect_err("no URL of Redis");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }
}
