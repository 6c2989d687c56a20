// The eleven rules of docs/client-contract.md, each by the packed client in a world whose clock
// and network the test moves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture, URL_OF_LOGIN } from './support/fixture.mjs';
import { json, problem, tokens } from './support/world.mjs';

const lost = () => Promise.reject(new TypeError('Failed to fetch'));
const never = () => new Promise(() => {});

test('rule 1: tabs refresh without a lock, and read the record again just before sending', async () => {
  let generation = 0;
  const { world, device, net, open, signedIn } = fixture({
    // The server answers all racers alike.
    refresh: async ({ body }) => {
      generation = Math.max(generation, Number(body.refresh_token.split('-')[1]) + 1);
      await world.sleep(200);
      return json(200, tokens(generation));
    },
  });
  const first = await signedIn();
  const others = [open(), open(), open()];
  await world.advance(1);
  const all = [first, ...others].map((page) => page.client.refresh());
  const sessions = await world.wait(Promise.all(all));
  assert.deepEqual(
    sessions.map((it) => it.generation),
    [1, 1, 1, 1],
  );
  assert.equal(new Set(net.of('/refresh').map((it) => it.body.refresh_token)).size, 1);
  assert.equal(device.record.generation, 1);
  // Another tab has refreshed in the meantime: this one has nothing to send.
  await world.advance(580);
  const count = net.of('/refresh').length;
  await world.wait(others[0].client.session());
  await world.advance(1);
  assert.equal((await world.wait(others[1].client.session())).generation, 2);
  assert.equal(net.of('/refresh').length, count + 1);
});

test('rule 2: a key is stored before sending, sent with every retry, and dropped with the answer', async () => {
  const stored = [];
  const { world, device, net, signedIn } = fixture({
    refresh: (note, count) => {
      stored.push(device.record.key);
      return count < 3 ? lost() : json(200, tokens(1));
    },
  });
  const page = await signedIn();
  await world.wait(page.client.refresh());
  const keys = net.of('/refresh').map((it) => it.headers['idempotency-key']);
  assert.equal(keys.length, 3);
  assert.equal(new Set([...keys, ...stored]).size, 1, 'one key, stored at each request');
  assert.match(keys[0], /^[!-~]{16,255}$/);
  assert.equal('key' in device.record, false);
  // A page that comes after a killed one finds its key.
  const {
    world: later,
    device: phone,
    net: other,
    open: reopen,
    signedIn: signIn,
  } = fixture({
    refresh: (note, count) => (count === 1 ? never() : json(200, tokens(1))),
  });
  const killed = await signIn();
  void killed.client.refresh();
  await later.settle();
  killed.kill();
  const { key } = phone.record;
  await later.wait(reopen().client.refresh());
  assert.equal(other.of('/refresh')[1].headers['idempotency-key'], key);
});

test('rule 3: a lower generation, and an answer after a sign-out, are dropped', async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const { world, device, signedIn } = fixture({ refresh: () => held });
  const page = await signedIn();
  const late = page.client.refresh();
  await world.settle();
  device.record = { ...device.record, ...tokens(5) };
  release(json(200, tokens(4)));
  assert.equal((await world.wait(late)).generation, 5, 'the stored generation is higher');
  assert.equal(device.record.refresh_token, 'refresh-5');

  for (const where of ['the same tab', 'another tab']) {
    const again = fixture({
      refresh: () => again.world.sleep(500).then(() => json(200, tokens(1))),
    });
    const [one, two] = [await again.signedIn(), again.open()];
    await again.world.advance(1);
    const refreshed = one.client.refresh();
    await again.world.settle();
    const out = (where === 'the same tab' ? one : two).client.signOut();
    assert.equal(await again.world.wait(refreshed), null, where);
    await again.world.wait(out);
    assert.equal(again.device.record, null, where);
    assert.deepEqual(two.names(), ['initial', 'signed_out'], where);
  }

  // A login is another session, which starts at 0 again.
  const anew = fixture();
  const tab = await anew.signedIn();
  await anew.world.wait(tab.client.refresh());
  await anew.world.wait(tab.client.signIn('grace@example.com', 'nine herons borrow umbrellas'));
  assert.deepEqual([anew.device.record.session_id, anew.device.record.generation], ['S2', 0]);
});

