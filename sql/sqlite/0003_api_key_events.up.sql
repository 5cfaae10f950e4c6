-- Who changed what of which key. Gateways of before work on: the tables note their changes by themselves.
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (3, 'api_key_events', '0.1.0');

-- One row for each change, by whomever, committed together with it. Rows are added and never changed.
CREATE TABLE api_key_events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    action TEXT NOT NULL,
    key_id TEXT NOT NULL,
    actor TEXT NOT NULL DEFAULT 'sql',                 -- as the gateway or a command names it
    via TEXT NOT NULL DEFAULT 'sql',                   -- 'api', 'command', 'gateway'; 'sql': none of these said so
    origin TEXT,                                       -- the address or the host it came from
    before TEXT,                                       -- JSON objects; NULL: there was, or is, none
    after TEXT
);
CREATE INDEX api_key_events_key_id ON api_key_events (key_id);
CREATE INDEX api_key_events_at ON api_key_events (at);

-- Events that are not in the chain yet: gateways and commands move them there at once.
CREATE TABLE api_key_events_unsealed (event_id INTEGER PRIMARY KEY);

-- The chain. A hash covers its event and the hash before, so that nothing in between can be changed unseen (docs/audit.md).
CREATE TABLE api_key_event_seals (
    position INTEGER PRIMARY KEY,                      -- from 1, without gaps
    event_id INTEGER NOT NULL UNIQUE,
    hash TEXT NOT NULL                                 -- SHA-256, 64 hex digits
);

CREATE TRIGGER api_key_events_are_not_changed BEFORE UPDATE ON api_key_events BEGIN
    SELECT RAISE(ABORT, 'api_key_events only grows: what happened cannot be changed');
END;
CREATE TRIGGER api_key_events_are_kept BEFORE DELETE ON api_key_events BEGIN
    SELECT RAISE(ABORT, 'api_key_events only grows: what happened cannot be changed');
END;
CREATE TRIGGER api_key_event_seals_are_not_changed BEFORE UPDATE ON api_key_event_seals BEGIN
    SELECT RAISE(ABORT, 'api_key_event_seals only grows: what happened cannot be changed');
END;
CREATE TRIGGER api_key_event_seals_are_kept BEFORE DELETE ON api_key_event_seals BEGIN
    SELECT RAISE(ABORT, 'api_key_event_seals only grows: what happened cannot be changed');
END;

-- Who makes a change puts a row here at the beginning of the transaction, and takes it away at the end.
CREATE TABLE api_key_actor (name TEXT NOT NULL, via TEXT NOT NULL, origin TEXT);

-- Triggers write here; what was no change is left out, and who made it comes with it.
CREATE VIEW api_key_event AS SELECT action, key_id, before, after FROM api_key_events;
CREATE TRIGGER api_key_event_noted INSTEAD OF INSERT ON api_key_event WHEN NEW.before IS NOT NEW.after OR NEW.before IS NULL BEGIN
    INSERT INTO api_key_events (action, key_id, actor, via, origin, before, after)
        SELECT NEW.action, NEW.key_id, coalesce(name, 'sql'), coalesce(via, 'sql'), origin, NEW.before, NEW.after
        FROM (SELECT 1) LEFT JOIN api_key_actor LIMIT 1;
    INSERT INTO api_key_events_unsealed SELECT max(event_id) FROM api_key_events;
END;

-- A secret is shown by the first digits of its hash. What was written by hand need not be JSON.
CREATE VIEW api_keys_shown AS SELECT key_id, key_hash, json_object(
    'key_id', key_id, 'secret', substr(key_hash, 1, 16), 'key_prefix', key_prefix, 'user_id', user_id, 'name', name,
    'environment', environment, 'created_at', created_at, 'expires_at', expires_at,
    'is_active', json(iif(is_active, 'true', 'false')), 'revoked_at', revoked_at, 'rate_limit_per_hour', rate_limit_per_hour,
    'allowed_ips', iif(json_valid(allowed_ips), json(allowed_ips), allowed_ips),
    'scopes', iif(json_valid(scopes), json(scopes), scopes), 'minted', json(iif(minted, 'true', 'false'))) AS shown
    FROM api_keys;

