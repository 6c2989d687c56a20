import type { Records } from './records.js';
import { isSignedIn, recordOf, viewOf, type Tokens } from './rules.js';
import type { Client, Session } from './types.js';
import { answerOf, type DoorwardError, type Wire } from './wire.js';

/** The operations of accounts, one request each. */
export function createAccount(wire: Wire, records: Records, authorizedFetch: Client['fetch']) {
  const { post, hasCookies, app, request } = wire;
  const { read, change } = records;

  /** Sends a request with credentials. */
  const call = <T>(method: string, path: string, body?: object) =>
    answerOf<T>(authorizedFetch(request(path, body, { method })));

  /** Begins a session by a request without credentials. */
  async function begin(path: string, body: object): Promise<Session> {
    const transport = hasCookies ? 'cookie' : undefined;
    const next = recordOf(await post<Tokens>(path, { ...body, ...app, transport }));
    await change(() => next);
    return viewOf(next)!;
  }

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
    _: { call, post, change },
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
