UPDATE sessions SET end_reason = 'ended' WHERE end_reason = 'ended_by_user';
UPDATE audit_events SET detail = 'ended' WHERE event = 'session_ended' AND detail = 'ended_by_user';
UPDATE audit_events SET event = 'key_given_up' WHERE event = 'key_revoked';
