// Second factors, for pages that offer them: docs/second-factors.md describes the requests.

import type { Client, DoorwardError, SecondFactor, Session } from './index.js';
import { isSignedIn, viewOf, type Tokens } from './rules.js';

/** The secret of an authenticator app. It is not shown again. */
export interface TotpSecret {
  /** In base32, to be typed. */
  secret: string;
  /** Opens an app on the same device. */
  otpauth_uri: string;
  /** The URI as a QR code, to be scanned. */
  qr_svg: string;
}

export interface Factors {
  /**
   * Completes a sign-in or a reset that was refused with `second_factor_required`, within five
   * minutes. After `invalid_second_factor` it may be called again with the same `refusal`.
   */
  signIn(refusal: DoorwardError, factor: SecondFactor): Promise<Session | null>;
  /**
   * Requests a secret, for the app to compute its first code. `by` is a second factor, if the
   * account has one and it was not proven lately, or the refusal `second_factor_setup_required`.
   */
  setUp(password: string, by?: SecondFactor | DoorwardError): Promise<TotpSecret>;
  /**
   * Makes the app the second factor, and resolves to the recovery codes, which are shown once. With
   * a `refusal` nobody is signed in by this.
   */
  confirm(code: string, refusal?: DoorwardError): Promise<string[]>;
  /** Removes the second factor and the recovery codes. */
  remove(password: string, factor?: SecondFactor): Promise<void>;
  /** Replaces the recovery codes. */
  replaceCodes(password: string, factor?: SecondFactor): Promise<string[]>;
  /**
   * Proves the password and the second factor again, for operations that need a recent proof. The
   * session continues; it is null if another tab has signed out meanwhile.
   */
  reauthenticate(password: string, factor?: SecondFactor): Promise<Session | null>;
}

interface Codes {
  recovery_codes: string[];
}

/** The operations of second factors, for the account of a client. */
export function factors(client: Client): Factors {
  const [call, post, change, keep] = client._;

  /** Sends a request with the token of a refusal in place of a session, if there is one. */
  function send<T>(path: string, body: object, by?: object): Promise<T> {
    const token: unknown = (by as Partial<DoorwardError> | undefined)?.problem?.enrol_token;
    if (!token) return call(path, body);
    // Doorward rejects a request with both a token and cookies.
    return post(path, body, {
      credentials: 'omit',
      headers: { Authorization: `Bearer ${token}` },
    });
  }

  return {
    // Asynchronous, so that an error that is not a refusal rejects, too.
    async signIn({ problem }, factor) {
      const { factor_token } = problem;
      return keep(() => post('/login/factor', { factor_token, ...factor }));
    },
    setUp(current_password, by) {
      const second_factor = by && 'problem' in by ? undefined : by;
      return send('/me/totp', { current_password, second_factor }, by);
    },
    confirm: async (code, refusal) =>
      (await send<Codes>('/me/totp/confirm', { code }, refusal)).recovery_codes,
    remove: (current_password, second_factor) =>
      call('/me/totp/remove', { current_password, second_factor }),
    replaceCodes: async (current_password, second_factor) =>
      (await call<Codes>('/me/recovery-codes', { current_password, second_factor })).recovery_codes,
    async reauthenticate(password, second_factor) {
      const session = await client.session();
      const fresh = await call<Pick<Tokens, 'access_token' | 'expires_in'>>('/me/reauthenticate', {
        password,
        second_factor,
      });
      // The refresh token stays, also one that was refreshed meanwhile. Dropped after a sign-out.
      return viewOf(
        await change((now) =>
          isSignedIn(now) && now.session_id === session?.id
            ? { ...now, ...fresh, at: Date.now() }
            : now,
        ),
      );
    },
  };
}
