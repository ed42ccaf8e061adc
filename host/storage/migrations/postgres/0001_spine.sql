-- The same record for many nodes on one PostgreSQL. Amounts are NUMERIC(39,0); what is sealed can be opened only through
-- the vault. A node groups its commits as the embedded store does; the version of a payment is its guard.
CREATE TABLE payment (
    id UUID PRIMARY KEY, merchant TEXT NOT NULL, mode SMALLINT NOT NULL CHECK (mode IN (0, 1)), version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL, status TEXT NOT NULL, data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX payment_by_merchant ON payment (merchant, mode, id);

CREATE TABLE operation (
    id UUID PRIMARY KEY, payment UUID NOT NULL REFERENCES payment, channel TEXT NOT NULL,
    progress TEXT NOT NULL CHECK (progress IN ('open', 'unknown', 'concluded')), provider_key TEXT NOT NULL, reference TEXT,
    sealed BYTEA NOT NULL
);
CREATE INDEX operation_by_payment ON operation (payment, id);
CREATE INDEX operation_open ON operation (id) WHERE progress <> 'concluded';
CREATE INDEX operation_by_key ON operation (channel, provider_key);
CREATE INDEX operation_by_reference ON operation (channel, reference) WHERE reference IS NOT NULL;

-- The chain needs one order: the row of `chain_head` is locked by whoever appends.
CREATE TABLE chain_head (only BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only), seq BIGINT NOT NULL, hash BYTEA NOT NULL);
INSERT INTO chain_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE event (
    seq BIGINT PRIMARY KEY, id UUID NOT NULL, payment UUID NOT NULL, merchant TEXT NOT NULL, mode SMALLINT NOT NULL,
    body TEXT NOT NULL, hash BYTEA NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX event_by_merchant ON event (merchant, mode, id);
CREATE INDEX event_by_payment ON event (payment, seq);

CREATE TABLE entry (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment UUID NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE (payment, number)
);

CREATE TABLE balance (
    mode SMALLINT NOT NULL, account TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL, debit NUMERIC(39, 0) NOT NULL,
    credit NUMERIC(39, 0) NOT NULL, pending_debit NUMERIC(39, 0) NOT NULL, pending_credit NUMERIC(39, 0) NOT NULL,
    PRIMARY KEY (mode, account, asset)
);

CREATE TABLE timer (
    kind TEXT NOT NULL, operation UUID NOT NULL, due_ms BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (operation, kind)
);
CREATE INDEX timer_by_due ON timer (due_ms);

CREATE TABLE task (id UUID PRIMARY KEY, is_closed BOOLEAN NOT NULL, body TEXT NOT NULL);
CREATE INDEX task_open ON task (id) WHERE NOT is_closed;

CREATE TABLE claim (
    merchant TEXT NOT NULL, mode SMALLINT NOT NULL, key TEXT NOT NULL, fingerprint BYTEA NOT NULL,
    payment UUID NOT NULL, operation UUID, at_ms BIGINT NOT NULL, status SMALLINT, sealed BYTEA,
    PRIMARY KEY (merchant, mode, key)
);

CREATE TABLE refund (id UUID PRIMARY KEY, payment UUID NOT NULL, merchant TEXT NOT NULL, mode SMALLINT NOT NULL);
CREATE INDEX refund_by_merchant ON refund (merchant, mode, id);

CREATE TABLE method (
    id UUID PRIMARY KEY, merchant TEXT NOT NULL, mode SMALLINT NOT NULL, created_ms BIGINT NOT NULL,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL, number BYTEA NOT NULL
);

CREATE TABLE seen (channel TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (channel, event));

CREATE TABLE api_key (
    hash BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32), id TEXT NOT NULL, merchant TEXT NOT NULL, mode SMALLINT NOT NULL,
    scopes TEXT NOT NULL, created_ms BIGINT NOT NULL, revoked_ms BIGINT
);
