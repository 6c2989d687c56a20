// A scripted Doorward for ports of the client: it plays one vector of client.json at a time.
//
//   node server.mjs [port]
//
// PUT /contract/<number>   begins a vector
// GET /contract/held       answers when the request that `meanwhile` or `while_held` concerns has
//                          arrived; its answer waits for:
// POST /contract/release
// GET /contract            {"problems": […], "key": …}: deviations from the vector, and the key;
//                          it waits up to a second for expected requests

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

export const vectors = JSON.parse(readFileSync(new URL('client.json', import.meta.url), 'utf8'));

/** One vector being played. */
class Run {
  problems = [];
  key = null;
  #next = 0;
  #began = performance.now();
  #arrive;
  /** Resolves when the request that is held has arrived. */
  held = new Promise((resolve) => (this.#arrive = resolve));
  #released = new Promise((resolve) => (this.release = resolve));

  constructor(vector) {
    this.vector = vector;
    this.mustHold = 'meanwhile' in vector || 'while_held' in vector;
  }

  get missing() {
    return this.vector.exchanges.slice(this.#next).map(({ request }) => request.path);
  }

  report() {
    const problems = this.missing.map((path) => `${path} was not requested`);
    return { problems: [...this.problems, ...problems], key: this.key };
  }

  /** The answer to a request, after comparing it with the expected one. */
  async answer(request) {
    const exchange = this.vector.exchanges[this.#next++];
    if (!exchange) {
      this.problems.push(`${request.method} ${request.path} was not expected`);
      return { status: 500 };
    }
    this.#compare(exchange.request, request);
    if (this.mustHold && this.#next === 1) {
      this.#arrive();
      await this.#released;
    }
    return exchange.answer;
  }

  #compare(expected, request) {
    const seconds = (performance.now() - this.#began) / 1000;
    const place = `request ${this.#next}, ${request.method} ${request.path}`;
    const check = (name, wanted, found) => {
      if (isDeepStrictEqual(wanted, found)) return;
      const texts = [found, wanted].map((it) => JSON.stringify(it ?? null));
      this.problems.push(`${place}: ${name} is ${texts[0]}, not ${texts[1]}`);
    };
    check('the method', expected.method, request.method);
    check('the path', expected.path, request.path);
    check('the body', expected.body, request.body);
    for (const [name, wanted] of Object.entries(expected.headers ?? {})) {
      const found = request.headers[name] ?? null;
      if (wanted === '<key>') {
        this.key ??= found;
        check(name, this.key ?? 'a key', found);
        if (!/^[!-~]{16,255}$/.test(found)) this.problems.push(`${place}: ${found} is not a key`);
      } else {
        check(name, wanted, found);
      }
    }
    if (seconds < (expected.not_before ?? 0)) this.problems.push(`${place}: after ${seconds} s`);
    if (seconds > (expected.not_after ?? 60)) this.problems.push(`${place}: after ${seconds} s`);
  }
}

/** Starts the server on this machine; port 0 lets the system choose. */
export async function start(port = 0) {
  let run = new Run({ exchanges: [] });

  async function control(request, path, response) {
    const send = (body) => response.end(JSON.stringify(body));
    response.setHeader('Content-Type', 'application/json');
    if (request.method === 'PUT') run = new Run(vectors[Number(path.split('/')[2])]);
    if (path === '/contract/held') await run.held;
    if (path === '/contract/release') run.release();
    // The last request may still be on its way.
    const end = performance.now() + 1000;
    while (path === '/contract' && run.missing.length && performance.now() < end) await sleep(20);
    send(run.report());
  }

  async function script(request, path, response) {
    let text = '';
    for await (const part of request) text += part;
    const { method, headers } = request;
    const body = text ? JSON.parse(text) : undefined;
    const answer = await run.answer({ method, path, headers, body });
    if (answer === 'lost') request.socket.destroy();
    if (typeof answer === 'string') return;
    response.statusCode = answer.status;
    response.setHeader('Content-Type', 'application/json');
    for (const [name, value] of Object.entries(answer.headers ?? {}))
      response.setHeader(name, value);
    response.end(answer.text ?? (answer.body && JSON.stringify(answer.body)));
  }

  const server = createServer((request, response) => {
    const path = request.url;
    const isControl = path.startsWith('/contract');
    (isControl ? control : script)(request, path, response).catch((error) => {
      run.problems.push(String(error));
      response.destroy();
    });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return server;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const server = await start(Number(process.argv[2] ?? 8089));
  console.log(`http://127.0.0.1:${server.address().port}`);
}
