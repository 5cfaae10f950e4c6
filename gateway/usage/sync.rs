//! A thread that makes what was written survive a loss of power, at most once a second. Apart from the writer, so that a slow disk
//! does not keep it from handing records to the kernel.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What a loss of power costs at most, less what the disk itself takes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Dropped, it syncs what is left and then returns.
#[derive(Debug)]
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Files and folders written to since they were last synced.
    dirty: Vec<Arc<File>>,
    ending: bool,
}

impl Syncer {
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let thread = Builder::new().name("usage-sync".into()).spawn(move || own.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The file, or folder, has changed.
    pub fn changed(&self, file: &Arc<File>) {
        let mut state = self.shared.state.lock().expect("no panic while it is held");
        if !state.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            state.dirty.push(file.clone());
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.state.lock().expect("no panic while it is held").ending = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the sync thread does not panic");
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut is_ending = false;
        while !is_ending {
            let state = self.state.lock().expect("no panic while it is held");
            let state = self.changed.wait_while(state, |state| state.dirty.is_empty() && !state.ending);
            let state = state.expect("no panic while it is held");
            let waited = self.changed.wait_timeout_while(state, INTERVAL, |state| !state.ending);
            let (mut state, _) = waited.expect("no panic while it is held");
            is_ending = state.ending;
            let dirty = std::mem::take(&mut state.dirty);
            drop(state);
            for file in dirty {
                sync(&file);
            }
        }
    }
}

fn sync(file: &File) {
    if let Err(error) = file.sync_all() {
        tracing::error!(%error, "the disk does not take the usage journal; a loss of power may cost records");
    }
}
