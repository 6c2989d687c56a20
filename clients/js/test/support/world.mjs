// Pages in a world whose clock the test moves: each page runs the packed client of its own, with
// its own monotonic clock; pages of one device share `localStorage` and the wall clock.

import { readFileSync } from 'node:fs';

const source = readFileSync(new URL('../../dist/index.js', import.meta.url), 'utf8');

const GLOBALS = [
  'globalThis',
  'performance',
  'Date',
  'setTimeout',
  'clearTimeout',
  'localStorage',
  'fetch',
  'queueMicrotask',
];

/** The module's code as a function of the platform. */
const load = new Function(
  ...GLOBALS,
  source.replace(/export\s*\{([^}]*)\}/, (_, names) => {
    const members = names.split(',').map((it) => it.trim().split(' as '));
    return `return {${members.map(([own, name]) => `${name ?? own}:${own}`)}}`;
  }),
);

/** Virtual time in milliseconds, and what is due. */
export class World {
  now = 0;
  #timers = [];
  #count = 0;
  /** Requests to a real server, which take no virtual time. */
  #real = new Set();

  after(milliseconds, call) {
    const timer = { at: this.now + Math.max(0, milliseconds), order: this.#count++, call };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((it) => it !== timer));
  }

  sleep = (milliseconds) => new Promise((resolve) => this.after(milliseconds, resolve));

  /** Lets the world stand still until a real promise is settled. */
  real(promise) {
    const real = promise.catch(() => {}).finally(() => this.#real.delete(real));
    this.#real.add(real);
    return promise;
  }

  async settle() {
    for (let quiet = 0; quiet < 3; quiet++) {
      await new Promise(setImmediate);
      if (this.#real.size) {
        quiet = 0;
        await Promise.race(this.#real);
      }
    }
  }

  async advance(seconds) {
    const end = this.now + seconds * 1000;
    for (;;) {
      await this.settle();
      const due = this.#timers
        .filter((it) => it.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((it) => it !== due);
      this.now = Math.max(this.now, due.at);
      due.call();
    }
    this.now = end;
  }

  /** Moves the clock until the promise is settled, and returns its outcome. */
  async wait(promise, seconds = 3600) {
    let isSettled = false;
    const settled = () => (isSettled = true);
    promise.then(settled, settled);
    const end = this.now + seconds * 1000;
    await this.settle();
    while (!isSettled && this.now < end) await this.advance(0.05);
    if (!isSettled) throw new Error(`still waiting after ${seconds} s`);
    return promise;
  }
}

/** A browser profile: `localStorage` for its pages, and the clock that its user sets. */
export class Device {
  /** Milliseconds that the wall clock is ahead of the world. */
  ahead = 0;
  pages = new Set();
  stored = new Map();

  constructor(world) {
    this.world = world;
  }

  get record() {
    return JSON.parse(this.stored.get('doorward') ?? 'null');
  }

  set record(record) {
    this.stored.set('doorward', JSON.stringify(record));
  }
}

export class Page {
  isAlive = true;
  isOnline = true;
  #heard = new Map();

  /** `fetch(request, page)` is the network. Without `isBrowser` it is Node or React Native. */
  constructor(device, fetch, { isBrowser = true } = {}) {
    const { world, stored } = device;
    this.device = device;
    const opened = world.now - Math.floor(Math.random() * 1e6);
    const alive =
      (call) =>
      (...values) =>
        this.isAlive && call(...values);
    const timers = new Map();
    const window = {
      addEventListener: (name, heard) => this.#listeners(name).add(heard),
      removeEventListener: (name, heard) => this.#listeners(name).delete(heard),
      location: new URL('https://app.example.com/page'),
      navigator: Object.defineProperty({}, 'onLine', { get: () => this.isOnline }),
    };
    const storage = {
      getItem: (key) => stored.get(key) ?? null,
      setItem: alive((key, value) => {
        stored.set(key, String(value));
        this.#tellOthers(key);
      }),
      removeItem: alive((key) => {
        stored.delete(key);
        this.#tellOthers(key);
      }),
    };
    this.library = load(
      isBrowser ? window : {},
      { now: () => world.now - opened },
      { now: () => 1_790_000_000_000 + world.now + device.ahead },
      (call, milliseconds) => {
        const timer = Symbol();
        timers.set(timer, world.after(milliseconds, alive(call)));
        return timer;
      },
      (timer) => timers.get(timer)?.(),
      isBrowser ? storage : undefined,
      // A page that is gone never hears of the answer.
      (request) =>
        new Promise((resolve, reject) => {
          fetch(request, this).then(alive(resolve), alive(reject));
        }),
      (call) => queueMicrotask(alive(call)),
    );
    device.pages.add(this);
  }

  #listeners(name) {
    if (!this.#heard.has(name)) this.#heard.set(name, new Set());
    return this.#heard.get(name);
  }

  #tellOthers(key) {
    for (const page of this.device.pages) {
      if (page !== this) this.device.world.after(1, () => page.dispatch('storage', { key }));
    }
  }

  dispatch(name, event = {}) {
    if (this.isAlive) this.#listeners(name).forEach((heard) => heard(event));
  }

  count(name) {
    return this.#listeners(name).size;
  }

  kill() {
    this.isAlive = false;
    this.device.pages.delete(this);
  }
}

/** An answer of Doorward. */
export const json = (status, body, headers) => Response.json(body, { status, headers });

/** An answer with tokens; `S` is the session's id. */
export const tokens = (generation, members) => ({
  token_type: 'Bearer',
  access_token: `access-${generation}`,
  expires_in: 600,
  refresh_token: `refresh-${generation}`,
  refresh_expires_in: 2_592_000,
  generation,
  session_id: 'S',
  retry_window: 30,
  ...members,
});

export const problem = (status, code, members) =>
  json(status, { status, code, detail: code, ...members }, members?.headers);

/** A network that notes all requests, and answers by a function of path and number. */
export function network(answer) {
  const requests = [];
  const fetch = async (request, page) => {
    const { pathname, search, origin } = new URL(request.url);
    const text = await request.clone().text();
    const note = {
      origin,
      path: pathname + search,
      method: request.method,
      headers: Object.fromEntries(request.headers),
      body: text ? JSON.parse(text) : undefined,
      keepalive: request.keepalive,
      credentials: request.credentials,
      signal: request.signal,
      at: page.device.world.now,
    };
    requests.push(note);
    const aborted = new Promise((_, reject) =>
      request.signal.addEventListener('abort', () => reject(request.signal.reason)),
    );
    return Promise.race([answer(note, requests.length, page), aborted]);
  };
  return { requests, fetch, of: (path) => requests.filter((it) => it.path.startsWith(path)) };
}
