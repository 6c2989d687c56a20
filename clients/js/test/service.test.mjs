// Every operation against the real service, from Node.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { createClient, DoorwardError, memory } from '../dist/index.js';
import { createServerClient } from '../dist/server.js';
import { PASSWORD, Service, withoutService } from './support/service.mjs';

/** In the text of a message to an address, and not in its id. */
const codeTo = (email) =>
  new RegExp(`(?<=^To: ${email}\\b[^]*(?:code is|minutes:)\\s+)[0-9A-Z]{4}-[0-9A-Z]{4}`, 'm');
const NEXT = 'nine herons borrow umbrellas';
const options = { skip: withoutService };
let service;
let count = 0;

before(async () => {
  if (!withoutService) service = await Service.start();
});
after(() => service?.stop());

const someone = async () => {
  const email = `ada${count++}@example.com`;
  const auth = createClient({ url: service.url });
  await auth.signUp(email, PASSWORD);
  await auth.signIn(email, PASSWORD, { label: 'Test' });
  return { email, auth };
};

test('an account signs up, in, and out', options, async () => {
  const { email, auth } = await someone();
  assert.equal((await auth.user()).email, email);
  const session = await auth.session();
  assert.equal(session.generation, 0);
  assert.equal((await auth.refresh()).generation, 1);
  assert.equal((await auth.refresh()).generation, 1, 'within the retry window');
  assert.equal((await auth.fetch(`${service.url}/me`)).status, 200);
  const { accessToken } = await auth.session();
  assert.equal(await auth.signOut(), true);
  assert.equal(await auth.session(), null);
  assert.equal(await auth.user(), null);
  const headers = { Authorization: `Bearer ${accessToken}` };
  assert.equal((await fetch(`${service.url}/me`, { headers })).status, 401);
});

test('the type of a user has the members of an account', options, async () => {
  const { auth } = await someone();
  const types = readFileSync(new URL('../src/types.ts', import.meta.url), 'utf8');
  const [, members] = /interface User \{(.*?)\n\}/s.exec(types);
  const names = [...members.matchAll(/^ {2}(\w+): /gm)].map(([, name]) => name);
  assert.deepEqual(names.sort(), Object.keys(await auth.user()).sort());
});

test('an error has everything that the service says', options, async () => {
  const { email, auth } = await someone();
  const wrong = await auth.signIn(email, 'wrong').catch((error) => error);
  assert.ok(wrong instanceof DoorwardError && wrong instanceof Error);
  assert.deepEqual(
    [wrong.status, wrong.code, wrong.transient],
    [401, 'invalid_credentials', false],
  );
  const weak = await auth.signUp('grace@example.com', 'short').catch((error) => error);
  assert.deepEqual([weak.status, weak.errors[0].pointer], [422, '/password']);
  assert.equal(weak.message, weak.problem.detail);
  const nowhere = createClient({ url: 'http://127.0.0.1:1' });
  const lost = await nowhere.signIn(email, PASSWORD).catch((error) => error);
  assert.deepEqual([lost.status, lost.code, lost.transient], [0, 'network_error', true]);
  assert.equal(lost.message, 'Doorward cannot be reached.');
  assert.equal(lost.name, 'DoorwardError');
  // As Node prints an uncaught one.
  assert.match(inspect(lost), /^DoorwardError: Doorward cannot be reached\./);
});

test('a change of the password continues with a new session', options, async () => {
  const { email, auth } = await someone();
  const old = await auth.session();
  const other = createClient({ url: service.url });
  await other.signIn(email, PASSWORD);
  await assert.rejects(auth.password.change('wrong', NEXT), { code: 'wrong_password' });
  const next = await auth.password.change(PASSWORD, NEXT);
  assert.notEqual(next.id, old.id);
  assert.equal((await auth.user()).email, email);
  const ended = new Promise((resolve) =>
    other.onChange((event, session, reason) => event === 'signed_out' && resolve(reason)),
  );
  assert.equal(await other.user(), null);
  assert.equal(await ended, 'password_changed');
});

