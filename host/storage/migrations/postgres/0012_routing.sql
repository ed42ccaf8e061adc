-- Attempts with a card that were declined, or may still be where the card was declined before: a network limits how often
-- it may be tried again.
CREATE TABLE card_try (
    attempt BYTEA NOT NULL PRIMARY KEY,
    card TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    amount TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'declined', 'never'))
);
CREATE INDEX card_try_by_card ON card_try (card, at_ms);
CREATE INDEX card_try_by_time ON card_try (at_ms);
-- The merchants' rules about routes, every version.
CREATE TABLE rule_set (
    owner TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (owner, version)
);
