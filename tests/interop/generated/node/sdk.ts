// A session by the client that @hey-api/openapi-ts generates.
import { client } from './sdk/client.gen.js';
import { logIn, logOut, me, refresh, register } from './sdk/index.js';

declare const process: { env: { ISSUER: string } };

const email = 'sdk@example.com';
const password = 'seven otters juggle lanterns';
let access = '';
client.setConfig({ baseUrl: process.env.ISSUER, auth: ({ scheme }) => (scheme === 'bearer' ? access : undefined) });

function must<T>(answer: { data?: T | undefined; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function expect(what: string, is: unknown, wanted: unknown) {
  if (is !== wanted) throw new Error(`${what} is ${is}, not ${wanted}`);
}

const account = must(await register({ body: { email, password } }));
const refused = await logIn({ body: { email, password: 'not the password' } });
expect('code', refused.error?.code, 'invalid_credentials');
const tokens = must(await logIn({ body: { email, password } }));
if (tokens.refresh_token === undefined) throw new Error('no refresh token');
const refreshed = must(
  await refresh({
    headers: { 'Idempotency-Key': crypto.randomUUID() },
    body: { refresh_token: tokens.refresh_token },
  }),
);
expect('generation', refreshed.generation, 1);
expect('retry_window', refreshed.retry_window, 30);
access = refreshed.access_token ?? '';
const owner = must(await me());
expect('id', owner.id, 'id' in account ? account.id : undefined);
const ended = await logOut({ body: {} });
expect('logout', ended.response?.status, 204);
const after = await me();
expect('code', after.error?.code, 'token_revoked');
console.log('@hey-api/openapi-ts: works');
