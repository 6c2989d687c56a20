// The packed package: its files, its size, and that it needs nothing else.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const CORE = 3 * 1024;
const FACTORS = 1024;
const compiler = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));

/** Unpacks the package to `package` in a folder. */
function pack(folder) {
  const flags = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const [packed] = JSON.parse(execFileSync('npm', flags, { encoding: 'utf8' }));
  execFileSync('tar', ['-xzf', join(folder, packed.filename), '-C', folder]);
  return packed;
}

test('the packed core has at most 3 KB gzipped, and no dependencies', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'doorward-pack-'));
  try {
    const packed = pack(folder);
    const file = (name) => readFileSync(join(folder, 'package', name));

    const core = file('dist/index.js');
    const sizeOf = (code) => gzipSync(code, { level: 9 }).length;
    const size = sizeOf(core);
    context.diagnostic(`core: ${size} bytes gzipped, ${core.length} minified`);
    assert.ok(size <= CORE, `${size} bytes`);
    assert.doesNotMatch(core.toString(), /\bfrom\s*["']|\bimport\b/, 'the core is one file');
    const more = sizeOf(file('dist/factors.js'));
    context.diagnostic(`factors: ${more} bytes gzipped`);
    assert.ok(more < FACTORS, `${more} bytes`);

    const manifest = JSON.parse(file('package.json'));
    assert.equal(manifest.dependencies, undefined);
    assert.equal(manifest.license, 'MIT OR Apache-2.0');
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) {
      assert.equal(manifest.scripts[name], undefined, 'npm asks for permission to run scripts');
    }
    assert.equal(manifest.scripts.prepack, 'npm run build');
    const names = packed.files.map((it) => it.path);
    for (const { types, default: code } of Object.values(manifest.exports)) {
      for (const name of [types, code]) assert.ok(names.includes(name.slice(2)), name);
    }
    for (const name of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE']) {
      assert.ok(names.includes(name), name);
    }
    const others = names.filter((it) => !/^(dist\/|LICENSE-|README|package\.json)/.test(it));
    assert.deepEqual(others, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const CONSUMER = `
import { createClient, DoorwardError, local, memory, type Client } from '@doorward/client';
import { factors } from '@doorward/client/factors';
import { createServerClient } from '@doorward/client/server';

export async function use(auth: Client): Promise<string | undefined> {
  auth.onChange((event, session, reason) => [event, session?.id, reason])();
  try {
    return (await auth.signIn('ada@example.com', 'seven otters juggle lanterns'))?.id;
  } catch (error) {
    if (!(error instanceof DoorwardError)) throw error;
    return (await factors(auth).signIn(error, { totp: '123456' }))?.id;
  }
}
export const auths: Client[] = [
  createClient({ url: '/auth', store: memory() }),
  createClient({ url: '/auth', store: local('key'), origins: ['https://api.example.com'] }),
  createServerClient({ url: 'https://login.example.com', cookie: undefined }),
];
`;

test('strict TypeScript accepts the packed types, however it finds modules', () => {
  const folder = mkdtempSync(join(tmpdir(), 'doorward-types-'));
  try {
    mkdirSync(join(folder, 'node_modules/@doorward'), { recursive: true });
    pack(folder);
    const own = join(folder, 'node_modules/@doorward/client');
    execFileSync('mv', [join(folder, 'package'), own]);
    writeFileSync(join(folder, 'page.mts'), CONSUMER);
    const strict = [
      '--noEmit',
      '--strict',
      '--exactOptionalPropertyTypes',
      '--skipDefaultLibCheck',
      '--target',
      'es2022',
    ];
    const ways = { nodenext: 'nodenext', bundler: 'esnext', node10: 'esnext' };
    for (const [resolution, module] of Object.entries(ways)) {
      const how = ['--module', module, '--moduleResolution', resolution];
      // TypeScript 7 removes it.
      if (resolution === 'node10') how.push('--ignoreDeprecations', '6.0');
      execFileSync('node', [compiler, ...strict, ...how, 'page.mts'], { cwd: folder });
    }
  } catch (error) {
    assert.fail(`${error.stdout ?? error}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
