-- The generation whose retry window a proven retry has opened again; NULL for none.
ALTER TABLE sessions ADD COLUMN reopened_generation INTEGER;
