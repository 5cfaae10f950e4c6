SELECT pg_notify('hokusai_gateway', 'all');
DROP FUNCTION api_key_reset_hour, api_key_settle_all, api_key_settle, api_key_lease, api_key_end_lease, api_key_count,
    api_key_lock_hours;
DROP TABLE api_key_leases;
DROP TABLE api_key_hours;
DROP TABLE api_key_usage_positions;
DROP TABLE api_key_usage;
DROP TABLE api_gateway_syncs;
DROP TABLE api_gateways;
DROP TABLE api_key_previous_secrets;
DROP TABLE api_keys;
DROP TABLE api_key_migrations;
DROP FUNCTION api_gateway_syncs_asked;
DROP FUNCTION api_keys_truncated;
DROP FUNCTION api_key_previous_secrets_changed;
DROP FUNCTION api_keys_changed;
