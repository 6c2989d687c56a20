// One device, one page and one network, for the tests of a rule.

import { Device, json, network, Page, tokens, World } from './world.mjs';

export const URL_OF_LOGIN = 'https://login.example.com';

/** `refresh(note, count)` answers `/refresh`; `other(note, count)` everything else. */
export function fixture({ refresh, other, ...options } = {}) {
  const world = new World();
  const device = new Device(world);
  let generation = 0;
  let logins = 0;
  let refreshes = 0;
  const net = network((note, count, page) => {
    if (note.path === '/login') {
      generation = 0;
      return json(200, tokens(0, { session_id: ++logins === 1 ? 'S' : `S${logins}` }));
    }
    if (note.path === '/refresh') {
      refreshes++;
      return refresh ? refresh(note, refreshes, page) : json(200, tokens(++generation));
    }
    if (other) return other(note, count, page);
    return note.path.startsWith('/logout') ? new Response(null, { status: 204 }) : json(200, {});
  });
  const open = (more, platform) => {
    const page = new Page(device, net.fetch, platform);
    page.events = [];
    page.client = page.library.createClient({ url: URL_OF_LOGIN, ...options, ...more });
    page.client.onChange((event, session, reason) => page.events.push([event, session, reason]));
    page.names = () => page.events.map(([event]) => event);
    return page;
  };
  /** A page of somebody who is signed in. */
  const signedIn = async (more) => {
    const page = open(more);
    await world.wait(page.client.signIn('ada@example.com', 'seven otters juggle lanterns'));
    await world.settle();
    return page;
  };
  return { world, device, net, open, signedIn };
}
