-- What channels settled, line by line of their reports, until a bank's statement shows the batch that it is part of.
CREATE TABLE batch_line (
    channel TEXT NOT NULL, event TEXT NOT NULL, batch TEXT NOT NULL, operation UUID NOT NULL, net TEXT NOT NULL,
    is_credit BOOLEAN NOT NULL, at_ms BIGINT NOT NULL, bank TEXT, entry TEXT, PRIMARY KEY (channel, event)
);
CREATE INDEX batch_line_by_batch ON batch_line (batch);
CREATE INDEX batch_line_in_transit ON batch_line (at_ms) WHERE bank IS NULL;
