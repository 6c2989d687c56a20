// Second factors: against the real service, whose clock moves from one code to the next.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { factors } from '../dist/factors.js';
import { createClient, memory } from '../dist/index.js';
import { createServerClient } from '../dist/server.js';
import { libfaketime, missing, PASSWORD, Service, withoutService } from './support/service.mjs';
import { totp } from './support/totp.mjs';
import { json, tokens } from './support/world.mjs';

const faketime = libfaketime();
const options = { skip: withoutService || missing('libfaketime', faketime) };
let service;
let now = Date.now();

before(async () => {
  if (options.skip) return;
  service = await Service.start({ 'accounts.fresh_for': '1m' }, faketime);
});
after(() => service?.stop());

const CLIENTS = {
  bearer: () => createClient({ url: service.url }),
  cookie: () => createServerClient({ url: service.url, cookie: null, setCookie: () => {} }),
};

function pass(seconds) {
  now += seconds * 1000;
  service.setTime(now);
}

/** The next code of an app (RFC 6238), which was not used before. */
function nextCode(secret) {
  pass(30);
  return { totp: totp(secret, now) };
}

for (const [transport, open] of Object.entries(CLIENTS)) {
  test(`an account has a second factor, with ${transport}`, options, async () => {
    const email = `${transport}@example.com`;
    const auth = open();
    const own = factors(auth);
    const refused = () => auth.signIn(email, PASSWORD).catch((error) => error);
    const events = [];
    auth.onChange((event) => events.push(event));
    await auth.signUp(email, PASSWORD);
    await auth.signIn(email, PASSWORD);
    await assert.rejects(own.setUp(PASSWORD), { code: 'email_unverified' });
    service.command('user', 'mark-verified', email);

    const { secret, otpauth_uri, qr_svg } = await own.setUp(PASSWORD);
    assert.match(otpauth_uri, /^otpauth:/);
    assert.match(qr_svg, /^<svg /);
    const first = await own.confirm(nextCode(secret).totp);
    assert.equal(first.length, 10);
    await auth.signOut();

    const refusal = await refused();
    assert.equal(refusal.code, 'second_factor_required');
    assert.deepEqual(refusal.problem.factors, ['totp', 'recovery_code']);
    const wrong = { recovery_code: first[0].replace(/./g, '0') };
    await assert.rejects(own.signIn(refusal, wrong), { code: 'invalid_second_factor' });
    assert.equal(await auth.session(), null);
    events.length = 0;
    const session = await own.signIn(refusal, nextCode(secret));
    assert.deepEqual(events, ['signed_in']);
    assert.equal(!session.accessToken, transport === 'cookie');
    assert.equal((await auth.user()).email, email);
    assert.equal((await auth.refresh()).generation, 1);

    // The proof gets old, and is renewed in the same session.
    pass(90);
    await assert.rejects(own.replaceCodes(PASSWORD), { code: 'factor_proof_required' });
    const again = await own.reauthenticate(PASSWORD, nextCode(secret));
    assert.deepEqual([again.id, again.generation], [session.id, 1]);
    assert.deepEqual(events, ['signed_in', 'refreshed', 'refreshed']);
    const [recovery_code, other] = await own.replaceCodes(PASSWORD);
    assert.equal((await auth.refresh()).generation, 1);
    await auth.signOut();

    await assert.rejects(own.signIn(await refused(), { recovery_code: first[0] }));
    await own.signIn(await refused(), { recovery_code });
    await auth.signOut();
    await assert.rejects(own.signIn(await refused(), { recovery_code }), { status: 401 });
    await auth.signIn(email, PASSWORD, { second_factor: { recovery_code: other } });

    pass(90);
    await assert.rejects(own.remove(PASSWORD), { code: 'factor_proof_required' });
    await own.remove(PASSWORD, nextCode(secret));
    await auth.signOut();
    assert.ok(await auth.signIn(email, PASSWORD));
  });
}

test('an account that needs a second factor sets one up before it signs in', options, async () => {
  const strict = await Service.start({ 'accounts.require_second_factor': 'all' });
  try {
    const auth = createClient({ url: strict.url });
    const own = factors(auth);
    await auth.signUp('ada@example.com', PASSWORD);
    strict.command('user', 'mark-verified', 'ada@example.com');
    const refusal = await auth.signIn('ada@example.com', PASSWORD).catch((error) => error);
    assert.equal(refusal.code, 'second_factor_setup_required');
    const { secret } = await own.setUp(PASSWORD, refusal);
    const [recovery_code] = await own.confirm(totp(secret, Date.now()), refusal);
    assert.equal(await auth.session(), null);
    await auth.signIn('ada@example.com', PASSWORD, { second_factor: { recovery_code } });
    assert.equal((await auth.user()).email, 'ada@example.com');
  } finally {
    await strict.stop();
  }
});

/** A client that is signed in, whose proof is answered when `meanwhile` has happened. */
async function provenWhile(meanwhile) {
  const store = memory();
  let auth;
  const answers = {
    '/login': () => json(200, tokens(0)),
    '/refresh': () => json(200, tokens(1)),
    '/logout': () => new Response(null, { status: 204 }),
    '/me/reauthenticate': async () => {
      await meanwhile(auth);
      return json(200, { access_token: 'proven', expires_in: 600 });
    },
  };
  const fetch = async (request) => answers[new URL(request.url).pathname]();
  auth = createClient({ url: 'https://login.example.com', store, fetch });
  await auth.signIn('ada@example.com', PASSWORD);
  return { session: await factors(auth).reauthenticate(PASSWORD), record: store.get() };
}

test('a second factor for an error that is not a refusal is rejected', async () => {
  const auth = createClient({ url: 'http://127.0.0.1:9' });
  for (const error of [undefined, new TypeError('not a refusal')]) {
    await assert.rejects(factors(auth).signIn(error, { totp: '123456' }), TypeError);
  }
});

test('a proof that is answered after a sign-out signs nobody in', async () => {
  const { session, record } = await provenWhile((auth) => auth.signOut());
  assert.deepEqual([session, record], [null, null]);
});

test('a proof keeps the refresh token of a refresh under way', async () => {
  const { session, record } = await provenWhile((auth) => auth.refresh());
  assert.equal(session.accessToken, 'proven');
  assert.deepEqual([record.access_token, record.generation], ['proven', 1]);
  assert.equal(record.refresh_token, tokens(1).refresh_token);
});
