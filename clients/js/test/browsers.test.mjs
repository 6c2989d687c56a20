// The packed client and the two example pages, in Chromium and Firefox, against the real service.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createServer as createVite } from 'vite';
import { createClient } from '../dist/index.js';
import { browsers, launch, serveApi, servePages } from './support/browsers.mjs';
import { Proxy } from './support/proxy.mjs';
import {
  freePort,
  libfaketime,
  missing,
  PASSWORD,
  Service,
  withoutService,
} from './support/service.mjs';

/** More with `DOORWARD_TEST_WALK`. */
const ROUNDS = process.env.DOORWARD_TEST_WALK ? 12 : 3;

const withoutClock = missing('libfaketime', libfaketime());
const example = fileURLToPath(new URL('../../../examples/cookie', import.meta.url));

let service;
let proxy;
let pages;
/** Seconds that the service's clock is ahead. */
let ahead = 0;
let count = 0;

before(async () => {
  if (withoutService || withoutClock) return;
  pages = await servePages(() => proxy.url);
  const settings = { 'cors.origins': pages.origin };
  service = await Service.start(settings, libfaketime());
  proxy = await Proxy.start(service.url);
});
after(async () => {
  proxy?.stop();
  pages?.stop();
  await service?.stop();
});

function moveClock(seconds) {
  ahead += seconds;
  service.setTime(Date.now() + ahead * 1000);
}

async function signUp(url = service.url) {
  const email = `ada${count++}@example.com`;
  await createClient({ url }).signUp(email, PASSWORD);
  return email;
}

/** Frames are not drawn in background tabs, so waiting polls. */
const until = (page, condition, ...values) =>
  page.waitForFunction(condition, { polling: 20, timeout: 20_000 }, ...values);

async function click(page, selector) {
  await page.bringToFront();
  await page.click(selector);
}

/** A page with `auth`, a client of the service, and no other script. */
async function openClient(context, options = {}) {
  const page = await context.newPage();
  await page.goto(`${pages.origin}/empty`);
  await page.evaluate(
    async (own) => {
      const { createClient } = await import('/clients/js/dist/index.js');
      globalThis.events = [];
      globalThis.auth = createClient(own);
      auth.onChange((event, session, reason) => events.push([event, reason ?? null]));
    },
    { url: proxy.url, ...options },
  );
  return page;
}

/** Makes the stored tokens older, for pages whose clock did not move with the service's. */
const age = (page, seconds) =>
  page.evaluate((milliseconds) => {
    const record = JSON.parse(localStorage.doorward);
    localStorage.doorward = JSON.stringify({ ...record, at: record.at - milliseconds });
  }, seconds * 1000);

const signIn = (page, email) =>
  page.evaluate(
    (...credentials) => auth.signIn(...credentials).then((it) => it.id),
    email,
    PASSWORD,
  );
const generation = (page) => page.evaluate(() => auth.refresh().then((it) => it?.generation));
const status = (page) =>
  page.evaluate((url) => auth.fetch(url).then((answer) => answer.status), `${proxy.url}/me`);

