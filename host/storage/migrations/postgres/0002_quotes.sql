-- Quotes: sealed under a data key of their own. `used_by` is the payment that used it; the guard is that it is null.
CREATE TABLE quote (
    id UUID PRIMARY KEY, owner TEXT NOT NULL, expires_ms BIGINT NOT NULL, used_by UUID,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX quote_by_expiry ON quote (expires_ms);
