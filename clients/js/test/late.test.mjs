// Rule 3 of docs/client-contract.md: an answer changes only the session in which it was asked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture } from './support/fixture.mjs';
import { json, problem, tokens } from './support/world.mjs';

const ADA = ['ada@example.com', 'seven otters juggle lanterns'];
const GRACE = ['grace@example.com', 'nine herons borrow umbrellas'];

const LOGINS = {
  'a login': (auth) => auth.signIn(...ADA),
  'a reset of the password': (auth) => auth.password.reset({ token: 'mailed' }, 'next'),
};
const CHANGE = { 'a change of the password': (auth) => auth.password.change('old', 'next') };
const CLOSING = { 'a closed account': (auth) => auth.closeAccount('old') };

/** An operation of one of two tabs, which is answered after `meanwhile`. */
async function late(operation, meanwhile, { isSignedIn = true, ...options } = {}) {
  const hidden = options.transport === 'cookie' && { access_token: null, refresh_token: null };
  const own = fixture(options);
  const { world, device, net } = own;
  let release;
  let shallHold = false;
  const fetch = async (request) => {
    if (!shallHold) return net.fetch(request, one);
    shallHold = false;
    await new Promise((resolve) => (release = resolve));
    return json(200, tokens(0, { session_id: 'late', refresh_token: 'late', ...hidden }));
  };
  const [one, two] = [own.open({ fetch }), own.open()];
  if (isSignedIn) await world.wait(one.client.signIn(...ADA));
  await world.advance(1);
  shallHold = true;
  const asked = operation(one.client);
  await world.settle();
  await meanwhile(one.client, two.client, world);
  release();
  const result = await world.wait(asked);
  await world.advance(1);
  const ended = net.of('/logout').some(({ body }) => body?.refresh_token === 'late');
  return { result, record: device.record, ended, net };
}

const signOut = (one, two, world) => world.wait(one.signOut());
const signOutElsewhere = (one, two, world) => world.wait(two.signOut());
const signIn = (one, two, world) => world.wait(one.signIn(...GRACE));
const signInElsewhere = (one, two, world) => world.wait(two.signIn(...GRACE));
const refresh = (one, two, world) => world.wait(one.refresh());

test('rule 3: an answer after a sign-out installs no session, and its own one is ended', async () => {
  for (const [name, operation] of Object.entries({ ...LOGINS, ...CHANGE })) {
    for (const meanwhile of [signOut, signOutElsewhere]) {
      const { result, record, ended } = await late(operation, meanwhile);
      assert.deepEqual([result, record, ended], [null, null, true], `${name}, ${meanwhile}`);
    }
  }
  for (const [name, operation] of Object.entries(LOGINS)) {
    const { result, record, ended } = await late(operation, signOut, { isSignedIn: false });
    assert.deepEqual([result, record, ended], [null, null, true], name);
  }
});

test('rule 3: an answer after another login does not replace its session, and its own one is ended', async () => {
  const again = (...all) => signOut(...all).then(() => signIn(...all));
  for (const [name, operation] of Object.entries({ ...LOGINS, ...CHANGE, ...CLOSING })) {
    for (const meanwhile of [signIn, signInElsewhere, again]) {
      const { result, record, ended } = await late(operation, meanwhile);
      assert.equal(record?.session_id, 'S2', `${name}, ${meanwhile}`);
      assert.equal(result?.id, name in CLOSING ? undefined : 'S2', name);
      assert.equal(ended, !(name in CLOSING), name);
    }
  }
  for (const [name, operation] of Object.entries(LOGINS)) {
    const { record, ended } = await late(operation, signInElsewhere, { isSignedIn: false });
    assert.deepEqual([record?.session_id, ended], ['S', true], name);
  }
});

test('rule 3: with cookies the record is that of the last answer, which the browser keeps', async () => {
  const again = (...all) => signOut(...all).then(() => signIn(...all));
  for (const [name, operation] of Object.entries({ ...LOGINS, ...CHANGE })) {
    for (const meanwhile of [signIn, signInElsewhere, again]) {
      const { result, record, net } = await late(operation, meanwhile, { transport: 'cookie' });
      assert.deepEqual([result.id, record.session_id], ['late', 'late'], `${name}, ${meanwhile}`);
      assert.equal(net.of('/logout').length, meanwhile === again ? 1 : 0, name);
    }
  }
});

test('rule 3: an answer counts although its session was refreshed or has ended by itself', async () => {
  const end = () => problem(401, 'invalid_grant', { reason: 'replaced' });
  for (const options of [{}, { refresh: end }, { refresh: end, transport: 'cookie' }]) {
    for (const [name, operation] of Object.entries({ ...LOGINS, ...CHANGE })) {
      const { result, record } = await late(operation, refresh, options);
      assert.deepEqual([result.id, record.session_id], ['late', 'late'], name);
    }
  }
  const { record } = await late(CLOSING['a closed account'], refresh);
  assert.equal(record, null);
});

test('rule 3: the cookies of a login that is answered after a sign-out are removed', async () => {
  const options = { isSignedIn: false, transport: 'cookie' };
  const { result, record, net } = await late(LOGINS['a login'], signOut, options);
  assert.deepEqual([result, record], [null, null]);
  assert.equal(net.of('/logout').length, 2);
});
