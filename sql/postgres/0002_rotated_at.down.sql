DROP TRIGGER api_keys_rotated ON api_keys;
DROP FUNCTION api_keys_rotated;
ALTER TABLE api_keys DROP COLUMN rotated_at;
DELETE FROM api_key_migrations WHERE version = 2;