test('rule 4: only invalid_grant ends the session', async () => {
  const survived = {
    'no network': () => lost(),
    503: () => problem(503, 'unavailable', { transient: true, headers: { 'Retry-After': '1' } }),
    429: () =>
      problem(429, 'too_many_requests', { transient: true, headers: { 'Retry-After': '2' } }),
    'a gateway': () => new Response('<h1>Bad Gateway</h1>', { status: 502 }),
    'a captive portal': () => new Response('<h1>Welcome</h1>', { status: 200 }),
    'JSON of a captive portal': () => json(200, { hello: 'guest' }),
  };
  for (const [name, answer] of Object.entries(survived)) {
    const { world, device, net, signedIn } = fixture({
      refresh: (note, count) => (count < 3 ? answer() : json(200, tokens(1))),
    });
    const page = await signedIn();
    assert.equal((await world.wait(page.client.refresh())).generation, 1, name);
    assert.equal(net.of('/refresh').length, 3, name);
    assert.equal(device.record.generation, 1, name);
  }

  const ends = { logout: true, expired: true, something_new: true, wrong_client: false };
  for (const [reason, isEnd] of Object.entries(ends)) {
    const { world, device, signedIn } = fixture({
      refresh: () => problem(401, 'invalid_grant', { reason }),
    });
    const page = await signedIn();
    const refreshed = page.client.refresh();
    if (isEnd) assert.equal(await world.wait(refreshed), null);
    else await assert.rejects(world.wait(refreshed), { code: 'invalid_grant', reason });
    assert.equal(device.record.session_id, isEnd ? undefined : 'S', reason);
    const ended = page.events.filter(([event]) => event === 'signed_out');
    assert.deepEqual(ended, isEnd ? [['signed_out', null, reason]] : [], reason);
  }

  const final = fixture({ refresh: () => problem(403, 'csrf_refused') });
  const page = await final.signedIn();
  await assert.rejects(final.world.wait(page.client.refresh()), { code: 'csrf_refused' });
  assert.equal(final.net.of('/refresh').length, 1);
  assert.equal(final.device.record.session_id, 'S');
});

test('rule 5: listeners run in microtasks, and block no refresh', async () => {
  const { world, signedIn } = fixture();
  const page = await signedIn();
  const order = [];
  page.client.onChange(async (event) => {
    order.push(event);
    // Would wait for itself if the refresh waited for its listeners.
    if (event === 'refreshed') await page.client.refresh();
    await never();
  });
  await world.settle();
  assert.equal((await world.wait(page.client.refresh(), 5)).generation, 1);
  assert.equal((await world.wait(page.client.session(), 5)).generation, 1);
  await world.settle();
  assert.deepEqual(order, ['initial', 'refreshed']);
  const stop = page.client.onChange(() => order.push('stopped'));
  stop();
  page.client.close();
  await world.wait(page.client.signOut());
  assert.deepEqual(order, ['initial', 'refreshed']);
  assert.equal(page.count('storage') + page.count('online'), 0);
});

test('rule 6: the expiry does not depend on the clock that the user sets', async () => {
  for (const ahead of [-86_400_000, -60_000, 0, 60_000, 86_400_000]) {
    const { world, device, net, signedIn } = fixture();
    const page = await signedIn();
    device.ahead = ahead;
    await world.advance(300);
    await world.wait(page.client.session());
    assert.equal(net.of('/refresh').length, 0, `half of the lifetime, the clock ${ahead} ms ahead`);
    await world.advance(280);
    await world.wait(page.client.session());
    await world.settle();
    assert.equal(net.of('/refresh').length, 1, `near the expiry, the clock ${ahead} ms ahead`);
  }
  // A reload measures by the wall clock, as nothing else is left.
  const reload = fixture();
  await reload.signedIn();
  await reload.world.advance(601);
  assert.equal((await reload.world.wait(reload.open().client.session())).generation, 1);
  // The clock was set back meanwhile: the age is unknown, and a 401 tells.
  const back = fixture({
    other: ({ headers }) =>
      headers.authorization === 'Bearer access-1' ? json(200, {}) : problem(401, 'token_expired'),
  });
  await back.signedIn();
  back.device.ahead = -3_600_000;
  await back.world.advance(601);
  const answer = await back.world.wait(back.open().client.fetch(`${URL_OF_LOGIN}/me`), 5);
  assert.equal(answer.status, 200);
});

