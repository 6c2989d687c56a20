// Ten tabs of one browser against the real service while everything goes wrong: 30 % of the answers
// are lost, 20 % of the tabs are killed before they store one, the service restarts, and the user's
// clock is wrong and jumps. And a thief with a copy of the tokens.
//
// `DOORWARD_TEST_WALK` is the number of minutes by the moved clock (default 5; 60 for the long
// walk); `DOORWARD_TEST_SEED` repeats one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Internet, seeded, START } from './support/internet.mjs';
import { libfaketime, missing, PASSWORD, Service, withoutService } from './support/service.mjs';
import { Device, Page, World } from './support/world.mjs';

const options = { skip: withoutService || missing('libfaketime', libfaketime()) };
const MINUTES = Number(process.env.DOORWARD_TEST_WALK ?? 5);
const SEED = Number(process.env.DOORWARD_TEST_SEED ?? Math.floor(Math.random() * 1e6));
const TABS = 10;

let service;
let count = 0;

before(async () => {
  if (options.skip) return;
  // The shortest lifetime: a refresh every half a minute or more often.
  const settings = { 'tokens.lifetime': '1m', 'sessions.absolute_timeout': '400d' };
  service = await Service.start(settings, libfaketime());
});
after(() => service?.stop());

/** A browser whose user has signed in on a good network. */
async function signedIn(world, internet, transport) {
  const device = new Device(world);
  if (transport === 'cookie') device.jar = new Map();
  const open = () => {
    const page = new Page(device, internet.fetch);
    page.client = page.library.createClient({ url: service.url, transport });
    return page;
  };
  const page = open();
  const email = `ada${count++}@example.com`;
  await world.wait(page.client.signUp(email, PASSWORD));
  await world.wait(page.client.signIn(email, PASSWORD));
  return { device, open, page };
}

async function walk(context, transport) {
  const random = seeded(SEED);
  const between = (from, to) => from + random() * (to - from);
  const world = new World();
  service.freezeTime(START);
  const internet = new Internet(world, service, { random });
  const { device, open, page: first } = await signedIn(world, internet, transport);
  const { session_id, refresh_token } = device.record;
  assert.equal(!!refresh_token, transport === 'bearer');
  Object.assign(internet, { losesRequests: 0.1, losesAnswers: 0.3, kills: 0.2 });
  const counts = { calls: 0, failedCalls: 0, jumps: 0, restarts: 0, signedOut: 0 };
  let failure;
  // Noted here, because the client takes an error of the network for a lost answer.
  internet.heard = (page, status, body) => {
    if (status === 401) failure ??= new Error(`seed ${SEED}: ${JSON.stringify(body)}`);
  };

  /** A tab in use, until it is killed. Then another one is opened. */
  async function use(page) {
    page.client.onChange((event) => void (event === 'signed_out' && counts.signedOut++));
    while (page.isAlive) {
      await world.sleep(between(500, 20_000));
      if (!page.isAlive) break;
      counts.calls++;
      const kind = random();
      let done;
      if (kind < 0.2) done = page.client.refresh().then((session) => assert.ok(session));
      else if (kind < 0.3) done = page.client.session().then((session) => assert.ok(session));
      else done = page.client.fetch(`${service.url}/me`);
      await Promise.race([done, world.sleep(90_000)]).catch((error) => {
        if (error instanceof assert.AssertionError) throw error;
        counts.failedCalls++;
      });
    }
  }

  const start = (page) => use(page).catch((error) => (failure ??= error));
  const reopen = async () => {
    await world.sleep(between(500, 60_000));
    start(open());
  };
  internet.killed = (page) => {
    page.kill();
    void reopen();
  };
  start(first);
  for (let tabs = 1; tabs < TABS; tabs++) start(open());

  let isOver = false;
  async function setClock() {
    while (!isOver) {
      await world.sleep(between(20_000, 300_000));
      counts.jumps++;
      const sizes = [2_000, 60_000, 3_600_000, 86_400_000];
      device.ahead += between(-1, 1) * sizes[Math.floor(random() * sizes.length)];
    }
  }
  async function restart() {
    for (;;) {
      await world.sleep(between(60_000, 400_000));
      if (isOver) break;
      counts.restarts++;
      await world.real(service.kill());
      await world.sleep(between(100, 40_000));
      if (isOver) break;
      service.freezeTime(START + world.now);
      await world.real(service.run());
    }
  }
  void setClock();
  void restart();
  for (let minute = 0; minute < MINUTES && !failure; minute++) await world.advance(60);
  isOver = true;
  assert.ifError(failure);

  assert.equal(counts.signedOut, 0, `seed ${SEED}`);
  assert.equal(device.record.session_id, session_id, `seed ${SEED}`);
  Object.assign(internet, { losesRequests: 0, losesAnswers: 0, kills: 0 });
  if (!service.isRunning) await service.run();
  const last = open();
  assert.ok(await world.wait(last.client.user()), `seed ${SEED}`);
  const text = Object.entries({ ...internet.counts, ...counts }).map(
    ([name, it]) => `${name} ${it}`,
  );
  context.diagnostic(`seed ${SEED}: ${text.join(', ')}`);
  const { rotations, lostAnswers } = internet.counts;
  assert.ok(rotations >= MINUTES / 2 && lostAnswers > MINUTES, text.join());
}

