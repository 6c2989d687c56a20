"""A session by the client that openapi-python-client makes."""

import os
import uuid

from python_client import AuthenticatedClient, Client
from python_client.api.accounts import me, register
from python_client.api.tokens import log_in, log_out, refresh
from python_client.models import Account, CreatedAccount, Login, Logout, Problem, ProblemCode
from python_client.models import Refresh, Registration, Tokens

EMAIL = "python-client@example.com"
PASSWORD = "seven otters juggle lanterns"

url = os.environ["ISSUER"]
client = Client(base_url=url)
account = register.sync(client=client, body=Registration(email=EMAIL, password=PASSWORD))
assert isinstance(account, CreatedAccount), account
wrong = log_in.sync(client=client, body=Login(email=EMAIL, password="not the password"))
assert isinstance(wrong, Problem) and wrong.code == ProblemCode.INVALID_CREDENTIALS, wrong
first = log_in.sync(client=client, body=Login(email=EMAIL, password=PASSWORD))
assert isinstance(first, Tokens), first
client = AuthenticatedClient(base_url=url, token=first.access_token)
body = Refresh(refresh_token=first.refresh_token)
second = refresh.sync(client=client, body=body, idempotency_key=str(uuid.uuid4()))
assert isinstance(second, Tokens) and second.generation == 1, second
assert second.retry_window == 30, second
client = AuthenticatedClient(base_url=url, token=second.access_token)
owner = me.sync(client=client)
assert isinstance(owner, Account) and owner.id == account.id, owner
assert log_out.sync_detailed(client=client, body=Logout()).status_code == 204
after = me.sync(client=client)
assert isinstance(after, Problem) and after.code == ProblemCode.TOKEN_REVOKED, after
print("openapi-python-client: works")
