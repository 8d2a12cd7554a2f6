"""What an application does with every request before its route is looked for."""

from __future__ import annotations

from typing import Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zhenxian.api.auth import Authenticator
from zhenxian.api.management.common import CHALLENGE, UNKNOWN, asking, problem

MAX_BODY: Final = 65_536  # bytes of most records; a hundred times what their members may hold
MAX_BATCH_BODY: Final = 4_194_304  # bytes of a batch; 5,000 rows of 800

_ADMINISTRATION: Final = "/v1/"
_IMPORTS: Final = "/v1/imports/"
# One record may list 10,000 ranges, and one request has 1,000 complaints, or ends of calls.
_LONG: Final = ("/v1/complaints", "/v1/displays/ended", "/v1/customers/", "/v1/declarations/")


class Entrance:
    """ASGI middleware: credentials, size of bodies, HEAD.

    The framework reads a body, and parses its JSON, before a route asks for credentials: here
    administration is refused by the head alone. Large bodies are refused while they arrive; those
    of imports are read by api.management.bulk. HEAD is answered as GET (RFC 9110 section 9.3.2),
    and the server leaves the content out.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        path = scope["path"]
        if not path.startswith(_ADMINISTRATION):
            await self._app(scope, receive, send)
            return
        if asking(self._authenticator, scope) is None:
            refused = problem(401, "Unauthorized", UNKNOWN)
            refused.headers.update(CHALLENGE)
            await refused(scope, receive, send)
            return
        if path.startswith(_IMPORTS):
            await self._app(scope, receive, send)
            return
        size = 0
        long = path.endswith("/batch") or path.startswith(_LONG)
        limit = MAX_BATCH_BODY if long else MAX_BODY

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        await self._app(scope, bounded, send)
