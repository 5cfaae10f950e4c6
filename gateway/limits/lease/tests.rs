//! What one gateway does with the answers it gets, and without any.

use super::*;
use crate::model::lease::Grant;

/// Twenty minutes past an hour.
const NOW: Timestamp = Timestamp::from_secs(1_795_341_600 + 1200);
const TO_THE_HOUR: u64 = 2400;

fn after(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

/// An answer that took no time. `used` counts the lease.
fn answer(used: u64, permits: u64, others_hold: bool) -> LeaseAnswer {
    let lease = (permits > 0).then_some(Grant { id: LeaseId::from_number(1), permits });
    LeaseAnswer { now: NOW, used, lease, others_hold }
}

fn allowance(limit: u64, answer: &LeaseAnswer) -> Allowance {
    let mut allowance = Allowance::default();
    let question = allowance.ask(limit, NOW, false);
    allowance.answered(&question, answer, NOW);
    allowance
}

fn quota(limit: u64, remaining: u64) -> Quota {
    Quota { limit, remaining, reset: after(TO_THE_HOUR) }
}

fn admitted(limit: u64, remaining: u64) -> Verdict {
    Verdict::Admitted(quota(limit, remaining))
}

fn spent(limit: u64, retry_after_secs: u64) -> Verdict {
    Verdict::Spent { quota: quota(limit, 0), retry_after_secs }
}

#[test]
fn a_lease_admits_what_it_holds_and_remaining_counts_down() {
    let mut allowance = allowance(100, &answer(42, 2, false));
    assert_eq!(allowance.take(100, NOW), Step::Decided(admitted(100, 59)));
    assert_eq!(allowance.take(100, NOW), Step::Decided(admitted(100, 58)));
    assert_eq!(allowance.take(100, NOW), Step::Ask);
}

#[test]
fn no_lease_is_asked_for_that_is_above_a_hundredth_of_the_limit() {
    for (limit, wanted) in [(1, 1), (199, 1), (200, 2), (1_000_000, 10_000)] {
        assert_eq!(Allowance::default().ask(limit, NOW, true).request.wanted, wanted);
    }
}

#[test]
fn when_nothing_is_left_nobody_is_asked_before_the_hour_ends() {
    let mut allowance = allowance(100, &answer(100, 0, false));
    assert_eq!(allowance.take(100, NOW), Step::Decided(spent(100, TO_THE_HOUR)));
    let last = after(TO_THE_HOUR).minus(Duration::from_millis(1));
    assert_eq!(allowance.take(100, last), Step::Decided(spent(100, 1)));
    assert_eq!(allowance.take(100, after(TO_THE_HOUR)), Step::Ask);
}

#[test]
fn while_others_hold_some_the_authority_is_asked_once_a_second() {
    let mut allowance = allowance(100, &answer(100, 0, true));
    assert_eq!(allowance.take(100, NOW.plus(Duration::from_millis(999))), Step::Decided(spent(100, 1)));
    assert_eq!(allowance.take(100, after(1)), Step::Ask);
}

#[test]
fn another_limit_asks_again_at_once_and_ends_the_lease() {
    let mut exhausted = allowance(100, &answer(100, 0, false));
    assert_eq!(exhausted.take(101, NOW), Step::Ask);
    let mut holding = allowance(1000, &answer(10, 10, false));
    assert_eq!(holding.take(500, NOW), Step::Ask);
    let given_back = LeaseReport { id: LeaseId::from_number(1), spent: 0, finished: true };
    assert_eq!(holding.ask(500, NOW, true).request.ended, Some(given_back));
}

#[test]
fn a_clock_set_back_by_hours_does_not_prolong_what_is_believed() {
    let mut allowance = allowance(100, &answer(100, 0, false));
    assert_eq!(allowance.take(100, NOW.minus(Duration::from_hours(3))), Step::Ask);
}

#[test]
fn permits_are_opened_a_hundredth_of_the_lease_at_a_time() {
    let mut allowance = Allowance::default();
    let question = allowance.ask(100_000, NOW, true);
    allowance.answered(&question, &answer(1000, 1000, false), NOW);
    let mut opened = 0;
    for _ in 0..1000 {
        let mut step = allowance.take(100_000, NOW);
        if let Step::Open(portion) = step {
            opened += 1;
            allowance.opened(portion);
            step = allowance.take(100_000, NOW);
        }
        assert!(matches!(step, Step::Decided(Verdict::Admitted(_))));
    }
    assert_eq!(opened, 100);
    assert_eq!(allowance.take(100_000, NOW), Step::Ask);
}

#[test]
fn alone_a_gateway_counts_on_from_the_last_exchange_of_the_hour() {
    let mut allowance = allowance(100, &answer(98, 0, false));
    assert_eq!(allowance.take_alone(100, NOW, OnAuthorityFailure::Local, Fleet::ALONE), admitted(100, 1));
    assert_eq!(allowance.take_alone(100, NOW, OnAuthorityFailure::Local, Fleet::ALONE), admitted(100, 0));
    assert_eq!(allowance.take_alone(100, NOW, OnAuthorityFailure::Local, Fleet::ALONE), spent(100, TO_THE_HOUR));
    assert_eq!(allowance.take_alone(101, NOW, OnAuthorityFailure::Local, Fleet::ALONE), admitted(101, 0));
}

#[test]
fn alone_and_without_knowledge_a_gateway_counts_from_the_full_limit_and_again_each_hour() {
    let mut allowance = Allowance::default();
    for now in [NOW, after(TO_THE_HOUR)] {
        let verdicts = [(); 3].map(|()| allowance.take_alone(2, now, OnAuthorityFailure::Local, Fleet::ALONE));
        assert!(matches!(verdicts, [Verdict::Admitted(_), Verdict::Admitted(_), Verdict::Spent { .. }]), "{verdicts:?}");
    }
}

#[test]
fn what_was_admitted_alone_is_told_with_the_next_message_and_again_if_that_fails() {
    let mut allowance = Allowance::default();
    for _ in 0..3 {
        allowance.take_alone(10, NOW, OnAuthorityFailure::Local, Fleet::ALONE);
    }
    let debt = Some(Debt { hour: HourWindow::containing(NOW), requests: 3 });
    let question = allowance.ask(10, NOW, true);
    assert_eq!(question.request.debt, debt);
    assert_eq!(allowance.report(NOW, Duration::MAX), None, "one message at a time carries it");
    allowance.unanswered(&question);
    let report = allowance.report(NOW, Duration::MAX).unwrap();
    assert_eq!(report.debt, debt);
    allowance.unconfirmed(&report);
    assert!(!allowance.is_settled());
    let question = allowance.ask(10, NOW, true);
    assert_eq!(question.request.debt, debt);
    allowance.answered(&question, &answer(10, 0, false), NOW);
    assert!(allowance.is_settled());
}

#[test]
fn what_a_question_without_an_answer_may_have_brought_is_given_back_though_nobody_needs_a_permit() {
    let mut allowance = allowance(1000, &answer(10, 10, false));
    assert_eq!(allowance.ask_to_take_back(NOW).map(|question| question.request), None);
    let question = allowance.ask(1000, NOW, true);
    allowance.unanswered(&question);
    assert_eq!(allowance.report(NOW, Duration::MAX).map(|report| report.lease), Some(question.request.ended));
    assert!(!allowance.is_settled());
    let back = allowance.ask_to_take_back(NOW).unwrap();
    assert_eq!((back.request.wanted, back.request.ended), (0, question.request.ended));
    allowance.answered(&back, &answer(0, 0, false), NOW);
    assert!(allowance.is_settled());
    assert_eq!(allowance.take(1000, NOW), Step::Ask, "that nothing was granted does not mean that nothing is left");
}

#[test]
fn a_lease_that_is_granted_while_the_hour_is_reset_is_given_back() {
    let mut allowance = Allowance::default();
    let question = allowance.ask(1000, NOW, true);
    allowance.reset();
    allowance.answered(&question, &answer(10, 10, false), NOW);
    let given_back = LeaseReport { id: LeaseId::from_number(1), spent: 0, finished: true };
    assert_eq!(allowance.report(NOW, Duration::MAX).and_then(|report| report.lease), Some(given_back));
}

#[test]
fn alone_each_of_several_gateways_counts_to_its_share() {
    let names = ["a", "b", "c", "d"];
    let admitted = names.map(|own| {
        let mut allowance = allowance(5, &answer(2, 0, true));
        let fleet = Fleet::of(own, names);
        let verdicts = [(); 5].map(|()| allowance.take_alone(5, NOW, OnAuthorityFailure::Local, fleet));
        verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Admitted(_))).count()
    });
    assert_eq!(admitted, [1, 1, 1, 0], "the three that were left");
}

