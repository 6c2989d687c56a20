// The cookie transport: the page sees no token, and only Doorward can see the cookies.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture, URL_OF_LOGIN } from './support/fixture.mjs';
import { json, problem, tokens } from './support/world.mjs';

const lost = () => Promise.reject(new TypeError('Failed to fetch'));

/** An answer whose tokens are cookies. */
function answer(generation, members) {
  const body = tokens(generation, members);
  delete body.access_token;
  delete body.refresh_token;
  return json(200, body);
}

const cookies = { transport: 'cookie' };

test('no request has a token, and every one has the cookies', async () => {
  const { world, device, net, open } = fixture({
    ...cookies,
    refresh: (note, n) => answer(n),
    other: () => json(200, {}),
  });
  device.record = { known_device: 'refresh-9' };
  const page = open();
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  const [login] = net.of('/login');
  assert.equal(login.body.transport, 'cookie');
  await world.wait(page.client.refresh());
  await world.wait(page.client.fetch(`${URL_OF_LOGIN}/me`));
  await world.wait(page.client.signOut());
  for (const { path, credentials, headers } of net.requests) {
    assert.equal(credentials, 'include', path);
    assert.equal(headers.authorization, undefined, path);
  }
  const [refresh] = net.of('/refresh');
  assert.equal(refresh.body, undefined);
  assert.equal(refresh.keepalive, true, 'the cookies come although the page has gone');
  assert.match(refresh.headers['idempotency-key'], /^[!-~]{16,255}$/);
  assert.equal(net.of('/logout')[0].body, undefined);
});

test('a page without a record asks once whether somebody is signed in', async () => {
  const nobody = fixture({ ...cookies, refresh: () => problem(401, 'missing_token') });
  const page = nobody.open();
  assert.equal(await nobody.world.wait(page.client.session()), null);
  assert.equal(await nobody.world.wait(page.client.session()), null);
  assert.equal(nobody.net.of('/refresh').length, 1);

  const somebody = fixture({ ...cookies, refresh: () => answer(4) });
  const tab = somebody.open();
  await somebody.world.settle();
  assert.equal((await somebody.world.wait(tab.client.session())).generation, 4);
  assert.deepEqual(tab.names(), ['initial', 'signed_in']);

  // Nobody knows while Doorward cannot be reached: that is an error, and not null.
  const unknown = fixture({ ...cookies, refresh: lost });
  const phone = unknown.open();
  await assert.rejects(unknown.world.wait(phone.client.session()), { transient: true });
});

test('a sign-out that was not acknowledged is kept, although cookies may be left', async () => {
  const { world, device, net, open } = fixture({
    ...cookies,
    refresh: () => answer(1),
    other: lost,
  });
  const page = open();
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  assert.equal(await world.wait(page.client.signOut()), false);
  const reloaded = open();
  assert.equal(await world.wait(reloaded.client.session()), null);
  assert.equal(net.of('/refresh').length, 0);
  await world.wait(reloaded.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  assert.equal(device.record.signed_out, undefined);
});

test('no request sends the cookies that a sign-out has left', async () => {
  let isOffline = false;
  const { world, net, open } = fixture({
    ...cookies,
    other({ credentials }) {
      if (isOffline) return lost();
      return credentials === 'include' ? json(200, {}) : problem(401, 'missing_token');
    },
  });
  const page = open();
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  isOffline = true;
  assert.equal(await world.wait(page.client.signOut()), false);
  isOffline = false;
  const request = new Request(`${URL_OF_LOGIN}/me`, { credentials: 'include' });
  assert.equal((await world.wait(page.client.fetch(request))).status, 401);
  assert.equal(await world.wait(page.client.user()), null);
  assert.deepEqual(net.of('/refresh'), []);
  // Another sign-out sends them, to end the session.
  assert.equal(await world.wait(page.client.signOut()), true);
  assert.equal(net.requests.at(-1).credentials, 'include');
});

test('a refresh that is answered after a sign-out signs nobody in', async () => {
  const { world, device, open } = fixture({
    ...cookies,
    refresh: () => world.sleep(500).then(() => answer(1)),
  });
  const page = open();
  const asked = page.client.session();
  await world.settle();
  await world.wait(page.client.signOut());
  assert.equal(await world.wait(asked), null);
  assert.equal(device.record?.session_id, undefined);
});

test('the retry of a logout ends no later login of the browser', async () => {
  const headers = { 'Retry-After': '10' };
  const busy = ({ path }) =>
    path.startsWith('/logout')
      ? problem(503, 'unavailable', { transient: true, headers })
      : json(200, {});
  for (const scope of ['this', 'all']) {
    for (const isElsewhere of [false, true]) {
      const { world, device, net, open, signedIn } = fixture({ ...cookies, other: busy });
      const page = await signedIn();
      const out = page.client.signOut({ scope });
      await world.advance(1);
      const next = isElsewhere ? open() : page;
      await world.wait(next.client.signIn('grace@example.com', 'nine herons borrow umbrellas'));
      assert.equal(await world.wait(out), false, 'nobody knows whether the session has ended');
      assert.equal(net.of('/logout').length, 1, scope);
      assert.equal(device.record.session_id, 'S2');
    }
  }
  const { world, net, signedIn } = fixture({ ...cookies, other: busy });
  const page = await signedIn();
  assert.equal(await world.wait(page.client.signOut({ scope: 'others' })), false);
  assert.equal(net.of('/logout').length, 4, 'the others are ended by this session');
});
