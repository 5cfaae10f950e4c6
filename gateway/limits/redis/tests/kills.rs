//! Gateways that are killed and frozen, on a real Redis.

use tokio::runtime::{Builder, Runtime};

use super::*;

#[tokio::test]
async fn a_killed_gateway_settles_its_leases_when_it_comes_back() {
    let (spent, after) = within_one_hour(async || {
        let place = Place::on(&SHARED).await;
        let gateway = place.gateway().await;
        gateway.requests(2000, 5).await;
        let gateway = gateway.killed_and_back(place.authority().await).await;
        let (now, spent) = (place.usage().await, admitted(&gateway.parallel_requests(2000, 2, 1200).await).len());
        (now, spent)
    })
    .await;
    assert_eq!((spent, after), (5, 1995));
}

/// A gateway that runs only while it is driven: in between it is frozen.
struct Node {
    runtime: Runtime,
    gateway: Gateway,
}

impl Node {
    fn start(place: &Place, spool: &Arc<tempfile::TempDir>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let gateway =
            runtime.block_on(async { Gateway::start(place.authority().await, OnAuthorityFailure::Reject, spool).await });
        Self { runtime, gateway }
    }

    fn requests(&self, limit: u64, requests: usize) -> usize {
        admitted(&self.runtime.block_on(self.gateway.requests(limit, requests))).len()
    }

    /// Without a word, its connection and its questions with it.
    fn killed_and_back(self, place: &Place) -> Self {
        self.runtime.shutdown_background();
        Self::start(place, &self.gateway.spool)
    }
}

#[test]
fn gateways_that_are_killed_and_frozen_admit_the_limit_together_and_not_one_more() {
    const LIMIT: usize = 3000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::on(&SHARED));
    let hour = this_hour();
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::start(&place, &Arc::new(tempfile::tempdir().unwrap()))).collect();
    let mut total = 0;
    let bound = clock::monotonic() + Duration::from_secs(30);
    while total < LIMIT && clock::monotonic() < bound {
        let together = std::thread::scope(|scope| {
            let burst = |node| scope.spawn(move || Node::requests(node, LIMIT as u64, fastrand::usize(1..120)));
            let bursts: Vec<_> = nodes.iter_mut().map(|node| burst(&*node)).collect();
            bursts.into_iter().map(|burst| burst.join().unwrap()).sum::<usize>()
        });
        total += together;
        if this_hour() != hour {
            return gateways_that_are_killed_and_frozen_admit_the_limit_together_and_not_one_more();
        }
        assert!(total <= LIMIT, "{total} admitted");
        let killed = nodes.swap_remove(fastrand::usize(..nodes.len()));
        nodes.push(killed.killed_and_back(&place));
    }
    assert_eq!(total, LIMIT, "each settles what it held when it comes back");
    assert_eq!(nodes.iter().map(|node| node.requests(LIMIT as u64, 50)).sum::<usize>(), 0);
}