test('rule 7: a login proves the device by the last refresh token, until an explicit sign-out', async () => {
  const { world, device, net, signedIn } = fixture({
    refresh: () => problem(401, 'invalid_grant', { reason: 'expired' }),
  });
  const page = await signedIn();
  assert.equal('known_device' in net.of('/login')[0].body, false);
  await world.wait(page.client.refresh());
  assert.deepEqual(device.record, { known_device: 'refresh-0' });
  const credentials = ['ada@example.com', 'seven otters juggle lanterns'];
  await world.wait(page.client.signIn(...credentials));
  assert.equal(net.of('/login')[1].body.known_device, 'refresh-0');
  await world.wait(page.client.signIn(...credentials));
  assert.equal(net.of('/login')[2].body.known_device, 'refresh-0', 'also of a live session');
  await world.wait(page.client.password.forgot('ada@example.com'));
  assert.equal(net.of('/password/forgot')[0].body.known_device, 'refresh-0');
  await world.wait(page.client.signOut());
  assert.equal(device.record, null);
  await world.wait(page.client.signIn(...credentials));
  assert.equal('known_device' in net.of('/login')[3].body, false);
});

test('rule 8: the bearer goes to Doorward and the listed origins only', async () => {
  const { world, net, signedIn } = fixture();
  const page = await signedIn({ origins: ['https://api.example.com/ignored'] });
  const urls = {
    [`${URL_OF_LOGIN}/me`]: true,
    'https://api.example.com/orders': true,
    'https://api.example.com:8443/orders': false,
    'http://api.example.com/orders': false,
    'https://login.example.com.evil.example/': false,
    '//evil.example/x': false,
    '/same-page': false,
  };
  for (const [url, isTrusted] of Object.entries(urls)) {
    await world.wait(page.client.fetch(url, { headers: { 'X-Own': '1' } }));
    const { headers } = net.requests.at(-1);
    assert.equal(headers.authorization, isTrusted ? 'Bearer access-0' : undefined, url);
    assert.equal(headers['x-own'], '1');
  }
  const before = net.requests.length;
  await assert.rejects(page.client.fetch('https://login.example.com@evil.example/'), TypeError);
  assert.equal(net.requests.length, before);
  const request = new Request('https://api.example.com/orders', { method: 'PUT', body: '{"a":1}' });
  await world.wait(page.client.fetch(request));
  assert.deepEqual(net.requests.at(-1).body, { a: 1 });
  assert.equal(net.requests.at(-1).headers.authorization, 'Bearer access-0');
});

test('rule 9: a sign-out clears at once and posts with keepalive', async () => {
  const { world, device, net, open, signedIn } = fixture({ other: never });
  const page = await signedIn();
  const other = open();
  await world.advance(1);
  void page.client.signOut();
  await world.settle();
  assert.equal(device.record, null, 'before any answer');
  const [logout] = net.of('/logout');
  assert.equal(logout.keepalive, true);
  assert.equal(logout.path, '/logout?scope=this');
  assert.equal(logout.headers.authorization, 'Bearer access-0');
  assert.deepEqual(logout.body, { refresh_token: 'refresh-0' });
  await world.advance(1);
  assert.deepEqual(page.events.at(-1), ['signed_out', null, 'logout']);
  assert.deepEqual(other.names(), ['initial', 'signed_out']);

  for (const scope of ['this', 'all', 'others']) {
    const each = fixture();
    const tab = await each.signedIn();
    assert.equal(await each.world.wait(tab.client.signOut({ scope })), true);
    assert.equal(each.net.of('/logout')[0].path, `/logout?scope=${scope}`);
    assert.equal(each.device.record?.session_id, scope === 'others' ? 'S' : undefined);
  }
  // An access token that has expired is refreshed from a copy of the record.
  const slow = fixture({ refresh: () => slow.world.sleep(5000).then(() => json(200, tokens(1))) });
  const old = await slow.signedIn();
  await slow.world.advance(601);
  const done = old.client.signOut({ scope: 'all' });
  await slow.world.settle();
  assert.equal(slow.device.record, null, 'before the refresh is answered');
  assert.deepEqual(old.names(), ['initial', 'signed_in', 'signed_out']);
  assert.equal(await slow.world.wait(done), true);
  assert.equal(slow.net.of('/logout')[0].headers.authorization, 'Bearer access-1');
  assert.equal(slow.device.record, null);

  // Offline it reaches nobody, and says so.
  const offline = fixture({ other: lost });
  const phone = await offline.signedIn();
  assert.equal(await offline.world.wait(phone.client.signOut()), false);
  assert.ok(offline.net.of('/logout').length > 1, 'it was retried');
  assert.equal(offline.device.record, null);
});

