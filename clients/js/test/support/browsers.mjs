// Chromium and Firefox of the distribution, and a server for pages.

import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { missing } from './service.mjs';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

const PROGRAMS = { chrome: ['chromium', 'google-chrome'], firefox: ['firefox-esr', 'firefox'] };

const programOf = (browser) =>
  PROGRAMS[browser].map((name) => join('/usr/bin', name)).find((path) => existsSync(path));

export const browsers = Object.keys(PROGRAMS).map((browser) => ({
  browser,
  skip: missing(PROGRAMS[browser][0], programOf(browser)),
}));

export function launch(browser) {
  const args =
    browser === 'chrome' ? ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] : [];
  return puppeteer.launch({
    browser,
    executablePath: programOf(browser),
    headless: true,
    args,
    protocolTimeout: 30_000,
  });
}

const TYPES = { html: 'text/html', js: 'text/javascript', mjs: 'text/javascript' };

/** Serves the repository at http://localhost, with the service's URL in place of the sample's. */
export async function servePages(service = () => 'http://127.0.0.1:8080') {
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    if (path === '/empty') return response.setHeader('Content-Type', 'text/html').end('<p>');
    const file = join(root, path.endsWith('/') ? `${path}index.html` : path);
    if (!file.startsWith(root) || !existsSync(file)) return response.writeHead(404).end();
    response.setHeader('Content-Type', TYPES[file.split('.').at(-1)] ?? 'text/plain');
    response.end(readFileSync(file, 'utf8').replaceAll('http://127.0.0.1:8080', service()));
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const origin = `http://localhost:${server.address().port}`;
  const stop = () => (server.closeAllConnections(), server.close());
  return { origin, stop };
}

/** An API of its own origin, which tells the `Authorization` that it gets. */
export async function serveApi() {
  const server = createServer((request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'authorization');
    response.end(JSON.stringify(request.headers.authorization ?? null));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => (server.closeAllConnections(), server.close());
  return { origin: `http://127.0.0.1:${server.address().port}`, stop };
}
