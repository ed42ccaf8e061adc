-- Payments that were let through where a limit of their merchant's rules counts them. Whose they are stands here by a pseudonym
-- only; `minor` is sixteen bytes, most significant first.
CREATE TABLE limit_use (
    key TEXT NOT NULL,
    payment BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    minor BLOB NOT NULL,
    asset TEXT NOT NULL,
    card TEXT NOT NULL,
    country TEXT NOT NULL,
    is_over INTEGER NOT NULL,
    PRIMARY KEY (key, payment)
) STRICT, WITHOUT ROWID;
CREATE INDEX limit_use_by_key ON limit_use (key, at_ms);
CREATE INDEX limit_use_by_payment ON limit_use (payment);
CREATE INDEX limit_use_by_time ON limit_use (at_ms);
