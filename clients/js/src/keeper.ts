import {
  afterEnd,
  afterRefresh,
  isSignedIn,
  markOf,
  viewOf,
  windowOf,
  type SignedIn,
  type Stored,
  type Tokens,
} from './rules.js';
import { listen } from './stores.js';
import type { Event, Listener, Store } from './types.js';
import { DoorwardError, networkError, type Wire } from './wire.js';

/** Milliseconds for which a caller waits for retries. */
const PATIENCE = 15_000;

/** Milliseconds until a refresh is aborted where the server has no retry window. */
const TIMEOUT = 20_000;

/** A new record, computed from the present one. */
type Rule = (now: Stored | null) => Stored | null;

/**
 * Keeps the record: reads and changes it, refreshes its tokens and tells the listeners.
 *
 * `refreshes` is false where cookies cannot be set.
 */
export function createKeeper(store: Store, wire: Wire, margin = 30, refreshes = true) {
  const { hasCookies, app } = wire;
  const listeners = new Set<Listener>();
  let turn: Promise<unknown> = Promise.resolve();
  /** The record that the listeners know. */
  let published: Stored | null | undefined;
  /** Whether the record says if somebody is signed in. Only Doorward can see the cookies. */
  let isKnown = !hasCookies || !refreshes;
  /** The refresh under way. */
  let flight: Promise<Stored | null> | undefined;
  /** No refresh is sent earlier, because of `Retry-After`. */
  let notBefore = 0;
  /** The tokens of `markOf`, and when they came by the clock that nobody sets. */
  let known = { mark: '', since: 0 };

  const read = async () => store.get();

  /** Changes the record: one change after the other, because a store may be asynchronous. */
  function change(rule: Rule, reason?: string) {
    const changed = turn.then(async () => {
      const now = await store.get();
      const next = rule(now);
      if (next !== now) await store.set(next);
      publish(next, reason);
      return next;
    });
    turn = changed.catch(() => {});
    return changed;
  }

  function publish(next: Stored | null, reason?: string) {
    const last = published;
    published = next;
    // The clock runs from the moment when this page sees the tokens.
    if (isSignedIn(next)) ageOf(next);
    if (last === undefined || markOf(next) === markOf(last)) return;
    let event: Event = 'signed_out';
    if (isSignedIn(next)) event = next.session_id === last?.session_id ? 'refreshed' : 'signed_in';
    listeners.forEach((listener) => tell(listener, event, next, reason));
  }

  /** In a microtask: nothing that a listener awaits or throws can block a refresh. */
  const tell = (listener: Listener, event: Event, now: Stored | null, reason?: string) =>
    queueMicrotask(() => listeners.has(listener) && listener(event, viewOf(now), reason));

  /** Milliseconds since the tokens came. The wall clock counts only for those of an older page. */
  function ageOf(now: SignedIn) {
    const mark = markOf(now);
    if (known.mark !== mark) {
      const age = Date.now() - now.at;
      // An answer from the future: the clock was set, and the age is unknown.
      known = { mark, since: performance.now() - (age < 0 ? windowOf(now) : age) };
    }
    return performance.now() - known.since;
  }

  const lifetimeOf = (now: SignedIn) => now.expires_in * 1000;

  /** Milliseconds until the tokens may be refreshed. The first ones of a session may at once. */
  function restOf(now: Stored | null, refused?: string) {
    if (!isSignedIn(now) || !now.generation) return 0;
    // The clock that nobody sets may have stood still while the machine slept.
    if (refused && Date.now() - now.at > lifetimeOf(now)) return 0;
    return windowOf(now) - ageOf(now);
  }

  /** Ends early when the network comes back. */
  const pause = (milliseconds: number) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        silence();
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      const silence = listen('online', wake);
    });

  /** The record with an access token that has not expired. */
  async function current(): Promise<SignedIn | null> {
    const now = await read();
    if (!isSignedIn(now)) return null;
    const left = lifetimeOf(now) - ageOf(now);
    if (left > Math.min(margin * 1000, lifetimeOf(now) / 2)) return now;
    const renewed = renew();
    if (left <= 0) return renewed;
    // It is still good, so nobody needs to wait.
    renewed.catch(() => {});
    return now;
  }

  /** Refreshes, unless the tokens are too young, or other ones than those that were refused. */
  async function renew(refused?: string): Promise<SignedIn | null> {
    for (;;) {
      // One at a time in a page. Several pages get the same answer.
      const now = await (flight ??= refresh(refused).finally(() => (flight = undefined)));
      if (!isSignedIn(now)) return null;
      if (markOf(now) !== refused || !refreshes) return now;
    }
  }

  async function refresh(refused?: string): Promise<Stored | null> {
    const deadline = performance.now() + PATIENCE;
    let from = refused;
    for (let delay = 500; ; delay *= 2) {
      let rest = 0;
      // The record is read just before sending, and a key stored with it.
      const sent = await change((now) => {
        const isDue = isSignedIn(now) || (!isKnown && !now?.signed_out);
        rest =
          isDue && refreshes && markOf(now) === (from ??= markOf(now)) ? restOf(now, refused) : NaN;
        return rest <= 0 ? { ...now, key: now?.key ?? newKey() } : now;
      });
      if (!(rest <= 0)) {
        if (!(rest > 0 && refused)) return sent;
        await pause(rest);
        continue;
      }
      try {
        return await exchange(sent!);
      } catch (error) {
        const { transient, retryAfter } = error as DoorwardError;
        const wait = Math.max(retryAfter * 1000, delay * (1 + Math.random()));
        notBefore = performance.now() + retryAfter * 1000;
        const isLate =
          performance.now() + wait > deadline || globalThis.navigator?.onLine === false;
        if (!transient || isLate) throw error;
        await pause(wait);
      }
    }
  }

  /** Sends one refresh, and stores the answer. */
  async function exchange(sent: Stored): Promise<Stored | null> {
    // For callers that come after `Retry-After` was heard.
    const early = notBefore - performance.now();
    if (early > 0) await pause(early);
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
      const answered = wire.post<Tokens>('/refresh', body, {
        headers: { 'Idempotency-Key': sent.key! },
        keepalive: hasCookies,
        signal: aborter.signal,
      });
      const answer = await Promise.race([answered, late]);
      // A captive portal may answer anything.
      if (!answer.session_id) throw new DoorwardError(200, {});
      return await change((now) => afterRefresh(now, sent, answer));
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

  /** Calls the listener with the present session, and on every change. */
  function onChange(listener: Listener) {
    listeners.add(listener);
    void change((now) => now).then((now) => tell(listener, 'initial', now));
    return () => void listeners.delete(listener);
  }

  const unwatch = store.watch?.(() => void change((now) => now));

  function close() {
    unwatch?.();
    listeners.clear();
  }

  return { read, change, current, renew, pause, onChange, close };
}

export type Keeper = ReturnType<typeof createKeeper>;

/** 16 to 255 visible ASCII characters that nobody can guess. */
const newKey = () => crypto.getRandomValues(new Uint32Array(6)).join('-');
