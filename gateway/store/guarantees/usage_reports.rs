//! Reports over usage: every store answers the same.

use std::time::Duration;

use tokio::sync::mpsc;

use super::usage::{batch, row};
use crate::model::timestamp::Timestamp;
use crate::model::usage_event::UsageEvent;
use crate::store::testing::{NOW, Place, hold_on_every_store};
use crate::store::{
    AddressUsage, EndpointUsage, JournalPosition, StatusUsage, Store, StoreError, UsageFilter, UsageRow, UsageStep, UsageSums,
};

hold_on_every_store!(
    a_series_has_what_was_requested_in_each_step_of_utc,
    of_a_hundred_response_times_the_percentile_is_the_ninety_fifth,
    only_rows_of_the_filter_are_counted,
    a_breakdown_has_the_most_used_and_the_slowest_first,
    where_nothing_was_requested_a_breakdown_is_empty,
    an_export_has_each_row_once_in_the_order_of_time,
    an_export_goes_on_within_one_millisecond_and_between_times_finer_than_that,
    a_write_does_not_wait_for_an_export_that_is_taken_slowly,
    an_export_ends_when_nobody_takes_it,
);

const HOUR: Duration = Duration::from_hours(1);

/// From an hour before [`NOW`], which is a full hour, to one after it.
fn all() -> UsageFilter {
    UsageFilter { since: NOW.minus(HOUR), until: NOW.plus(HOUR), key_id: None, endpoint: None, status: None }
}

async fn write<'a>(store: &Store, rows: impl IntoIterator<Item = UsageEvent<'a>>) {
    store.write_usage("spool", None, JournalPosition { segment: 1, offset: 0 }, batch(rows)).await.unwrap();
}

fn event(seconds: u64, status: u16, response_micros: u64) -> UsageEvent<'static> {
    UsageEvent { status, response_micros, ..row("a", NOW.plus(Duration::from_secs(seconds))) }
}

async fn a_series_has_what_was_requested_in_each_step_of_utc(_place: Place, store: Store) {
    let last_of_the_hour_before = UsageEvent { timestamp: NOW.minus(Duration::from_millis(1)), ..event(0, 503, 7_000) };
    let outside = UsageEvent { timestamp: NOW.plus(HOUR), ..event(0, 200, 0) };
    let rows = [last_of_the_hour_before, event(0, 200, 1_000), event(899, 404, 2_500), event(900, 499, 4_000), outside];
    write(&store, rows).await;
    let step = |start: Timestamp, [request_count, errors_4xx, errors_5xx]: [u64; 3], mean, p95| UsageStep {
        start,
        sums: UsageSums {
            request_count,
            errors_4xx,
            errors_5xx,
            avg_response_time_ms: mean,
            p95_response_time_ms: p95,
            request_bytes: 120 * request_count,
            response_bytes: 4096 * request_count,
        },
    };
    let quarter = HOUR / 4;
    let expected = [
        step(NOW.minus(quarter), [1, 0, 1], 7.0, 7.0),
        step(NOW, [2, 1, 0], 1.75, 2.5),
        step(NOW.plus(quarter), [1, 1, 0], 4.0, 4.0),
    ];
    assert_eq!(store.usage_series(&all(), quarter).await.unwrap(), expected);
}

async fn of_a_hundred_response_times_the_percentile_is_the_ninety_fifth(_place: Place, store: Store) {
    write(&store, (1..=100).map(|millis| event(0, 200, millis * 1000))).await;
    let series = store.usage_series(&all(), HOUR).await.unwrap();
    assert_eq!(series.iter().map(|step| step.sums.p95_response_time_ms).collect::<Vec<_>>(), [95.0]);
}

async fn only_rows_of_the_filter_are_counted(_place: Place, store: Store) {
    let other_endpoint = UsageEvent { endpoint: "/other", ..event(1, 200, 1) };
    let other_key = UsageEvent { key_id: "b", ..event(2, 200, 1) };
    write(&store, [event(0, 200, 1), other_endpoint, other_key, event(3, 404, 1), event(4, 200, 1)]).await;
    let counted = async |filter: UsageFilter| {
        let exported = export(&store, &filter).await.unwrap().len() as u64;
        assert_eq!(store.usage_breakdown(&filter, 10).await.unwrap().sums.request_count, exported);
        let series = store.usage_series(&filter, HOUR).await.unwrap();
        assert_eq!(series.iter().map(|step| step.sums.request_count).sum::<u64>(), exported);
        exported
    };
    assert_eq!(counted(all()).await, 5);
    assert_eq!(counted(UsageFilter { key_id: Some("a".into()), ..all() }).await, 4);
    assert_eq!(counted(UsageFilter { endpoint: Some("/other".into()), ..all() }).await, 1);
    assert_eq!(counted(UsageFilter { status: Some(404), ..all() }).await, 1);
    let (since, until) = (NOW.plus(Duration::from_secs(1)), NOW.plus(Duration::from_secs(4)));
    assert_eq!(counted(UsageFilter { since, until, ..all() }).await, 3);
}

