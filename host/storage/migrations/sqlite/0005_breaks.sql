-- Lines of providers' reports that do not fit the books, until one that does or an operator closes them.
CREATE TABLE break (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    why TEXT NOT NULL,
    line TEXT NOT NULL,
    opened_ms INTEGER NOT NULL,
    owner TEXT,
    UNIQUE (channel, event)
) STRICT;
