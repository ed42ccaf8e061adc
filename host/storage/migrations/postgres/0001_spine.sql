-- The same record for many nodes on one PostgreSQL. Amounts are NUMERIC(39,0); what is sealed can be opened only through
-- the vault. A node groups its commits as the embedded store does; the version of a payment is its guard.
CREATE TABLE payment (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id UUID NOT NULL UNIQUE, owner TEXT NOT NULL, version BIGINT NOT NULL,
    status TEXT NOT NULL, journal BIGINT[] NOT NULL, data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX payment_by_owner ON payment (owner, id);

-- The chain needs one order: the row of `chain_head` is locked by whoever appends.
CREATE TABLE chain_head (is_only BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (is_only), seq BIGINT NOT NULL, hash BYTEA NOT NULL);
INSERT INTO chain_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE journal (
    seq BIGINT PRIMARY KEY, id UUID NOT NULL, owner TEXT NOT NULL, body TEXT NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32), answer BYTEA, operations BYTEA
);
CREATE INDEX journal_by_owner ON journal (owner, seq);
CREATE INDEX journal_by_id ON journal (id);

CREATE TABLE pruned (what TEXT PRIMARY KEY, seq BIGINT NOT NULL);

CREATE TABLE balance (
    mode SMALLINT NOT NULL, account TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL, debit NUMERIC(39, 0) NOT NULL,
    credit NUMERIC(39, 0) NOT NULL, pending_debit NUMERIC(39, 0) NOT NULL, pending_credit NUMERIC(39, 0) NOT NULL,
    PRIMARY KEY (mode, account, asset)
);

CREATE TABLE timer (
    due_ms BIGINT NOT NULL, operation UUID NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (due_ms, operation, kind)
);

CREATE TABLE task (id UUID PRIMARY KEY, is_closed BOOLEAN NOT NULL, body TEXT NOT NULL);
CREATE INDEX task_open ON task (id) WHERE NOT is_closed;

CREATE TABLE claim (
    name BYTEA PRIMARY KEY, payment UUID NOT NULL, operation UUID, fingerprint BYTEA NOT NULL, at_ms BIGINT NOT NULL
);

CREATE TABLE reference (hash BIGINT NOT NULL, payment UUID NOT NULL, PRIMARY KEY (hash, payment));

CREATE TABLE refund (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id UUID NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL
);
CREATE INDEX refund_by_owner ON refund (owner, seq);

CREATE TABLE method (
    id UUID PRIMARY KEY, merchant TEXT NOT NULL, mode SMALLINT NOT NULL CHECK (mode IN (0, 1)), created_ms BIGINT NOT NULL,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL, number BYTEA NOT NULL
);

CREATE TABLE seen (channel TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (channel, event));

CREATE TABLE api_key (
    hash BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32), id TEXT NOT NULL, merchant TEXT NOT NULL, mode SMALLINT NOT NULL,
    scopes TEXT NOT NULL, created_ms BIGINT NOT NULL, revoked_ms BIGINT
);
