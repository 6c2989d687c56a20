// A network between a page and the service, which loses answers when it is told to.

import { createServer, request as forward } from 'node:http';

export class Proxy {
  /** Decides for each request: 'pass', 'lose' its answer, or 'drop' the request. */
  fate = () => 'pass';
  seen = [];
  #failed = () => {};

  static async start(target) {
    const proxy = new Proxy();
    proxy.target = new URL(target);
    proxy.server = createServer((request, response) => proxy.#pass(request, response));
    await new Promise((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  #pass(request, response) {
    const { method, url, headers } = request;
    const fate = method === 'OPTIONS' ? 'pass' : this.fate({ method, url });
    if (method !== 'OPTIONS') this.seen.push({ method, url, headers, fate });
    if (fate === 'drop') return request.socket.destroy();
    const { hostname, port } = this.target;
    const onward = forward({ hostname, port, method, path: url, headers }, (answer) => {
      if (fate === 'lose') return request.socket.destroy();
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    onward.on('error', () => {
      request.socket.destroy();
      this.#failed();
    });
    request.pipe(onward);
  }

  /** Resolves when the next request has not reached the service. */
  failure() {
    return new Promise((resolve) => (this.#failed = resolve));
  }

  of(path) {
    return this.seen.filter((it) => it.url.startsWith(path));
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
