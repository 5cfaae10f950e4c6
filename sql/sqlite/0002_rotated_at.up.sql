-- When a key got its current secret. Gateways of before work on: none of them names the column.
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (2, 'rotated_at', '0.1.0');

ALTER TABLE api_keys ADD COLUMN rotated_at TEXT;       -- NULL: not since this migration, so the secret may be as old as the key

-- The table notes it by itself, so that what an older gateway or plain SQL rotates counts too.
CREATE TRIGGER api_keys_rotated AFTER UPDATE OF key_hash ON api_keys
    WHEN NEW.key_hash <> OLD.key_hash AND NEW.rotated_at IS OLD.rotated_at
BEGIN
    UPDATE api_keys SET rotated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE key_id = NEW.key_id;
END;
