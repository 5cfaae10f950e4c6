-- Where keys are used from, so that a network that is new to one is told. Gateways of before work on, and note none.
-- By hand: psql --single-transaction -f 0005_key_networks.up.sql
INSERT INTO api_key_migrations (version, name, oldest_binary) VALUES (5, 'key_networks', '0.1.0');

CREATE TABLE api_key_networks (
    key_id text NOT NULL,
    network text NOT NULL,                             -- of IPv4 a /24, of IPv6 a /48
    first_met_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key_id, network)
);
