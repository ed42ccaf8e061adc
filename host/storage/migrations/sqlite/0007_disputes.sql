-- Disputes in order of hearing; what they are stands in their payments.
CREATE TABLE dispute (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX dispute_by_owner ON dispute (owner, seq);
