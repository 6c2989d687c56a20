import type { Records } from './records.js';
import { isSignedIn, recordOf, viewOf, type Tokens } from './rules.js';
import type { Client, Session } from './types.js';
import { DoorwardError, type Wire } from './wire.js';

/** Sends a request with credentials. */
export type Call = <T>(method: string, path: string, body?: object) => Promise<T>;

/** Begins a session by a request without credentials. */
export type Begin = (path: string, body: object) => Promise<Session>;

/** The operations of accounts, one request each. */
export function createAccount(wire: Wire, records: Records, call: Call, begin: Begin) {
  const { post } = wire;
  const { read, change } = records;

  /** The newest refresh token that this device had. The browser sends a cookie by itself. */
  async function knownDevice() {
    const now = await read();
    return { known_device: now?.refresh_token ?? now?.known_device };
  }

  return {
    signIn: async (email, password, options) =>
      begin('/login', { email, password, ...options, ...(await knownDevice()) }),
    signUp: (email, password) => post('/register', { email, password }),
    confirmSignUp: (request, code) => post('/register/confirm', { request, code }),
    user: () =>
      call<never>('GET', '/me').catch((error: DoorwardError) => {
        if (error.status !== 401) throw error;
        return null;
      }),
    async closeAccount(password) {
      await call('POST', '/me/close', { password });
      await change(() => null);
    },
    password: {
      async change(current_password, new_password) {
        const tokens = await call<Tokens>('POST', '/me/password', {
          current_password,
          new_password,
        });
        // Dropped after a sign-out, as the answer to a refresh is.
        return viewOf(await change((now) => (isSignedIn(now) ? recordOf(tokens) : now)));
      },
      forgot: async (email) => post('/password/forgot', { email, ...(await knownDevice()) }),
      reset: (proof, password, options) =>
        begin('/password/reset', { ...proof, password, ...options }),
    },
    email: {
      change: (email, current_password) => call('POST', '/me/email', { email, current_password }),
      confirm: (request, code) => call('POST', '/me/email/confirm', { request, code }),
    },
    sessions: {
      list: async () => (await call<{ sessions: [] }>('GET', '/sessions')).sessions,
      end: (id) => call('DELETE', `/sessions/${id}`),
    },
  } satisfies Partial<Client>;
}
