-- The public key whose owner signs what comes with an API key; null: nobody does.
ALTER TABLE api_key ADD COLUMN public_key BLOB CHECK (length(public_key) = 32);
