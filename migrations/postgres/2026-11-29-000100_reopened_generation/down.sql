ALTER TABLE sessions DROP COLUMN reopened_generation;
