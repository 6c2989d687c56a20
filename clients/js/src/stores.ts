import type { Stored } from './rules.js';
import type { Store } from './types.js';

/** Keeps the record in this page. A reload forgets it. */
export function memory(record: Stored | null = null): Store {
  return { get: () => record, set: (next) => void (record = next) };
}

/** Keeps the record in `localStorage`, for all tabs of the origin. */
export function local(key: string): Store {
  return {
    get() {
      try {
        return JSON.parse(localStorage.getItem(key)!);
      } catch {
        // Something else has written there.
        return null;
      }
    },
    set: (record) => localStorage.setItem(key, JSON.stringify(record)),
    // An event without a key: the storage was cleared. A page that comes back from the history has
    // missed events.
    watch: (heard) =>
      listen(
        'storage',
        (event) => (event.key ?? key) === key && heard(),
        listen('pageshow', heard),
      ),
  };
}

/** `local('doorward')` where pages may store something. */
export function defaultStore(): Store {
  try {
    if (localStorage) return local('doorward');
  } catch {
    // A sandboxed frame, blocked by the user, or not a browser.
  }
  return memory();
}

/**
 * Hears an event of the window, which React Native and Node do not have. Returns how to stop that,
 * and what `and` stops.
 */
export function listen(name: string, heard: (event: any) => void, and?: () => void): () => void {
  globalThis.addEventListener?.(name, heard);
  return () => {
    globalThis.removeEventListener?.(name, heard);
    and?.();
  };
}
