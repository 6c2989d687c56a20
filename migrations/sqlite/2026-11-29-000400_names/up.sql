-- Names that answers and the audit trail show, under their present spelling.
UPDATE sessions SET end_reason = 'ended_by_user' WHERE end_reason = 'ended';
UPDATE audit_events SET detail = 'ended_by_user' WHERE event = 'session_ended' AND detail = 'ended';
UPDATE audit_events SET event = 'key_revoked' WHERE event = 'key_given_up';
