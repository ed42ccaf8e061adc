-- Payments, operations, events, entries and what belongs to them. Amounts in bodies are exact text; balances are
-- 16-byte big-endian two's complement. What is sealed can be opened only through the vault, under the row's data key.
CREATE TABLE payment (
    id BLOB NOT NULL PRIMARY KEY, merchant TEXT NOT NULL, mode INTEGER NOT NULL, version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, status TEXT NOT NULL, data_key BLOB NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE INDEX payment_by_merchant ON payment (merchant, mode, id);

CREATE TABLE operation (
    id BLOB NOT NULL PRIMARY KEY, payment BLOB NOT NULL, channel TEXT NOT NULL, progress TEXT NOT NULL,
    provider_key TEXT NOT NULL, reference TEXT, sealed BLOB NOT NULL
) STRICT;
CREATE INDEX operation_by_payment ON operation (payment, id);
CREATE INDEX operation_open ON operation (id) WHERE progress <> 'concluded';
CREATE INDEX operation_by_key ON operation (channel, provider_key);
CREATE INDEX operation_by_reference ON operation (channel, reference) WHERE reference IS NOT NULL;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, payment BLOB NOT NULL, merchant TEXT NOT NULL, mode INTEGER NOT NULL,
    body TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX event_by_merchant ON event (merchant, mode, id);
CREATE INDEX event_by_payment ON event (payment, seq);

CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, payment BLOB NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE (payment, number)
) STRICT;

CREATE TABLE balance (
    mode INTEGER NOT NULL, account TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL,
    debit BLOB NOT NULL, credit BLOB NOT NULL, pending_debit BLOB NOT NULL, pending_credit BLOB NOT NULL,
    PRIMARY KEY (mode, account, asset)
) STRICT, WITHOUT ROWID;

CREATE TABLE timer (
    kind TEXT NOT NULL, operation BLOB NOT NULL, due_ms INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (operation, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_by_due ON timer (due_ms);

CREATE TABLE task (id BLOB NOT NULL PRIMARY KEY, is_closed INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX task_open ON task (id) WHERE is_closed = 0;

CREATE TABLE claim (
    merchant TEXT NOT NULL, mode INTEGER NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, payment BLOB NOT NULL,
    operation BLOB, at_ms INTEGER NOT NULL, status INTEGER, sealed BLOB, PRIMARY KEY (merchant, mode, key)
) STRICT;

CREATE TABLE refund (
    id BLOB NOT NULL PRIMARY KEY, payment BLOB NOT NULL, merchant TEXT NOT NULL, mode INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refund_by_merchant ON refund (merchant, mode, id);

CREATE TABLE method (
    id BLOB NOT NULL PRIMARY KEY, merchant TEXT NOT NULL, mode INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    data_key BLOB NOT NULL, sealed BLOB NOT NULL, number BLOB NOT NULL
) STRICT;

CREATE TABLE seen (channel TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (channel, event)) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    hash BLOB NOT NULL PRIMARY KEY, id TEXT NOT NULL, merchant TEXT NOT NULL, mode INTEGER NOT NULL, scopes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT, WITHOUT ROWID;
