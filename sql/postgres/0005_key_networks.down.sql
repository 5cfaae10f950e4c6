DROP TABLE api_key_networks;
DELETE FROM api_key_migrations WHERE version = 5;
