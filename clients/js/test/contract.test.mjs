// The vectors of clients/contract, played against the packed client by the scripted server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start, vectors } from '../../contract/server.mjs';
import { createClient, memory } from '../dist/index.js';

const servers = [];
before(async () => {
  // Vectors that wait need not wait for each other.
  for (const vector of vectors) servers.push({ vector, server: await start() });
});
after(() => servers.forEach(({ server }) => server.closeAllConnections() ?? server.close()));

/** The state of a vector as this client stores it. */
function stored(state) {
  if (!state) return null;
  const { age, ...record } = state;
  return age === undefined ? record : { ...record, at: Date.now() - age * 1000 };
}

/** A stored record as the state of a vector. The age depends on how long the test took. */
function stateOf(record, key) {
  if (!record) return null;
  const { at, token_type, refresh_expires_in, ...state } = record;
  void [at, token_type, refresh_expires_in];
  return state.key && state.key === key ? { ...state, key: '<key>' } : state;
}

function assertState(store, expected, key) {
  const { age, ...state } = expected ?? {};
  void age;
  assert.deepEqual(stateOf(store.get(), key), expected && state);
}

const EVENTS = {
  start: (auth) => auth.session(),
  refresh: (auth) => auth.refresh(),
  call: (auth, url) => auth.fetch(`${url}/me`),
  call_elsewhere: (auth, url) => auth.fetch(`${url.replace('127.0.0.1', 'localhost')}/me`),
  sign_in: (auth) => auth.signIn('ada@example.com', 'seven otters juggle lanterns'),
  sign_out: (auth) => auth.signOut().then(() => null),
};

function resultOf(outcome) {
  if (outcome instanceof Error) return 'error';
  if (outcome instanceof Response) return outcome.status;
  return outcome ? 'signed_in' : 'signed_out';
}

test('the client keeps the contract', { concurrency: 8 }, async (context) => {
  const each = vectors.map((vector, index) =>
    context.test(`rule ${vector.rule}: ${vector.name}`, async () => {
      const url = `http://127.0.0.1:${servers[index].server.address().port}`;
      const control = async (method, path = '') =>
        (await fetch(`${url}/contract${path}`, { method })).json();
      await control('PUT', `/${index}`);
      const store = memory(stored(vector.state));
      const auth = createClient({ url, store });
      const happened = EVENTS[vector.event](auth, url).catch((error) => error);
      if ('meanwhile' in vector || 'while_held' in vector) {
        const { key } = await control('GET', '/held');
        if ('while_held' in vector) assertState(store, vector.while_held, key);
        else store.set(stored(vector.meanwhile));
        await control('POST', '/release');
      }
      const outcome = await happened;
      const { problems, key } = await control('GET');
      assert.deepEqual(problems, []);
      assert.equal(resultOf(outcome), vector.then.result, String(outcome));
      assertState(store, vector.then.state, key);
    }),
  );
  await Promise.all(each);
});
