-- Quotes: sealed under a data key of their own. `used_by` is the payment that used it; the guard is that it is null.
CREATE TABLE quote (
    id BLOB NOT NULL PRIMARY KEY, owner TEXT NOT NULL, expires_ms INTEGER NOT NULL, used_by BLOB,
    data_key BLOB NOT NULL, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quote_by_expiry ON quote (expires_ms);
