-- Whom merchants pay again and again; who they are is sealed.
CREATE TABLE beneficiary (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id UUID NOT NULL UNIQUE, owner TEXT NOT NULL, at_ms BIGINT NOT NULL,
    data_key BYTEA NOT NULL, sealed BYTEA NOT NULL
);
CREATE INDEX beneficiary_by_owner ON beneficiary (owner, seq);
