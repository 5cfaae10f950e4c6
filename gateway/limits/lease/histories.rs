//! Histories of several gateways that share a key's hour, generated: takes, frozen gateways, lost answers, questions that are lost
//! or come late, kills, clocks that differ, resets, changed limits. The authority is the store's own SQL, in memory.

mod events;

use std::collections::HashMap;

use proptest::prelude::*;
use rusqlite::{Connection, Transaction};

use self::events::{event, limit};
use super::*;
use crate::model::ids::KeyId;
use crate::model::lease::LeaseReply;
use crate::store::sqlite::leases as authority;

const GATEWAYS: usize = 4;

struct World {
    connection: Connection,
    key_id: KeyId,
    /// The authority's.
    now: Timestamp,
    limit: u64,
    gateways: Vec<Gateway>,
    held_back: Vec<HeldBack>,
    last_id: u64,
    /// In the hour at hand and since its last reset: admitted under leases that are not void.
    admitted: u64,
    /// What nobody can account for any more, because of kills.
    stranded: u64,
}

struct Gateway {
    spool_id: String,
    /// How far this gateway's clock is ahead of the earliest.
    skew: Duration,
    allowance: Allowance,
    /// What stands in the spool.
    opened: HashMap<LeaseId, u64>,
    frozen: Option<(Question, LeaseAnswer)>,
    has_heard_of_reset: bool,
}

struct HeldBack {
    gateway: usize,
    spool_id: String,
    id: LeaseId,
    request: LeaseRequest,
    hour: HourWindow,
    /// Since it asked.
    was_killed: bool,
}

impl Gateway {
    fn new(spool_id: String, skew: Duration) -> Self {
        let (allowance, opened) = Default::default();
        Self { spool_id, skew, allowance, opened, frozen: None, has_heard_of_reset: true }
    }
}

impl World {
    fn new(limit: u64, start: u64, skews: &[u64]) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../../sql/sqlite/0001_api_keys.up.sql")).unwrap();
        let gateways = skews.iter().enumerate();
        Self {
            connection,
            key_id: "key_1".into(),
            now: Timestamp::from_millis(1_795_341_600_000 + start),
            limit,
            gateways: gateways.map(|(n, skew)| Gateway::new(format!("spool {n}"), Duration::from_millis(*skew))).collect(),
            held_back: Vec::new(),
            last_id: 0,
            admitted: 0,
            stranded: 0,
        }
    }

    fn ask(&mut self, gateway: usize) -> Question {
        let (limit, now) = (self.limit, self.local_time(gateway));
        self.gateways[gateway].allowance.ask(limit, now, true)
    }

    fn carry_out(&mut self, gateway: usize, question: &Question) -> LeaseAnswer {
        let (spool_id, id) = (self.gateways[gateway].spool_id.clone(), self.next_id());
        let LeaseReply::Decided(answer) = self.decide(&spool_id, id, &question.request) else {
            panic!("no question was asked after this one");
        };
        let permits = answer.lease.map_or(0, |lease| lease.permits);
        assert!(permits <= (question.request.limit / 100).max(1), "{permits} permits at once");
        answer
    }

    fn decide(&mut self, spool_id: &str, id: LeaseId, request: &LeaseRequest) -> LeaseReply {
        let (key_id, now) = (self.key_id.clone(), self.now);
        self.transact(|authority| authority::lease(authority, &key_id, spool_id, id, request, now))
    }

    fn settle(&mut self, gateway: usize, report: &Report) -> bool {
        let (news, now, spool_id) = ((self.key_id.clone(), *report), self.now, self.gateways[gateway].spool_id.clone());
        self.transact(|authority| authority::settle(authority, &spool_id, &news, now))
    }

    fn next_id(&mut self) -> LeaseId {
        self.last_id += 1;
        LeaseId::from_number(self.last_id)
    }

    fn transact<T>(&mut self, question: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> T {
        let transaction = self.connection.transaction().unwrap();
        let answer = question(&transaction).unwrap();
        transaction.commit().unwrap();
        answer
    }

    fn used(&self) -> u64 {
        let sql = "SELECT coalesce(sum(used), 0) FROM api_key_hours WHERE hour = ?1";
        self.connection.query_row(sql, [self.hour().number()], |row| row.get(0)).unwrap()
    }

    fn hour(&self) -> HourWindow {
        HourWindow::containing(self.now)
    }

    fn local_time(&self, gateway: usize) -> Timestamp {
        self.now.plus(self.gateways[gateway].skew).minus(Duration::from_secs(5))
    }
}

impl Gateway {
    fn take(&mut self, limit: u64, now: Timestamp) -> Option<Verdict> {
        loop {
            match self.allowance.take(limit, now) {
                Step::Decided(verdict) => return Some(verdict),
                Step::Ask => return None,
                Step::Open(portion) => {
                    self.opened.insert(portion.lease, portion.upto);
                    self.allowance.opened(portion);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_history_exceeds_the_limit_or_strands_what_can_be_accounted_for(
        limit in limit(),
        start in 0..3_600_000u64,
        skews in prop::array::uniform4(0..10_000u64),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(limit, start, &skews);
        for event in &events {
            world.happens(event);
        }
        world.ends();
    }
}
