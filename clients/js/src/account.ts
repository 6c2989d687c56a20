import type { Records } from './records.js';
import { isSame, isSignedIn, type Stored } from './rules.js';
import type { Client } from './types.js';
import type { DoorwardError, Wire } from './wire.js';

/** The operations of accounts, one request each. `call` sends them with credentials. */
export function createAccount(
  { post, hasCookies, app }: Wire,
  { read, change }: Records,
  call: Wire['post'],
  keep: Client['_'][3],
) {
  /** Members of requests that begin a session. */
  const own = { ...app, transport: hasCookies ? 'cookie' : undefined };

  /** The newest refresh token that this device had. The browser sends a cookie by itself. */
  const deviceOf = (now: Stored | null) => now?.refresh_token ?? now?.known_device;

  return {
    signIn: (email, password, options) =>
      keep((now) =>
        post('/login', { email, password, ...options, known_device: deviceOf(now), ...own }),
      ),
    signUp: (email, password) => post('/register', { email, password }),
    confirmSignUp: (request, code) => post('/register/confirm', { request, code }),
    _: [call, post, change, keep],
    user: () =>
      call<never>('/me').catch(async (error: DoorwardError) => {
        if (error.status === 401 && !isSignedIn(await read())) return null;
        throw error;
      }),
    async closeAccount(password) {
      const sent = await read();
      await call('/me/close', { password });
      await change((now) => (isSame(now, sent) ? null : now));
    },
    password: {
      change: (current_password, new_password) =>
        keep(() => call('/me/password', { current_password, new_password })),
      forgot: async (email) =>
        post('/password/forgot', { email, known_device: deviceOf(await read()) }),
      reset: (proof, password, options) =>
        keep(() => post('/password/reset', { ...proof, password, ...options, ...own })),
    },
    email: {
      change: (email, current_password) => call('/me/email', { email, current_password }),
      confirm: (request, code) => call('/me/email/confirm', { request, code }),
    },
    sessions: {
      list: () => call<{ sessions: [] }>('/sessions').then((it) => it.sessions),
      end: (id) => call('/sessions/' + id, undefined, { method: 'DELETE' }),
    },
  } satisfies Partial<Client>;
}
