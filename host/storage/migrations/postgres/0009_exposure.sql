-- Prices that the router has promised and not exchanged yet: one row for each payment, gone once its exchange is over.
CREATE TABLE exposure (
    payment UUID NOT NULL PRIMARY KEY, mode SMALLINT NOT NULL, sold TEXT NOT NULL, bought TEXT NOT NULL,
    minor BYTEA NOT NULL
);
CREATE INDEX exposure_by_pair ON exposure (mode, sold, bought);
