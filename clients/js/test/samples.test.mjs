// The samples of the pages that are not pages of `examples`.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { factors } from '../dist/factors.js';
import { createClient } from '../dist/index.js';
import { PASSWORD, Service, withoutService } from './support/service.mjs';
import { totp } from './support/totp.mjs';

const root = new URL('../../../', import.meta.url);
const options = { skip: withoutService };
let service;

before(async () => {
  if (!withoutService) service = await Service.start();
});
after(() => service?.stop());

/** The block of a page that begins so, for this service and this package. */
function sample(page, start) {
  const blocks = readFileSync(new URL(page, root), 'utf8').split('```js\n').slice(1);
  const found = blocks.map((it) => it.split('```')[0]).find((it) => it.startsWith(start));
  assert.ok(found, `${page} has no block that begins with ${start}`);
  const dist = (file) => JSON.stringify(fileURLToPath(new URL(`clients/js/dist/${file}`, root)));
  return found
    .replaceAll('https://login.example.com', service.url)
    .replace("'@doorward/client'", dist('index.js'))
    .replace("'@doorward/client/server'", dist('server.js'))
    .replace("'@doorward/client/factors'", dist('factors.js'));
}

/** Runs a module, and returns what it exports. */
async function run(code) {
  const folder = mkdtempSync(join(tmpdir(), 'doorward-sample-'));
  try {
    writeFileSync(join(folder, 'sample.mjs'), code);
    return await import(join(folder, 'sample.mjs'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('the sample of the README signs in, calls, and signs out', options, async () => {
  const code = sample('clients/js/README.md', 'import { createClient }');
  const [head, rest] = code.split('await auth.signIn');
  const signUp = `await auth.signUp('ada@example.com', '${PASSWORD}');\n`;
  const { status } = await run(
    `${head}${signUp}await auth.signIn${rest}export const { status } = answer;`,
  );
  assert.equal(status, 200);
});

test('the sample for second factors signs in with a code', options, async () => {
  const auth = createClient({ url: service.url });
  const email = 'edith@example.com';
  await auth.signUp(email, PASSWORD);
  await auth.signIn(email, PASSWORD);
  service.command('user', 'mark-verified', email);
  const { secret } = await factors(auth).setUp(PASSWORD);
  await factors(auth).confirm(totp(secret, Date.now()));
  await auth.signOut();
  // The first code is used.
  const code = totp(secret, Date.now() + 30_000);
  globalThis.visitor = { auth, email, password: PASSWORD, code };
  const head = 'const { auth, email, password, code } = globalThis.visitor;\n';
  await run(head + sample('clients/js/README.md', 'import { factors }'));
  assert.equal((await auth.user()).email, email);
});

test('the page for second factors asks for a code', options, async () => {
  const auth = createClient({ url: service.url });
  const email = 'alan@example.com';
  await auth.signUp(email, PASSWORD);
  await auth.signIn(email, PASSWORD);
  service.command('user', 'mark-verified', email);
  const { secret } = await factors(auth).setUp(PASSWORD);
  await factors(auth).confirm(totp(secret, Date.now()));
  await auth.signOut();
  const login = { email: { value: email }, password: { value: 'wrong' } };
  const factor = { hidden: true, code: { value: 'wrong' } };
  const shown = [];
  const show = ({ code }) => shown.push(code);
  globalThis.visitor = { auth, login, show, document: { forms: { factor } } };
  const head = 'const { auth, login, show, document } = globalThis.visitor;\n';
  await run(head + sample('docs/web-apps.md', 'import { factors }'));

  await login.onsubmit();
  assert.deepEqual([factor.hidden, shown], [true, ['invalid_credentials']]);
  login.password.value = PASSWORD;
  await login.onsubmit();
  assert.deepEqual([factor.hidden, shown.length], [false, 1]);
  await factor.onsubmit();
  assert.equal(shown.length, 2, 'a wrong code');
  // The first code is used.
  factor.code.value = totp(secret, Date.now() + 30_000);
  await factor.onsubmit();
  assert.equal((await auth.user()).email, email);
});

test('the sample for React Native keeps the record in the keychain', options, async () => {
  const keychain = `
    const Keychain = {
      password: undefined,
      getGenericPassword: async () => (Keychain.password ? { password: Keychain.password } : false),
      setGenericPassword: async (name, password) => { Keychain.password = password; return {}; },
      resetGenericPassword: async () => { Keychain.password = undefined; return true; },
    };`;
  const code = sample('docs/mobile-apps.md', 'import * as Keychain');
  const [, ...lines] = code.split('\n');
  const { auth, Keychain } = await run(`${keychain}\n${lines.join('\n')}\nexport { Keychain };`);
  assert.equal(await auth.session(), null);
  await auth.signUp('grace@example.com', PASSWORD);
  await auth.signIn('grace@example.com', PASSWORD);
  assert.equal((await auth.refresh()).generation, 1);
  assert.equal(JSON.parse(Keychain.password).generation, 1);
  await auth.signOut();
  assert.equal(Keychain.password, undefined);
});

test('the sample for a server renders nobody for a visitor without cookies', options, async () => {
  const code = sample('docs/web-apps.md', 'import { createServerClient }');
  const visitor = `
    const request = { headers: {} };
    const response = { appendHeader: (name, value) => { throw new Error(name + value); } };`;
  const { user } = await run(`${code.replace('\n\n', `\n${visitor}\n`)}export { user };`);
  assert.equal(user, null);
});
