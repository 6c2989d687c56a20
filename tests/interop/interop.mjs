// Doorward against the Node libraries that its clients and services use, in their strict modes. The only special setting
// is the switch of each for plain http, because the service under test listens on the loopback address without TLS.
//
// ISSUER, CLIENT_ID and CLIENT_SECRET come from the test that starts this; it ends with a line for each library.

import assert from 'node:assert/strict';
import express from 'express';
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';

const { ISSUER: issuer, CLIENT_ID: clientId, CLIENT_SECRET: clientSecret } = process.env;
const audience = 'doorward';
const account = { email: 'ada@example.com', password: 'seven otters juggle lanterns' };

async function logIn() {
  const response = await fetch(`${issuer}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(account),
  });
  assert.equal(response.status, 200);
  return response.json();
}

async function oauth4webapi() {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const discovery = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...insecure });
  const as = await oauth.processDiscoveryResponse(new URL(issuer), discovery);
  const app = { client_id: 'doorward' };
  const service = { client_id: clientId };
  const bearing = (token) => new Request('http://resource.test/', { headers: { authorization: `Bearer ${token}` } });
  const validate = (token) => oauth.validateJwtAccessToken(as, bearing(token), audience, insecure);

  const tokens = await logIn();
  const claims = await validate(tokens.access_token);
  assert.equal(claims.sid, tokens.session_id);
  await assert.rejects(oauth.validateJwtAccessToken(as, bearing(tokens.access_token), 'another', insecure));

  for (const proof of [oauth.ClientSecretBasic(clientSecret), oauth.ClientSecretPost(clientSecret)]) {
    const introspect = async (token) => {
      const response = await oauth.introspectionRequest(as, service, proof, token, insecure);
      return oauth.processIntrospectionResponse(as, service, response);
    };
    const { refresh_token: first } = await logIn();
    const grant = await oauth.refreshTokenGrantRequest(as, app, oauth.None(), first, insecure);
    const next = await oauth.processRefreshTokenResponse(as, app, grant);
    assert.equal((await validate(next.access_token)).client_id, 'doorward');
    const known = await introspect(next.access_token);
    assert.equal(known.active, true);
    assert.equal(known.token_type, 'Bearer');
    assert.equal((await introspect(next.refresh_token)).active, true);

    const revocation = await oauth.revocationRequest(as, app, oauth.None(), next.refresh_token, insecure);
    await oauth.processRevocationResponse(revocation);
    assert.deepEqual(await introspect(next.access_token), { active: false });
    const late = await oauth.refreshTokenGrantRequest(as, app, oauth.None(), next.refresh_token, insecure);
    await assert.rejects(oauth.processRefreshTokenResponse(as, app, late), (error) => {
      assert.ok(error instanceof oauth.ResponseBodyError, error);
      assert.equal(error.error, 'invalid_grant');
      return true;
    });

    const asked = await oauth.clientCredentialsGrantRequest(as, service, proof, { scope: 'orders:read' }, insecure);
    const own = await oauth.processClientCredentialsResponse(as, service, asked);
    assert.equal((await validate(own.access_token)).scope, 'orders:read');
    const taken = await oauth.revocationRequest(as, service, proof, own.access_token, insecure);
    await oauth.processRevocationResponse(taken);
    assert.deepEqual(await introspect(own.access_token), { active: false });
  }

  const wrong = await oauth.introspectionRequest(as, service, oauth.ClientSecretBasic('wrong'), 'x', insecure);
  await assert.rejects(oauth.processIntrospectionResponse(as, service, wrong), oauth.WWWAuthenticateChallengeError);
}

async function openidClient() {
  const how = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] };
  const discover = (id, proof) => openid.discovery(new URL(issuer), id, undefined, proof, how);
  const app = await discover('doorward', openid.None());
  for (const proof of [openid.ClientSecretBasic(clientSecret), openid.ClientSecretPost(clientSecret)]) {
    const service = await discover(clientId, proof);
    const own = await openid.clientCredentialsGrant(service, { scope: 'orders:read' });
    assert.equal(own.scope, 'orders:read');
    const { refresh_token: first } = await logIn();
    const next = await openid.refreshTokenGrant(app, first);
    assert.equal((await openid.tokenIntrospection(service, next.access_token)).active, true);
    await openid.tokenRevocation(app, next.access_token);
    assert.deepEqual(await openid.tokenIntrospection(service, next.access_token), { active: false });
    await openid.tokenRevocation(app, next.refresh_token, { token_type_hint: 'refresh_token' });
    assert.deepEqual(await openid.tokenIntrospection(service, next.refresh_token), { active: false });
    await assert.rejects(openid.refreshTokenGrant(app, next.refresh_token), { error: 'invalid_grant' });
  }
}

async function withJose() {
  const metadata = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
  const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri));
  const strict = {
    issuer,
    audience,
    typ: 'at+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
  };
  const { access_token: token, session_id: session } = await logIn();
  const { payload } = await jose.jwtVerify(token, keys, strict);
  assert.equal(payload.sid, session);
  await assert.rejects(jose.jwtVerify(token, keys, { ...strict, issuer: `${issuer}/` }));
  await assert.rejects(jose.jwtVerify(token, keys, { ...strict, typ: 'jwt' }));
}

async function expressOauth2JwtBearer() {
  const app = express();
  app.use(auth({ issuerBaseURL: issuer, audience, strict: true }));
  app.get('/', (request, response) => response.json(request.auth.payload));
  app.get('/orders', requiredScopes('orders:read'), (_, response) => response.json({}));
  // It logs the reason for a rejection.
  app.use((error, _request, response, _next) => response.status(error.status).set(error.headers ?? {}).end());
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const base = `http://127.0.0.1:${server.address().port}`;
  const get = (path, token) => fetch(base + path, { headers: { authorization: `Bearer ${token}` } });

  const tokens = await logIn();
  const mine = await get('/', tokens.access_token);
  assert.equal(mine.status, 200);
  assert.equal((await mine.json()).sid, tokens.session_id);
  assert.equal((await get('/orders', tokens.access_token)).status, 403);
  assert.equal((await get('/', tokens.refresh_token)).status, 401);
  const asked = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${clientId}:${clientSecret}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const own = await asked.json();
  assert.equal((await get('/orders', own.access_token)).status, 200);
  server.close();
}

const registered = await fetch(`${issuer}/register`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(account),
});
assert.equal(registered.status, 201);
for (const [name, works] of Object.entries({
  oauth4webapi,
  'openid-client': openidClient,
  jose: withJose,
  'express-oauth2-jwt-bearer': expressOauth2JwtBearer,
})) {
  await works();
  console.log(`${name}: works`);
}
