-- What has to be approved before it goes out, and by whom: one row for each merchant and mode.
CREATE TABLE approvals (
    owner TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
