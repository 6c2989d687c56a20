// Rule 4 of docs/client-contract.md: retries, by the packed client in a world whose clock and
// network the test moves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture, URL_OF_LOGIN } from './support/fixture.mjs';
import { json, problem, tokens } from './support/world.mjs';

const lost = () => Promise.reject(new TypeError('Failed to fetch'));

test('rule 4: retries wait for Retry-After, and the network that comes back wakes them', async () => {
  const slow = fixture({
    refresh: (note, count) =>
      count === 1
        ? problem(503, 'unavailable', { transient: true, headers: { 'Retry-After': '60' } })
        : json(200, tokens(1)),
  });
  const page = await slow.signedIn();
  await assert.rejects(slow.world.wait(page.client.refresh()), { transient: true, retryAfter: 60 });
  assert.equal((await slow.world.wait(page.client.session())).id, 'S', 'still signed in');
  await assert.rejects(slow.world.wait(page.client.refresh(), 1), { retryAfter: 60 });
  assert.equal(slow.net.of('/refresh').length, 1, 'later callers do not ask again');
  await slow.world.advance(50);
  await slow.world.wait(page.client.refresh());
  const [first, second] = slow.net.of('/refresh');
  assert.ok(Math.round(second.at - first.at) >= 60_000);

  const gone = fixture({ refresh: (note, count) => (count < 4 ? lost() : json(200, tokens(1))) });
  const tab = await gone.signedIn();
  const refreshed = tab.client.refresh();
  // After the third attempt, and before the fourth, however the delays fall.
  await gone.world.advance(3.4);
  const sent = gone.net.of('/refresh').length;
  tab.dispatch('online');
  await gone.world.settle();
  assert.equal(gone.net.of('/refresh').length, sent + 1);
  await gone.world.wait(refreshed);
  const times = gone.net.of('/refresh').map((it) => it.at);
  assert.ok(times[1] - times[0] < times[2] - times[1], 'backoff');

  // Nobody waits when the platform knows that there is no network.
  const offline = fixture({ refresh: lost });
  const phone = await offline.signedIn();
  phone.isOnline = false;
  await offline.world.advance(601);
  const before = offline.world.now;
  await assert.rejects(offline.world.wait(phone.client.fetch(`${URL_OF_LOGIN}/me`)), {
    code: 'network_error',
    transient: true,
  });
  assert.ok(offline.world.now - before < 200);
  assert.equal((await offline.world.wait(phone.client.session())).id, 'S');
});

test('rule 4: the network that comes back does not shorten Retry-After', async () => {
  for (const path of ['/refresh', '/logout']) {
    const busy = () =>
      net.of(path).length === 1
        ? problem(503, 'unavailable', { transient: true, headers: { 'Retry-After': '10' } })
        : json(200, tokens(1));
    const { world, net, signedIn } = fixture({ refresh: busy, other: busy });
    const page = await signedIn();
    const done = path === '/refresh' ? page.client.refresh() : page.client.signOut();
    for (let second = 0; second < 9; second++) {
      await world.advance(1);
      page.dispatch('online');
    }
    await world.wait(done);
    const [first, second] = net.of(path);
    const waited = Math.round(second.at - first.at);
    assert.ok(waited >= 10_000 && waited < 11_500, `${path}: ${waited} ms`);
  }
});

test('rule 4: a refused login is shown at once, and never retried', async () => {
  const { world, open, net } = fixture({ other: () => problem(401, 'x') });
  const page = open({
    fetch: async () =>
      net.requests.push(1) &&
      problem(429, 'too_many_failed_logins', { headers: { 'Retry-After': '900' } }),
  });
  const refused = page.client.signIn('ada@example.com', 'wrong');
  await assert.rejects(world.wait(refused), {
    code: 'too_many_failed_logins',
    status: 429,
    retryAfter: 900,
    transient: false,
  });
  await world.advance(3600);
  assert.equal(net.requests.length, 1);
  assert.equal(await world.wait(page.client.session()), null);
});

test('rule 4: an answer without a session, to a login, is a network error', async () => {
  const { world, device, net, open } = fixture();
  let isCaptive = false;
  const page = open({
    fetch: async (request) =>
      isCaptive ? json(200, { hello: 'guest' }) : net.fetch(request, page),
  });
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  isCaptive = true;
  for (const asked of [
    () => page.client.signIn('ada@example.com', 'seven otters juggle lanterns'),
    () => page.client.password.change('old', 'next'),
  ]) {
    await assert.rejects(world.wait(asked()), { code: 'network_error', transient: true });
    assert.equal(device.record.session_id, 'S');
  }
});

test('rule 4: nobody who has signed out waits for a refresh, or hears of its failure', async () => {
  for (const seconds of ['10', '60']) {
    const headers = { 'Retry-After': seconds };
    const { world, signedIn } = fixture({
      refresh: () => problem(503, 'unavailable', { transient: true, headers }),
      other: ({ path }) =>
        path === '/me' ? problem(401, 'missing_token') : new Response(null, { status: 204 }),
    });
    const page = await signedIn();
    const failed = page.client.refresh().catch(() => {});
    await world.advance(5);
    await world.wait(page.client.signOut());
    const before = world.now;
    assert.equal(await world.wait(page.client.session()), null);
    assert.equal(await world.wait(page.client.refresh()), null);
    assert.equal(await world.wait(page.client.user()), null);
    assert.ok(world.now - before < 500, `${world.now - before} ms`);
    await world.wait(failed);
  }
});

test('rule 4: a sign-out does not wait longer than a caller does', async () => {
  for (const seconds of ['16', '3600', '9999999', '1e999']) {
    const headers = { 'Retry-After': seconds };
    const { world, net, signedIn } = fixture({
      other: () => problem(503, 'unavailable', { transient: true, headers }),
    });
    const page = await signedIn();
    assert.equal(await world.wait(page.client.signOut(), 15), false, seconds);
    assert.equal(net.of('/logout').length, 1, seconds);
  }
});

test('rule 4: a 401 by a gateway ends nothing, and acknowledges no sign-out', async () => {
  const gateway = () => new Response('<h1>Unauthorized</h1>', { status: 401 });
  const { world, device, signedIn } = fixture({ refresh: gateway, other: gateway });
  const page = await signedIn();
  await assert.rejects(world.wait(page.client.user()), { status: 401, code: undefined });
  assert.equal(device.record.session_id, 'S');
  assert.equal(await world.wait(page.client.signOut()), false);
});