test('sessions are listed and ended', options, async () => {
  const { email, auth } = await someone();
  const other = createClient({ url: service.url });
  const { id } = await other.signIn(email, PASSWORD);
  const list = await auth.sessions.list();
  assert.deepEqual(list.map((it) => it.current).sort(), [false, true]);
  await auth.sessions.end(id);
  assert.equal(await other.refresh(), null);
  await other.signIn(email, PASSWORD);
  assert.equal(await auth.signOut({ scope: 'others' }), true);
  assert.equal(await other.refresh(), null);
  assert.equal((await auth.user()).email, email);
  await other.signIn(email, PASSWORD);
  assert.equal(await auth.signOut({ scope: 'all' }), true);
  assert.equal(await other.refresh(), null);
});

test('a mailed code resets the password, and another one proves the address', options, async () => {
  const { email, auth } = await someone();
  const { request } = await auth.password.forgot(email);
  const code = await service.message(codeTo(email));
  await auth.password.reset({ request, code }, NEXT, { label: 'Again' });
  assert.equal((await auth.user()).email_verified, true);
  const next = `new-${email}`;
  const change = await auth.email.change(next, NEXT);
  assert.match(change.request, /^dwq_/);
  await assert.rejects(auth.email.confirm(change.request, 'AAAA-AAAA'), { code: 'invalid_link' });
  await auth.email.confirm(change.request, await service.message(codeTo(next)));
  const user = await auth.user();
  assert.deepEqual([user.email, user.email_verified], [next, true]);
  await auth.closeAccount(NEXT);
  assert.equal(await auth.session(), null);
  await assert.rejects(auth.signIn(next, NEXT), { code: 'invalid_credentials' });
});

test('the account of a proven address is created by a code', options, async () => {
  const strict = await Service.start({ 'accounts.verification': 'required' });
  try {
    const auth = createClient({ url: strict.url });
    const { request } = await auth.signUp('grace@example.com', PASSWORD);
    const code = await strict.message(codeTo('grace@example.com'));
    const account = await auth.confirmSignUp(request, code);
    assert.equal(account.email, 'grace@example.com');
    await auth.signIn('grace@example.com', PASSWORD);
    assert.equal((await auth.user()).email_verified, true);
  } finally {
    await strict.stop();
  }
});

test('a registered app sends its client_id', options, async () => {
  const { email } = await someone();
  const origin = ['--origin', 'https://shop.example.com'];
  const app = JSON.parse(
    service.command('client', 'add', '--name', 'Shop', '--public', ...origin, '--json'),
  );
  const store = memory();
  const auth = createClient({ url: service.url, store, clientId: app.client_id });
  await auth.signIn(email, PASSWORD);
  // A session of one app is not another one's, and survives the mistake.
  const other = createClient({ url: service.url, store });
  await assert.rejects(other.refresh(), { code: 'invalid_grant', reason: 'wrong_client' });
  assert.equal((await auth.refresh()).generation, 1);
});

test(
  'a server renders pages with cookies, and refreshes only if it can set them',
  options,
  async () => {
    const { email } = await someone();
    const cookies = [];
    const setCookie = (more) => cookies.push(...more);
    const first = createServerClient({ url: service.url, cookie: null, setCookie });
    await first.signIn(email, PASSWORD);
    const cookie = cookies.map((it) => it.split(';')[0]).join('; ');
    assert.match(cookie, /__Host-doorward-access=.*__Host-doorward-refresh-/);
    const reader = createServerClient({ url: service.url, cookie });
    assert.equal((await reader.user()).email, email);

    // The access cookie has expired.
    const left = cookie
      .split('; ')
      .filter((it) => !it.includes('-access='))
      .join('; ');
    assert.equal(await createServerClient({ url: service.url, cookie: left }).user(), null);
    cookies.length = 0;
    const writer = createServerClient({ url: service.url, cookie: left, setCookie });
    assert.equal((await writer.user()).email, email, 'after one refresh');
    assert.ok(cookies.some((it) => it.startsWith('__Host-doorward-access=ey')));
    assert.equal(await writer.signOut(), true);
    assert.equal(await createServerClient({ url: service.url, cookie }).user(), null);
    assert.equal(
      await createServerClient({ url: service.url, cookie: '', setCookie }).session(),
      null,
    );
  },
);
