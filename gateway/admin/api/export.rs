//! `GET /api/v1/usage/export`: the rows themselves, as `usage export` writes them.
//!
//! What must stay true here: a page of rows is in memory at a time, however many there are and however slowly they are taken; and
//! an export that is not whole does not end like one that is.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use utoipa::IntoParams;

use super::Api;
use super::body::Params;
use super::caller::Admin;
use super::problem::{Problem, ProblemBody};
use super::reports::instant;
use crate::clock;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::reports::rows::{RowFormat, Rows};
use crate::store::{Store, StoreError, UsageFilter, UsageRow};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `csv` where it is left out, or `jsonl`.
    #[param(value_type = Option<String>)]
    format: Option<RowFormat>,
    since: Option<String>,
    until: Option<String>,
    key_id: Option<String>,
    endpoint: Option<String>,
    status: Option<u16>,
}

/// Write out the rows of usage, as CSV or as lines of JSON.
#[utoipa::path(
    get,
    path = "/usage/export",
    operation_id = "exportUsage",
    tag = "usage",
    params(ExportQuery),
    security(("token" = [])),
    responses((status = 200, description = "the rows", body = String, content_type = "text/csv"), (status = "default", description = "a refusal or a failure", body = ProblemBody<'static>, content_type = "application/problem+json"))
)]
pub async fn export(_: Admin, State(api): State<Arc<Api>>, Params(query): Params<ExportQuery>) -> Result<Response, Problem> {
    let format = query.format.unwrap_or(RowFormat::Csv);
    let mut pages = Box::pin(pages(api.store.clone(), query.filter()?));
    // A store that cannot be asked is told in the status.
    let first = pages.next().await.transpose()?;
    let heading = written(format, Rows::begin);
    let pages = stream::iter(first.map(Ok)).chain(pages);
    let texts = pages.map(move |page| written(format, |rows| page.map_err(failed)?.iter().try_for_each(|row| rows.write(row))));
    let (kind, file) = match format {
        RowFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"usage.csv\""),
        RowFormat::Jsonl => ("application/jsonl", "attachment; filename=\"usage.jsonl\""),
    };
    let body = Body::from_stream(stream::iter([heading]).chain(texts));
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, file)], body).into_response())
}

impl ExportQuery {
    fn filter(self) -> Result<UsageFilter, Problem> {
        let now = clock::now();
        let since = self.since.map_or(Ok(Timestamp::default()), |text| instant("since", &text, now))?;
        let until = self.until.map_or(Ok(now), |text| instant("until", &text, now))?;
        if since >= until {
            return Err(Problem::Invalid("since: it is not before `until`".to_owned()));
        }
        let key_id = self.key_id.map(KeyId::from);
        Ok(UsageFilter { since, until, key_id, endpoint: self.endpoint, status: self.status })
    }
}

/// Reads on when the page before was taken, and no longer when nobody takes them. A failure comes behind what was read before it.
fn pages(store: Store, filter: UsageFilter) -> impl Stream<Item = Result<Vec<UsageRow>, StoreError>> {
    let (pages, taken) = mpsc::channel(1);
    let (failure, failed) = oneshot::channel();
    let read = async move {
        if let Err(error) = store.export_usage(&filter, pages).await {
            // Nobody hears it when the client has left.
            let _ = failure.send(error);
        }
    };
    let end = async {
        let failed = failed.await;
        // What was read before is written to the client meanwhile.
        yield_now().await;
        failed
    };
    let reading = stream::once(read).filter_map(async |()| None);
    let pages = stream::unfold(taken, async |mut taken| taken.recv().await.map(|page| (Ok(page), taken)));
    let end = stream::once(end).filter_map(async |failed| failed.ok().map(Err));
    stream::select(reading, pages.chain(end))
}

fn written(format: RowFormat, write: impl FnOnce(&mut Rows<Vec<u8>>) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut rows = Rows::new(format, Vec::new());
    write(&mut rows)?;
    rows.finish()
}

/// The client sees the connection cut, the operator why.
fn failed(error: StoreError) -> io::Error {
    tracing::warn!(%error, "an export of usage was cut");
    io::Error::other(error)
}
