// An authenticator app.

import { createHmac } from 'node:crypto';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The code (RFC 6238) of a secret in base32, at a time in milliseconds since 1970. */
export function totp(secret, time) {
  const bits = [...secret].map((it) => ALPHABET.indexOf(it).toString(2).padStart(5, '0')).join('');
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(time / 30_000)));
  const key = Buffer.from(bits.match(/.{8}/g).map((it) => parseInt(it, 2)));
  const digest = createHmac('sha1', key).update(counter).digest();
  const number = digest.readUInt32BE(digest.at(-1) & 15) & 0x7fffffff;
  return `${number % 1_000_000}`.padStart(6, '0');
}
