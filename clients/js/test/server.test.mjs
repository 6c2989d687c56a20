// Pages that a server renders: which origins see the visitor's cookies, and set some.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createServerClient } from '../dist/server.js';

const LOGIN = 'https://login.example.com';
const REFRESH = '__Host-doorward-refresh-0=secret';

/** A server client, whose every answer is `answer()` and sets a cookie. */
function visitor(answer = () => new Response('{}'), cookie = REFRESH) {
  const requests = [];
  const cookies = [];
  const client = createServerClient({
    url: LOGIN,
    cookie,
    origin: 'https://app.example.com',
    setCookie: (more) => cookies.push(...more),
    fetch: async (request) => {
      requests.push(request);
      const made = answer(request);
      made.headers.append('Set-Cookie', `seen=${new URL(request.url).hostname}; Path=/`);
      return made;
    },
  });
  return { client, requests, cookies };
}

test("Doorward's own origin gets the cookies and the origin, and sets cookies", async () => {
  const { client, requests, cookies } = visitor();
  await client.fetch(`${LOGIN}/me`);
  assert.equal(requests[0].headers.get('Cookie'), REFRESH);
  assert.equal(requests[0].headers.get('Origin'), 'https://app.example.com');
  assert.deepEqual(cookies, ['seen=login.example.com; Path=/']);
});

test('another origin gets neither the cookies nor the origin, and sets no cookie', async () => {
  const others = [
    'https://third.example',
    'http://login.example.com/me',
    `${LOGIN}:8443/me`,
    `${LOGIN}.third.example/me`,
  ];
  for (const url of others) {
    const { client, requests, cookies } = visitor();
    assert.equal((await client.fetch(url)).status, 200);
    const { headers } = requests[0];
    assert.deepEqual([headers.get('Cookie'), headers.get('Origin')], [null, null], url);
    assert.deepEqual(cookies, [], url);
    await client.fetch(`${LOGIN}/me`);
    assert.equal(requests[1].headers.get('Cookie'), REFRESH, url);
  }
});

test('an answer from another origin, after a redirect, sets no cookie', async () => {
  const redirected = () =>
    Object.defineProperty(new Response('{}'), 'url', { value: 'https://third.example/' });
  const { client, cookies } = visitor(redirected);
  await client.fetch(`${LOGIN}/me`);
  assert.deepEqual(cookies, []);
});

test('no cookie of a sibling host becomes a __Host- cookie', async () => {
  // A browser lets any host of the same domain set these: they have another name, or none.
  const forged = [`\u00a0${REFRESH.replace('secret', 'theirs')}`, '__Host-doorward-refresh-0X'];
  for (const cookie of forged) {
    const { client, requests } = visitor(undefined, `${REFRESH}; ${cookie}`);
    await client.fetch(`${LOGIN}/me`);
    const [first] = requests[0].headers.get('Cookie').split('; ');
    assert.equal(first, REFRESH, cookie);
  }
});
