"""A session by the client that openapi-generator makes for Python."""

import os
import uuid

import openapi_client as api

EMAIL = "generator@example.com"
PASSWORD = "seven otters juggle lanterns"

configuration = api.Configuration(host=os.environ["ISSUER"])
client = api.ApiClient(configuration)
accounts, tokens = api.AccountsApi(client), api.TokensApi(client)

account = accounts.register(api.Registration(email=EMAIL, password=PASSWORD))
try:
    tokens.log_in(api.Login(email=EMAIL, password="not the password"))
    raise SystemExit("a wrong password logs in")
except api.exceptions.UnauthorizedException as error:
    assert error.data.code == api.ProblemCode.INVALID_CREDENTIALS, error
first = tokens.log_in(api.Login(email=EMAIL, password=PASSWORD))
refresh = api.Refresh(refresh_token=first.refresh_token)
second = tokens.refresh(idempotency_key=str(uuid.uuid4()), refresh=refresh)
assert second.generation == 1 and second.retry_window == 30, second
configuration.access_token = second.access_token
assert accounts.me().id == account.id
tokens.log_out()
try:
    accounts.me()
    raise SystemExit("the token is valid after the logout")
except api.exceptions.UnauthorizedException as error:
    assert error.data.code == api.ProblemCode.TOKEN_REVOKED, error
print("openapi-generator for Python: works")
