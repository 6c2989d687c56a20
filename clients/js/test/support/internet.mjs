// The way from a simulated page to the real service: slow, and it loses requests and answers.

const lost = () => new TypeError('Failed to fetch');

/** When the simulated clocks begin, in milliseconds since 1970. */
export const START = 1_790_000_000_000;

export class Internet {
  counts = { requests: 0, refreshes: 0, rotations: 0, lostRequests: 0, lostAnswers: 0, kills: 0 };
  /** Every answer to a refresh that reached a page: [page, status, body]. */
  heard = () => {};
  /** Called in place of an answer to a refresh. */
  killed = (page) => page.kill();
  #generations = new Set();

  /** `random` returns numbers from 0 to 1; the others are probabilities. */
  constructor(world, service, { random, losesRequests = 0, losesAnswers = 0, kills = 0 }) {
    Object.assign(this, { world, service, random, losesRequests, losesAnswers, kills });
  }

  fetch = (request, page) => {
    const aborted = new Promise((_, reject) =>
      request.signal.addEventListener('abort', () => reject(request.signal.reason)),
    );
    return Promise.race([this.#pass(request, page), aborted]);
  };

  /** Mostly fast, sometimes slower than a client waits. */
  #delay() {
    const seconds = this.random() < 0.05 ? this.random() * 25 : this.random() * 0.4;
    return this.world.sleep(seconds * 1000);
  }

  /** Fails after a while, or never says anything. */
  async #lose() {
    if (this.random() < 0.5) await new Promise(() => {});
    await this.#delay();
    throw lost();
  }

  async #pass(request, page) {
    const { world, counts, random } = this;
    const isRefresh = request.url.endsWith('/refresh');
    const { method, url } = request;
    const { jar } = page.device;
    const headers = new Headers(request.headers);
    const body = method === 'GET' ? undefined : await request.text();
    await this.#delay();
    if (request.signal.aborted) throw lost();
    if (random() < this.losesRequests) {
      counts.lostRequests++;
      return this.#lose();
    }
    counts.requests++;
    this.service.freezeTime(START + world.now);
    if (jar) headers.set('Cookie', [...jar].map((pair) => pair.join('=')).join('; '));
    if (jar) headers.set('Origin', this.service.url);
    const { answer, text } = await world.real(send(url, { method, headers, body }));
    if (isRefresh) this.#count(answer, text);
    if (random() < this.losesAnswers) {
      counts.lostAnswers++;
      return this.#lose();
    }
    await this.#delay();
    // The browser keeps the cookies although the page is gone.
    if (jar) keep(jar, answer.headers.getSetCookie());
    if (isRefresh && answer.ok && random() < this.kills) {
      counts.kills++;
      this.killed(page);
      return new Promise(() => {});
    }
    if (isRefresh) this.heard(page, answer.status, JSON.parse(text));
    return new Response(text || null, { status: answer.status, headers: answer.headers });
  }

  #count(answer, text) {
    this.counts.refreshes++;
    if (!answer.ok) return;
    const { session_id, generation } = JSON.parse(text);
    const name = `${session_id} ${generation}`;
    if (!this.#generations.has(name)) this.counts.rotations++;
    this.#generations.add(name);
  }
}

/** Stores cookies as a browser does. */
function keep(jar, cookies) {
  for (const text of cookies) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(text);
    if (/max-age=0/i.test(text)) jar.delete(name);
    else jar.set(name, value);
  }
}

async function send(url, init) {
  const answer = await fetch(url, init);
  return { answer, text: await answer.text() };
}

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
