-- Nothing: a change to the file is noticed by PRAGMA data_version.
SELECT 1;
