"""Answers that begin before the body of their request has come."""

from __future__ import annotations

from collections.abc import Callable

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def telling(
    app: ASGI3Application, cycle: RequestResponseCycle, early: Callable[[], bool]
) -> ASGI3Application:
    """The application, with "Connection: close" in an answer that begins early.

    What still comes of the body, for ever perhaps, is for nobody, so that the connection ends
    with the answer (RFC 9112 section 9.6): the peer is told, and the protocol closes when the
    answer can be thought to be read, for which uvicorn would not wait.
    """

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def tell(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start" and early():
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)
                cycle.keep_alive = True
            else:
                await send(message)

        await app(scope, receive, tell)

    return application
