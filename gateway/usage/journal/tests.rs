//! A journal in a real folder: read again after a restart, over its bound, on a full disk, damaged.

use super::*;
use crate::model::timestamp::Timestamp;
use crate::observe::metrics::Metrics;
use crate::store::JournalPosition;
use crate::usage::backlog::OLDEST;
use crate::usage::samples::{encoded, numbers};

struct Fixture {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), metrics: Arc::default() }
    }

    fn open(&self, spool_max: u64) -> (Journal, Arc<Backlog>) {
        let backlog = Arc::new(Backlog::open(self.folder.path(), &self.metrics).unwrap());
        (Journal::open(self.folder.path(), spool_max, backlog.clone()).unwrap(), backlog)
    }
}

fn append(journal: &mut Journal, events: std::ops::Range<u64>) {
    let records = events.end - events.start;
    journal.append(&encoded(events), records);
}

/// All that is there from a place on, delivered on the way.
fn deliver(backlog: &Backlog, mut from: JournalPosition, max: u64) -> Vec<u64> {
    let mut read = Vec::new();
    while let Some(batch) = backlog.take(from, max, EVER).unwrap() {
        read.extend(numbers(&batch.rows));
        from = batch.end;
        backlog.delivered(batch);
    }
    read
}

const ROOM: u64 = 1 << 30;
const EVER: Timestamp = Timestamp::from_secs(0);

#[test]
fn records_are_read_in_the_order_they_were_written_also_after_a_restart() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..3);
    drop((journal, backlog));
    let (mut journal, backlog) = fixture.open(ROOM);
    assert_eq!(fixture.metrics.usage_spooled.get(), 3);
    append(&mut journal, 3..5);
    assert_eq!(fixture.metrics.usage_spooled.get(), 5);
    assert_eq!(deliver(&backlog, OLDEST, 2), [0, 1, 2, 3, 4]);
    assert_eq!((fixture.metrics.usage_spooled.get(), fixture.metrics.usage_written.get()), (0, 5));
}

#[test]
fn what_is_delivered_leaves_the_disk_but_for_the_newest_segment() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(64 * 1024);
    (0..200).for_each(|n| append(&mut journal, n..n + 1));
    let before = segment::numbers(fixture.folder.path()).unwrap();
    assert!(before.len() > 3);
    assert_eq!(deliver(&backlog, OLDEST, 30).len(), 200);
    assert_eq!(segment::numbers(fixture.folder.path()).unwrap(), before[before.len() - 1..]);
}

#[test]
fn a_segment_that_was_delivered_but_not_removed_is_not_read_again() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let first = backlog.take(OLDEST, 4, EVER).unwrap().unwrap();
    drop((journal, backlog));
    let (_journal, backlog) = fixture.open(ROOM);
    let from = backlog.resume(first.end).unwrap();
    assert_eq!(fixture.metrics.usage_spooled.get(), 6);
    assert_eq!(deliver(&backlog, from, 100), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_journal_that_lost_its_end_with_the_power_goes_on_after_what_the_store_has() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let all = backlog.take(OLDEST, 100, EVER).unwrap().unwrap();
    drop((journal, backlog));
    let path = segment::path(fixture.folder.path(), all.end.segment);
    File::options().write(true).open(path).unwrap().set_len(encoded(0..5).len() as u64 + START).unwrap();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 10..12);
    let from = backlog.resume(all.end).unwrap();
    assert_eq!(fixture.metrics.usage_spooled.get(), 2);
    assert_eq!(deliver(&backlog, from, 100), [10, 11]);
}

#[test]
fn a_journal_behind_the_stores_place_is_delivered_whole() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let from = backlog.resume(JournalPosition { segment: u64::MAX / 2, offset: 99 }).unwrap();
    assert_eq!(deliver(&backlog, from, 100).len(), 10);
}

#[test]
fn an_emptied_folder_does_not_reuse_the_numbers_the_store_knows() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let known = backlog.take(OLDEST, 100, EVER).unwrap().unwrap().end;
    drop((journal, backlog));
    std::fs::remove_file(segment::path(fixture.folder.path(), known.segment)).unwrap();
    while clock::now().as_millis() <= known.segment {}
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 10..12);
    let from = backlog.resume(known).unwrap();
    assert_eq!(deliver(&backlog, from, 100), [10, 11]);
}

