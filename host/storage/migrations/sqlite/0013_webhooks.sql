-- Where merchants are told of events, with what they were told last.
CREATE TABLE webhook_endpoint (
    id BLOB NOT NULL PRIMARY KEY,
    data_key BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
