//! Where a command is run, and what came of it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A folder without a configuration, in an environment that says nothing.
pub struct Place(TempDir);

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn database(&self) -> Connection {
        Connection::open(self.path().join("gateway.db")).unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hokusai-gateway"));
        command.current_dir(self.path()).args(args);
        for variable in
            ["GATEWAY_CONFIG", "DATABASE_URL", "REDIS_URL", "HOKUSAI_USER_ID", "API_KEY_CACHE_TTL", "DEFAULT_RATE_LIMIT"]
        {
            command.env_remove(variable);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Does not wait for its end.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs with `--json` and expects an answer: one line that is JSON, and silence on stderr.
    pub fn answer(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).answer()
    }

    /// A key of ann's named `ci`.
    pub fn create(&self, args: &[&str]) -> Value {
        self.create_for("ann", "ci", args)
    }

    pub fn create_for(&self, user: &str, name: &str, args: &[&str]) -> Value {
        self.answer(&[&["keys", "create", "--user", user, "--name", name], args].concat())
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn answer(&self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Expects an end with `code`, nothing on stdout, and all of `words` in what is said.
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in: {}", self.stderr);
        }
    }
}