#[test]
fn a_late_lease_does_not_admit_what_was_admitted_alone_meanwhile() {
    let mut allowance = Allowance::default();
    let question = allowance.ask(3, NOW, false);
    for _ in 0..3 {
        allowance.take_alone(3, NOW, OnAuthorityFailure::Local, Fleet::ALONE);
    }
    allowance.answered(&question, &answer(1, 1, false), NOW);
    assert_eq!(allowance.take(3, NOW), Step::Ask);
    assert_eq!(allowance.take_alone(3, NOW, OnAuthorityFailure::Local, Fleet::ALONE), spent(3, TO_THE_HOUR));
}

#[test]
fn what_remains_of_a_lease_is_not_spent_beside_what_is_counted_alone() {
    let mut allowance = allowance(1000, &answer(1000, 10, false));
    assert_eq!(allowance.take_alone(999, NOW, OnAuthorityFailure::Local, Fleet::ALONE), admitted(999, 8));
    assert_eq!(allowance.take(1000, NOW), Step::Ask);
    assert!(allowance.ask(1000, NOW, true).request.ended.is_some());
}

#[test]
fn the_policies_refuse_or_admit_without_end() {
    let mut allowance = allowance(1, &answer(1, 0, false));
    assert_eq!(allowance.take_alone(1, NOW, OnAuthorityFailure::Reject, Fleet::ALONE), Verdict::Unavailable);
    assert!(allowance.is_settled());
    assert_eq!(allowance.take_alone(1, NOW, OnAuthorityFailure::Allow, Fleet::ALONE), admitted(1, 0));
    assert!(!allowance.is_settled(), "it is counted all the same");
}

