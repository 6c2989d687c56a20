import type { Records } from './records.js';
import type { Stored, Tokens } from './rules.js';
import type { Wire } from './wire.js';

/** The signed-in session, as `session()` and listeners see it. */
export interface Session {
  readonly id: string;
  /** Counts the session's refresh tokens. */
  readonly generation: number;
  /** Absent with cookies. While Doorward cannot be reached, it may have expired. */
  readonly accessToken?: string | undefined;
}

/** Why `onChange` calls. `initial` comes once for each listener. */
export type Event = 'initial' | 'signed_in' | 'refreshed' | 'signed_out';

/** Called in a microtask. `reason` says why a session ended: `logout`, `expired`, … */
export type Listener = (event: Event, session: Session | null, reason?: string) => void;

/** A place for the client's record: one for all tabs, threads and processes. */
export interface Store {
  get(): Stored | null | Promise<Stored | null>;
  set(record: Stored | null): void | Promise<void>;
  /** Calls `heard` when somebody else has changed the record; returns how to stop that. */
  watch?(heard: () => void): () => void;
}

export type Fetch = (request: Request) => Promise<Response>;

export interface Options {
  /** Doorward's URL; in a page it may be relative to the page. */
  url: string;
  /** The app's id, if it is registered. */
  clientId?: string;
  /** `bearer`: the page keeps the tokens. `cookie`: the browser keeps them. */
  transport?: 'bearer' | 'cookie';
  /** By default `local('doorward')` in browsers, and `memory()` elsewhere. */
  store?: Store;
  /** Origins besides Doorward's own that `fetch` may send the access token to. */
  origins?: readonly string[];
  /** Seconds before the expiry of an access token from which on it is refreshed. Default: 30. */
  margin?: number;
  /** Whether tokens are refreshed: not by a server that cannot set cookies. Default: true. */
  refreshes?: boolean;
  /** Sends all requests. Default: the platform's `fetch`. */
  fetch?: Fetch;
}

export interface User {
  id: string;
  email: string;
  email_verified: boolean;
  roles: string[];
  created_at: string;
  password_changed_at: string;
  /** The second factors: `totp`, or none. */
  factors: string[];
  /** The unused recovery codes. */
  recovery_codes_left: number;
}

export interface SessionInfo {
  id: string;
  label: string | null;
  user_agent: string | null;
  address: string | null;
  created_at: string;
  last_seen_at: string;
  expires_at: string;
  /** Whether it is this session. */
  current: boolean;
}

/** A message with a code is on its way: keep `request` until the user types the code. */
export interface MailRequest {
  request: string;
}

/** The token of a mailed link, or the request and the code of the same message. */
export type Proof = { token: string } | { request: string; code: string };

export interface NewAccount {
  id: string;
  email: string;
  created_at: string;
}

/** A code of the authenticator app, or a recovery code. Each is good once. */
export type SecondFactor = { totp: string } | { recovery_code: string };

export interface Client {
  /** Creates an account, or requests a code when addresses must be proven. Does not sign in. */
  signUp(email: string, password: string): Promise<NewAccount | MailRequest>;
  /** Creates the account whose address the code proves. */
  confirmSignUp(request: string, code: string): Promise<NewAccount>;
  /**
   * Begins a session. Every refusal is thrown at once, for the user to see. It is null if the user
   * has signed out meanwhile.
   */
  signIn(
    email: string,
    password: string,
    options?: { label?: string; second_factor?: SecondFactor },
  ): Promise<Session | null>;
  /**
   * Ends this session, all of the account, or all others. Resolves to whether Doorward has
   * acknowledged it; this client is signed out in any case, except with `others`.
   */
  signOut(options?: { scope?: 'this' | 'all' | 'others' }): Promise<boolean>;
  /** The session, refreshed if need be. It is null only when nobody is signed in. */
  session(): Promise<Session | null>;
  /** Refreshes now, unless the tokens are younger than the retry window. */
  refresh(): Promise<Session | null>;
  /**
   * The platform's `fetch` with the credentials, for `url` and `origins`: it refreshes before the
   * expiry, and once after a 401.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /** Calls the listener on every change, also of other tabs. Returns how to stop that. */
  onChange(listener: Listener): () => void;
  /** The account; null when nobody is signed in. */
  user(): Promise<User | null>;
  /** Closes the account and ends its sessions. It cannot be undone. */
  closeAccount(password: string): Promise<void>;
  readonly password: {
    /** Ends every other session; this one continues as a new one. */
    change(current: string, next: string): Promise<Session | null>;
    forgot(email: string): Promise<MailRequest>;
    /** Sets the password, ends every session and signs in. */
    reset(proof: Proof, password: string, options?: { label?: string }): Promise<Session | null>;
  };
  readonly email: {
    /** Requests a code that proves this address, or changes to it. */
    change(email: string, currentPassword: string): Promise<MailRequest>;
    confirm(request: string, code: string): Promise<void>;
  };
  readonly sessions: {
    list(): Promise<SessionInfo[]>;
    end(id: string): Promise<void>;
  };
  /** @internal For `factors`: requests with and without credentials, and the record. */
  readonly _: readonly [
    call: Wire['post'],
    post: Wire['post'],
    change: Records['change'],
    keep: (ask: (now: Stored | null) => Promise<Tokens>) => Promise<Session | null>,
  ];
  /** Stops listening to other tabs and calling listeners. The session continues. */
  close(): void;
}
