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

-- One row for each admitted request, in a partition for each day (UTC) that the gateway makes. No foreign key: a deleted key
-- must not hold up a batch.
CREATE TABLE api_key_usage (
    id bigint GENERATED ALWAYS AS IDENTITY,
    api_key_id text NOT NULL,
    endpoint text NOT NULL,                            -- the path without its query
    timestamp timestamptz NOT NULL,                    -- when the request arrived
    response_time_ms double precision NOT NULL,
    status_code integer NOT NULL,
    method text,
    request_id text,
    client_ip inet,
    request_bytes bigint,
    response_bytes bigint,
    PRIMARY KEY (timestamp, id)
) PARTITION BY RANGE (timestamp);

-- Takes what has no partition of its own yet, as usage brought from elsewhere; the gateway gives it one.
CREATE TABLE api_key_usage_default PARTITION OF api_key_usage DEFAULT;

-- How far each gateway's journal has been written here; committed together with the rows themselves.
CREATE TABLE api_key_usage_positions (
    spool_id text PRIMARY KEY,
    segment bigint NOT NULL,
    "offset" bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);

-- Requests counted in each clock hour (hours since the epoch), what gateways hold on lease included.
CREATE TABLE api_key_hours (
    key_id text NOT NULL,
    hour bigint NOT NULL,
    used bigint NOT NULL,
    short_at timestamptz,                              -- when somebody was last refused while others held some
    PRIMARY KEY (key_id, hour)
) WITH (fillfactor = 50);

-- What a gateway, named by its spool, has last asked of a key. The row outlives the lease: a question that comes late finds
-- there that a later one was carried out.
CREATE TABLE api_key_leases (
    key_id text NOT NULL,
    spool_id text NOT NULL,
    lease_id bigint NOT NULL,                          -- of the question, and of the lease that it brought
    hour bigint NOT NULL,
    granted bigint NOT NULL,                           -- permits of the lease; 0: none, or it is over
    spent bigint NOT NULL DEFAULT 0,                   -- of them, as last told
    is_spooled boolean NOT NULL DEFAULT TRUE,          -- a killed gateway finds the lease again and settles it
    PRIMARY KEY (key_id, spool_id)
) WITH (fillfactor = 50);
CREATE INDEX api_key_leases_spool ON api_key_leases (spool_id);

-- The functions below decide over an hour's count, each question in one round trip. Whoever calls one holds the locks of the
-- keys in it until the end of the transaction, taken in one order, so that nobody waits in a circle; each statement then sees
-- what all before have decided (READ COMMITTED).