-- Rows as they were before the statement that changes them: those of the row which it is at.
CREATE TABLE api_keys_before (key_id TEXT NOT NULL, shown TEXT NOT NULL);

-- INSERT OR REPLACE deletes without a word to the triggers of deletion; an upsert comes here too, and deletes nothing.
CREATE TRIGGER api_keys_replacing BEFORE INSERT ON api_keys BEGIN
    DELETE FROM api_keys_before;
    INSERT INTO api_keys_before SELECT key_id, shown FROM api_keys_shown WHERE key_id = NEW.key_id OR key_hash = NEW.key_hash;
END;
CREATE TRIGGER api_keys_insert_noted AFTER INSERT ON api_keys BEGIN
    INSERT INTO api_key_event SELECT 'deleted', key_id, shown, NULL FROM api_keys_before;
    DELETE FROM api_keys_before;
    INSERT INTO api_key_event SELECT 'created', key_id, NULL, shown FROM api_keys_shown WHERE key_id = NEW.key_id;
END;

-- Every column but last_used_at, which each flush of usage writes.
CREATE TRIGGER api_keys_updating BEFORE UPDATE OF
    key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, is_active, rate_limit_per_hour, allowed_ips,
    environment, scopes, revoked_at, minted ON api_keys
BEGIN
    DELETE FROM api_keys_before;
    INSERT INTO api_keys_before SELECT key_id, shown FROM api_keys_shown WHERE key_id = OLD.key_id;
END;
CREATE TRIGGER api_keys_update_noted AFTER UPDATE OF
    key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, is_active, rate_limit_per_hour, allowed_ips,
    environment, scopes, revoked_at, minted ON api_keys
BEGIN
    INSERT INTO api_key_event SELECT CASE
            WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN 'revoked'
            WHEN OLD.key_hash LIKE '$%' AND NEW.key_hash NOT LIKE '$%' THEN 'proven'
            WHEN OLD.key_hash <> NEW.key_hash THEN 'rotated'
            WHEN OLD.is_active AND NOT NEW.is_active THEN 'disabled'
            WHEN NEW.is_active AND NOT OLD.is_active THEN 'enabled'
            ELSE 'updated' END,
        NEW.key_id, was.shown, is_now.shown
        FROM api_keys_before AS was, api_keys_shown AS is_now WHERE was.key_id = OLD.key_id AND is_now.key_id = NEW.key_id;
    DELETE FROM api_keys_before;
END;

CREATE TRIGGER api_keys_delete_noted BEFORE DELETE ON api_keys BEGIN
    INSERT INTO api_key_event SELECT 'deleted', key_id, shown, NULL FROM api_keys_shown WHERE key_id = OLD.key_id;
END;

-- A secret beside the current one: rotated out, on offer, or put there by somebody.
CREATE TRIGGER api_key_previous_secrets_insert_noted AFTER INSERT ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_event VALUES ('secret_added', NEW.key_id, NULL,
        json_object('secret', substr(NEW.key_hash, 1, 16), 'valid_until', NEW.valid_until));
END;
CREATE TRIGGER api_key_previous_secrets_update_noted AFTER UPDATE ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_event VALUES ('secret_changed', NEW.key_id,
        json_object('secret', substr(OLD.key_hash, 1, 16), 'valid_until', OLD.valid_until),
        json_object('secret', substr(NEW.key_hash, 1, 16), 'valid_until', NEW.valid_until));
END;
CREATE TRIGGER api_key_previous_secrets_delete_noted AFTER DELETE ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_event VALUES ('secret_removed', OLD.key_id,
        json_object('secret', substr(OLD.key_hash, 1, 16), 'valid_until', OLD.valid_until), NULL);
END;
