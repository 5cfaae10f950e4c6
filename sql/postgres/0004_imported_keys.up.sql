-- Keys brought from elsewhere. One that came as a bcrypt hash has that in its key_hash, which no SHA-256 begins like, until it is used
-- for the first time. Gateways of before work on: they take such a key for unknown.
-- By hand: psql --single-transaction -f 0004_imported_keys.up.sql
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (4, 'imported_keys', '0.1.0');

-- The hash that a key was brought with; stays, so that the same file can be imported again.
ALTER TABLE api_keys ADD COLUMN imported_hash text UNIQUE;

-- By how a key begins, those are found that may be it.
CREATE INDEX api_keys_bcrypt ON api_keys (key_prefix) WHERE substr(key_hash, 1, 1) = '$' AND revoked_at IS NULL;
ALTER TABLE api_key_previous_secrets ADD COLUMN key_prefix text;  -- as the key had it with this secret
CREATE INDEX api_key_previous_secrets_bcrypt ON api_key_previous_secrets (key_prefix) WHERE substr(key_hash, 1, 1) = '$';