#[test]
fn beyond_spool_max_the_oldest_is_dropped_and_counted() {
    let fixture = Fixture::new();
    let spool_max = 64 * 1024;
    let (mut journal, backlog) = fixture.open(spool_max);
    for n in 0..1000 {
        append(&mut journal, n..n + 1);
        assert!(backlog.size() <= spool_max);
    }
    let on_disk =
        segment::numbers(fixture.folder.path()).unwrap().into_iter().map(|number| segment::path(fixture.folder.path(), number));
    assert_eq!(on_disk.map(|path| path.metadata().unwrap().len()).sum::<u64>(), backlog.size());
    let dropped = fixture.metrics.usage_dropped.get();
    assert_eq!(deliver(&backlog, OLDEST, 100), (dropped..1000).collect::<Vec<_>>());
    assert!(dropped > 0 && fixture.metrics.usage_written.get() + dropped == 1000);
}

#[test]
fn a_batch_on_its_way_while_its_segment_is_dropped_is_counted_once() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let batch = backlog.take(OLDEST, 4, EVER).unwrap().unwrap();
    assert!(backlog.drop_oldest(&"a test"));
    backlog.delivered(batch);
    assert_eq!((fixture.metrics.usage_written.get(), fixture.metrics.usage_dropped.get()), (4, 6));
    assert_eq!(fixture.metrics.usage_spooled.get(), 0);
}

#[test]
fn a_segments_number_is_never_used_again() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let place = backlog.take(OLDEST, 100, EVER).unwrap().unwrap().end;
    assert!(backlog.drop_oldest(&"a test"));
    assert!(backlog.next_number(Timestamp::from_secs(1)) > place.segment, "even should the clock be set back");
    append(&mut journal, 10..12);
    assert_eq!(deliver(&backlog, place, 100), [10, 11]);
}

#[test]
fn the_room_of_a_dropped_segment_is_free_although_it_is_still_open() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    let file = journal.newest.as_ref().unwrap().file.clone();
    assert!(backlog.drop_oldest(&"a test"));
    assert_eq!(file.metadata().unwrap().len(), 0);
}

/// A file that is always full stands in for the newest segment.
fn fill_disk_under(journal: &mut Journal) {
    let file = File::options().read(true).write(true).open("/dev/full").unwrap();
    journal.newest.as_mut().unwrap().file = Arc::new(file);
}

#[test]
fn on_a_full_disk_the_oldest_makes_room_for_the_newest() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..10);
    drop((journal, backlog));
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 10..15);
    fill_disk_under(&mut journal);
    append(&mut journal, 15..20);
    assert_eq!(fixture.metrics.usage_dropped.get(), 10);
    assert_eq!(deliver(&backlog, OLDEST, 100), (10..20).collect::<Vec<_>>());
}

#[test]
fn an_error_that_room_would_not_cure_costs_only_what_was_being_written() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..2);
    let read_only = File::open(segment::path(fixture.folder.path(), journal.newest.as_ref().unwrap().number)).unwrap();
    journal.newest.as_mut().unwrap().file = Arc::new(read_only);
    append(&mut journal, 2..5);
    append(&mut journal, 5..7);
    assert_eq!(fixture.metrics.usage_dropped.get(), 3);
    assert_eq!(deliver(&backlog, OLDEST, 100), [0, 1, 5, 6]);
}

#[test]
fn a_segment_removed_under_the_gateway_is_counted_and_replaced() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..5);
    std::fs::remove_file(segment::path(fixture.folder.path(), journal.newest.as_ref().unwrap().number)).unwrap();
    assert!(deliver(&backlog, OLDEST, 100).is_empty());
    assert_eq!(fixture.metrics.usage_dropped.get(), 5);
    append(&mut journal, 5..7);
    assert_eq!(deliver(&backlog, OLDEST, 100), [5, 6]);
}

#[test]
fn a_damaged_record_is_counted_as_dropped_whenever_it_is_found() {
    let fixture = Fixture::new();
    let (mut journal, backlog) = fixture.open(ROOM);
    append(&mut journal, 0..3);
    let damage = |at: u64| {
        let newest = *segment::numbers(fixture.folder.path()).unwrap().last().unwrap();
        let file = File::options().write(true).open(segment::path(fixture.folder.path(), newest)).unwrap();
        file.write_all_at(&[0xFF], START + at).unwrap();
    };
    damage(20);
    assert_eq!(deliver(&backlog, OLDEST, 100), [1, 2]);
    assert_eq!(fixture.metrics.usage_dropped.get(), 1);
    append(&mut journal, 3..5);
    drop((journal, backlog));
    damage(encoded(0..3).len() as u64 + 20);
    let (_journal, backlog) = fixture.open(ROOM);
    assert_eq!(fixture.metrics.usage_dropped.get(), 3, "what was counted before the restart is found again");
    assert_eq!(deliver(&backlog, OLDEST, 100), [1, 2, 4]);
}
