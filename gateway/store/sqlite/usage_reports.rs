//! Reports over the rows of usage.
//!
//! What must stay true here: they run on a reader, which holds up no writer, and none keeps its view of the database for longer
//! than one statement takes, since the write-ahead log cannot be emptied meanwhile.

use std::time::Duration;

use rusqlite::types::{ToSql, Type};
use rusqlite::{Connection, Row};
use tokio::sync::mpsc;

use super::connections::SqliteStore;
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::usage_reports::{
    ALL_TIME, AddressUsage, EndpointUsage, ROWS_OF_A_PAGE, StatusUsage, UsageBreakdown, UsageFilter, UsageRow, UsageStep,
    UsageSums,
};

impl SqliteStore {
    pub async fn usage_series(&self, filter: &UsageFilter, step: Duration) -> Result<Vec<UsageStep>, StoreError> {
        let filter = Filter::of(filter);
        self.report(move |connection| filter.series(connection, step)).await
    }

    pub async fn usage_breakdown(&self, filter: &UsageFilter, most: usize) -> Result<UsageBreakdown, StoreError> {
        let filter = Filter::of(filter);
        self.report(move |connection| filter.breakdown(connection, most)).await
    }

    pub async fn export_usage(&self, filter: &UsageFilter, pages: mpsc::Sender<Vec<UsageRow>>) -> Result<(), StoreError> {
        let (mut filter, mut last_id) = (Filter::of(filter), i64::MIN);
        loop {
            let from_here = filter.clone();
            let page = self.report(move |connection| from_here.page(connection, last_id)).await?;
            let Some((_, place)) = page.last() else {
                return Ok(());
            };
            (filter.since, last_id) = place.clone();
            if pages.send(page.into_iter().map(|(row, _)| row).collect()).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// What the parameters of a [`Filter`] mean to a statement.
const IS_COUNTED: &str = "timestamp >= ?1 AND timestamp < ?2 AND (?3 IS NULL OR api_key_id = ?3) \
                          AND (?4 IS NULL OR endpoint = ?4) AND (?5 IS NULL OR status_code = ?5)";

#[derive(Clone)]
struct Filter {
    /// As the table has it, to the letter.
    since: String,
    until: String,
    key_id: Option<String>,
    endpoint: Option<String>,
    status: Option<u16>,
}

impl Filter {
    fn of(filter: &UsageFilter) -> Self {
        Self {
            since: filter.since.to_sql_text(),
            until: filter.until.to_sql_text(),
            key_id: filter.key_id.as_ref().map(ToString::to_string),
            endpoint: filter.endpoint.clone(),
            status: filter.status,
        }
    }

    /// The 95th percentile is that of the nearest rank, as PostgreSQL's `percentile_disc` has it.
    fn series(&self, connection: &Connection, step: Duration) -> rusqlite::Result<Vec<UsageStep>> {
        let seconds = step.as_secs();
        let sql = format!(
            "WITH counted AS (
                 SELECT unixepoch(timestamp) / {seconds} AS step, status_code, response_time_ms, request_bytes, response_bytes
                 FROM api_key_usage WHERE {IS_COUNTED}
             ), ranked AS (
                 SELECT *, row_number() OVER (PARTITION BY step ORDER BY response_time_ms) AS rank,
                     count(*) OVER (PARTITION BY step) AS ranks
                 FROM counted
             )
             SELECT step, count(*), sum(status_code BETWEEN 400 AND 499), sum(status_code >= 500), avg(response_time_ms),
                 min(response_time_ms) FILTER (WHERE rank * 100 >= ranks * 95),
                 coalesce(sum(request_bytes), 0), coalesce(sum(response_bytes), 0)
             FROM ranked GROUP BY step ORDER BY step"
        );
        self.rows(connection, &sql, |row| {
            Ok(UsageStep { start: Timestamp::from_secs(row.get::<_, u64>(0)? * seconds), sums: sums(row)? })
        })
    }

    fn breakdown(&self, connection: &Connection, most: usize) -> rusqlite::Result<UsageBreakdown> {
        let all = self.series(connection, ALL_TIME)?.pop();
        let ends = format!("SELECT min(timestamp), max(timestamp) FROM api_key_usage WHERE {IS_COUNTED} HAVING count(*) > 0");
        let ends = self.rows(connection, &ends, |row| Ok((instant(row, 0)?, instant(row, 1)?)))?.pop();
        Ok(UsageBreakdown {
            sums: all.map(|step| step.sums).unwrap_or_default(),
            first_at: ends.map(|(first, _)| first),
            last_at: ends.map(|(_, last)| last),
            statuses: self.groups(connection, "status_code, count(*)", "1", |row| {
                Ok(StatusUsage { status_code: row.get(0)?, request_count: row.get(1)? })
            })?,
            busiest: self.groups(connection, ENDPOINTS, &format!("2 DESC, 1 LIMIT {most}"), endpoint)?,
            slowest: self.groups(connection, ENDPOINTS, &format!("3 DESC, 1 LIMIT {most}"), endpoint)?,
            addresses: self.groups(connection, "client_ip, count(*)", &format!("2 DESC, 1 LIMIT {most}"), |row| {
                Ok(AddressUsage { client_ip: row.get(0)?, request_count: row.get(1)? })
            })?,
        })
    }

    /// The requests that have the first column in common.
    fn groups<T>(
        &self,
        connection: &Connection,
        columns: &str,
        order: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let sql = format!("SELECT {columns} FROM api_key_usage WHERE {IS_COUNTED} GROUP BY 1 ORDER BY {order}");
        self.rows(connection, &sql, read)
    }

    /// The next rows by time and id, from behind the one at `since` that has this id. Each with where to go on.
    fn page(&self, connection: &Connection, last_id: i64) -> rusqlite::Result<Vec<(UsageRow, (String, i64))>> {
        let sql = format!(
            "SELECT timestamp, api_key_id, method, endpoint, status_code, response_time_ms, request_bytes, response_bytes,
                 client_ip, request_id, id
             FROM api_key_usage WHERE {IS_COUNTED} AND (timestamp, id) > (?1, {last_id})
             ORDER BY timestamp, id LIMIT {ROWS_OF_A_PAGE}"
        );
        self.rows(connection, &sql, |row| Ok((usage_row(row)?, (row.get(0)?, row.get(10)?))))
    }

    fn rows<T>(
        &self,
        connection: &Connection,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let parameters: [&dyn ToSql; 5] = [&self.since, &self.until, &self.key_id, &self.endpoint, &self.status];
        connection.prepare(sql)?.query_map(parameters, read)?.collect()
    }
}

/// As [`endpoint`] reads them.
const ENDPOINTS: &str = "endpoint, count(*), avg(response_time_ms)";

fn endpoint(row: &Row<'_>) -> rusqlite::Result<EndpointUsage> {
    Ok(EndpointUsage { endpoint: row.get(0)?, request_count: row.get(1)?, avg_response_time_ms: row.get(2)? })
}

fn sums(row: &Row<'_>) -> rusqlite::Result<UsageSums> {
    Ok(UsageSums {
        request_count: row.get(1)?,
        errors_4xx: row.get(2)?,
        errors_5xx: row.get(3)?,
        avg_response_time_ms: row.get(4)?,
        p95_response_time_ms: row.get(5)?,
        request_bytes: row.get(6)?,
        response_bytes: row.get(7)?,
    })
}

fn usage_row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    Ok(UsageRow {
        timestamp: instant(row, 0)?,
        key_id: row.get(1)?,
        method: row.get(2)?,
        endpoint: row.get(3)?,
        status_code: row.get(4)?,
        response_time_ms: row.get(5)?,
        request_bytes: row.get(6)?,
        response_bytes: row.get(7)?,
        client_ip: row.get(8)?,
        request_id: row.get(9)?,
    })
}

/// Rows may have been written by hand.
fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    let no_time = || rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("`{text}` is no time").into());
    Timestamp::parse(&text).ok_or_else(no_time)
}