test('rule 10: React Native and Node have asynchronous stores and no events', async () => {
  const { world, net, open } = fixture();
  let record = null;
  const store = {
    get: async () => (await world.sleep(20), structuredClone(record)),
    set: async (next) => (await world.sleep(20), void (record = structuredClone(next))),
  };
  const page = open({ store }, { isBrowser: false });
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  assert.equal(record.generation, 0);
  const all = [page.client.refresh(), page.client.refresh(), page.client.session()];
  const [one, two] = await world.wait(Promise.all(all));
  assert.deepEqual([one.generation, two.generation, record.generation], [1, 1, 1]);
  assert.equal(net.of('/refresh').length, 1, 'one request a page');
  // A sign-out between reading and writing wins.
  await world.advance(31);
  const refreshed = page.client.refresh();
  await world.advance(0.03);
  const out = page.client.signOut();
  await world.wait(Promise.all([refreshed, out]));
  assert.equal(record, null);
});

test('rule 11: a refresh token is not refreshed again within the retry window', async () => {
  const { world, net, signedIn } = fixture({ other: () => problem(401, 'token_revoked') });
  const page = await signedIn();
  assert.equal(
    (await world.wait(page.client.refresh())).generation,
    1,
    'a login is not a rotation',
  );
  await world.advance(29);
  assert.equal((await world.wait(page.client.refresh(), 1)).generation, 1, 'the present tokens');
  assert.equal(net.of('/refresh').length, 1);
  // Refused tokens wait for the end of the window.
  const before = world.now;
  const answer = await world.wait(page.client.fetch(`${URL_OF_LOGIN}/me`));
  assert.equal(answer.status, 401);
  const [, second] = net.of('/refresh');
  assert.ok(second.at - before >= 900 && second.at - before < 1200, `${second.at - before} ms`);
  await world.advance(31);
  assert.equal((await world.wait(page.client.refresh())).generation, 3);

  // Servers say how long the window is.
  const short = fixture({ refresh: (note, n) => json(200, tokens(n, { retry_window: 2 })) });
  const tab = await short.signedIn();
  await short.world.wait(tab.client.refresh());
  await short.world.advance(2.1);
  assert.equal((await short.world.wait(tab.client.refresh())).generation, 2);

  // A request under way is aborted before the window ends, and retried.
  const silent = fixture({ refresh: (note, n) => (n === 1 ? never() : json(200, tokens(1))) });
  const phone = await silent.signedIn();
  await assert.rejects(silent.world.wait(phone.client.refresh()), { code: 'network_error' });
  const [request] = silent.net.of('/refresh');
  assert.ok(request.signal.aborted);
  assert.ok(silent.world.now - request.at < 30_000);
  assert.equal((await silent.world.wait(phone.client.refresh())).generation, 1);
});

test('rule 10: a listener outlives a store that fails for a while', async () => {
  const { world, open } = fixture();
  let isLocked = true;
  let record = null;
  const store = {
    get: async () => {
      if (isLocked) throw new Error('the keychain is locked');
      return record;
    },
    set: async (next) => void (record = next),
  };
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  const page = open({ store }, { isBrowser: false });
  await world.advance(1);
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
  await assert.rejects(world.wait(page.client.session()), /keychain/);
  isLocked = false;
  await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
  assert.deepEqual(page.names(), ['initial', 'signed_in']);
});
