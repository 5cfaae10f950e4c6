//! A database of its own for one test.

use std::thread;

use super::Server;

/// A database that goes when it is dropped.
pub struct Database<'a> {
    pub(super) server: &'a Server,
    pub(super) name: String,
}

impl Database<'_> {
    pub fn url(&self) -> String {
        self.url_through(self.server.port)
    }

    /// As if the server were at another port.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{}", self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same on the server that took over from its own, which is gone.
    pub fn taken_over_by(mut self, standby: &Server) -> Database<'_> {
        let name = std::mem::take(&mut self.name);
        std::mem::forget(self);
        Database { server: standby, name }
    }

    /// As [`Server::psql`].
    pub fn sql(&self, statements: &str) -> String {
        self.server.psql(&self.name, statements)
    }

    /// What the server says to a statement that it does not carry out.
    pub fn refuses(&self, statement: &str) -> String {
        self.server.try_psql(&self.name, statement).expect_err("it is refused")
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.server.psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}
