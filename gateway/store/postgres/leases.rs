//! stub

use super::PostgresStore;
use crate::model::ids::KeyId;
use crate::model::lease::{Debt, Grant, LeaseAnswer, LeaseReport, LeaseRequest};
use crate::model::timestamp::Timestamp;
use crate::store::StoreError;

impl PostgresStore {
    pub async fn lease(&self, key_id: &KeyId, spool_id: Option<&str>, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        todo!()
    }

    pub async fn settle_leases(&self, reports: Vec<LeaseReport>, debts: Vec<(KeyId, Debt)>) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn leases_of(&self, spool_id: &str) -> Result<Vec<Grant>, StoreError> {
        todo!()
    }

    pub async fn hour_usage(&self, key_id: &KeyId, now: Timestamp) -> Result<u64, StoreError> {
        todo!()
    }

    pub async fn reset_hour(&self, key_id: &KeyId) -> Result<(), StoreError> {
        todo!()
    }
}
