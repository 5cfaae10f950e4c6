//! Alerts on their way to webhooks: for each webhook a queue and a task that sends one after the other, again until it is taken.
//!
//! What must stay true here: a webhook that is slow or away holds up no other, and only so much waits for it; what is not
//! delivered is counted and logged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

use super::alert::Alert;
use super::webhook::{Message, Poster};
use crate::clock;
use crate::config::Webhook;
use crate::drain::Tasks;
use crate::observe::metrics::{DeliveryResult, Metrics};

/// Alerts that may wait for one webhook.
const MOST_WAITING: usize = 256;
/// An alert is given up after so many: they take about an hour and a half.
const ATTEMPTS: u32 = 25;
/// After the first failure, and at most. Each further one doubles it.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(5));

pub struct Deliveries {
    metrics: Arc<Metrics>,
    tasks: Tasks,
    queues: Vec<(Arc<Webhook>, Sender<Message>)>,
}

impl Deliveries {
    pub fn new(metrics: Arc<Metrics>, tasks: Tasks) -> Self {
        Self { metrics, tasks, queues: Vec::new() }
    }

    /// To each of `webhooks`, which may be others than before.
    pub fn send(&mut self, alert: &Alert, webhooks: &[Arc<Webhook>]) {
        self.renew(webhooks);
        for (webhook, queue) in &self.queues {
            if queue.try_send(Message::of(alert)).is_err() {
                self.metrics.delivery(DeliveryResult::Dropped);
                tracing::error!(webhook = webhook.host(), id = alert.id, "an alert is dropped: too many wait for this webhook");
            }
        }
    }

    /// One that is configured no more still gets what waits for it.
    fn renew(&mut self, webhooks: &[Arc<Webhook>]) {
        self.queues.retain(|(known, _)| webhooks.contains(known));
        for webhook in webhooks {
            if !self.queues.iter().any(|(known, _)| known == webhook) {
                let (sender, messages) = mpsc::channel(MOST_WAITING);
                let courier = Courier { webhook: Arc::clone(webhook), poster: Poster::new(), metrics: Arc::clone(&self.metrics) };
                self.tasks.spawn(courier.run(messages, self.tasks.clone()));
                self.queues.push((Arc::clone(webhook), sender));
            }
        }
    }
}

/// Brings messages to one webhook.
struct Courier {
    webhook: Arc<Webhook>,
    poster: Poster,
    metrics: Arc<Metrics>,
}

impl Courier {
    async fn run(self, mut messages: Receiver<Message>, tasks: Tasks) {
        while let Some(message) = messages.recv().await {
            tokio::select! {
                () = self.deliver(&message) => {}
                () = tasks.stopping() => {
                    let alerts = messages.len() + 1;
                    tracing::warn!(webhook = self.webhook.host(), alerts, "alerts are not delivered: the gateway stops");
                    return;
                }
            }
        }
    }

    async fn deliver(&self, message: &Message) {
        let (webhook, id) = (self.webhook.host(), &message.id);
        for attempt in 1.. {
            let Err(error) = self.poster.post(message, &self.webhook, clock::now()).await else {
                return self.metrics.delivery(DeliveryResult::Ok);
            };
            if attempt == ATTEMPTS || !error.may_pass() {
                self.metrics.delivery(DeliveryResult::GivenUp);
                return tracing::error!(webhook, id, %error, attempt, "an alert is given up: the webhook does not take it");
            }
            self.metrics.delivery(DeliveryResult::Retried);
            if attempt == 1 {
                tracing::warn!(webhook, id, %error, "a webhook does not take an alert; it is sent again");
            }
            sleep(pause(attempt).mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

/// After that attempt, counted from 1; but for chance, which keeps gateways apart.
fn pause(attempt: u32) -> Duration {
    PAUSE.0.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(PAUSE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_to_a_bound_and_together_outlast_a_restart_of_the_receiver() {
        assert_eq!(
            [1, 2, 3, 10, 11, u32::MAX].map(|attempt| pause(attempt).as_millis()),
            [500, 1000, 2000, 256_000, 300_000, 300_000]
        );
        let all: Duration = (1..ATTEMPTS).map(pause).sum();
        assert!(all > Duration::from_hours(1) && all < Duration::from_hours(2), "{all:?}");
    }
}
