-- Payments, their journal, and what is found by it. A payment's row is what it is now, with its operations in flight; the
-- journal is what each commit added: events and entries in clear, hash-chained, operations and answers sealed. Amounts in
-- bodies are exact text; balances are 16-byte big-endian two's complement. What is sealed can be opened only through the
-- vault, under the payment's data key. `owner` is mode and merchant: test and live never share a row.
CREATE TABLE payment (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner TEXT NOT NULL, version INTEGER NOT NULL, status TEXT NOT NULL,
    journal BLOB NOT NULL, data_key BLOB NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE INDEX payment_by_owner ON payment (owner, id);

-- An event's id is its row's, with its number in the last two bytes. `payment.journal` lists a payment's rows: 8 bytes each.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, owner TEXT NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL,
    answer BLOB, operations BLOB
) STRICT;
CREATE INDEX journal_by_owner ON journal (owner, seq);
CREATE INDEX journal_by_id ON journal (id);

-- How far the journal was pruned.
CREATE TABLE pruned (what TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE balance (
    mode INTEGER NOT NULL, account TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL,
    debit BLOB NOT NULL, credit BLOB NOT NULL, pending_debit BLOB NOT NULL, pending_credit BLOB NOT NULL,
    PRIMARY KEY (mode, account, asset)
) STRICT, WITHOUT ROWID;

CREATE TABLE timer (
    due_ms INTEGER NOT NULL, operation BLOB NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (due_ms, operation, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE task (id BLOB NOT NULL PRIMARY KEY, is_closed INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX task_open ON task (id) WHERE is_closed = 0;

-- `name` is a hash over mode, merchant and key. The answer stands in the journal.
CREATE TABLE claim (
    name BLOB NOT NULL PRIMARY KEY, payment BLOB NOT NULL, operation BLOB, fingerprint BLOB NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `hash` is over channel and reference: what it finds is compared with the payment itself.
CREATE TABLE reference (
    hash INTEGER NOT NULL, payment BLOB NOT NULL, PRIMARY KEY (hash, payment)
) STRICT, WITHOUT ROWID;

CREATE TABLE refund (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE INDEX refund_by_owner ON refund (owner, seq);

CREATE TABLE method (
    id BLOB NOT NULL PRIMARY KEY, merchant TEXT NOT NULL, mode INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    data_key BLOB NOT NULL, sealed BLOB NOT NULL, number BLOB NOT NULL
) STRICT;

CREATE TABLE seen (channel TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (channel, event)) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    hash BLOB NOT NULL PRIMARY KEY, id TEXT NOT NULL, merchant TEXT NOT NULL, mode INTEGER NOT NULL, scopes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT, WITHOUT ROWID;
