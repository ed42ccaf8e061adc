-- What providers told of and nothing matched yet: it may be told before the answer that names it is on disk.
CREATE TABLE inbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    key TEXT,
    reference TEXT,
    at_ms INTEGER NOT NULL,
    UNIQUE (channel, event)
) STRICT;
