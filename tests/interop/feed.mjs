// Verifies Doorward's access tokens in Node, with immediate revocation: `jose` for the tokens and `fetch` for the
// revocation feed. Reads one token per line from standard input, and prints one line of JSON for each.
//
//   npm install jose
//   DOORWARD_ISSUER=https://login.example.com DOORWARD_AUDIENCE=doorward \
//   DOORWARD_CLIENT_ID=orders DOORWARD_CLIENT_SECRET=… node feed.mjs

import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const { DOORWARD_ISSUER: issuer, DOORWARD_AUDIENCE: audience } = process.env;
const { DOORWARD_CLIENT_ID: client, DOORWARD_CLIENT_SECRET: secret } = process.env;

const LEEWAY = 30; // seconds
const MAX_STALENESS = 30_000; // milliseconds; older than that, and no token is accepted
const SILENCE = 10_000; // the feed says every 2 seconds that it is complete
const MAX_EVENT = 4 * 1024 * 1024; // characters

const answer = await fetch(`${issuer}/.well-known/oauth-authorization-server`, { redirect: 'error' });
const metadata = await answer.json();
if (metadata.issuer !== issuer) throw new Error(`these are the metadata of ${metadata.issuer}`);
for (const url of [metadata.jwks_uri, metadata.doorward_revocations_endpoint]) {
  if (new URL(url).origin !== new URL(issuer).origin) throw new Error(`${url} is not the issuer's`);
}
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 5_000 });

const revoked = new Map(); // id -> when it may be forgotten, in seconds since 1970
let completeAt = -Infinity; // by performance.now()

async function verify(token) {
  const { payload, protectedHeader } = await jwtVerify(token, keys, {
    issuer,
    audience,
    typ: 'at+jwt',
    algorithms: ['ES256', 'EdDSA', 'RS256'],
    requiredClaims: ['exp', 'iat', 'jti', 'sub', 'client_id'],
    clockTolerance: LEEWAY,
  });
  // A token without a session is a client's own, and has no sid.
  const ids = [protectedHeader.kid, payload.jti, payload.sid, payload.client_id];
  if (ids.some((id) => revoked.has(id))) throw new Error('revoked');
  if (performance.now() - completeAt > MAX_STALENESS) throw new Error('stale'); // answer 503, not 401
  return payload;
}

async function follow() {
  // RFC 6749 2.3.1: both form-urlencoded.
  const encode = (text) => new URLSearchParams({ '': text }).toString().slice(1);
  const basic = Buffer.from(`${encode(client)}:${encode(secret)}`).toString('base64');
  let lastId;
  for (let wait = 100; ; wait = Math.min(wait * 2, 10_000)) {
    const abort = new AbortController();
    let watchdog = setTimeout(() => abort.abort(new Error('silent')), SILENCE);
    try {
      const headers = { Authorization: `Basic ${basic}`, Accept: 'text/event-stream' };
      if (lastId) headers['Last-Event-ID'] = lastId;
      const url = metadata.doorward_revocations_endpoint;
      const feed = await fetch(url, { headers, redirect: 'error', signal: abort.signal });
      if (!feed.ok) throw new Error(`the feed answers ${feed.status}`);
      let text = '';
      for await (const chunk of feed.body.pipeThrough(new TextDecoderStream())) {
        const events = (text + chunk).split('\n\n');
        text = events.pop();
        if (text.length > MAX_EVENT) throw new Error('an event is too long');
        for (const event of events) {
          const { id, complete } = take(event);
          lastId = id ?? lastId;
          if (complete) {
            wait = 100;
            clearTimeout(watchdog);
            watchdog = setTimeout(() => abort.abort(new Error('silent')), SILENCE);
          }
        }
      }
    } catch (error) {
      // Malformed input is not skipped: everything is requested again.
      if (error instanceof SyntaxError) lastId = undefined;
      console.error(`the feed broke: ${error.message}`);
    }
    clearTimeout(watchdog);
    await sleep(wait * (0.5 + 0.5 * Math.random()));
  }
}

// Processes one event. A new snapshot adds entries, so that no revoked token becomes valid again.
function take(event) {
  const fields = { event: 'message', data: '' };
  for (const line of event.split('\n')) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
    if (name) fields[name] = name === 'data' ? fields.data + value : value;
  }
  const now = Date.now() / 1000;
  if (fields.event === 'snapshot' || fields.event === 'revoked') {
    for (const { id, exp } of JSON.parse(fields.data)) revoked.set(id, Math.max(exp, revoked.get(id) ?? 0));
  } else if (fields.event === 'current') {
    completeAt = performance.now() - JSON.parse(fields.data).age * 1000;
    for (const [id, exp] of revoked) if (exp + LEEWAY + 60 < now) revoked.delete(id);
  }
  return { id: fields.id, complete: fields.event === 'current' };
}

follow();
for await (const token of createInterface({ input: process.stdin })) {
  const verdict = await verify(token).catch((error) => ({ error: error.code ?? error.message }));
  console.log(JSON.stringify(verdict));
}
process.exit();
