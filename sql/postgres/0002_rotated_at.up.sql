-- When a key got its current secret. Gateways of before work on: none of them names the column.
-- By hand: psql --single-transaction -f 0002_rotated_at.up.sql
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (2, 'rotated_at', '0.1.0');

ALTER TABLE api_keys ADD COLUMN rotated_at timestamptz;  -- NULL: not since this migration, so the secret may be as old as the key

-- The table notes it by itself, so that what an older gateway or plain SQL rotates counts too.
CREATE FUNCTION api_keys_rotated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.rotated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER api_keys_rotated BEFORE UPDATE OF key_hash ON api_keys FOR EACH ROW
    WHEN (NEW.key_hash <> OLD.key_hash AND NEW.rotated_at IS NOT DISTINCT FROM OLD.rotated_at)
    EXECUTE FUNCTION api_keys_rotated();
