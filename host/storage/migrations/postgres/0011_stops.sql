-- What operators stopped: a channel, or one of its endpoints.
CREATE TABLE stop (name TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
