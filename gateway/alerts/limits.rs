//! Keys that have used most of their hour's limit, over all gateways, as far as this one has heard when it last asked for permits.

use serde_json::json;

use super::alert::Finding;
use super::teller::Teller;
use crate::config;
use crate::limits::{HourUse, Limiter};
use crate::observe::metrics::AlertKind;

pub fn look(limiter: &Limiter, rules: &config::Alerts, teller: &Teller) {
    if rules.near_limit == 0 {
        return;
    }
    for hour in limiter.hours().filter(|hour| is_near(hour, rules.near_limit)) {
        let HourUse { key_id, used, limit } = hour;
        let summary = format!("key {key_id} has used {used} of its {limit} requests of this hour");
        let details = json!({ "key_id": key_id.as_str(), "used": used, "limit": limit });
        teller.found(&Finding { kind: AlertKind::NearLimit, subject: key_id.to_string(), summary, details }, rules);
    }
}

fn is_near(hour: &HourUse, per_cent: u64) -> bool {
    u128::from(hour.used) * 100 >= u128::from(hour.limit) * u128::from(per_cent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_near_from_its_share_on() {
        let near = |used, limit| is_near(&HourUse { key_id: "k".into(), used, limit }, 90);
        assert_eq!([near(89, 100), near(90, 100), near(100, 100), near(0, 1), near(1, 1)], [false, true, true, false, true]);
        assert!(!near(u64::MAX / 2, u64::MAX));
    }
}
