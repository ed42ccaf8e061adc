-- What a channel counts and how far it was read: indexes that are given once, and the place in a provider's feed.
CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE feed (channel TEXT NOT NULL PRIMARY KEY, cursor BLOB NOT NULL) STRICT, WITHOUT ROWID;
