"""A mail server for the tests, by aiosmtpd: each message becomes a file, in the order of arrival.

Arguments: folder, port, and for STARTTLS and a login certificate, key, user and password. The recipient says what the
server does: `permanent…` is refused for good, `transient…` twice for a while, `dropped…` is taken and not answered once,
`busy…` makes it close the connection.
"""

import asyncio
import collections
import os
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP


class Handler:
    def __init__(self, folder):
        self.folder, self.count, self.tries = folder, 0, collections.Counter()

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.tries[address] += 1
        if address.startswith("permanent"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("busy"):
            return "421 4.3.2 not now"
        if address.startswith("transient") and self.tries[address] < 3:
            return "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        name = os.path.join(self.folder, f"{self.count:06}.eml")
        with open(name + ".part", "wb") as out:
            head = f"X-Rcpt: {','.join(envelope.rcpt_tos)}\r\nX-Tls: {session.ssl is not None}\r\n"
            head += f"X-User: {session.auth_data}\r\n"
            out.write(head.encode() + envelope.content)
        os.rename(name + ".part", name)
        if envelope.rcpt_tos[0].startswith("dropped") and self.tries[envelope.rcpt_tos[0]] == 1:
            server.transport.abort()
        return "250 taken"


def main():
    folder, port, *secure = sys.argv[1:]
    options = {"enable_SMTPUTF8": False, "hostname": "mail.test"}
    if secure:
        certificate, key, user, password = secure
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def authenticator(server, session, envelope, mechanism, data):
            good = (data.login, data.password) == (user.encode(), password.encode())
            return AuthResult(success=good, auth_data=user if good else None, handled=False)

        options |= {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": authenticator,
        }

    class Server(Controller):
        def factory(self):
            return SMTP(self.handler, **options)

    server = Server(Handler(folder), hostname="127.0.0.1", port=int(port), ready_timeout=30)
    server.start()
    asyncio.new_event_loop().run_forever()


main()
