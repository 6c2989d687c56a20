-- The transaction that listed a row: by it the other nodes ask for what is new to them, without a clock. Databases that
-- only speak PostgreSQL's protocol may have no such type; their nodes set revocations.follow = "reload".
DO $$
BEGIN
    IF to_regtype('xid8') IS NOT NULL THEN
        ALTER TABLE blocklist ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
        CREATE INDEX blocklist_xid ON blocklist (xid);
    END IF;
END $$;
