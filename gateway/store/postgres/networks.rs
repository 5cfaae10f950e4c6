//! Where keys are used from.

use std::sync::Arc;

use tokio_postgres::Row;

use super::pool::PostgresStore;
use super::values::timestamp;
use crate::store::networks::MOST_OF_A_KEY;
use crate::store::{KeyNetwork, NewNetwork, StoreError};

impl PostgresStore {
    pub async fn note_networks(&self, used: Arc<[KeyNetwork]>) -> Result<Vec<NewNetwork>, StoreError> {
        // What the statement reads of the table is how it was before.
        let sql = format!(
            "WITH used AS (SELECT DISTINCT key_id, network FROM unnest($1::text[], $2::text[]) AS used (key_id, network)),
                 met AS (SELECT u.key_id, min(n.first_met_at) AS at, count(n.network) AS networks
                     FROM (SELECT DISTINCT key_id FROM used) u LEFT JOIN api_key_networks n USING (key_id) GROUP BY 1),
                 noted AS (INSERT INTO api_key_networks (key_id, network)
                     SELECT key_id, network FROM used JOIN met USING (key_id) WHERE networks < {MOST_OF_A_KEY}
                     ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING key_id, network)
             SELECT key_id, network, at FROM noted JOIN met USING (key_id) WHERE at IS NOT NULL"
        );
        let ids: Vec<&str> = used.iter().map(|used| used.key_id.as_str()).collect();
        let networks: Vec<String> = used.iter().map(|used| used.network.to_string()).collect();
        let rows = self.change(async |transaction| Ok(transaction.query(&sql, &[&ids, &networks]).await?)).await?;
        Ok(rows.iter().filter_map(new_network).collect())
    }
}

fn new_network(row: &Row) -> Option<NewNetwork> {
    let network = row.get::<_, &str>(1).parse().ok()?;
    let key_network = KeyNetwork { key_id: row.get::<_, &str>(0).into(), network };
    Some(NewNetwork { key_network, key_met_at: timestamp(row.get(2)) })
}