for (const { browser, skip } of browsers) {
  const options = { skip: skip || withoutService || withoutClock };
  describe(browser, options, () => {
    let program;
    let context;

    before(async () => {
      program = await launch(browser);
    });
    after(() => program?.close());
    const fresh = async () => {
      await context?.close();
      proxy.fate = () => 'pass';
      proxy.seen.length = 0;
      return (context = await program.createBrowserContext());
    };

    /** An example page: login, call, refresh, a second tab, logout. */
    async function useExample(url, email) {
      const own = await fresh();
      const [one, two] = [await own.newPage(), await own.newPage()];
      for (const page of [one, two]) await page.goto(url);
      const isIn = (page, yes) =>
        until(page, (it) => (document.body.dataset.session !== '') === it, yes);
      const answer = async (page) => {
        await page.evaluate(() => (document.forms.call.answer.value = ''));
        await click(page, '[name=call] button');
        await until(page, () => document.forms.call.answer.value);
        return page.evaluate(() => JSON.parse(document.forms.call.answer.value).email);
      };
      await isIn(one, false);
      await one.type('[name=email]', email);
      await one.type('[name=password]', 'wrong');
      await click(one, '[name=login] button');
      await until(one, () => document.forms.login.error.value);
      await one.evaluate(() => (document.forms.login.password.value = ''));
      await one.type('[name=password]', PASSWORD);
      await click(one, '[name=login] button');
      await isIn(one, true);
      await isIn(two, true);
      const texts = (page) =>
        page.evaluate(() => {
          const { login, call } = document.forms;
          return [login.error, login.password, call.answer].map((it) => it.value);
        });
      assert.deepEqual(await texts(one), ['', '', ''], 'after the right password');
      assert.equal(await answer(one), email);
      moveClock(601);
      assert.equal(await answer(two), email, 'after a refresh');
      assert.equal(await answer(one), email, 'with the tokens of the other tab');
      await two.reload();
      await isIn(two, true);
      await click(two, '[name=logout] button');
      for (const page of [one, two]) {
        await isIn(page, false);
        assert.deepEqual(await texts(page), ['', '', ''], 'for the next user');
      }
    }

    test('the example with bearer tokens', async () => {
      await useExample(`${pages.origin}/examples/bearer/`, await signUp());
      assert.equal(proxy.of('/refresh').length, 1);
    });

    test('the example with cookies, behind the Vite proxy', async () => {
      const port = await freePort();
      const origin = `http://localhost:${port}`;
      const own = await Service.start({ public_url: `${origin}/auth` }, libfaketime());
      const { url } = service;
      const { default: config } = await import(`${example}/vite.config.mjs`);
      const auth = { ...config.server.proxy['/auth'], target: own.url };
      const alias = {
        '@doorward/client': fileURLToPath(new URL('../dist/index.js', import.meta.url)),
      };
      const server = { host: 'localhost', port, strictPort: true, proxy: { '/auth': auth } };
      const vite = await createVite({
        configFile: false,
        root: example,
        cacheDir: `/tmp/vite-${port}`,
        logLevel: 'error',
        resolve: { alias },
        server: { ...server, fs: { strict: false } },
      });
      const moved = service;
      try {
        await vite.listen();
        const email = await signUp(own.url);
        service = own;
        await useExample(`${origin}/`, email);
      } finally {
        service = moved;
        await vite.close();
        await own.stop();
      }
      assert.equal(service.url, url);
    });

    test('ten tabs share one session through many rotations', async () => {
      const own = await fresh();
      const first = await openClient(own);
      await signIn(first, await signUp());
      const tabs = [first];
      while (tabs.length < 10) tabs.push(await openClient(own));
      for (let round = 1; round <= ROUNDS; round++) {
        const rotated = await Promise.all(tabs.map(generation));
        assert.deepEqual(new Set(rotated), new Set([round]));
        moveClock(31);
        await age(first, 31);
        await Promise.all(
          tabs.map((tab) => tab.evaluate(() => dispatchEvent(new StorageEvent('storage')))),
        );
      }
      await tabs[9].evaluate(() => auth.signOut());
      await Promise.all(tabs.map((tab) => until(tab, () => events.at(-1)[0] === 'signed_out')));
      assert.equal(await status(tabs[3]), 401);
    });

    test('a tab that is killed between answer and store loses nothing', async () => {
      const own = await fresh();
      const doomed = await openClient(own);
      await signIn(doomed, await signUp());
      const observer = await openClient(own);
      // The answer is there, and the page does not get to store it.
      await doomed.evaluate(() => {
        Response.prototype.json = () => new Promise(() => (globalThis.isAnswered = true));
        void auth.refresh();
      });
      await until(doomed, () => globalThis.isAnswered);
      await doomed.close();
      moveClock(45);
      assert.equal(await generation(observer), 1, 'after the retry window, by the stored key');
      const [lost, proven] = proxy.of('/refresh').map((it) => it.headers['idempotency-key']);
      assert.equal(lost, proven);
      assert.equal(await status(observer), 200);
    });

    test('lost answers and a restart of the service log nobody out', async () => {
      const own = await fresh();
      const page = await openClient(own);
      await signIn(page, await signUp());
      let requests = 0;
      proxy.fate = ({ url }) => (url === '/refresh' && ++requests < 3 ? 'lose' : 'pass');
      assert.equal(await generation(page), 1);
      assert.equal(requests, 3);
      proxy.fate = () => 'pass';

      moveClock(700);
      await age(page, 700);
      await service.kill();
      const failed = proxy.failure();
      const waiting = status(await openClient(own));
      await failed;
      await service.run();
      assert.equal(await waiting, 200, 'the refresh waited for the service');
      assert.equal(await generation(page), 2);
    });

    test('a page that comes back from the history hears of a sign-out', async () => {
      const own = await fresh();
      const page = await openClient(own);
      await signIn(page, await signUp());
      await page.goto(`${pages.origin}/empty?next`);
      const other = await openClient(own);
      await other.evaluate(() => auth.signOut());
      await page.evaluate(() => history.back()).catch(() => {});
      await until(page, () => globalThis.events?.at(-1)[0] === 'signed_out');
    });

    test('the access token goes to listed origins only', async () => {
      const own = await fresh();
      const [listed, other] = [await serveApi(), await serveApi()];
      const page = await openClient(own, { origins: [listed.origin] });
      await signIn(page, await signUp());
      const sent = (url) =>
        page.evaluate((it) => auth.fetch(it).then((answer) => answer.json()), url);
      assert.match(await sent(`${listed.origin}/orders`), /^Bearer ey/);
      assert.equal(await sent(`${other.origin}/orders`), null);
      listed.stop();
      other.stop();
      await context.close();
      context = undefined;
    });
  });
}
