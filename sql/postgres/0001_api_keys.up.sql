-- Keys, their use, their hours. By hand: psql --single-transaction -f 0001_api_keys.up.sql

-- Which of these files were applied. Each writes its own row, so that one applied by hand is known like one of `migrate up`.
CREATE TABLE api_key_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    oldest_binary text NOT NULL,                       -- the oldest hokusai-gateway that can work with the tables afterwards
    applied_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (1, 'api_keys', '0.1.0');

-- Room is left on each page, so that last_used_at is written beside the old row and touches no index.
CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    key_hash text NOT NULL UNIQUE,                     -- SHA-256 of the whole key, 64 hex digits
    key_prefix text NOT NULL,                          -- the part that may be shown
    user_id text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    is_active boolean NOT NULL DEFAULT TRUE,
    rate_limit_per_hour bigint DEFAULT 1000 CHECK (rate_limit_per_hour > 0),  -- NULL: no limit
    allowed_ips jsonb CHECK (jsonb_typeof(allowed_ips) = 'array'),  -- addresses and CIDRs; NULL or []: any
    environment text NOT NULL DEFAULT 'production' CHECK (environment IN ('production', 'test', 'development')),
    scopes jsonb CHECK (jsonb_typeof(scopes) = 'array'),            -- strings
    revoked_at timestamptz,                            -- set for good by a revocation
    minted boolean NOT NULL DEFAULT FALSE              -- the key has our checksum; FALSE for one brought from elsewhere
) WITH (fillfactor = 80);
CREATE INDEX api_keys_user_id ON api_keys (user_id);
CREATE INDEX api_keys_foreign ON api_keys (key_id) WHERE NOT minted;

-- Secrets that were rotated out and work until their grace period ends.
CREATE TABLE api_key_previous_secrets (
    key_hash text PRIMARY KEY,
    key_id text NOT NULL REFERENCES api_keys (key_id) ON UPDATE CASCADE ON DELETE CASCADE,
    valid_until timestamptz NOT NULL,
    minted boolean NOT NULL DEFAULT FALSE
);
CREATE INDEX api_key_previous_secrets_key_id ON api_key_previous_secrets (key_id);

-- What running gateways hear of a change, whoever made it, once it is committed and in the order of the commits:
--   key HASH          what a look-up of this secret answers
--   limit KEY_ID      this key's hour was reset
--   all               anything
--   sync TOKEN KEY_ID somebody waits to hear that this key's changes are known
CREATE FUNCTION api_keys_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('hokusai_gateway', 'key ' || OLD.key_hash);
        PERFORM pg_notify('hokusai_gateway', 'key ' || key_hash) FROM api_key_previous_secrets WHERE key_id = OLD.key_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('hokusai_gateway', 'key ' || NEW.key_hash);
    END IF;
    RETURN NULL;
END $$;

-- Every column but last_used_at, which each flush of usage writes.
CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF
    key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, is_active, rate_limit_per_hour, allowed_ips,
    environment, scopes, revoked_at, minted ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_changed();

CREATE FUNCTION api_key_previous_secrets_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('hokusai_gateway', 'key ' || OLD.key_hash);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('hokusai_gateway', 'key ' || NEW.key_hash);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER api_key_previous_secrets_changed AFTER INSERT OR UPDATE OR DELETE ON api_key_previous_secrets
    FOR EACH ROW EXECUTE FUNCTION api_key_previous_secrets_changed();

CREATE FUNCTION api_keys_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hokusai_gateway', 'all');
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_truncated AFTER TRUNCATE ON api_keys EXECUTE FUNCTION api_keys_truncated();
CREATE TRIGGER api_key_previous_secrets_truncated AFTER TRUNCATE ON api_key_previous_secrets
    EXECUTE FUNCTION api_keys_truncated();

-- The gateways that run: written twice a second, deleted when one ends.
CREATE TABLE api_gateways (
    gateway_id text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Somebody waits until every gateway knows what was changed of a key before this row was committed.
CREATE TABLE api_gateway_syncs (
    token bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    confirmed_by text[] NOT NULL DEFAULT '{}'
);

CREATE FUNCTION api_gateway_syncs_asked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hokusai_gateway', 'sync ' || NEW.token || ' ' || NEW.key_id);
    RETURN NULL;
END $$;
CREATE TRIGGER api_gateway_syncs_asked AFTER INSERT ON api_gateway_syncs
    FOR EACH ROW EXECUTE FUNCTION api_gateway_syncs_asked();

-- One row for each admitted request. No foreign key: a deleted key must not hold up a batch.
CREATE TABLE api_key_usage (
    id bigint GENERATED ALWAYS AS IDENTITY,
    api_key_id text NOT NULL,
    endpoint text NOT NULL,                            -- the path without its query
    timestamp timestamptz NOT NULL,                    -- when the request arrived
    response_time_ms double precision NOT NULL,
    status_code integer NOT NULL,
    method text,
    request_id text,
    client_ip text,
    request_bytes bigint,
    response_bytes bigint
);
