-- What providers told of and nothing matched yet: it may be told before the answer that names it is on disk.
CREATE TABLE inbox (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, key TEXT,
    reference TEXT, at_ms BIGINT NOT NULL, UNIQUE (channel, event)
);
