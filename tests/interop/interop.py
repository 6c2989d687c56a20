"""Doorward against the Python libraries that its clients and services use, in their strict modes.

ISSUER, CLIENT_ID and CLIENT_SECRET come from the test that starts this; it ends with a line for each library. Authlib's
switch for plain http is set, because the service under test listens on the loopback address without TLS.
"""

import os

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import errors, jwt
from joserfc.jwk import KeySet

ISSUER = os.environ["ISSUER"]
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
AUDIENCE = "doorward"
ACCOUNT = {"email": "grace@example.com", "password": "seven otters juggle lanterns"}


def log_in():
    answer = requests.post(f"{ISSUER}/login", json=ACCOUNT)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(error, call):
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"no {error}")


METADATA = requests.get(get_well_known_url(ISSUER, external=True, suffix="oauth-authorization-server")).json()


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        return requests.get(METADATA["jwks_uri"]).json()


def with_authlib():
    metadata = AuthorizationServerMetadata(METADATA)
    for method in [
        "validate_grant_types_supported",
        "validate_token_endpoint_auth_methods_supported",
        "validate_revocation_endpoint_auth_methods_supported",
        "validate_introspection_endpoint_auth_methods_supported",
        "validate_service_documentation",
    ]:
        getattr(metadata, method)()

    def validate(token, audience=AUDIENCE):
        validator = Validator(issuer=ISSUER, resource_server=audience)
        claims = validator.authenticate_token(token)
        validator.validate_token(claims, None, None)
        return claims

    tokens = log_in()
    assert validate(tokens["access_token"])["sid"] == tokens["session_id"]
    refused(InvalidTokenError, lambda: validate(tokens["access_token"], "another"))
    refused(InvalidTokenError, lambda: validate(tokens["refresh_token"]))

    app = OAuth2Session("doorward", token_endpoint_auth_method="none", revocation_endpoint_auth_method="none")
    for method in ["client_secret_basic", "client_secret_post"]:
        service = OAuth2Session(
            CLIENT_ID,
            CLIENT_SECRET,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
        )

        def introspect(token):
            answer = service.introspect_token(METADATA["introspection_endpoint"], token)
            assert answer.status_code == 200, answer.text
            return answer.json()

        own = service.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials", scope="orders:read")
        assert validate(own["access_token"])["scope"] == "orders:read"
        first = log_in()["refresh_token"]
        following = app.refresh_token(METADATA["token_endpoint"], first)
        assert validate(following["access_token"])["client_id"] == "doorward"
        assert introspect(following["access_token"])["active"] is True
        revoked = app.revoke_token(METADATA["revocation_endpoint"], following["refresh_token"])
        assert revoked.status_code == 200, revoked.text
        assert introspect(following["access_token"]) == {"active": False}
        late = refused(OAuthError, lambda: app.refresh_token(METADATA["token_endpoint"], following["refresh_token"]))
        assert late.error == "invalid_grant", late


def with_joserfc():
    keys = KeySet.import_key_set(requests.get(METADATA["jwks_uri"]).json())
    token = jwt.decode(log_in()["access_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    essential = {name: {"essential": True} for name in ["exp", "sub", "client_id", "iat", "jti"]}
    expected = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
    jwt.JWTClaimsRegistry(**essential, **expected).validate(token.claims)
    elsewhere = jwt.JWTClaimsRegistry(aud={"essential": True, "value": "another"})
    refused(errors.InvalidClaimError, lambda: elsewhere.validate(token.claims))


registered = requests.post(f"{ISSUER}/register", json=ACCOUNT)
assert registered.status_code == 201, registered.text
for name, works in {"Authlib": with_authlib, "joserfc": with_joserfc}.items():
    works()
    print(f"{name}: works")
