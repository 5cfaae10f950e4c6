//! Histories of several gateways that share a key's hour, generated: takes, frozen gateways, lost questions and answers, kills,
//! clocks that differ, resets, changed limits. The authority is the store's own SQL, in memory.

use std::collections::HashMap;

use proptest::prelude::*;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::*;
use crate::model::ids::KeyId;
use crate::model::lease::Grant;
use crate::store::sqlite::leases as authority;

const GATEWAYS: usize = 3;

#[derive(Clone, Debug)]
enum Event {
    Takes {
        gateway: usize,
        requests: u32,
    },
    /// A question is carried out, and the gateway frozen before it has the answer.
    Freeze(usize),
    Thaw(usize),
    LoseQuestion(usize),
    LoseAnswer(usize),
    /// It comes back on its spool.
    Kill(usize),
    /// Another comes in its place, on a spool of its own.
    KillForGood(usize),
    Round {
        gateway: usize,
        is_idle: bool,
        arrives: bool,
    },
    Pass {
        millis: u64,
    },
    /// The gateways hear of it one by one.
    Reset,
    HearOfReset(usize),
    Limit(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let gateway = 0..GATEWAYS;
    prop_oneof![
        8 => (gateway.clone(), 1..400u32).prop_map(|(gateway, requests)| Event::Takes { gateway, requests }),
        8 => (gateway.clone(), 1..4u32).prop_map(|(gateway, requests)| Event::Takes { gateway, requests }),
        3 => gateway.clone().prop_map(Event::Freeze),
        3 => gateway.clone().prop_map(Event::Thaw),
        1 => gateway.clone().prop_map(Event::LoseQuestion),
        2 => gateway.clone().prop_map(Event::LoseAnswer),
        2 => gateway.clone().prop_map(Event::Kill),
        1 => gateway.clone().prop_map(Event::KillForGood),
        4 => (gateway.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(gateway, is_idle, arrives)| Event::Round { gateway, is_idle, arrives }),
        3 => (0..4000u64).prop_map(|millis| Event::Pass { millis }),
        1 => (0..4_000_000u64).prop_map(|millis| Event::Pass { millis }),
        1 => Just(Event::Reset),
        2 => gateway.prop_map(Event::HearOfReset),
        1 => limit().prop_map(Event::Limit),
    ]
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![1..5u64, 5..300u64, 300..3000u64, 10_000..40_000u64]
}

struct World {
    connection: Connection,
    key_id: KeyId,
    /// The authority's.
    now: Timestamp,
    limit: u64,
    gateways: Vec<Gateway>,
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
            admitted: 0,
            stranded: 0,
        }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Takes { gateway, requests } => (0..requests).for_each(|_| self.take(gateway)),
            Event::Freeze(gateway) => self.freeze(gateway),
            Event::Thaw(gateway) => self.thaw(gateway),
            Event::LoseQuestion(gateway) => self.lose(gateway, false),
            Event::LoseAnswer(gateway) => self.lose(gateway, true),
            Event::Kill(gateway) => self.kill(gateway),
            Event::KillForGood(gateway) => self.kill_for_good(gateway),
            Event::Round { gateway, is_idle, arrives } => self.round(gateway, is_idle, arrives),
            Event::Pass { millis } => self.pass(millis),
            Event::Reset => self.reset(),
            Event::HearOfReset(gateway) => self.hear_of_reset(gateway),
            Event::Limit(limit) => self.limit = limit,
        }
        assert!(self.used() >= self.admitted, "the authority has not counted what was admitted");
    }

    fn take(&mut self, gateway: usize) {
        if self.gateways[gateway].frozen.is_some() {
            return;
        }
        for _ in 0..2 {
            let (limit, now) = (self.limit, self.local_time(gateway));
            match self.gateways[gateway].take(limit, now) {
                Some(Verdict::Admitted(quota)) => return self.check_admitted(gateway, quota),
                Some(_) => return,
                None => {
                    self.freeze(gateway);
                    self.thaw(gateway);
                }
            }
        }
        panic!("an answer in time decides");
    }

    fn check_admitted(&mut self, gateway: usize, quota: Quota) {
        assert_eq!(quota.limit, self.limit);
        let id = self.gateways[gateway].allowance.lease.as_ref().unwrap().id;
        let sql = "SELECT hour FROM api_key_leases WHERE lease_id = ?1";
        match self.connection.query_row(sql, [id.number()], |row| row.get::<_, u64>(0)).optional().unwrap() {
            None => assert!(!self.gateways[gateway].has_heard_of_reset, "only a reset makes a lease void"),
            Some(hour) => {
                assert_eq!(hour, self.hour().number(), "a lease is not spent in another hour");
                self.admitted += 1;
                assert!(self.admitted <= self.limit, "{} admitted of {}", self.admitted, self.limit);
            }
        }
    }

    fn freeze(&mut self, gateway: usize) {
        if self.gateways[gateway].frozen.is_none() {
            let question = self.ask(gateway);
            let answer = self.carry_out(gateway, &question);
            self.gateways[gateway].frozen = Some((question, answer));
        }
    }

    fn thaw(&mut self, gateway: usize) {
        let now = self.local_time(gateway);
        let gateway = &mut self.gateways[gateway];
        if let Some((question, answer)) = gateway.frozen.take() {
            gateway.allowance.answered(&question, &answer, now);
        }
    }

    fn lose(&mut self, gateway: usize, is_carried_out: bool) {
        if self.gateways[gateway].frozen.is_some() {
            return;
        }
        let question = self.ask(gateway);
        if is_carried_out {
            self.carry_out(gateway, &question);
        }
        self.gateways[gateway].allowance.unanswered(&question);
    }

    fn kill(&mut self, gateway: usize) {
        let killed = &mut self.gateways[gateway];
        if let Some(lease) = killed.allowance.lease.take() {
            self.stranded += lease.opened - lease.spent;
        }
        if let Some(ended) = killed.allowance.ended {
            self.stranded += killed.opened.get(&ended.id).copied().unwrap_or(0) - ended.spent;
        }
        let (spool_id, opened) = (killed.spool_id.clone(), std::mem::take(&mut killed.opened));
        *killed = Gateway::new(spool_id, killed.skew);
        for lease in authority::leases_of(&self.connection, &self.gateways[gateway].spool_id).unwrap() {
            let spent = opened.get(&lease.id).copied().unwrap_or(0);
            self.transact(|authority| authority::settle(authority, &LeaseReport { id: lease.id, spent, finished: true }));
        }
    }

    fn kill_for_good(&mut self, gateway: usize) {
        let spool_id = &self.gateways[gateway].spool_id;
        let lost = authority::leases_of(&self.connection, spool_id).unwrap();
        self.stranded += lost.iter().map(|lease: &Grant| lease.permits).sum::<u64>();
        self.gateways[gateway] = Gateway::new(format!("{spool_id}'"), self.gateways[gateway].skew);
    }

    fn round(&mut self, gateway: usize, is_idle: bool, arrives: bool) {
        let now = self.local_time(gateway);
        let idle = if is_idle { Duration::ZERO } else { Duration::from_secs(1) };
        let Some(report) = self.gateways[gateway].allowance.report(now, idle) else { return };
        if arrives {
            self.transact(|authority| report.lease.map_or(Ok(()), |lease| authority::settle(authority, &lease)));
            self.gateways[gateway].allowance.confirmed(&report, false);
        } else {
            self.gateways[gateway].allowance.unconfirmed(&report);
        }
    }

    fn pass(&mut self, millis: u64) {
        let hour = self.hour();
        self.now = self.now.plus(Duration::from_millis(millis));
        if self.hour() != hour {
            (self.admitted, self.stranded) = (0, 0);
        }
    }

    fn reset(&mut self) {
        let (key_id, now) = (self.key_id.clone(), self.now);
        self.transact(|authority| authority::reset_hour(authority, &key_id, now));
        (self.admitted, self.stranded) = (0, 0);
        self.gateways.iter_mut().for_each(|gateway| gateway.has_heard_of_reset = false);
    }

    fn hear_of_reset(&mut self, gateway: usize) {
        self.gateways[gateway].allowance.reset();
        self.gateways[gateway].has_heard_of_reset = true;
    }

    /// All give back what they hold. What was granted in a lost answer goes back with the next question.
    fn ends(&mut self) {
        for gateway in 0..GATEWAYS {
            self.thaw(gateway);
            self.hear_of_reset(gateway);
            self.freeze(gateway);
            self.thaw(gateway);
            self.round(gateway, true, true);
            assert!(self.gateways[gateway].allowance.is_settled());
        }
        let used = self.used();
        assert!(used <= self.admitted + self.stranded, "{used} used, {} admitted, {} stranded", self.admitted, self.stranded);
    }

    fn ask(&mut self, gateway: usize) -> Question {
        let (limit, now) = (self.limit, self.local_time(gateway));
        self.gateways[gateway].allowance.ask(limit, now, true)
    }

    fn carry_out(&mut self, gateway: usize, question: &Question) -> LeaseAnswer {
        let (key_id, now, spool_id) = (self.key_id.clone(), self.now, self.gateways[gateway].spool_id.clone());
        let answer = self.transact(|authority| authority::lease(authority, &key_id, &spool_id, &question.request, now));
        let permits = answer.lease.map_or(0, |lease| lease.permits);
        assert!(permits <= (question.request.limit / 100).max(1), "{permits} permits at once");
        answer
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
        skews in prop::array::uniform3(0..10_000u64),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(limit, start, &skews);
        for event in &events {
            world.happens(event);
        }
        world.ends();
    }
}
