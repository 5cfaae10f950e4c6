//! Reports over the rows of usage. Each is asked statement by statement: nothing is locked, and no long transaction keeps the
//! server from cleaning up.

use std::time::{Duration, SystemTime};

use deadpool_postgres::Client;
use tokio::sync::mpsc;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::errors::Failure;
use super::values::{count, instant, timestamp};
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::usage_reports::{
    ALL_TIME, AddressUsage, EndpointUsage, ROWS_OF_A_PAGE, StatusUsage, UsageBreakdown, UsageFilter, UsageRow, UsageStep,
    UsageSums,
};

impl PostgresStore {
    pub async fn usage_series(&self, filter: &UsageFilter, step: Duration) -> Result<Vec<UsageStep>, StoreError> {
        let filter = Filter::of(filter);
        self.report(async |client| filter.series(client, step).await).await
    }

    pub async fn usage_breakdown(&self, filter: &UsageFilter, most: usize) -> Result<UsageBreakdown, StoreError> {
        let filter = Filter::of(filter);
        self.report(async |client| filter.breakdown(client, most).await).await
    }

    pub async fn export_usage(&self, filter: &UsageFilter, pages: mpsc::Sender<Vec<UsageRow>>) -> Result<(), StoreError> {
        let (mut filter, mut last_id) = (Filter::of(filter), i64::MIN);
        loop {
            let page = self.report(async |client| filter.page(client, last_id).await).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            (filter.since, last_id) = (last.get(0), last.get(10));
            if pages.send(page.iter().map(usage_row).collect()).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// What the parameters of a [`Filter`] mean to a statement.
const IS_COUNTED: &str = "timestamp >= $1 AND timestamp < $2 AND ($3::text IS NULL OR api_key_id = $3) \
                          AND ($4::text IS NULL OR endpoint = $4) AND ($5::integer IS NULL OR status_code = $5)";

struct Filter {
    since: SystemTime,
    until: SystemTime,
    key_id: Option<String>,
    endpoint: Option<String>,
    status: Option<i32>,
}

impl Filter {
    fn of(filter: &UsageFilter) -> Self {
        Self {
            since: instant(filter.since),
            until: instant(filter.until),
            key_id: filter.key_id.as_ref().map(ToString::to_string),
            endpoint: filter.endpoint.clone(),
            status: filter.status.map(Into::into),
        }
    }

    async fn series(&self, client: &Client, step: Duration) -> Result<Vec<UsageStep>, Failure> {
        let seconds = step.as_secs();
        let sql = format!(
            "SELECT floor(extract(epoch FROM timestamp) / {seconds})::bigint, count(*),
                 count(*) FILTER (WHERE status_code BETWEEN 400 AND 499), count(*) FILTER (WHERE status_code >= 500),
                 avg(response_time_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY response_time_ms),
                 coalesce(sum(request_bytes), 0)::bigint, coalesce(sum(response_bytes), 0)::bigint
             FROM api_key_usage WHERE {IS_COUNTED} GROUP BY 1 ORDER BY 1"
        );
        let start = |row: &Row| Timestamp::from_secs(count(row.get(0)) * seconds);
        self.rows(client, &sql, |row| UsageStep { start: start(row), sums: sums(row) }).await
    }

    async fn breakdown(&self, client: &Client, most: usize) -> Result<UsageBreakdown, Failure> {
        let all = self.series(client, ALL_TIME).await?.pop();
        let ends = format!("SELECT min(timestamp), max(timestamp) FROM api_key_usage WHERE {IS_COUNTED} HAVING count(*) > 0");
        let ends = self.rows(client, &ends, |row| (timestamp(row.get(0)), timestamp(row.get(1)))).await?.pop();
        Ok(UsageBreakdown {
            sums: all.map(|step| step.sums).unwrap_or_default(),
            first_at: ends.map(|(first, _)| first),
            last_at: ends.map(|(_, last)| last),
            statuses: self
                .groups(client, "status_code::bigint, count(*)", "1", |row| StatusUsage {
                    status_code: row.get(0),
                    request_count: count(row.get(1)),
                })
                .await?,
            busiest: self.groups(client, ENDPOINTS, &format!("2 DESC, 1 LIMIT {most}"), endpoint).await?,
            slowest: self.groups(client, ENDPOINTS, &format!("3 DESC, 1 LIMIT {most}"), endpoint).await?,
            addresses: self
                .groups(client, "host(client_ip), count(*)", &format!("2 DESC, 1 NULLS FIRST LIMIT {most}"), |row| AddressUsage {
                    client_ip: row.get(0),
                    request_count: count(row.get(1)),
                })
                .await?,
        })
    }

    /// The requests that have the first column in common.
    async fn groups<T>(&self, client: &Client, columns: &str, order: &str, read: impl Fn(&Row) -> T) -> Result<Vec<T>, Failure> {
        let sql = format!("SELECT {columns} FROM api_key_usage WHERE {IS_COUNTED} GROUP BY 1 ORDER BY {order}");
        self.rows(client, &sql, read).await
    }

    /// The next rows by time and id, from behind the one at `since` that has this id.
    async fn page(&self, client: &Client, last_id: i64) -> Result<Vec<Row>, Failure> {
        let sql = format!(
            "SELECT timestamp, api_key_id, method, endpoint, status_code::bigint, response_time_ms, request_bytes, response_bytes,
                 host(client_ip), request_id, id
             FROM api_key_usage WHERE {IS_COUNTED} AND (timestamp, id) > ($1, {last_id})
             ORDER BY timestamp, id LIMIT {ROWS_OF_A_PAGE}"
        );
        Ok(client.query(&sql, &self.parameters()).await?)
    }

    async fn rows<T>(&self, client: &Client, sql: &str, read: impl Fn(&Row) -> T) -> Result<Vec<T>, Failure> {
        Ok(client.query(sql, &self.parameters()).await?.iter().map(read).collect())
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.since, &self.until, &self.key_id, &self.endpoint, &self.status]
    }
}

/// As [`endpoint`] reads them. Texts in the order of their bytes, whatever the database's language is.
const ENDPOINTS: &str = "endpoint COLLATE \"C\", count(*), avg(response_time_ms)";

fn endpoint(row: &Row) -> EndpointUsage {
    EndpointUsage { endpoint: row.get(0), request_count: count(row.get(1)), avg_response_time_ms: row.get(2) }
}

fn sums(row: &Row) -> UsageSums {
    UsageSums {
        request_count: count(row.get(1)),
        errors_4xx: count(row.get(2)),
        errors_5xx: count(row.get(3)),
        avg_response_time_ms: row.get(4),
        p95_response_time_ms: row.get(5),
        request_bytes: count(row.get(6)),
        response_bytes: count(row.get(7)),
    }
}

fn usage_row(row: &Row) -> UsageRow {
    UsageRow {
        timestamp: timestamp(row.get(0)),
        key_id: row.get(1),
        method: row.get(2),
        endpoint: row.get(3),
        status_code: row.get(4),
        response_time_ms: row.get(5),
        request_bytes: row.get::<_, Option<i64>>(6).map(count),
        response_bytes: row.get::<_, Option<i64>>(7).map(count),
        client_ip: row.get(8),
        request_id: row.get(9),
    }
}
