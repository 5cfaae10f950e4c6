//! What may happen to the gateways of a history, and what each event does to them.

use proptest::prelude::*;
use rusqlite::OptionalExtension;

use super::*;
use crate::model::lease::Grant;

#[derive(Clone, Debug)]
pub enum Event {
    Takes {
        gateway: usize,
        requests: u32,
    },
    /// A question is carried out, and the gateway frozen before it has the answer.
    Freeze(usize),
    Thaw(usize),
    /// The gateway gives a question up, which is under way.
    HoldBack(usize),
    /// Such a question arrives, later ones or not.
    Arrives(prop::sample::Index),
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

pub fn event() -> impl Strategy<Value = Event> {
    let gateway = 0..GATEWAYS;
    prop_oneof![
        8 => (gateway.clone(), 1..400u32).prop_map(|(gateway, requests)| Event::Takes { gateway, requests }),
        8 => (gateway.clone(), 1..4u32).prop_map(|(gateway, requests)| Event::Takes { gateway, requests }),
        3 => gateway.clone().prop_map(Event::Freeze),
        3 => gateway.clone().prop_map(Event::Thaw),
        2 => gateway.clone().prop_map(Event::HoldBack),
        2 => any::<prop::sample::Index>().prop_map(Event::Arrives),
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

pub fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![1..5u64, 5..300u64, 300..3000u64, 10_000..40_000u64]
}

impl World {
    pub fn happens(&mut self, event: &Event) {
        match *event {
            Event::Takes { gateway, requests } => (0..requests).for_each(|_| self.take(gateway)),
            Event::Freeze(gateway) => self.freeze(gateway),
            Event::Thaw(gateway) => self.thaw(gateway),
            Event::HoldBack(gateway) => self.hold_back(gateway),
            Event::Arrives(which) => self.one_arrives(which),
            Event::LoseAnswer(gateway) => self.lose_answer(gateway),
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
        let sql = "SELECT hour FROM api_key_leases WHERE lease_id = ?1 AND granted > 0";
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

    fn lose_answer(&mut self, gateway: usize) {
        if self.gateways[gateway].frozen.is_none() {
            let question = self.ask(gateway);
            self.carry_out(gateway, &question);
            self.gateways[gateway].allowance.unanswered(&question);
        }
    }

    fn hold_back(&mut self, gateway: usize) {
        if self.gateways[gateway].frozen.is_none() {
            let (question, id) = (self.ask(gateway), self.next_id());
            let spool_id = self.gateways[gateway].spool_id.clone();
            let (request, hour) = (question.request, self.hour());
            self.held_back.push(HeldBack { gateway, spool_id, id, request, hour, was_killed: false });
            self.gateways[gateway].allowance.unanswered(&question);
        }
    }

    fn one_arrives(&mut self, which: prop::sample::Index) {
        if !self.held_back.is_empty() {
            let late = self.held_back.swap_remove(which.index(self.held_back.len()));
            self.arrives(&late);
        }
    }

    fn arrives(&mut self, late: &HeldBack) {
        let reply = self.decide(&late.spool_id, late.id, &late.request);
        // What was asked is remembered for the hour and the next one.
        let is_forgotten = late.was_killed || self.hour().number() > late.hour.number() + 1;
        if let LeaseReply::Decided(LeaseAnswer { lease: Some(lease), .. }) = reply
            && is_forgotten
        {
            self.stranded += lease.permits;
        }
    }

    fn kill(&mut self, gateway: usize) {
        self.forget_questions(gateway);
        let killed = &mut self.gateways[gateway];
        if let Some(lease) = killed.allowance.lease.take() {
            self.stranded += lease.opened - lease.spent;
        }
        if let Some(ended) = killed.allowance.ended {
            self.stranded += killed.opened.get(&ended.id).copied().unwrap_or(0) - ended.spent;
        }
        let (spool_id, opened) = (killed.spool_id.clone(), std::mem::take(&mut killed.opened));
        *killed = Gateway::new(spool_id, killed.skew);
        for (_, lease) in authority::leases_of(&self.connection, &self.gateways[gateway].spool_id).unwrap() {
            let spent = opened.get(&lease.id).copied().unwrap_or(0);
            let end = LeaseReport { id: lease.id, spent, finished: true };
            self.settle(gateway, &Report { lease: Some(end), debt: None });
        }
    }

    fn kill_for_good(&mut self, gateway: usize) {
        self.forget_questions(gateway);
        let spool_id = &self.gateways[gateway].spool_id;
        let lost = authority::leases_of(&self.connection, spool_id).unwrap();
        self.stranded += lost.iter().map(|(_, lease): &(_, Grant)| lease.permits).sum::<u64>();
        self.gateways[gateway] = Gateway::new(format!("{spool_id}'"), self.gateways[gateway].skew);
    }

    fn forget_questions(&mut self, killed: usize) {
        self.held_back.iter_mut().filter(|late| late.gateway == killed).for_each(|late| late.was_killed = true);
    }

    fn round(&mut self, gateway: usize, is_idle: bool, arrives: bool) {
        self.tell(gateway, is_idle, arrives);
        let Gateway { allowance, frozen, .. } = &mut self.gateways[gateway];
        if frozen.is_none()
            && let Some(settled) = allowance.settle()
        {
            *allowance = settled.into();
        }
    }

    fn tell(&mut self, gateway: usize, is_idle: bool, arrives: bool) {
        let now = self.local_time(gateway);
        let idle = if is_idle { Duration::ZERO } else { Duration::from_secs(1) };
        if arrives {
            self.take_back(gateway);
        }
        let Some(report) = self.gateways[gateway].allowance.report(now, idle) else { return };
        if arrives {
            let is_wanted_back = self.settle(gateway, &report);
            self.gateways[gateway].allowance.confirmed(&report, is_wanted_back);
        } else {
            self.gateways[gateway].allowance.unconfirmed(&report);
        }
    }

    fn take_back(&mut self, gateway: usize) {
        let now = self.local_time(gateway);
        if self.gateways[gateway].frozen.is_none()
            && let Some(question) = self.gateways[gateway].allowance.ask_to_take_back(now)
        {
            let answer = self.carry_out(gateway, &question);
            assert_eq!(answer.lease, None);
            self.gateways[gateway].allowance.answered(&question, &answer, now);
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

    /// All give back what they hold and may hold; nobody needs a permit any more. What arrives afterwards is void.
    pub fn ends(&mut self) {
        for gateway in 0..GATEWAYS {
            self.thaw(gateway);
            self.hear_of_reset(gateway);
            self.round(gateway, true, true);
            assert!(self.gateways[gateway].allowance.is_settled());
        }
        for late in std::mem::take(&mut self.held_back) {
            self.arrives(&late);
        }
        let used = self.used();
        assert!(used <= self.admitted + self.stranded, "{used} used, {} admitted, {} stranded", self.admitted, self.stranded);
    }
}
