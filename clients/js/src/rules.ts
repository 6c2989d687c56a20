// The rules of docs/client-contract.md that need neither a network nor a timer.

import type { Session } from './types.js';

/** An answer with tokens. With cookies it contains none. */
export interface Tokens {
  access_token?: string;
  expires_in: number;
  refresh_token?: string;
  session_id: string;
  generation: number;
  /** Seconds after a rotation in which a refresh yields the same tokens. */
  retry_window?: number;
}

/** The client's record, one for all tabs. Nobody is signed in without a `session_id`. */
export interface Stored extends Partial<Tokens> {
  /** When the tokens came, by the wall clock in milliseconds. */
  at?: number;
  /** The `Idempotency-Key` of a refresh that was not answered yet. */
  key?: string;
  /** The last refresh token of a session that ended by itself: proof for the next login. */
  known_device?: string | undefined;
  /** With cookies: signed out, but Doorward has not acknowledged it, so cookies may be left. */
  signed_out?: boolean;
}

/** The record of somebody who is signed in. */
export type SignedIn = Stored & Tokens & { at: number };

export const isSignedIn = (now: Stored | null): now is SignedIn => !!now?.session_id;

/** Whether two records are of one session, or both of none. */
export const isSame = (one: Stored | null, other: Stored | null): boolean =>
  one?.session_id === other?.session_id;

/** Milliseconds of `sessions.retry_window`, which older servers do not tell. */
export const windowOf = (now: Stored): number => (now.retry_window ?? 30) * 1000;

/** Distinguishes the tokens of one answer from all others. */
export const markOf = (now: Stored | null): string => JSON.stringify(viewOf(now)) + now?.at;

/** A record as the application sees it. */
export const viewOf = (now: Stored | null): Session | null =>
  isSignedIn(now)
    ? { id: now.session_id, generation: now.generation, accessToken: now.access_token }
    : null;

/**
 * The record after the answer to a refresh with the record `sent`. The answer is dropped when
 * another tab has signed out or in since, or has stored a higher generation of the session.
 */
export function afterRefresh(now: Stored | null, sent: Stored, next: SignedIn): Stored | null {
  if (!isSame(now, sent)) return now;
  // Without a session (cookies), a sign-out shows by the key that is gone.
  if (!now?.session_id && now?.key !== sent.key) return now;
  return isSame(now, next) && next.generation < now!.generation! ? now : next;
}

/**
 * The record after the answer to a login, or to a change of the password, with the record `sent`.
 * It is dropped when somebody has signed out since, or in with tokens of their own.
 */
export function afterLogin(now: Stored | null, sent: Stored | null, next: SignedIn): Stored | null {
  // A session that has ended by itself leaves a record, as a sign-out does not. With cookies the
  // browser has replaced those of the other login.
  return isSame(now, sent) || (now && !now.signed_out && !(now.session_id && next.refresh_token))
    ? next
    : now;
}

/** The record after `invalid_grant`: its refresh token still proves the device. */
export function afterEnd(now: Stored | null, sent: Stored): Stored | null {
  // Not null: that is a sign-out.
  return now && isSame(now, sent) ? { known_device: now.refresh_token } : now;
}
