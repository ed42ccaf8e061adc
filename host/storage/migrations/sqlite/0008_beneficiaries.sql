-- Whom merchants pay again and again; who they are is sealed.
CREATE TABLE beneficiary (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    data_key BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX beneficiary_by_owner ON beneficiary (owner, seq);
