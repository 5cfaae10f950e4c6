-- Who changed what of which key. Gateways of before work on: the tables note their changes by themselves.
-- By hand: psql --single-transaction -f 0003_api_key_events.up.sql
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (3, 'api_key_events', '0.1.0');

-- One row for each change, by whomever, committed together with it. Rows are added and never changed.
CREATE TABLE api_key_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    action text NOT NULL,
    key_id text NOT NULL,
    actor text NOT NULL,                               -- as the gateway or a command names it; else the role
    via text NOT NULL,                                 -- 'api', 'command', 'gateway'; 'sql': none of these said so
    origin text,                                       -- the address or the host it came from
    database_role text,
    before text,                                       -- JSON objects; NULL: there was, or is, none
    after text
);
CREATE INDEX api_key_events_key_id ON api_key_events (key_id);
CREATE INDEX api_key_events_at ON api_key_events (at);

-- Events that are not in the chain yet: gateways and commands move them there at once.
CREATE TABLE api_key_events_unsealed (event_id bigint PRIMARY KEY);

-- The chain. A hash covers its event and the hash before, so that nothing in between can be changed unseen (docs/audit.md).
-- It is made after the commit: made in it, one change would wait for another that is never committed.
CREATE TABLE api_key_event_seals (
    position bigint PRIMARY KEY,                       -- from 1, without gaps
    event_id bigint NOT NULL UNIQUE,
    hash text NOT NULL                                 -- SHA-256, 64 hex digits
);

CREATE FUNCTION api_key_events_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% only grows: what happened cannot be changed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER api_key_events_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON api_key_events
    EXECUTE FUNCTION api_key_events_are_kept();
CREATE TRIGGER api_key_event_seals_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON api_key_event_seals
    EXECUTE FUNCTION api_key_events_are_kept();

-- Notes a change, unless nothing changed. Who makes it says so in `hokusai.actor`, for the transaction.
CREATE FUNCTION api_key_event(done text, of_key text, was jsonb, is_now jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named jsonb := nullif(current_setting('hokusai.actor', TRUE), '');
    noted bigint;
BEGIN
    IF was = is_now THEN
        RETURN;
    END IF;
    INSERT INTO api_key_events (action, key_id, actor, via, origin, database_role, before, after)
        VALUES (done, of_key, coalesce(named ->> 'name', session_user), coalesce(named ->> 'via', 'sql'),
            CASE WHEN named IS NULL THEN host(inet_client_addr()) ELSE named ->> 'origin' END,
            session_user, was::text, is_now::text)
        RETURNING event_id INTO noted;
    INSERT INTO api_key_events_unsealed VALUES (noted);
END $$;
REVOKE EXECUTE ON FUNCTION api_key_event FROM PUBLIC;

-- A secret is shown by the first digits of its hash.
CREATE FUNCTION api_key_shown(k api_keys) RETURNS jsonb LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
    SELECT jsonb_build_object('key_id', k.key_id, 'secret', left(k.key_hash, 16), 'key_prefix', k.key_prefix,
        'user_id', k.user_id, 'name', k.name, 'environment', k.environment, 'created_at', k.created_at,
        'expires_at', k.expires_at, 'is_active', k.is_active, 'revoked_at', k.revoked_at,
        'rate_limit_per_hour', k.rate_limit_per_hour, 'allowed_ips', k.allowed_ips, 'scopes', k.scopes, 'minted', k.minted);
$$;

-- The functions of triggers have the rights of the tables' owner, so that whoever may change a key can neither keep that out of
-- the events nor write any other.
CREATE FUNCTION api_keys_noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN PERFORM api_key_event('created', NEW.key_id, NULL, api_key_shown(NEW));
        WHEN 'DELETE' THEN PERFORM api_key_event('deleted', OLD.key_id, api_key_shown(OLD), NULL);
        WHEN 'TRUNCATE' THEN PERFORM api_key_event('truncated', '*', NULL, NULL);
        ELSE PERFORM api_key_event(CASE
                WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN 'revoked'
                WHEN OLD.key_hash LIKE '$%' AND NEW.key_hash NOT LIKE '$%' THEN 'proven'
                WHEN OLD.key_hash <> NEW.key_hash THEN 'rotated'
                WHEN OLD.is_active AND NOT NEW.is_active THEN 'disabled'
                WHEN NEW.is_active AND NOT OLD.is_active THEN 'enabled'
                ELSE 'updated' END,
            NEW.key_id, api_key_shown(OLD), api_key_shown(NEW));
    END CASE;
    RETURN NULL;
END $$;

-- Every column but last_used_at, which each flush of usage writes.
CREATE TRIGGER api_keys_noted AFTER INSERT OR DELETE OR UPDATE OF
    key_id, key_hash, key_prefix, user_id, name, created_at, expires_at, is_active, rate_limit_per_hour, allowed_ips,
    environment, scopes, revoked_at, minted ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_noted();
CREATE TRIGGER api_keys_truncation_noted AFTER TRUNCATE ON api_keys EXECUTE FUNCTION api_keys_noted();

CREATE FUNCTION api_key_previous_secret_shown(p api_key_previous_secrets) RETURNS jsonb
    LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
    SELECT jsonb_build_object('secret', left(p.key_hash, 16), 'valid_until', p.valid_until, 'minted', p.minted);
$$;

-- A secret beside the current one: rotated out, on offer, or put there by somebody.
CREATE FUNCTION api_key_previous_secrets_noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN PERFORM api_key_event('secret_added', NEW.key_id, NULL, api_key_previous_secret_shown(NEW));
        WHEN 'DELETE' THEN PERFORM api_key_event('secret_removed', OLD.key_id, api_key_previous_secret_shown(OLD), NULL);
        WHEN 'TRUNCATE' THEN PERFORM api_key_event('truncated', '*', NULL, NULL);
        ELSE PERFORM api_key_event('secret_changed', NEW.key_id, api_key_previous_secret_shown(OLD),
            api_key_previous_secret_shown(NEW));
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER api_key_previous_secrets_noted AFTER INSERT OR UPDATE OR DELETE ON api_key_previous_secrets
    FOR EACH ROW EXECUTE FUNCTION api_key_previous_secrets_noted();
CREATE TRIGGER api_key_previous_secrets_truncation_noted AFTER TRUNCATE ON api_key_previous_secrets
    EXECUTE FUNCTION api_key_previous_secrets_noted();

CREATE FUNCTION api_key_reset_noted(reset_key text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    SELECT api_key_event('limit_reset', reset_key, NULL, NULL);
$$;

-- Temporary tables come last, so that nobody can put one of theirs in the place of these.
DO $$
DECLARE
    named text;
BEGIN
    FOREACH named IN ARRAY ARRAY[
        'api_key_event(text, text, jsonb, jsonb)', 'api_keys_noted()', 'api_key_previous_secrets_noted()', 'api_key_reset_noted(text)']
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', named, current_schema());
    END LOOP;
END $$;
