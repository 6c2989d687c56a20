import {
  afterEnd,
  afterRefresh,
  isSignedIn,
  markOf,
  windowOf,
  type SignedIn,
  type Stored,
  type Tokens,
} from './rules.js';
import type { Records } from './records.js';
import { listen } from './stores.js';
import type { Options } from './types.js';
import { networkError, recordFrom, type DoorwardError, type Wire } from './wire.js';

/** Milliseconds for which a caller waits for retries. */
const PATIENCE = 15_000;

/** Milliseconds until a refresh is aborted where the server has no retry window. */
const TIMEOUT = 20_000;

/** 16 to 255 visible ASCII characters that nobody can guess. */
const newKey = () => crypto.getRandomValues(new Uint32Array(6)).join('-');

const lifetimeOf = (now: SignedIn) => now.expires_in * 1000;

/** Resolves after a time. If it is not fixed, the network that comes back ends it, too. */
export const pause = (milliseconds: number, isFixed?: unknown) =>
  new Promise<void>((resolve) => {
    const silence = listen(isFixed ? '' : 'online', resolve);
    setTimeout(() => {
      silence();
      resolve();
    }, milliseconds);
  });

/** Refreshes the tokens of the record. */
export function createRefresher(
  { post, hasCookies, app }: Wire,
  { read, change, ageOf }: Records,
  { margin = 30, refreshes = true }: Options,
) {
  /** Whether the record says if somebody is signed in. Only Doorward can see the cookies. */
  let isKnown = !hasCookies;
  /** The refresh under way. */
  let flight: Promise<Stored | null> | undefined;
  /** No refresh is sent earlier, because of the `Retry-After` of this failure. */
  let notBefore = 0;
  let failure: DoorwardError | undefined;

  /**
   * Milliseconds until the tokens may be refreshed, if positive. The first ones of a session may at
   * once.
   */
  function restOf(now: SignedIn | null, refused?: string) {
    if (!now?.generation) return 0;
    // The clock that nobody sets may have stood still while the machine slept.
    if (refused && Date.now() - now.at > lifetimeOf(now)) return 0;
    return windowOf(now) - ageOf(now);
  }

  /** The record, with an access token that has not expired if somebody is signed in. */
  async function current(): Promise<Stored | null> {
    const now = await read();
    if (!isSignedIn(now)) return now;
    const left = lifetimeOf(now) - ageOf(now);
    if (left > Math.min(margin * 1000, lifetimeOf(now) / 2)) return now;
    const renewed = renew();
    // It is still good, so nobody needs to wait.
    if (left > 0) {
      renewed.catch(() => {});
      return now;
    }
    return renewed;
  }

  /** Whether there may be something to refresh. */
  const isDue = (now: Stored | null) =>
    refreshes && (isSignedIn(now) || (!isKnown && !now?.signed_out));

  /** Refreshes, unless the tokens are too young, or other ones than those that were refused. */
  async function renew(refused?: string): Promise<SignedIn | null> {
    for (;;) {
      let now = await read();
      // One at a time in a page. Several pages get the same answer.
      if (isDue(now)) now = await (flight ??= refresh(refused).finally(() => (flight = undefined)));
      if (!isSignedIn(now)) return null;
      if (markOf(now) !== refused || !refreshes) return now;
    }
  }

  async function refresh(refused?: string): Promise<Stored | null> {
    const deadline = performance.now() + PATIENCE;
    let from = refused;
    for (let delay = 500; ; delay *= 2) {
      const early = notBefore - performance.now();
      if (notBefore > deadline) throw failure;
      if (early > 0) await pause(early, early);
      // NaN when there is nothing to refresh.
      let rest!: number;
      // The record is read just before sending, and a key stored with it.
      const sent = await change((now) => {
        rest =
          isDue(now) && markOf(now) === (from ??= markOf(now))
            ? restOf(now as SignedIn | null, refused)
            : NaN;
        return rest <= 0 ? { key: newKey(), ...now } : now;
      });
      if (!(rest <= 0)) {
        // Another tab has refreshed, nobody is signed in, or the tokens are new.
        if (!rest || !refused) return sent;
        await pause(rest);
        continue;
      }
      try {
        return await exchange(sent!);
      } catch (error) {
        const { retryAfter, transient } = (failure = error as DoorwardError);
        const now = performance.now();
        const wait = delay * (1 + Math.random());
        notBefore = now + retryAfter * 1000;
        const isLate = now + wait > deadline;
        if (!transient || isLate || globalThis.navigator?.onLine === false) throw error;
        await pause(wait);
      }
    }
  }

  /** Sends one refresh, and stores the answer. */
  async function exchange(sent: Stored): Promise<Stored | null> {
    const body = hasCookies ? app : { refresh_token: sent.refresh_token, ...app };
    const aborter = new AbortController();
    let timer;
    // No older request is under way when the tokens of an answer may be refreshed. The promise
    // counts where `fetch` ignores the signal.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => {
          aborter.abort();
          reject(networkError());
        },
        windowOf(sent) * 0.6 || TIMEOUT,
      );
    });
    try {
      const answered = post<Tokens>('/refresh', body, {
        headers: { 'Idempotency-Key': sent.key! },
        keepalive: hasCookies,
        signal: aborter.signal,
      });
      const next = await recordFrom(Promise.race([answered, late]));
      return await change((now) => afterRefresh(now, sent, next));
    } catch (error) {
      const { code, reason } = error as DoorwardError;
      const isEnd =
        code === 'invalid_grant'
          ? reason !== 'wrong_client'
          : hasCookies && code === 'missing_token';
      if (!isEnd) throw error;
      isKnown = true;
      return change((now) => afterEnd(now, sent), reason);
    } finally {
      clearTimeout(timer);
    }
  }

  return { current, renew };
}
