import { isSignedIn, markOf, viewOf, windowOf, type SignedIn, type Stored } from './rules.js';
import type { Event, Listener, Store } from './types.js';

/** A new record, computed from the present one. */
type Rule = (now: Stored | null) => Stored | null;

/** Reads and changes the record, and tells the listeners. */
export function createRecords(store: Store) {
  const listeners = new Set<Listener>();
  let turn: Promise<unknown> = Promise.resolve();
  /** The record that the listeners know. */
  let published: Stored | null | undefined;
  /** Tokens, and when this page saw them first, by the clock that nobody sets. */
  let seen = '';
  let since = 0;

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
    turn = changed.catch(() => {
      // The store has failed, and nobody is known yet.
      published ??= null;
    });
    return changed;
  }

  function publish(next: Stored | null, reason?: string) {
    const last = published;
    published = next;
    let event: Event = 'signed_out';
    if (isSignedIn(next)) {
      event = next.session_id === last?.session_id ? 'refreshed' : 'signed_in';
      ageOf(next);
    }
    if (last === undefined || markOf(next) === markOf(last)) return;
    listeners.forEach((listener) => tell(listener, event, next, reason));
  }

  /** In a microtask: nothing that a listener awaits or throws can block a refresh. */
  const tell = (listener: Listener, event: Event, now: Stored | null, reason?: string) =>
    queueMicrotask(() => listeners.has(listener) && listener(event, viewOf(now), reason));

  /** Calls the listener with the present session, and on every change. */
  function onChange(listener: Listener) {
    listeners.add(listener);
    void change((now) => now);
    void turn.then(() => tell(listener, 'initial', published!));
    return () => listeners.delete(listener);
  }

  /** Milliseconds since the tokens came. The wall clock counts only for those of an older page. */
  function ageOf(now: SignedIn) {
    const mark = markOf(now);
    if (seen !== mark) {
      const age = Date.now() - now.at;
      seen = mark;
      // Tokens from the future: the clock was set, and the age is unknown.
      since = performance.now() - (age < 0 ? windowOf(now) : age);
    }
    return performance.now() - since;
  }

  const unwatch = store.watch?.(() => void change((now) => now));

  function close() {
    unwatch?.();
    listeners.clear();
  }

  return { read, change, onChange, ageOf, close };
}

export type Records = ReturnType<typeof createRecords>;
