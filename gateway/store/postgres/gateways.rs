//! stub

use super::PostgresStore;
use crate::model::timestamp::Timestamp;
use crate::store::{Changes, GatewayReport, StoreError};

impl PostgresStore {
    pub async fn change_cursor(&self) -> Result<i64, StoreError> {
        todo!()
    }

    pub async fn changes_since(&self, cursor: i64) -> Result<Changes, StoreError> {
        todo!()
    }

    pub async fn prune_changes(&self, before: Timestamp) -> Result<usize, StoreError> {
        todo!()
    }

    pub async fn report_gateway(&self, gateway_id: &str, version: i64) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn forget_gateway(&self, gateway_id: &str) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn gateways(&self) -> Result<Vec<GatewayReport>, StoreError> {
        todo!()
    }
}
