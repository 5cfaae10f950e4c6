//! A cell that asks, spends, waits and comes to rest, on a real file of leases.

use super::*;
use crate::model::lease::{Grant, LeaseId};

const NOW: Timestamp = Timestamp::from_secs(1_795_341_600);

fn answer(permits: u64) -> LeaseAnswer {
    let lease = Some(Grant { id: LeaseId::from_number(1), permits });
    LeaseAnswer { now: NOW, used: permits, lease, others_hold: false }
}

/// The question that a first request makes its cell ask.
fn first_question(cell: &Cell, file: &Arc<LeaseFile>) -> Question {
    match cell.take_or_ask(1000, NOW, file) {
        Taken::Ask(question, _) => question,
        _ => panic!("nothing is known yet"),
    }
}

#[test]
fn with_a_full_disk_a_lease_is_asked_for_under_no_name_and_spent_all_the_same() {
    let file = LeaseFile::new(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let cell = Cell::new("a".into());
    let question = first_question(&cell, &file);
    assert!(!question.request.is_spooled);
    cell.end_question(&question, Some(&answer(10)), NOW);
    assert!((0..10).all(|_| matches!(cell.try_take(1000, NOW), Some(Verdict::Admitted(_)))));
    assert_eq!(cell.try_take(1000, NOW), None);
}

#[test]
fn a_portion_that_cannot_be_written_down_is_not_spent() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = LeaseFile::open(folder.path()).unwrap();
    let cell = Cell::new("a".into());
    let question = first_question(&cell, &file);
    assert!(question.request.is_spooled);
    cell.end_question(&question, Some(&answer(10)), NOW);
    assert!(matches!(cell.try_take(1000, NOW), Some(Verdict::Admitted(_))));
    cell.state().active().slot = None;
    assert_eq!(cell.try_take(1000, NOW), None);
    let report = cell.report(NOW, Duration::MAX).unwrap().lease.unwrap();
    assert_eq!((report.spent, report.finished), (1, true));
}

#[test]
fn a_cell_at_rest_is_small_and_still_knows_its_hour() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = LeaseFile::open(folder.path()).unwrap();
    let cell = Cell::new("a".into());
    let question = first_question(&cell, &file);
    cell.end_question(&question, Some(&LeaseAnswer { lease: None, ..answer(1000) }), NOW);
    let refused = cell.try_take(1000, NOW);
    assert!(matches!(refused, Some(Verdict::Spent { .. })));
    assert!(cell.retire());
    assert!(matches!(*cell.state(), State::Settled(_)) && size_of::<Cell>() <= 64);
    assert_eq!((cell.try_take(1000, NOW), cell.try_take(999, NOW)), (refused, None));
    cell.doubt();
    let hour_use = HourUse { key_id: "a".into(), used: 1000, limit: 1000 };
    assert_eq!((cell.try_take(1000, NOW), cell.hour_use(NOW)), (None, Some(hour_use)), "it may be asked for");
    cell.reset();
    assert_eq!(cell.hour_use(NOW), None);
}

#[test]
fn while_one_asks_the_others_wait_and_the_cell_stays_on_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = LeaseFile::open(folder.path()).unwrap();
    let cell = Cell::new("a".into());
    assert!(cell.enlist());
    assert!(!cell.enlist());
    let question = first_question(&cell, &file);
    assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait(_)));
    assert!(!cell.retire());
    assert!(cell.ask_to_take_back(NOW).is_none());
    cell.end_question(&question, None, NOW);
    assert!(!cell.retire(), "it may hold a lease");
    let question = cell.ask_to_take_back(NOW).unwrap();
    assert!(matches!(cell.take_or_ask(1000, NOW, &file), Taken::Wait(_)));
    cell.end_question(&question, Some(&LeaseAnswer { lease: None, ..answer(0) }), NOW);
    assert!(cell.retire());
    assert!(cell.enlist());
}
