//! What somebody should know of, told in the log and to webhooks.
//!
//! Who looks: [`outages`] at what the metrics know · [`refused`] at the latest refusals · [`limits`] at the hour's counts that this
//! gateway has heard of · [`networks`] at where keys are used from · [`keys`] at the store. What they find goes to the [`teller`], which
//! tells each thing once; [`delivery`] brings it to webhooks.
//!
//! What must stay true here: all of it runs in the background, and nothing on a request's path knows of it.

mod alert;
mod delivery;
mod keys;
mod limits;
mod networks;
mod outages;
mod refused;
mod teller;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

use crate::config::{self, Config};
use crate::drain::Tasks;
use crate::limits::Limiter;
use crate::observe::metrics::Metrics;
use crate::observe::refusals::Refusals;
use crate::store::Store;
use crate::usage::FirstMet;
use outages::Outages;
use refused::Refused;
use teller::Teller;

/// Between two looks at the keys in the store.
const KEYS_EVERY: Duration = Duration::from_hours(1);
/// Until the store is asked again that gave no answer.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Where the facts come from.
pub struct Alerts {
    pub config: Arc<ArcSwap<Config>>,
    /// This gateway's name: its spool's.
    pub gateway: String,
    pub store: Store,
    pub limiter: Arc<Limiter>,
    pub metrics: Arc<Metrics>,
    pub refusals: Arc<Refusals>,
    /// `None` where usage is not recorded.
    pub first_met: Option<Arc<FirstMet>>,
}

impl Alerts {
    /// Looks until `tasks` stop.
    pub async fn run(self, tasks: Tasks) {
        let teller = Teller::new(&self.gateway, Arc::clone(&self.metrics), tasks.clone());
        tokio::select! {
            () = self.look_for_outages(&teller) => {}
            () = self.look_at_refusals(&teller) => {}
            () = self.look_at_limits(&teller) => {}
            () = self.look_at_networks(&teller) => {}
            () = self.look_at_keys(&teller) => {}
            () = tasks.stopping() => {}
        }
    }

    async fn look_for_outages(&self, teller: &Teller) {
        let mut outages = Outages::default();
        loop {
            outages.look(&self.metrics, &self.config.load(), teller);
            sleep(outages::LOOK_EVERY).await;
        }
    }

    async fn look_at_refusals(&self, teller: &Teller) {
        let mut refused = Refused::default();
        loop {
            refused.look(&self.refusals, &self.rules(), teller);
            sleep(refused::LOOK_EVERY).await;
        }
    }

    async fn look_at_limits(&self, teller: &Teller) {
        loop {
            let rules = self.rules();
            limits::look(&self.limiter, &rules, teller);
            sleep(rules.look_every).await;
        }
    }

    async fn look_at_networks(&self, teller: &Teller) {
        let Some(first_met) = &self.first_met else { return std::future::pending().await };
        loop {
            let rules = self.rules();
            match networks::look(first_met, &self.store, &rules, teller).await {
                Ok(()) => drop(timeout(rules.look_every, first_met.many()).await),
                Err(error) => {
                    tracing::debug!(%error, "where keys are used from cannot be noted now");
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    async fn look_at_keys(&self, teller: &Teller) {
        loop {
            let pause = match keys::look(&self.store, &self.rules(), teller).await {
                Ok(()) => KEYS_EVERY,
                Err(error) => {
                    tracing::debug!(%error, "which keys end soon cannot be asked now");
                    ASK_AGAIN
                }
            };
            sleep(pause).await;
        }
    }

    /// Those in force now.
    fn rules(&self) -> config::Alerts {
        self.config.load().alerts.clone()
    }
}
