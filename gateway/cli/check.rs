//! `check`: the configuration and the files it names, without running it.

use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::Common;
use super::output::{self, Output, counted};
use super::tools;
use crate::certificates::CertificateFiles;
use crate::clock;
use crate::config::{self, Config, LoadError, Problem};
use crate::model::timestamp::Timestamp;

const DAY: i64 = 24 * 60 * 60;

/// The problems are the answer asked for, so they go to stdout; that there are some is the error.
pub fn run(common: &Common) -> anyhow::Result<()> {
    let path = tools::require_config_path(common)?;
    let output = Output::new(common.json);
    match config::load(&path, &tools::environment) {
        Ok(config) => {
            let certificates = certificates(&config, clock::now())?;
            output.print(&Checked::of(&path, &[], &certificates), || summary(&path, &config, &certificates))
        }
        Err(LoadError::Invalid { problems, .. }) => {
            output.print(&Checked::of(&path, &problems.0, &[]), || problems.to_string())?;
            bail!("{} cannot be used: {}", path.display(), counted(problems.0.len() as u64, "problem"))
        }
        Err(unreadable) => Err(unreadable.into()),
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    path: &'a Path,
    valid: bool,
    problems: &'a [Problem],
    /// Of the traffic listeners.
    certificates: &'a [Expiry<'a>],
}

/// When a certificate expires.
#[derive(Serialize)]
struct Expiry<'a> {
    file: &'a Path,
    names: Vec<String>,
    expires_at: String,
    /// The same for people.
    #[serde(skip)]
    expires_on: String,
    /// Whole days; negative once it has expired.
    days_left: i64,
    /// Within two weeks, or it has expired: `check` warns.
    expires_soon: bool,
}

impl<'a> Checked<'a> {
    fn of(path: &'a Path, problems: &'a [Problem], certificates: &'a [Expiry<'a>]) -> Self {
        Self { path, valid: problems.is_empty(), problems, certificates }
    }
}

impl<'a> Expiry<'a> {
    fn of(files: &'a CertificateFiles, now: Timestamp) -> anyhow::Result<Self> {
        let certificate = files.load()?;
        Ok(Self {
            file: &files.certificate,
            expires_at: certificate.expires_at.to_rfc3339(),
            expires_on: output::time(certificate.expires_at),
            days_left: (certificate.expires_at.as_secs().cast_signed() - now.as_secs().cast_signed()).div_euclid(DAY),
            expires_soon: certificate.expires_soon(now),
            names: certificate.names,
        })
    }

    fn words(&self) -> String {
        let (file, names, at) = (self.file.display(), self.names.join(", "), &self.expires_on);
        match (self.expires_soon, self.days_left) {
            (_, ..0) => format!("WARNING: {file} ({names}) expired on {at}."),
            (true, days) => format!("WARNING: {file} ({names}) expires on {at}, in {days} days."),
            (false, days) => format!("{file} ({names}) expires on {at}, in {days} days."),
        }
    }
}

/// Of each certificate that the gateway would show.
fn certificates(config: &Config, now: Timestamp) -> anyhow::Result<Vec<Expiry<'_>>> {
    config.server.tls.iter().flat_map(|tls| &tls.certificates).map(|files| Expiry::of(files, now)).collect()
}

fn summary(path: &Path, config: &Config, certificates: &[Expiry<'_>]) -> String {
    let tls = config.server.tls.iter().flat_map(|tls| &tls.listen).map(|address| format!("{address} (TLS)"));
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).chain(tls).collect();
    let mut summary = format!(
        "{} is fine: listens on {}, {}, {}.",
        path.display(),
        listen.join(" and "),
        counted(config.routes.len() as u64, "route"),
        counted(config.upstreams.len() as u64, "upstream")
    );
    for certificate in certificates {
        summary.push('\n');
        summary.push_str(&certificate.words());
    }
    summary
}
