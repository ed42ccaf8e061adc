-- Where merchants are told of events, with what they were told last.
CREATE TABLE webhook_endpoint (id UUID NOT NULL PRIMARY KEY, data_key BYTEA NOT NULL, sealed BYTEA NOT NULL);