async fn a_breakdown_has_the_most_used_and_the_slowest_first(_place: Place, store: Store) {
    let slow = UsageEvent { endpoint: "/slow", client_ip: None, ..event(30, 500, 90_000) };
    let quick = |seconds| UsageEvent { endpoint: "/quick", ..event(seconds, 200, 1_000) };
    write(&store, [quick(10), slow, quick(20), UsageEvent { endpoint: "/alike", ..event(15, 200, 1_000) }]).await;
    let told = store.usage_breakdown(&all(), 2).await.unwrap();
    assert_eq!((told.sums.request_count, told.sums.errors_5xx), (4, 1));
    assert_eq!((told.first_at, told.last_at), (Some(NOW.plus(HOUR / 360)), Some(NOW.plus(HOUR / 120))));
    let status = |status_code, request_count| StatusUsage { status_code, request_count };
    assert_eq!(told.statuses, [status(200, 3), status(500, 1)]);
    let endpoint = |endpoint: &str, request_count, avg_response_time_ms| EndpointUsage {
        endpoint: endpoint.to_owned(),
        request_count,
        avg_response_time_ms,
    };
    assert_eq!(told.busiest, [endpoint("/quick", 2, 1.0), endpoint("/alike", 1, 1.0)]);
    assert_eq!(told.slowest, [endpoint("/slow", 1, 90.0), endpoint("/alike", 1, 1.0)]);
    let address =
        |client_ip: Option<&str>, request_count| AddressUsage { client_ip: client_ip.map(str::to_owned), request_count };
    assert_eq!(told.addresses, [address(Some("203.0.113.7"), 3), address(None, 1)]);
}

async fn where_nothing_was_requested_a_breakdown_is_empty(_place: Place, store: Store) {
    assert_eq!(store.usage_breakdown(&all(), 10).await.unwrap(), crate::store::UsageBreakdown::default());
}

async fn an_export_has_each_row_once_in_the_order_of_time(_place: Place, store: Store) {
    let late_first = (0..12_000).rev().map(|number| event(number % 3_000, 200, number));
    write(&store, late_first).await;
    let rows = export(&store, &all()).await.unwrap();
    assert!(rows.is_sorted_by_key(|row| row.timestamp));
    let mut micros: Vec<_> = rows.iter().map(|row| (row.response_time_ms * 1000.0).round()).collect();
    micros.sort_by(f64::total_cmp);
    assert_eq!(micros, (0..12_000).map(f64::from).collect::<Vec<_>>());
    let first = UsageRow {
        timestamp: NOW,
        key_id: "a".to_owned(),
        method: Some("GET".to_owned()),
        endpoint: "/v1/models/some-model/predict".to_owned(),
        status_code: 200,
        response_time_ms: rows[0].response_time_ms,
        request_bytes: Some(120),
        response_bytes: Some(4096),
        client_ip: Some("203.0.113.7".to_owned()),
        request_id: Some("0192f3c4-aaaa-7bbb-8ccc-0123456789ab".to_owned()),
    };
    assert_eq!(rows[0], first);
}

/// As usage brought from elsewhere may have it, what was not recorded left out.
async fn an_export_goes_on_within_one_millisecond_and_between_times_finer_than_that(place: Place, store: Store) {
    place.sql(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 11000)
         INSERT INTO api_key_usage (api_key_id, endpoint, timestamp, response_time_ms, status_code)
         SELECT 'a', '/', CASE n % 2 WHEN 0 THEN '2026-11-22 10:00:00.000101Z' ELSE '2026-11-22 10:00:00.000202Z' END, n, 200
         FROM numbers"
            .replace("END, n", if matches!(place, Place::Postgres(_)) { "END::timestamptz, n" } else { "END, n" })
            .as_str(),
    );
    let rows = export(&store, &all()).await.unwrap();
    assert_eq!(rows.len(), 11_000);
    assert_eq!((rows[0].timestamp, &rows[0].method, rows[0].request_bytes), (NOW, &None, None));
}

async fn a_write_does_not_wait_for_an_export_that_is_taken_slowly(_place: Place, store: Store) {
    write(&store, (0..12_000).map(|_| event(0, 200, 1))).await;
    let (pages, mut taken) = mpsc::channel(1);
    let write_amidst = async {
        let first: Vec<UsageRow> = taken.recv().await.unwrap();
        let later = JournalPosition { segment: 2, offset: 0 };
        store.write_usage("other spool", None, later, batch([event(60, 200, 1)])).await?;
        let mut rows = first.len();
        while let Some(page) = taken.recv().await {
            rows += page.len();
        }
        Ok(rows)
    };
    let filter = all();
    let ((), rows) = tokio::try_join!(store.export_usage(&filter, pages), write_amidst).unwrap();
    assert_eq!(rows, 12_001);
}

async fn an_export_ends_when_nobody_takes_it(_place: Place, store: Store) {
    write(&store, [event(0, 200, 1)]).await;
    let (pages, taken) = mpsc::channel(1);
    drop(taken);
    store.export_usage(&all(), pages).await.unwrap();
}

async fn export(store: &Store, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
    let (pages, mut taken) = mpsc::channel(1);
    let take = async {
        let mut rows = Vec::new();
        while let Some(page) = taken.recv().await {
            rows.extend(page);
        }
        Ok(rows)
    };
    let ((), rows) = tokio::try_join!(store.export_usage(filter, pages), take)?;
    Ok(rows)
}
