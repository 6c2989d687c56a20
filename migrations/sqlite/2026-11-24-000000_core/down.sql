DROP TABLE signing_keys;
DROP TABLE blocklist;
DROP TABLE sessions;
DROP TABLE users;
