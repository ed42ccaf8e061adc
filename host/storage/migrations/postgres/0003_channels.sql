-- What a channel counts and how far it was read: indexes that are given once, and the place in a provider's feed.
CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE feed (channel TEXT PRIMARY KEY, cursor BYTEA NOT NULL);
