//! `cors` of a route.

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method};

use super::super::forms::{duration, header_name, method};
use super::super::hosts;
use super::super::problem::Complaint;
use super::super::section::Section;

/// Cross-origin rules, answered by the gateway (Fetch standard, "CORS protocol").
#[derive(Debug)]
pub struct Cors {
    pub origins: Origins,
    pub methods: HeaderValue,
    /// `None`: whatever the browser asks for.
    pub headers: Option<HeaderValue>,
    pub expose: Option<HeaderValue>,
    /// Never with [`Origins::Any`].
    pub credentials: bool,
    /// Whole seconds.
    pub max_age: HeaderValue,
}

#[derive(Debug)]
pub enum Origins {
    Any,
    /// Compared whole, as browsers send them: `https://app.example.com`.
    These(Vec<String>),
}

pub(super) fn read(section: &mut Section<'_>) -> Cors {
    let origins = section.filled_list("origins", &[], origin);
    let credentials = section.flag("credentials", false);
    let any = origins.iter().any(|origin| origin == "*");
    if any && origins.len() > 1 {
        section.complain("origins", Complaint::new("`*` is all origins").hint("leave the others out"));
    }
    if any && credentials {
        let complaint = Complaint::new("cannot be allowed to every origin: any page could act for its visitor");
        section.complain("credentials", complaint.hint("list the origins"));
    }
    let methods = section.filled_list("methods", &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], method);
    Cors {
        origins: if any { Origins::Any } else { Origins::These(origins) },
        methods: joined(methods.iter().map(Method::as_str)),
        headers: read_names(section, "headers"),
        expose: read_names(section, "expose"),
        credentials,
        max_age: HeaderValue::from(section.text("max_age", "10m", duration).as_secs()),
    }
}

fn read_names(section: &mut Section<'_>, key: &'static str) -> Option<HeaderValue> {
    let names = section.list(key, &[], header_name);
    (!names.is_empty()).then(|| joined(names.iter().map(HeaderName::as_str)))
}

fn joined<'t>(tokens: impl Iterator<Item = &'t str>) -> HeaderValue {
    let list = tokens.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).expect("tokens and commas")
}

/// `*`, or an origin as browsers write it: in lower case, without a path, without the scheme's own port.
fn origin(text: &str) -> Result<String, Complaint> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let no_origin = || Complaint::new(format!("`{text}` is no origin as a browser sends it"));
    let (scheme, authority) = text.split_once("://").ok_or_else(|| no_origin().hint(format!("write https://{text}")))?;
    let (host, port) = hosts::split_port(authority);
    let own_port = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
    let is_host = Scheme::try_from(scheme).is_ok() && (hosts::is_name(host) || hosts::bracketed(host).is_some());
    match text {
        _ if host.ends_with('/') => Err(no_origin().hint("leave the `/` at its end out")),
        _ if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Err(no_origin().hint("write it in lower case")),
        _ if own_port => Err(no_origin().hint("leave the port out, it is that of the scheme")),
        _ if is_host && port.is_none_or(|port| hosts::port(port).is_some()) => Ok(text.to_owned()),
        _ => Err(no_origin().hint("write it like https://app.example.com")),
    }
}
