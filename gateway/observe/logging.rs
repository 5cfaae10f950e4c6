//! Where the gateway's own lines go: stderr, and besides, where one is named, a file.
//!
//! What must stay true here: a line never makes a request wait (where a queue is full, lines are dropped and counted), all
//! that was said is written when [`Logging`] is dropped, and after [`Logging::reopen`] lines go to the file that then stands
//! at the path.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Keeps the writers alive. Dropped last of all, it writes out what is still queued (within a second).
pub struct Logging {
    file: Option<LogFile>,
    /// Of what `log.level` decides.
    levels: Vec<reload::Handle<Targets, Registry>>,
    queues: Vec<ErrorCounter>,
    writers: Vec<WorkerGuard>,
}

/// How much goes to stderr. A log file always gets all that `log.level` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// What `log.level` asks for: the server's way.
    Full,
    /// Warnings and errors: a command says the rest itself.
    Quiet,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write the log file {}", path.display())]
pub struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

impl Logging {
    /// Makes this the logging of the whole process; called once.
    pub fn start(log: &Log, console: Console, file: Option<&Path>) -> Result<Self, LogFileError> {
        let (subscriber, logging) = build(log, console, file)?;
        tracing::subscriber::set_global_default(subscriber).expect("logging is started once");
        Ok(logging)
    }

    /// `level` and `access` hold from now on; the format stays.
    pub fn renew(&self, log: &Log) {
        for handle in &self.levels {
            handle.reload(level(log)).expect("the logging of the process is never taken away");
        }
    }

    /// Opens the log file anew, so that it can be moved away by a log rotation. False: there is none.
    ///
    /// # Errors
    /// When it cannot be opened; lines then go on to the old one.
    pub fn reopen(&self) -> Result<bool, LogFileError> {
        self.file.as_ref().map_or(Ok(false), |file| file.reopen().map(|()| true))
    }

