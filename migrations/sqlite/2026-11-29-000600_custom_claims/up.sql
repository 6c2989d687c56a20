-- A JSON object that operators set; NULL for none. Tokens carry it as ext.
ALTER TABLE users ADD COLUMN claims TEXT;
-- The accounts whose tokens are longer than the shortest ones.
CREATE INDEX users_with_grants ON users (id) WHERE roles <> '' OR claims IS NOT NULL;
