//! Where keys are used from.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::connections::SqliteStore;
use crate::model::ids::KeyId;
use crate::model::timestamp::Timestamp;
use crate::store::networks::MOST_OF_A_KEY;
use crate::store::{KeyNetwork, NewNetwork, StoreError};

impl SqliteStore {
    pub async fn note_networks(&self, used: Arc<[KeyNetwork]>) -> Result<Vec<NewNetwork>, StoreError> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let new = note(&transaction, &used)?;
            transaction.commit()?;
            Ok(new)
        })
        .await
    }
}

fn note(connection: &Connection, used: &[KeyNetwork]) -> rusqlite::Result<Vec<NewNetwork>> {
    // As it was before any of these.
    let mut met: HashMap<&KeyId, Option<Timestamp>> = HashMap::new();
    for KeyNetwork { key_id, .. } in used {
        if !met.contains_key(key_id) {
            met.insert(key_id, first_met(connection, key_id)?);
        }
    }
    let insert = "INSERT INTO api_key_networks (key_id, network) SELECT ?1, ?2 \
                  WHERE (SELECT count(*) FROM api_key_networks WHERE key_id = ?1) < ?3 ON CONFLICT DO NOTHING";
    let mut new = Vec::new();
    for key_network in used {
        let KeyNetwork { key_id, network } = key_network;
        let is_new =
            connection.prepare_cached(insert)?.execute(params![key_id.as_str(), network.to_string(), MOST_OF_A_KEY])? > 0;
        let met_before = met[key_id].filter(|_| is_new);
        new.extend(met_before.map(|key_met_at| NewNetwork { key_network: key_network.clone(), key_met_at }));
    }
    Ok(new)
}

fn first_met(connection: &Connection, key_id: &KeyId) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT min(first_met_at) FROM api_key_networks WHERE key_id = ?1";
    let first = connection.prepare_cached(sql)?.query_row([key_id.as_str()], |row| row.get::<_, Option<String>>(0))?;
    Ok(first.and_then(|first| Timestamp::parse(&first)))
}
