import type { SignedIn, Tokens } from './rules.js';
import type { Fetch, Options } from './types.js';

/** A refusal of Doorward, or a network error (code `network_error`, status 0). */
export class DoorwardError extends Error {
  override readonly name = 'DoorwardError';
  /** Stable; docs/client-contract.md lists the important ones. */
  readonly code: string | undefined;
  /** Why a session has ended, with `invalid_grant`. */
  readonly reason: string | undefined;
  /** Whether the same request may succeed later. */
  readonly transient: boolean;
  /** The members that were rejected. */
  readonly errors: readonly { pointer: string; detail: string }[] | undefined;

  constructor(
    readonly status: number,
    /** The whole problem document. */
    readonly problem: Record<string, any>,
    /** Seconds to wait before the next attempt. */
    readonly retryAfter: number,
    cause?: unknown,
  ) {
    super(problem.detail ?? status, { cause });
    this.code = problem.code;
    this.reason = problem.reason;
    this.errors = problem.errors;
    // Without a code it comes from a proxy, a gateway or a captive portal, and says nothing about
    // the session. It is final only if it is a 4xx.
    this.transient = problem.code ? !!problem.transient : !/^4(?!08|29)/.test(status as any);
  }
}

export const networkError = (cause?: unknown) =>
  cause instanceof DoorwardError
    ? cause
    : new DoorwardError(
        0,
        { code: 'network_error', detail: 'Doorward cannot be reached.', transient: true },
        0,
        cause,
      );

/** The record of an answer with tokens. */
export async function recordFrom(asked: Promise<Tokens>): Promise<SignedIn> {
  const answer = await asked;
  // A captive portal may answer anything.
  if (!answer.session_id) throw networkError();
  return { ...answer, at: Date.now() };
}

/** Sends requests to Doorward without an access token. */
export function createWire({
  url,
  clientId,
  transport,
  fetch: send = (request) => fetch(request),
}: Options) {
  const base = new URL(url, globalThis.location as any).href.replace(/\/$/, '');
  const hasCookies = transport === 'cookie';

  /**
   * A function that sends requests by `by`, and resolves to the JSON of their answers. By default a
   * request with a body or `init` is a POST.
   */
  const caller =
    (by: Fetch) =>
    async <T>(path: string, body?: object, init?: RequestInit): Promise<T> => {
      const request = new Request(base + path, {
        method: body || init ? 'POST' : 'GET',
        credentials: hasCookies ? 'include' : 'omit',
        ...init,
        headers: { ...(body && { 'Content-Type': 'application/json' }), ...init?.headers },
        body: JSON.stringify(body),
      });
      const answer = await by(request).catch((cause: unknown) => {
        throw networkError(cause);
      });
      const json = await answer.json().catch(() => answer.status === 204 && {});
      if (answer.ok && json) return json;
      throw new DoorwardError(answer.status, json || {}, +answer.headers.get('Retry-After')! || 0);
    };

  const app = (clientId && { client_id: clientId }) as object | undefined;
  return { base, hasCookies, app, send, caller, post: caller(send) };
}

export type Wire = ReturnType<typeof createWire>;
