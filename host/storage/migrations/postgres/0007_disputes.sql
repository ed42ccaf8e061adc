-- Disputes in order of hearing; what they are stands in their payments.
CREATE TABLE dispute (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id UUID NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL
);
CREATE INDEX dispute_by_owner ON dispute (owner, seq);