CREATE FUNCTION api_key_lock_hours(key_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lock integer;
BEGIN
    FOR lock IN SELECT DISTINCT hashtext(named) FROM unnest(key_ids) AS named ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(1752904805, lock);
    END LOOP;
END $$;

-- Adds to an hour. With its first request, what the key has left from before the previous hour goes.
CREATE FUNCTION api_key_count(counted_key text, counted_hour bigint, more bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_hours SET used = used + more WHERE key_id = counted_key AND hour = counted_hour;
    IF NOT FOUND THEN
        DELETE FROM api_key_hours WHERE key_id = counted_key AND hour < counted_hour - 1;
        DELETE FROM api_key_leases WHERE key_id = counted_key AND hour < counted_hour - 1;
        INSERT INTO api_key_hours (key_id, hour, used) VALUES (counted_key, counted_hour, more);
    END IF;
END $$;

-- What was not spent of a lease goes back.
CREATE FUNCTION api_key_end_lease(ended api_key_leases, told_spent bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_hours SET used = greatest(used - greatest(ended.granted - told_spent, 0), 0)
        WHERE key_id = ended.key_id AND hour = ended.hour;
    UPDATE api_key_leases SET granted = 0, spent = 0 WHERE key_id = ended.key_id AND spool_id = ended.spool_id;
END $$;

-- A gateway needs permits of a key: takes back what it returns, then grants what the hour allows. Does nothing when a later
-- question of the gateway was carried out before (`last`): the lease which that brought may be in use.
CREATE FUNCTION api_key_lease(
    asked_key text, asking_spool text, question bigint, is_spooled boolean, hour_limit bigint, wanted bigint,
    ended_lease bigint, ended_spent bigint, debt_hour bigint, debt bigint,
    OUT last bigint, OUT decided_at timestamptz, OUT counted bigint, OUT permits bigint, OUT others_hold boolean
) LANGUAGE plpgsql AS $$
DECLARE
    this_hour bigint;
    own api_key_leases;
    rest bigint;
BEGIN
    PERFORM api_key_lock_hours(ARRAY[asked_key]);
    -- Read now that the lock is held, so that hours begin in the order in which questions are decided.
    decided_at := clock_timestamp();
    this_hour := floor(extract(epoch FROM decided_at) / 3600);
    SELECT * INTO own FROM api_key_leases WHERE key_id = asked_key AND spool_id = asking_spool;
    IF own.lease_id >= question THEN
        last := own.lease_id;
        RETURN;
    END IF;
    IF own.granted > 0 THEN
        -- A lease that is not told of was granted in an answer that never arrived.
        PERFORM api_key_end_lease(own, CASE
            WHEN own.lease_id = ended_lease THEN ended_spent WHEN own.is_spooled THEN 0 ELSE own.granted END);
    END IF;
    IF debt IS NOT NULL THEN
        PERFORM api_key_count(asked_key, debt_hour, debt);
    END IF;
    counted := coalesce((SELECT used FROM api_key_hours WHERE key_id = asked_key AND hour = this_hour), 0);
    rest := greatest(hour_limit - counted, 0);
    -- At most a tenth of what is left, so that several gateways share the last of an hour.
    permits := least(wanted, greatest(rest / 10, 1), rest);
    others_hold := FALSE;
    IF permits > 0 THEN
        PERFORM api_key_count(asked_key, this_hour, permits);
        counted := counted + permits;
    ELSIF wanted > 0 THEN
        others_hold := EXISTS (SELECT FROM api_key_leases WHERE key_id = asked_key AND hour = this_hour AND granted > spent);
        UPDATE api_key_hours SET short_at = decided_at WHERE key_id = asked_key AND hour = this_hour AND others_hold;
    END IF;
    INSERT INTO api_key_leases VALUES (asked_key, asking_spool, question, this_hour, permits, 0, is_spooled)
        ON CONFLICT (key_id, spool_id) DO UPDATE SET lease_id = excluded.lease_id, hour = excluded.hour,
            granted = excluded.granted, spent = 0, is_spooled = excluded.is_spooled;
END $$;

-- A gateway tells what became of a lease, and what it admitted without any. Telling the same of a lease twice changes nothing.
-- Returns whether the lease is wanted back: it is void, or somebody was refused who will ask again after a second.
CREATE FUNCTION api_key_settle(
    telling_spool text, told_key text, told_lease bigint, told_spent bigint, is_finished boolean, debt_hour bigint, debt bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    own api_key_leases;
BEGIN
    IF debt IS NOT NULL THEN
        PERFORM api_key_count(told_key, debt_hour, debt);
    END IF;
    IF told_lease IS NULL THEN
        RETURN FALSE;
    END IF;
    SELECT * INTO own FROM api_key_leases
        WHERE key_id = told_key AND spool_id = telling_spool AND lease_id = told_lease AND granted > 0;
    IF NOT FOUND THEN
        RETURN NOT is_finished;
    END IF;
    IF is_finished THEN
        PERFORM api_key_end_lease(own, told_spent);
        RETURN FALSE;
    END IF;
    UPDATE api_key_leases SET spent = greatest(spent, least(told_spent, granted))
        WHERE key_id = told_key AND spool_id = telling_spool;
    RETURN EXISTS (
        SELECT FROM api_key_hours WHERE key_id = told_key AND hour = own.hour AND short_at > clock_timestamp() - interval '1.5 s');
END $$;

-- The same of several keys, each once.
CREATE FUNCTION api_key_settle_all(
    telling_spool text, keys text[], leases bigint[], spent bigint[], finished boolean[], debt_hours bigint[], debts bigint[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM api_key_lock_hours(keys);
    RETURN ARRAY(
        SELECT api_key_settle(telling_spool, of_key, lease, so_far, is_finished, in_hour, requests)
            FROM unnest(keys, leases, spent, finished, debt_hours, debts) WITH ORDINALITY
                AS told (of_key, lease, so_far, is_finished, in_hour, requests, place)
            ORDER BY place);
END $$;

-- Starts the current hour of a key anew: every lease is void, and gateways are told.
CREATE FUNCTION api_key_reset_hour(reset_key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    this_hour bigint;
BEGIN
    PERFORM api_key_lock_hours(ARRAY[reset_key]);
    this_hour := floor(extract(epoch FROM clock_timestamp()) / 3600);
    UPDATE api_key_leases SET granted = 0, spent = 0 WHERE key_id = reset_key AND hour = this_hour;
    DELETE FROM api_key_hours WHERE key_id = reset_key AND hour = this_hour;
    PERFORM pg_notify('hokusai_gateway', 'limit ' || reset_key);
END $$;
