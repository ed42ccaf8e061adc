-- The versions of each adapter and how far each is; the components are files beside each node, named by digest.
CREATE TABLE adapter_version (
    adapter TEXT NOT NULL, digest TEXT NOT NULL, stage TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (adapter, digest)
);
CREATE UNIQUE INDEX one_active_version ON adapter_version (adapter) WHERE stage = 'active';
