//! `[store]`: where keys and usage are kept.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::forms::positive_duration;
use super::postgres_url::{PostgresUrl, postgres_url};
use super::problem::Complaint;
use super::section::Section;

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    pub url: StoreUrl,
    /// Where changes are listened for, if not at `url`: what stands behind a PgBouncer.
    pub listen_url: Option<PostgresUrl>,
    /// Questions that can be under way at once.
    pub pool_size: NonZeroUsize,
    /// For one question; more than zero.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

pub(super) fn read(section: &mut Section<'_>) -> Store {
    let base_dir = section.reading.base_dir;
    let form = |text: &str| store_url(text, base_dir);
    let url = section.text("url", "sqlite:gateway.db", form);
    let url = section.env("DATABASE_URL", "url", form).unwrap_or(url);
    let listen_url = section.text("listen_url", "", |text: &str| listen_url(text, base_dir));
    if listen_url.is_some() && matches!(url, StoreUrl::Sqlite(_)) && section.reading.is_right("store.url") {
        section.complain("listen_url", Complaint::new("is only for PostgreSQL, and store.url is SQLite").hint("remove it"));
    }
    Store {
        url,
        listen_url,
        pool_size: NonZeroUsize::new(section.integer("pool_size", 8, 1..=1024)).expect("at least 1"),
        timeout: section.text("timeout", "2s", positive_duration),
    }
}

/// The text may hold a password: it is never repeated.
fn store_url(text: &str, base_dir: &Path) -> Result<StoreUrl, Complaint> {
    match text.split_once(':') {
        Some(("sqlite", path)) => sqlite_file(path, base_dir).map(StoreUrl::Sqlite),
        Some(("postgres" | "postgresql", _)) => Ok(StoreUrl::Postgres(Box::new(postgres_url(text, base_dir)?))),
        Some((scheme, _)) if scheme.starts_with("postgresql+") => {
            Err(Complaint::new("names a driver").hint("write only postgresql:// before the user"))
        }
        _ => Err(Complaint::new("is no URL of a store")
            .hint("write it like sqlite:gateway.db or postgres://user:password@host/database")),
    }
}

fn listen_url(text: &str, base_dir: &Path) -> Result<Option<PostgresUrl>, Complaint> {
    match text.split_once(':') {
        _ if text.is_empty() => Ok(None),
        Some(("postgres" | "postgresql", _)) => postgres_url(text, base_dir).map(Some),
        _ => Err(Complaint::new("is no URL of PostgreSQL").hint("write it like postgres://user:password@host/database")),
    }
}

/// `sqlite:file.db`, `sqlite://file.db` or `sqlite:///folder/file.db`, here without the scheme.
fn sqlite_file(path: &str, base_dir: &Path) -> Result<PathBuf, Complaint> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.ends_with('/') {
        return Err(Complaint::new("names no file").hint("write it like sqlite:gateway.db"));
    }
    if path.starts_with(":memory:") {
        return Err(
            Complaint::new("must be a file: what is kept in memory is lost at the end").hint("write it like sqlite:gateway.db")
        );
    }
    if path.contains('?') {
        return Err(Complaint::new("takes no options after a `?`").hint("the gateway sets SQLite up by itself"));
    }
    Ok(base_dir.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_file_is_relative_to_the_folder_and_an_absolute_one_is_not() {
        for (text, file) in [
            ("sqlite:a.db", "/etc/gw/a.db"),
            ("sqlite:data/a.db", "/etc/gw/data/a.db"),
            ("sqlite://a.db", "/etc/gw/a.db"),
            ("sqlite:/var/a.db", "/var/a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
        ] {
            let url = store_url(text, Path::new("/etc/gw")).expect("a store");
            assert_eq!(url, StoreUrl::Sqlite(file.into()), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        for text in ["postgresql+asyncpg://u:hunter2@h/d", "mysql://u:hunter2@h/d", "u:hunter2@h", "hunter2"] {
            let complaint = store_url(text, Path::new(".")).expect_err("no store");
            assert!(!format!("{complaint:?}").contains("hunter2"), "{text}");
        }
    }
}
