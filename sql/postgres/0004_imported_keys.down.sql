DROP INDEX api_key_previous_secrets_bcrypt;
ALTER TABLE api_key_previous_secrets DROP COLUMN key_prefix;
DROP INDEX api_keys_bcrypt;
ALTER TABLE api_keys DROP COLUMN imported_hash;
DELETE FROM api_key_migrations WHERE version = 4;
