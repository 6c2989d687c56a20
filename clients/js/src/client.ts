import { createAccount } from './account.js';
import { createRecords } from './records.js';
import { createRefresher, pause } from './refresher.js';
import { afterLogin, isSignedIn, markOf, viewOf } from './rules.js';
import type { Stored, Tokens } from './rules.js';
import { defaultStore, memory } from './stores.js';
import type { Client, Options, Session } from './types.js';
import { createWire, networkError, recordFrom, type DoorwardError } from './wire.js';

/** Makes a client for one Doorward, with at most one session. */
export function createClient(options: Options): Client {
  const wire = createWire(options);
  const { base, hasCookies, send, caller } = wire;
  const records = createRecords(options.store ?? defaultStore());
  const { read, change, onChange, close } = records;
  const { current, renew } = createRefresher(wire, records, options);
  /** Counts the sign-outs, for answers that arrive after one. */
  let signOuts = 0;
  const trusted = [base, ...(options.origins ?? [])].map((url) => new URL(url).origin);

  async function session(): Promise<Session | null> {
    try {
      return viewOf(await current()) ?? viewOf(await renew());
    } catch (error) {
      const known = await read();
      if (!isSignedIn(known)) throw error;
      // Signed in, although Doorward cannot be reached.
      return viewOf(known);
    }
  }

  async function authorizedFetch(input: string | URL | Request, init?: RequestInit) {
    const url =
      input instanceof Request ? input : new URL(input, (globalThis.location as any) ?? base);
    const request = new Request(url, init);
    if (!trusted.includes(new URL(request.url).origin)) return send(request);
    const now = await current();
    const answer = await send(withCredentials(request.clone(), now));
    const next =
      answer.status === 401 &&
      // A refresh does not help where a newer login is demanded (RFC 9470).
      !/insufficient/.test(answer.headers.get('WWW-Authenticate')!) &&
      (await renew(markOf(now)));
    return next ? send(withCredentials(request, next)) : answer;
  }

  function withCredentials(request: Request, now: Stored | null) {
    // Cookies may be left of the session that the user has signed out of.
    if (hasCookies)
      return new Request(request, { credentials: now?.signed_out ? 'omit' : 'include' });
    if (isSignedIn(now)) request.headers.set('Authorization', 'Bearer ' + now.access_token);
    return request;
  }

  async function signOut({ scope = 'this' } = {}): Promise<boolean> {
    let now: Stored | null = null;
    if (scope !== 'others') {
      signOuts++;
      await change((stored) => {
        // Cookies end without the record.
        if (hasCookies) return { signed_out: true };
        now = stored;
        return null;
      }, 'logout');
      if (!isSignedIn(now) && !hasCookies) return false;
    }
    const isDone = await logOut(scope, now);
    if (isDone) await change((stored) => (stored?.signed_out ? null : stored));
    return isDone;
  }

  /** Resolves to whether Doorward has ended the sessions. */
  async function logOut(scope: string, now: Stored | null) {
    const isThis = scope === 'this';
    const fetch = async (request: Request) => {
      // The cookies are a later login's.
      if (hasCookies && isSignedIn(await read())) throw networkError();
      return send(request);
    };
    // The record is cleared: a client with its copy refreshes the access token, if need be.
    const end = caller(
      isThis
        ? (request) => fetch(withCredentials(request, now))
        : scope === 'all'
          ? createClient({ ...options, fetch, store: memory(now) }).fetch
          : authorizedFetch,
    );
    // The refresh token alone ends this session only.
    const body = isThis && !hasCookies ? { refresh_token: now!.refresh_token } : undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        await end('/logout?scope=' + scope, body, { keepalive: true });
        return true;
      } catch (error) {
        const { status, code, transient, retryAfter } = error as DoorwardError;
        // 401 by Doorward, not by a gateway: there is nothing left to end.
        if (!transient || attempt > 3 || retryAfter > 15) return isThis && !!code && status === 401;
        await pause((retryAfter || attempt) * 1000, retryAfter);
      }
    }
  }

  /** Stores the session of an answer, or ends it if the user has signed out or in meanwhile. */
  async function keep(ask: (now: Stored | null) => Promise<Tokens>) {
    const count = signOuts;
    const sent = await read();
    const next = await recordFrom(ask(sent));
    const rule = (now: Stored | null) =>
      count === signOuts || isSignedIn(now) ? afterLogin(now, sent, next) : now;
    const session = viewOf(await change(rule));
    // Nobody else knows the tokens that were dropped.
    if (session?.id !== next.session_id) void logOut('this', next);
    return session;
  }

  return {
    signOut,
    session,
    fetch: authorizedFetch,
    refresh: async () => viewOf(await renew()),
    onChange,
    close,
    ...createAccount(wire, records, caller(authorizedFetch), keep),
  };
}
