-- Keys, their use, their hours. Times are UTC text as SQLite's own date functions write it ('2026-11-22 10:00:00.000').

-- Which of these files were applied. Each writes its own row, so that one applied by hand is known like one of `migrate up`.
CREATE TABLE api_key_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    oldest_binary TEXT NOT NULL,                       -- the oldest hokusai-gateway that can work with the tables afterwards
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (1, 'api_keys', '0.1.0');

CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY NOT NULL,
    key_hash TEXT NOT NULL UNIQUE,                     -- SHA-256 of the whole key, 64 hex digits
    key_prefix TEXT NOT NULL,                          -- the part that may be shown
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    expires_at TEXT,
    last_used_at TEXT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    rate_limit_per_hour INTEGER DEFAULT 1000 CHECK (rate_limit_per_hour > 0),  -- NULL: no limit
    allowed_ips TEXT,                                  -- JSON array of addresses and CIDRs; NULL or []: any
    environment TEXT NOT NULL DEFAULT 'production' CHECK (environment IN ('production', 'test', 'development')),
    scopes TEXT,                                       -- JSON array of strings
    revoked_at TEXT,                                   -- set for good by a revocation
    minted BOOLEAN NOT NULL DEFAULT FALSE              -- the key has our checksum; FALSE for one brought from elsewhere
);
CREATE INDEX api_keys_user_id ON api_keys (user_id);
CREATE INDEX api_keys_foreign ON api_keys (key_id) WHERE NOT minted;

-- Secrets that were rotated out and work until their grace period ends.
CREATE TABLE api_key_previous_secrets (
    key_hash TEXT PRIMARY KEY NOT NULL,
    key_id TEXT NOT NULL REFERENCES api_keys (key_id) ON DELETE CASCADE,
    valid_until TEXT NOT NULL,
    minted BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX api_key_previous_secrets_key_id ON api_key_previous_secrets (key_id);

-- What running gateways read to learn of a change, whoever made it. Each row names a secret (kind 'key')
-- or a key whose hour was reset (kind 'limit').
CREATE TABLE api_key_changes (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('key', 'limit')),
    key_id TEXT NOT NULL,
    key_hash TEXT,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

-- INSERT OR REPLACE deletes without a word to the triggers of deletion.
CREATE TRIGGER api_keys_replaced BEFORE INSERT ON api_keys BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash)
        SELECT 'key', key_id, key_hash FROM api_keys WHERE key_id = NEW.key_id OR key_hash = NEW.key_hash;
END;

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash) VALUES ('key', NEW.key_id, NEW.key_hash);
END;

-- Every column but last_used_at, which each flush of usage writes.
CREATE TRIGGER api_keys_updated AFTER UPDATE OF
    key_id, key_hash, key_prefix, user_id, name, expires_at, is_active, rate_limit_per_hour, allowed_ips,
    environment, scopes, revoked_at, minted ON api_keys
BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash)
        SELECT 'key', OLD.key_id, OLD.key_hash
        UNION SELECT 'key', NEW.key_id, NEW.key_hash
        UNION SELECT 'key', key_id, key_hash FROM api_key_previous_secrets WHERE key_id IN (OLD.key_id, NEW.key_id);
END;

CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash)
        SELECT 'key', OLD.key_id, OLD.key_hash
        UNION SELECT 'key', key_id, key_hash FROM api_key_previous_secrets WHERE key_id = OLD.key_id;
    DELETE FROM api_key_previous_secrets WHERE key_id = OLD.key_id;
END;

CREATE TRIGGER api_key_previous_secrets_inserted AFTER INSERT ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash) VALUES ('key', NEW.key_id, NEW.key_hash);
END;

CREATE TRIGGER api_key_previous_secrets_updated AFTER UPDATE ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash)
        SELECT 'key', OLD.key_id, OLD.key_hash UNION SELECT 'key', NEW.key_id, NEW.key_hash;
END;

CREATE TRIGGER api_key_previous_secrets_deleted AFTER DELETE ON api_key_previous_secrets BEGIN
    INSERT INTO api_key_changes (kind, key_id, key_hash) VALUES ('key', OLD.key_id, OLD.key_hash);
END;

-- One row for each admitted request. No foreign key: a deleted key must not hold up a batch.
CREATE TABLE api_key_usage (
    id INTEGER PRIMARY KEY,
    api_key_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,                            -- the path without its query
    timestamp TEXT NOT NULL,                           -- when the request arrived
    response_time_ms REAL NOT NULL,
    status_code INTEGER NOT NULL,
    method TEXT,
    request_id TEXT,
    client_ip TEXT,
    request_bytes INTEGER,
    response_bytes INTEGER
);
CREATE INDEX api_key_usage_timestamp ON api_key_usage (timestamp);

-- How far each gateway's journal has been written here; committed together with the rows themselves.
CREATE TABLE api_key_usage_positions (
    spool_id TEXT PRIMARY KEY NOT NULL,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    written_at TEXT NOT NULL
);

-- Requests counted in each clock hour (hours since the epoch), what gateways hold on lease included.
CREATE TABLE api_key_hours (
    key_id TEXT NOT NULL,
    hour INTEGER NOT NULL,
    used INTEGER NOT NULL,
    short_at INTEGER,                                  -- when somebody was last refused while others held some; ms since the epoch
    PRIMARY KEY (key_id, hour)
) WITHOUT ROWID;

-- What a gateway, named by its spool, has last asked of a key. The row outlives the lease: a question that comes late finds
-- there that a later one was carried out.
CREATE TABLE api_key_leases (
    key_id TEXT NOT NULL,
    spool_id TEXT NOT NULL,
    lease_id INTEGER NOT NULL,                         -- of the question, and of the lease that it brought
    hour INTEGER NOT NULL,
    granted INTEGER NOT NULL,                          -- permits of the lease; 0: none, or it is over
    spent INTEGER NOT NULL DEFAULT 0,                  -- of them, as last told
    is_spooled BOOLEAN NOT NULL DEFAULT TRUE,          -- a killed gateway finds the lease again and settles it
    PRIMARY KEY (key_id, spool_id)
) WITHOUT ROWID;
CREATE INDEX api_key_leases_spool ON api_key_leases (spool_id);

-- How far each running gateway has followed api_key_changes: written twice a second, deleted when it ends.
CREATE TABLE api_gateways (
    gateway_id TEXT PRIMARY KEY NOT NULL,
    seen_version INTEGER NOT NULL,
    seen_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
) WITHOUT ROWID;
