DROP TRIGGER api_keys_noted ON api_keys;
DROP TRIGGER api_keys_truncation_noted ON api_keys;
DROP TRIGGER api_key_previous_secrets_noted ON api_key_previous_secrets;
DROP TRIGGER api_key_previous_secrets_truncation_noted ON api_key_previous_secrets;
DROP FUNCTION api_key_reset_noted, api_key_previous_secrets_noted, api_key_previous_secret_shown, api_keys_noted, api_key_shown,
    api_key_event;
DROP TABLE api_key_event_seals, api_key_events_unsealed, api_key_events;
DROP FUNCTION api_key_events_are_kept;
DELETE FROM api_key_migrations WHERE version = 3;
