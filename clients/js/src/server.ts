// Pages that a server renders: it has the visitor's cookies, and no store.

import { createClient, memory } from './index.js';
import type { Client, Options } from './index.js';

export interface ServerOptions extends Pick<Options, 'url' | 'clientId' | 'fetch'> {
  /** The `Cookie` header of the visitor's request. */
  cookie: string | null | undefined;
  /** Adds `Set-Cookie` headers to the response. Without it nothing is ever refreshed. */
  setCookie?: (cookies: string[]) => void;
  /** The origin of the page, for requests that change something. By default that of `url`. */
  origin?: string;
}

/** A client for one request of a visitor. The cookies are sent to the origin of `url` only. */
export function createServerClient(options: ServerOptions): Client {
  const own = new URL(options.url).origin;
  const { cookie, setCookie, origin = own, ...others } = options;
  const isOwn = (url: string) => new URL(url).origin === own;
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const jar = new Map((cookie ?? '').split(/; */).filter(isNamed).map(pair));

  const settings: Options = {
    ...others,
    transport: 'cookie',
    store: memory(),
    refreshes: !!setCookie,
    async fetch(request) {
      if (!isOwn(request.url)) return send(request);
      request.headers.set('Cookie', [...jar].map(([name, value]) => `${name}=${value}`).join('; '));
      request.headers.set('Origin', origin);
      const answer = await send(request);
      // The answer to a redirect may be another origin's.
      if (!isOwn(answer.url || request.url)) return answer;
      const cookies = answer.headers.getSetCookie();
      for (const text of cookies) {
        const [name, value] = pair(text.split(';')[0]!);
        if (/; *max-age=0/i.test(text)) jar.delete(name);
        else jar.set(name, value);
      }
      if (cookies.length) setCookie?.(cookies);
      return answer;
    },
  };
  return createClient(settings);
}

/** Without a name, any host of the same domain may have set it. */
const isNamed = (text: string) => text.indexOf('=') > 0;

/**
 * Name and value, not trimmed: blanks other than spaces may precede a name, and to the browser it
 * is not a `__Host-` name then, so any host of the same domain may set it.
 */
function pair(text: string): [string, string] {
  const at = text.indexOf('=');
  return [text.slice(0, at), text.slice(at + 1)];
}