#[test]
fn an_idle_lease_goes_back_and_a_busy_one_is_reported_once_per_change() {
    let mut allowance = allowance(1000, &answer(10, 10, false));
    allowance.take(1000, NOW);
    let idle = Duration::from_secs(1);
    let news = allowance.report(NOW, idle).unwrap();
    assert_eq!(news.lease, Some(LeaseReport { id: LeaseId::from_number(1), spent: 1, finished: false }));
    allowance.confirmed(&news, false);
    assert_eq!(allowance.report(NOW, idle), None);
    let end = allowance.report(after(1), idle).unwrap();
    assert_eq!(end.lease, Some(LeaseReport { id: LeaseId::from_number(1), spent: 1, finished: true }));
    allowance.unconfirmed(&end);
    assert_eq!(allowance.report(after(1), idle), Some(end), "until it is confirmed");
    allowance.confirmed(&end, false);
    assert!(allowance.is_settled());
}

#[test]
fn a_share_is_not_shared_again_by_a_gateway_that_was_at_rest() {
    let mut allowance = Allowance::default();
    let alone = |allowance: &mut Allowance| allowance.take_alone(4, NOW, OnAuthorityFailure::Local, Fleet::of("a", ["b"]));
    let verdicts = [(); 3].map(|()| alone(&mut allowance));
    assert_eq!(verdicts, [admitted(4, 1), admitted(4, 0), spent(4, TO_THE_HOUR)]);
    assert!(allowance.settle().is_none(), "it owes two");
    let report = allowance.report(NOW, Duration::ZERO).unwrap();
    allowance.confirmed(&report, false);
    let mut rested: Allowance = allowance.settle().unwrap().into();
    assert_eq!(alone(&mut rested), spent(4, TO_THE_HOUR));
}

#[test]
fn in_doubt_it_is_asked_before_anything_is_spent_and_what_was_known_holds_while_nobody_answers() {
    let mut allowance = allowance(100, &answer(99, 2, false));
    assert_eq!(allowance.take(100, NOW), Step::Decided(admitted(100, 2)));
    allowance.doubt();
    assert_eq!(allowance.take(100, NOW), Step::Ask);
    let alone = |allowance: &mut Allowance| allowance.take_alone(100, NOW, OnAuthorityFailure::Local, Fleet::of("a", ["b"]));
    assert_eq!(alone(&mut allowance), admitted(100, 0));
    assert_eq!(alone(&mut allowance), spent(100, TO_THE_HOUR));
}

#[test]
fn what_was_asked_before_the_doubt_brings_nothing_that_is_spent() {
    let mut allowance = allowance(100, &answer(1, 1, false));
    let question = allowance.ask(100, NOW, true);
    allowance.doubt();
    allowance.answered(&question, &answer(2, 1, false), NOW);
    assert_eq!(allowance.take(100, NOW), Step::Ask);
}
