// A session by openapi-fetch, with the types of openapi-typescript.
import createClient from 'openapi-fetch';
import type { paths } from './schema';

declare const process: { env: { ISSUER: string } };

const email = 'typed@example.com';
const password = 'seven otters juggle lanterns';
const client = createClient<paths>({ baseUrl: process.env.ISSUER });

function must<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

function expect(what: string, is: unknown, wanted: unknown) {
  if (is !== wanted) throw new Error(`${what} is ${is}, not ${wanted}`);
}

const account = must(await client.POST('/register', { body: { email, password } }));
const refused = await client.POST('/login', { body: { email, password: 'not the password' } });
expect('code', refused.error?.code, 'invalid_credentials');
const tokens = must(await client.POST('/login', { body: { email, password } }));
if (tokens.access_token === undefined || tokens.refresh_token === undefined) throw new Error('no tokens');
const refreshed = must(
  await client.POST('/refresh', {
    params: { header: { 'Idempotency-Key': crypto.randomUUID() } },
    body: { refresh_token: tokens.refresh_token },
  }),
);
expect('generation', refreshed.generation, 1);
expect('retry_window', refreshed.retry_window, 30);
const headers = { Authorization: `Bearer ${refreshed.access_token}` };
const me = must(await client.GET('/me', { headers }));
expect('id', me.id, 'id' in account ? account.id : undefined);
const ended = await client.POST('/logout', { headers });
expect('logout', ended.response.status, 204);
const after = await client.GET('/me', { headers });
expect('code', after.error?.code, 'token_revoked');
console.log('openapi-typescript: works');