for (const transport of ['bearer', 'cookie']) {
  const name = `an honest user is never signed out: ${MINUTES} minutes, ${transport}`;
  test(name, options, (context) => walk(context, transport));
}

test(
  'a stolen token ends the session within three refreshes of the owner',
  options,
  async (context) => {
    const thefts = process.env.DOORWARD_TEST_WALK ? 60 : 8;
    const random = seeded(SEED);
    const worst = [];
    for (let theft = 0; theft < thefts; theft++) {
      const world = new World();
      const began = START + 86_400_000 * (theft + 1);
      const clock = { freezeTime: (at) => service.freezeTime(at - START + began) };
      const internet = new Internet(world, clock, { random });
      const owner = await signedIn(world, internet);
      const rotate = async ({ page }) => {
        // A slow network is slower than a client waits.
        const later = (error) => (error.transient ? page.client.refresh().catch(later) : error);
        await world.wait(page.client.refresh().catch(later));
      };
      await rotate(owner);
      await world.advance(31 + random() * 30);

      // The thief copies the record, half of the time while a refresh is under way, with its key.
      const isUnderWay = theft % 2 === 1;
      if (isUnderWay) internet.losesAnswers = 1;
      const lost = isUnderWay ? owner.page.client.refresh().catch(() => {}) : undefined;
      await world.settle();
      const device = new Device(world);
      device.record = owner.device.record;
      assert.equal('key' in device.record, isUnderWay);
      internet.losesAnswers = 0;
      if (lost) await world.wait(lost);
      const page = new Page(device, internet.fetch);
      page.client = page.library.createClient({ url: service.url });
      const thief = { device, page };

      let refreshes = 0;
      const isOver = () => !owner.device.record?.session_id || !thief.device.record?.session_id;
      while (!isOver() && refreshes < 10) {
        // Each refreshes when its access token has expired, in any order and at any time.
        const turns = random() < 0.5 ? [owner, thief] : [thief, owner];
        for (const turn of turns) {
          await world.advance(31 + random() * 60);
          if (turn === owner) refreshes++;
          if (!isOver()) await rotate(turn);
        }
      }
      assert.ok(isOver() && refreshes <= 3, `seed ${SEED}, theft ${theft}: ${refreshes} refreshes`);
      worst.push(refreshes);
    }
    const times = (it) => worst.filter((refreshes) => refreshes === it).length;
    context.diagnostic(
      `seed ${SEED}: ${[1, 2, 3].map((it) => `${times(it)} after ${it}`).join(', ')}`,
    );
  },
);
