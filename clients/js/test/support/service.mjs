// The real service, with data of its own. `DOORWARD_BINARY` names the program.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../../../target/debug/doorward', import.meta.url));
const binary = process.env.DOORWARD_BINARY ?? built;

/** Why tests are skipped, or false. With `CI` nothing is skipped. */
export function missing(what, isThere) {
  if (isThere) return false;
  if (process.env.CI) throw new Error(`${what} is missing`);
  process.stderr.write(`\n*** ${what} is missing: TESTS ARE SKIPPED.\n\n`);
  return `${what} is missing`;
}

export const withoutService = missing(`the service (${binary})`, existsSync(binary));

export const PASSWORD = 'seven otters juggle lanterns';

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** libfaketime, which shows another time to a process. */
export function libfaketime() {
  const folders = existsSync('/usr/lib') ? readdirSync('/usr/lib') : [];
  const files = folders.map((it) => `/usr/lib/${it}/faketime/libfaketime.so.1`);
  return files.find((it) => existsSync(it));
}

export class Service {
  #home = mkdtempSync(join(tmpdir(), 'doorward-js-'));
  #clock = join(this.#home, 'clock');
  #process;

  /** `settings` as for `--set`; `faketime` names the library, for `setTime`. */
  static async start(settings = {}, faketime = undefined) {
    const service = new Service();
    service.port = await freePort();
    service.url = `http://127.0.0.1:${service.port}`;
    service.settings = {
      'limits.login_burst': 100000,
      'limits.register_burst': 100000,
      'limits.refresh_burst': 100000,
      'passwords.queue_deadline': '10s',
      ...settings,
    };
    service.faketime = faketime;
    service.setTime(Date.now());
    await service.run();
    return service;
  }

  get #environment() {
    return {
      PATH: process.env.PATH,
      DOORWARD_LISTEN: `127.0.0.1:${this.port}`,
      DOORWARD_DATA_DIR: join(this.#home, 'data'),
    };
  }

  async run() {
    const settings = Object.entries(this.settings);
    const flags = settings.flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const preload = this.faketime && {
      TZ: 'UTC',
      LD_PRELOAD: this.faketime,
      FAKETIME_TIMESTAMP_FILE: this.#clock,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    const env = { ...this.#environment, ...preload };
    const stdio = ['ignore', 'ignore', 'pipe'];
    const child = spawn(binary, flags, { cwd: this.#home, env, stdio });
    this.#process = child;
    this.log = '';
    await new Promise((resolve, reject) => {
      child.once('exit', () => reject(new Error(this.log)));
      child.stderr.on('data', (text) => {
        this.log += text;
        if (this.log.includes('listening')) resolve();
      });
    });
  }

  /** Sets the service's clock: milliseconds since 1970. */
  setTime(milliseconds) {
    const seconds = (milliseconds - Date.now()) / 1000;
    writeFileSync(this.#clock, `${seconds < 0 ? '' : '+'}${seconds}`);
  }

  /** The same, but the clock stands still until it is set again. */
  freezeTime(milliseconds) {
    const text = new Date(milliseconds).toISOString();
    writeFileSync(this.#clock, `${text.slice(0, 10)} ${text.slice(11, 19)}`);
  }

  /** The output of a command. */
  command(...command) {
    const options = { cwd: this.#home, env: this.#environment, encoding: 'utf8' };
    return execFileSync(binary, command, options);
  }

  get isRunning() {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async kill() {
    if (!this.isRunning) return;
    const child = this.#process;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async restart() {
    await this.kill();
    await this.run();
  }

  async stop() {
    await this.kill();
    rmSync(this.#home, { recursive: true, force: true });
  }

  /** The newest message to somebody, which the service writes as files. */
  async message(pattern) {
    const outbox = join(this.#home, 'data', 'outbox');
    for (let tries = 0; tries < 200; tries++) {
      const files = existsSync(outbox) ? readdirSync(outbox).sort() : [];
      const found = files.map((it) => pattern.exec(readFileSync(join(outbox, it), 'utf8')));
      const last = found.filter(Boolean).at(-1);
      if (last) return last[0];
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`no message has ${pattern}`);
  }
}
