-- The embedded store's tables for several machines on one PostgreSQL: the same columns, the same statements. Ids, hashes and
-- amounts are bytes that sort as they should, times are milliseconds, truths are 0 and 1. What is sealed can be opened only
-- through the vault. What each table is for stands in the embedded store's migrations.

-- SQLite's name, for statements that cast.
CREATE DOMAIN blob AS BYTEA;

-- The one router that writes: each that takes over counts `epoch` up, and writes only while it is its own. `cluster` is the
-- database's identifier and timeline when it did so: another one is a restored copy or a promoted replica, which may have lost
-- what was promised. `sealed` can be opened by whoever has this store's keys.
CREATE TABLE portolan (
    is_only BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (is_only), migrations BIGINT NOT NULL, epoch BIGINT NOT NULL, cluster TEXT,
    is_restored BOOLEAN NOT NULL DEFAULT FALSE, data_key BYTEA, sealed BYTEA
);
INSERT INTO portolan (migrations, epoch) VALUES (0, 0);

CREATE TABLE payment (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, owner TEXT NOT NULL, version BIGINT NOT NULL,
    status TEXT NOT NULL, journal BYTEA NOT NULL, data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX payment_by_owner ON payment (owner, id);
CREATE INDEX payment_unsettled ON payment (seq) WHERE status IN ('processing', 'requires_action', 'requires_capture');

CREATE TABLE journal (
    seq BIGINT PRIMARY KEY, id BYTEA NOT NULL, owner TEXT NOT NULL, body TEXT NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32), answer BYTEA, operations BYTEA
);
CREATE INDEX journal_by_owner ON journal (owner, seq);
CREATE INDEX journal_by_id ON journal (id);

CREATE TABLE pruned (what TEXT PRIMARY KEY, seq BIGINT NOT NULL);

CREATE TABLE balance (
    mode BIGINT NOT NULL, account TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL,
    debit BYTEA NOT NULL CHECK (octet_length(debit) = 16), credit BYTEA NOT NULL CHECK (octet_length(credit) = 16),
    pending_debit BYTEA NOT NULL CHECK (octet_length(pending_debit) = 16),
    pending_credit BYTEA NOT NULL CHECK (octet_length(pending_credit) = 16),
    PRIMARY KEY (mode, account, asset)
);

CREATE TABLE timer (
    due_ms BIGINT NOT NULL, operation BYTEA NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (due_ms, operation, kind)
);

CREATE TABLE task (id BYTEA PRIMARY KEY, is_closed BIGINT NOT NULL, body TEXT NOT NULL);
CREATE INDEX task_open ON task (id) WHERE is_closed = 0;

CREATE TABLE claim (
    name BYTEA PRIMARY KEY, payment BYTEA NOT NULL, operation BYTEA, fingerprint BYTEA NOT NULL, at_ms BIGINT NOT NULL
);

CREATE TABLE reference (hash BIGINT NOT NULL, payment BYTEA NOT NULL, PRIMARY KEY (hash, payment));

CREATE TABLE refund (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL
);
CREATE INDEX refund_by_owner ON refund (owner, seq);

CREATE TABLE method (
    id BYTEA PRIMARY KEY, merchant TEXT NOT NULL, mode BIGINT NOT NULL CHECK (mode IN (0, 1)), created_ms BIGINT NOT NULL,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL, number BYTEA NOT NULL
);

CREATE TABLE seen (channel TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (channel, event));

CREATE TABLE api_key (
    hash BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32), id TEXT NOT NULL, merchant TEXT NOT NULL, mode BIGINT NOT NULL,
    scopes TEXT NOT NULL, created_ms BIGINT NOT NULL, revoked_ms BIGINT
);

CREATE TABLE quote (
    id BYTEA PRIMARY KEY, owner TEXT NOT NULL, expires_ms BIGINT NOT NULL, used_by BYTEA, data_key BYTEA NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX quote_by_expiry ON quote (expires_ms);

CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE feed (channel TEXT PRIMARY KEY, cursor BYTEA NOT NULL);

CREATE TABLE inbox (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, key TEXT,
    reference TEXT, at_ms BIGINT NOT NULL, UNIQUE (channel, event)
);

CREATE TABLE break (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, kind TEXT NOT NULL,
    why TEXT NOT NULL, line TEXT NOT NULL, opened_ms BIGINT NOT NULL, owner TEXT, UNIQUE (channel, event)
);

CREATE TABLE batch_line (
    channel TEXT NOT NULL, event TEXT NOT NULL, batch TEXT NOT NULL, operation BYTEA NOT NULL, net TEXT NOT NULL,
    is_credit BIGINT NOT NULL, at_ms BIGINT NOT NULL, bank TEXT, entry TEXT, PRIMARY KEY (channel, event)
);
CREATE INDEX batch_line_by_batch ON batch_line (batch);
CREATE INDEX batch_line_in_transit ON batch_line (at_ms) WHERE bank IS NULL;

CREATE TABLE dispute (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL
);
CREATE INDEX dispute_by_owner ON dispute (owner, seq);

CREATE TABLE beneficiary (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX beneficiary_by_owner ON beneficiary (owner, seq);

CREATE TABLE exposure (
    payment BYTEA PRIMARY KEY, mode BIGINT NOT NULL, sold TEXT NOT NULL, bought TEXT NOT NULL, minor BYTEA NOT NULL
);
CREATE INDEX exposure_by_pair ON exposure (mode, sold, bought);

CREATE TABLE adapter_version (
    adapter TEXT NOT NULL, digest TEXT NOT NULL, stage TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (adapter, digest)
);
CREATE UNIQUE INDEX one_active_version ON adapter_version (adapter) WHERE stage = 'active';

-- The adapters' components and what was signed about them: each machine has them as files besides.
CREATE TABLE adapter_file (name TEXT PRIMARY KEY, bytes BYTEA NOT NULL);

CREATE TABLE stop (name TEXT PRIMARY KEY, body TEXT NOT NULL);

CREATE TABLE card_try (
    attempt BYTEA PRIMARY KEY, card TEXT NOT NULL, at_ms BIGINT NOT NULL, amount TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'declined', 'never'))
);
CREATE INDEX card_try_by_card ON card_try (card, at_ms);
CREATE INDEX card_try_by_time ON card_try (at_ms);

CREATE TABLE rule_set (owner TEXT NOT NULL, version BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (owner, version));

CREATE TABLE webhook_endpoint (id BYTEA PRIMARY KEY, data_key BYTEA NOT NULL, sealed BYTEA NOT NULL);
