-- Prices that the router has promised and not exchanged yet: one row for each payment, gone once its exchange is over.
CREATE TABLE exposure (
    payment BLOB NOT NULL PRIMARY KEY,
    mode INTEGER NOT NULL,
    sold TEXT NOT NULL,
    bought TEXT NOT NULL,
    minor BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX exposure_by_pair ON exposure (mode, sold, bought);
