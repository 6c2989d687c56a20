// Makes `dist`: minified modules, and their types.

import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { minify } from 'terser';

rmSync('dist', { recursive: true, force: true });
const compiler = ['node_modules/typescript/bin/tsc', '--declaration', '--emitDeclarationOnly'];
execFileSync('node', compiler, { stdio: 'inherit' });

/** The other entry points share one file, the core. */
const core = {
  name: 'core',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/index\.js$/ }, ({ path }) => ({ path, external: true }));
  },
};
const { outputFiles } = await build({
  entryPoints: ['src/index.ts', 'src/server.ts', 'src/factors.ts'],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  // Names are left to terser, which keeps that of the error.
  minifySyntax: true,
  minifyWhitespace: true,
  plugins: [core],
  write: false,
});
const compress = {
  passes: 3,
  hoist_funs: true,
  keep_fargs: false,
  pure_getters: true,
  unsafe_arrows: true,
  lhs_constants: false,
};
/** Members that one module of the core has for another, and nobody else. */
const internal = /^(ageOf|app|base|caller|current|hasCookies|post|read|renew|send)$/;
const mangle = { reserved: ['DoorwardError'], properties: { regex: internal, builtins: true } };
for (const { path, text } of outputFiles) {
  const { code } = await minify(text, { ecma: 2022, module: true, compress, mangle });
  writeFileSync(path, code);
}
