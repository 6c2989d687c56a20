// The packed package: its files, its size, and that it needs nothing else.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const CORE = 3 * 1024;
const FACTORS = 1024;

test('the packed core has at most 3 KB gzipped, and no dependencies', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'doorward-pack-'));
  try {
    const flags = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
    const [packed] = JSON.parse(execFileSync('npm', flags, { encoding: 'utf8' }));
    execFileSync('tar', ['-xzf', join(folder, packed.filename), '-C', folder]);
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