    /// Lines dropped so far because they came faster than they could be written.
    pub fn dropped_lines(&self) -> usize {
        self.queues.iter().map(ErrorCounter::dropped_lines).sum()
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn build(log: &Log, console: Console, path: Option<&Path>) -> Result<(impl Subscriber, Logging), LogFileError> {
    let file = path.map(LogFile::open).transpose()?;
    let (stderr, guard) = queue(io::stderr());
    let mut logging =
        Logging { file: file.clone(), levels: Vec::new(), queues: vec![stderr.error_counter()], writers: vec![guard] };
    let (console_level, handle) = reload::Layer::new(match console {
        Console::Full => level(log),
        Console::Quiet => Targets::new().with_default(tracing::Level::WARN),
    });
    if console == Console::Full {
        logging.levels.push(handle);
    }
    let mut layers = vec![layer(log.format, stderr, colours_are_welcome(), console_level)];
    if let Some(file) = file {
        let (queued, guard) = queue(file);
        logging.queues.push(queued.error_counter());
        logging.writers.push(guard);
        let (level, handle) = reload::Layer::new(level(log));
        logging.levels.push(handle);
        layers.push(layer(log.format, queued, false, level));
    }
    Ok((tracing_subscriber::registry().with(layers), logging))
}

fn level(log: &Log) -> Targets {
    let level: Targets = log.level.parse().expect("the configuration accepts filters only");
    // Whether requests are lines is said by `log.access` alone.
    if log.access { level.with_target("access", tracing::Level::INFO) } else { level }
}

fn layer(format: LogFormat, to: NonBlocking, colours: bool, level: reload::Layer<Targets, Registry>) -> BoxedLayer {
    match format {
        LogFormat::Text => fmt::layer().with_writer(to).with_ansi(colours).with_filter(level).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(to).with_ansi(false).with_filter(level).boxed(),
    }
}

fn queue(to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().thread_name("log").finish(to)
}

/// <https://no-color.org>: any value but the empty one turns colours off.
fn colours_are_welcome() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A file that is appended to and can be exchanged under its writer. Clones share it.
#[derive(Clone)]
struct LogFile {
    path: Arc<Path>,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, LogFileError> {
        Ok(Self { path: path.into(), file: Arc::new(Mutex::new(append_to(path)?)) })
    }

    fn reopen(&self) -> Result<(), LogFileError> {
        let file = append_to(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

fn append_to(path: &Path) -> Result<File, LogFileError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| LogFileError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing::{info, subscriber, warn};

    use super::*;

    fn log(format: LogFormat, level: &str) -> Log {
        Log { format, level: level.to_owned(), access: true }
    }

    /// What stands in the file once the logging that `says` spoke through has ended.
    fn written(log: &Log, says: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        let (subscriber, logging) = build(log, Console::Quiet, Some(&path)).unwrap();
        subscriber::with_default(subscriber, says);
        drop(logging);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn all_that_was_said_is_in_the_file_when_logging_ends() {
        let text = written(&log(LogFormat::Text, "info"), || (0..500).for_each(|n| info!(n, "said")));
        assert_eq!(text.lines().count(), 500);
        assert!(text.lines().last().unwrap().contains("n=499"));
        assert!(!text.contains('\u{1b}'), "a file gets no colours");
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields_at_the_top() {
        let text = written(&log(LogFormat::Json, "info"), || info!(key_id = "key_1", "revoked"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["message"], &line["key_id"]), (&"INFO".into(), &"revoked".into(), &"key_1".into()));
    }

    #[test]
    fn the_level_decides_for_each_module() {
        let level = "warn,store=debug";
        let text = written(&log(LogFormat::Text, level), || {
            info!("left out");
            info!(target: "store", "kept");
            warn!("kept too");
        });
        assert!(!text.contains("left out") && text.contains("kept") && text.contains("kept too"), "{text}");
    }

    #[test]
    fn a_new_level_holds_at_once() {
        let (level, access) = (|level| log(LogFormat::Text, level), |name| info!(target: "access", name));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        let (subscriber, logging) = build(&Log { access: false, ..level("warn") }, Console::Quiet, Some(&path)).unwrap();
        subscriber::with_default(subscriber, || {
            let say = |when| {
                info!(when);
                access(when);
            };
            say("before");
            logging.renew(&level("info"));
            say("meanwhile");
            logging.renew(&Log { access: false, ..level("warn") });
            say("after");
        });
        drop(logging);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("meanwhile").count(), 2, "{text}");
        assert!(!text.contains("before") && !text.contains("after"), "{text}");
    }

    #[test]
    fn after_a_reopen_lines_go_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("gateway.log"), folder.path().join("gateway.log.1"));
        let (subscriber, logging) = build(&log(LogFormat::Text, "info"), Console::Quiet, Some(&path)).unwrap();
        subscriber::with_default(subscriber, || {
            fs::rename(&path, &moved).unwrap();
            logging.reopen().unwrap();
            info!("after the rotation");
        });
        drop(logging);
        assert!(fs::read_to_string(&path).unwrap().contains("after the rotation"));
        assert_eq!(fs::read_to_string(&moved).unwrap(), "");
    }

    #[test]
    fn a_reopen_that_fails_leaves_the_old_file_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let (subscriber, logging) =
            build(&log(LogFormat::Text, "info"), Console::Quiet, Some(&inner.join("gateway.log"))).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&inner, &moved).unwrap();
        assert!(logging.reopen().is_err());
        subscriber::with_default(subscriber, || info!("still heard"));
        drop(logging);
        assert!(fs::read_to_string(moved.join("gateway.log")).unwrap().contains("still heard"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let file = build(&log(LogFormat::Text, "info"), Console::Full, Some(Path::new("/nonexistent/gateway.log")));
        assert_eq!(file.err().unwrap().to_string(), "cannot write the log file /nonexistent/gateway.log");
    }
}
