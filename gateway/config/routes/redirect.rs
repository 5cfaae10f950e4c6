//! `redirect` of a route.
//!
//! What must stay true here: where a redirect leads is the operator's word, or the host the client asked for. A path never
//! becomes a host.

use http::StatusCode;

use super::super::problem::Complaint;
use super::super::section::Section;
use super::action::status_code;

/// What a target may hold, in braces.
const PLACEHOLDERS: [&str; 3] = ["host", "path", "query"];

#[derive(Debug)]
pub struct Redirect {
    pub status: StatusCode,
    /// May hold `{host}`, `{path}` and `{query}` (with its `?`, or nothing).
    pub to: String,
}

pub(super) fn read(section: &mut Section<'_>) -> Redirect {
    let status = section.integer("status", 308, 100..=599);
    if ![301, 302, 303, 307, 308].contains(&status) {
        section.complain("status", Complaint::new(format!("{status} is no redirect")).hint("use 301, 302, 303, 307 or 308"));
    }
    Redirect { status: status_code(status), to: section.required_text("to", target).unwrap_or_default() }
}

fn target(text: &str) -> Result<String, Complaint> {
    check_placeholders(text)?;
    if !fixes_the_host(text) {
        let complaint = Complaint::new(format!("`{text}` names no place to go to"));
        return Err(complaint.hint("write it like https://{host}{path}{query} or /new{path}"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        let complaint = Complaint::new(format!("`{}` cannot be sent as it is", text.escape_debug()));
        return Err(complaint.hint("percent-encode what is not visible ASCII"));
    }
    Ok(text.to_owned())
}

fn check_placeholders(text: &str) -> Result<(), Complaint> {
    for part in text.split('{').skip(1) {
        let unclosed = || Complaint::new(format!("`{text}` has a `{{` without its `}}`"));
        let (name, _) = part.split_once('}').ok_or_else(unclosed)?;
        if !PLACEHOLDERS.contains(&name) {
            return Err(Complaint::unknown("placeholder", name, &PLACEHOLDERS));
        }
    }
    Ok(())
}

/// A target may not let the client's path choose the host: `{path}` at the start would, with a path of `//evil.example`.
fn fixes_the_host(text: &str) -> bool {
    match text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        Some("") => false,
        Some(host) => !host.starts_with(['/', '?', '#', '@']) && !host.starts_with("{path}") && !host.starts_with("{query}"),
        None => text.starts_with('/') && !text[1..].starts_with(['/', '\\', '{']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_goes_where_the_operator_said_and_not_where_a_path_says() {
        for text in ["https://{host}{path}{query}", "http://a.com", "https://a.com/x?y={path}", "/new{path}{query}", "/"] {
            assert!(target(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "{path}",
            "/{path}",
            "//a.com",
            "/\\a.com",
            "https://",
            "https://{path}",
            "https:///x",
            "a.com",
            "ftp://a.com",
            "/{hots}",
            "/a b",
            "/{path",
            "/new{path",
            "https://{host",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
