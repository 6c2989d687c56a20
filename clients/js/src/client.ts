import { createAccount } from './account.js';
import { createRecords } from './records.js';
import { createRefresher, pause } from './refresher.js';
import { isSignedIn, markOf, viewOf, type SignedIn } from './rules.js';
import { defaultStore } from './stores.js';
import type { Client, Options, Session } from './types.js';
import { answerOf, createWire, type DoorwardError } from './wire.js';

/** Makes a client for one Doorward, with at most one session. */
export function createClient(options: Options): Client {
  const wire = createWire(options);
  const { base, hasCookies, send } = wire;
  const records = createRecords(options.store ?? defaultStore());
  const { read, change, onChange, close } = records;
  const { current, renew } = createRefresher(wire, records, options);
  const trusted = [base, ...(options.origins ?? [])].map((url) => new URL(url).origin);

  async function session(): Promise<Session | null> {
    try {
      return viewOf((await current()) ?? (await renew()));
    } catch (error) {
      const now = await read();
      // Signed in, although Doorward cannot be reached.
      if (isSignedIn(now)) return viewOf(now);
      throw error;
    }
  }

  async function authorizedFetch(input: string | URL | Request, init?: RequestInit) {
    const url =
      input instanceof Request ? input : new URL(input, globalThis.location?.href ?? base);
    const request = new Request(url, init);
    if (!trusted.includes(new URL(request.url).origin)) return send(request);
    const now = await current();
    const answer = await send(withCredentials(request.clone(), now));
    // A refresh does not help where a newer login is demanded (RFC 9470).
    const isStepUp = /insufficient/.test(answer.headers.get('WWW-Authenticate')!);
    if (answer.status !== 401 || isStepUp || !(now || hasCookies)) return answer;
    const next = await renew(markOf(now));
    return next ? send(withCredentials(request, next)) : answer;
  }

  function withCredentials(request: Request, now: SignedIn | null) {
    if (hasCookies) return new Request(request, { credentials: 'include' });
    if (now) request.headers.set('Authorization', `Bearer ${now.access_token}`);
    return request;
  }

  async function signOut({ scope = 'this' } = {}): Promise<boolean> {
    // The refresh token alone ends this session only.
    let now = scope === 'this' ? null : await current().catch(() => null);
    if (scope !== 'others') {
      await change((stored) => {
        now ??= isSignedIn(stored) ? stored : null;
        return hasCookies ? { signed_out: true } : null;
      }, 'logout');
    }
    if (!now && !hasCookies) return false;
    const isDone = await logOut(scope, now);
    if (isDone) await change((stored) => (stored?.signed_out ? null : stored));
    return isDone;
  }

  /** Resolves to whether Doorward has ended the sessions. */
  async function logOut(scope: string, now: SignedIn | null) {
    const isThis = scope === 'this';
    const body = now && isThis && !hasCookies ? { refresh_token: now.refresh_token } : undefined;
    for (let attempt = 1; ; attempt++) {
      const request = wire.request(`/logout?scope=${scope}`, body, { keepalive: true });
      try {
        await answerOf(send(withCredentials(request, now)));
        return true;
      } catch (error) {
        const { status, transient } = error as DoorwardError;
        // 401: there is nothing left to end.
        if (!transient || attempt > 3) return isThis && status === 401;
        await pause(attempt * 1000);
      }
    }
  }

  return {
    signOut,
    session,
    fetch: authorizedFetch,
    refresh: async () => viewOf(await renew()),
    onChange,
    close,
    ...createAccount(wire, records, authorizedFetch),
  };
}
