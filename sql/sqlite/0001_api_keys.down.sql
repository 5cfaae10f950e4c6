DROP TABLE api_gateways;
DROP TABLE api_key_leases;
DROP TABLE api_key_hours;
DROP TABLE api_key_usage_positions;
DROP TABLE api_key_usage;
DROP TABLE api_key_previous_secrets;
DROP TABLE api_keys;
DROP TABLE api_key_changes;
