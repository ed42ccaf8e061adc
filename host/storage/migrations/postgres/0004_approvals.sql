-- What has to be approved before it goes out, and by whom: one row for each merchant and mode.
CREATE TABLE approvals (owner TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, body TEXT NOT NULL);
