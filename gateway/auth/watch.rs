//! Follows what changes in the store, so that what is held here is never older than the last word from there.
//!
//! What must stay true here: a change is applied as soon as it is heard of, without asking anybody anything; who waits for that
//! hears of it only afterwards.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::lookup::Lookup;
use super::shared_cache::SharedCache;
use crate::audit;
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::model::key_hash::KeyHash;
use crate::observe::metrics::Metrics;
use crate::store::{Change, ChangeFeed, News, Store, StoreError};

/// Until a question that had no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// One gateway's follower of the changes.
pub struct Watch {
    pub gateway_id: String,
    pub store: Store,
    pub lookup: Arc<Lookup>,
    pub shared: Option<Arc<SharedCache>>,
    pub limiter: Arc<Limiter>,
    pub metrics: Arc<Metrics>,
}

impl Watch {
    /// Runs until `tasks` stop. `first_word` is sent once the store was heard, or found to be away: what is looked up after
    /// that is not called into doubt by the start.
    pub async fn run(self, tasks: Tasks, first_word: oneshot::Sender<()>) {
        let (sender, changes) = watch::channel(());
        tokio::select! {
            () = self.follow(&sender, first_word) => {}
            () = self.look_for_foreign_keys(changes.clone()) => {}
            () = audit::keep_sealed(&self.store, changes) => {}
            () = self.hear_from_others() => {}
            () = tasks.stopping() => {}
        }
        let _ = self.store.forget_gateway(&self.gateway_id).await;
    }

    async fn follow(&self, changed: &watch::Sender<()>, first_word: oneshot::Sender<()>) {
        let mut first_word = Some(first_word);
        let mut feed = ChangeFeed::new(&self.store, &self.gateway_id);
        loop {
            match feed.next().await {
                Ok(news) => {
                    self.apply(news, changed);
                    self.set_up(true, None);
                    if let Some(shared) = &self.shared {
                        shared.forget_changed().await;
                    }
                    if let Err(error) = feed.applied().await {
                        tracing::debug!(%error, "this gateway could not report itself");
                    }
                }
                Err(error) => self.set_up(false, Some(&error)),
            }
            if let Some(first_word) = first_word.take() {
                // Whoever started it may have lost patience.
                let _ = first_word.send(());
            }
        }
    }

    fn apply(&self, mut news: News, changed: &watch::Sender<()>) {
        if news.changes.iter().any(|change| !matches!(change, Change::Limit(_))) {
            self.lookup.set_foreign(None);
        }
        let is_any = !news.changes.is_empty();
        // Many keys are imported at once.
        news.changes.dedup();
        for change in news.changes {
            match change {
                Change::Secret(hash) => {
                    if let Some(shared) = &self.shared {
                        shared.doubt(hash);
                    }
                    self.lookup.forget(&hash);
                }
                Change::AnyUnknown => self.lookup.forget_unknown(),
                Change::Key(key_id) => self.lookup.forget_key(&key_id),
                Change::Limit(key_id) => self.limiter.reset(&key_id),
                Change::Anything => {
                    if let Some(shared) = &self.shared {
                        shared.listens_anew();
                    }
                    self.lookup.doubt_all();
                    self.limiter.doubt_all();
                }
            }
        }
        self.lookup.in_contact(news.contact);
        if is_any {
            changed.send_replace(());
        }
    }

    /// What gateways that reach the store tell through Redis.
    async fn hear_from_others(&self) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        let heard = |hash: Option<KeyHash>| match hash {
            Some(hash) => self.lookup.forget(&hash),
            None => self.lookup.doubt_all(),
        };
        shared.hear(heard).await;
    }

    /// Until it is answered, any key may be one from elsewhere. Asked apart, so that no change waits for it.
    async fn look_for_foreign_keys(&self, mut changes: watch::Receiver<()>) {
        while changes.changed().await.is_ok() {
            let foreign = loop {
                changes.mark_unchanged();
                match self.store.foreign_keys().await {
                    Ok(foreign) => break foreign,
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            };
            // An answer from before the last change says nothing.
            if !changes.has_changed().unwrap_or(true) {
                self.lookup.set_foreign(Some(foreign));
                self.metrics.keys_awaiting_first_use.set(foreign.awaiting_first_use);
            }
        }
    }

    fn set_up(&self, up: bool, error: Option<&StoreError>) {
        let was_up = self.metrics.store_up.get() == 1;
        match error {
            Some(error) if was_up => tracing::error!(%error, "the store cannot be asked; known keys go on"),
            None if !was_up => tracing::info!("the store answers"),
            _ => {}
        }
        self.metrics.store_up.set(u64::from(up));
    }
}
